/* SPDX-License-Identifier: MIT */

/* Exhaustive single faults: each lifecycle runs once without a fault, the model lists every call site x errno x partial
 * step of that run, and each of them gets a run of its own, twice: going on after a second try, and giving up. */

#include "faults_world.h"

#include "fixture.h"

#include <check.h> /* after lib/error.h: Check has a macro named fail */
#include <stdlib.h>
#include <string.h>

enum { ROWS = 64 /* lifecycles */ };

struct tally {
	unsigned failures;
	unsigned retries_failed;
	uint64_t writes;
	size_t faults;
};

static void run_one(const struct lifecycle *life, enum policy policy, const struct model_fault *fault,
		    const char *text, struct tally *tally)
{
	struct world w;

	world_begin(&w, life, policy);
	snprintf(w.what, sizeof w.what, "%s, %s, %s", life->name,
		 policy == TRY_AGAIN ? "trying again" : "giving up", text);
	model_trace_start(w.model);
	model_fault(w.model, *fault);
	life->live(&w);
	if (!model_fault_fired(w.model))
		world_fail(&w, "the fault never fired");
	tally->writes += w.writes;
	tally->retries_failed += w.retries_failed;
	world_end(&w);
	tally->failures += w.failures;
}

static void run_all(const struct lifecycle *life, struct world *recorded, struct model_fault *faults,
		    struct tally *tally)
{
	for (size_t i = 0; i < tally->faults; i++) {
		char text[160];
		model_fault_text(recorded->model, &faults[i], text, sizeof text);
		for (int policy = 0; policy < POLICIES; policy++)
			run_one(life, (enum policy)policy, &faults[i], text, tally);
	}
}

/* One fault-free run, whose log must be exact too, then all faults of it. */
static void try_lifecycle(const struct lifecycle *life, struct tally *tally)
{
	struct model_fault *faults;
	struct world w;

	world_begin(&w, life, TRY_AGAIN);
	model_trace_start(w.model);
	life->live(&w);
	if (w.container)
		world_fail(&w, "the lifecycle did not reach its end");
	if (!w.writes)
		world_fail(&w, "no device ever wrote");
	tally->faults = model_single_faults(w.model, &faults);
	for (size_t i = 0; i < tally->faults; i++)
		faults[i].call = MODEL_ANY;
	run_all(life, &w, faults, tally);
	free(faults);
	world_end(&w);
	tally->failures += w.failures;
}

START_TEST(test_every_single_fault)
{
	const struct lifecycle *life = &lifecycles[_i];
	struct tally tally = { 0 };

	if (mode == MODE_COMPAT)
		fixture_refused(&(struct fixture){ 0 }, life->config);
	try_lifecycle(life, &tally);
	printf("# %-8s %-26s %5zu single faults, %2d runs each: %u broken, %u second tries failed, %llu "
	       "device "
	       "writes\n",
	       mode_names[mode], life->name, tally.faults, POLICIES, tally.failures, tally.retries_failed,
	       (unsigned long long)tally.writes);
	fflush(stdout);
	ck_assert_msg(tally.faults > 0, "%s: no fault was generated", life->name);
	ck_assert_uint_gt(tally.writes, tally.faults);
	ck_assert_msg(!tally.failures, "%s: %u checks failed", life->name, tally.failures);
}
END_TEST

/* ---- pairs ---- */

/* What can fail after the first fault, in the run that it changed. The caller frees *faults. */
static size_t later_faults(const struct lifecycle *life, enum policy policy, const struct model_fault *first,
			   struct model_fault **faults)
{
	struct world w;
	size_t count, later = 0;

	world_begin(&w, life, policy);
	model_trace_start(w.model);
	model_fault(w.model, *first);
	life->live(&w);
	count = model_single_faults(w.model, faults);
	world_end(&w);
	for (size_t i = 0; i < count; i++)
		if ((*faults)[i].nth > first->nth) {
			(*faults)[later] = (*faults)[i];
			(*faults)[later++].call = MODEL_ANY;
		}
	return later;
}

static void run_pair(const struct lifecycle *life, enum policy policy, const struct model_fault *first,
		     const struct model_fault *second, struct tally *tally)
{
	struct world w;

	world_begin(&w, life, policy);
	snprintf(w.what, sizeof w.what,
		 "%s, policy %d, call %llu: errno %d step %u, then call %llu: errno %d step %u", life->name,
		 policy, (unsigned long long)first->nth, first->error, first->step,
		 (unsigned long long)second->nth, second->error, second->step);
	model_trace_start(w.model);
	model_fault(w.model, *first);
	model_fault(w.model, *second);
	life->live(&w);
	if (model_fault_fired(w.model) != 2)
		world_fail(&w, "not both faults fired");
	world_end(&w);
	tally->failures += w.failures;
}

/* Each first fault, with every stride-th of those that can follow it. */
static uint64_t run_pairs(const struct lifecycle *life, struct model_fault *firsts, size_t count,
			  uint64_t stride, struct tally *tally)
{
	uint64_t pairs = 0, run = 0;

	for (size_t i = 0; i < count; i++)
		for (int policy = 0; policy < POLICIES; policy++) {
			struct model_fault *seconds;
			size_t more = later_faults(life, (enum policy)policy, &firsts[i], &seconds);
			for (size_t j = 0; j < more; j++)
				if (pairs++ % stride == 0) {
					run_pair(life, (enum policy)policy, &firsts[i], &seconds[j], tally);
					run++;
				}
			free(seconds);
		}
	tally->faults = pairs;
	return run;
}

/* With VFD_PAIRS=N in the environment one of N pairs of each lifecycle: a prime gives all kinds their turn, 1 takes all, which are many. */
START_TEST(test_pairs_of_faults)
{
	const struct lifecycle *life = &lifecycles[_i];
	struct tally tally = { 0 };
	struct model_fault *faults;
	struct world w;

	if (mode == MODE_COMPAT)
		fixture_refused(&(struct fixture){ 0 }, life->config);
	world_begin(&w, life, TRY_AGAIN);
	model_trace_start(w.model);
	life->live(&w);
	size_t count = model_single_faults(w.model, &faults);
	world_end(&w);
	for (size_t i = 0; i < count; i++)
		faults[i].call = MODEL_ANY;
	uint64_t run =
		run_pairs(life, faults, count, max_u64(strtoull(getenv("VFD_PAIRS"), NULL, 10), 1), &tally);
	free(faults);
	printf("# %-8s %-26s %5llu of %zu pairs of faults: %u broken\n", mode_names[mode], life->name,
	       (unsigned long long)run, tally.faults, tally.failures);
	fflush(stdout);
	ck_assert_uint_gt(run, 0);
	ck_assert_msg(!tally.failures, "%s: %u checks failed", life->name, tally.failures);
}
END_TEST

static size_t count_faults(const struct lifecycle *life)
{
	struct model_fault *faults;
	struct world w;

	world_begin(&w, life, TRY_AGAIN);
	model_trace_start(w.model);
	life->live(&w);
	size_t count = model_single_faults(w.model, &faults);
	free(faults);
	world_end(&w);
	return count;
}

START_TEST(test_the_list)
{
	size_t total = 0;

	for (unsigned i = 0; i < lifecycle_count; i++)
		total += count_faults(&lifecycles[i]);
	printf("# %u lifecycles, %zu single faults in the generated list\n", lifecycle_count, total);
	fflush(stdout);
	ck_assert_uint_ge(lifecycle_count, 6);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("faults");

	for (int i = 0; i < (int)lifecycle_count; i++)
		add_modes_loop(suite, lifecycles[i].name, lifecycles[i].why_not_iommufd,
			       test_every_single_fault, i, i + 1);
	for (int i = 0; getenv("VFD_PAIRS") && i < (int)lifecycle_count; i++) {
		static char names[ROWS][80];
		snprintf(names[i], sizeof names[0], "%s, pairs", lifecycles[i].name);
		add_modes_loop(suite, names[i], lifecycles[i].why_not_iommufd, test_pairs_of_faults, i,
			       i + 1);
	}
	add_case(suite, "the list", test_the_list);
	return run_suite(suite);
}
