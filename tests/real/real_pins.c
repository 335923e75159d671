/* SPDX-License-Identifier: MIT */

/* real_pins [SECONDS]: threads that pin, unpin, map, unmap, harvest and copy at once, on the real kernel. No page is lost, and nothing is
 * unmapped under a pin. First with the kernel's record, beside a device that writes without pins; then behind an IOMMU, where pins are the
 * only record. */

#include "pins.h"

#include <stdio.h>
#include <stdlib.h>

static void map_all(struct play *p)
{
	int failed = 0;

	for (uint64_t i = 0; i < PINNED; i++) {
		p->slots[i] = i;
		failed += map_part(p, i, i) != 0;
	}
	p->empty = PINNED;
	for (uint64_t i = 0; i < FREE; i++)
		failed += map_part(p, PINNED + i, FREE_SLOT + i) != 0;
	ok(!failed, "map %u parts of %u pages", (unsigned)(PINNED + FREE), (unsigned)SIZE);
}

static void attach_edu(struct play *p)
{
	struct rig *rig = &p->rig;

	ok_code(vfd_group_attach_device(rig->container, p->edu->name, &p->edu->group, &rig->err), 0,
		&rig->err, "attach the group of %s", p->edu->name);
	edu_open(rig, p->edu);
	ok_code(vfd_device_pins_all(p->edu->device, &rig->err), 0, &rig->err, "its driver pins all");
	ok_code(vfd_device_pins_all(rig->devices[0], &rig->err), 0, &rig->err, "so does vfdtest's");
}

/* The device's own thread pins nothing: only the kernel knows of its writes. */
static void run_writer(struct play *p)
{
	struct vfdtest_run run = {
		.iova = slot_iova(FREE_SLOT), .size = FREE * SIZE * RIG_PAGE, .seed = 1, .period_ns = 50000
	};

	ok_code(rig_command(VFDTEST_RUN, &run), 0, &p->rig.err, "vfdtest writes by itself");
}

static struct play *begin(struct edu *edu)
{
	struct vfd_plan plan = { .struct_size = sizeof plan };
	struct play *p = calloc(1, sizeof *p);

	p->edu = edu;
	rig_open_with(&p->rig, VFD_FIND_MEMORY);
	ok_code(rig_attach(&p->rig, 0), 0, &p->rig.err, "attach vfdtest");
	ok_code(rig_open_device(&p->rig, 0), 0, &p->rig.err, "open it");
	if (edu)
		attach_edu(p);
	map_all(p);
	ok_code(vfd_track_start(p->rig.container, NULL, &plan, &p->rig.err), 0, &p->rig.err, "track");
	ok(plan.exact && !plan.deferred_bytes, "the plan: exact, nothing deferred");
	if (!edu)
		run_writer(p);
	return p;
}

static void end(struct play *p)
{
	rig_close(&p->rig);
	free(p);
}

/* What is still on its way, and what the devices did until now */
static unsigned finish(struct play *p)
{
	const uint64_t *memory = (const uint64_t *)(void *)p->rig.memory;
	unsigned different = 0;

	if (!p->edu)
		printf("# vfdtest's own thread: %llu writes\n", (unsigned long long)rig_halt(0));
	ok_code(vfd_track_harvest(p->rig.container, VFD_HARVEST_FINAL, NULL, &p->rig.err), 0, &p->rig.err,
		"the final harvest");
	send_owed(p);
	for (uint64_t page = 0; page < PAGES; page++) {
		bool same = true;
		for (uint64_t i = page * RIG_PAGE / 8; i < (page + 1) * RIG_PAGE / 8; i++)
			same &= p->copy[i] == memory[i];
		different += !same;
	}
	return different;
}

static void say(const struct play *p, unsigned seconds)
{
	printf("# %u s: %lu pins, %lu held for edu's DMA; %lu unmaps, %lu refused at once, %lu of %lu after "
	       "waiting; %lu harvests, %lu batches\n",
	       seconds, p->pins, p->edu_pins, p->unmaps, p->refused, p->wait_refused, p->waits, p->harvests,
	       p->batches);
}

static void nothing_lost(struct edu *edu, unsigned seconds, const char *where)
{
	struct play *p = begin(edu);

	play_threads(p, seconds);
	unsigned different = finish(p);
	say(p, seconds);
	ok(!p->problem, "%s: no call failed%s%s", where, p->problem ? ": " : "",
	   p->problem ? p->problem : "");
	ok(!p->violations, "%s: unmapped under a pin: %lu times", where, p->violations);
	ok(!different, "%s: the copy differs in %u pages of %u", where, different, (unsigned)PAGES);
	ok(p->pins > 20 * seconds && p->unmaps > 5 * seconds && p->refused && p->wait_refused &&
		   p->refused + p->wait_refused > seconds / 2,
	   "%s: they met", where);
	end(p);
}

/* Without marks the copy must differ. */
static void without_marks(struct edu *edu, const char *where)
{
	struct play *p = begin(edu);

	p->no_marks = true;
	play_threads(p, 2);
	unsigned different = finish(p);
	say(p, 2);
	ok(different > 0, "%s, pins that do not mark: the copy differs in %u pages", where, different);
	end(p);
}

/* A pin that ends before its buffer is used protects nothing. */
static void unpinned_too_early(void)
{
	struct play *p = begin(NULL);

	p->unpin_early = true;
	play_threads(p, 2);
	finish(p);
	say(p, 2);
	ok(p->violations > 0, "unpinned too early: unmapped while in use: %lu times", p->violations);
	end(p);
}

int main(int argc, char **argv)
{
	unsigned seconds = argc > 1 ? (unsigned)atoi(argv[1]) : 10;
	struct edu edu = { 0 };

	nothing_lost(NULL, seconds, "the kernel's record and pins");
	without_marks(NULL, "the kernel's record");
	unpinned_too_early();
	if (!ok(edu_find(&edu), "an edu device is bound to vfio-pci"))
		return done();
	nothing_lost(&edu, seconds, "behind an IOMMU, pins alone");
	without_marks(&edu, "behind an IOMMU");
	return done();
}
