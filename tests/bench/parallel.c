/* SPDX-License-Identifier: MIT */

/* Two threads, each with the bitmap of a container, one log. How much of one thread's time do two need, and how much do two
 * that only compute dst |= src? What the memory of this machine lets two cores do is in both. */

#include "bench.h"
#include "logs.h"
#include "machine.h"
#include "rows.h"

enum { WORDS = 1 << 22 }; /* of each container's bitmap: 1 TiB */

static uint64_t *sources[2], *target;
static struct vfd_log *log_of_both;
static bool same; /* both containers map the same memory; else each its half */

static void merge(unsigned index, void *plain)
{
	size_t n = same ? WORDS : WORDS / 2, at = same || !index ? 0 : n;

	if (plain)
		machine_or(target + at, sources[index], n);
	else
		sink += log_give(log_of_both, at * 64 * PAGE, sources[index], n);
}

static double one_thread(void *plain)
{
	caches_flush();
	double began = wall_ns();
	merge(0, plain);
	merge(1, plain);
	return wall_ns() - began;
}

static double share_of(void *plain)
{
	double one = one_thread(plain);

	if (!plain)
		log_empty(log_of_both);
	caches_flush();
	double two = two_threads(merge, plain);
	if (!plain)
		log_empty(log_of_both);
	return two / one;
}

static void layout(bool both_map_the_same, const char *name)
{
	struct contender two[] = { { .once = share_of }, { .once = share_of, .arg = target } };

	same = both_map_the_same;
	log_of_both = log_of(TIB);
	row_race(&(struct row){ .name = name,
				.unit = "of one",
				.peer = "two threads, dst |= src",
				.at_least_times = 0.9 },
		 two, 21);
	log_drop(log_of_both);
}

void rows_parallel(void)
{
	for (unsigned i = 0; i < 2; i++) {
		sources[i] = memory_new(WORDS * 8);
		fill_random(sources[i], WORDS, 512, 31 + i);
	}
	target = memory_new(WORDS * 8);
	layout(false, "two-threads-one-log-apart");
	layout(true, "two-threads-one-log-same");
	memory_free(sources[0], WORDS * 8);
	memory_free(sources[1], WORDS * 8);
	memory_free(target, WORDS * 8);
}
