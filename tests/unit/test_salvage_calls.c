/* SPDX-License-Identifier: MIT */

/* A process is killed at each of its calls to the kernel, before it and after it. Someone else has the arena of its log, and the kernel what it
 * still holds: no page is in neither. */

#include "fixture.h"

#include <linux/vfio.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heir.h"

enum { ARENA = 4 << 20 };

static struct fixture fixture, *f = &fixture;
static void *arena;

/* What the child knew when it was killed */
struct last_words {
	uint64_t truth[WORDS], returned[WORDS], held[WORDS];
	bool all_dirty; /* a physical group is attached: who takes over owes all at the end */
};

static struct last_words *words;

struct moment_to_die {
	uint64_t call;
	bool after;
};

static void die_there(struct model *model, const struct model_trace *call, uint64_t number, bool after,
		      void *argument)
{
	const struct moment_to_die *then = argument;

	(void)call;
	if (number != then->call || after != then->after)
		return;
	model_on_call(model, NULL, NULL);
	model_pages(model, MODEL_TRUTH, f->memory, PAGES * PAGE, words->truth);
	model_pages(model, MODEL_RETURNED, f->memory, PAGES * PAGE, words->returned);
	model_pages(model, MODEL_HELD, f->memory, PAGES * PAGE, words->held);
	words->all_dirty = f->container && space_all_dirty(&f->container->space);
	raise(SIGKILL);
}

typedef void life_of(void);

static void harvest_and_unmap(void)
{
	fixture_pieces(f, &two_emulated, 4, 64, 100);
	device_writes(f, 0, 3, 2);
	device_writes(f, 0, 120, 9);
	OK(harvest(f, 0));
	device_writes(f, 0, 130, 1);
	device_pins(f, 0, 201, 1);
	device_writes(f, 0, 201, 1);
	device_unpins(f, 0, 201, 1);
	OK(unmap_pages(f, 100, 64));
	OK(map_pages(f, 100, 100, 64, RW));
	device_writes(f, 0, 101, 1);
	OK(vfd_group_attach(f->container, 8, &f->group2, &f->err));
	OK(vfd_device_open(f->group2, NAME(1), &f->device2, &f->err));
	device_writes(f, 1, 300, 7);
	OK(vfd_group_detach(&f->group2, VFD_COLLECT, &f->err));
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
}

static void a_physical_group_passes(void)
{
	fixture_pieces(f, &mixed, 2, 128, 128);
	device_writes(f, 0, 3, 2);
	OK(vfd_group_attach(f->container, 20, &f->group2, &f->err));
	device_writes(f, 0, 150, 2);
	OK(harvest(f, 0));
	OK(unmap_pages(f, 0, 128));
	device_writes(f, 0, 170, 2);
	OK(vfd_group_detach(&f->group2, VFD_COLLECT, &f->err));
	device_writes(f, 0, 200, 2);
	OK(harvest(f, 0));
	OK(vfd_track_stop(f->container, VFD_DISCARD, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	device_writes(f, 0, 201, 1);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
}

/* Someone stops the record; it is noticed at the next harvest. From then on all is owed at the end, and nobody but the process knows. */
static void the_record_is_lost(void)
{
	fixture_pieces(f, &two_emulated, 2, 128, 128);
	device_writes(f, 0, 3, 2);
	OK(harvest(f, 0));
	ck_assert(!raw_switch(f, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP));
	ck_assert_int_eq(harvest(f, 0), VFD_ELOST);
	forget_log(f);
	device_writes(f, 0, 200, 5);
	OK(map_pages(f, 500, 500, 10, RW));
	OK(unmap_pages(f, 500, 10));
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
}

static struct moment_to_die when;

/* The model is made inside: fixture_begin() calls this when there is one. */
static void watch(struct model *model)
{
	model_trace_start(model);
	model_on_call(model, die_there, &when);
}

static bool exact; /* nothing is assumed but what is on its way */

static void check_heir(const char *name)
{
	uint64_t owed[WORDS] = { 0 };

	heir_begin(LOG_ADDRESS, PAGES * PAGE);
	HEIR_OK(vfd_log_salvage(heir, arena, ARENA, NULL, &found, &heir_err));
	heir_owes(LOG_ADDRESS, owed);
	for (uint64_t p = 0; p < PAGES; p++) {
		bool safe = has_bit(owed, p) || has_bit(words->held, p) || words->all_dirty;
		bool known = !exact || found.interrupted || has_bit(words->returned, p) || words->all_dirty;
		if (has_bit(words->truth, p) && !safe) /* ck_assert makes a system call, each time */
			ck_abort_msg("%s, killed %s call %d: page %d is lost", name,
				     when.after ? "after" : "before", (int)when.call, (int)p);
		if (has_bit(owed, p) && !known)
			ck_abort_msg("%s, killed %s call %d: page %d is owed for nothing", name,
				     when.after ? "after" : "before", (int)when.call, (int)p);
	}
	heir_end(PAGES * PAGE);
}

/* False: the child lived to the end. */
static bool kill_there(const char *name, life_of *life)
{
	int status;

	memset(words, 0, sizeof *words);
	memset(arena, 0, ARENA);
	pid_t child = fork();
	ck_assert_int_ge(child, 0);
	if (!child) {
		alarm(20);
		life();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return false;
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s, call %d: status %#x", name,
		      (int)when.call, status);
	check_heir(name);
	return true;
}

static void kill_everywhere(const char *name, life_of *life)
{
	unsigned kills = 0;

	words = shared(sizeof *words);
	arena = shared(ARENA);
	fixture_arena(arena, ARENA);
	fixture_on_model(watch);
	for (when.call = 1;; when.call++) {
		when.after = false;
		if (!kill_there(name, life))
			break;
		when.after = true;
		ck_assert(kill_there(name, life));
		kills += 2;
	}
	ck_assert_uint_gt(kills, 50);
	printf("# %s: killed %u times\n", name, kills);
}

START_TEST(killed_at_each_call)
{
	exact = true;
	kill_everywhere("harvest and unmap", harvest_and_unmap);
}
END_TEST

START_TEST(killed_beside_a_physical_group)
{
	exact = true;
	kill_everywhere("a physical group", a_physical_group_passes);
}
END_TEST

START_TEST(killed_when_the_record_is_lost)
{
	kill_everywhere("a lost record", the_record_is_lost);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("salvage_calls");

	add_case(suite, "killed at each call", killed_at_each_call);
	add_case(suite, "killed beside a physical group", killed_beside_a_physical_group);
	add_case(suite, "killed when the record is lost", killed_when_the_record_is_lost);
	return run_suite(suite);
}
