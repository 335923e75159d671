/* SPDX-License-Identifier: MIT */
/* The oracle's part about devices' logs: from IOVAs to pages of memory. */
#include "internal.h"

static const struct type1 *type1_of(const struct device *d)
{
	const struct container *c = d->ioas ? d->ioas : d->group->container;

	return c ? c->type1 : NULL;
}

static bool writable(const struct mapping *map)
{
	return map && map->prot & VFIO_DMA_MAP_FLAG_WRITE;
}

/* The part of first..last that is in a mapping, as memory. */
static void add_part(struct pageset *set, const struct mapping *map, uint64_t first, uint64_t last)
{
	uint64_t end = map->iova + (map->size - 1);

	first = first > map->iova ? first : map->iova;
	last = last < end ? last : end;
	if (writable(map) && first <= last)
		pageset_add(set, (map->vaddr + (first - map->iova)) / MODEL_PAGE_SIZE,
			    (last - first) / MODEL_PAGE_SIZE + 1);
}

/* Page by page: what is there, or was. */
static void add_iova(const struct device *d, struct pageset *set, uint64_t first, uint64_t last)
{
	const struct type1 *t = type1_of(d);
	uint64_t at = first & ~(MODEL_PAGE_SIZE - 1);

	for (uint64_t left = last / MODEL_PAGE_SIZE - first / MODEL_PAGE_SIZE + 1; t && left--;) {
		const struct mapping *map = gone_or_there(t, at);

		if (map)
			add_part(set, map, at, at + (MODEL_PAGE_SIZE - 1));
		at += MODEL_PAGE_SIZE;
	}
}

void truth_log_returned(struct model *m, struct device *d, uint64_t first, uint64_t last)
{
	add_iova(d, &m->state->sets.returned, first, last);
	add_iova(d, &d->sets.returned, first, last);
}

void truth_log_dropped(struct model *m, struct device *d, uint64_t first, uint64_t last)
{
	add_iova(d, &m->state->sets.dropped, first, last);
	add_iova(d, &d->sets.dropped, first, last);
}

void truth_log_held(const struct device *d, struct pageset *set)
{
	const struct devlog *log = &d->log;

	for (unsigned i = 0; log->active && i < log->range_count; i++) {
		uint64_t last = log->ranges[i].last / log->page_size;

		for (uint64_t page = log->ranges[i].first / log->page_size;
		     pageset_next(&log->pages, &page, last); page++)
			add_iova(d, set, page * log->page_size, page * log->page_size + (log->page_size - 1));
	}
}

void truth_log_dropped_all(struct model *m, struct device *d)
{
	truth_log_held(d, &m->state->sets.dropped);
	truth_log_held(d, &d->sets.dropped);
}

/* ---- spoiled ---- */

/* What the device can write where its log is armed. */
static void add_armed(const struct device *d, struct pageset *set, const struct mapping *map)
{
	for (unsigned i = 0; i < d->log.range_count; i++)
		add_part(set, map, d->log.ranges[i].first, d->log.ranges[i].last);
}

static void add_spoiled(const struct device *d, struct pageset *set, uint64_t first, uint64_t last)
{
	const struct type1 *t = type1_of(d);

	for (size_t i = 0; t && i < t->count; i++)
		add_armed(d, set, t->maps[i]);
	for (size_t i = 0; t && i < t->gone_count; i++)
		if (first <= t->gone[i].iova + (t->gone[i].size - 1) && t->gone[i].iova <= last)
			add_armed(d, set, &t->gone[i]);
}

void truth_log_spoiled(struct model *m, struct device *d, uint64_t first, uint64_t last)
{
	add_spoiled(d, &m->state->sets.spoiled, first, last);
	add_spoiled(d, &d->sets.spoiled, first, last);
}
