/* SPDX-License-Identifier: MIT */
#include "mappings.h"

#include <stdlib.h>

#include "bench.h"
#include "logs.h"

#define SLICE	    (UINT64_C(4) << 20)
#define MEMORY	    (UINT64_C(1) << 44)
#define LOG_ADDRESS (UINT64_C(1) << 45)

static void *room(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (!memory)
		give_up("no memory", -1);
	return memory;
}

/* Where the i-th mapping's memory comes among the others: count is a power of two, so this is a permutation. */
static uint64_t shuffled(const struct mappings *m, size_t i)
{
	return i * 40503 % m->count;
}

static void place(struct mappings *m)
{
	uint64_t seed = 1;

	for (size_t i = 0; i < m->count; i++) {
		struct mapping *r = &m->records[i];
		uint64_t pages = 1 + random_next(&seed) % 512, offset = random_next(&seed) % 512 * PAGE;
		range_make(&r->where, i * SLICE + offset, pages * PAGE);
		r->memory = (void *)(uintptr_t)(MEMORY + shuffled(m, i) * SLICE + offset);
		r->log_address = LOG_ADDRESS + shuffled(m, i) * SLICE + offset;
		r->flags = VFD_MAP_READ | VFD_MAP_WRITE;
		r->logged = true;
		m->entries[i] = (struct flat_entry){ r->where.first, r->where.last, r };
	}
}

static void ask(struct mappings *m)
{
	uint64_t seed = 2;

	for (size_t i = 0; i < QUESTIONS; i++) {
		const struct mapping *r = &m->records[random_next(&seed) % m->count];
		uint64_t offset = random_next(&seed) % range_size(r->where);
		m->hits[i] = r->where.first + offset;
		m->memory_hits[i] = (uintptr_t)r->memory + offset;
		m->log_hits[i] = r->log_address + offset;
	}
}

void table_put(struct table *table, struct mapping *record)
{
	if (!table_reserve(table))
		give_up("no memory", -1);
	table_add(table, record);
}

/* In random order, as they come and go in a life: it shapes trees. */
static void fill(struct mappings *m)
{
	size_t *order = room(m->count, sizeof *order);
	uint64_t seed = 3;

	for (size_t i = 0; i < m->count; i++) {
		size_t other = random_next(&seed) % (i + 1);
		order[i] = order[other];
		order[other] = i;
	}
	for (size_t i = 0; i < m->count; i++) {
		table_put(&m->table, &m->records[order[i]]);
		table_put(&m->all, &m->records[order[i]]);
		tree_add(&m->tree, &m->entries[order[i]]);
	}
	free(order);
}

static int compare_firsts(const void *a, const void *b)
{
	const struct flat_entry *x = a, *y = b;

	return (x->first > y->first) - (x->first < y->first);
}

/* The same mappings sorted by memory, or by log address */
static void make_flat(const struct mappings *m, struct flat *flat, bool by_log)
{
	struct flat_entry *sorted = room(m->count, sizeof *sorted);

	for (size_t i = 0; i < m->count; i++) {
		struct mapping *r = &m->records[i];
		struct range key = by_log ? mapping_log_range(r) : mapping_memory_range(r);
		sorted[i] = (struct flat_entry){ key.first, key.last, r };
	}
	qsort(sorted, m->count, sizeof *sorted, compare_firsts);
	flat_make(flat, sorted, m->count);
	free(sorted);
}

void mappings_make(struct mappings *m, size_t count)
{
	*m = (struct mappings){ .count = count };
	m->records = room(count, sizeof *m->records);
	m->entries = room(count, sizeof *m->entries);
	m->hits = room(QUESTIONS, sizeof *m->hits);
	m->memory_hits = room(QUESTIONS, sizeof *m->memory_hits);
	m->log_hits = room(QUESTIONS, sizeof *m->log_hits);
	table_init(&m->table);
	table_init(&m->all);
	table_keep(&m->all, VFD_FIND_MEMORY | VFD_FIND_LOG);
	place(m);
	ask(m);
	fill(m);
	flat_make(&m->flat, m->entries, count);
	make_flat(m, &m->flat_memory, false);
	make_flat(m, &m->flat_log, true);
}

void mappings_free(struct mappings *m)
{
	table_end(&m->table);
	table_end(&m->all);
	flat_free(&m->flat);
	flat_free(&m->flat_memory);
	flat_free(&m->flat_log);
	tree_free(&m->tree);
	free(m->records);
	free(m->entries);
	free(m->hits);
	free(m->memory_hits);
	free(m->log_hits);
}
