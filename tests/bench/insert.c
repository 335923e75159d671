/* SPDX-License-Identifier: MIT */

/* Remove a random mapping and add it again, with 65 536 there. */

#include "bench.h"
#include "mappings.h"
#include "rows.h"

enum { PAIRS = 1 << 14, FEW = 256 };

static struct mappings m;

static size_t some(uint64_t *seed)
{
	return random_next(seed) % m.count;
}

/* As the library does it, its locks included */
static double churn_table(void *arg)
{
	struct table *table = arg;
	uint64_t seed = 7;
	double began = cpu_ns();

	for (int i = 0; i < PAIRS; i++) {
		struct mapping *record = &m.records[some(&seed)];
		table_remove(table, record);
		table_put(table, record);
	}
	return (cpu_ns() - began) / PAIRS;
}

static double churn_index(void *arg)
{
	struct index *index = arg;
	uint64_t seed = 7;
	double began = cpu_ns();

	for (int i = 0; i < PAIRS; i++) {
		struct mapping *record = &m.records[some(&seed)];
		index_remove(index, record->where.first, (uintptr_t)record);
		if (!index_reserve(index))
			give_up("no memory", -1);
		index_insert(index, (struct index_entry){ record->where, (uintptr_t)record, 0 });
	}
	return (cpu_ns() - began) / PAIRS;
}

static double churn_tree(void *arg)
{
	struct tree *tree = arg;
	uint64_t seed = 7;
	double began = cpu_ns();

	for (int i = 0; i < PAIRS; i++) {
		struct flat_entry *entry = &m.entries[some(&seed)];
		tree_remove(tree, entry);
		tree_add(tree, entry);
	}
	return (cpu_ns() - began) / PAIRS;
}

/* Much slower: fewer. */
static double churn_flat(void *arg)
{
	struct flat *flat = arg;
	uint64_t seed = 7;
	double began = cpu_ns();

	for (int i = 0; i < FEW; i++) {
		struct flat_entry *entry = &m.entries[some(&seed)];
		flat_remove(flat, entry->first);
		flat_insert(flat, entry);
	}
	return (cpu_ns() - began) / FEW;
}

enum contenders { INDEX, TABLE, ALL, TREE, FLAT, CONTENDERS };

void rows_insert(void)
{
	struct contender all[CONTENDERS] = {
		[INDEX] = { .once = churn_index, .arg = &m.table.iova },
		[TABLE] = { .once = churn_table, .arg = &m.table },
		[ALL] = { .once = churn_table, .arg = &m.all },
		[TREE] = { .once = churn_tree, .arg = &m.tree },
		[FLAT] = { .once = churn_flat, .arg = &m.flat },
	};
	struct row row = { .name = "insert-remove-65536-index",
			   .unit = "ns",
			   .peer = "libc's tdelete and tsearch" };

	mappings_make(&m, 65536);
	race(all, CONTENDERS, repetitions(31));
	row_print(&row, &all[INDEX].took, &all[TREE].took);
	row.name = "insert-remove-65536";
	row.at_most = 400;
	row_print(&row, &all[TABLE].took, &all[TREE].took);
	row.name = "insert-remove-65536-all-orders";
	row.at_most = 1200;
	row_print(&row, &all[ALL].took, &all[TREE].took);
	row.name = "insert-remove-65536";
	row.at_most = 0;
	row.peer = "flat array, memmove";
	row_print(&row, &all[TABLE].took, &all[FLAT].took);
	mappings_free(&m);
}
