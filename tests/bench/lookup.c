/* SPDX-License-Identifier: MIT */

/* Find the mapping that contains an address: random hits, one after the other. */

#include "bench.h"
#include "mappings.h"
#include "rows.h"

typedef void *find(const struct mappings *m, uint64_t address);

static void *in_index(const struct mappings *m, uint64_t address)
{
	return index_find(&m->index, address);
}

static void *in_flat(const struct mappings *m, uint64_t address)
{
	return flat_find(&m->flat, address);
}

static void *in_keys(const struct mappings *m, uint64_t address)
{
	return &m->entries[flat_position(&m->flat, address)];
}

static void *in_tree(const struct mappings *m, uint64_t address)
{
	return tree_find((struct tree *)&m->tree, address);
}

static void *in_line(const struct mappings *m, uint64_t address)
{
	return linear_find(&m->flat, address);
}

struct search {
	const struct mappings *m;
	size_t questions;
	uint64_t answers; /* sum of the items' addresses */
};

/* Inlined into a function of its own for each contender: the loop costs the same in all. */
static inline double search(struct search *s, find *find_one)
{
	uint64_t sum = 0;
	double began = cpu_ns();

	for (size_t i = 0; i < s->questions; i++)
		sum += (uintptr_t)find_one(s->m, s->m->hits[i]);
	double took = cpu_ns() - began;
	s->answers = sum;
	return took / (double)s->questions;
}

static double search_index(void *s)
{
	return search(s, in_index);
}

static double search_flat(void *s)
{
	return search(s, in_flat);
}

static double search_keys(void *s)
{
	return search(s, in_keys);
}

static double search_tree(void *s)
{
	return search(s, in_tree);
}

static double search_line(void *s)
{
	return search(s, in_line);
}

/* Each question depends on the last answer: what one lookup takes when its result is waited for. */
static inline double chase(struct search *s, find *find_one)
{
	const struct flat_entry *at = NULL;
	uint64_t sum = 0;
	double began = cpu_ns();

	for (size_t i = 0; i < s->questions; i++) {
		at = find_one(s->m, s->m->hits[i] + (at ? at->first >> 63 : 0));
		sum += (uintptr_t)at;
	}
	double took = cpu_ns() - began;
	s->answers = sum;
	return took / (double)s->questions;
}

static double chase_index(void *s)
{
	return chase(s, in_index);
}

static double chase_flat(void *s)
{
	return chase(s, in_flat);
}

static void compare(const struct row *row, const struct mappings *m, double (*ours)(void *),
		    double (*peer)(void *), size_t questions)
{
	struct search a = { .m = m, .questions = questions }, b = a;
	struct contender two[] = { { .once = ours, .arg = &a }, { .once = peer, .arg = &b } };

	row_race(row, two, 31);
	must_agree(row->name, a.answers, b.answers);
}

static void small(size_t count, const char *name)
{
	struct mappings m;

	mappings_make(&m, count);
	compare(&(struct row){ .name = name, .unit = "ns", .peer = "flat array, branchless" }, &m,
		search_index, search_flat, QUESTIONS);
	if (count <= 256)
		compare(&(struct row){ .name = name, .unit = "ns", .peer = "linear array" }, &m, search_index,
			search_line, QUESTIONS / 16);
	mappings_free(&m);
}

static void large(void)
{
	struct mappings m;

	mappings_make(&m, 65536);
	compare(&(struct row){ .name = "lookup-iova-65536",
			       .unit = "ns",
			       .peer = "flat array, branchless",
			       .at_most = 60,
			       .at_most_times = 1.5 },
		&m, search_index, search_flat, QUESTIONS);
	compare(&(struct row){ .name = "lookup-iova-65536", .unit = "ns", .peer = "keys alone, no check" },
		&m, search_index, search_keys, QUESTIONS);
	compare(&(struct row){ .name = "lookup-iova-65536-chain",
			       .unit = "ns",
			       .peer = "flat array, each waits for the last" },
		&m, chase_index, chase_flat, QUESTIONS);
	compare(&(struct row){ .name = "lookup-iova-65536", .unit = "ns", .peer = "libc's tfind" }, &m,
		search_index, search_tree, QUESTIONS);
	mappings_free(&m);
}

void rows_lookup(void)
{
	small(16, "lookup-iova-16");
	small(256, "lookup-iova-256");
	small(4096, "lookup-iova-4096");
	large();
	if (!options.quick)
		small(1 << 20, "lookup-iova-1048576");
}
