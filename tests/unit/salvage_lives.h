/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_SALVAGE_LIVES_H
#define TESTS_UNIT_SALVAGE_LIVES_H

/* Lives of a process that ends at some moment. Someone else has the arena of its log, and the kernel what it still holds: no page is in
 * neither. */

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
	bool in_kernel; /* where nobody is killed */
	bool handed;	/* by the call before: pages that the kernel held until then */
};

static struct last_words *words;

static const char *of_device; /* whose log tells, not type1; or NULL */

static void say(struct model *model, enum model_set set, uint64_t *bitmap)
{
	memset(bitmap, 0, WORDS * sizeof *bitmap); /* model_pages() adds to it */
	if (of_device)
		model_device_pages(model, of_device, set, f->memory, PAGES * PAGE, bitmap);
	else
		model_pages(model, set, f->memory, PAGES * PAGE, bitmap);
}

static void say_words(struct model *model)
{
	uint64_t before[WORDS];

	memcpy(before, words->held, sizeof before);
	say(model, MODEL_TRUTH, words->truth);
	say(model, MODEL_RETURNED, words->returned);
	say(model, MODEL_HELD, words->held);
	words->handed = false;
	for (unsigned i = 0; i < WORDS; i++)
		words->handed |= (before[i] & ~words->held[i]) != 0;
	words->all_dirty = f->container && space_all_dirty(&f->container->space);
}

/* ---- lives ---- */

static void (*around_writes)(bool after); /* or NULL */

static void writes(unsigned index, uint64_t iova, uint64_t count)
{
	if (around_writes)
		around_writes(false);
	device_writes(f, index, iova, count);
	if (around_writes)
		around_writes(true);
}

typedef void life_of(void);

static void harvest_and_unmap(void)
{
	fixture_pieces(f, &two_emulated, 4, 64, 100);
	OK(map_pages(f, 70, 70, 8, VFD_MAP_READ)); /* lies in the way, and is nobody's */
	writes(0, 3, 2);
	writes(0, 120, 9);
	OK(harvest(f, 0));
	writes(0, 130, 1);
	device_pins(f, 0, 201, 1);
	writes(0, 201, 1);
	device_unpins(f, 0, 201, 1);
	OK(unmap_pages(f, 100, 64));
	OK(map_pages(f, 100, 100, 64, RW));
	writes(0, 101, 1);
	OK(vfd_group_attach(f->container, 8, &f->group2, &f->err));
	OK(vfd_device_open(f->group2, NAME(1), &f->device2, &f->err));
	writes(1, 300, 7);
	OK(vfd_group_detach(&f->group2, VFD_COLLECT, &f->err));
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
}

static void a_physical_group_passes(void)
{
	fixture_pieces(f, &mixed, 2, 128, 128);
	writes(0, 3, 2);
	OK(vfd_group_attach(f->container, 20, &f->group2, &f->err));
	writes(0, 150, 2);
	OK(harvest(f, 0));
	OK(unmap_pages(f, 0, 128));
	writes(0, 170, 2);
	OK(vfd_group_detach(&f->group2, VFD_COLLECT, &f->err));
	writes(0, 200, 2);
	OK(harvest(f, 0));
	if (around_writes) /* what was put off to the end is given up; at its calls it is owed yet, between the last one and its end no longer */
		model_forget_written(f->model);
	OK(vfd_track_stop(f->container, VFD_DISCARD, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	writes(0, 201, 1);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
}

/* Someone stops the record; it is noticed at the next harvest. From then on all is owed at the end, and nobody but the process knows. */
static void the_record_is_lost(void)
{
	fixture_pieces(f, &two_emulated, 2, 128, 128);
	writes(0, 3, 2);
	OK(harvest(f, 0));
	ck_assert(!raw_switch(f, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP));
	ck_assert_int_eq(harvest(f, 0), VFD_ELOST);
	forget_log(f);
	writes(0, 200, 5);
	OK(map_pages(f, 500, 500, 10, RW));
	OK(unmap_pages(f, 500, 10));
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
}

/* ---- and what is left of them ---- */

static bool exact; /* nothing is assumed but what is on its way */

static void check_heir(const char *name, const char *where, unsigned at)
{
	uint64_t owed[WORDS] = { 0 };

	heir_begin(LOG_ADDRESS, PAGES * PAGE);
	HEIR_OK(vfd_log_salvage(heir, arena, ARENA, NULL, &found, &heir_err));
	heir_owes(LOG_ADDRESS, owed);
	for (uint64_t p = 0; p < PAGES; p++) {
		bool safe = has_bit(owed, p) || has_bit(words->held, p) || words->all_dirty;
		bool known = !exact || found.interrupted || has_bit(words->returned, p) || words->all_dirty;
		if (has_bit(words->truth, p) && !safe) /* ck_assert makes a system call, each time */
			ck_abort_msg("%s, killed %s %u: page %d is lost", name, where, at, (int)p);
		if (has_bit(owed, p) && !known)
			ck_abort_msg("%s, killed %s %u: page %d is owed for nothing", name, where, at,
				     (int)p);
	}
	heir_end(PAGES * PAGE);
}

#endif
