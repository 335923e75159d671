/* SPDX-License-Identifier: MIT */

/* What is counted in the log for who looks at it from outside: pages by source and by region, and what will be owed. */

#include "fixture.h"

#include <stdio.h>
#include <string.h>

#include "log_layout.h"

static struct fixture fixture, *f = &fixture;
static char arena[1 << 20] __attribute__((aligned(4096)));
static const struct superblock *const super = (const void *)arena;

/* The tally of the log that says so, or one of zeros */
static struct tally tally_by(uint32_t provenance, const char *who)
{
	struct tally none = { 0 };

	for (uint64_t i = 0; i < super->tally_count; i++)
		if (super->tallies[i].label.provenance == provenance &&
		    !strncmp(super->tallies[i].label.who, who, strlen(who)))
			return super->tallies[i];
	return none;
}

/* As someone from outside finds it */
static uint64_t region_fresh(void)
{
	const struct region_table *table = (const void *)(arena + super->regions);

	return table->regions[0].fresh;
}

static void begin(void)
{
	memset(arena, 0, sizeof arena);
	fixture_arena(arena, sizeof arena);
}

static void take_all(void)
{
	struct vfd_consumer *consumer = vfd_log_consumer(f->log);
	struct vfd_batch batch;

	OK(vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, &f->err));
	if (batch.id)
		OK(vfd_commit(consumer, &batch, 0, UINT64_MAX, &f->err));
}

static int mark(uint64_t page, uint64_t count)
{
	return vfd_log_mark(f->log, LOG_ADDRESS + page * PAGE, count * PAGE, &f->err);
}

/* Once, until it was delivered; and a second consumer changes nothing. */
START_TEST(each_page_counts_when_it_becomes_owed)
{
	struct vfd_consumer *second;

	begin();
	fixture_track(f, NULL);
	OK(vfd_consumer_add(f->log, "second", &second, &f->err));
	for (unsigned round = 1; round < 4; round++) {
		device_writes(f, 0, 5, 3);
		OK(harvest(f, 0));
		device_writes(f, 0, 5, 3);
		OK(harvest(f, 0));
		ck_assert_uint_eq(tally_by(VFD_REPORTED, "").pages, 3 * round);
		ck_assert_uint_eq(region_fresh(), 3 * round);
		take_all();
	}
	ck_assert_uint_eq(super->tally_count, 1);
	OK(vfd_consumer_remove(&second, VFD_DISCARD, &f->err));
	fixture_end(f);
}
END_TEST

/* In the inbox they are nobody's; a take folds them, or takes them at once; and so does a count. */
START_TEST(marks_count_when_they_are_folded)
{
	struct vfd_count count;

	begin();
	fixture_begin(f, NULL);
	OK(mark(7, 4));
	ck_assert_uint_eq(tally_by(VFD_SOFTWARE, "caller").pages, 0);
	OK(vfd_consumer_count(vfd_log_consumer(f->log), 0, UINT64_MAX, &count, &f->err));
	ck_assert_uint_eq(tally_by(VFD_SOFTWARE, "caller").pages, 4);
	take_all();
	OK(mark(7, 2));
	take_all();
	ck_assert_uint_eq(tally_by(VFD_SOFTWARE, "caller").pages, 6);
	ck_assert_uint_eq(region_fresh(), 6);
	fixture_end(f);
}
END_TEST

/* The first copy is no page that became dirty. */
START_TEST(first_copy_has_a_tally_of_its_own)
{
	begin();
	fixture_begin(f, NULL);
	OK(vfd_mark_initial(vfd_log_consumer(f->log), &f->err));
	ck_assert_uint_eq(tally_by(VFD_INITIAL, "").pages, PAGES);
	ck_assert_uint_eq(region_fresh(), 0);
	take_all();
	fixture_end(f);
}
END_TEST

/* Who cannot report is to blame for what is deferred, until it is paid: then that is assumed. */
START_TEST(deferred_names_its_device)
{
	begin();
	fixture_track(f, &mixed);
	OK(vfd_group_attach(f->container, 20, &f->group2, &f->err));
	OK(vfd_device_open(f->group2, PCI_NAME, &f->device2, &f->err));
	OK(vfd_device_resume(f->device2, &f->err));
	for (int i = 0; i < 2; i++) {
		OK(harvest(f, 0));
		ck_assert_uint_eq(tally_by(VFD_ASSUMED, "group 20").deferred, PAGES * PAGE);
	}
	ck_assert_uint_eq(tally_by(VFD_ASSUMED, "group 20").pages, 0);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(tally_by(VFD_ASSUMED, "group 20").deferred, 0);
	ck_assert_uint_eq(tally_by(VFD_ASSUMED, "group 20").pages, PAGES);
	OK(harvest(f, 0));
	OK(vfd_container_close(&f->container, VFD_DISCARD, &f->err));
	ck_assert_uint_eq(tally_by(VFD_ASSUMED, "group 20").deferred, 0); /* nobody will pay */
	fixture_end(f);
}
END_TEST

static void report(const char *who, uint64_t page)
{
	uint64_t word = 1;
	struct vfd_bitmap bitmap = {
		.struct_size = sizeof bitmap,
		.provenance = VFD_REPORTED,
		.address = LOG_ADDRESS + page * PAGE,
		.page_size = PAGE,
		.bits = 1,
		.words = &word,
		.who = who,
	};

	OK(vfd_log_merge(f->log, &bitmap, NULL, &f->err));
}

/* No page is left out: later ones share an entry of their kind. */
START_TEST(more_sources_than_room)
{
	uint64_t pages = 0;

	begin();
	fixture_begin(f, NULL);
	OK(mark(1000, 5));
	take_all();
	for (uint64_t i = 0; i < 3 * MAX_TALLIES; i++) {
		char who[16];
		snprintf(who, sizeof who, "source %u", (unsigned)i);
		report(who, i);
	}
	ck_assert_uint_eq(super->tally_count, MAX_TALLIES);
	for (unsigned i = 0; i < MAX_TALLIES; i++)
		pages += super->tallies[i].pages;
	ck_assert_uint_eq(pages, 3 * MAX_TALLIES + 5);
	ck_assert_uint_eq(tally_by(VFD_SOFTWARE, "caller").pages, 5);
	ck_assert_uint_eq(tally_by(VFD_REPORTED, "several").pages, 2 * MAX_TALLIES + 2);
	fixture_end(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tally");

	add_case(suite, "pages", each_page_counts_when_it_becomes_owed);
	add_case(suite, "marks", marks_count_when_they_are_folded);
	add_case(suite, "first copy", first_copy_has_a_tally_of_its_own);
	add_case(suite, "deferred", deferred_names_its_device);
	add_case(suite, "no room", more_sources_than_room);
	return run_suite(suite);
}
