/* SPDX-License-Identifier: MIT */
#include "mappings.h"

#include <stdlib.h>

#include "bench.h"

#define PAGE  UINT64_C(4096)
#define SLICE (UINT64_C(4) << 20)

static void place(struct mappings *m)
{
	uint64_t seed = 1;

	for (size_t i = 0; i < m->count; i++) {
		struct flat_entry *entry = &m->entries[i];
		uint64_t pages = 1 + random_next(&seed) % 512;
		entry->first = i * SLICE + random_next(&seed) % 512 * PAGE;
		entry->last = entry->first + pages * PAGE - 1;
		entry->item = entry;
	}
}

static void ask(struct mappings *m)
{
	uint64_t seed = 2;

	for (size_t i = 0; i < QUESTIONS; i++) {
		const struct flat_entry *entry = &m->entries[random_next(&seed) % m->count];
		m->hits[i] = entry->first + random_next(&seed) % (entry->last - entry->first + 1);
	}
}

/* In random order, as they come and go in a life: it shapes trees. */
static void fill(struct mappings *m)
{
	size_t *order = calloc(m->count, sizeof *order);
	uint64_t seed = 3;

	if (!order)
		must("no memory", -1);
	for (size_t i = 0; i < m->count; i++) {
		size_t other = random_next(&seed) % (i + 1);
		order[i] = order[other];
		order[other] = i;
	}
	for (size_t i = 0; i < m->count; i++) {
		index_put(&m->index, &m->entries[order[i]]);
		tree_add(&m->tree, &m->entries[order[i]]);
	}
	free(order);
}

void index_put(struct index *index, struct flat_entry *entry)
{
	if (!index_reserve(index))
		must("no memory", -1);
	index_insert(index, (struct range){ entry->first, entry->last }, (uintptr_t)entry->item);
}

void mappings_make(struct mappings *m, size_t count)
{
	*m = (struct mappings){ .count = count };
	m->entries = calloc(count, sizeof *m->entries);
	m->hits = calloc(QUESTIONS, sizeof *m->hits);
	if (!m->entries || !m->hits)
		must("no memory", -1);
	place(m);
	ask(m);
	fill(m);
	flat_make(&m->flat, m->entries, count);
}

void mappings_free(struct mappings *m)
{
	index_end(&m->index);
	flat_free(&m->flat);
	tree_free(&m->tree);
	free(m->entries);
	free(m->hits);
}
