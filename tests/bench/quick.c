/* SPDX-License-Identifier: MIT */
#include "quick.h"

#include <linux/vfio.h>
#include <string.h>

#include "bench.h"
#include "container.h"
#include "logs.h"

uint64_t quick_dirty_every;
bool quick_writes_all, quick_unmaps_dirty, quick_populates_nothing;
double quick_inside_ns;

static int (*model_ioctl)(const struct sys *sys, int fd, unsigned long request, void *arg);

static void answer(const struct vfio_iommu_type1_dirty_bitmap_get *get)
{
	uint64_t *words = (uint64_t *)(void *)get->bitmap.data, pages = get->size / get->bitmap.pgsize;

	if (quick_writes_all)
		memset(words, 0, (size_t)((pages + 63) / 64 * 8));
	for (uint64_t page = 0; quick_dirty_every && page < pages; page += quick_dirty_every)
		words[page / 64] |= UINT64_C(1) << page % 64;
}

/* A function of its own: callgrind leaves it out. */
__attribute__((noinline)) static int quick_dirty_pages(const struct sys *sys, int fd, void *arg)
{
	const struct vfio_iommu_type1_dirty_bitmap *head = arg;

	if (!(head->flags & VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP))
		return model_ioctl(sys, fd, VFIO_IOMMU_DIRTY_PAGES, arg);
	double began = cpu_ns();
	answer((const void *)head->data);
	quick_inside_ns += cpu_ns() - began;
	return 0;
}

static int quick_unmap(const struct vfio_iommu_type1_dma_unmap *unmap)
{
	const struct vfio_bitmap *bitmap = (const void *)unmap->data;

	if (quick_unmaps_dirty && unmap->flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP)
		*bitmap->data |= 1;
	return 0;
}

/* It answers what a kernel would that has every mapping; the model never hears of them. */
static int quick_ioctl(const struct sys *sys, int fd, unsigned long request, void *arg)
{
	switch (request) {
	case VFIO_IOMMU_MAP_DMA:
		return 0;
	case VFIO_IOMMU_UNMAP_DMA:
		return quick_unmap(arg);
	case VFIO_IOMMU_DIRTY_PAGES:
		return quick_dirty_pages(sys, fd, arg);
	default:
		return model_ioctl(sys, fd, request, arg);
	}
}

/* What the kernel writes there it writes itself. */
static int quick_populate(const struct sys *sys, void *memory, size_t size)
{
	(void)sys, (void)memory, (void)size;
	return 0;
}

static void open_with(struct quick *q, uint64_t bytes, uint32_t flags)
{
	struct vfd_container_options how = { .struct_size = sizeof how, .flags = flags };
	struct vfd_group *group;

	q->model = model_new(NULL);
	model_ioctl = q->model->sys.ioctl;
	q->model->sys.ioctl = quick_ioctl;
	if (quick_populates_nothing)
		q->model->sys.populate = quick_populate;
	how.log = q->log = log_of(bytes);
	must("open", container_open_on(&q->model->sys, &how, &q->container, NULL));
	must("vfd_group_attach", vfd_group_attach(q->container, 7, &group, NULL));
}

void quick_open(struct quick *q, uint64_t bytes)
{
	open_with(q, bytes, VFD_FIND_MEMORY);
}

void quick_begin(struct quick *q, uint64_t bytes)
{
	quick_begin_with(q, bytes, 0);
}

void quick_begin_with(struct quick *q, uint64_t bytes, uint32_t flags)
{
	open_with(q, bytes, flags);
	must("vfd_track_start", vfd_track_start(q->container, NULL, NULL, NULL));
}

void quick_end(struct quick *q)
{
	must("vfd_container_close", vfd_container_close(&q->container, VFD_DISCARD, NULL));
	log_drop(q->log);
	model_free(q->model);
}

void quick_map(struct quick *q, uint64_t iova, uint64_t size)
{
	quick_map_memory(q, iova, PAGE, size);
}

void quick_map_memory(struct quick *q, uint64_t iova, uint64_t memory, uint64_t size)
{
	struct vfd_mapping mapping = { .struct_size = sizeof mapping,
				       .flags = VFD_MAP_READ | VFD_MAP_WRITE,
				       .iova = iova,
				       .size = size,
				       .memory = (void *)(uintptr_t)memory };

	must("vfd_map", vfd_map(q->container, &mapping, NULL));
}

void quick_harvest(struct quick *q)
{
	must("vfd_track_harvest", vfd_track_harvest(q->container, 0, NULL, NULL));
}
