/* SPDX-License-Identifier: MIT */

/* Many threads on one container while its device writes: nothing is lost, nothing is made up, the kernel survives. Meant for the
 * thread sanitizer as well. */

#include "fixture.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct fixture fixture, *f = &fixture;

/* What a consumer was given and committed: which pages, and what was in them. Only the consumer's thread writes it. */
static uint64_t delivered[WORDS];
static char sent[PAGES][4096];

static void deliver(uint64_t address)
{
	uint64_t page = (address - LOG_ADDRESS) / PAGE;

	delivered[page / 64] |= UINT64_C(1) << page % 64;
	memcpy(sent[page], f->memory + page * PAGE, PAGE);
}

static atomic_bool working;
static pthread_t threads[8];
static unsigned running;

static void start_thread(void *(*work)(void *), void *argument)
{
	ck_assert_int_eq(pthread_create(&threads[running++], NULL, work, argument), 0);
}

static void stop_threads(void)
{
	working = false;
	while (running)
		pthread_join(threads[--running], NULL);
}

static void pause_us(long us)
{
	struct timespec time = { 0, us * 1000 };

	nanosleep(&time, NULL);
}

/* ---- workers ---- */

static atomic_ullong writes;

static void *write_memory(void *argument)
{
	while (working)
		writes += device_steps(f, *(unsigned *)argument, 16);
	return NULL;
}

static void *harvest_rounds(void *argument)
{
	struct vfd_harvest result = { .struct_size = sizeof result };

	(void)argument;
	while (working)
		vfd_track_harvest(f->container, 0, &result, NULL);
	return NULL;
}

/* Takes a few, commits all or half of them, and rolls back the rest. */
static void take_some(void)
{
	struct vfd_consumer *consumer = vfd_log_consumer(f->log);
	struct vfd_batch batch;
	struct vfd_run run;
	size_t count;

	if (vfd_take(consumer, 0, UINT64_MAX, 40, &batch, NULL) || !batch.id)
		return;
	uint64_t middle = batch.first + (batch.last - batch.first) / 2 / PAGE * PAGE;
	struct vfd_batch walk = batch;
	while (!vfd_batch_runs(consumer, &walk, &run, 1, &count, NULL) && count)
		for (uint64_t at = run.address; at < run.address + run.size && at < middle; at += PAGE)
			deliver(at);
	pause_us(200); /* on the way to the receiver */
	if (middle > batch.first)
		vfd_commit(consumer, &batch, batch.first, middle - 1, NULL);
	vfd_rollback(consumer, &batch, middle, UINT64_MAX, NULL);
	if (middle == batch.first) { /* one page: that much progress must be */
		vfd_take(consumer, 0, UINT64_MAX, 1, &batch, NULL);
		if (!batch.id)
			return;
		deliver(batch.first);
		vfd_commit(consumer, &batch, 0, UINT64_MAX, NULL);
	}
}

static void *consume(void *argument)
{
	(void)argument;
	while (working)
		take_some();
	return NULL;
}

/* Maps and unmaps pieces of the upper half, over and over. */
static void *change_mappings(void *argument)
{
	unsigned state = *(unsigned *)argument;

	while (working) {
		uint64_t first = 512 + (unsigned)rand_r(&state) % 8 * 64;
		struct vfd_mapping mapping = {
			.struct_size = sizeof mapping,
			.flags = RW,
			.iova = first * PAGE,
			.size = 64 * PAGE,
			.memory = f->memory + first * PAGE,
		};
		if (rand_r(&state) % 2)
			vfd_map(f->container, &mapping, NULL);
		else
			vfd_unmap(f->container, first * PAGE, 64 * PAGE, NULL);
	}
	return NULL;
}

static void *ask(void *argument)
{
	struct vfd_container_info information = { .struct_size = sizeof information };
	struct vfd_plan plan = { .struct_size = sizeof plan };
	struct vfd_count count;

	(void)argument;
	while (working) {
		vfd_container_info(f->container, &information, NULL);
		vfd_track_plan(f->container, &plan, NULL);
		vfd_consumer_count(vfd_log_consumer(f->log), 0, UINT64_MAX, &count, NULL);
	}
	return NULL;
}

/* ---- the end ---- */

/* TRUTH is in what was delivered and what is owed; and that in what the kernel returned. */
static void check_delivered(const uint64_t *extra)
{
	uint64_t log[WORDS], truth[WORDS] = { 0 }, returned[WORDS] = { 0 };

	logged(f, log);
	model_pages(f->model, MODEL_TRUTH, f->memory, PAGES * PAGE, truth);
	model_pages(f->model, MODEL_RETURNED, f->memory, PAGES * PAGE, returned);
	model_pages(f->model, MODEL_SPOILED, f->memory, PAGES * PAGE, returned);
	for (int w = 0; w < WORDS; w++) {
		uint64_t known = log[w] | delivered[w];
		ck_assert_msg(!(truth[w] & ~known), "word %d: written, but never delivered: LOST", w);
		ck_assert_msg(!(known & ~returned[w] & ~(extra ? extra[w] : 0)),
			      "word %d: delivered, but neither returned nor marked", w);
	}
	for (unsigned p = 0; p < PAGES; p++) /* what is not owed any more has arrived as it is */
		ck_assert_msg(log[p / 64] >> p % 64 & 1 || !memcmp(sent[p], f->memory + p * PAGE, PAGE),
			      "page %u: written after it was delivered, and not owed: LOST", p);
}

static void begin(const struct model_config *config)
{
	memset(delivered, 0, sizeof delivered);
	memset(sent, 0, sizeof sent);
	fixture_begin(f, config);
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
	OK(map_pages(f, 0, 0, 512, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	device_runs(f, 0, 0, PAGES);
	working = true;
	writes = 0;
}

START_TEST(all_at_once)
{
	unsigned zero = 0, seeds[2] = { 1, 2 };

	begin(NULL);
	for (int i = 0; i < 60; i++) { /* many ends: what is lost in the middle is soon written again */
		working = true;
		start_thread(write_memory, &zero);
		start_thread(harvest_rounds, NULL);
		start_thread(harvest_rounds, NULL);
		start_thread(consume, NULL);
		start_thread(change_mappings, &seeds[0]);
		start_thread(change_mappings, &seeds[1]);
		start_thread(ask, NULL);
		pause_us(5000);
		stop_threads();
		OK(harvest(f, 0));
		check_delivered(NULL);
	}
	ck_assert_uint_gt(writes, 1000);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	check_delivered(NULL);
	fixture_end(f);
}
END_TEST

static uint64_t marked[WORDS];

static void *mark(void *argument)
{
	unsigned state = *(unsigned *)argument;

	while (working) {
		uint64_t page = (unsigned)rand_r(&state) % PAGES;
		marked[page / 64] |= UINT64_C(1) << page % 64;
		vfd_log_mark(f->log, LOG_ADDRESS + page * PAGE, PAGE, NULL);
	}
	return NULL;
}

START_TEST(marks_among_them)
{
	unsigned zero = 0, seed = 3;
	uint64_t log[WORDS];

	memset(marked, 0, sizeof marked);
	begin(NULL);
	start_thread(write_memory, &zero);
	start_thread(harvest_rounds, NULL);
	start_thread(consume, NULL);
	start_thread(mark, &seed);
	pause_us(400000);
	stop_threads();
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	check_delivered(marked);
	logged(f, log);
	for (int w = 0; w < WORDS; w++)
		ck_assert_msg(!(marked[w] & ~(log[w] | delivered[w])), "word %d: marked, but never delivered",
			      w);
	fixture_end(f);
}
END_TEST

/* Detached and attached again under everybody's feet. */
START_TEST(detached_meanwhile)
{
	unsigned zero = 0, seed = 4;

	begin(NULL);
	f->model->ioctl_delay = 50;
	f->model->teardown_delay = 500;
	start_thread(write_memory, &zero);
	start_thread(harvest_rounds, NULL);
	start_thread(consume, NULL);
	start_thread(change_mappings, &seed);
	start_thread(ask, NULL);
	for (int i = 0; i < 15; i++) {
		OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
		OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
		OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
		device_runs(f, 0, 0, PAGES);
		pause_us(10000);
	}
	stop_threads();
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	check_delivered(NULL);
	ck_assert_uint_gt(writes, 100);
	fixture_end(f);
}
END_TEST

/* Quiesced and resumed by one thread, while another believes in a last harvest whenever it may. */
static atomic_uint stops;

static void *quiesce_and_resume(void *argument)
{
	(void)argument;
	for (unsigned round = 0; working; round++) {
		vfd_device_quiesce(f->device, NULL);
		pause_us(round % 4 ? round % 7 * 20
				   : 5000); /* mostly too short to be believed, at times long enough */
		vfd_device_resume(f->device, NULL);
		device_runs(f, 0, 0, PAGES);
		pause_us(50);
	}
	return NULL;
}

START_TEST(stopped_meanwhile)
{
	unsigned zero = 0;

	memset(delivered, 0, sizeof delivered);
	memset(sent, 0, sizeof sent);
	fixture_track(f, &emulated_pci);
	OK(vfd_device_resume(f->device, &f->err));
	device_runs(f, 0, 0, PAGES);
	working = true;
	stops = 0;
	start_thread(write_memory, &zero);
	start_thread(quiesce_and_resume, NULL);
	start_thread(consume, NULL);
	time_t end = time(NULL) + 3;
	for (int i = 0; time(NULL) < end && stops < 200; i++) {
		harvest(f, 0);
		pause_us(i % 4 * 60);
		if (vfd_track_stop(f->container, 0, NULL))
			continue;
		/* accepted: then nothing that was written while it was on may be missing */
		stops++;
		ck_assert(!model_tracking(f->model, vfd_container_fd(f->container)));
		ck_assert_uint_eq(model_page_count(f->model, MODEL_DROPPED), 0);
		OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	}
	stop_threads();
	ck_assert_uint_gt(stops, 0);
	fixture_end(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("threads");

	add_modes(suite, "all at once", all_at_once);
	add_modes(suite, "marks among them", marks_among_them);
	add_modes(suite, "detached meanwhile", detached_meanwhile);
	add_modes(suite, "stopped meanwhile", stopped_meanwhile);
	return run_suite(suite);
}
