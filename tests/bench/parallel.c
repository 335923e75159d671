/* SPDX-License-Identifier: MIT */

/* Two threads, each with the bitmap of a container, one log. How much of one thread's time do two need, and how much do two
 * that only compute dst |= src? What the memory of this machine lets two cores do is in both. */

#include <pthread.h>

#include "bench.h"
#include "logs.h"
#include "machine.h"
#include "rows.h"

enum { WORDS = 1 << 22 }; /* of each container's bitmap: 1 TiB */

static uint64_t *sources[2], *target;
static struct vfd_log *log_of_both;
static bool same; /* both containers map the same memory; else each its half */

struct job {
	unsigned index;
	bool plain;
	pthread_barrier_t *start;
	double began, ended;
};

static void merge(unsigned index, bool plain)
{
	size_t n = same ? WORDS : WORDS / 2, at = same || !index ? 0 : n;

	if (plain)
		machine_or(target + at, sources[index], n);
	else
		sink += log_give(log_of_both, at * 64 * PAGE, sources[index], n);
}

static void *work(void *arg)
{
	struct job *job = arg;

	pthread_barrier_wait(job->start);
	job->began = wall_ns();
	merge(job->index, job->plain);
	job->ended = wall_ns();
	return NULL;
}

static double one_thread(bool plain)
{
	caches_flush();
	double began = wall_ns();
	merge(0, plain);
	merge(1, plain);
	return wall_ns() - began;
}

static double two_threads(bool plain)
{
	pthread_barrier_t start;
	struct job jobs[2];
	pthread_t threads[2];

	caches_flush();
	pthread_barrier_init(&start, NULL, 2);
	for (unsigned i = 0; i < 2; i++) {
		jobs[i] = (struct job){ .index = i, .plain = plain, .start = &start };
		must("pthread_create", pthread_create(&threads[i], NULL, work, &jobs[i]));
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&start);
	double began = jobs[0].began < jobs[1].began ? jobs[0].began : jobs[1].began;
	double ended = jobs[0].ended > jobs[1].ended ? jobs[0].ended : jobs[1].ended;
	return ended - began;
}

static double share_of(bool plain)
{
	double one = one_thread(plain);

	if (!plain)
		log_empty(log_of_both);
	double two = two_threads(plain);
	if (!plain)
		log_empty(log_of_both);
	return two / one;
}

static double share_ours(void *arg)
{
	(void)arg;
	return share_of(false);
}

static double share_plain(void *arg)
{
	(void)arg;
	return share_of(true);
}

static void layout(bool both_map_the_same, const char *name)
{
	struct contender two[] = { { .once = share_ours }, { .once = share_plain } };

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
