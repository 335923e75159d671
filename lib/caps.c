/* SPDX-License-Identifier: MIT */
#include "caps.h"

#include <string.h>

const void *caps_find(const void *answer, size_t size, uint32_t first, uint16_t id, size_t least,
		      size_t *available)
{
	struct vfio_info_cap_header header;
	uint32_t at = first, previous = 0;

	/* A chain only runs forward: each step must be beyond the last, so the walk ends. */
	while (at > previous && at <= size && size - at >= sizeof header) {
		memcpy(&header, (const char *)answer + at, sizeof header);
		if (header.id == id && size - at >= least) {
			*available = size - at;
			return (const char *)answer + at;
		}
		previous = at;
		at = header.next;
	}
	return NULL;
}

static void parse_ranges(const void *info, size_t size, uint32_t chain, struct caps *out)
{
	struct vfio_iommu_type1_info_cap_iova_range head;
	size_t available;
	const char *cap =
		caps_find(info, size, chain, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, sizeof head, &available);

	if (!cap)
		return;
	memcpy(&head, cap, sizeof head);
	out->range_total = head.nr_iovas;
	for (uint32_t i = 0; i < head.nr_iovas && i < VFD_INFO_RANGES; i++) {
		struct vfio_iova_range range;
		size_t at = sizeof head + i * sizeof range;
		if (available < at + sizeof range)
			break;
		memcpy(&range, cap + at, sizeof range);
		out->ranges[out->range_count++] = (struct vfd_iova_range){ range.start, range.end };
	}
}

static void parse_migration(const void *info, size_t size, uint32_t chain, struct caps *out)
{
	struct uapi_cap_migration migration;
	size_t available;
	const void *cap = caps_find(info, size, chain, VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, sizeof migration,
				    &available);

	if (!cap)
		return;
	memcpy(&migration, cap, sizeof migration);
	out->dirty_page_sizes = migration.pgsize_bitmap;
	out->dirty_bitmap_limit = migration.max_dirty_bitmap_size;
}

static void parse_available(const void *info, size_t size, uint32_t chain, struct caps *out)
{
	struct vfio_iommu_type1_info_dma_avail avail;
	size_t available;
	const void *cap =
		caps_find(info, size, chain, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, sizeof avail, &available);

	if (!cap)
		return;
	memcpy(&avail, cap, sizeof avail);
	out->entries_available = avail.avail;
}

void caps_parse(const void *info, size_t size, struct caps *out)
{
	struct vfio_iommu_type1_info head = { 0 };

	*out = (struct caps){ .entries_available = UINT64_MAX };
	memcpy(&head, info, size < sizeof head ? size : sizeof head);
	if (head.flags & VFIO_IOMMU_INFO_PGSIZES)
		out->page_sizes = head.iova_pgsizes;
	if (!(head.flags & VFIO_IOMMU_INFO_CAPS))
		return;
	parse_ranges(info, size, head.cap_offset, out);
	parse_migration(info, size, head.cap_offset, out);
	parse_available(info, size, head.cap_offset, out);
}

uint64_t caps_page_size(const struct caps *caps)
{
	return caps->page_sizes & -caps->page_sizes;
}

static void parse_sparse(const void *info, size_t size, uint32_t chain, struct vfd_device_region *out)
{
	struct vfio_region_info_cap_sparse_mmap head;
	size_t available;
	const char *cap =
		caps_find(info, size, chain, VFIO_REGION_INFO_CAP_SPARSE_MMAP, sizeof head, &available);

	if (!cap)
		return;
	memcpy(&head, cap, sizeof head);
	out->area_count = 0;
	for (uint32_t i = 0; i < head.nr_areas && i < VFD_DEVICE_AREAS; i++) {
		struct vfio_region_sparse_mmap_area area;
		size_t at = sizeof head + i * sizeof area;
		if (available < at + sizeof area)
			break;
		memcpy(&area, cap + at, sizeof area);
		out->areas[out->area_count].offset = area.offset;
		out->areas[out->area_count++].size = area.size;
	}
}

void caps_parse_region(const void *info, size_t size, struct vfd_device_region *out)
{
	struct vfio_region_info head = { 0 };

	memcpy(&head, info, size < sizeof head ? size : sizeof head);
	out->flags = head.flags;
	out->size = head.size;
	out->offset = head.offset;
	if (!(head.flags & VFIO_REGION_INFO_FLAG_MMAP) || !head.size)
		return;
	out->area_count = 1; /* no capability: all of it */
	out->areas[0].offset = 0;
	out->areas[0].size = head.size;
	if (head.flags & VFIO_REGION_INFO_FLAG_CAPS)
		parse_sparse(info, size, head.cap_offset, out);
}
