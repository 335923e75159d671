/* SPDX-License-Identifier: MIT */
/* VFIO_IOMMU_GET_INFO and which IOVAs can be mapped. */
#include <string.h>

#include "internal.h"
#include "uapi.h"

#define MAX_RANGES	  (MODEL_MAX_RANGES * MODEL_MAX_GROUPS + 1)
#define BITMAP_BYTES_MAX  (1ull << 28)
#define INFO_COPIED_FIRST 16 /* the struct without its capability offset: what argsz must cover */

struct info_head { /* newer than some installed headers */
	uint32_t argsz, flags;
	uint64_t iova_pgsizes;
	uint32_t cap_offset, pad;
};

struct cap_head {
	uint16_t id, version;
	uint32_t next;
};

struct caps { /* in the kernel's order: migration, entries available, ranges */
	struct info_head info;
	struct {
		struct cap_head head;
		uint32_t flags, pad;
		uint64_t pgsize_bitmap, max_dirty_bitmap_size;
	} migration;
	struct {
		struct cap_head head;
		uint32_t available, pad;
	} available;
	struct {
		struct cap_head head;
		uint32_t count, pad;
		struct vfio_iova_range ranges[MAX_RANGES];
	} ranges;
};

/* Ranges that lie both in a list and in a group. */
static unsigned intersect(struct vfio_iova_range *ranges, unsigned count,
			  const struct model_group_config *config)
{
	struct vfio_iova_range both[MAX_RANGES] = { 0 };
	unsigned found = 0;

	for (unsigned i = 0; i < count; i++)
		for (unsigned j = 0; j < MODEL_MAX_RANGES && config->ranges[j].last; j++) {
			uint64_t first = ranges[i].start > config->ranges[j].first ? ranges[i].start
										   : config->ranges[j].first;
			uint64_t last = ranges[i].end < config->ranges[j].last ? ranges[i].end
									       : config->ranges[j].last;

			if (first <= last && found < MAX_RANGES)
				both[found++] = (struct vfio_iova_range){ .start = first, .end = last };
		}
	memcpy(ranges, both, found * sizeof(*both));
	return found;
}

/* 0: no list yet, hence no limit. Once there was a physical group there is a list. */
unsigned type1_ranges(const struct container *c, struct vfio_iova_range *ranges)
{
	unsigned count = 1;

	if (!c->type1->had_physical)
		return 0;
	ranges[0] = (struct vfio_iova_range){ .start = 0, .end = ~0ull };
	for (unsigned i = 0; i < c->group_count; i++)
		if (c->groups[i]->config.kind == MODEL_PHYSICAL)
			count = intersect(ranges, count, &c->groups[i]->config);
	return count;
}

bool type1_range_allowed(const struct container *c, uint64_t first, uint64_t last)
{
	struct vfio_iova_range ranges[MAX_RANGES];
	unsigned count = type1_ranges(c, ranges);

	for (unsigned i = 0; i < count; i++)
		if (first >= ranges[i].start && last <= ranges[i].end)
			return true;
	return count == 0;
}

/* Offsets count from the start of the struct; returns how long the whole is. */
static uint32_t build_caps(const struct container *c, struct caps *caps)
{
	const struct type1 *t = c->type1;
	unsigned count = type1_ranges(c, caps->ranges.ranges);
	uint32_t end = offsetof(struct caps, ranges);

	caps->migration.head =
		(struct cap_head){ VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, 1, offsetof(struct caps, available) };
	caps->migration.pgsize_bitmap = type1_page_size(t);
	caps->migration.max_dirty_bitmap_size = BITMAP_BYTES_MAX;
	caps->available.head = (struct cap_head){ VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, 1, 0 };
	caps->available.available = t->available;
	if (count) {
		caps->available.head.next = end;
		caps->ranges.head = (struct cap_head){ VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 1, 0 };
		caps->ranges.count = count;
		end = (uint32_t)(offsetof(struct caps, ranges.ranges) +
				 count * sizeof(struct vfio_iova_range));
	}
	return end;
}

/* Too small a buffer is a success that says how much is needed (trap 49). */
int type1_get_info(struct container *c, void *argument)
{
	struct info_head asked = { 0 };
	struct caps caps = { 0 };
	uint32_t size, copied;

	if (copy_in(&asked, argument, INFO_COPIED_FIRST))
		return -EFAULT;
	if (asked.argsz < INFO_COPIED_FIRST)
		return -EINVAL;
	copied = asked.argsz < sizeof(asked) ? asked.argsz : (uint32_t)sizeof(asked);
	size = build_caps(c, &caps);
	caps.info.argsz = asked.argsz;
	caps.info.flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;
	caps.info.iova_pgsizes = c->type1->page_sizes;
	if (asked.argsz < size) {
		caps.info.argsz = size;
		return copy_out(argument, &caps, copied);
	}
	caps.info.cap_offset = sizeof(caps.info);
	return copy_out(argument, &caps, size);
}
