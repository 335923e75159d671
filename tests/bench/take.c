/* SPDX-License-Identifier: MIT */

/* A round of a migration that has nearly converged: 1 000 dirty pages somewhere in the guest. Whoever keeps one flat bitmap
 * has to read all of it to find them. Whoever knows them already has to touch their words in two bitmaps: what is owed, what is on its
 * way. That is what the memory of this machine needs at least. */

#include "bench.h"
#include "logs.h"
#include "peers.h"
#include "rows.h"

enum { DIRTY = 1000, RUNS = 256 };

static uint64_t guest; /* bytes */
static uint64_t *flat, *away;
static uint64_t ours, theirs; /* pages seen */

static uint64_t dirty_page(uint64_t *seed)
{
	return random_next(seed) % (guest / PAGE);
}

/* What a harvest says, or the program */
static void report(struct vfd_log *log, uint64_t page)
{
	uint64_t word = UINT64_C(1) << page % 64;

	log_give(log, page / 64 * 64 * PAGE, &word, 1);
}

static void mark(struct vfd_log *log, uint64_t page)
{
	must("vfd_log_mark", vfd_log_mark(log, page * PAGE, PAGE, NULL));
}

static void (*dirty)(struct vfd_log *log, uint64_t page);

static double round_of(void *log)
{
	struct vfd_consumer *consumer = vfd_log_consumer(log);
	struct vfd_run runs[RUNS];
	struct vfd_batch batch;
	uint64_t seed = 29, pages = 0;
	size_t count;

	for (int i = 0; i < DIRTY; i++)
		dirty(log, dirty_page(&seed));
	double began = cpu_ns();
	must("vfd_take", vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, NULL));
	while (!vfd_batch_runs(consumer, &batch, runs, RUNS, &count, NULL) && count)
		for (size_t i = 0; i < count; i++)
			pages += runs[i].size / PAGE;
	must("vfd_commit", vfd_commit(consumer, &batch, 0, UINT64_MAX, NULL));
	double took = cpu_ns() - began;
	ours = pages;
	return took / 1e3;
}

static double round_of_flat(void *arg)
{
	uint64_t seed = 29, bits = guest / PAGE, pages = 0;

	(void)arg;
	for (int i = 0; i < DIRTY; i++) {
		uint64_t page = dirty_page(&seed);
		flat[page / 64] |= UINT64_C(1) << page % 64;
	}
	double began = cpu_ns();
	for (uint64_t first = find_next_bit(flat, bits, 0); first < bits;) {
		uint64_t end = find_next_zero_bit(flat, bits, first);
		for (uint64_t page = first; page < end; page++, pages++)
			flat[page / 64] &= ~(UINT64_C(1) << page % 64);
		first = find_next_bit(flat, bits, end);
	}
	double took = cpu_ns() - began;
	theirs = pages;
	return took / 1e3;
}

/* As round_of_flat(), but where they are is known. */
static double round_of_known(void *arg)
{
	uint64_t seed = 29, known[DIRTY], pages = 0;

	(void)arg;
	for (int i = 0; i < DIRTY; i++) {
		known[i] = dirty_page(&seed);
		flat[known[i] / 64] |= UINT64_C(1) << known[i] % 64;
	}
	double began = cpu_ns();
	for (int i = 0; i < DIRTY; i++) {
		uint64_t w = known[i] / 64, bits = flat[w];
		pages += (uint64_t)__builtin_popcountll(bits);
		flat[w] = 0;
		away[w] |= bits;
	}
	for (int i = 0; i < DIRTY; i++)
		away[known[i] / 64] = 0;
	double took = cpu_ns() - began;
	theirs = pages;
	return took / 1e3;
}

static void compare(struct vfd_log *log, void (*how)(struct vfd_log *log, uint64_t page), const char *name)
{
	struct row row = {
		.name = name, .unit = "us", .peer = "a flat bitmap, find_next_bit", .at_most = 100
	};
	struct contender found[] = { { .once = round_of, .arg = log }, { .once = round_of_flat } };
	struct contender known[] = { { .once = round_of, .arg = log }, { .once = round_of_known } };

	dirty = how;
	row_race(&row, found, 31);
	must_agree(name, ours, theirs);
	row.peer = "known words, moved and cleared";
	row.at_most = 0;
	row_race(&row, known, 31);
	must_agree(name, ours, theirs);
}

static void size_of(uint64_t bytes, const char *reported, const char *marked)
{
	struct vfd_log *log = log_of(bytes);

	guest = bytes;
	flat = memory_new((size_t)(bytes / PAGE / 8));
	away = memory_new((size_t)(bytes / PAGE / 8));
	compare(log, report, reported);
	compare(log, mark, marked);
	memory_free(flat, (size_t)(bytes / PAGE / 8));
	memory_free(away, (size_t)(bytes / PAGE / 8));
	log_drop(log);
}

void rows_take(void)
{
	size_of(64 * GIB, "take-commit-1000-in-64GiB", "take-commit-1000-marked-in-64GiB");
	size_of(TIB, "take-commit-1000-in-1TiB", "take-commit-1000-marked-in-1TiB");
	size_of(16 * TIB, "take-commit-1000-in-16TiB", "take-commit-1000-marked-in-16TiB");
}
