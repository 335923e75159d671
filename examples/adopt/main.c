/* SPDX-License-Identifier: MIT */

/* A program that owns VFIO hands it over: adopt() is all that it takes. Before that nothing here is libvfiodirty's (owner.h), and the
 * driver goes on as before, but for the pins that a container of type1 v1, or a device behind a real IOMMU, needs to be exact. */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "copy.h"
#include "owner.h"

static const char usage_text[] =
	"usage: vfd-adopt [--type 1|2] [--tracking] [--keep] [--pins] [--no-pins] GROUP DEVICE\n"
	"\n"
	"Open VFIO with plain ioctls, hand it to libvfiodirty, and copy the memory in rounds while the "
	"device\n"
	"writes it: QEMU's edu device, or vfdtest.N of the test kernel (a group and its device: vfd-info).\n"
	"\n"
	"  --type N    of the container: type1 v1 or v2 (2)\n"
	"  --tracking  v2: the program has started tracking by itself before\n"
	"  --keep      keep the descriptors, and close them at the end; else the library gets them\n"
	"  --pins      v2: pin what the device writes; in v1 that is always so\n"
	"  --no-pins   break that promise: the copy must then differ\n"
	"\n"
	"Exit: 0; 1: something differs or failed; 2: wrong use.\n";

enum { ROUNDS = 5, WRITES = 4 };

struct options {
	int type, number;
	bool tracking, keep, pins, no_pins;
	const char *device;
};

struct program {
	struct owner owner;
	struct copy copy;
	struct vfd_container *container;
	struct vfd_pinset *pins; /* NULL: the container has a record, or nobody knows */
	bool forget_pins;
	uint64_t before; /* pages written while the owner tracked by itself */
};

/* ---- the hand-over ---------------------------------------------------------------- */

/* No ioctl lists what a container holds: its owner says it. */
static void adopt(struct program *p, bool keep)
{
	const struct owner *o = &p->owner;
	struct vfd_adopt_group group = { .number = o->number, .fd = o->group };
	struct vfd_adopt_device device = { .group = o->number, .fd = o->fd, .name = o->device };
	struct vfd_mapping mappings[] = {
		{ .struct_size = sizeof mappings[0],
		  .flags = VFD_MAP_READ | VFD_MAP_WRITE,
		  .iova = RAM_IOVA,
		  .size = RAM_SIZE,
		  .memory = o->ram },
		{ .struct_size = sizeof mappings[1],
		  .flags = VFD_MAP_READ | VFD_MAP_UNLOGGED, /* nobody migrates it */
		  .iova = SOURCE_IOVA,
		  .size = SOURCE_SIZE,
		  .memory = o->source },
	};
	struct vfd_adoption adoption = {
		.struct_size = sizeof adoption,
		.flags = VFD_FIND_MEMORY | (keep ? VFD_ADOPT_DUP : 0),
		.container_fd = o->container,
		.group_count = 1,
		.device_count = 1,
		.mapping_count = 2,
		.groups = &group,
		.devices = &device,
		.mappings = mappings,
		.log = p->copy.log,
	};

	check(vfd_container_adopt(&adoption, &p->container, &failure));
}

/* The device's driver pins from now on: see device_writes(). */
static void promise_pins(struct program *p)
{
	struct vfd_device *device;

	check(vfd_device_find(p->container, p->owner.device, &device, &failure));
	check(vfd_device_pins_all(device, &failure));
	check(vfd_pinset_create(p->container, NULL, &p->pins, &failure));
}

/* ---- the driver's work, as before, and with pins ----------------------------------- */

static void device_writes(struct program *p, uint64_t page)
{
	bool pinned = p->pins && !p->forget_pins;
	struct vfd_pin pin;

	if (pinned)
		check(vfd_pin(p->pins, p->owner.ram + page * PAGE, PAGE, VFD_PIN_WRITE, &pin, &failure));
	driver_write(&p->owner, page);
	if (pinned)
		check(vfd_unpin(p->pins, &pin, 1, &failure));
}

/* WRITES pages all over the RAM, others in each round; the last of them twice. */
static void some_work(struct program *p, uint64_t round)
{
	uint64_t page = 0;

	for (uint64_t i = round * WRITES; i < (round + 1) * WRITES; i++) {
		page = i * 31 % RAM_PAGES;
		device_writes(p, page);
	}
	device_writes(p, page);
}

/* ---- the migration ------------------------------------------------------------------ */

/* What the device wrote before the hand-over is in the kernel's record, and now in the log. */
static int check_before(struct program *p)
{
	uint64_t owed = copy_owed(&p->copy);

	return verdict(owed == p->before,
		       "%llu pages were written before the hand-over, %llu were owed after it",
		       (unsigned long long)p->before, (unsigned long long)owed);
}

/* What was mapped where a device's own log does not look would be sent when the device is paused. When that is too much it is better to
 * send all of the memory once more while it runs; twice at most. */
static void look_everywhere(struct program *p)
{
	struct vfd_rearm_options options = { .struct_size = sizeof options,
					     .flags = VFD_REARM_RUNNING,
					     .unarmed_bytes = RAM_SIZE / 8,
					     .budget = 2 * RAM_SIZE };

	check(vfd_track_rearm(p->container, &options, NULL, &failure));
}

static int migrate(struct program *p, bool exact)
{
	uint64_t sent = 0;

	check(vfd_track_start(p->container, NULL, NULL, &failure)); /* on already: nothing is done */
	int failed = p->before ? check_before(p) : 0;
	copy_initial(&p->copy);
	for (uint64_t round = 1; round <= ROUNDS; round++) {
		some_work(p, round);
		check(vfd_track_harvest(p->container, 0, NULL, &failure));
		look_everywhere(p);
		uint64_t pages = copy_owed(&p->copy);
		printf("round %llu: %d pages written, %llu sent\n", (unsigned long long)round, WRITES,
		       (unsigned long long)pages);
		sent += pages;
	}
	if (exact && !p->forget_pins)
		failed += verdict(sent == ROUNDS * WRITES, "exactly what was written was sent");
	return failed;
}

/* The library makes the device unable to write, collects, and closes its descriptors: those it was given, or its duplicates. */
static int finish(struct program *p, bool keep)
{
	some_work(p, 0);
	driver_close(&p->owner);
	if (p->pins)
		check(vfd_pinset_destroy(&p->pins, 0, &failure));
	check(vfd_container_close(&p->container, VFD_COLLECT, &failure));
	printf("last round: %llu pages sent\n", (unsigned long long)copy_owed(&p->copy));
	int failed = copy_end(&p->copy);
	if (keep)
		owner_close(&p->owner);
	return failed;
}

static int run(const struct options *o)
{
	bool pins = o->type == 1 || o->pins;
	struct program p = { .forget_pins = o->no_pins };

	owner_open(&p.owner, o->number, o->device, o->type);
	if (o->tracking)
		owner_track(&p.owner);
	some_work(&p, ROUNDS + 1);
	p.before = o->tracking && p.owner.vfdtest ? WRITES : 0;

	copy_begin(&p.copy, p.owner.ram, RAM_SIZE);
	adopt(&p, o->keep);
	if (pins)
		promise_pins(&p);
	enum vfd_source_kind source = o->type == 2 && p.owner.vfdtest ? VFD_SOURCE_TYPE1
				      : pins			      ? VFD_SOURCE_PINS
								      : VFD_SOURCE_DEFERRED;
	int failed = check_plan(p.container, source);
	failed += migrate(&p, source != VFD_SOURCE_DEFERRED);
	return failed + finish(&p, o->keep);
}

/* ---- arguments ---------------------------------------------------------------------- */

static _Noreturn void usage(FILE *to, int code)
{
	fputs(usage_text, to);
	exit(code);
}

static void set(struct options *o, int option)
{
	switch (option) {
	case 't':
		o->type = !strcmp(optarg, "1") ? 1 : !strcmp(optarg, "2") ? 2 : 0;
		break;
	case 'r':
		o->tracking = true;
		break;
	case 'k':
		o->keep = true;
		break;
	case 'p':
		o->pins = true;
		break;
	case 'n':
		o->no_pins = true;
		break;
	case 'h':
		usage(stdout, 0);
	default:
		usage(stderr, 2);
	}
}

static struct options parse(int argc, char **argv)
{
	static const struct option names[] = {
		{ "type", required_argument, NULL, 't' },
		{ "tracking", no_argument, NULL, 'r' },
		{ "keep", no_argument, NULL, 'k' },
		{ "pins", no_argument, NULL, 'p' },
		{ "no-pins", no_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	struct options o = { .type = 2 };
	int c;

	while ((c = getopt_long(argc, argv, "h", names, NULL)) != -1)
		set(&o, c);
	if (optind + 2 != argc || !o.type || (o.type == 1 && o.tracking))
		usage(stderr, 2);
	o.number = atoi(argv[optind]);
	o.device = argv[optind + 1];
	return o;
}

int main(int argc, char **argv)
{
	struct options o = parse(argc, argv);

	return run(&o) ? 1 : 0;
}
