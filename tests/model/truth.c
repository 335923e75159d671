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

void truth_wrote(struct model *m, uint64_t address, uint64_t size)
{
	if (m->state->recording && size)
		pageset_add(&m->state->truth, page_of(address),
			    page_of(address + size - 1) - page_of(address) + 1);
}

void truth_returned(struct model *m, const struct mapping *map, const uint64_t *words, uint64_t skip,
		    uint64_t bits, uint64_t page_size)
{
	add_bits(&m->state->returned, map, words, skip, bits, page_size);
}

void truth_spoiled_range(struct model *m, uint64_t address, uint64_t size)
{
	pageset_add(&m->state->spoiled, page_of(address), page_of(size));
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
	add_bits(&m->state->dropped, map, words, skip, bits, page_size);
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
	add_held(&m->state->dropped, t, map);
}

static void find_held(struct model *m, struct pageset *set)
{
	for (const struct container *c = m->state->containers; c; c = c->next)
		for (size_t i = 0; c->open && c->type1 && i < c->type1->count; i++)
			add_held(set, c->type1, c->type1->maps[i]);
}

/* A page pinned for writing may be written at any moment. */
static void refresh_pins(struct model *m)
{
	for (unsigned i = 0; i < m->state->config.group_count; i++)
		for (unsigned j = 0; j < m->state->groups[i].device_count; j++)
			pins_enter_truth(m, &m->state->groups[i].devices[j]);
}

/* The set, brought up to date; `scratch` is where a computed one goes. */
static struct pageset *set_of(struct model *m, enum model_set which, struct pageset *scratch)
{
	switch (which) {
	case MODEL_TRUTH:
		refresh_pins(m);
		return &m->state->truth;
	case MODEL_RETURNED:
		return &m->state->returned;
	case MODEL_SPOILED:
		return &m->state->spoiled;
	case MODEL_DROPPED:
		return &m->state->dropped;
	case MODEL_HELD:
	default:
		find_held(m, scratch);
		return scratch;
	}
}

uint64_t model_pages(struct model *m, enum model_set which, const void *memory, uint64_t size,
		     uint64_t *bitmap)
{
	struct pageset scratch = { 0 };
	uint64_t found;

	model_lock(m);
	found = pageset_range(set_of(m, which, &scratch), page_of((uintptr_t)memory), page_of(size), bitmap);
	model_unlock(m);
	pageset_empty(&scratch);
	return found;
}

uint64_t model_page_count(struct model *m, enum model_set which)
{
	struct pageset scratch = { 0 };
	uint64_t count;

	model_lock(m);
	count = pageset_count(set_of(m, which, &scratch));
	model_unlock(m);
	pageset_empty(&scratch);
	return count;
}

void model_forget(struct model *m)
{
	model_lock(m);
	pageset_empty(&m->state->truth);
	pageset_empty(&m->state->returned);
	pageset_empty(&m->state->spoiled);
	pageset_empty(&m->state->dropped);
	model_unlock(m);
}
