/* SPDX-License-Identifier: MIT */

/* Writers, mergers and channels on one log, all at once. The receiver must end with the newest content of every page
 * that was written, whatever was rolled back and in whatever order the channels were served.
 *
 *	test_log_threads [rounds]
 *
 * Memory is one number per page. A writer makes it larger and then marks the page; a channel reads it only after the
 * take; the receiver refuses to go backwards: old content that overtakes new is a failure, not a loss repaired later. */

#include "log_internal.h" /* before check.h, which has a macro `fail` */

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "random.h"

enum { PAGES = 1 << 14, WRITERS = 2, MERGERS = 2, CONSUMERS = 2, CHANNELS = 4, PAGE = 4096 };

static long rounds = 3000;

struct receiver {
	struct vfd_consumer *consumer;
	atomic_uint_fast64_t page[PAGES];
};

static struct vfd_log *the_log;
static atomic_uint_fast64_t content[PAGES];
static struct receiver receivers[CONSUMERS];
static atomic_int feeders, backwards, refusals, phantoms;
static const uint64_t base = 37 * PAGE;

static uint64_t next(uint64_t *state)
{
	return xorshift(state) >> 9;
}

static void expect(int ret)
{
	if (ret)
		atomic_fetch_add(&refusals, 1);
}

static void *writer(void *arg)
{
	uint64_t state = 77 + (uintptr_t)arg;

	for (long i = 0; i < rounds; i++) {
		uint64_t first = next(&state) % PAGES, n = 1 + next(&state) % (next(&state) % 8 ? 8 : 3000);
		n = n < PAGES - first ? n : PAGES - first;
		for (uint64_t p = first; p < first + n; p++)
			atomic_fetch_add(&content[p], 1);
		expect(vfd_log_mark(the_log, base + first * PAGE + 5, n * PAGE - 10, NULL));
	}
	atomic_fetch_sub(&feeders, 1);
	return NULL;
}

static void *merger(void *arg)
{
	uint64_t state = 991 + (uintptr_t)arg, words[16];

	for (long i = 0; i < rounds; i++) {
		uint64_t first = next(&state) % (PAGES - 1024), bits = 1 + next(&state) % 1024;
		for (uint64_t w = 0; w < 16; w++)
			words[w] = next(&state) % 3 ? 0 : next(&state) & next(&state);
		for (uint64_t b = 0; b < bits; b++)
			if (words[b / 64] >> (b % 64) & 1)
				atomic_fetch_add(&content[first + b], 1);
		struct vfd_bitmap bitmap = {
			.struct_size = sizeof bitmap,
			.provenance = VFD_REPORTED,
			.address = base + first * PAGE,
			.page_size = PAGE,
			.bits = bits,
			.words = words,
			.who = "merger",
		};
		expect(vfd_log_merge(the_log, &bitmap, NULL, NULL));
	}
	atomic_fetch_sub(&feeders, 1);
	return NULL;
}

/* Send the pages of one run. Channels of one consumer never have the same page at the same time, so a plain check that
 * the content does not go backwards is no race. */
static void send_run(struct receiver *r, const struct vfd_run *run)
{
	for (uint64_t p = (run->address - base) / PAGE; p < (run->address + run->size - base) / PAGE; p++) {
		uint64_t value = atomic_load(&content[p]);
		if (!value) /* owed, but never written, so never marked */
			atomic_fetch_add(&phantoms, 1);
		if (atomic_exchange(&r->page[p], value) > value)
			atomic_fetch_add(&backwards, 1);
	}
}

static void send_batch(struct receiver *r, struct vfd_batch *batch)
{
	struct vfd_run runs[32];
	size_t n;

	do {
		expect(vfd_batch_runs(r->consumer, batch, runs, 32, &n, NULL));
		for (size_t i = 0; i < n; i++)
			send_run(r, &runs[i]);
	} while (n);
}

/* The channel broke: nothing of first..last arrived. Forget it, so that only the log can bring it again. */
static void forget(struct receiver *r, struct vfd_batch *batch)
{
	struct vfd_run runs[32];
	size_t n;

	batch->next = batch->first;
	do {
		expect(vfd_batch_runs(r->consumer, batch, runs, 32, &n, NULL));
		for (size_t i = 0; i < n; i++)
			for (uint64_t p = (runs[i].address - base) / PAGE;
			     p < (runs[i].address + runs[i].size - base) / PAGE; p++)
				atomic_store(&r->page[p], 0);
	} while (n);
}

static void serve(struct receiver *r, struct vfd_batch *batch, unsigned outcome)
{
	uint64_t middle = base + ((batch->first + batch->last - 2 * base) / 2 / PAGE) * PAGE;

	send_batch(r, batch);
	switch (outcome) {
	case 0:
		forget(r, batch);
		expect(vfd_rollback(r->consumer, batch, 0, UINT64_MAX, NULL));
		break;
	case 1: /* the lower part arrived */
		if (middle > batch->first && middle < batch->last) {
			expect(vfd_commit(r->consumer, batch, 0, middle - 1, NULL));
			/* what is left may be nothing: then the batch is closed */
			struct vfd_run run;
			size_t n;
			batch->next = batch->first;
			if (vfd_batch_runs(r->consumer, batch, &run, 1, &n, NULL))
				break;
			forget(r, batch);
		} else {
			forget(r, batch);
		}
		expect(vfd_rollback(r->consumer, batch, 0, UINT64_MAX, NULL));
		break;
	default:
		expect(vfd_commit(r->consumer, batch, 0, UINT64_MAX, NULL));
	}
}

static void *channel(void *arg)
{
	struct receiver *r = &receivers[(uintptr_t)arg % CONSUMERS];
	uint64_t state = 4242 + (uintptr_t)arg;
	struct vfd_batch batch;
	bool last_look = false;

	for (;;) {
		bool done = !atomic_load(&feeders);
		uint64_t from = done ? 0 : base + next(&state) % PAGES * PAGE;
		expect(vfd_take(r->consumer, from, base + (uint64_t)PAGES * PAGE - 1, 1 + next(&state) % 700,
				&batch, NULL));
		if (batch.id)
			serve(r, &batch, done ? 2 : (unsigned)(next(&state) % 6));
		else if (done && last_look)
			return NULL;
		last_look = done && !batch.id;
	}
}

static void *watcher(void *arg)
{
	struct vfd_cause causes[64];
	struct vfd_count count;
	struct vfd_consumer *third;
	size_t n;

	(void)arg;
	while (atomic_load(&feeders)) {
		expect(vfd_consumer_count(receivers[0].consumer, 0, UINT64_MAX, &count, NULL));
		expect(vfd_consumer_causes(receivers[1].consumer, causes, 64, &n, NULL));
		expect(vfd_consumer_add(the_log, "meter", &third, NULL));
		expect(vfd_mark_initial(third, NULL));
		expect(vfd_consumer_remove(&third, VFD_DISCARD, NULL));
	}
	return NULL;
}

/* A region beside the others, and what is marked and taken in it: its own oracle. The gate closes for each coming and going. */
static void *builder(void *arg)
{
	const uint64_t far = base + 64 * (uint64_t)PAGES * PAGE;
	struct vfd_region region = { .struct_size = sizeof region, .address = far, .size = 500 * PAGE };
	struct vfd_consumer *own = NULL;
	struct vfd_count count;

	while (atomic_load(&feeders)) {
		expect(vfd_region_add(the_log, &region, NULL));
		expect(vfd_consumer_add(the_log, "builder", &own, NULL));
		for (uint64_t i = 0; i < 500; i += 7)
			expect(vfd_log_mark(the_log, far + i * PAGE, PAGE, NULL));
		expect(vfd_consumer_count(own, far, far + 500 * PAGE - 1, &count, NULL));
		expect(count.owed != 72 || count.reported || count.taken);
		expect(vfd_consumer_remove(&own, VFD_DISCARD, NULL));
		expect(vfd_region_remove(the_log, far, VFD_DISCARD, NULL));
	}
	return arg;
}

static void start_log(void *arena, uint64_t arena_size)
{
	struct vfd_log_options o = { .struct_size = sizeof o, .flags = VFD_LOG_IDENTITY };
	struct vfd_region region = { .struct_size = sizeof region, .address = base };

	o.arena = arena;
	o.arena_size = arena_size;
	ck_assert(!vfd_log_create(&o, &the_log, NULL));
	/* two regions without a gap: runs and spans cross the border */
	region.size = PAGES / 3 * PAGE;
	ck_assert(!vfd_region_add(the_log, &region, NULL));
	region.address += region.size;
	region.size = (PAGES - PAGES / 3) * (uint64_t)PAGE;
	ck_assert(!vfd_region_add(the_log, &region, NULL));
	receivers[0].consumer = vfd_log_consumer(the_log);
	for (int i = 1; i < CONSUMERS; i++)
		ck_assert(!vfd_consumer_add(the_log, NULL, &receivers[i].consumer, NULL));
	for (int i = 0; i < PAGES; i++) {
		atomic_store(&content[i], 0);
		for (int c = 0; c < CONSUMERS; c++)
			atomic_store(&receivers[c].page[i], 0);
	}
	atomic_store(&feeders, WRITERS + MERGERS);
}

static void run_all(void)
{
	static void *(*const all[])(void *) = { writer, merger, channel, watcher, builder };
	static const unsigned count[] = { WRITERS, MERGERS, CHANNELS * CONSUMERS, 1, 1 };
	pthread_t threads[64];
	uintptr_t n = 0;

	for (unsigned k = 0; k < 5; k++)
		for (unsigned i = 0; i < count[k]; i++, n++)
			ck_assert(!pthread_create(&threads[n], NULL, all[k], (void *)n));
	while (n--)
		pthread_join(threads[n], NULL);
}

static void check_all(void)
{
	struct vfd_count left;

	ck_assert_int_eq(atomic_load(&refusals), 0);
	ck_assert_int_eq(atomic_load(&backwards), 0);
	ck_assert_int_eq(atomic_load(&phantoms), 0);
	for (int c = 0; c < CONSUMERS; c++) {
		ck_assert(!vfd_consumer_count(receivers[c].consumer, 0, UINT64_MAX, &left, NULL));
		ck_assert(!left.owed && !left.taken);
		for (int p = 0; p < PAGES; p++)
			if (atomic_load(&receivers[c].page[p]) != atomic_load(&content[p]))
				ck_abort_msg("consumer %d page %d: has %lu, newest is %lu", c, p,
					     (long)atomic_load(&receivers[c].page[p]),
					     (long)atomic_load(&content[p]));
	}
	ck_assert(!vfd_log_destroy(&the_log, 0, NULL));
}

START_TEST(newest_content_arrives)
{
	start_log(NULL, 0);
	run_all();
	check_all();
}
END_TEST

START_TEST(newest_content_arrives_arena)
{
	const size_t size = 1 << 20;
	void *arena = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	start_log(arena, size);
	run_all();
	check_all();
	munmap(arena, size);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("log, threads");
	TCase *tcase = tcase_create("threads");

	if (argc > 1)
		rounds = strtol(argv[1], NULL, 0);
	tcase_set_timeout(tcase, 600);
	tcase_add_test(tcase, newest_content_arrives);
	tcase_add_test(tcase, newest_content_arrives_arena);
	suite_add_tcase(suite, tcase);

	SRunner *runner = srunner_create(suite);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
