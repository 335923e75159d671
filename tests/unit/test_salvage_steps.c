/* SPDX-License-Identifier: MIT */

/* A process is stopped after each instruction while it changes the records of its log: whenever it had been killed, what is left behind is
 * a log that owes all that it has to, and in which each region is whole. */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log_internal.h"

#include "heir.h"
#include "step.h"

#include "../suite.h"

#define PAGE	    UINT64_C(4096)
#define LOG_ADDRESS UINT64_C(0x40000000)
#define OK	    HEIR_OK

enum { ARENA = 4 << 20, PAGES = 1024, WORDS = PAGES / 64, ALL = 4 * PAGES };

static struct vfd_log *dead;
static char *arena, dead_memory[PAGES * PAGE] __attribute__((aligned(4096)));

/* Pages that a heir must find: of marks that have returned, and of no commit that has begun. Written by the one who will be killed. */
static uint64_t *must;

static void mark_and_say(uint64_t page, uint64_t count)
{
	OK(vfd_log_mark(dead, LOG_ADDRESS + page * PAGE, count * PAGE, &heir_err));
	for (uint64_t i = page; i < page + count; i++)
		set_bit(must, i);
}

static void report(uint64_t page)
{
	report_page(dead, LOG_ADDRESS + page * PAGE);
	set_bit(must, page);
}

static struct vfd_batch take(uint64_t page, uint64_t count)
{
	struct vfd_batch batch;

	OK(vfd_take(vfd_log_consumer(dead), LOG_ADDRESS + page * PAGE,
		    LOG_ADDRESS + (page + count) * PAGE - 1, UINT64_MAX, &batch, &heir_err));
	return batch;
}

static void send_and_commit(struct vfd_batch *batch)
{
	struct vfd_consumer *consumer = vfd_log_consumer(dead);
	struct vfd_run runs[8];
	size_t n = 1;

	while (n) {
		OK(vfd_batch_runs(consumer, batch, runs, 8, &n, &heir_err));
		for (size_t i = 0; i < n; i++)
			for (uint64_t at = 0; at < runs[i].size; at += PAGE) {
				uint64_t page = (runs[i].address - LOG_ADDRESS + at) / PAGE;
				must[page / 64] &= ~(UINT64_C(1) << page % 64);
			}
	}
	OK(vfd_commit(consumer, batch, 0, UINT64_MAX, &heir_err));
}

static void region_comes_and_goes(uint64_t pages)
{
	struct vfd_region r = { .struct_size = sizeof r,
				.address = LOG_ADDRESS + 3000 * PAGE,
				.size = pages * PAGE,
				.memory = (void *)(uintptr_t)(PAGE * 0x100000) };

	OK(vfd_region_add(dead, &r, &heir_err));
	OK(vfd_log_mark(dead, r.address, r.size, &heir_err));
	OK(vfd_region_remove(dead, r.address, VFD_DISCARD, &heir_err));
}

/* All that changes records, in some order */
static void live_slowly(void)
{
	struct vfd_consumer *passing;

	mark_and_say(3, 70);
	struct vfd_batch first = take(0, 40);
	report(500);
	mark_and_say(10, 1); /* again, while it is taken */
	struct vfd_batch next = take(40, 1000 - 40);
	send_and_commit(&first);
	OK(vfd_rollback(vfd_log_consumer(dead), &next, 0, UINT64_MAX, &heir_err));
	region_comes_and_goes(3);
	OK(vfd_consumer_add(dead, "passing", &passing, &heir_err));
	region_comes_and_goes(130);
	mark_and_say(900, 2);
	struct vfd_batch last = take(0, PAGES);
	OK(vfd_consumer_remove(&passing, VFD_DISCARD, &heir_err));
	for (uint64_t i = 1; i < 10; i++) { /* more than the first table has room for */
		struct vfd_region r = { .struct_size = sizeof r,
					.address = LOG_ADDRESS + 2 * (PAGES + i) * PAGE,
					.size = PAGE,
					.memory = (void *)(uintptr_t)(PAGE * (0x100000 + 2 * i)) };
		OK(vfd_region_add(dead, &r, &heir_err));
	}
	send_and_commit(&last);
}

static void live_in_steps(void)
{
	struct vfd_log_options o = { .struct_size = sizeof o, .arena = arena, .arena_size = ARENA };
	struct vfd_region r = {
		.struct_size = sizeof r, .address = LOG_ADDRESS, .size = PAGES * PAGE, .memory = dead_memory
	};

	OK(vfd_log_create(&o, &dead, &heir_err));
	OK(vfd_region_add(dead, &r, &heir_err));
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	live_slowly();
	_exit(0);
}

static pid_t begin_life(int *status)
{
	arena = shared(ARENA);
	must = shared(ALL / 8);
	pid_t child = fork();
	ck_assert_int_ge(child, 0);
	if (!child)
		live_in_steps();
	ck_assert_int_eq(waitpid(child, status, 0), child);
	ck_assert(WIFSTOPPED(*status) && WSTOPSIG(*status) == SIGSTOP);
	return child;
}

static bool step(pid_t child, int *status)
{
	if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) || waitpid(child, status, 0) != child)
		ck_abort_msg("ptrace: %s", strerror(errno));
	return WIFSTOPPED(*status) && WSTOPSIG(*status) == SIGTRAP;
}

/* Who looks on from outside finds the planes of each region, and of each consumer. */
static void look_on(uint64_t step)
{
	const struct superblock *super = (const void *)arena;
	const struct region_table *table = (const void *)(arena + super->regions);

	for (uint64_t i = 0; i < table->count; i++) {
		const struct region *r = &table->regions[i];
		if (!r->inbox || !r->planes[0])
			ck_abort_msg("step %d: the region at %#lx counts, but has no planes", (int)step,
				     (unsigned long)r->address);
	}
}

static void inherit(uint64_t step)
{
	struct vfd_consumer *consumer = vfd_log_consumer(heir);
	uint64_t owed[4 * WORDS] = { 0 };
	struct vfd_batch batch;

	OK(vfd_log_salvage(heir, arena, ARENA, "main", &found, &heir_err));
	heir_owes(LOG_ADDRESS, owed);
	for (uint64_t page = 0; page < PAGES; page++)
		if (has_bit(must, page) && !has_bit(owed, page))
			ck_abort_msg("step %d: page %d is lost", (int)step, (int)page);
	OK(vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, &heir_err));
	if (batch.id)
		OK(vfd_commit(consumer, &batch, 0, UINT64_MAX, &heir_err));
}

/* What is left behind after each single instruction is a log that owes all that it has to. */
START_TEST(killed_at_each_instruction)
{
	const uint64_t stride =
		getenv("VFD_LONG") ? 1 : 31; /* 270 000 instructions, ten times as many under sanitizers */
	uint64_t steps = 0;
	int status;

	pid_t child = begin_life(&status);
	heir_begin(LOG_ADDRESS, ALL * PAGE);
	for (; step(child, &status); steps++) {
		look_on(steps);
		if (steps % stride == 0)
			inherit(steps);
	}
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "the child ended with %#x", status);
	ck_assert_uint_gt(steps, 10000);
	printf("# %lu instructions, after %lu of them the heir owes all\n", (unsigned long)steps,
	       (unsigned long)(steps / stride));
	heir_end(ALL * PAGE);
}
END_TEST

int main(void)
{
	if (!can_step("test_salvage_steps"))
		return 0;
	Suite *suite = suite_create("salvage_steps");
	TCase *tcase = tcase_create("salvage");

	tcase_set_timeout(tcase, 900);
	tcase_add_test(tcase, killed_at_each_instruction);
	suite_add_tcase(suite, tcase);
	return run_all(suite);
}
