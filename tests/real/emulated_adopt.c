/* SPDX-License-Identifier: MIT */

/* A container that raw ioctls opened, with tracking on and pages dirty. */

#include "emulated.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct raw {
	int container, group, device, number;
};

static void raw_map(const struct raw *raw, struct rig *rig, uint64_t page, uint64_t count)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof map,
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)(rig->memory + page * RIG_PAGE),
		.iova = RIG_IOVA + page * RIG_PAGE,
		.size = count * RIG_PAGE,
	};

	ok(!ioctl(raw->container, VFIO_IOMMU_MAP_DMA, &map), "raw MAP_DMA");
}

static struct raw raw_open(struct rig *rig)
{
	struct vfio_iommu_type1_dirty_bitmap start = { .argsz = sizeof start,
						       .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_START };
	struct raw raw = { .number = rig_group_number(0) };
	char path[32];

	snprintf(path, sizeof path, "/dev/vfio/%d", raw.number);
	raw.container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	raw.group = open(path, O_RDWR | O_CLOEXEC);
	ok(!ioctl(raw.group, VFIO_GROUP_SET_CONTAINER, &raw.container), "raw SET_CONTAINER");
	ok(!ioctl(raw.container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), "raw SET_IOMMU");
	raw_map(&raw, rig, 0, 512);
	raw_map(&raw, rig, 1024, 451);
	ok(!ioctl(raw.container, VFIO_IOMMU_DIRTY_PAGES, &start), "raw START");
	raw.device = ioctl(raw.group, VFIO_GROUP_GET_DEVICE_FD, "vfdtest.0");
	return raw;
}

/* first: how many pages the first mapping is said to have; it has 512. */
static int adopt(struct rig *rig, const struct raw *raw, uint32_t flags, uint32_t mappings, uint64_t first)
{
	struct vfd_adopt_group group = { raw->number, raw->group };
	struct vfd_adopt_device device = { raw->number, raw->device, "vfdtest.0" };
	struct vfd_mapping declared[] = {
		{ .struct_size = sizeof declared[0],
		  .flags = RIG_RW,
		  .iova = RIG_IOVA,
		  .size = first * RIG_PAGE,
		  .memory = rig->memory },
		{ .struct_size = sizeof declared[0],
		  .flags = RIG_RW,
		  .iova = RIG_IOVA + 1024 * RIG_PAGE,
		  .size = 451 * RIG_PAGE,
		  .memory = rig->memory + 1024 * RIG_PAGE },
	};
	struct vfd_adoption what = {
		.struct_size = sizeof what,
		.flags = flags,
		.container_fd = raw->container,
		.group_count = 1,
		.device_count = 1,
		.mapping_count = mappings,
		.groups = &group,
		.devices = &device,
		.mappings = declared,
		.log = rig->log,
	};

	return container_adopt_on(&rig_sys, &what, &rig->container, &rig->err);
}

static void begin(struct rig *rig)
{
	rig_open(rig);
	vfd_container_close(&rig->container, 0, &rig->err);
}

static void with_tracking_on(void)
{
	struct vfd_container_info info = { .struct_size = sizeof info };
	struct rig rig;

	begin(&rig);
	struct raw raw = raw_open(&rig);
	rig_write(0, 30, 10, 1);
	rig_pin(0, 1030, 3);
	ok_code(adopt(&rig, &raw, 0, 2, 512), 0, &rig.err, "adopt a container with tracking on");
	ok(!vfd_container_info(rig.container, &info, &rig.err) && info.tracking && info.mappings == 2 &&
		   info.writers == 1,
	   "tracking is known to be on, with 2 mappings and 1 writer");
	rig_write(0, 100, 10, 1);
	ok_code(rig_map(&rig, 512, 512, RIG_RW), 0, &rig.err, "map more");
	rig_write(0, 600, 10, 1);
	ok_code(vfd_container_close(&rig.container, VFD_COLLECT, &rig.err), 0, &rig.err, "close it");
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, "adopted");
	rig_close(&rig);
}

/* The owner keeps its descriptors: after the close it still has the container, and the device. */
static void by_duplicates(void)
{
	struct rig rig;

	begin(&rig);
	struct raw raw = raw_open(&rig);
	rig_write(0, 30, 10, 1);
	ok_code(adopt(&rig, &raw, VFD_ADOPT_DUP, 2, 512), 0, &rig.err, "adopt by duplicates");
	rig_write(0, 200, 10, 1);
	ok_code(vfd_container_close(&rig.container, VFD_COLLECT, &rig.err), 0, &rig.err, "close it");
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, "adopted by duplicates");
	ok(!rig_write(0, 300, 1, 1), "the owner's device works on");
	close(raw.device);
	close(raw.group);
	close(raw.container);
	rig_close(&rig);
}

/* The kernel cuts no mapping: so one that is not as declared is found, and said which. */
static void not_as_declared(void)
{
	struct rig rig;

	begin(&rig);
	struct raw raw = raw_open(&rig);
	rig_write(0, 30, 10, 1);
	rig_write(0, 1030, 10, 1);
	ok_code(adopt(&rig, &raw, 0, 2, 256), VFD_ECUT, &rig.err, "a mapping that is longer than declared");
	ok(rig.err.first == RIG_IOVA && rig.err.last == RIG_IOVA + 256 * RIG_PAGE - 1,
	   "the error names its range");
	ok_code(adopt(&rig, &raw, 0, 2, 512), 0, &rig.err, "declared as it is");
	ok_code(vfd_container_close(&rig.container, VFD_COLLECT, &rig.err), 0, &rig.err, "close it");
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_nothing_lost(&log, &truth, "declared wrongly, then rightly");
	rig_close(&rig);
}

static void v1(void)
{
	struct rig rig;

	begin(&rig);
	struct raw raw = { .number = rig_group_number(0) };
	char path[32];
	snprintf(path, sizeof path, "/dev/vfio/%d", raw.number);
	raw.container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	raw.group = open(path, O_RDWR | O_CLOEXEC);
	ioctl(raw.group, VFIO_GROUP_SET_CONTAINER, &raw.container);
	ok(!ioctl(raw.container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU), "raw SET_IOMMU to type1 v1");
	raw.device = ioctl(raw.group, VFIO_GROUP_GET_DEVICE_FD, "vfdtest.0");
	ok_code(adopt(&rig, &raw, 0, 0, 512), 0, &rig.err, "adopt a v1 container");
	ok_code(vfd_track_start(rig.container, NULL, NULL, &rig.err), VFD_EUNSUPPORTED, &rig.err,
		"which cannot track");
	ok_code(rig_map(&rig, 0, 64, RIG_RW), 0, &rig.err, "but map");
	ok_code(rig_unmap(&rig, 0, 64), 0, &rig.err, "and unmap");
	rig_close(&rig);
}

void test_adopt(void)
{
	with_tracking_on();
	by_duplicates();
	not_as_declared();
	v1();
}
