/* SPDX-License-Identifier: MIT */
#include "owner.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int call(int fd, unsigned long request, void *arg, const char *what)
{
	int answer = ioctl(fd, request, arg);

	if (answer < 0)
		die("%s: %s", what, strerror(errno));
	return answer;
}

static int open_path(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	return fd;
}

static uint8_t *map(struct owner *o, uint64_t iova, uint64_t size, uint32_t flags)
{
	void *memory =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	struct vfio_iommu_type1_dma_map m = {
		.argsz = sizeof m,
		.flags = flags,
		.vaddr = (uintptr_t)memory,
		.iova = iova,
		.size = size,
	};

	if (memory == MAP_FAILED)
		die("no memory");
	call(o->container, VFIO_IOMMU_MAP_DMA, &m, "VFIO_IOMMU_MAP_DMA");
	return memory;
}

void owner_open(struct owner *o, int number, const char *device, int type)
{
	unsigned long iommu = type == 1 ? VFIO_TYPE1_IOMMU : VFIO_TYPE1v2_IOMMU;
	char path[32];

	*o = (struct owner){ .device = device, .number = number };
	snprintf(path, sizeof path, "/dev/vfio/%d", number);
	o->container = open_path("/dev/vfio/vfio");
	o->group = open_path(path);
	call(o->group, VFIO_GROUP_SET_CONTAINER, &o->container, "VFIO_GROUP_SET_CONTAINER");
	call(o->container, VFIO_SET_IOMMU, (void *)iommu, "VFIO_SET_IOMMU");
	o->ram = map(o, RAM_IOVA, RAM_SIZE, VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE);
	o->source = map(o, SOURCE_IOVA, SOURCE_SIZE, VFIO_DMA_MAP_FLAG_READ);
	o->fd = call(o->group, VFIO_GROUP_GET_DEVICE_FD, (void *)device, device);
	driver_open(o);
}

void owner_track(struct owner *o)
{
	struct vfio_iommu_type1_dirty_bitmap start = {
		.argsz = sizeof start,
		.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_START,
	};

	call(o->container, VFIO_IOMMU_DIRTY_PAGES, &start, "VFIO_IOMMU_DIRTY_PAGES START");
}

static void unmap(struct owner *o, uint64_t iova, uint64_t size)
{
	struct vfio_iommu_type1_dma_unmap u = { .argsz = sizeof u, .iova = iova, .size = size };

	call(o->container, VFIO_IOMMU_UNMAP_DMA, &u, "VFIO_IOMMU_UNMAP_DMA");
	if (u.size != size)
		die("VFIO_IOMMU_UNMAP_DMA: %llu bytes at %#llx, not %llu", (unsigned long long)u.size,
		    (unsigned long long)iova, (unsigned long long)size);
}

void owner_close(struct owner *o)
{
	unmap(o, RAM_IOVA, RAM_SIZE);
	unmap(o, SOURCE_IOVA, SOURCE_SIZE);
	close(o->fd);
	call(o->group, VFIO_GROUP_UNSET_CONTAINER, NULL, "VFIO_GROUP_UNSET_CONTAINER");
	close(o->group);
	close(o->container);
}
