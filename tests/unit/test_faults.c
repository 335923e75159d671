/* SPDX-License-Identifier: MIT */

/* Exhaustive single faults: each lifecycle runs once without a fault, the model lists every call site x errno x partial
 * step of that run, and each of them gets a run of its own, twice: going on after a second try, and giving up. */

#include "faults_world.h"

#include "fixture.h"

#include <check.h> /* after lib/error.h: Check has a macro named fail */
#include <stdlib.h>

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
	add_case(suite, "the list", test_the_list);
	return run_suite(suite);
}
