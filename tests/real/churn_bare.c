/* SPDX-License-Identifier: MIT */
#include "churn.h"

#include <linux/vfio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "clock.h"

/* Where the library has nothing, and its spans do not reach */
#define BARE_IOVA (RIG_IOVA + 4 * RIG_PAGES * RIG_PAGE)

static bool map_bare(const struct rig *rig)
{
	struct vfio_iommu_type1_dma_map map = { .argsz = sizeof map,
						.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
						.vaddr = (uintptr_t)rig->memory,
						.iova = BARE_IOVA,
						.size = RIG_PAGE };

	return !ioctl(vfd_container_fd(rig->container), VFIO_IOMMU_MAP_DMA, &map);
}

static bool unmap_bare(const struct rig *rig)
{
	uint64_t word = 0;
	struct vfio_bitmap bitmap = { .pgsize = RIG_PAGE, .size = sizeof word, .data = (void *)&word };
	struct vfio_iommu_type1_dma_unmap head = { .argsz = sizeof head + sizeof bitmap,
						   .flags = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
						   .iova = BARE_IOVA,
						   .size = RIG_PAGE };
	_Alignas(8) char question[sizeof head + sizeof bitmap];

	memcpy(question, &head, sizeof head);
	memcpy(question + sizeof head, &bitmap, sizeof bitmap);
	return !ioctl(vfd_container_fd(rig->container), VFIO_IOMMU_UNMAP_DMA, question);
}

static bool pair_bare(struct rig *rig, uint64_t page)
{
	(void)page;
	return map_bare(rig) && unmap_bare(rig);
}

bool churn_pair(struct rig *rig, uint64_t page)
{
	return !rig_map(rig, page, 1, RIG_RW) && !rig_unmap(rig, page, 1);
}

/* Pairs in a second. 0: one failed. */
static double rate(struct rig *rig, bool (*pair)(struct rig *rig, uint64_t page), uint64_t nanoseconds)
{
	uint64_t began = now_ns(), took = 0, pairs = 0;

	while (took < nanoseconds) {
		for (unsigned i = 0; i < 64; i++, pairs++)
			if (!pair(rig, CHURNED + pairs % (RIG_PAGES - CHURNED)))
				return 0;
		took = now_ns() - began;
	}
	return (double)pairs * 1e9 / (double)took;
}

static void swap_down(double *values, int at)
{
	for (; at > 0 && values[at] < values[at - 1]; at--) {
		double lower = values[at];
		values[at] = values[at - 1];
		values[at - 1] = lower;
	}
}

/* In turns, so that what disturbs the machine disturbs both. */
struct rates churn_rates(struct rig *rig, uint64_t nanoseconds)
{
	enum { TURNS = 15 };
	double ours[TURNS], bare[TURNS], ratio[TURNS];

	for (int i = 0; i < TURNS; i++) {
		bare[i] = rate(rig, pair_bare, nanoseconds / (2 * TURNS));
		ours[i] = rate(rig, churn_pair, nanoseconds / (2 * TURNS));
		ratio[i] = bare[i] > 0 ? ours[i] / bare[i] : 0;
		swap_down(ours, i);
		swap_down(bare, i);
		swap_down(ratio, i);
	}
	return (struct rates){ ours[TURNS / 2], bare[TURNS / 2], ratio[TURNS / 2] };
}
