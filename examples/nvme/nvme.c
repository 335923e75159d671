/* SPDX-License-Identifier: MIT */

/* The controller: from the PCI address to a working I/O queue, and back. */

#include "nvme.h"

#include "../shared-log.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "NVMe is little endian, and so is this driver");

enum {
	CAPABILITIES = 0x00, /* registers */
	CONFIGURATION = 0x14,
	STATUS = 0x1c,
	ADMIN_SIZES = 0x24,
	ADMIN_COMMANDS = 0x28,
	ADMIN_COMPLETIONS = 0x30,
	DOORBELLS = 0x1000,
	ENABLE = 1,		/* in CONFIGURATION */
	ENTRY_SIZES = 0x460000, /* 64 and 16 bytes; pages of 4096 bytes, the NVM command set */
	SHUT_DOWN = 1 << 14,
	READY = 1, /* in STATUS */
	FATAL = 2,
	SHUT_DOWN_DONE = 2 << 2,
	CREATE_SQ = 1, /* admin commands */
	CREATE_CQ = 5,
	IDENTIFY = 6,
	IDENTIFY_NAMESPACE = 0,
	IDENTIFY_CONTROLLER = 1,
	ADMIN_ENTRIES = 16,
	IO_ENTRIES = 2 * NVME_DEPTH,
	QUEUE_PAGES = 3, /* of each kind: admin, I/O, and for completions the answer to IDENTIFY */
};

static uint32_t get(struct nvme *n, unsigned at)
{
	return *(volatile uint32_t *)(n->registers + at);
}

static void put(struct nvme *n, unsigned at, uint32_t value)
{
	*(volatile uint32_t *)(n->registers + at) = value;
}

static uint64_t capabilities(struct nvme *n)
{
	return get(n, CAPABILITIES) | (uint64_t)get(n, CAPABILITIES + 4) << 32;
}

static void put_address(struct nvme *n, unsigned at, uint64_t address)
{
	put(n, at, (uint32_t)address);
	put(n, at + 4, (uint32_t)(address >> 32));
}

/* The controller itself says how long it may take, in half seconds. */
static void wait_status(struct nvme *n, uint32_t mask, uint32_t want, const char *what)
{
	uint64_t end = nvme_now() + ((capabilities(n) >> 24 & 0xff) + 1) * 500000000;

	while ((get(n, STATUS) & mask) != want) {
		if (nvme_now() > end)
			die("%s: the controller does not get %s (status %#x)", n->address, what,
			    get(n, STATUS));
		usleep(1000);
	}
}

static void disable(struct nvme *n)
{
	put(n, CONFIGURATION, get(n, CONFIGURATION) & ~(uint32_t)ENABLE);
	wait_status(n, READY, 0, "disabled");
}

/* ---- attach ---- */

/* Never a disk that another driver has: the kernel's own may have it mounted. */
static void must_be_ours(const char *address)
{
	char path[256], target[256];
	unsigned class = 0;

	snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/driver", address);
	ssize_t length = readlink(path, target, sizeof target - 1);
	target[length < 0 ? 0 : length] = 0;
	const char *driver = strrchr(target, '/');
	if (!driver || strcmp(driver, "/vfio-pci"))
		die("%s is %s%s, not to vfio-pci: refused", address,
		    driver ? "bound to " : "not there, or bound to nothing", driver ? driver + 1 : "");
	snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/class", address);
	FILE *file = fopen(path, "re");
	if (!file || fscanf(file, "%x", &class) != 1 || class != 0x010802)
		die("%s is no NVMe controller (class %06x)", address, class);
	fclose(file);
}

static void attach_device(struct nvme *n)
{
	struct vfd_container_options options = { .struct_size = sizeof options, .flags = VFD_FIND_MEMORY };

	options.log = n->log;
	check(vfd_container_open(&options, &n->container, &nvme_error));
	check(vfd_group_attach_device(n->container, n->address, &n->group, &nvme_error));
	check(vfd_device_open(n->group, n->address, &n->device, &nvme_error));
	check(vfd_device_pins_all(n->device, &nvme_error)); /* a promise: see nvme_start() and map_all() */
}

/* Registers first, and no bus mastering until the controller is disabled: it may still know addresses of another driver. */
static void map_registers(struct nvme *n)
{
	uint16_t command = 0;
	void *registers;

	check(vfd_device_read(n->device, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2,
			      &nvme_error));
	command = (uint16_t)((command | PCI_COMMAND_MEMORY) & ~PCI_COMMAND_MASTER);
	check(vfd_device_write(n->device, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2,
			       &nvme_error));
	check(vfd_device_map(n->device, VFIO_PCI_BAR0_REGION_INDEX, 0, 2L * NVME_PAGE, &registers,
			     &nvme_error));
	n->registers = registers;
}

static void map_all(struct nvme *n)
{
	uint64_t queues = QUEUE_PAGES * NVME_PAGE;

	nvme_map(n, &n->commands, VFD_MAP_READ | VFD_MAP_UNLOGGED);
	nvme_map(n, &n->completions, VFD_MAP_WRITE);
	nvme_map(n, &n->data, VFD_MAP_READ | VFD_MAP_WRITE);
	check(vfd_pinset_create(n->container, NULL, &n->pins, &nvme_error));
	check(vfd_pin(n->pins, n->commands.start, queues, VFD_PIN_READ, &n->commands_pin, &nvme_error));
	check(vfd_pin(n->pins, n->completions.start, queues, VFD_PIN_WRITE, &n->completions_pin,
		      &nvme_error));
}

/* ---- reset, enable, ask ---- */

static void set_up_queue(struct nvme *n, struct nvme_queue *q, uint16_t number, uint16_t size)
{
	uint64_t stride = UINT64_C(4) << (capabilities(n) >> 32 & 15);
	uint64_t bell = DOORBELLS + 2 * number * stride, page = (uint64_t)number * NVME_PAGE;

	*q = (struct nvme_queue){
		.commands = (void *)(n->commands.start + page),
		.completions = (void *)(n->completions.start + page),
		.commands_doorbell = (void *)(n->registers + bell),
		.completions_doorbell = (void *)(n->registers + bell + stride),
		.size = size,
		.phase = 1,
	};
	if (bell + 2 * stride > 2 * NVME_PAGE)
		die("%s: its doorbells are further apart than this driver wants", n->address);
}

static void enable(struct nvme *n)
{
	if (capabilities(n) >> 48 & 15 || (capabilities(n) & 0xffff) + 1 < IO_ENTRIES)
		die("%s: it wants larger pages or shorter queues", n->address);
	disable(n);
	set_up_queue(n, &n->admin, 0, ADMIN_ENTRIES);
	put(n, ADMIN_SIZES, (ADMIN_ENTRIES - 1) << 16 | (ADMIN_ENTRIES - 1));
	put_address(n, ADMIN_COMMANDS, n->commands_pin.iova);
	put_address(n, ADMIN_COMPLETIONS, n->completions_pin.iova);
	check(vfd_device_resume(n->device, &nvme_error)); /* bus mastering on */
	put(n, CONFIGURATION, ENTRY_SIZES | ENABLE);
	wait_status(n, READY | FATAL, READY, "ready");
}

static void admin(struct nvme *n, const struct nvme_command *command, const char *what)
{
	uint64_t end = nvme_now() + UINT64_C(5000000000);
	struct nvme_completion done;

	nvme_send(&n->admin, command);
	while (!nvme_completed(&n->admin, &done))
		if (nvme_now() > end)
			die("%s: no answer to %s", n->address, what);
	if (done.status >> 1)
		die("%s: %s failed, status %#x", n->address, what, done.status >> 1);
}

static const uint8_t *identify(struct nvme *n, uint32_t what, uint32_t namespace)
{
	uint64_t at = 2 * NVME_PAGE;
	struct nvme_command command = { .opcode = IDENTIFY,
					.namespace = namespace,
					.prp1 = n->completions_pin.iova + at,
					.words = { what } };

	admin(n, &command, "IDENTIFY");
	return n->completions.start + at;
}

static void learn_sizes(struct nvme *n)
{
	const uint8_t *answer = identify(n, IDENTIFY_CONTROLLER, 0);
	uint32_t format;

	printf("%s: %.40s, serial %.20s\n", n->address, answer + 24, answer + 4);
	answer = identify(n, IDENTIFY_NAMESPACE, 1);
	memcpy(&n->blocks, answer, sizeof n->blocks);
	memcpy(&format, answer + 128 + 4 * (answer[26] & 15), sizeof format);
	n->block_size = 1u << (format >> 16 & 31);
	if (!n->blocks || format & 0xffff || n->block_size < 512 || n->block_size > NVME_LARGEST)
		die("%s: namespace 1 is not there, or its blocks have metadata or %u bytes", n->address,
		    n->block_size);
	printf("namespace 1: %llu blocks of %u bytes\n", (unsigned long long)n->blocks, n->block_size);
}

/* Completions first: the other queue names it. Bit 0 of word 11: contiguous. */
static void create_io_queue(struct nvme *n)
{
	struct nvme_command command = { .prp1 = n->completions_pin.iova + NVME_PAGE,
					.words = { (IO_ENTRIES - 1) << 16 | 1, 1 } };

	set_up_queue(n, &n->io, 1, IO_ENTRIES);
	command.opcode = CREATE_CQ;
	admin(n, &command, "CREATE I/O COMPLETION QUEUE");
	command.opcode = CREATE_SQ;
	command.prp1 = n->commands_pin.iova + NVME_PAGE;
	command.words[1] = 1 << 16 | 1;
	admin(n, &command, "CREATE I/O SUBMISSION QUEUE");
}

void nvme_allocate(struct nvme *n, const char *address, uint64_t data_size)
{
	uint64_t queues = QUEUE_PAGES * NVME_PAGE;
	struct vfd_log_options options = { .struct_size = sizeof options };

	n->address = address;
	if (!shared_arena(&options, queues + data_size))
		die("no memory for the log");
	check(vfd_log_create(&options, &n->log, &nvme_error));
	n->commands = nvme_memory(NULL, 0, queues);
	n->completions = nvme_memory(n->log, 0, queues);
	n->data = nvme_memory(n->log, queues, data_size);
	for (uint32_t i = 0; i < NVME_DEPTH; i++)
		n->requests[i].next = i + 1;
}

/* The queues begin empty: an old completion would count as one of the first round. */
void nvme_attach(struct nvme *n)
{
	must_be_ours(n->address);
	memset(n->commands.start, 0, n->commands.size);
	memset(n->completions.start, 0, n->completions.size);
	attach_device(n);
	map_registers(n);
	map_all(n);
	enable(n);
	learn_sizes(n);
	create_io_queue(n);
}

void nvme_open(struct nvme *n, const char *address, uint64_t data_size)
{
	nvme_allocate(n, address, data_size);
	nvme_attach(n);
}

/* ---- the way back ---- */

void nvme_stop(struct nvme *n)
{
	put(n, CONFIGURATION, get(n, CONFIGURATION) | SHUT_DOWN);
	wait_status(n, 3 << 2, SHUT_DOWN_DONE, "shut down");
	disable(n);
	check(vfd_device_quiesce(n->device, &nvme_error));
}

void nvme_unpin(struct nvme *n)
{
	check(vfd_unpin(n->pins, &n->commands_pin, 1, &nvme_error));
	check(vfd_unpin(n->pins, &n->completions_pin, 1, &nvme_error));
	check(vfd_pinset_destroy(&n->pins, 0, &nvme_error));
}

void nvme_detach(struct nvme *n)
{
	check(vfd_container_close(&n->container, VFD_COLLECT, &nvme_error));
}

void nvme_close(struct nvme *n, unsigned flags)
{
	if (n->container)
		nvme_detach(n);
	check(vfd_log_destroy(&n->log, flags, &nvme_error));
}
