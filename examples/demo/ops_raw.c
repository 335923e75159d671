/* SPDX-License-Identifier: MIT */

/* Plain ioctls, in the order that programs use today. Each call succeeds, and pages are lost. */

#include "demo.h"

#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static struct {
	int container, group, device;
	uint64_t *bits; /* what the kernel answered last */
	uint64_t *owed; /* pages to send */
	uint64_t pages, words, next;
} raw;

static void call(int fd, unsigned long request, void *arg, const char *what)
{
	if (ioctl(fd, request, arg) < 0)
		die_errno(what);
}

static int open_path(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die_errno(path);
	return fd;
}

static void open_container(const struct device *d)
{
	char path[32];

	snprintf(path, sizeof path, "/dev/vfio/%d", d->group);
	raw.container = open_path("/dev/vfio/vfio");
	raw.group = open_path(path);
	call(raw.group, VFIO_GROUP_SET_CONTAINER, &raw.container, "VFIO_GROUP_SET_CONTAINER");
	call(raw.container, VFIO_SET_IOMMU, (void *)VFIO_TYPE1v2_IOMMU, "VFIO_SET_IOMMU");
}

static void map(const struct source *s, uint64_t offset, uint64_t size)
{
	struct vfio_iommu_type1_dma_map m = {
		.argsz = sizeof m,
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)s->memory + offset,
		.iova = s->iova + offset,
		.size = size,
	};

	call(raw.container, VFIO_IOMMU_MAP_DMA, &m, "VFIO_IOMMU_MAP_DMA");
}

static void owe_everything(uint64_t size)
{
	raw.pages = size / PAGE;
	raw.words = (raw.pages + 63) / 64;
	raw.bits = calloc(raw.words, sizeof *raw.bits);
	raw.owed = calloc(raw.words, sizeof *raw.owed);
	if (!raw.bits || !raw.owed)
		die_errno("calloc");
	for (uint64_t i = 0; i < raw.pages; i++)
		raw.owed[i / 64] |= 1ull << i % 64;
	raw.next = 0;
}

static void raw_plug(struct source *s)
{
	struct vfio_iommu_type1_dirty_bitmap start = {
		.argsz = sizeof start,
		.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_START,
	};

	open_container(s->device);
	for (unsigned i = 0; i < SLOTS; i++)
		map(s, i * (s->size / SLOTS), s->size / SLOTS);
	call(raw.container, VFIO_IOMMU_DIRTY_PAGES, &start, "VFIO_IOMMU_DIRTY_PAGES START");
	raw.device = ioctl(raw.group, VFIO_GROUP_GET_DEVICE_FD, s->device->name);
	if (raw.device < 0)
		die_errno(s->device->name);
	owe_everything(s->size);
}

/* One call per mapping, as all programs do it. */
static void get_bitmap(uint64_t iova, uint64_t size, uint64_t *bits)
{
	struct { /* vfio_iommu_type1_dirty_bitmap, whose last member has no size, and what belongs there */
		uint32_t argsz, flags;
		struct vfio_iommu_type1_dirty_bitmap_get get;
	} d = {
		.argsz = sizeof d,
		.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
		.get = { .iova = iova,
			 .size = size,
			 .bitmap = { .pgsize = PAGE, .size = size / PAGE / 8, .data = (void *)bits } },
	};

	call(raw.container, VFIO_IOMMU_DIRTY_PAGES, &d, "VFIO_IOMMU_DIRTY_PAGES GET_BITMAP");
}

static void raw_harvest(struct source *s)
{
	uint64_t slot = s->size / SLOTS;

	for (unsigned i = 0; i < SLOTS; i++)
		get_bitmap(s->iova + i * slot, slot, raw.bits + i * (slot / PAGE / 64));
	for (uint64_t i = 0; i < raw.words; i++)
		raw.owed[i] |= raw.bits[i];
}

static bool owed(uint64_t page)
{
	return raw.owed[page / 64] >> page % 64 & 1;
}

static size_t raw_take(struct source *s, struct chunk window, struct chunk *chunks, size_t room)
{
	uint64_t end = (window.offset + window.size) / PAGE;
	size_t count = 0;

	(void)s;
	if (raw.next < window.offset / PAGE)
		raw.next = window.offset / PAGE;
	while (count < room) {
		while (raw.next < end && !owed(raw.next))
			raw.next++;
		uint64_t first = raw.next;
		while (raw.next < end && owed(raw.next))
			raw.next++;
		if (raw.next == first)
			break;
		chunks[count++] = (struct chunk){ first * PAGE, (raw.next - first) * PAGE };
	}
	return count;
}

static void raw_arrived(struct source *s, struct chunk window)
{
	(void)s;
	for (uint64_t i = window.offset / PAGE; i < (window.offset + window.size) / PAGE; i++)
		raw.owed[i / 64] &= ~(1ull << i % 64);
	raw.next = 0;
}

/* The point of it all: the kernel keeps the record only as long as the container has a group, and the device goes on writing
 * until it is closed. What it wrote after GET_BITMAP nobody can ask for any more. */
static void raw_unplug(struct source *s)
{
	raw_harvest(s);
	close(raw.device);
	call(raw.group, VFIO_GROUP_UNSET_CONTAINER, NULL, "VFIO_GROUP_UNSET_CONTAINER");
	close(raw.group);
}

static void raw_end(struct source *s)
{
	(void)s;
	close(raw.container);
	free(raw.bits);
	free(raw.owed);
}

const struct ops raw_ops = {
	.name = "plain ioctls",
	.plug = raw_plug,
	.harvest = raw_harvest,
	.take = raw_take,
	.arrived = raw_arrived,
	.unplug = raw_unplug,
	.end = raw_end,
};
