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

/* ---- the rows ---- */

enum contenders { INDEX, FLAT, TREE, LINE, CONTENDERS };

static void table(size_t count, const char *name, double at_most, double at_most_times)
{
	static const char *const peers[] = {
		[FLAT] = "flat array, branchless", [TREE] = "libc's tfind", [LINE] = "linear array"
	};
	static double (*const how[])(void *) = { search_index, search_flat, search_tree, search_line };
	size_t contenders = count > 256 ? LINE : CONTENDERS;
	struct search searches[CONTENDERS];
	struct contender all[CONTENDERS];
	struct mappings m;

	mappings_make(&m, count);
	for (size_t i = 0; i < contenders; i++) {
		searches[i] = (struct search){ .m = &m, .questions = QUESTIONS };
		all[i] = (struct contender){ .once = how[i], .arg = &searches[i] };
	}
	race(all, contenders, repetitions(31));
	for (size_t i = FLAT; i < contenders; i++) {
		struct row row = { .name = name, .unit = "ns", .peer = peers[i] };
		if (i == FLAT) {
			row.at_most = at_most;
			row.at_most_times = at_most_times;
		}
		row_print(&row, &all[INDEX].took, &all[i].took);
		must_agree(name, searches[INDEX].answers, searches[i].answers);
	}
	mappings_free(&m);
}

/* Also against keys alone, where nobody looks whether the address lies in what was found; and one after the other. */
static void harder(void)
{
	struct mappings m;
	struct search s = { .m = &m, .questions = QUESTIONS };
	struct contender keys[] = { { .once = search_index, .arg = &s }, { .once = search_keys, .arg = &s } };
	struct contender chain[] = { { .once = chase_index, .arg = &s }, { .once = chase_flat, .arg = &s } };

	mappings_make(&m, 65536);
	row_race(&(struct row){ .name = "lookup-iova-65536-keys",
				.unit = "ns",
				.peer = "flat keys, found not looked at",
				.at_most_times = 1.5 },
		 keys, 31);
	row_race(&(struct row){ .name = "lookup-iova-65536-chain",
				.unit = "ns",
				.peer = "flat array, each waits for the last" },
		 chain, 31);
	mappings_free(&m);
}

void rows_lookup(void)
{
	table(16, "lookup-iova-16", 0, 0);
	table(256, "lookup-iova-256", 0, 0);
	table(4096, "lookup-iova-4096", 0, 0);
	table(65536, "lookup-iova-65536", 60, 1.5);
	harder();
	if (!options.quick)
		table(1 << 20, "lookup-iova-1048576", 0, 0);
}
