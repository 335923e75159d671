/* SPDX-License-Identifier: MIT */
/* The mappings of a type1 container: search, MAP_DMA, removal. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define PROBE_STEP (2ull << 20) /* how densely memory is probed before an IOMMU "pins" it */

/* The first mapping that ends after iova. */
size_t type1_first_index(const struct type1 *t, uint64_t iova)
{
	size_t low = 0, high = t->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (iova < t->maps[middle]->iova + t->maps[middle]->size)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* vfio_find_dma: a range that ends at 2^64 has end 0 and finds nothing, as in 6.12 (trap 25). */
struct mapping *type1_find(const struct type1 *t, uint64_t iova, uint64_t size)
{
	size_t index = type1_first_index(t, iova);

	if (index == t->count || iova + size <= t->maps[index]->iova)
		return NULL;
	return t->maps[index];
}

static void link_mapping(struct type1 *t, struct mapping *map)
{
	size_t index;

	if (map->iova + map->size == 0) {
		t->tops = realloc(t->tops, (t->top_count + 1) * sizeof(*t->tops));
		if (!t->tops)
			abort();
		t->tops[t->top_count++] = map;
		return;
	}
	t->maps = model_grow(t->maps, t->count, &t->room, sizeof(*t->maps));
	index = type1_first_index(t, map->iova);
	memmove(t->maps + index + 1, t->maps + index, (t->count - index) * sizeof(*t->maps));
	t->maps[index] = map;
	t->count++;
}

/* Frees it; the caller takes it out of the table. */
void type1_remove(struct model *m, struct type1 *t, struct mapping *map)
{
	truth_dropped(m, t, map);
	gone_add(m, t, map);
	type1_iommu_unmap(t, map);
	if (map->vaddr_invalid)
		t->suspended--;
	bitmap_free(map);
	free(map);
	t->available++;
}

void type1_remove_all(struct model *m, struct type1 *t)
{
	while (t->count)
		type1_remove(m, t, t->maps[--t->count]);
	while (t->top_count)
		type1_remove(m, t, t->tops[--t->top_count]);
}

static bool memory_there(uint64_t address, uint64_t size)
{
	char byte;

	for (uint64_t at = 0; at < size; at += PROBE_STEP)
		if (!user_read(&byte, address + at, 1))
			return false;
	return user_read(&byte, address + size - 1, 1) == 1;
}

uint64_t model_locked(const struct model *m)
{
	uint64_t locked = 0;

	for (const struct container *c = m->state->containers; c; c = c->next)
		locked += c->type1 ? c->type1->locked : 0;
	return locked;
}

/* Pin it and put it into the IOMMU's page tables. */
int type1_iommu_map(struct model *m, struct type1 *t, struct mapping *map)
{
	uint64_t limit = m->state->config.locked_limit;

	if (!memory_there(map->vaddr, map->size))
		return -EFAULT;
	if (limit && model_locked(m) + map->size > limit)
		return -ENOMEM;
	t->locked += map->size;
	map->iommu_mapped = true;
	stores_noted(m, map->vaddr, map->size);
	return 0;
}

void type1_iommu_unmap(struct type1 *t, struct mapping *map)
{
	if (map->iommu_mapped)
		t->locked -= map->size;
	map->iommu_mapped = false;
}

static int set_vaddr(struct type1 *t, const struct vfio_iommu_type1_dma_map *map)
{
	struct mapping *old = type1_find(t, map->iova, map->size);

	if (!old)
		return -ENOENT;
	if (!old->vaddr_invalid || old->iova != map->iova || old->size != map->size)
		return -EINVAL;
	old->vaddr = map->vaddr;
	old->vaddr_invalid = false;
	t->suspended--;
	return 0;
}

static int check_map(const struct type1 *t, const struct vfio_iommu_type1_dma_map *map)
{
	bool access = map->flags & (VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE);

	if (access == !!(map->flags & VFIO_DMA_MAP_FLAG_VADDR))
		return -EINVAL;
	if (!map->size || (map->size | map->iova | map->vaddr) & (type1_page_size(t) - 1))
		return -EINVAL;
	if (map->iova + map->size - 1 < map->iova || map->vaddr + map->size - 1 < map->vaddr)
		return -EINVAL;
	return 0;
}

int type1_add(struct model *m, struct type1 *t, const struct vfio_iommu_type1_dma_map *from)
{
	struct mapping *map = model_alloc(1, sizeof(*map));
	int error = 0;

	*map = (struct mapping){
		.iova = from->iova, .size = from->size, .vaddr = from->vaddr, .prot = from->flags
	};
	if (t->physical)
		error = type1_iommu_map(m, t, map);
	if (!error && t->tracking)
		error = bitmap_alloc(t, map);
	if (error) {
		type1_iommu_unmap(t, map);
		free(map);
		return error;
	}
	t->available--;
	link_mapping(t, map);
	return 0;
}

int type1_do_map(struct call *call, struct container *c, void *argument)
{
	struct type1 *t = c->type1;
	uint32_t known = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE | VFIO_DMA_MAP_FLAG_VADDR;
	struct vfio_iommu_type1_dma_map map;
	int error;

	if (copy_in(&map, argument, sizeof(map)))
		return -EFAULT;
	if (map.argsz < sizeof(map) || map.flags & ~known)
		return -EINVAL;
	error = check_map(t, &map);
	if (error)
		return error;
	if (map.flags & VFIO_DMA_MAP_FLAG_VADDR)
		return set_vaddr(t, &map);
	if (type1_find(t, map.iova, map.size))
		return -EEXIST;
	if (!t->available)
		return -ENOSPC;
	if (!type1_range_allowed(c, map.iova, map.iova + map.size - 1))
		return -EINVAL;
	return type1_add(call->model, t, &map);
}
