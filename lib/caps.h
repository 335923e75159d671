/* SPDX-License-Identifier: MIT */
#ifndef LIB_CAPS_H
#define LIB_CAPS_H

/* Bounded readers of the capability chains that VFIO appends to its answers. They trust nothing: an offset outside the
 * answer, a chain that runs backwards or in a circle ends the walk. */

#include <stddef.h>

#include <vfiodirty/device.h>

#include "uapi.h"

/* The capability `id` in an answer of size bytes whose chain starts at offset first; at least `least` bytes of it lie inside the
 * answer (*available says how many do). NULL if it is not there. */
const void *caps_find(const void *answer, size_t size, uint32_t first, uint16_t id, size_t least,
		      size_t *available);

/* What VFIO_IOMMU_GET_INFO told. */
struct caps {
	uint64_t page_sizes;
	uint64_t dirty_page_sizes; /* 0: no MIGRATION capability */
	uint64_t dirty_bitmap_limit;
	uint64_t entries_available; /* UINT64_MAX: not told */
	uint32_t range_total;
	uint32_t range_count;
	struct vfd_iova_range ranges[VFD_INFO_RANGES];
};

/* info: the answer, size bytes long. */
void caps_parse(const void *info, size_t size, struct caps *out);

/* Smallest bit of page_sizes: the kernel's dirty granularity. 0 if there is none. */
uint64_t caps_page_size(const struct caps *caps);

/* Mappable areas of a region, from its answer to VFIO_DEVICE_GET_REGION_INFO. */
void caps_parse_region(const void *info, size_t size, struct vfd_device_region *out);

#endif
