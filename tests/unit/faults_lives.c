/* SPDX-License-Identifier: MIT */

/* Lifecycles: short programs over an abstract world, run once without faults and then once for each fault. */

#include "faults_world.h"

#include <endian.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "uapi.h"

enum { RW = VFD_MAP_READ | VFD_MAP_WRITE };

static const struct model_config one_group = {
	.group_count = 1,
	.groups = { { .number = 7, .kind = MODEL_EMULATED, .devices = { { .name = "vfdtest.0" } } } },
};

static const struct model_config two_groups = {
	.group_count = 2,
	.groups = { { .number = 7, .kind = MODEL_EMULATED, .devices = { { .name = "vfdtest.0" } } },
		    { .number = 8, .kind = MODEL_EMULATED, .devices = { { .name = "vfdtest.1" } } } },
};

static const struct model_config one_pci = {
	.group_count = 1,
	.groups = { { .number = 7,
		      .kind = MODEL_EMULATED,
		      .devices = { { .name = "0000:01:00.0", .pci = true } } } },
};

static const struct model_config restless = {
	.group_count = 2,
	.groups = { { .number = 7,
		      .kind = MODEL_EMULATED,
		      .devices = { { .name = "vfdtest.0", .no_reset = true } } },
		    { .number = 8,
		      .kind = MODEL_EMULATED,
		      .devices = { { .name = "vfdtest.1", .no_reset = true } } } },
};

static const struct model_config mixed = {
	.group_count = 2,
	.groups = { { .number = 7, .kind = MODEL_EMULATED, .devices = { { .name = "vfdtest.0" } } },
		    { .number = 9,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = "0000:02:00.0", .pci = true } } } },
};

static const struct model_log its_log;

static const struct model_config logging = {
	.group_count = 1,
	.groups = { { .number = 9,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = "0000:02:00.0", .pci = true, .log = &its_log } } } },
};

static const struct model_log ends_on_stop = { .ends_on_stop = true };
static const struct model_migration states = {
	.flags = UAPI_MIGRATION_STOP_COPY | UAPI_MIGRATION_P2P | UAPI_MIGRATION_PRE_COPY,
};

static const struct model_config migrating = {
	.group_count = 1,
	.groups = { { .number = 9,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = "0000:02:00.0",
				     .pci = true,
				     .log = &ends_on_stop,
				     .migration = &states } } } },
};

/* It cannot log all that may be mapped, only what is. */
static const struct model_log its_small_log = { .total_limit = 400 * MODEL_PAGE_SIZE };

static const struct model_config logging_little = {
	.group_count = 1,
	.groups = { { .number = 9,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = "0000:02:00.0", .pci = true, .log = &its_small_log } } } },
};

/* ---- pieces ---- */

/* Four mappings: neighbours that one question covers, one at an odd offset, one read-only. */
static void map_some(struct world *w)
{
	DO(w, world_map(w, 0, 0, 64, RW));
	DO(w, world_map(w, 64, 128, 64, RW));
	DO(w, world_map(w, 130, 256, 70, RW));
	DO(w, world_map(w, 300, 400, 20, VFD_MAP_READ));
}

static void attach(struct world *w, int index, int number)
{
	DO(w, vfd_group_attach(w->container, number, &w->groups[index], &w->err));
}

static void open_device(struct world *w, unsigned index, const char *name)
{
	DO(w, vfd_device_open(w->groups[index], name, &w->devices[index], &w->err));
	world_run(w, index);
	world_pin(w, index, 3 + index, 2);
}

static void hear(const struct vfd_message *message, void *world)
{
	if (message->struct_size != sizeof *message || !message->kind || !message->text[0])
		world_fail(world, "a message of kind %u that says \"%s\"", message->kind, message->text);
}

static void begin(struct world *w)
{
	DO(w, world_open(w));
	DO(w, vfd_container_messages(w->container, VFD_LEVEL_DEBUG, hear, w, &w->err));
	attach(w, 0, 7);
	if (w->gave_up)
		return;
	DO(w, vfd_track_start(w->container, NULL, NULL, &w->err));
	map_some(w);
}

static void begin_with_device(struct world *w)
{
	begin(w);
	if (!w->gave_up)
		open_device(w, 0, "vfdtest.0");
}

static void harvest(struct world *w, unsigned flags)
{
	DO(w, vfd_track_harvest(w->container, flags, NULL, &w->err));
	world_consume(w);
}

static void detach(struct world *w, int index, unsigned flags)
{
	DO(w, vfd_group_detach(&w->groups[index], flags, &w->err));
	w->devices[index] = NULL;
}

static void close_all(struct world *w, unsigned flags)
{
	DO(w, vfd_container_close(&w->container, flags, &w->err));
	w->devices[0] = w->devices[1] = NULL;
}

#define THEN(w, piece)                                                                                       \
	do {                                                                                                 \
		piece;                                                                                       \
		if ((w)->gave_up)                                                                            \
			return;                                                                              \
	} while (0)

/* ---- lifecycles ---- */

/* Everything step by step, nothing destroyed before it is drained. */
static void by_hand(struct world *w)
{
	THEN(w, begin_with_device(w));
	THEN(w, harvest(w, 0));
	DO(w, world_unmap(w, 64, 64));
	world_unpin(w, 0, 4, 1);
	THEN(w, harvest(w, 0));
	DO(w, vfd_device_quiesce(w->devices[0], &w->err));
	THEN(w, harvest(w, VFD_HARVEST_FINAL));
	DO(w, vfd_device_close(&w->devices[0], 0, &w->err));
	THEN(w, harvest(w, 0));
	THEN(w, detach(w, 0, 0));
	close_all(w, 0);
}

/* One call collects it all. */
static void detach_collect(struct world *w)
{
	THEN(w, begin_with_device(w));
	DO(w, world_unmap(w, 0, 200));
	DO(w, world_map(w, 512, 512, 128, RW));
	THEN(w, detach(w, 0, VFD_COLLECT));
	close_all(w, 0);
}

static void close_collect(struct world *w)
{
	THEN(w, begin_with_device(w));
	close_all(w, VFD_COLLECT);
}

/* Several entries of the kernel at once, all or none, under a device that writes to those that are there. */
static void map_many(struct world *w)
{
	DO(w, world_cut(w, 500, 500, 200, 64));
	DO(w, world_list(w, 720, 720));
	DO(w, world_unmap(w, 512, 64));
	DO(w, world_cut(w, 512, 600, 64, 32));
}

static void in_pieces(struct world *w)
{
	THEN(w, begin_with_device(w));
	THEN(w, map_many(w));
	THEN(w, harvest(w, 0));
	DO(w, world_unmap(w, 500, 200));
	THEN(w, detach(w, 0, VFD_COLLECT));
	close_all(w, 0);
}

/* Neighbours in IOVA that are none in the log: one question, and its answer in many parts. */
static void scattered(struct world *w)
{
	DO(w, world_open(w));
	THEN(w, attach(w, 0, 7));
	DO(w, vfd_track_start(w->container, NULL, NULL, &w->err));
	for (uint64_t i = 0; i < 8; i++)
		DO(w, world_map(w, 64 * i, 128 * (i * 3 % 8), 64, RW));
	THEN(w, open_device(w, 0, "vfdtest.0"));
	THEN(w, harvest(w, 0));
	THEN(w, detach(w, 0, VFD_COLLECT));
	close_all(w, 0);
}

/* Devices that nothing can make quiet: they write until they are closed, after the first look at the record. */
static void cannot_be_quiesced(struct world *w)
{
	THEN(w, begin_with_device(w));
	THEN(w, attach(w, 1, 8));
	THEN(w, open_device(w, 1, "vfdtest.1"));
	DO(w, vfd_device_close(&w->devices[1], VFD_COLLECT, &w->err));
	THEN(w, detach(w, 1, 0));
	THEN(w, detach(w, 0, VFD_COLLECT));
	close_all(w, 0);
}

/* The device is taken away while it works; the kernel waits for its last close, then detaches the group. */
static void unplugged(struct world *w)
{
	THEN(w, begin_with_device(w));
	THEN(w, harvest(w, 0));
	model_unplug(w->model, 7);
	DO(w, world_unmap(w, 64, 64));
	THEN(w, harvest(w, 0));
	DO(w, vfd_device_close(&w->devices[0], VFD_COLLECT, &w->err));
	THEN(w, detach(w, 0, VFD_COLLECT));
	close_all(w, VFD_COLLECT);
}

/* The same, but the detach is what closes the device. */
static void unplugged_into_detach(struct world *w)
{
	THEN(w, begin_with_device(w));
	model_unplug(w->model, 7);
	THEN(w, detach(w, 0, VFD_COLLECT));
	close_all(w, VFD_COLLECT);
}

/* Two groups; one leaves with its device, the record lives on, and the other is taken away later. */
static void half_unplugged(struct world *w)
{
	THEN(w, begin_with_device(w));
	THEN(w, attach(w, 1, 8));
	THEN(w, open_device(w, 1, "vfdtest.1"));
	THEN(w, harvest(w, 0));
	model_unplug(w->model, 8);
	DO(w, vfd_device_close(&w->devices[1], VFD_COLLECT, &w->err));
	THEN(w, detach(w, 1, VFD_COLLECT));
	THEN(w, harvest(w, 0));
	THEN(w, detach(w, 0, VFD_COLLECT));
	close_all(w, 0);
}

static void two_leave(struct world *w)
{
	THEN(w, begin_with_device(w));
	THEN(w, attach(w, 1, 8));
	THEN(w, open_device(w, 1, "vfdtest.1"));
	THEN(w, detach(w, 1, VFD_COLLECT));
	THEN(w, harvest(w, 0));
	w->assumes |= w->recorded;
	DO(w, vfd_unmap_all(w->container, &w->err));
	DO(w, world_map(w, 256, 128, 64, RW));
	THEN(w, detach(w, 0, VFD_COLLECT));
	close_all(w, 0);
}

static void master_on(struct world *w, unsigned index)
{
	uint16_t command = htole16(PCI_COMMAND_MASTER);

	DO(w, vfd_device_write(w->devices[index], VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command,
			       sizeof command, &w->err));
}

/* A physical group makes everything dirty while it is there; the emulated one outlives it. */
static void physical_leaves(struct world *w)
{
	THEN(w, begin_with_device(w));
	w->physical = "0000:02:00.0";
	THEN(w, attach(w, 1, 9));
	THEN(w, open_device(w, 1, "0000:02:00.0"));
	THEN(w, master_on(w, 1));
	THEN(w, harvest(w, 0));
	DO(w, world_unmap(w, 64, 64));
	THEN(w, detach(w, 1, VFD_COLLECT));
	DO(w, world_map(w, 512, 512, 64, RW));
	THEN(w, harvest(w, 0));
	THEN(w, detach(w, 0, VFD_COLLECT));
	close_all(w, 0);
}

static void pieces_and_physical(struct world *w)
{
	THEN(w, begin_with_device(w));
	w->physical = "0000:02:00.0";
	THEN(w, attach(w, 1, 9));
	THEN(w, open_device(w, 1, "0000:02:00.0"));
	THEN(w, master_on(w, 1));
	THEN(w, map_many(w));
	THEN(w, detach(w, 1, VFD_COLLECT));
	THEN(w, detach(w, 0, VFD_COLLECT));
	close_all(w, 0);
}

static void physical_stays(struct world *w)
{
	w->physical = "0000:02:00.0";
	DO(w, world_open(w));
	THEN(w, attach(w, 1, 9));
	THEN(w, map_some(w));
	DO(w, vfd_track_start(w->container, NULL, NULL, &w->err));
	THEN(w, open_device(w, 1, "0000:02:00.0"));
	THEN(w, master_on(w, 1));
	THEN(w, attach(w, 0, 7));
	THEN(w, open_device(w, 0, "vfdtest.0"));
	THEN(w, detach(w, 0, VFD_COLLECT));
	DO(w, vfd_device_quiesce(w->devices[1], &w->err));
	THEN(w, harvest(w, VFD_HARVEST_FINAL));
	DO(w, vfd_device_close(&w->devices[1], 0, &w->err));
	THEN(w, detach(w, 1, 0));
	close_all(w, 0);
}

/* It logs its own DMA: without a fault nothing is deferred. */
static void begin_logging(struct world *w)
{
	w->physical = "0000:02:00.0";
	w->logging = true;
	DO(w, world_open(w));
	THEN(w, attach(w, 1, 9));
	THEN(w, map_some(w));
	THEN(w, open_device(w, 1, "0000:02:00.0"));
	THEN(w, master_on(w, 1));
	DO(w, vfd_track_start(w->container, NULL, NULL, &w->err));
	THEN(w, harvest(w, 0));
	world_consume(w);
	DO(w, world_unmap(w, 64, 64));
	DO(w, world_map(w, 64, 600, 32, RW));
	THEN(w, harvest(w, 0));
}

static void logs_by_hand(struct world *w)
{
	THEN(w, begin_logging(w));
	DO(w, vfd_device_quiesce(w->devices[1], &w->err));
	THEN(w, harvest(w, VFD_HARVEST_FINAL));
	DO(w, vfd_device_close(&w->devices[1], 0, &w->err));
	THEN(w, detach(w, 1, 0));
	close_all(w, 0);
}

static void logs_stop_and_start(struct world *w)
{
	THEN(w, begin_logging(w));
	DO(w, vfd_device_quiesce(w->devices[1], &w->err));
	DO(w, vfd_track_stop(w->container, VFD_COLLECT, &w->err));
	DO(w, vfd_device_resume(w->devices[1], &w->err));
	DO(w, vfd_track_start(w->container, NULL, NULL, &w->err));
	THEN(w, detach(w, 1, VFD_COLLECT));
	close_all(w, 0);
}

static void set_state(struct world *w, uint32_t state)
{
	DO(w, vfd_migration_set(&w->devices[1], 1, state, &w->err));
}

static void read_some(struct world *w)
{
	char data[4096];
	size_t done;

	DO(w, vfd_migration_read(w->devices[1], data, sizeof data, &done, &w->err));
}

/* It is stopped with its data half read and read on; then the migration is given up, with its log begun anew while it is silent: that ends when
 * STOP_COPY is left. */
static void migrates(struct world *w)
{
	THEN(w, begin_logging(w));
	THEN(w, set_state(w, VFD_MIG_PRE_COPY));
	THEN(w, read_some(w));
	THEN(w, harvest(w, 0));
	THEN(w, set_state(w, VFD_MIG_STOP_COPY));
	THEN(w, read_some(w));
	THEN(w, set_state(w, VFD_MIG_STOP));
	DO(w, vfd_track_start(w->container, NULL, NULL, &w->err));
	THEN(w, set_state(w, VFD_MIG_RUNNING));
	THEN(w, harvest(w, 0));
	DO(w, vfd_device_quiesce(w->devices[1], &w->err));
	THEN(w, harvest(w, VFD_HARVEST_FINAL));
	DO(w, vfd_device_close(&w->devices[1], 0, &w->err));
	THEN(w, detach(w, 1, 0));
	close_all(w, 0);
}

/* Closed in the middle of it, streams and all. */
static void migrates_away(struct world *w)
{
	THEN(w, begin_logging(w));
	THEN(w, set_state(w, VFD_MIG_STOP_COPY));
	THEN(w, read_some(w));
	THEN(w, detach(w, 1, VFD_COLLECT));
	close_all(w, 0);
}

/* Mapped where its log does not look while it cannot write: it is armed anew before it wakes. */
static void logs_anew_paused(struct world *w)
{
	THEN(w, begin_logging(w));
	DO(w, vfd_device_quiesce(w->devices[1], &w->err));
	DO(w, world_map(w, 700, 700, 32, RW));
	DO(w, vfd_device_resume(w->devices[1], &w->err));
	THEN(w, harvest(w, 0));
	DO(w, world_unmap(w, 0, 64));
	THEN(w, detach(w, 1, VFD_COLLECT));
	close_all(w, 0);
}

static void logs_anew_running(struct world *w)
{
	struct vfd_rearm_options options = { .struct_size = sizeof options, .flags = VFD_REARM_RUNNING };

	THEN(w, begin_logging(w));
	w->assumes = true;
	DO(w, world_map(w, 700, 700, 32, RW));
	DO(w, vfd_track_rearm(w->container, &options, NULL, &w->err));
	world_consume(w);
	THEN(w, harvest(w, 0));
	DO(w, vfd_device_quiesce(w->devices[1], &w->err));
	THEN(w, harvest(w, VFD_HARVEST_FINAL));
	DO(w, vfd_device_close(&w->devices[1], 0, &w->err));
	THEN(w, detach(w, 1, 0));
	close_all(w, 0);
}

/* Mappings are remembered and replayed; each time the record is a new one. */
static void again(struct world *w)
{
	THEN(w, begin_with_device(w));
	for (int i = 0; i < 2; i++) {
		THEN(w, detach(w, 0, VFD_COLLECT));
		DO(w, world_map(w, 512 + 64 * (uint64_t)i, 640 + 64 * (uint64_t)i, 64, RW));
		THEN(w, attach(w, 0, 7));
		THEN(w, open_device(w, 0, "vfdtest.0"));
		THEN(w, harvest(w, 0));
	}
	THEN(w, detach(w, 0, VFD_COLLECT));
	close_all(w, 0);
}

static void stop_and_start(struct world *w)
{
	THEN(w, begin_with_device(w));
	DO(w, vfd_device_quiesce(w->devices[0], &w->err));
	DO(w, vfd_track_stop(w->container, VFD_COLLECT, &w->err));
	DO(w, vfd_track_start(w->container, NULL, NULL, &w->err));
	DO(w, vfd_device_resume(w->devices[0], &w->err));
	world_run(w, 0);
	THEN(w, harvest(w, 0));
	DO(w, vfd_device_close(&w->devices[0], VFD_COLLECT, &w->err));
	DO(w, vfd_track_stop(w->container, 0, &w->err));
	THEN(w, detach(w, 0, 0));
	close_all(w, 0);
}

/* A device with mapped registers and interrupts: forgotten ones would keep it open. */
static void with_registers(struct world *w)
{
	struct vfd_device_region region = { .struct_size = sizeof region };

	THEN(w, begin_with_device(w));
	w->eventfd = eventfd(0, EFD_CLOEXEC);
	DO(w, vfd_device_region_info(w->devices[0], 1, &region, &w->err));
	DO(w, vfd_device_map(w->devices[0], 1, 0, WORLD_PAGE, &w->area, &w->err));
	DO(w, vfd_device_map(w->devices[0], 1, 2 * WORLD_PAGE, WORLD_PAGE, &w->area, &w->err));
	DO(w, vfd_device_unmap(w->devices[0], w->area, &w->err));
	DO(w, vfd_device_irq_enable(w->devices[0], 0, 0, &w->eventfd, 1, &w->err));
	DO(w, vfd_device_irq_enable(w->devices[0], 1, 0, &w->eventfd, 1, &w->err));
	DO(w, vfd_device_irq_disable(w->devices[0], 1, &w->err));
	DO(w, vfd_device_close(&w->devices[0], VFD_COLLECT, &w->err));
	THEN(w, detach(w, 0, 0));
	close_all(w, 0);
}

/* Bus mastering through config space: short and failing reads and writes. */
static void with_config_space(struct world *w)
{
	THEN(w, begin(w));
	DO(w, vfd_device_open(w->groups[0], "0000:01:00.0", &w->devices[0], &w->err));
	THEN(w, master_on(w, 0));
	world_run(w, 0);
	world_pin(w, 0, 10, 3);
	DO(w, vfd_device_quiesce(w->devices[0], &w->err));
	THEN(w, harvest(w, 0));
	DO(w, vfd_device_resume(w->devices[0], &w->err));
	world_run(w, 0);
	THEN(w, harvest(w, 0));
	THEN(w, detach(w, 0, VFD_COLLECT));
	close_all(w, 0);
}

/* ---- adopting what raw calls made ---- */

static void raw(struct world *w, int fd, unsigned long request, void *arg)
{
	if (w->model->sys.ioctl(&w->model->sys, fd, request, arg) < 0)
		abort();
}

static void raw_map(struct world *w, uint64_t iova, uint64_t page, uint64_t count)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof map,
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)(w->memory + page * WORLD_PAGE),
		.iova = iova * WORLD_PAGE,
		.size = count * WORLD_PAGE,
	};

	raw(w, w->fds[0], VFIO_IOMMU_MAP_DMA, &map);
}

static void raw_container(struct world *w)
{
	const struct sys *sys = &w->model->sys;
	struct vfio_iommu_type1_dirty_bitmap start = {
		.argsz = sizeof start,
		.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_START,
	};
	char name[] = "vfdtest.0";

	w->fds[0] = sys->open(sys, "/dev/vfio/vfio", O_RDWR);
	w->fds[1] = sys->open(sys, "/dev/vfio/7", O_RDWR);
	raw(w, w->fds[1], VFIO_GROUP_SET_CONTAINER, &w->fds[0]);
	raw(w, w->fds[0], VFIO_SET_IOMMU, (void *)VFIO_TYPE1v2_IOMMU);
	raw_map(w, 0, 0, 64);
	raw_map(w, 100, 200, 100);
	raw(w, w->fds[0], VFIO_IOMMU_DIRTY_PAGES, &start);
	w->fds[2] = sys->ioctl(sys, w->fds[1], VFIO_GROUP_GET_DEVICE_FD, name);
	world_run(w, 0);
	world_pin(w, 0, 110, 3);
	model_step(w->model, 0, 20);
}

static int adopt_with(struct world *w, uint32_t flags)
{
	struct vfd_adopt_group group = { 7, w->fds[1] };
	struct vfd_adopt_device device = { 7, w->fds[2], "vfdtest.0" };
	struct vfd_mapping mappings[] = {
		{ .struct_size = sizeof mappings[0],
		  .flags = RW,
		  .size = 64 * WORLD_PAGE,
		  .memory = w->memory },
		{ .struct_size = sizeof mappings[0],
		  .flags = RW,
		  .iova = 100 * WORLD_PAGE,
		  .size = 100 * WORLD_PAGE,
		  .memory = w->memory + 200 * WORLD_PAGE },
	};
	struct vfd_adoption what = {
		.struct_size = sizeof what,
		.flags = flags,
		.container_fd = w->fds[0],
		.group_count = 1,
		.device_count = 1,
		.mapping_count = 2,
		.groups = &group,
		.devices = &device,
		.mappings = mappings,
		.log = w->log,
	};
	int rc = container_adopt_on(&w->model->sys, &what, &w->container, &w->err);

	w->adopted = !rc;
	if (!rc && !(flags & VFD_ADOPT_DUP))
		w->fds[0] = w->fds[1] = w->fds[2] = -1;
	return rc;
}

static void live_adopted(struct world *w)
{
	w->groups[0] = w->container->groups;
	w->devices[0] = w->groups[0]->devices;
	THEN(w, harvest(w, 0));
	DO(w, world_unmap(w, 0, 64));
	DO(w, world_map(w, 512, 512, 64, RW));
	THEN(w, harvest(w, 0));
}

static void adopted(struct world *w)
{
	DO(w, adopt_with(w, 0));
	THEN(w, live_adopted(w));
	THEN(w, detach(w, 0, VFD_COLLECT));
	close_all(w, 0);
}

/* On duplicates. The owner's device descriptor stays open, so the device cannot be closed, only quiesced. */
static void adopted_by_duplicates(struct world *w)
{
	DO(w, adopt_with(w, VFD_ADOPT_DUP));
	THEN(w, live_adopted(w));
	DO(w, vfd_device_quiesce(w->devices[0], &w->err));
	close_all(w, VFD_COLLECT);
}

#define RECORDED "a physical group is recorded as those of the other lifecycles are"
#define ADOPTED	 "what is adopted here is a container of type1"

const struct lifecycle lifecycles[] = {
	{ "by hand", &one_group, NULL, by_hand, NULL },
	{ "detach collect", &one_group, NULL, detach_collect, NULL },
	{ "close collect", &one_group, NULL, close_collect, NULL },
	{ "scattered", &one_group, NULL, scattered, NULL },
	{ "in pieces", &one_group, NULL, in_pieces, NULL },
	{ "in pieces, and physical", &mixed, NULL, pieces_and_physical, RECORDED },
	{ "cannot be quiesced", &restless, NULL, cannot_be_quiesced, NULL },
	{ "unplugged", &one_group, NULL, unplugged, NULL },
	{ "unplugged into detach", &one_group, NULL, unplugged_into_detach, NULL },
	{ "half-way unplug", &two_groups, NULL, half_unplugged, NULL },
	{ "two groups", &two_groups, NULL, two_leave, NULL },
	{ "physical leaves", &mixed, NULL, physical_leaves, RECORDED },
	{ "physical stays", &mixed, NULL, physical_stays, RECORDED },
	{ "logs its DMA", &logging, NULL, logs_by_hand, NULL },
	{ "logs, stops and starts", &logging, NULL, logs_stop_and_start, NULL },
	{ "migrates, and does not", &migrating, NULL, migrates, NULL },
	{ "migrates", &migrating, NULL, migrates_away, NULL },
	{ "logs anew, paused", &logging_little, NULL, logs_anew_paused, NULL },
	{ "logs anew, running", &logging_little, NULL, logs_anew_running, NULL },
	{ "attached again", &one_group, NULL, again, NULL },
	{ "stop and start", &one_group, NULL, stop_and_start, NULL },
	{ "registers and interrupts", &one_group, NULL, with_registers, NULL },
	{ "config space", &one_pci, NULL, with_config_space, NULL },
	{ "adopted", &one_group, raw_container, adopted, ADOPTED },
	{ "adopted by duplicates", &one_group, raw_container, adopted_by_duplicates, ADOPTED },
};
const unsigned lifecycle_count = sizeof lifecycles / sizeof lifecycles[0];
