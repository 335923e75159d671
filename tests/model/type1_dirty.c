/* SPDX-License-Identifier: MIT */
/* VFIO_IOMMU_DIRTY_PAGES: START, STOP, GET_BITMAP. */
#include "internal.h"
#include "uapi.h"

#define HEAD_SIZE 8 /* argsz, flags */
#define START	  VFIO_IOMMU_DIRTY_PAGES_FLAG_START
#define STOP	  VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP
#define GET	  VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP

bool type1_cuts(const struct type1 *t, uint64_t iova, uint64_t size)
{
	const struct mapping *first = type1_find(t, iova, 1);
	const struct mapping *last = type1_find(t, iova + size - 1, 0);

	return (first && first->iova != iova) || (last && last->iova + last->size != iova + size);
}

/* The first mapping that begins in or after the range. */
static size_t first_inside(const struct type1 *t, uint64_t iova)
{
	size_t index = type1_first_index(t, iova);

	return index < t->count && t->maps[index]->iova < iova ? index + 1 : index;
}

static bool inside(const struct type1 *t, size_t index, uint64_t iova, uint64_t size)
{
	return index < t->count && t->maps[index]->iova <= iova + size - 1;
}

void type1_suspect(struct model *m, const struct type1 *t, uint64_t iova, uint64_t size, bool odd_only)
{
	for (size_t i = first_inside(t, iova); inside(t, i, iova, size); i++)
		if (!odd_only || (t->maps[i]->iova - iova) / type1_page_size(t) % 64)
			truth_spoiled(m, t->maps[i]);
}

static void stop(struct model *m, struct type1 *t)
{
	for (size_t i = 0; i < t->count; i++) {
		truth_dropped(m, t, t->maps[i]);
		bitmap_free(t->maps[i]);
	}
	for (size_t i = 0; i < t->top_count; i++)
		bitmap_free(t->tops[i]);
	t->tracking = false;
}

static int alloc_all(struct type1 *t)
{
	int error = 0;

	for (size_t i = 0; i < t->top_count && !error; i++)
		error = bitmap_alloc(t, t->tops[i]);
	for (size_t i = 0; i < t->count && !error; i++)
		error = bitmap_alloc(t, t->maps[i]);
	return error;
}

static int start(struct model *m, struct container *c)
{
	struct type1 *t = c->type1;
	int error;

	if (t->tracking)
		return 0;
	error = alloc_all(t);
	if (error) {
		stop(m, t);
		return error;
	}
	for (size_t i = 0; i < t->count; i++)
		bitmap_populate_pins(m, c, t->maps[i]);
	t->tracking = true;
	m->state->recording = true;
	return 0;
}

/* The tail of the last word delivered can hold ghosts where later mappings have their bits. */
static void ghosts_returned(struct model *m, struct type1 *t, size_t index, const struct uapi_dirty_get *get)
{
	uint64_t page = type1_page_size(t);

	for (; inside(t, index, get->iova, get->size); index++) {
		uint64_t offset = (t->maps[index]->iova - get->iova) / page,
			 bits = t->maps[index]->size / page;

		if (offset / 64 != t->last_index)
			return;
		if (bits > 64 - offset % 64)
			bits = 64 - offset % 64;
		truth_returned(m, t->maps[index], &t->last_word, offset % 64, bits, page);
	}
}

static uint32_t count_inside(const struct type1 *t, size_t index, const struct uapi_dirty_get *get)
{
	uint32_t count = 0;

	while (inside(t, index++, get->iova, get->size))
		count++;
	return count;
}

static int get_range(struct call *call, struct container *c, const struct uapi_dirty_get *get)
{
	struct model *m = call->model;
	struct type1 *t = c->type1;
	size_t first = first_inside(t, get->iova), i;
	uint32_t fail_at = 0;

	call->trace.mappings = count_inside(t, first, get);
	if (call->fails)
		fail_at = call->step < call->trace.mappings ? call->step : call->trace.mappings;
	m->state->counts.walked += first + call->trace.mappings;
	t->last_index = ~0ull;
	for (i = first; inside(t, i, get->iova, get->size); i++) {
		struct mapping *map = t->maps[i];
		int error = bitmap_deliver(m, t, map, get->iova, get->bitmap.data, i - first + 1 == fail_at);

		if (error) {
			ghosts_returned(m, t, i, get);
			return error;
		}
		bitmap_clear_range(map->bitmap, 0, map->size / type1_page_size(t));
		bitmap_populate_pins(m, c, map);
	}
	return call->fails ? -call->error : 0;
}

static int check(const struct type1 *t, const struct uapi_dirty_get *get)
{
	uint64_t page = type1_page_size(t);

	if (get->iova + get->size < get->iova || !user_range_ok(get->bitmap.data, get->bitmap.size) ||
	    !get->bitmap.pgsize)
		return -EINVAL;
	if (bitmap_size_ok(get->size >> __builtin_ctzll(get->bitmap.pgsize), get->bitmap.size))
		return -EINVAL;
	if (get->bitmap.pgsize != page || get->iova & (page - 1) || !get->size || get->size & (page - 1))
		return -EINVAL;
	return !t->tracking || type1_cuts(t, get->iova, get->size) ? -EINVAL : 0;
}

static int get_bitmap(struct call *call, struct container *c, struct uapi_dirty_get *get,
		      const char *argument)
{
	int error;

	if (get->argsz < sizeof(*get))
		return -EINVAL;
	if (copy_in((char *)get + HEAD_SIZE, argument + HEAD_SIZE, sizeof(*get) - HEAD_SIZE))
		return -EFAULT;
	error = check(c->type1, get);
	if (error)
		return error;
	error = get_range(call, c, get);
	if (error == -EFAULT)
		type1_suspect(call->model, c->type1, get->iova, get->size, true);
	return error;
}

int type1_dirty_pages(struct call *call, struct container *c, void *argument)
{
	struct uapi_dirty_get get = { 0 };

	if (!c->type1->v2)
		return -EACCES;
	if (copy_in(&get, argument, HEAD_SIZE))
		return -EFAULT;
	if (get.argsz < HEAD_SIZE)
		return -EINVAL;
	switch (get.flags) {
	case START:
		return start(call->model, c);
	case STOP:
		if (c->type1->tracking)
			stop(call->model, c->type1);
		return 0;
	case GET:
		return get_bitmap(call, c, &get, argument);
	default:
		return -EINVAL;
	}
}

void type1_refused(struct call *call, const struct type1 *t, const void *argument)
{
	bool unmap = call->trace.request == VFIO_IOMMU_UNMAP_DMA;
	uint64_t range[2]; /* both structs have iova and size behind the head */
	struct vfio_iommu_type1_dma_map map;

	if (call->trace.request == VFIO_IOMMU_MAP_DMA && t->physical &&
	    (call->error == ENOMEM || call->error == EFAULT) && !copy_in(&map, argument, sizeof(map)))
		truth_glimpsed(call->model, map.vaddr, map.size);
	if (unmap ? !(call->trace.flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP) : call->trace.flags != GET)
		return;
	if (call->error == EINVAL)
		truth_spoiled_all(call->model, t);
	else if (t->tracking && !copy_in(range, (const char *)argument + HEAD_SIZE, sizeof(range)))
		type1_suspect(call->model, t, range[0], range[1], !unmap);
}
