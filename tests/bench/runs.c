/* SPDX-License-Identifier: MIT */

/* Runs of dirty pages in a bitmap of 2 MiB: 64 GiB of guest. */

#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "bitmap.h"
#include "logs.h"
#include "peers.h"
#include "rows.h"
#include "sets.h"

enum { BITS = 1 << 24, WORDS = BITS / 64, BATCH = 512 };

static uint64_t *words;
static struct run_sum ours, theirs;

static double run_kernels(void *arg)
{
	const struct bitmap_ops *ops = arg;
	struct run_sum sum = { 0 };
	struct bit_run runs[BATCH];
	double began = cpu_ns();

	for (uint64_t at = 0; at < BITS;) {
		size_t count = ops->runs(words, at, BITS - 1, runs, BATCH, &at);
		for (size_t i = 0; i < count; i++)
			sum.bits += runs[i].last - runs[i].first + 1;
		sum.runs += count;
	}
	double took = cpu_ns() - began;
	ours = sum;
	return took / 1e6;
}

static double find_bits(void *arg)
{
	double began = cpu_ns();

	(void)arg;
	theirs = find_runs(words, BITS);
	return (cpu_ns() - began) / 1e6;
}

/* As a program that uses the library has them. */
static double batch_runs(void *log)
{
	struct vfd_consumer *consumer = vfd_log_consumer(log);
	struct run_sum sum = { 0 };
	struct vfd_run runs[BATCH];
	struct vfd_batch batch;
	size_t count;

	must("vfd_take", vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, NULL));
	double began = cpu_ns();
	while (batch.id && !vfd_batch_runs(consumer, &batch, runs, BATCH, &count, NULL) && count)
		for (size_t i = 0; i < count; i++) {
			sum.runs++;
			sum.bits += runs[i].size / PAGE;
		}
	double took = cpu_ns() - began;
	if (batch.id)
		must("vfd_rollback", vfd_rollback(consumer, &batch, 0, UINT64_MAX, NULL));
	ours = sum;
	return took / 1e6;
}

static void agree(const char *name)
{
	must_agree(name, ours.runs, theirs.runs);
	must_agree(name, ours.bits, theirs.bits);
}

static void other_set(const char *name)
{
	struct set *set = set_of(words, WORDS);
	struct contender two[] = { { .once = run_kernels, .arg = (void *)bitmap_ops_best() },
				   { .once = set_runs, .arg = set } };

	if (!set)
		return;
	row_race(&(struct row){ .name = name, .unit = "ms", .peer = "CRoaring's iterator" }, two, 15);
	set_free(set);
}

static void pattern(const char *name, double limit)
{
	struct row row = {
		.name = name, .unit = "ms", .peer = "find_next_bit loop (a model)", .at_least_times = limit
	};
	char public_name[64];
	struct vfd_log *log = log_of(BITS * PAGE);
	struct contender kernel[] = { { .once = run_kernels, .arg = (void *)bitmap_ops_best() },
				      { .once = find_bits } };
	struct contender call[] = { { .once = batch_runs, .arg = log }, { .once = find_bits } };

	row_race(&row, kernel, 31);
	agree(name);
	log_give(log, 0, words, WORDS);
	snprintf(public_name, sizeof public_name, "%s-vfd_batch_runs", name);
	row.name = public_name;
	row_race(&row, call, 15);
	agree(public_name);
	other_set(name);
	log_drop(log);
}

/* Runs of 1 to 512 pages, gaps of 1 to 8191: what a guest that copies files does. */
static void clusters(void)
{
	uint64_t seed = 17;

	memset(words, 0, WORDS * sizeof *words);
	for (uint64_t at = 0;;) {
		uint64_t first = at + 1 + random_next(&seed) % 8191;
		at = first + random_next(&seed) % 512;
		if (at >= BITS)
			return;
		for (uint64_t i = first; i <= at; i++)
			words[i / 64] |= UINT64_C(1) << i % 64;
	}
}

void rows_runs(void)
{
	words = memory_new(WORDS * sizeof *words);
	pattern("runs-none", 1);
	fill_random(words, WORDS, 10, 19);
	pattern("runs-1%", 3);
	fill_random(words, WORDS, 512, 23);
	pattern("runs-50%", 5);
	clusters();
	pattern("runs-clustered", 1.5);
	fill_random(words, WORDS, 1024, 0);
	pattern("runs-all", 1);
	memory_free(words, WORDS * sizeof *words);
}
