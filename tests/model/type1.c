/* SPDX-License-Identifier: MIT */
/* A type1 container's life: groups come and go, and take page sizes, IOMMU mappings and all state with them. */
#include <stdlib.h>

#include "internal.h"

uint64_t type1_page_size(const struct type1 *t)
{
	return t->page_sizes & -t->page_sizes;
}

struct type1 *type1_open(struct model *m, bool v2)
{
	struct type1 *t = model_alloc(1, sizeof(*t));

	t->v2 = v2;
	t->page_sizes = -MODEL_PAGE_SIZE;
	t->available = m->state->config.dma_entry_limit;
	return t;
}

void type1_release(struct model *m, struct type1 *t)
{
	type1_remove_all(m, t);
	gone_forget(t);
	free(t->maps);
	free(t->tops);
	free(t);
}

/* What every IOMMU in the container can do; sizes below the CPU's page are hidden. Bitmaps keep the size they were made
 * with (trap 21): whoever tracks meanwhile cannot trust a bit any more, and need not know that those of page tables are as good as before. */
static void update_page_sizes(struct model *m, const struct container *c)
{
	struct type1 *t = c->type1;
	uint64_t before = type1_page_size(t);

	t->page_sizes = ~0ull;
	for (unsigned i = 0; i < c->group_count; i++)
		if (c->groups[i]->config.kind == MODEL_PHYSICAL)
			t->page_sizes &= c->groups[i]->config.page_sizes;
	if (t->page_sizes & (MODEL_PAGE_SIZE - 1))
		t->page_sizes = (t->page_sizes & -MODEL_PAGE_SIZE) | MODEL_PAGE_SIZE;
	if ((t->tracking || (c->kind == MODEL_IOAS && m->state->recording)) && type1_page_size(t) != before)
		for (size_t i = 0; i < t->count; i++)
			truth_spoiled(m, t->maps[i]);
}

/* Give all mappings to the first IOMMU; none of them if one fails. */
static int replay(struct model *m, struct type1 *t)
{
	for (size_t i = 0; i < t->count; i++) {
		int error = t->maps[i]->iommu_mapped ? 0 : type1_iommu_map(m, t, t->maps[i]);

		if (!error)
			continue;
		if (t->physical == 0)
			while (i--)
				type1_iommu_unmap(t, t->maps[i]);
		return error;
	}
	return 0;
}

static bool fits_group(const struct mapping *map, const struct model_group_config *config)
{
	if ((map->iova | map->size | map->vaddr) & ((config->page_sizes & -config->page_sizes) - 1))
		return false;
	for (unsigned i = 0; i < MODEL_MAX_RANGES && config->ranges[i].last; i++)
		if (map->iova >= config->ranges[i].first &&
		    map->iova + (map->size - 1) <= config->ranges[i].last)
			return true;
	return false;
}

/* The group is in the container's list already; the caller takes it out again on failure. */
int type1_attach(struct model *m, struct container *c, struct group *g)
{
	struct type1 *t = c->type1;
	int error;

	if (t->suspended)
		return -EBUSY;
	if (g->config.kind == MODEL_EMULATED) {
		t->emulated++;
		return 0;
	}
	for (size_t i = 0; i < t->count; i++)
		if (!fits_group(t->maps[i], &g->config))
			return -EINVAL;
	error = replay(m, t);
	if (error)
		return error;
	t->physical++;
	t->non_pinned++;
	t->had_physical = true;
	update_page_sizes(m, c);
	return 0;
}

static void last_physical_left(struct model *m, struct type1 *t)
{
	if (!t->emulated) {
		type1_remove_all(m, t);
		return;
	}
	for (size_t i = 0; i < t->count; i++)
		type1_iommu_unmap(t, t->maps[i]);
}

/* The group is out of the container's list already. */
void type1_detach(struct model *m, struct container *c, struct group *g)
{
	struct type1 *t = c->type1;

	if (g->config.kind == MODEL_EMULATED) {
		if (--t->emulated == 0 && !t->physical)
			type1_remove_all(m, t);
		return;
	}
	if (--t->physical == 0)
		last_physical_left(m, t);
	update_page_sizes(m, c);
	t->non_pinned--;
	if (t->tracking)
		bitmap_populate_full(m, t);
}

long type1_extension(struct container *c, unsigned long extension)
{
	const struct type1 *t = c->type1;

	switch (extension) {
	case VFIO_TYPE1_IOMMU:
	case VFIO_TYPE1v2_IOMMU:
	case VFIO_TYPE1_NESTING_IOMMU:
	case VFIO_UNMAP_ALL:
		return 1;
	case VFIO_UPDATE_VADDR:
		return t && !t->emulated;
	case VFIO_DMA_CC_IOMMU:
		return t && t->physical > 0;
	default:
		return 0;
	}
}

int type1_ioctl(struct call *call, struct container *c, unsigned long request, void *argument)
{
	switch (request) {
	case VFIO_IOMMU_GET_INFO:
		return type1_get_info(c, argument);
	case VFIO_IOMMU_MAP_DMA:
		return type1_do_map(call, c, argument);
	case VFIO_IOMMU_UNMAP_DMA:
		return type1_do_unmap(call, c, argument);
	case VFIO_IOMMU_DIRTY_PAGES:
		return type1_dirty_pages(call, c, argument);
	default:
		return -ENOTTY;
	}
}
