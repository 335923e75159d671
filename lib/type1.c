/* SPDX-License-Identifier: MIT */
#include "type1.h"

#include <errno.h>
#include <stdlib.h>

#include "query.h"

static int call(const struct backend *backend, unsigned long request, void *arg)
{
	return backend->sys->ioctl(backend->sys, backend->fd, request, arg);
}

static int type1_begin(struct backend *backend)
{
	int rc = call(backend, VFIO_SET_IOMMU, (void *)VFIO_TYPE1v2_IOMMU);

	return rc < 0 ? rc : 0;
}

static int type1_refresh(struct backend *backend)
{
	const struct vfio_iommu_type1_info question = { 0 };
	void *info;
	uint32_t size;
	int rc = query(backend->sys, backend->fd, VFIO_IOMMU_GET_INFO, &question, sizeof question, &info,
		       &size);

	if (rc)
		return rc;
	caps_parse(info, size, &backend->caps);
	free(info);
	if (caps_page_size(&backend->caps) > BACKEND_LARGEST_PAGE)
		return -EPROTO;
	if (caps_page_size(&backend->caps))
		backend->page_size = caps_page_size(&backend->caps);
	return 0;
}

static int dirty_switch(const struct backend *backend, uint32_t flag)
{
	struct vfio_iommu_type1_dirty_bitmap arg = { .argsz = sizeof arg, .flags = flag };
	int rc = call(backend, VFIO_IOMMU_DIRTY_PAGES, &arg);

	return rc < 0 ? rc : 0;
}

static int type1_start(const struct backend *backend)
{
	return dirty_switch(backend, VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
}

static int type1_stop(const struct backend *backend)
{
	return dirty_switch(backend, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP);
}

static struct uapi_bitmap bitmap_arg(const struct backend *backend, struct range where, uint64_t *words)
{
	return (struct uapi_bitmap){
		.pgsize = backend->page_size,
		.size = backend_bitmap_bytes(backend, where),
		.data = (uintptr_t)words,
	};
}

static int type1_get(const struct backend *backend, struct range where, uint64_t *words)
{
	struct uapi_dirty_get arg = {
		.argsz = sizeof arg,
		.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
		.iova = where.first,
		.size = range_size(where),
		.bitmap = bitmap_arg(backend, where, words),
	};
	int rc = call(backend, VFIO_IOMMU_DIRTY_PAGES, &arg);

	return rc < 0 ? rc : 0;
}

/* A range without mappings answers 0 while tracking and writes nothing; EINVAL comes from the checks before. */
static int probe_tracking(const struct backend *backend, uint64_t *words)
{
	uint64_t last = UINT64_MAX - backend->page_size;

	return type1_get(backend, (struct range){ last - backend->page_size + 1, last }, words);
}

static enum record_fault type1_diagnose(const struct backend *backend, uint64_t *words)
{
	struct backend now = *backend;

	int rc = type1_refresh(&now);

	if (rc == -EINVAL)
		return RECORD_GONE;
	if (!rc && now.page_size != backend->page_size)
		return RECORD_PAGE_SIZE;
	return probe_tracking(backend, words) == -EINVAL ? RECORD_STOPPED : RECORD_ALIVE;
}

static int type1_map(const struct backend *backend, struct range where, const void *memory, bool read,
		     bool write)
{
	struct vfio_iommu_type1_dma_map arg = {
		.argsz = sizeof arg,
		.flags = (read ? VFIO_DMA_MAP_FLAG_READ : 0) | (write ? VFIO_DMA_MAP_FLAG_WRITE : 0),
		.vaddr = (uintptr_t)memory,
		.iova = where.first,
		.size = range_size(where),
	};
	int rc = call(backend, VFIO_IOMMU_MAP_DMA, &arg);

	return rc < 0 ? rc : 0;
}

/* size in the answer is valid on success only: on an error the kernel leaves what was asked. */
static int unmap_call(const struct backend *backend, struct uapi_unmap *arg, uint64_t *unmapped)
{
	int rc = call(backend, VFIO_IOMMU_UNMAP_DMA, arg);

	*unmapped = rc < 0 ? 0 : arg->size;
	return rc < 0 ? rc : 0;
}

static int type1_unmap(const struct backend *backend, struct range where, uint64_t *unmapped)
{
	struct uapi_unmap arg = {
		.argsz = UAPI_UNMAP_PLAIN_SIZE,
		.iova = where.first,
		.size = range_size(where),
	};

	return unmap_call(backend, &arg, unmapped);
}

static int type1_unmap_harvest(const struct backend *backend, struct range where, uint64_t *words,
			       uint64_t *unmapped)
{
	struct uapi_unmap arg = {
		.argsz = sizeof arg,
		.flags = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
		.iova = where.first,
		.size = range_size(where),
		.bitmap = bitmap_arg(backend, where, words),
	};

	return unmap_call(backend, &arg, unmapped);
}

const struct backend_ops type1_ops = {
	.who = "type1",
	.holes = true,
	.shifts = true,
	.locks = true,
	.begin_name = "VFIO_SET_IOMMU",
	.end_name = "VFIO_GROUP_UNSET_CONTAINER",
	.refresh_name = "VFIO_IOMMU_GET_INFO",
	.start_name = "VFIO_IOMMU_DIRTY_PAGES START",
	.stop_name = "VFIO_IOMMU_DIRTY_PAGES STOP",
	.get_name = "VFIO_IOMMU_DIRTY_PAGES GET_BITMAP",
	.map_name = "VFIO_IOMMU_MAP_DMA",
	.unmap_name = "VFIO_IOMMU_UNMAP_DMA",
	.begin = type1_begin,
	.refresh = type1_refresh,
	.start = type1_start,
	.stop = type1_stop,
	.get = type1_get,
	.diagnose = type1_diagnose,
	.map = type1_map,
	.unmap = type1_unmap,
	.unmap_harvest = type1_unmap_harvest,
};

/* ---- without an IOMMU ---- */

/* Nothing is translated, so the kernel has no mapping that could be wrong: the caller's table is all there is. A record there is not either, and
 * space.can_track says so to those who would ask. */
static int no_map(const struct backend *backend, struct range where, const void *memory, bool read,
		  bool write)
{
	(void)backend, (void)where, (void)memory, (void)read, (void)write;
	return 0;
}

static int no_unmap(const struct backend *backend, struct range where, uint64_t *unmapped)
{
	(void)backend;
	*unmapped = range_size(where);
	return 0;
}

static int no_refresh(struct backend *backend)
{
	(void)backend;
	return 0;
}

/* It can only be adopted: what is empty again stays so. */
static int no_begin(struct backend *backend)
{
	(void)backend;
	return -EOPNOTSUPP;
}

const struct backend_ops noiommu_ops = {
	.who = "no IOMMU",
	.begin_name = "VFIO_SET_IOMMU",
	.end_name = "VFIO_GROUP_UNSET_CONTAINER",
	.refresh_name = "VFIO_IOMMU_GET_INFO",
	.start_name = "VFIO_IOMMU_DIRTY_PAGES START",
	.stop_name = "VFIO_IOMMU_DIRTY_PAGES STOP",
	.get_name = "VFIO_IOMMU_DIRTY_PAGES GET_BITMAP",
	.map_name = "VFIO_IOMMU_MAP_DMA",
	.unmap_name = "VFIO_IOMMU_UNMAP_DMA",
	.begin = no_begin,
	.refresh = no_refresh,
	.start = type1_start,
	.stop = type1_stop,
	.get = type1_get,
	.diagnose = type1_diagnose,
	.map = no_map,
	.unmap = no_unmap,
	.unmap_harvest = type1_unmap_harvest,
};
