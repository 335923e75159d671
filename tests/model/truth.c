/* SPDX-License-Identifier: MIT */
/* The oracle: what was written, returned, spoiled, dropped, and is still held, by process address. */
#include "internal.h"

static uint64_t page_of(uint64_t address)
{
	return address / MODEL_PAGE_SIZE;
}

static bool writable(const struct mapping *map)
{
	return map->prot & VFIO_DMA_MAP_FLAG_WRITE;
}

static void add_bits(struct pageset *set, const struct mapping *map, const uint64_t *words, uint64_t skip,
		     uint64_t bits, uint64_t page_size)
{
	if (writable(map))
		pageset_add_bits(set, page_of(map->vaddr), words, skip, bits, page_size / MODEL_PAGE_SIZE);
}

void truth_wrote(struct model *m, struct device *d, uint64_t address, uint64_t size)
{
	uint64_t first = page_of(address), last = page_of(address + size - 1);

	if (!m->state->recording || !size)
		return;
	pageset_add(&m->state->sets.truth, first, last - first + 1);
	pageset_add(&d->sets.truth, first, last - first + 1);
}

void truth_returned(struct model *m, const struct mapping *map, const uint64_t *words, uint64_t skip,
		    uint64_t bits, uint64_t page_size)
{
	add_bits(&m->state->sets.returned, map, words, skip, bits, page_size);
}

void truth_spoiled_range(struct model *m, uint64_t address, uint64_t size)
{
	pageset_add(&m->state->sets.spoiled, page_of(address), page_of(size));
}

/* A map that failed on the way: an IOMMU had a part of it, and any device may have written there. */
void truth_glimpsed(struct model *m, uint64_t address, uint64_t size)
{
	truth_spoiled_range(m, address, size);
	for (unsigned i = 0; i < m->state->config.group_count; i++)
		for (unsigned j = 0; j < m->state->groups[i].device_count; j++)
			pageset_add(&m->state->groups[i].devices[j].sets.spoiled, page_of(address),
				    page_of(size));
}

void truth_spoiled(struct model *m, const struct mapping *map)
{
	if (writable(map))
		truth_spoiled_range(m, map->vaddr, map->size);
}

void truth_spoiled_all(struct model *m, const struct type1 *t)
{
	for (size_t i = 0; t->tracking && i < t->count; i++)
		truth_spoiled(m, t->maps[i]);
}

void truth_dropped_bits(struct model *m, const struct mapping *map, const uint64_t *words, uint64_t skip,
			uint64_t bits, uint64_t page_size)
{
	add_bits(&m->state->sets.dropped, map, words, skip, bits, page_size);
}

/* What the kernel has of a mapping right now. */
static void add_held(struct pageset *set, const struct type1 *t, const struct mapping *map)
{
	uint64_t page = type1_page_size(t), bits = map->size / page;

	if (!map->bitmap || !writable(map))
		return;
	if (t->non_pinned && map->iommu_mapped)
		pageset_add(set, page_of(map->vaddr), page_of(map->size));
	else
		add_bits(set, map, map->bitmap, 0, bits < map->words * 64 ? bits : map->words * 64, page);
}

void truth_dropped(struct model *m, const struct type1 *t, const struct mapping *map)
{
	add_held(&m->state->sets.dropped, t, map);
}

static void each_device(struct model *m, void (*visit)(struct model *m, struct device *d, void *argument),
			void *argument)
{
	for (unsigned i = 0; i < m->state->config.group_count; i++)
		for (unsigned j = 0; j < m->state->groups[i].device_count; j++)
			visit(m, &m->state->groups[i].devices[j], argument);
}

static void add_log_held(struct model *m, struct device *d, void *set)
{
	(void)m;
	truth_log_held(d, set);
}

static void find_held(struct model *m, struct pageset *set)
{
	for (const struct container *c = m->state->containers; c; c = c->next)
		for (size_t i = 0; c->open && c->type1 && i < c->type1->count; i++)
			add_held(set, c->type1, c->type1->maps[i]);
	each_device(m, add_log_held, set);
	for (size_t i = 0; i < m->state->fd_room; i++) /* each has one descriptor, as the library uses it */
		if (m->state->fds[i] && m->state->fds[i]->kind == FILE_IOMMU)
			iommu_held(m->state->fds[i]->iommu, set);
}

/* A page pinned for writing may be written at any moment. */
static void refresh_pins(struct model *m, struct device *d, void *argument)
{
	(void)argument;
	pins_enter_truth(m, d);
}

static struct pageset *set_of(struct sets *sets, enum model_set which)
{
	switch (which) {
	case MODEL_TRUTH:
		return &sets->truth;
	case MODEL_RETURNED:
		return &sets->returned;
	case MODEL_SPOILED:
		return &sets->spoiled;
	case MODEL_DROPPED:
		return &sets->dropped;
	case MODEL_HELD:
	default:
		return NULL;
	}
}

/* The set, brought up to date; `scratch` is where a computed one goes. */
static struct pageset *whole_set(struct model *m, enum model_set which, struct pageset *scratch)
{
	if (which == MODEL_TRUTH)
		each_device(m, refresh_pins, NULL);
	if (which != MODEL_HELD)
		return set_of(&m->state->sets, which);
	find_held(m, scratch);
	return scratch;
}

static struct pageset *device_set(struct model *m, struct device *d, enum model_set which,
				  struct pageset *scratch)
{
	if (which == MODEL_TRUTH)
		pins_enter_truth(m, d);
	if (which != MODEL_HELD)
		return set_of(&d->sets, which);
	truth_log_held(d, scratch);
	return scratch;
}

uint64_t model_pages(struct model *m, enum model_set which, const void *memory, uint64_t size,
		     uint64_t *bitmap)
{
	struct pageset scratch = { 0 };
	uint64_t found;

	model_lock(m);
	found = pageset_range(whole_set(m, which, &scratch), page_of((uintptr_t)memory), page_of(size),
			      bitmap);
	model_unlock(m);
	pageset_empty(&scratch);
	return found;
}

uint64_t model_device_pages(struct model *m, const char *name, enum model_set which, const void *memory,
			    uint64_t size, uint64_t *bitmap)
{
	struct pageset scratch = { 0 };
	struct device *d;
	uint64_t found = 0;

	model_lock(m);
	d = device_by_name(m, name);
	if (d)
		found = pageset_range(device_set(m, d, which, &scratch), page_of((uintptr_t)memory),
				      page_of(size), bitmap);
	model_unlock(m);
	pageset_empty(&scratch);
	return found;
}

uint64_t model_page_count(struct model *m, enum model_set which)
{
	struct pageset scratch = { 0 };
	uint64_t count;

	model_lock(m);
	count = pageset_count(whole_set(m, which, &scratch));
	model_unlock(m);
	pageset_empty(&scratch);
	return count;
}

void sets_empty(struct sets *sets)
{
	pageset_empty(&sets->truth);
	pageset_empty(&sets->returned);
	pageset_empty(&sets->spoiled);
	pageset_empty(&sets->dropped);
}

static void forget(struct model *m, struct device *d, void *argument)
{
	(void)m;
	(void)argument;
	sets_empty(&d->sets);
}

static void forget_written(struct model *m, struct device *d, void *argument)
{
	(void)m;
	(void)argument;
	pageset_empty(&d->sets.truth);
}

void model_forget_written(struct model *m)
{
	model_lock(m);
	pageset_empty(&m->state->sets.truth);
	each_device(m, forget_written, NULL);
	model_unlock(m);
}

void model_forget(struct model *m)
{
	model_lock(m);
	sets_empty(&m->state->sets);
	each_device(m, forget, NULL);
	model_unlock(m);
}
