/* SPDX-License-Identifier: MIT */

/* A DPDK application (packets.h) hands its container to libvfiodirty: adopt(). DPDK makes type1 v1 containers, which have no dirty
 * tracking, of devices behind a real IOMMU, which could not tell; pins can. */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <linux/vfio.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_memory.h>
#include <rte_vfio.h>

#include "../copy.h"
#include "packets.h"

static const char usage_text[] =
	"usage: vfd-adopt-dpdk [EAL OPTION...] [-- [--packets N] [--rounds N] [--no-pins]]\n"
	"\n"
	"A DPDK application on 2 to 4 ports that are wired to each other. Copies the memory in rounds while\n"
	"the devices write packets into it.\n"
	"\n"
	"  --packets N  receive so many (5000)\n"
	"  --rounds N   of the copy (25)\n"
	"  --no-pins    break the promise to pin what the devices write: the copy must then differ\n"
	"\n"
	"Exit: 0; 1: something differs or failed; 2: wrong use.\n";

static const char pci[] = "/sys/bus/pci/devices";

struct options {
	uint64_t packets, rounds;
	bool no_pins;
};

struct program {
	struct packets packets;
	struct copy copy;
	struct vfd_container *container;
	struct vfd_pinset *pins;
	struct vfd_pin buffer_pins[BUFFERS];
	bool covered[BUFFERS]; /* received in this round */
	struct vfd_mapping *mappings;
	uint32_t mapping_count;
	struct vfd_adopt_group groups[PORTS];
	struct vfd_adopt_device devices[PORTS];
	uint64_t sent, expected; /* pages */
};

/* ---- what DPDK has -------------------------------------------------------------------- */

/* DPDK counts whoever sets a device up, and each gets a descriptor of its own. */
static void find_device(struct program *p, uint16_t port)
{
	struct vfio_device_info info = { .argsz = sizeof info };
	struct rte_eth_dev_info port_info;
	int number, fd;

	if (rte_eth_dev_info_get(port, &port_info))
		die("port %u: what is it?", port);
	const char *name = rte_dev_name(port_info.device);
	if (rte_vfio_get_group_num(pci, name, &number) <= 0 || rte_vfio_setup_device(pci, name, &fd, &info))
		die("%s is no PCI device that DPDK has by VFIO", name);
	p->groups[port] = (struct vfd_adopt_group){ number, rte_vfio_get_group_fd(number) };
	p->devices[port] = (struct vfd_adopt_device){ number, fd, name };
}

static void add_mapping(struct program *p, void *memory, uint64_t iova, uint64_t size, uint32_t flags)
{
	p->mappings = realloc(p->mappings, (p->mapping_count + 1) * sizeof *p->mappings);
	if (!p->mappings)
		die("no memory");
	p->mappings[p->mapping_count++] = (struct vfd_mapping){
		.struct_size = sizeof *p->mappings,
		.flags = flags | VFD_MAP_READ | VFD_MAP_WRITE,
		.iova = iova,
		.size = size,
		.memory = memory,
	};
}

/* DPDK's own memory: rings, mbufs, its heap. Nobody migrates it, the destination has a DPDK of its own. So it does no harm either that
 * the heap may grow or shrink later without the library's knowledge; what is migrated only this program maps. */
static int find_segment(const struct rte_memseg_list *list, const struct rte_memseg *segment, void *arg)
{
	if (!list->external && segment->iova != RTE_BAD_IOVA)
		add_mapping(arg, segment->addr, segment->iova, segment->len, VFD_MAP_UNLOGGED);
	return 0;
}

/* ---- the hand-over -------------------------------------------------------------------- */

/* By duplicates: DPDK keeps its descriptors, and closes them when it ends. */
static void adopt(struct program *p)
{
	struct vfd_adoption adoption = {
		.struct_size = sizeof adoption,
		.flags = VFD_FIND_MEMORY | VFD_ADOPT_DUP,
		.container_fd = rte_vfio_get_container_fd(),
		.group_count = p->packets.ports,
		.device_count = p->packets.ports,
		.groups = p->groups,
		.devices = p->devices,
		.log = p->copy.log,
	};

	for (uint16_t port = 0; port < p->packets.ports; port++)
		find_device(p, port);
	add_mapping(p, p->packets.memory, p->packets.iova, MEMORY_SIZE, 0);
	rte_memseg_walk(find_segment, p);
	adoption.mappings = p->mappings;
	adoption.mapping_count = p->mapping_count;
	check(vfd_container_adopt(&adoption, &p->container, &failure));
}

static int check_adopted(struct program *p)
{
	struct vfd_container_info info = { .struct_size = sizeof info };

	check(vfd_container_info(p->container, &info, &failure));
	printf("adopted: %llu mappings, %llu MiB, %u groups, %u of them physical, %u devices\n",
	       (unsigned long long)info.mappings, (unsigned long long)info.mapped_bytes >> 20, info.attached,
	       info.physical, info.devices);
	return verdict(info.kind == VFD_KIND_TYPE1_V1, "DPDK's container is type1 v1") +
	       check_plan(p->container, VFD_SOURCE_PINS);
}

/* ---- pins ------------------------------------------------------------------------------ */

/* The driver fills its ring from the pool whenever it likes, so which of the pool's buffers its device knows, it does not say. But
 * the device can write only what the pool or the ring has: a buffer is pinned from the moment before it is given back to the pool until
 * it comes out of rte_eth_rx_burst() with a packet. */
static void buffer_given(void *arg, unsigned buffer)
{
	struct program *p = arg;

	check(vfd_pin(p->pins, p->packets.memory + (uint64_t)buffer * BUFFER_SIZE, BUFFER_SIZE, VFD_PIN_WRITE,
		      &p->buffer_pins[buffer], &failure));
}

static void buffer_taken(void *arg, unsigned buffer)
{
	struct program *p = arg;

	p->covered[buffer] = true;
	check(vfd_unpin(p->pins, &p->buffer_pins[buffer], 1, &failure));
}

/* The driver's: all but those in which the application keeps a packet. */
static void find_pool(const struct packets *packets, bool *pool)
{
	for (unsigned i = 0; i < BUFFERS; i++)
		pool[i] = true;
	for (unsigned i = 0; i < packets->count; i++)
		pool[packets_buffer(packets, packets->kept[(packets->oldest + i) % BUFFERS])] = false;
}

static void pin_buffers(struct program *p)
{
	struct packets *packets = &p->packets;
	bool pool[BUFFERS];

	find_pool(packets, pool);
	for (unsigned i = 0; i < BUFFERS; i++)
		if (pool[i])
			buffer_given(p, i);
	packets->arg = p;
	packets->given = buffer_given;
	packets->taken = buffer_taken;
}

/* Descriptor rings are written too, by receiving and by sending. Where they lie is the driver's affair: somewhere in DPDK's memory.
 * It is not logged, so the pins mark nothing; they keep it from being unmapped through the library. */
static void pin_segments(struct program *p)
{
	struct vfd_pin pin; /* forgotten: held to the end */

	for (uint32_t i = 0; i < p->mapping_count; i++)
		if (p->mappings[i].flags & VFD_MAP_UNLOGGED)
			check(vfd_pin(p->pins, p->mappings[i].memory, p->mappings[i].size,
				      VFD_PIN_READ | VFD_PIN_WRITE, &pin, &failure));
}

static void promise_pins(struct program *p, bool forget)
{
	struct vfd_pinset_options options = { .struct_size = sizeof options,
					      .capacity = BUFFERS + p->mapping_count,
					      .name = "packets" };
	struct vfd_device *device;

	for (uint16_t port = 0; port < p->packets.ports; port++) {
		check(vfd_device_find(p->container, p->devices[port].name, &device, &failure));
		check(vfd_device_pins_all(device, &failure));
	}
	check(vfd_pinset_create(p->container, &options, &p->pins, &failure));
	pin_segments(p);
	if (!forget)
		pin_buffers(p);
}

/* ---- the migration --------------------------------------------------------------------- */

static void receive_until(struct program *p, uint64_t goal)
{
	time_t end = time(NULL) + 300;

	while (p->packets.received < goal) {
		packets_turn(&p->packets);
		if (time(NULL) > end)
			die("%llu of %llu packets arrived in five minutes",
			    (unsigned long long)p->packets.received, (unsigned long long)goal);
	}
}

/* The devices go on meanwhile. What is to be sent is counted apart from the library. */
static void send_round(struct program *p, uint64_t number)
{
	uint64_t covered = 0, expected = 0;
	bool pool[BUFFERS];

	find_pool(&p->packets, pool);
	for (unsigned i = 0; i < BUFFERS; i++) {
		covered += p->covered[i];
		expected += p->covered[i] || pool[i];
	}
	memset(p->covered, 0, sizeof p->covered);
	check(vfd_track_harvest(p->container, 0, NULL, &failure));
	uint64_t sent = copy_owed(&p->copy);
	p->sent += sent;
	p->expected += expected;
	printf("round %2llu: %4llu pages sent, %4llu had packets, %3u pinned\n", (unsigned long long)number,
	       (unsigned long long)sent, (unsigned long long)covered, BUFFERS - p->packets.count);
}

static int migrate(struct program *p, const struct options *o)
{
	uint64_t before = p->packets.received;

	check(vfd_track_start(p->container, NULL, NULL, &failure));
	copy_initial(&p->copy);
	for (uint64_t i = 1; i <= o->rounds; i++) {
		receive_until(p, before + o->packets * i / o->rounds);
		send_round(p, i);
	}
	printf("%llu packets sent, %llu received\n", (unsigned long long)p->packets.sent,
	       (unsigned long long)p->packets.received);
	int failed = verdict(!p->packets.wrong, "each packet is as it was sent");
	if (p->packets.given)
		failed += verdict(p->sent == p->expected,
				  "exactly the pages with packets, and pinned, were sent: %llu of %llu",
				  (unsigned long long)p->sent, (unsigned long long)(o->rounds * BUFFERS));
	return failed;
}

/* Pins go when the devices are stopped and closed, as far as the library has them; then their pages are owed once more. */
static int finish(struct program *p)
{
	receive_until(p, p->packets.received + 100);
	packets_stop(&p->packets);
	for (uint16_t port = 0; port < p->packets.ports; port++) {
		struct vfd_device *device;
		check(vfd_device_find(p->container, p->devices[port].name, &device, &failure));
		check(vfd_device_close(&device, VFD_COLLECT, &failure));
	}
	check(vfd_pinset_destroy(&p->pins, VFD_PIN_ABANDON, &failure));
	check(vfd_container_close(&p->container, VFD_COLLECT, &failure));
	printf("last round: %llu pages sent\n", (unsigned long long)copy_owed(&p->copy));
	return copy_end(&p->copy);
}

/* DPDK has all that is its own, as before. */
static void give_back(struct program *p)
{
	for (uint16_t port = 0; port < p->packets.ports; port++)
		rte_vfio_release_device(pci, p->devices[port].name, p->devices[port].fd);
	packets_close(&p->packets);
	free(p->mappings);
}

static int run(const struct options *o)
{
	static struct program p;

	packets_open(&p.packets);
	receive_until(&p, 2000);
	copy_begin(&p.copy, p.packets.memory, MEMORY_SIZE);
	adopt(&p);
	promise_pins(&p, o->no_pins);
	int failed = check_adopted(&p);
	failed += migrate(&p, o);
	failed += finish(&p);
	give_back(&p);
	return failed;
}

/* ---- arguments ------------------------------------------------------------------------- */

static _Noreturn void usage(FILE *to, int code)
{
	fputs(usage_text, to);
	exit(code);
}

static uint64_t number(const char *text)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 10);

	if (*end || *text < '0' || *text > '9' || !value || value > UINT32_MAX)
		usage(stderr, 2);
	return value;
}

static void set(struct options *o, int option)
{
	switch (option) {
	case 'p':
		o->packets = number(optarg);
		break;
	case 'r':
		o->rounds = number(optarg);
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

/* Ours begin with the "--" that ends those of DPDK. */
static struct options parse(int argc, char **argv)
{
	static const struct option names[] = {
		{ "packets", required_argument, NULL, 'p' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "no-pins", no_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	struct options o = { .packets = 5000, .rounds = 25 };
	int c;

	while ((c = getopt_long(argc, argv, "h", names, NULL)) != -1)
		set(&o, c);
	if (optind != argc)
		usage(stderr, 2);
	return o;
}

int main(int argc, char **argv)
{
	int own = 1;

	if (argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")))
		usage(stdout, 0);
	while (own < argc && strcmp(argv[own], "--"))
		own++;
	struct options o = own < argc ? parse(argc - own, argv + own) : parse(1, argv);
	if (rte_eal_init(own, argv) < 0)
		die("rte_eal_init: %s", rte_strerror(rte_errno));
	int failed = run(&o);
	rte_eal_cleanup();
	return failed ? 1 : 0;
}
