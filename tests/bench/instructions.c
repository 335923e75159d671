/* SPDX-License-Identifier: MIT */

/* One operation again and again, for callgrind: it counts what runs inside measured_*(), but not the kernel's stand-in.
 * instructions NAME: prints how many operations that was. instructions alone: the names, and what is measured.
 * instructions kernels: which bitmap kernels this processor gets; the counts depend on them. */

#include "instructions.h"

#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "bitmap.h"
#include "logs.h"
#include "mappings.h"
#include "quick.h"

static struct mappings mappings;
static struct vfd_log *dirty_log;
static uint64_t *words, seed = 1;

enum { WORDS = 1 << 15, DIRTY = 1000 };

/* ---- mappings, 65 536 ---- */

MEASURED measured_lookups(void)
{
	for (size_t i = 0; i < TIMES; i++)
		sink += (uintptr_t)index_find(&mappings.table.iova, mappings.hits[i]);
}

static struct mapping *some_mapping(void)
{
	return &mappings.records[random_next(&seed) % mappings.count];
}

MEASURED measured_remove(struct table *table, struct mapping *record)
{
	table_remove(table, record);
}

MEASURED measured_insert(struct table *table, struct mapping *record)
{
	table_put(table, record);
}

static uint64_t lookup(void)
{
	mappings_make(&mappings, 65536);
	measured_lookups();
	return TIMES;
}

static uint64_t churn(struct table *table)
{
	mappings_make(&mappings, 65536);
	for (size_t i = 0; i < TIMES; i++) {
		struct mapping *record = some_mapping();
		measured_remove(table, record);
		measured_insert(table, record);
	}
	return TIMES;
}

static uint64_t churn_iova(void)
{
	return churn(&mappings.table);
}

static uint64_t churn_all(void)
{
	return churn(&mappings.all);
}

/* ---- the log ---- */

MEASURED measured_merge(uint64_t address, size_t n)
{
	sink += log_give(dirty_log, address, words, n);
}

MEASURED measured_mark(uint64_t page)
{
	must("vfd_log_mark", vfd_log_mark(dirty_log, page * PAGE, PAGE, NULL));
}

static uint64_t some_page(void)
{
	return random_next(&seed) % (TIB / PAGE);
}

/* A word with one page in it, somewhere */
static uint64_t merge_page(void)
{
	static uint64_t one = 1;

	dirty_log = log_of(TIB);
	words = &one;
	for (size_t i = 0; i < TIMES; i++)
		measured_merge(some_page() / 64 * 64 * PAGE, 1);
	return TIMES;
}

static void merge_bitmap(unsigned per_1024)
{
	dirty_log = log_of(TIB);
	words = memory_new(WORDS * sizeof *words);
	fill_random(words, WORDS, per_1024, 3);
	measured_merge(0, WORDS);
}

static uint64_t merge_half(void)
{
	merge_bitmap(512);
	return WORDS;
}

static uint64_t merge_none(void)
{
	merge_bitmap(0);
	return WORDS;
}

static uint64_t mark(void)
{
	dirty_log = log_of(TIB);
	for (size_t i = 0; i < TIMES; i++)
		measured_mark(some_page());
	return TIMES;
}

MEASURED measured_take_commit(void)
{
	struct vfd_consumer *consumer = vfd_log_consumer(dirty_log);
	struct vfd_batch batch;
	struct vfd_run runs[256];
	size_t count;

	must("vfd_take", vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, NULL));
	while (!vfd_batch_runs(consumer, &batch, runs, 256, &count, NULL) && count)
		sink += count;
	must("vfd_commit", vfd_commit(consumer, &batch, 0, UINT64_MAX, NULL));
}

static uint64_t take_commit(void)
{
	dirty_log = log_of(TIB);
	for (size_t i = 0; i < DIRTY; i++)
		must("vfd_log_mark", vfd_log_mark(dirty_log, some_page() * PAGE, PAGE, NULL));
	measured_take_commit();
	return DIRTY;
}

/* ---- runs ---- */

static uint64_t run_count;

MEASURED measured_runs(void)
{
	struct bit_run runs[256];

	for (uint64_t at = 0; at < WORDS * 64;)
		run_count += bitmap_runs(words, at, WORDS * 64 - 1, runs, 256, &at);
}

static uint64_t runs_of(unsigned per_1024)
{
	words = memory_new(WORDS * sizeof *words);
	fill_random(words, WORDS, per_1024, 3);
	measured_runs();
	return run_count;
}

static uint64_t runs_1(void)
{
	return runs_of(10);
}

static uint64_t runs_50(void)
{
	return runs_of(512);
}

/* ---- harvest ---- */

MEASURED measured_harvest(struct quick *q)
{
	quick_harvest(q);
}

/* The second one: the first makes its plans and buffers. */
static uint64_t harvest_of(uint64_t count, uint64_t pages, uint64_t stride)
{
	struct quick q;

	quick_begin(&q, count * stride * PAGE);
	for (uint64_t i = 0; i < count; i++)
		quick_map(&q, i * stride * PAGE, pages * PAGE);
	quick_harvest(&q);
	measured_harvest(&q);
	return count;
}

static uint64_t harvest_large(void)
{
	quick_dirty_every = 512 * 16;
	return harvest_of(TIMES, 512, 512);
}

static uint64_t harvest_small(void)
{
	quick_dirty_every = 16;
	return harvest_of(TIMES, 1, 1);
}

static uint64_t harvest_spread(void)
{
	quick_dirty_every = 16 * 4096;
	return harvest_of(TIMES, 1, 4096);
}

/* ---- a vIOMMU: pages come and go while the container tracks ---- */

MEASURED measured_churn(struct quick *q, uint64_t iova)
{
	quick_map(q, iova, PAGE);
	must("vfd_unmap", vfd_unmap(q->container, iova, PAGE, NULL));
}

static uint64_t churn_among(uint64_t count, uint32_t flags, bool dirty)
{
	struct quick q;

	quick_populates_nothing = true;
	quick_unmaps_dirty = dirty;
	quick_begin_with(&q, TIB, flags);
	for (uint64_t i = 0; i < count; i++)
		quick_map(&q, 2 * i * PAGE, PAGE);
	quick_harvest(&q);
	for (size_t i = 0; i < TIMES; i++)
		measured_churn(&q, (2 * (random_next(&seed) % (count + 1)) + 1) * PAGE);
	return TIMES;
}

static uint64_t churn_few(void)
{
	return churn_among(16, 0, false);
}

static uint64_t churn_dirty(void)
{
	return churn_among(16, 0, true);
}

static uint64_t churn_many(void)
{
	return churn_among(32768, 0, false);
}

static uint64_t churn_many_orders(void)
{
	return churn_among(32768, VFD_FIND_MEMORY | VFD_FIND_LOG, false);
}

/* ---- all ---- */

static const struct operation operations[] = {
	{ "lookup", lookup, "measured_lookups" },
	{ "insert", churn_iova, "measured_insert" },
	{ "remove", churn_iova, "measured_remove" },
	{ "insert-all-orders", churn_all, "measured_insert" },
	{ "remove-all-orders", churn_all, "measured_remove" },
	{ "merge-one-page", merge_page, "measured_merge" },
	{ "merge-word-of-half", merge_half, "measured_merge" },
	{ "merge-word-of-none", merge_none, "measured_merge" },
	{ "mark-page", mark, "measured_mark" },
	{ "take-commit-page", take_commit, "measured_take_commit" },
	{ "run-at-1%", runs_1, "measured_runs" },
	{ "run-at-50%", runs_50, "measured_runs" },
	{ "harvest-mapping-2MiB", harvest_large, "measured_harvest" },
	{ "harvest-mapping-4KiB", harvest_small, "measured_harvest" },
	{ "churn-pair-of-16", churn_few, "measured_churn" },
	{ "churn-pair-dirty", churn_dirty, "measured_churn" },
	{ "churn-pair-of-32768", churn_many, "measured_churn" },
	{ "churn-pair-all-orders", churn_many_orders, "measured_churn" },
	{ "harvest-mapping-spread", harvest_spread, "measured_harvest" },
};

/* Without a name: list them. */
static void each(const struct operation *all, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (!name)
			printf("%s %s\n", all[i].name, all[i].measured);
		else if (!strcmp(name, all[i].name))
			printf("%llu\n", (unsigned long long)all[i].run());
	}
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;

	if (name && !strcmp(name, "kernels"))
		puts(bitmap_ops_best()->name);
	each(operations, sizeof operations / sizeof *operations, name);
	each(pin_operations, pin_operations_count, name);
	return 0;
}
