/* SPDX-License-Identifier: MIT */
#include "type1.h"

#include <errno.h>
#include <stdlib.h>

#include "query.h"

static int call(const struct type1 *type1, unsigned long request, void *arg)
{
	return type1->sys->ioctl(type1->sys, type1->fd, request, arg);
}

int type1_refresh(struct type1 *type1)
{
	const struct vfio_iommu_type1_info question = { 0 };
	void *info;
	uint32_t size;
	int rc = query(type1->sys, type1->fd, VFIO_IOMMU_GET_INFO, &question, sizeof question, &info, &size);

	if (rc)
		return rc;
	caps_parse(info, size, &type1->caps);
	free(info);
	if (caps_page_size(&type1->caps))
		type1->page_size = caps_page_size(&type1->caps);
	return 0;
}

static int dirty_switch(const struct type1 *type1, uint32_t flag)
{
	struct vfio_iommu_type1_dirty_bitmap arg = { .argsz = sizeof arg, .flags = flag };
	int rc = call(type1, VFIO_IOMMU_DIRTY_PAGES, &arg);

	return rc < 0 ? rc : 0;
}

int type1_start(const struct type1 *type1)
{
	return dirty_switch(type1, VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
}

int type1_stop(const struct type1 *type1)
{
	return dirty_switch(type1, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP);
}

uint64_t type1_bitmap_bytes(const struct type1 *type1, struct range where)
{
	uint64_t pages = (where.last - where.first) / type1->page_size + 1;

	return (pages / 64 + (pages % 64 != 0)) * sizeof(uint64_t);
}

static struct uapi_bitmap bitmap_arg(const struct type1 *type1, struct range where, uint64_t *words)
{
	return (struct uapi_bitmap){
		.pgsize = type1->page_size,
		.size = type1_bitmap_bytes(type1, where),
		.data = (uintptr_t)words,
	};
}

int type1_get(const struct type1 *type1, struct range where, uint64_t *words)
{
	struct uapi_dirty_get arg = {
		.argsz = sizeof arg,
		.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
		.iova = where.first,
		.size = range_size(where),
		.bitmap = bitmap_arg(type1, where, words),
	};
	int rc = call(type1, VFIO_IOMMU_DIRTY_PAGES, &arg);

	return rc < 0 ? rc : 0;
}

/* A range without mappings answers 0 while tracking and writes nothing; EINVAL comes from the checks before. */
static int probe_tracking(const struct type1 *type1, uint64_t *words)
{
	uint64_t last = UINT64_MAX - type1->page_size;

	return type1_get(type1, (struct range){ last - type1->page_size + 1, last }, words);
}

enum type1_fault type1_diagnose(const struct type1 *type1, uint64_t *words)
{
	struct type1 now = *type1;

	int rc = type1_refresh(&now);

	if (rc == -EINVAL)
		return TYPE1_GONE;
	if (!rc && now.page_size != type1->page_size)
		return TYPE1_PAGE_SIZE;
	return probe_tracking(type1, words) ? TYPE1_STOPPED : TYPE1_ALIVE;
}

int type1_map(const struct type1 *type1, struct range where, const void *memory, bool read, bool write)
{
	struct vfio_iommu_type1_dma_map arg = {
		.argsz = sizeof arg,
		.flags = (read ? VFIO_DMA_MAP_FLAG_READ : 0) | (write ? VFIO_DMA_MAP_FLAG_WRITE : 0),
		.vaddr = (uintptr_t)memory,
		.iova = where.first,
		.size = range_size(where),
	};
	int rc = call(type1, VFIO_IOMMU_MAP_DMA, &arg);

	return rc < 0 ? rc : 0;
}

/* size in the answer is valid on success only: on an error the kernel leaves what was asked. */
static int unmap_call(const struct type1 *type1, struct uapi_unmap *arg, uint64_t *unmapped)
{
	int rc = call(type1, VFIO_IOMMU_UNMAP_DMA, arg);

	*unmapped = rc < 0 ? 0 : arg->size;
	return rc < 0 ? rc : 0;
}

int type1_unmap(const struct type1 *type1, struct range where, uint64_t *unmapped)
{
	struct uapi_unmap arg = {
		.argsz = UAPI_UNMAP_PLAIN_SIZE,
		.iova = where.first,
		.size = range_size(where),
	};

	return unmap_call(type1, &arg, unmapped);
}

int type1_unmap_harvest(const struct type1 *type1, struct range where, uint64_t *words, uint64_t *unmapped)
{
	struct uapi_unmap arg = {
		.argsz = sizeof arg,
		.flags = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
		.iova = where.first,
		.size = range_size(where),
		.bitmap = bitmap_arg(type1, where, words),
	};

	return unmap_call(type1, &arg, unmapped);
}
