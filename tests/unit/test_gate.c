/* SPDX-License-Identifier: MIT */

/* The gate: nobody is inside with an exclusive holder, and neither kind keeps the other out. */

#include "lock.h" /* before check.h, which has a macro `fail` */

#include <check.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "../suite.h"

enum { SHARED = 24, EXCLUSIVE = 3, ROUNDS = 2000 }; /* more threads than slots */

static struct gate gate;
static long plain; /* written by exclusive holders only */
static atomic_int inside, overlaps;
static atomic_bool working;
static atomic_long passed;

static void check_alone(void)
{
	if (atomic_load(&inside))
		atomic_fetch_add(&overlaps, 1);
}

static void *share(void *arg)
{
	long seen = 0;

	for (long i = 0; i < ROUNDS; i++) {
		gate_enter(&gate);
		atomic_fetch_add(&inside, 1);
		if (plain < seen)
			atomic_fetch_add(&overlaps, 1);
		seen = plain;
		if (i % 64 == 0)
			sched_yield();
		atomic_fetch_sub(&inside, 1);
		gate_leave(&gate);
	}
	return arg;
}

static void *close_often(void *arg)
{
	for (long i = 0; i < ROUNDS / 4; i++) {
		gate_close(&gate);
		check_alone();
		plain++;
		if (i % 16 == 0)
			sched_yield();
		check_alone();
		gate_open(&gate);
	}
	return arg;
}

static void run(pthread_t *threads, unsigned n, void *(*work)(void *))
{
	for (unsigned i = 0; i < n; i++)
		ck_assert(!pthread_create(&threads[i], NULL, work, NULL));
}

static void join(pthread_t *threads, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
}

START_TEST(exclusive_is_alone)
{
	pthread_t threads[SHARED + EXCLUSIVE];

	gate_init(&gate);
	plain = 0;
	run(threads, SHARED, share);
	run(threads + SHARED, EXCLUSIVE, close_often);
	join(threads, SHARED + EXCLUSIVE);
	ck_assert_int_eq(atomic_load(&overlaps), 0);
	ck_assert_int_eq(plain, EXCLUSIVE * (ROUNDS / 4));
	gate_end(&gate);
}
END_TEST

/* ---- fairness ---- */

static void *share_for_ever(void *arg)
{
	while (atomic_load(&working)) {
		gate_enter(&gate);
		sched_yield(); /* so that somebody is inside at nearly any time */
		gate_leave(&gate);
	}
	return arg;
}

static void *close_for_ever(void *arg)
{
	while (atomic_load(&working)) {
		gate_close(&gate);
		sched_yield();
		gate_open(&gate);
	}
	return arg;
}

static void *close_some(void *arg)
{
	for (int i = 0; i < 20; i++) {
		gate_close(&gate);
		gate_open(&gate);
		atomic_fetch_add(&passed, 1);
	}
	return arg;
}

static void *share_some(void *arg)
{
	for (int i = 0; i < 20; i++) {
		gate_enter(&gate);
		gate_leave(&gate);
		atomic_fetch_add(&passed, 1);
	}
	return arg;
}

/* A minority gets through a crowd that never rests; if it starves, the time limit of the case says so. */
static void crowd(void *(*many)(void *), void *(*few)(void *))
{
	pthread_t threads[8], one;

	gate_init(&gate);
	atomic_store(&working, true);
	atomic_store(&passed, 0);
	run(threads, 8, many);
	run(&one, 1, few);
	join(&one, 1);
	atomic_store(&working, false);
	join(threads, 8);
	ck_assert_int_eq(atomic_load(&passed), 20);
	gate_end(&gate);
}

START_TEST(closers_do_not_starve)
{
	crowd(share_for_ever, close_some);
}
END_TEST

START_TEST(enterers_do_not_starve)
{
	crowd(close_for_ever, share_some);
}
END_TEST

/* ---- one after the other ---- */

static void *enter_once(void *arg)
{
	gate_enter(&gate);
	atomic_fetch_add(&passed, 1);
	gate_leave(&gate);
	return arg;
}

static void *close_once(void *arg)
{
	gate_close(&gate);
	atomic_fetch_add(&passed, 100);
	gate_open(&gate);
	return arg;
}

static void pause_ms(long ms)
{
	struct timespec time = { 0, ms * 1000000 };

	nanosleep(&time, NULL);
}

/* A closer waits for who is inside, and who comes after it waits for the closer. */
START_TEST(in_turn)
{
	pthread_t closer, late;

	gate_init(&gate);
	atomic_store(&passed, 0);
	gate_enter(&gate);
	run(&closer, 1, close_once);
	while (!atomic_load(&gate.closed))
		pause_ms(1);
	run(&late, 1, enter_once);
	pause_ms(50);
	ck_assert_int_eq(atomic_load(&passed), 0);
	gate_leave(&gate);
	pthread_join(closer, NULL);
	pthread_join(late, NULL);
	ck_assert_int_eq(atomic_load(&passed), 101);
	ck_assert(!atomic_load(&gate.closed)); /* or the fast way would stay shut */
	gate_end(&gate);
}
END_TEST

/* Who waits when it is opened comes in before it is closed again. */
static void pass_between(void)
{
	pthread_t waiting;

	atomic_store(&passed, 0);
	gate_close(&gate);
	run(&waiting, 1, enter_once);
	while (!atomic_load(&gate.queued))
		pause_ms(1);
	gate_open(&gate);
	gate_close(&gate);
	ck_assert_int_eq(atomic_load(&passed), 1);
	gate_open(&gate);
	pthread_join(waiting, NULL);
}

/* Often: without passes a quick thread may be in before the gate closes, once, but not each time. */
START_TEST(passed_between)
{
	gate_init(&gate);
	for (int i = 0; i < 50; i++)
		pass_between();
	gate_end(&gate);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("gate");
	TCase *tcase = tcase_create("gate");

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, exclusive_is_alone);
	tcase_add_test(tcase, closers_do_not_starve);
	tcase_add_test(tcase, enterers_do_not_starve);
	tcase_add_test(tcase, in_turn);
	tcase_add_test(tcase, passed_between);
	suite_add_tcase(suite, tcase);

	return run_all(suite);
}
