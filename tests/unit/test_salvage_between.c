/* SPDX-License-Identifier: MIT */

/* A process is stopped at each of its calls to the kernel, and after each instruction of its own from there to the next one: what the kernel
 * has handed over is owed all the while that it is on its way into the log. */

#include "salvage_lives.h"

#include <errno.h>

#include "step.h"

/* Its parent lets it run on through the kernel and the device, and step by step from there to the next call. */
static void stop_there(struct model *model, const struct model_trace *call, uint64_t number, bool after,
		       void *argument)
{
	(void)call, (void)number, (void)argument;
	if (after)
		say_words(model);
	words->in_kernel = !after;
	raise(SIGSTOP);
}

static void stop_around(bool after)
{
	stop_there(f->model, NULL, 0, after, NULL);
}

static void stop_at_calls(struct model *model)
{
	model_trace_start(model);
	model_on_call(model, stop_there, NULL);
}

/* True: it stands after an instruction of the library's, or of the test's. False: it lived to the end. */
static bool go_on(pid_t child, int *status)
{
	do {
		if (ptrace(words->in_kernel ? PTRACE_CONT : PTRACE_SINGLESTEP, child, NULL, NULL) ||
		    waitpid(child, status, 0) != child)
			ck_abort_msg("ptrace: %s", strerror(errno));
		if (!WIFSTOPPED(*status))
			return false;
		ck_assert(WSTOPSIG(*status) == SIGTRAP || WSTOPSIG(*status) == SIGSTOP);
	} while (words->in_kernel);
	return true;
}

static pid_t begin_life(life_of *life, int *status)
{
	words = shared(sizeof *words);
	words->in_kernel = true;
	arena = shared(ARENA);
	fixture_arena(arena, ARENA);
	fixture_on_model(stop_at_calls);
	pid_t child = fork();
	ck_assert_int_ge(child, 0);
	if (!child) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		around_writes = stop_around;
		life();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, status, 0), child);
	return child;
}

/* Often on the way of what was handed over into the log: that is some hundred instructions. */
static bool is_time(unsigned step)
{
	unsigned else_each = getenv("VFD_LONG") ? 7 : 211;

	return step % (words->handed ? 7 : else_each) == 0;
}

static void step_through(const char *name, life_of *life)
{
	unsigned steps = 0, kills = 0;
	int status;
	pid_t child = begin_life(life, &status);

	while (go_on(child, &status)) {
		if (!is_time(++steps))
			continue;
		check_heir(name, "step", steps);
		kills++;
	}
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "%s, step %u: status %#x", name, steps,
		      status);
	printf("# %s: %u instructions, killed after %u of them\n", name, steps, kills);
	ck_assert_uint_gt(steps, 10000);
}

START_TEST(killed_between_calls)
{
	exact = true;
	step_through("harvest and unmap", harvest_and_unmap);
}
END_TEST

START_TEST(killed_between_calls_beside_a_physical_group)
{
	exact = true;
	step_through("a physical group", a_physical_group_passes);
}
END_TEST

START_TEST(killed_between_calls_when_the_record_is_lost)
{
	step_through("a lost record", the_record_is_lost);
}
END_TEST

int main(void)
{
	if (!can_step("test_salvage_between"))
		return 0;
	Suite *suite = suite_create("salvage_between");
	TCase *tcase = tcase_create("between calls");

	tcase_set_timeout(tcase, 900); /* ctest has a limit of its own */
	tcase_add_test(tcase, killed_between_calls);
	tcase_add_test(tcase, killed_between_calls_beside_a_physical_group);
	tcase_add_test(tcase, killed_between_calls_when_the_record_is_lost);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
