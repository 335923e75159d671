/* SPDX-License-Identifier: MIT */

/* The bitmap of a guest of 1 TiB, while another thread marks single pages all the time: ours merges and that thread calls
 * vfd_log_mark; with QEMU's bitmaps both use locked ORs. */

#include <pthread.h>
#include <stdlib.h>

#include "bench.h"
#include "logs.h"
#include "peers.h"
#include "rows.h"

static uint64_t *source;
static _Atomic uint64_t *first, *second;

/* ---- the other thread ---- */

struct marker {
	pthread_t thread;
	atomic_bool stop;
	struct vfd_log *log; /* NULL: marks first and second */
	uint64_t marks;
};

static void mark_one(struct marker *m, uint64_t page)
{
	if (m->log) {
		must("vfd_log_mark", vfd_log_mark(m->log, page * PAGE, PAGE, NULL));
		return;
	}
	atomic_fetch_or(&first[page / 64], UINT64_C(1) << page % 64);
	atomic_fetch_or(&second[page / 64], UINT64_C(1) << page % 64);
}

static void *mark(void *arg)
{
	struct marker *m = arg;
	uint64_t seed = 5;

	for (; !m->stop; m->marks++)
		mark_one(m, random_next(&seed) % (TIB / PAGE));
	return NULL;
}

static void marker_start(struct marker *m, struct vfd_log *log)
{
	m->stop = false;
	m->log = log;
	must("pthread_create", pthread_create(&m->thread, NULL, mark, m));
}

static void marker_stop(struct marker *m)
{
	m->stop = true;
	pthread_join(m->thread, NULL);
}

/* ---- the contenders ---- */

/* Time of the thread that merges: it waits for a lock on the wall only, so the wall counts where there is one. */
static double merge_marked(void *arg)
{
	struct vfd_log *log = arg;
	struct marker marker = { 0 };

	caches_flush();
	marker_start(&marker, log);
	double began = wall_ns();
	sink += log_give(log, 0, source, TIB_WORDS);
	double took = wall_ns() - began;
	marker_stop(&marker);
	log_empty(log);
	return took / 1e6;
}

static double or_marked(bool both)
{
	struct marker marker = { 0 };

	caches_flush();
	marker_start(&marker, NULL);
	double began = wall_ns();
	sink += both ? qemu_words(first, second, source, TIB_WORDS) : one_locked_or(first, source, TIB_WORDS);
	double took = wall_ns() - began;
	marker_stop(&marker);
	return took / 1e6;
}

static double qemu_marked(void *arg)
{
	(void)arg;
	return or_marked(true);
}

static double single_marked(void *arg)
{
	(void)arg;
	return or_marked(false);
}

static void density(unsigned per_1024, const char *name)
{
	struct vfd_log *log = log_of(TIB);
	struct contender all[] = { { .once = merge_marked, .arg = log },
				   { .once = qemu_marked },
				   { .once = single_marked } };

	fill_random(source, TIB_WORDS, per_1024, 13);
	race(all, 3, repetitions(15));
	row_print(&(struct row){ .name = name,
				 .unit = "ms",
				 .peer = "QEMU's word loop (a model)",
				 .at_least_times = 5 },
		  &all[0].took, &all[1].took);
	row_print(&(struct row){ .name = name, .unit = "ms", .peer = "the same with one locked OR" },
		  &all[0].took, &all[2].took);
	log_drop(log);
}

void rows_marking(void)
{
	source = memory_new(TIB_WORDS * 8);
	first = memory_new(TIB_WORDS * 8);
	second = memory_new(TIB_WORDS * 8);
	density(10, "merge-while-marking-1%");
	density(512, "merge-while-marking-50%");
	memory_free(source, TIB_WORDS * 8);
	memory_free((void *)first, TIB_WORDS * 8);
	memory_free((void *)second, TIB_WORDS * 8);
}
