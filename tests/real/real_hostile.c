/* SPDX-License-Identifier: MIT */

/* Adopting from someone who is not to be trusted, on the real kernel: descriptors that are no containers, groups or devices, and a peer who goes on
 * using the container. */

#include "hostile.h"

#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool raw_map(const struct raw *raw, struct rig *rig, uint64_t page, uint64_t count)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof map,
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)(rig->memory + page % RIG_PAGES * RIG_PAGE),
		.iova = RIG_IOVA + page * RIG_PAGE,
		.size = count * RIG_PAGE,
	};

	return !ioctl(raw->container, VFIO_IOMMU_MAP_DMA, &map);
}

bool raw_unmap(const struct raw *raw, uint64_t page, uint64_t count)
{
	struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof unmap,
						    .iova = RIG_IOVA + page * RIG_PAGE,
						    .size = count * RIG_PAGE };

	return !ioctl(raw->container, VFIO_IOMMU_UNMAP_DMA, &unmap) && unmap.size == count * RIG_PAGE;
}

void raw_switch(const struct raw *raw, uint32_t flag)
{
	struct vfio_iommu_type1_dirty_bitmap arg = { .argsz = sizeof arg, .flags = flag };

	ioctl(raw->container, VFIO_IOMMU_DIRTY_PAGES, &arg);
}

struct raw raw_open(struct rig *rig)
{
	struct raw raw = { .number = rig_group_number(0) };
	char path[32];

	snprintf(path, sizeof path, "/dev/vfio/%d", raw.number);
	raw.container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	raw.group = open(path, O_RDWR | O_CLOEXEC);
	bool good = !ioctl(raw.group, VFIO_GROUP_SET_CONTAINER, &raw.container) &&
		    !ioctl(raw.container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) && raw_map(&raw, rig, 0, 512) &&
		    raw_map(&raw, rig, 1024, 451);
	raw_switch(&raw, VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
	raw.device = ioctl(raw.group, VFIO_GROUP_GET_DEVICE_FD, "vfdtest.0");
	if (!good || raw.device < 0)
		ok(false, "a container by plain ioctls");
	return raw;
}

void raw_close(struct raw *raw)
{
	close(raw->device);
	close(raw->group);
	close(raw->container);
}

void hostile_begin(struct rig *rig)
{
	rig_open(rig);
	vfd_container_close(&rig->container, 0, &rig->err);
}

static struct vfd_mapping declared(const struct rig *rig, uint64_t page, uint64_t count)
{
	return (struct vfd_mapping){ .struct_size = sizeof(struct vfd_mapping),
				     .flags = RIG_RW,
				     .iova = RIG_IOVA + page * RIG_PAGE,
				     .size = count * RIG_PAGE,
				     .memory = rig->memory + page * RIG_PAGE };
}

int hostile_adopt(struct rig *rig, const struct raw *raw, uint32_t flags)
{
	const struct vfd_mapping mappings[RAW_MAPPINGS] = { declared(rig, 0, 512), declared(rig, 1024, 451) };
	const struct vfd_adopt_group group = { raw->number, raw->group };
	const struct vfd_adopt_device device = { raw->number, raw->device, "vfdtest.0" };
	const struct vfd_adoption what = {
		.struct_size = sizeof what,
		.flags = flags,
		.container_fd = raw->container,
		.group_count = 1,
		.device_count = 1,
		.mapping_count = RAW_MAPPINGS,
		.groups = &group,
		.devices = &device,
		.mappings = mappings,
		.log = rig->log,
	};

	return container_adopt_on(&rig_sys, &what, &rig->container, &rig->err);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	test_descriptors();
	test_peer();
	return done();
}
