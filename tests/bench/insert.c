/* SPDX-License-Identifier: MIT */

/* Remove a random mapping and add it again, with 65 536 there. */

#include "bench.h"
#include "mappings.h"
#include "rows.h"

enum { PAIRS = 1 << 14 };

struct churn {
	struct mappings *m;
	uint64_t seed;
};

static struct flat_entry *some(struct churn *c)
{
	return &c->m->entries[random_next(&c->seed) % c->m->count];
}

static double churn_index(void *arg)
{
	struct churn *c = arg;
	double began = cpu_ns();

	for (int i = 0; i < PAIRS; i++) {
		struct flat_entry *entry = some(c);
		index_remove(&c->m->index, entry->first, (uintptr_t)entry);
		index_put(&c->m->index, entry);
	}
	return (cpu_ns() - began) / PAIRS;
}

static double churn_tree(void *arg)
{
	struct churn *c = arg;
	double began = cpu_ns();

	for (int i = 0; i < PAIRS; i++) {
		struct flat_entry *entry = some(c);
		tree_remove(&c->m->tree, entry);
		tree_add(&c->m->tree, entry);
	}
	return (cpu_ns() - began) / PAIRS;
}

/* Much slower: fewer. */
static double churn_flat(void *arg)
{
	enum { FEW = 256 };
	struct churn *c = arg;
	double began = cpu_ns();

	for (int i = 0; i < FEW; i++) {
		struct flat_entry *entry = some(c);
		flat_remove(&c->m->flat, entry->first);
		flat_insert(&c->m->flat, entry);
	}
	return (cpu_ns() - began) / FEW;
}

void rows_insert(void)
{
	struct mappings m;
	struct churn a = { .m = &m, .seed = 7 }, b = a, d = a;
	struct contender all[] = { { .once = churn_index, .arg = &a },
				   { .once = churn_tree, .arg = &b },
				   { .once = churn_flat, .arg = &d } };

	mappings_make(&m, 65536);
	race(all, 3, repetitions(31));
	row_print(&(struct row){ .name = "insert-remove-iova-65536",
				 .unit = "ns",
				 .peer = "libc's tdelete and tsearch",
				 .at_most = 400 },
		  &all[0].took, &all[1].took);
	row_print(&(struct row){ .name = "insert-remove-iova-65536",
				 .unit = "ns",
				 .peer = "flat array, memmove" },
		  &all[0].took, &all[2].took);
	mappings_free(&m);
}
