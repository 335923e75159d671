/* SPDX-License-Identifier: MIT */
/* VFIO_IOMMU_UNMAP_DMA: bits go first, then the mapping; pins open a window without the lock. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "uapi.h"

#define RETRIES_MAX 10

struct request {
	struct call *call;
	struct container *container;
	struct uapi_unmap ask;
	uint64_t iova, size, unmapped;
	bool all, bitmap;
	size_t index;	/* where the mappings being removed begin in the table */
	size_t removed; /* how many from there on are gone */
	uint32_t done;	/* mappings removed by the call */
	struct mapping *retried;
	unsigned retries;
	bool restarted;
	struct gone { /* writable mappings removed */
		uint64_t address, size;
	} * gone;
	size_t gone_count, gone_room;
};

/* Close the gap in the table. */
static void settle(struct request *r)
{
	struct type1 *t = r->container->type1;

	if (!r->removed)
		return;
	t->count -= r->removed;
	memmove(t->maps + r->index, t->maps + r->index + r->removed,
		(t->count - r->index) * sizeof(*t->maps));
	r->removed = 0;
}

static int check(const struct request *r)
{
	const struct type1 *t = r->container->type1;
	uint64_t mask = type1_page_size(t) - 1;

	if (r->ask.flags & VFIO_DMA_UNMAP_FLAG_VADDR && t->emulated)
		return -EBUSY;
	if (r->iova & mask)
		return -EINVAL;
	if (r->all)
		return r->ask.iova || r->ask.size ? -EINVAL : 0;
	if (!r->size || r->size & mask || r->iova + r->size - 1 < r->iova)
		return -EINVAL;
	if (r->bitmap && (!t->tracking || r->ask.bitmap.pgsize != mask + 1))
		return -EINVAL;
	return 0;
}

/* Ask the drivers to unpin, with the lock dropped: anything may happen meanwhile. */
static int open_window(struct request *r, struct mapping *map)
{
	struct model *m = r->call->model;
	struct container *c = r->container;
	uint64_t iova = map->iova, size = map->size;
	model_window_hook *hook = m->state->window_hook;

	r->retries = r->retried == map ? r->retries + 1 : 0;
	r->retried = map;
	if (r->retries > RETRIES_MAX) {
		model_crash(m, "BUG_ON: mapping %#llx is pinned after %u dma_unmap callbacks",
			    (unsigned long long)iova, RETRIES_MAX);
		return -EIO;
	}
	settle(r);
	c->notifying = true;
	for (unsigned i = 0; i < c->group_count; i++)
		for (unsigned j = 0; j < c->groups[i]->device_count; j++) {
			struct device *d = &c->groups[i]->devices[j];

			if (!d->opens)
				continue;
			d->unmaps++;
			d->unmapping++;
			if (d->unmap_delay)
				model_pause(m, (unsigned)d->unmap_delay * 1000);
			pins_drop_all_in(m, d, iova, iova + size - 1);
			d->unmapping--;
		}
	if (hook) {
		model_unlock(m);
		hook(m, iova, size, m->state->window_argument);
		model_lock(m);
	}
	c->notifying = false;
	return 0;
}

/* The step of the fault, as far as it can be reached: 0, or 1 + mappings done before it. */
static bool fault_here(const struct request *r)
{
	return r->call->fails && r->bitmap && r->call->step == r->done + 1;
}

static void remember(struct request *r, const struct mapping *map)
{
	if (!(map->prot & VFIO_DMA_MAP_FLAG_WRITE))
		return;
	r->gone = model_grow(r->gone, r->gone_count, &r->gone_room, sizeof(*r->gone));
	r->gone[r->gone_count++] = (struct gone){ map->vaddr, map->size };
}

static int remove_one(struct request *r, struct mapping *map)
{
	struct model *m = r->call->model;
	struct type1 *t = r->container->type1;

	if (r->bitmap) {
		int error;

		if (!map->bitmap) {
			model_crash(m, "NULL dereference: STOP while UNMAP_DMA had dropped the lock");
			return -EIO;
		}
		error = bitmap_deliver(m, t, map, r->iova, r->ask.bitmap.data, fault_here(r));
		if (error)
			return error;
		bitmap_free(map); /* nothing of it is lost */
		remember(r, map);
	}
	r->unmapped += map->size;
	r->removed++;
	r->done++;
	type1_remove(m, t, map);
	return 0;
}

static int invalidate(struct request *r)
{
	struct type1 *t = r->container->type1;
	size_t first = type1_first_index(t, r->iova), end = first;

	while (end < t->count && t->maps[end]->iova < r->iova + r->size)
		if (t->maps[end++]->vaddr_invalid)
			return -EINVAL;
	for (size_t i = first; i < end; i++) {
		t->maps[i]->vaddr_invalid = true;
		t->suspended++;
		r->unmapped += t->maps[i]->size;
	}
	return 0;
}

/* One pass from the kernel's label `again`: 1 when it has to start anew. */
static int pass(struct request *r)
{
	struct type1 *t = r->container->type1;
	int error;

	if (t->v2 && !r->all && type1_cuts(t, r->iova, r->size))
		return r->restarted ? 0 : -EINVAL; /* after a window: success with a short size (trap 11) */
	r->index = type1_first_index(t, r->iova);
	if (r->ask.flags & VFIO_DMA_UNMAP_FLAG_VADDR)
		return invalidate(r);
	while (r->index + r->removed < t->count) {
		struct mapping *map = t->maps[r->index + r->removed];

		if (map->iova >= r->iova + r->size || (!t->v2 && r->iova > map->iova))
			break;
		if (pins_any(r->container, map)) {
			error = open_window(r, map);
			return error ? error : 1;
		}
		error = remove_one(r, map);
		if (error)
			return error;
	}
	return 0;
}

/* Mappings that end at 2^64 are met only by walking on from another one. */
static void remove_tops(struct request *r)
{
	struct type1 *t = r->container->type1;

	while (r->all && r->done && t->top_count) {
		r->unmapped += t->tops[t->top_count - 1]->size;
		type1_remove(r->call->model, t, t->tops[--t->top_count]);
		r->done++;
	}
}

static int run(struct request *r)
{
	int result = check(r);

	if (result)
		return result;
	do {
		result = pass(r);
		settle(r);
		r->restarted = true;
	} while (result == 1);
	if (!result)
		remove_tops(r);
	return result;
}

static int read_request(struct request *r, const void *argument)
{
	uint32_t known =
		VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP | VFIO_DMA_UNMAP_FLAG_ALL | VFIO_DMA_UNMAP_FLAG_VADDR;
	const char *from = argument;

	if (copy_in(&r->ask, from, UAPI_UNMAP_PLAIN_SIZE))
		return -EFAULT;
	r->all = r->ask.flags & VFIO_DMA_UNMAP_FLAG_ALL;
	r->bitmap = r->ask.flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP;
	r->iova = r->ask.iova;
	r->size = r->all ? ~0ull : r->ask.size;
	if (r->ask.argsz < UAPI_UNMAP_PLAIN_SIZE || r->ask.flags & ~known)
		return -EINVAL;
	if (!r->bitmap)
		return 0;
	if (r->ask.flags & (VFIO_DMA_UNMAP_FLAG_ALL | VFIO_DMA_UNMAP_FLAG_VADDR) ||
	    r->ask.argsz < sizeof(r->ask))
		return -EINVAL;
	if (copy_in(&r->ask.bitmap, from + UAPI_UNMAP_PLAIN_SIZE, sizeof(r->ask.bitmap)))
		return -EFAULT;
	if (!user_range_ok(r->ask.bitmap.data, r->ask.bitmap.size) || !r->ask.bitmap.pgsize)
		return -EINVAL;
	return bitmap_size_ok(r->ask.size >> __builtin_ctzll(r->ask.bitmap.pgsize), r->ask.bitmap.size);
}

/* Who gets EFAULT from a tracked unmap cannot know how far it came. */
static void suspect(struct request *r)
{
	struct model *m = r->call->model;

	for (size_t i = 0; i < r->gone_count; i++)
		truth_spoiled_range(m, r->gone[i].address, r->gone[i].size);
	if (r->container->type1->tracking)
		type1_suspect(m, r->container->type1, r->iova, r->size, false);
}

static int finish(struct request *r, int error, void *argument)
{
	if (!error && r->call->fails)
		error = -r->call->error; /* all done, but the answer could not be written */
	r->ask.size = r->unmapped;
	if (!error)
		error = copy_out(argument, &r->ask, UAPI_UNMAP_PLAIN_SIZE);
	if (error == -EFAULT && r->bitmap)
		suspect(r);
	return error;
}

int type1_do_unmap(struct call *call, struct container *c, void *argument)
{
	struct request r = { .call = call, .container = c };
	int error = read_request(&r, argument);

	if (error)
		return error;
	error = finish(&r, run(&r), argument);
	call->trace.mappings = r.done;
	free(r.gone);
	return error;
}
