/* SPDX-License-Identifier: MIT */

/* The log, one property at a time. */

#include "log_internal.h" /* before check.h, which has a macro `fail` */
#include "options.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../suite.h"

enum { PAGE = 4096 };

static struct vfd_error err;

static char *const memory = (char *)(uintptr_t)0x20000000; /* never touched */

#define OK(call) ck_assert_msg(!(call), "%s: %s", #call, err.message)
#define REFUSED(want, call)                                                                                  \
	do {                                                                                                 \
		memset(&err, 0, sizeof err);                                                                 \
		ck_assert_int_eq((call), (want));                                                            \
		ck_assert_int_eq(err.code, (want));                                                          \
		ck_assert_msg(err.message[0] && err.operation, "%s says nothing", #call);                    \
	} while (0)
#define SAYS(text) ck_assert_msg(strstr(err.message, text), "'%s' lacks '%s'", err.message, text)

static int add_region(struct vfd_log *log, uint64_t address, uint64_t size, char *at)
{
	struct vfd_region r = { .struct_size = sizeof r, .address = address, .size = size, .memory = at };

	return vfd_region_add(log, &r, &err);
}

/* 256 pages from page 3 on */
static struct vfd_log *simple_log(void)
{
	struct vfd_log *log;

	OK(vfd_log_create(NULL, &log, &err));
	OK(add_region(log, 3 * PAGE, 256 * PAGE, memory));
	return log;
}

static int mark_pages(struct vfd_log *log, uint64_t page, uint64_t n)
{
	return vfd_log_mark(log, page * PAGE, n * PAGE, &err);
}

static struct vfd_batch take_all(struct vfd_consumer *c)
{
	struct vfd_batch b;

	OK(vfd_take(c, 0, UINT64_MAX, UINT64_MAX, &b, &err));
	return b;
}

static struct vfd_count count_all(struct vfd_consumer *c)
{
	struct vfd_count n;

	OK(vfd_consumer_count(c, 0, UINT64_MAX, &n, &err));
	return n;
}

static void expect_count(struct vfd_consumer *c, uint64_t owed, uint64_t reported, uint64_t taken)
{
	struct vfd_count n = count_all(c);

	ck_assert_uint_eq(n.owed, owed);
	ck_assert_uint_eq(n.reported, reported);
	ck_assert_uint_eq(n.taken, taken);
}

static int merge_bits(struct vfd_log *log, uint64_t page, uint64_t word, unsigned provenance)
{
	struct vfd_bitmap b = { .struct_size = sizeof b, .provenance = provenance, .address = page * PAGE };

	b.page_size = PAGE;
	b.bits = 64;
	b.words = &word;
	return vfd_log_merge(log, &b, NULL, &err);
}

static void destroy(struct vfd_log *log)
{
	OK(vfd_log_destroy(&log, VFD_DISCARD, &err));
	ck_assert_ptr_null(log);
}

/* ---- pages ---- */

START_TEST(a_page_is_owed_until_committed)
{
	struct vfd_log *log = simple_log();
	struct vfd_consumer *c = vfd_log_consumer(log);

	OK(mark_pages(log, 5, 1));
	expect_count(c, 1, 0, 0);
	struct vfd_batch b = take_all(c);
	ck_assert(b.id && b.pages == 1 && b.first == 5 * PAGE && b.last == 6 * PAGE - 1);
	expect_count(c, 0, 0, 1);
	REFUSED(VFD_EDIRTY, vfd_log_destroy(&log, 0, &err));
	SAYS("open batches");
	OK(vfd_rollback(c, &b, 0, UINT64_MAX, &err));
	expect_count(c, 1, 0, 0);
	b = take_all(c);
	OK(vfd_commit(c, &b, 0, UINT64_MAX, &err));
	expect_count(c, 0, 0, 0);
	OK(vfd_log_destroy(&log, 0, &err));
}
END_TEST

START_TEST(dirtied_again_stays_owed)
{
	struct vfd_log *log = simple_log();
	struct vfd_consumer *c = vfd_log_consumer(log);

	OK(mark_pages(log, 5, 1));
	struct vfd_batch first = take_all(c);
	OK(mark_pages(log, 5, 1));
	expect_count(c, 1, 0, 1);
	struct vfd_batch second = take_all(c); /* the page is in an open batch */
	ck_assert_uint_eq(second.id, 0);
	OK(vfd_commit(c, &first, 0, UINT64_MAX, &err));
	expect_count(c, 1, 0, 0);
	second = take_all(c);
	ck_assert_uint_eq(second.pages, 1);
	destroy(log);
}
END_TEST

START_TEST(reported_follows_the_page)
{
	struct vfd_log *log = simple_log();
	struct vfd_consumer *c = vfd_log_consumer(log);

	OK(merge_bits(log, 3, 6, VFD_REPORTED));
	OK(mark_pages(log, 4, 2)); /* stay reported, one more is not */
	OK(mark_pages(log, 6, 1));
	expect_count(c, 3, 2, 0);
	struct vfd_batch b = take_all(c);
	ck_assert_uint_eq(b.reported, 2);
	OK(mark_pages(log, 4, 1)); /* again, not reported this time */
	expect_count(c, 1, 0, 3);
	OK(vfd_commit(c, &b, 0, UINT64_MAX, &err));
	expect_count(c, 1, 0, 0);
	OK(merge_bits(log, 3, 2, VFD_REPORTED));
	expect_count(c, 1, 1, 0);
	destroy(log);
}
END_TEST

START_TEST(destroy_says_how_much_is_owed)
{
	struct vfd_log *log = simple_log();
	struct vfd_consumer *second;

	OK(mark_pages(log, 3, 256));
	struct vfd_batch b = take_all(vfd_log_consumer(log));
	OK(vfd_commit(vfd_log_consumer(log), &b, 0, UINT64_MAX, &err));
	OK(vfd_consumer_add(log, "rate", &second, &err));
	expect_count(second, 0, 0, 0);
	OK(mark_pages(log, 3, 200));
	b = take_all(vfd_log_consumer(log));
	OK(vfd_commit(vfd_log_consumer(log), &b, 0, UINT64_MAX, &err));
	REFUSED(VFD_EDIRTY, vfd_log_destroy(&log, 0, &err));
	SAYS("200 pages (800 KiB)");
	SAYS("'rate'");
	REFUSED(VFD_EDIRTY, vfd_consumer_remove(&second, 0, &err));
	OK(vfd_consumer_remove(&second, VFD_DISCARD, &err));
	ck_assert_ptr_null(second);
	OK(vfd_log_destroy(&log, 0, &err));
}
END_TEST

START_TEST(users_and_holds_keep_things)
{
	struct vfd_log *log = simple_log();
	uint64_t address;

	log_user_add(log);
	REFUSED(VFD_ESTATE, vfd_log_destroy(&log, VFD_DISCARD, &err));
	SAYS("use the log: 1;");
	OK(log_region_get(log, memory + 5 * PAGE + 1, 0, 100, &address, &err));
	ck_assert_uint_eq(address, 8 * PAGE + 1);
	REFUSED(VFD_ESTATE, vfd_region_remove(log, 3 * PAGE, VFD_DISCARD, &err));
	log_region_put(log, address);
	REFUSED(VFD_ENOREGION, log_region_get(log, memory - 1, 0, 1, &address, &err));
	REFUSED(VFD_ENOREGION, log_region_get(log, memory + 255 * PAGE, 0, PAGE + 1, &address, &err));
	SAYS("reaches only to 0x200fffff");
	REFUSED(VFD_EWRAP, log_region_get(log, memory, 0, 0, &address, &err));
	OK(log_region_get(log, memory, 0, 256 * PAGE, &address, &err));
	ck_assert_uint_eq(address, 3 * PAGE);
	log_region_put(log, address);
	OK(vfd_region_remove(log, 3 * PAGE, 0, &err));
	log_user_remove(log);
	OK(vfd_log_destroy(&log, 0, &err));
}
END_TEST

START_TEST(identity_goes_by_iova)
{
	struct vfd_log_options o = { .struct_size = sizeof o, .flags = VFD_LOG_IDENTITY };
	struct vfd_log *log;
	uint64_t address;

	OK(vfd_log_create(&o, &log, &err));
	ck_assert(log_is_identity(log));
	OK(add_region(log, 0x10000, 0x10000, NULL));
	OK(log_region_get(log, memory, 0x11000, 0x1000, &address, &err));
	ck_assert_uint_eq(address, 0x11000);
	log_region_put(log, address);
	REFUSED(VFD_EINVALID, add_region(log, 0x40000, 0x10000, memory));
	OK(vfd_log_destroy(&log, 0, &err));
}
END_TEST

/* A bit in every word, so that whole chunks are counted at once; and those that nobody reported one by one. */
START_TEST(full_chunks_are_counted)
{
	enum { PAGES = 64 * 4096 }; /* too many to be taken by name */
	static uint64_t words[PAGES / 64];
	struct vfd_log_options o = { .struct_size = sizeof o, .flags = VFD_LOG_IDENTITY };
	struct vfd_bitmap bitmap = { .struct_size = sizeof bitmap,
				     .provenance = VFD_REPORTED,
				     .page_size = PAGE,
				     .bits = PAGES,
				     .words = words };
	struct vfd_count count;
	struct vfd_log *log;

	OK(vfd_log_create(&o, &log, &err));
	OK(add_region(log, 0, (uint64_t)PAGES * PAGE, NULL));
	for (unsigned i = 0; i < PAGES / 64; i++)
		words[i] = UINT64_C(5) << i % 60;
	OK(vfd_log_merge(log, &bitmap, NULL, &err));
	for (int assumed = 0; assumed < 2; assumed++) {
		OK(vfd_consumer_count(vfd_log_consumer(log), 0, UINT64_MAX, &count, &err));
		ck_assert_uint_eq(count.owed, 2 * (PAGES / 64) + (assumed ? 62 : 0));
		ck_assert_uint_eq(count.reported, 2 * (PAGES / 64));
		OK(vfd_consumer_count(vfd_log_consumer(log), 4000 * PAGE, (uint64_t)PAGES * PAGE - 1, &count,
				      &err));
		ck_assert_uint_ge(count.owed, 2 * (PAGES - 4032) / 64);
		OK(mark_pages(log, 5000 / 64 * 64, 64));
	}
	struct vfd_batch batch = take_all(vfd_log_consumer(log));
	OK(vfd_consumer_count(vfd_log_consumer(log), 0, UINT64_MAX, &count, &err));
	ck_assert_uint_eq(count.taken, batch.pages);
	ck_assert_uint_eq(count.owed, 0);
	OK(vfd_log_destroy(&log, VFD_DISCARD, &err));
}
END_TEST

/* ---- batches ---- */

START_TEST(spans_exclude_and_shrink)
{
	struct vfd_log *log = simple_log();
	struct vfd_consumer *c = vfd_log_consumer(log);
	struct vfd_batch b, rest;

	OK(mark_pages(log, 10, 1));
	OK(mark_pages(log, 20, 1));
	OK(mark_pages(log, 30, 1));
	b = take_all(c);
	ck_assert(b.first == 10 * PAGE && b.last == 31 * PAGE - 1 && b.pages == 3);
	OK(mark_pages(log, 5, 40));
	rest = take_all(c); /* up to the open span only */
	ck_assert(rest.first == 5 * PAGE && rest.last == 10 * PAGE - 1 && rest.pages == 5);
	OK(vfd_commit(c, &b, 30 * PAGE, 31 * PAGE - 1, &err)); /* the upper edge: 21..30 are free again */
	rest = take_all(c);
	ck_assert(rest.first == 21 * PAGE && rest.last == 45 * PAGE - 1);
	OK(vfd_rollback(c, &b, 10 * PAGE, 11 * PAGE - 1, &err)); /* the lower edge */
	rest = take_all(c);
	ck_assert(rest.first == 10 * PAGE && rest.last == 20 * PAGE - 1);
	OK(vfd_commit(c, &b, 0, UINT64_MAX, &err));
	REFUSED(VFD_EINVALID, vfd_commit(c, &b, 0, UINT64_MAX, &err));
	SAYS("not open");
	destroy(log);
}
END_TEST

START_TEST(no_more_than_256_batches)
{
	struct vfd_log *log = simple_log();
	struct vfd_consumer *c = vfd_log_consumer(log);
	struct vfd_batch b[256], more;

	OK(mark_pages(log, 3, 256));
	for (int i = 0; i < 256; i++) {
		OK(vfd_take(c, 0, UINT64_MAX, 1, &b[i], &err));
		ck_assert(b[i].pages == 1 && b[i].first == (uint64_t)(3 + i) * PAGE);
	}
	REFUSED(VFD_ELIMIT, vfd_take(c, 0, UINT64_MAX, 1, &more, &err));
	SAYS("256");
	OK(vfd_rollback(c, &b[100], 0, UINT64_MAX, &err));
	OK(vfd_take(c, 0, UINT64_MAX, 1, &more, &err));
	ck_assert(more.first == b[100].first && more.id != b[100].id);
	REFUSED(VFD_EINVALID, vfd_commit(c, &b[100], 0, UINT64_MAX, &err));
	destroy(log);
}
END_TEST

/* Of as many stripes as are looked at together, and more: what there was no room for comes next. */
START_TEST(one_page_of_many_stripes)
{
	enum { STRIPES = 40 };
	struct vfd_log_options o = { .struct_size = sizeof o, .flags = VFD_LOG_IDENTITY };
	struct vfd_log *log;
	struct vfd_batch b;

	OK(vfd_log_create(&o, &log, &err));
	OK(add_region(log, 0, (uint64_t)STRIPES << 30, NULL));
	for (uint64_t i = 0; i < STRIPES; i++)
		OK(vfd_log_mark(log, i << 30, PAGE, &err));
	for (uint64_t i = 0; i < STRIPES; i += 2) {
		OK(vfd_take(vfd_log_consumer(log), 0, UINT64_MAX, 2, &b, &err));
		ck_assert(b.pages == 2 && b.first == i << 30 && b.last == ((i + 1) << 30) + PAGE - 1);
		OK(vfd_commit(vfd_log_consumer(log), &b, 0, UINT64_MAX, &err));
	}
	OK(vfd_log_destroy(&log, 0, &err)); /* nothing is owed */
}
END_TEST

START_TEST(batches_of_another_log_are_foreign)
{
	struct vfd_log *a = simple_log(), *b;
	struct vfd_consumer *second;

	OK(vfd_log_create(NULL, &b, &err));
	OK(add_region(b, 0, 1 << 20, memory));
	OK(vfd_consumer_add(a, NULL, &second, &err));
	OK(mark_pages(a, 3, 1));
	OK(mark_pages(b, 3, 1));
	struct vfd_batch of_a = take_all(vfd_log_consumer(a)), of_b = take_all(vfd_log_consumer(b));
	struct vfd_batch of_second = take_all(second), none = { 0 };
	REFUSED(VFD_EINVALID, vfd_commit(vfd_log_consumer(a), &of_b, 0, UINT64_MAX, &err));
	REFUSED(VFD_EINVALID, vfd_rollback(vfd_log_consumer(b), &of_a, 0, UINT64_MAX, &err));
	REFUSED(VFD_EINVALID, vfd_commit(vfd_log_consumer(a), &of_second, 0, UINT64_MAX, &err));
	REFUSED(VFD_EINVALID, vfd_commit(vfd_log_consumer(a), &none, 0, UINT64_MAX, &err));
	SAYS("id 0");
	destroy(a);
	destroy(b);
}
END_TEST

START_TEST(discarding_a_region_resolves_batches_in_it)
{
	struct vfd_log *log = simple_log();
	struct vfd_consumer *c = vfd_log_consumer(log);

	OK(add_region(log, 1000 * PAGE, 10 * PAGE, memory + 1000 * PAGE));
	OK(mark_pages(log, 258, 1));
	OK(mark_pages(log, 1000, 1));
	struct vfd_batch b = take_all(c);
	ck_assert_uint_eq(b.pages, 2);
	REFUSED(VFD_EDIRTY, vfd_region_remove(log, 1000 * PAGE, 0, &err));
	OK(vfd_region_remove(log, 1000 * PAGE, VFD_DISCARD, &err));
	expect_count(c, 0, 0, 1);
	OK(vfd_region_remove(log, 3 * PAGE, VFD_DISCARD, &err));
	REFUSED(VFD_EINVALID, vfd_commit(c, &b, 0, UINT64_MAX, &err));
	OK(vfd_log_destroy(&log, 0, &err));
}
END_TEST

/* ---- the inbox ---- */

/* Marked by vfd_log_mark() only: it waits in the inbox until somebody looks. */
START_TEST(a_mark_is_seen_by_whoever_looks)
{
	struct vfd_log *log = simple_log();
	struct vfd_consumer *c = vfd_log_consumer(log), *second, *late;
	struct vfd_cause list[64];
	struct vfd_count n;
	size_t count;

	OK(vfd_consumer_add(log, "second", &second, &err));
	OK(mark_pages(log, 5, 1));
	OK(vfd_consumer_add(log, "late", &late, &err)); /* owed nothing from before */
	expect_count(late, 0, 0, 0);
	OK(mark_pages(log, 6, 1));
	OK(vfd_consumer_count(c, 6 * PAGE, 7 * PAGE - 1, &n, &err));
	ck_assert_uint_eq(n.owed, 1);
	OK(mark_pages(log, 7, 1));
	struct vfd_batch b = take_all(c);
	ck_assert_uint_eq(b.pages, 3);
	ck_assert_uint_eq(b.reported, 0);
	OK(vfd_commit(c, &b, 0, UINT64_MAX, &err));
	expect_count(second, 3, 0, 0);
	expect_count(late, 2, 0, 0);
	OK(mark_pages(log, 100, 1));
	OK(vfd_consumer_causes(c, list, 64, &count, &err));
	ck_assert(count == 1 && list[0].pages == 1 && list[0].first == 100 * PAGE);
	ck_assert_str_eq(list[0].who, "caller");
	destroy(log);
}
END_TEST

START_TEST(a_mark_in_the_inbox_is_not_destroyed)
{
	struct vfd_log *log = simple_log();
	struct vfd_consumer *second;

	OK(vfd_consumer_add(log, "second", &second, &err));
	OK(mark_pages(log, 5, 1));
	REFUSED(VFD_EDIRTY, vfd_log_destroy(&log, 0, &err));
	struct vfd_batch b = take_all(vfd_log_consumer(log));
	OK(vfd_commit(vfd_log_consumer(log), &b, 0, UINT64_MAX, &err));
	b = take_all(second);
	OK(vfd_commit(second, &b, 0, UINT64_MAX, &err));
	OK(mark_pages(log, 6, 1));
	REFUSED(VFD_EDIRTY, vfd_region_remove(log, 3 * PAGE, 0, &err));
	b = take_all(vfd_log_consumer(log));
	OK(vfd_commit(vfd_log_consumer(log), &b, 0, UINT64_MAX, &err));
	b = take_all(second);
	OK(vfd_commit(second, &b, 0, UINT64_MAX, &err));
	OK(mark_pages(log, 7, 1));
	REFUSED(VFD_EDIRTY, vfd_consumer_remove(&second, 0, &err));
	OK(mark_pages(log, 8, 1));
	OK(vfd_region_remove(log, 3 * PAGE, VFD_DISCARD, &err));
	OK(vfd_consumer_remove(&second, 0, &err));
	OK(vfd_log_destroy(&log, 0, &err));
}
END_TEST

/* A page that waits in the inbox is owed already: who reports it finds it old, and says so. */
START_TEST(a_mark_counts_as_owed_for_a_merge)
{
	struct vfd_log *log = simple_log();
	struct log_source kvm = { VFD_REPORTED, VFD_WHY_NONE, PAGE, "kvm" };
	uint64_t word = 3;
	struct log_bits bits = { .address = 5 * PAGE, .granularity = PAGE, .words = &word, .bits = 2 };

	OK(mark_pages(log, 5, 1));
	ck_assert_uint_eq(log_merge(log, &bits, &kvm), 1);
	expect_count(vfd_log_consumer(log), 2, 2, 0);
	destroy(log);
}
END_TEST

/* Another marker came as far as the word, or the sum: the mark must not rely on it for the rest. */
START_TEST(a_mark_does_not_rely_on_another)
{
	struct vfd_log *log = simple_log();
	struct summed inbox = inbox_of(log, region_table(log));
	uint64_t bit = address_bit(log, region_table(log), 5 * PAGE), mask = UINT64_C(1) << bit;

	inbox.bits[0] |= mask;
	OK(mark_pages(log, 5, 1));
	expect_count(vfd_log_consumer(log), 1, 0, 0);
	OK(mark_pages(log, 6, 1));
	ck_assert(inbox.bits[0] == mask << 1 && inbox.sum[0] == 1 && inbox.top[0] == 1 && inbox.tip[0] == 1);
	inbox.top[0] = inbox.tip[0] = 0;
	OK(mark_pages(log, 6, 1));
	expect_count(vfd_log_consumer(log), 2, 0, 0);
	inbox.sum[0] = inbox.top[0] = 1; /* another marker, before its last step */
	OK(mark_pages(log, 6, 1));
	ck_assert(inbox.tip[0]);
	/* a fold in the middle leaves summaries without words below */
	inbox.sum[0] = inbox.top[0] = inbox.tip[0] = 1;
	expect_count(vfd_log_consumer(log), 2, 0, 0);
	ck_assert(!inbox.sum[0] && !inbox.top[0] && !inbox.tip[0]);
	inbox.tip[0] = 1;
	expect_count(vfd_log_consumer(log), 2, 0, 0);
	ck_assert(!inbox.tip[0]);
	inbox.top[0] = 1;
	OK(mark_pages(log, 7, 1));
	expect_count(vfd_log_consumer(log), 3, 0, 0);
	destroy(log);
}
END_TEST

/* A few pages take the inbox, many the planes: up to a chunk, beyond it, across words. */
START_TEST(marks_of_any_size)
{
	static const uint64_t sizes[] = { 1, 63, 64, 65, 4095, 4096, 4097, 262143, 262145 };
	struct vfd_log *log;
	struct vfd_consumer *c;

	OK(vfd_log_create(NULL, &log, &err));
	OK(add_region(log, 3 * PAGE, UINT64_C(600000) * PAGE, memory));
	c = vfd_log_consumer(log);
	for (int i = 0; i < 9; i++)
		for (uint64_t page = 60; page < 70; page++) {
			OK(mark_pages(log, page, sizes[i]));
			struct vfd_batch b = take_all(c);
			ck_assert_uint_eq(b.pages, sizes[i]);
			ck_assert_uint_eq(b.first, page * PAGE);
			OK(vfd_commit(c, &b, 0, UINT64_MAX, &err));
		}
	OK(vfd_log_destroy(&log, 0, &err));
}
END_TEST

/* ---- scratch ---- */

/* Bits 10..309 of 400: words 1..3 hold nothing else, 0 and 4 do. */
START_TEST(scratch_is_zeroed_but_what_is_shared)
{
	struct vfd_log *log = simple_log();
	struct log_source kernel = { VFD_REPORTED, VFD_WHY_NONE, PAGE, "type1" };
	uint64_t words[7];
	struct log_bits bits = {
		.granularity = PAGE, .words = words, .first_bit = 10, .bits = 300, .scratch = words
	};

	for (uint64_t page = 0; page < 70; page++) { /* shifts, holes on both sides of the region */
		memset(words, 0xff, sizeof words);
		bits.address = page * PAGE;
		log_merge(log, &bits, &kernel);
		for (int w = 0; w < 7; w++)
			ck_assert_msg(words[w] == (w > 0 && w < 4 ? 0 : ~UINT64_C(0)), "page %lu word %d",
				      (long)page, w);
	}
	expect_count(vfd_log_consumer(log), 256, 256, 0);
	bits.granularity = 2 * PAGE;
	memset(words, 0xff, sizeof words);
	log_merge(log, &bits, &kernel);
	ck_assert(words[0] + 1 == 0 && !words[1] && !words[2] && !words[3] && words[4] + 1 == 0);
	destroy(log);
}
END_TEST

/* One word for pages of two regions, and one for two mappings: the second half must still be there. */
START_TEST(scratch_shared_by_two_regions)
{
	struct log_source kernel = { VFD_REPORTED, VFD_WHY_NONE, PAGE, "type1" };
	uint64_t words[3] = { ~UINT64_C(0), ~UINT64_C(0), ~UINT64_C(0) };
	struct log_bits bits = { .granularity = PAGE, .words = words, .bits = 192, .scratch = words };
	struct vfd_log *log;

	OK(vfd_log_create(NULL, &log, &err));
	OK(add_region(log, 0, 100 * PAGE, memory));
	OK(add_region(log, 100 * PAGE, 100 * PAGE, memory + 1000 * PAGE));
	ck_assert_uint_eq(log_merge(log, &bits, &kernel), 192);
	ck_assert(!words[0] && !words[1] && !words[2]);
	memset(words, 0xff, sizeof words);
	struct log_bits two[2] = { bits, bits };
	two[0].bits = 100;
	two[1].address = 100 * PAGE;
	two[1].first_bit = 100;
	two[1].bits = 92;
	struct vfd_batch b = take_all(vfd_log_consumer(log));
	OK(vfd_commit(vfd_log_consumer(log), &b, 0, UINT64_MAX, &err));
	ck_assert_uint_eq(log_merge_many(log, two, 2, &kernel), 192);
	ck_assert(!words[0] && words[1] + 1 == 0 && !words[2]);
	destroy(log);
}
END_TEST

/* Zero input is not written: that would cost memory, and cache lines. */
START_TEST(scratch_of_zeros_is_not_written)
{
	struct vfd_log *log = simple_log();
	struct log_source kernel = { VFD_REPORTED, VFD_WHY_NONE, PAGE, "type1" };
	uint64_t *words = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct log_bits bits = { .granularity = PAGE, .words = words, .bits = 4096, .scratch = words };

	ck_assert_uint_eq(log_merge(log, &bits, &kernel), 0);
	bits.address = 7 * PAGE;
	ck_assert_uint_eq(log_merge(log, &bits, &kernel), 0);
	munmap(words, PAGE);
	OK(vfd_log_destroy(&log, 0, &err));
}
END_TEST

/* ---- many regions ---- */

/* Added in no order, with and without gaps in either address: each is found by its memory. */
START_TEST(thousands_of_regions)
{
	enum { N = 4096 };
	struct vfd_log *log;
	uint64_t address;

	OK(vfd_log_create(NULL, &log, &err));
	for (uint64_t i = 0; i < N; i++) {
		uint64_t at = i * 1237 % N, place = i * 2731 % N;
		OK(add_region(log, at * 4 * PAGE, (at % 4 + 1) * PAGE, memory + place * 4 * PAGE));
	}
	for (uint64_t i = 0; i < N; i++) {
		uint64_t at = i * 1237 % N, size = (at % 4 + 1) * PAGE;
		char *place = memory + i * 2731 % N * 4 * PAGE;
		OK(log_region_get(log, place, 0, size, &address, &err));
		ck_assert_uint_eq(address, at * 4 * PAGE);
		log_region_put(log, address);
		OK(log_region_get(log, place + size - 1, 0, 1, &address, &err));
		ck_assert_uint_eq(address, at * 4 * PAGE + size - 1);
		log_region_put(log, address);
		REFUSED(VFD_ENOREGION, log_region_get(log, place, 0, size + 1, &address, &err));
		REFUSED(VFD_EOVERLAP, add_region(log, UINT64_C(1) << 40, PAGE, place + size - PAGE));
		OK(vfd_log_mark(log, at * 4 * PAGE, size, &err));
	}
	REFUSED(VFD_ENOREGION, log_region_get(log, memory - 1, 0, 1, &address, &err));
	expect_count(vfd_log_consumer(log), N / 4 * 10, 0, 0);
	for (uint64_t i = 0; i < N; i++)
		OK(vfd_region_remove(log, i * 577 % N * 4 * PAGE, VFD_DISCARD, &err));
	REFUSED(VFD_ENOREGION, log_region_get(log, memory, 0, 1, &address, &err));
	OK(vfd_log_destroy(&log, 0, &err));
}
END_TEST

/* ---- causes ---- */

static size_t causes_of(struct vfd_log *log, struct vfd_cause *list)
{
	size_t n;

	OK(vfd_consumer_causes(vfd_log_consumer(log), list, 64, &n, &err));
	ck_assert_uint_le(n, 64);
	return n;
}

START_TEST(causes_merge_and_go)
{
	struct vfd_log *log = simple_log();
	struct log_source group = { VFD_ASSUMED, VFD_WHY_NO_TRACKING, 1 << 21, "group 7" };
	struct vfd_cause list[64];
	size_t n;

	log_mark(log, (struct range){ 3 * PAGE, 8 * PAGE - 1 }, &group);
	log_mark(log, (struct range){ 8 * PAGE, 9 * PAGE - 1 }, &group);
	OK(mark_pages(log, 20, 2));
	ck_assert_uint_eq(causes_of(log, list), 2);
	struct vfd_cause *g = &list[list[0].provenance == VFD_ASSUMED ? 0 : 1];
	ck_assert(g->provenance == VFD_ASSUMED && g->reason == VFD_WHY_NO_TRACKING && g->pages == 6);
	ck_assert(g->first == 3 * PAGE && g->last == 9 * PAGE - 1 && g->granularity == 1 << 21);
	ck_assert_str_eq(g->who, "group 7");

	OK(vfd_consumer_causes(vfd_log_consumer(log), NULL, 0, &n, &err));
	ck_assert_uint_eq(n, 2);
	struct vfd_batch b = take_all(vfd_log_consumer(log));
	ck_assert_uint_eq(causes_of(log, list), 0); /* nothing is owed now */
	OK(vfd_commit(vfd_log_consumer(log), &b, 0, 9 * PAGE - 1, &err));
	OK(vfd_rollback(vfd_log_consumer(log), &b, 0, UINT64_MAX, &err));
	ck_assert_uint_eq(causes_of(log, list), 1); /* the caller's again, the group's are delivered */
	ck_assert_str_eq(list[0].who, "caller");
	destroy(log);
}
END_TEST

/* Three batches in one word, the last one below the first: the cause is of all that may be rolled back, in whatever order it was taken. */
START_TEST(a_cause_spans_all_that_is_taken)
{
	struct vfd_log *log = simple_log();
	struct vfd_consumer *c = vfd_log_consumer(log);
	struct vfd_batch batches[3];
	struct vfd_cause list[64];

	for (unsigned i = 0; i < 3; i++) {
		static const uint64_t pages[] = { 20, 40, 10 };
		OK(mark_pages(log, pages[i], 10));
		batches[i] = take_all(c);
		ck_assert_uint_eq(batches[i].first, pages[i] * PAGE);
		if (i == 1)
			OK(vfd_commit(c, &batches[i], 0, UINT64_MAX, &err));
	}
	ck_assert_uint_eq(causes_of(log, list), 0);
	OK(vfd_rollback(c, &batches[0], 0, UINT64_MAX, &err));
	OK(vfd_rollback(c, &batches[2], 0, UINT64_MAX, &err));
	ck_assert_uint_eq(causes_of(log, list), 1);
	ck_assert(list[0].first == 10 * PAGE && list[0].last == 30 * PAGE - 1 && list[0].pages == 20);
	destroy(log);
}
END_TEST

/* Far more causes than there is room for: none loses its page or its kind. */
START_TEST(causes_are_bounded)
{
	struct vfd_log *log = simple_log();
	struct vfd_cause list[64];
	char name[32];

	for (unsigned i = 0; i < 240; i++) {
		struct log_source s = { VFD_ASSUMED, (enum vfd_reason)(1 + i % 7), 0, name };
		snprintf(name, sizeof name, "culprit %u", i);
		log_mark(log, (struct range){ (3 + i) * PAGE, (4 + i) * PAGE - 1 }, &s);
	}
	OK(mark_pages(log, 250, 1));
	OK(merge_bits(log, 251, 1, VFD_REPORTED));
	size_t n = causes_of(log, list);
	bool several = false, caller = false, reported = false;
	unsigned reasons[256] = { 0 };
	for (size_t i = 0; i < n; i++) {
		several |= !strcmp(list[i].who, "several");
		caller |= list[i].provenance == VFD_SOFTWARE;
		reported |= list[i].provenance == VFD_REPORTED && list[i].pages == 1;
		for (uint64_t p = list[i].first / PAGE - 3; p <= list[i].last / PAGE - 3; p++)
			reasons[p] |= 1u << list[i].reason;
	}
	ck_assert(several && caller && reported);
	for (unsigned i = 0; i < 240; i++)
		ck_assert_msg(reasons[i] >> (1 + i % 7) & 1, "page %u lost its reason", i);
	destroy(log);
}
END_TEST

START_TEST(initial_is_one_consumers)
{
	struct vfd_log *log = simple_log();
	struct vfd_consumer *second;
	struct vfd_cause list[64];
	size_t n;

	OK(vfd_consumer_add(log, "second", &second, &err));
	OK(vfd_mark_initial(second, &err));
	expect_count(second, 256, 0, 0);
	expect_count(vfd_log_consumer(log), 0, 0, 0);
	OK(vfd_consumer_causes(second, list, 64, &n, &err));
	ck_assert(n == 1 && list[0].provenance == VFD_INITIAL && list[0].pages == 256);
	destroy(log);
}
END_TEST

/* ---- bad input ---- */

START_TEST(bad_create)
{
	struct vfd_log_options o = { 0 };
	struct vfd_log *log = NULL;
	static char arena[1 << 17] __attribute__((aligned(4096)));

	REFUSED(VFD_EINVALID, vfd_log_create(NULL, NULL, &err));
	REFUSED(VFD_EINVALID, vfd_log_create(&o, &log, &err));
	SAYS("struct_size is 0");
	o.struct_size = 4;
	REFUSED(VFD_EINVALID, vfd_log_create(&o, &log, &err));
	o.struct_size = UINT32_MAX;
	REFUSED(VFD_EINVALID, vfd_log_create(&o, &log, &err));
	o.struct_size = sizeof o;
	static const uint64_t sizes[] = { 1, 256, 3000, 4097, UINT64_C(1) << 31, UINT64_MAX };
	for (int i = 0; i < 6; i++) {
		o.page_size = sizes[i];
		REFUSED(VFD_EINVALID, vfd_log_create(&o, &log, &err));
	}
	o.page_size = 0;
	o.flags = 2;
	REFUSED(VFD_EINVALID, vfd_log_create(&o, &log, &err));
	o.flags = 0;
	o.arena_size = sizeof arena;
	REFUSED(VFD_EINVALID, vfd_log_create(&o, &log, &err));
	o.arena = arena + 64;
	REFUSED(VFD_EINVALID, vfd_log_create(&o, &log, &err));
	o.arena = arena;
	o.arena_size = 4096;
	REFUSED(VFD_ELIMIT, vfd_log_create(&o, &log, &err));
	o.arena_size = UINT64_MAX;
	REFUSED(VFD_EINVALID, vfd_log_create(&o, &log, &err));
	o.arena_size = sizeof arena;
	arena[17] = 1;
	REFUSED(VFD_EINVALID, vfd_log_create(&o, &log, &err));
	SAYS("byte 17");
	arena[17] = 0;
	ck_assert_ptr_null(log);
	OK(vfd_log_create(&o, &log, &err));
	destroy(log);
	REFUSED(VFD_EINVALID, vfd_log_create(&o, &log, &err)); /* what a log left is not zero */
	ck_assert(vfd_log_create(&o, &log, NULL) == VFD_EINVALID);
}
END_TEST

/* A struct of a later version: fine unless it asks for something new. */
START_TEST(struct_sizes)
{
	struct {
		struct vfd_region r;
		uint64_t tail[2];
	} later = { .r = { .struct_size = sizeof later,
			   .address = 1 << 30,
			   .size = PAGE,
			   .memory = memory + (1 << 30) } };
	struct vfd_log *log = simple_log();
	uint32_t pair[4] = { 8, 7, 6, 5 }, copy[4] = { 1, 1, 1, 1 };

	later.tail[1] = 1;
	REFUSED(VFD_EINVALID, vfd_region_add(log, &later.r, &err));
	later.tail[1] = 0;
	OK(vfd_region_add(log, &later.r, &err));
	OK(copy_options(copy, 16, 8, pair, "struct pair", &err)); /* an earlier version: the rest is zero */
	ck_assert(copy[0] == 8 && copy[1] == 7 && !copy[2] && !copy[3]);
	pair[0] = 7;
	REFUSED(VFD_EINVALID, copy_options(copy, 16, 8, pair, "struct pair", &err));
	REFUSED(VFD_EINVALID, copy_options(copy, 16, 8, NULL, "struct pair", &err));
	destroy(log);
}
END_TEST

START_TEST(bad_regions)
{
	struct vfd_log *log = simple_log();
	struct vfd_region r = { .struct_size = sizeof r, .flags = 1, .size = PAGE, .memory = memory };

	REFUSED(VFD_EINVALID, vfd_region_add(log, NULL, &err));
	REFUSED(VFD_EINVALID, vfd_region_add(log, &r, &err));
	REFUSED(VFD_EINVALID, vfd_region_add(NULL, &r, &err));
	char *far = memory + (1 << 30);
	REFUSED(VFD_EINVALID, add_region(log, 1 << 30, 0, far));
	REFUSED(VFD_EINVALID, add_region(log, 1 << 30, PAGE, NULL));
	REFUSED(VFD_EALIGN, add_region(log, (1 << 30) + 512, PAGE, far));
	REFUSED(VFD_EALIGN, add_region(log, 1 << 30, PAGE + 1, far));
	REFUSED(VFD_EALIGN, add_region(log, 1 << 30, PAGE, far + 8));
	REFUSED(VFD_EWRAP, add_region(log, -(uint64_t)PAGE, PAGE, far));
	REFUSED(VFD_EWRAP, add_region(log, PAGE, -(uint64_t)PAGE, far));
	REFUSED(VFD_EWRAP, add_region(log, 1 << 30, PAGE, (char *)-(uintptr_t)PAGE));
	REFUSED(VFD_EOVERLAP, add_region(log, 0, 4 * PAGE, far));
	REFUSED(VFD_EOVERLAP, add_region(log, 258 * PAGE, PAGE, far));
	REFUSED(VFD_EOVERLAP, add_region(log, 1 << 30, PAGE, memory + 255 * PAGE));
	OK(add_region(log, 0, 3 * PAGE, far));
	OK(add_region(log, 259 * PAGE, PAGE, memory + 256 * PAGE));
	OK(add_region(log, -(uint64_t)(2 * PAGE), PAGE, memory + 257 * PAGE));
	REFUSED(VFD_EINVALID, vfd_region_remove(log, 0, VFD_COLLECT, &err));
	REFUSED(VFD_EINVALID, vfd_region_remove(NULL, 0, 0, &err));
	REFUSED(VFD_ENOTMAPPED, vfd_region_remove(log, PAGE, 0, &err));
	REFUSED(VFD_ENOTMAPPED, vfd_region_remove(log, UINT64_MAX, 0, &err));
	destroy(log);
}
END_TEST

/* In 32 bits, too: there is no memory that it must fit into. */
START_TEST(a_window_is_as_large_as_addresses)
{
	struct vfd_log_options o = { .struct_size = sizeof o, .flags = VFD_LOG_IDENTITY };
	struct vfd_log *log;

	OK(vfd_log_create(&o, &log, &err));
	OK(add_region(log, UINT64_C(1) << 40, UINT64_C(1) << 33, NULL));
	OK(vfd_log_mark(log, (UINT64_C(1) << 40) + (UINT64_C(1) << 32) + 7 * PAGE, 2 * PAGE, &err));
	expect_count(vfd_log_consumer(log), 2, 0, 0);
	REFUSED(VFD_ENOMEMORY, add_region(log, UINT64_C(1) << 60, UINT64_C(1) << 62, NULL));
	destroy(log);
}
END_TEST

START_TEST(bad_marks)
{
	struct vfd_log *log = simple_log();

	REFUSED(VFD_EINVALID, vfd_log_mark(NULL, 0, 1, &err));
	REFUSED(VFD_EINVALID, vfd_log_mark(log, 3 * PAGE, 0, &err));
	REFUSED(VFD_EWRAP, vfd_log_mark(log, 3 * PAGE, UINT64_MAX, &err));
	REFUSED(VFD_ENOREGION, mark_pages(log, 2, 2));
	REFUSED(VFD_ENOREGION, mark_pages(log, 258, 2));
	REFUSED(VFD_ENOREGION, vfd_log_mark(log, 0, UINT64_MAX, &err));
	REFUSED(VFD_EINVALID, vfd_mark_initial(NULL, &err));
	expect_count(vfd_log_consumer(log), 0, 0, 0);
	OK(vfd_log_destroy(&log, 0, &err));
}
END_TEST

START_TEST(bad_bitmaps)
{
	struct vfd_log *log = simple_log();
	uint64_t word = 1;
	struct vfd_bitmap good = { .struct_size = sizeof good,
				   .provenance = VFD_REPORTED,
				   .address = 4 * PAGE,
				   .page_size = PAGE,
				   .bits = 64,
				   .words = &word };
	struct vfd_bitmap b = good;

	REFUSED(VFD_EINVALID, vfd_log_merge(NULL, &b, NULL, &err));
	REFUSED(VFD_EINVALID, vfd_log_merge(log, NULL, NULL, &err));
#define BAD(want, field, value)                                                                              \
	do {                                                                                                 \
		b = good;                                                                                    \
		b.field = (value);                                                                           \
		REFUSED(want, vfd_log_merge(log, &b, NULL, &err));                                           \
	} while (0)
	BAD(VFD_EINVALID, struct_size, 0);
	BAD(VFD_EINVALID, provenance, 0);
	BAD(VFD_EINVALID, provenance, VFD_ASSUMED);
	BAD(VFD_EINVALID, page_size, 0);
	BAD(VFD_EINVALID, page_size, 5000);
	BAD(VFD_EINVALID, bits, 0);
	BAD(VFD_EINVALID, words, NULL);
	BAD(VFD_EALIGN, address, 4 * PAGE + 512);
	BAD(VFD_EWRAP, bits, UINT64_MAX / PAGE + 1);
	BAD(VFD_EWRAP, address, -(uint64_t)(63 * PAGE));
	BAD(VFD_ENOREGION, address, 2 * PAGE);
	expect_count(vfd_log_consumer(log), 0, 0, 0);
	/* clear bits may lie where there is nothing; a bit that is partly outside may not */
	b = good;
	b.address = 258 * PAGE;
	OK(vfd_log_merge(log, &b, NULL, &err));
	b.address = 256 * PAGE;
	b.page_size = 8 * PAGE;
	REFUSED(VFD_ENOREGION, vfd_log_merge(log, &b, NULL, &err));
	expect_count(vfd_log_consumer(log), 1, 1, 0);
	/* a bit that stands for more than all of memory */
	b.address = 0;
	b.page_size = UINT64_C(1) << 63;
	b.bits = 2;
	REFUSED(VFD_EWRAP, vfd_log_merge(log, &b, NULL, &err));
	b.bits = 1;
	REFUSED(VFD_ENOREGION, vfd_log_merge(log, &b, NULL, &err));
	destroy(log);
}
END_TEST

START_TEST(bad_consumers)
{
	struct vfd_log *log = simple_log();
	struct vfd_consumer *c[16] = { vfd_log_consumer(log) }, *more = NULL;
	struct vfd_count count;
	struct vfd_cause cause;
	size_t n;

	REFUSED(VFD_EINVALID, vfd_consumer_add(NULL, "", &more, &err));
	REFUSED(VFD_EINVALID, vfd_consumer_add(log, "", NULL, &err));
	for (int i = 1; i < 16; i++)
		OK(vfd_consumer_add(log, "a name that is longer than the 31 characters kept", &c[i], &err));
	REFUSED(VFD_ELIMIT, vfd_consumer_add(log, NULL, &more, &err));
	REFUSED(VFD_EINVALID, vfd_consumer_remove(NULL, 0, &err));
	REFUSED(VFD_EINVALID, vfd_consumer_remove(&more, 0, &err));
	REFUSED(VFD_EINVALID, vfd_consumer_remove(&c[0], VFD_DISCARD, &err));
	REFUSED(VFD_EINVALID, vfd_consumer_remove(&c[1], VFD_COLLECT, &err));
	REFUSED(VFD_EINVALID, vfd_consumer_count(NULL, 0, UINT64_MAX, &count, &err));
	REFUSED(VFD_EINVALID, vfd_consumer_count(c[0], 0, UINT64_MAX, NULL, &err));
	REFUSED(VFD_EINVALID, vfd_consumer_count(c[0], 2 * PAGE, PAGE - 1, &count, &err));
	REFUSED(VFD_EALIGN, vfd_consumer_count(c[0], 1, UINT64_MAX, &count, &err));
	REFUSED(VFD_EALIGN, vfd_consumer_count(c[0], 0, PAGE, &count, &err));
	REFUSED(VFD_EINVALID, vfd_consumer_causes(NULL, &cause, 1, &n, &err));
	REFUSED(VFD_EINVALID, vfd_consumer_causes(c[0], NULL, 1, &n, &err));
	REFUSED(VFD_EINVALID, vfd_consumer_causes(c[0], &cause, 1, NULL, &err));
	more = c[15];
	OK(vfd_consumer_remove(&c[15], 0, &err));
	REFUSED(VFD_EINVALID, vfd_consumer_count(more, 0, UINT64_MAX, &count, &err));
	OK(vfd_log_destroy(&log, 0, &err));
	ck_assert(!vfd_log_page_size(NULL) && !vfd_log_consumer(NULL));
	REFUSED(VFD_EINVALID, vfd_log_destroy(&log, 0, &err));
	REFUSED(VFD_EINVALID, vfd_log_destroy(NULL, 0, &err));
	REFUSED(VFD_EINVALID, vfd_log_release(&log, &err));
	REFUSED(VFD_EINVALID, vfd_log_release(NULL, &err));
}
END_TEST

START_TEST(bad_batches)
{
	struct vfd_log *log = simple_log();
	struct vfd_consumer *c = vfd_log_consumer(log);
	struct vfd_batch b;
	struct vfd_run run;
	size_t n;

	REFUSED(VFD_EINVALID, vfd_take(NULL, 0, UINT64_MAX, 1, &b, &err));
	REFUSED(VFD_EINVALID, vfd_take(c, 0, UINT64_MAX, 0, &b, &err));
	REFUSED(VFD_EINVALID, vfd_take(c, 0, UINT64_MAX, 1, NULL, &err));
	REFUSED(VFD_EINVALID, vfd_take(c, PAGE, PAGE - 1, 1, &b, &err));
	REFUSED(VFD_EALIGN, vfd_take(c, 512, UINT64_MAX, 1, &b, &err));
	REFUSED(VFD_EALIGN, vfd_take(c, 0, UINT64_MAX - 1, 1, &b, &err));
	OK(mark_pages(log, 3, 3));
	b = take_all(c);
	REFUSED(VFD_EINVALID, vfd_batch_runs(NULL, &b, &run, 1, &n, &err));
	REFUSED(VFD_EINVALID, vfd_batch_runs(c, NULL, &run, 1, &n, &err));
	REFUSED(VFD_EINVALID, vfd_batch_runs(c, &b, NULL, 1, &n, &err));
	REFUSED(VFD_EINVALID, vfd_batch_runs(c, &b, &run, 0, &n, &err));
	REFUSED(VFD_EINVALID, vfd_batch_runs(c, &b, &run, 1, NULL, &err));
	int (*const both[])(struct vfd_consumer *, const struct vfd_batch *, uint64_t, uint64_t,
			    struct vfd_error *) = { vfd_commit, vfd_rollback };
	for (int i = 0; i < 2; i++) {
		REFUSED(VFD_EINVALID, both[i](NULL, &b, 0, UINT64_MAX, &err));
		REFUSED(VFD_EINVALID, both[i](c, NULL, 0, UINT64_MAX, &err));
		REFUSED(VFD_EALIGN, both[i](c, &b, 1, UINT64_MAX, &err));
		REFUSED(VFD_EINVALID, both[i](c, &b, PAGE, 0, &err));
	}
	expect_count(c, 0, 0, 3);
	destroy(log);
}
END_TEST

/* ---- arena ---- */

START_TEST(a_full_arena_refuses_and_goes_on)
{
	const size_t size = 256 << 10;
	char *arena = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct vfd_log_options o = {
		.struct_size = sizeof o, .flags = VFD_LOG_IDENTITY, .arena = arena, .arena_size = size
	};
	struct vfd_log *log;
	struct vfd_consumer *c;

	OK(vfd_log_create(&o, &log, &err));
	REFUSED(VFD_ELIMIT, add_region(log, 0, UINT64_C(1) << 32, NULL));
	SAYS("largest free piece");
	for (int round = 0; round < 50; round++) { /* what is freed is found again, and clean */
		OK(add_region(log, 0, UINT64_C(1) << 30, NULL));
		expect_count(vfd_log_consumer(log), 0, 0, 0);
		OK(vfd_mark_initial(vfd_log_consumer(log), &err));
		OK(merge_bits(log, 7, ~UINT64_C(0), VFD_REPORTED));
		REFUSED(VFD_ELIMIT, add_region(log, UINT64_C(1) << 40, UINT64_C(1) << 32, NULL));
		OK(vfd_region_remove(log, 0, VFD_DISCARD, &err));
		OK(vfd_consumer_add(log, NULL, &c, &err));
		OK(vfd_consumer_remove(&c, 0, &err));
	}
	int regions = 0;
	while (!add_region(log, (uint64_t)regions << 30, 1 << 20, NULL))
		regions++;
	ck_assert_int_gt(regions, 100);
	expect_count(vfd_log_consumer(log), 0, 0, 0);
	destroy(log);
	munmap(arena, size);
}
END_TEST

/* Nothing of it is a pointer: a second mapping of the same arena shows the same pages. */
START_TEST(an_arena_reads_the_same_elsewhere)
{
	const size_t size = 1 << 20;
	int fd = memfd_create("arena", 0);
	struct vfd_log_options o = { .struct_size = sizeof o, .arena_size = size };
	struct vfd_log *log, other;

	ck_assert(fd >= 0 && !ftruncate(fd, (off_t)size));
	o.arena = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	OK(vfd_log_create(&o, &log, &err));
	OK(add_region(log, 3 * PAGE, 256 * PAGE, memory));
	OK(mark_pages(log, 5, 30));
	OK(mark_pages(log, 100, 1));
	expect_count(vfd_log_consumer(log), 31, 0, 0);
	void *view = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	other = *log;
	other.base = (uintptr_t)view;
	other.super = view;
	struct vfd_count n;
	count_range(&other, 0, RANGE_ALL, &n);
	ck_assert_uint_eq(n.owed, 31);
	ck_assert_uint_eq(other.super->magic, LOG_MAGIC);
	munmap(view, size);
	destroy(log);
	ck_assert_uint_ne(((struct superblock *)o.arena)->magic, LOG_MAGIC);
	munmap(o.arena, size);
	close(fd);
}
END_TEST

/* ---- fork ---- */

#define CHILD(condition)                                                                                     \
	do {                                                                                                 \
		if (!(condition))                                                                            \
			_exit(__LINE__ % 250 + 1);                                                           \
	} while (0)

static void child(struct vfd_log *log, struct vfd_consumer *c, struct vfd_batch b)
{
	struct vfd_region r = { .struct_size = sizeof r };
	struct vfd_bitmap bitmap = { .struct_size = sizeof bitmap };
	struct log_source s = { VFD_SOFTWARE, VFD_WHY_NONE, 0, "child" };
	struct vfd_consumer *d = c;
	struct vfd_count count;
	struct vfd_run run;
	uint64_t address;
	size_t n;

	CHILD(vfd_log_destroy(&log, VFD_DISCARD, &err) == VFD_EFORKED);
	CHILD(vfd_log_page_size(log) == 0 && !vfd_log_consumer(log));
	CHILD(vfd_region_add(log, &r, &err) == VFD_EFORKED);
	CHILD(vfd_region_remove(log, 0, 0, &err) == VFD_EFORKED);
	CHILD(vfd_consumer_add(log, NULL, &d, &err) == VFD_EFORKED);
	CHILD(vfd_consumer_remove(&d, 0, &err) == VFD_EFORKED);
	CHILD(vfd_mark_initial(c, &err) == VFD_EFORKED);
	CHILD(vfd_log_mark(log, 3 * PAGE, 1, &err) == VFD_EFORKED);
	CHILD(vfd_log_merge(log, &bitmap, NULL, &err) == VFD_EFORKED);
	CHILD(vfd_consumer_count(c, 0, UINT64_MAX, &count, &err) == VFD_EFORKED);
	CHILD(vfd_consumer_causes(c, NULL, 0, &n, &err) == VFD_EFORKED);
	CHILD(vfd_take(c, 0, UINT64_MAX, 1, &b, &err) == VFD_EFORKED);
	CHILD(vfd_batch_runs(c, &b, &run, 1, &n, &err) == VFD_EFORKED);
	CHILD(vfd_commit(c, &b, 0, UINT64_MAX, &err) == VFD_EFORKED);
	CHILD(vfd_rollback(c, &b, 0, UINT64_MAX, &err) == VFD_EFORKED);
	CHILD(log_region_get(log, memory, 0, 1, &address, &err) == VFD_EFORKED);
	CHILD(log_mark(log, (struct range){ 3 * PAGE, 3 * PAGE }, &s) == 0);
	log_user_add(log);
	log_user_remove(log);
	log_region_put(log, 3 * PAGE);
	CHILD(!vfd_log_release(&log, &err) && !log);
	_exit(0);
}

/* The lock is held at the fork, as by another thread: no call in the child may wait for it. */
static void fork_with(struct vfd_log *log)
{
	struct vfd_consumer *c = vfd_log_consumer(log);
	int status;

	OK(mark_pages(log, 5, 2));
	struct vfd_batch b = take_all(c);
	REFUSED(VFD_ESTATE, vfd_log_release(&log, &err));
	gate_close(&log->gate);
	pid_t pid = fork();
	if (!pid) {
		alarm(10);
		child(log, c, b);
	}
	gate_open(&log->gate);
	ck_assert(waitpid(pid, &status, 0) == pid);
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "child ended with 0x%x", (unsigned)status);
	OK(vfd_commit(c, &b, 0, UINT64_MAX, &err));
	OK(vfd_log_destroy(&log, 0, &err));
}

START_TEST(a_child_may_only_release)
{
	const size_t size = 1 << 20;
	void *arena = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct vfd_log_options o = { .struct_size = sizeof o, .arena = arena, .arena_size = size };
	struct vfd_log *log;

	fork_with(simple_log());
	OK(vfd_log_create(&o, &log, &err));
	OK(add_region(log, 3 * PAGE, 256 * PAGE, memory));
	fork_with(log);
	munmap(arena, size);
}
END_TEST

/* ---- size ---- */

/* Bytes of the first consumer's planes that have a page, be it the zero page: reading counts. In a shared arena it would
 * cost memory. */
static uint64_t resident(const struct vfd_log *log)
{
	const struct region *r = region_table(log);
	char *first = (char *)(uintptr_t)(r->planes[0] & ~(uint64_t)(PAGE - 1));
	size_t pages = (size_t)planes_bytes(log, r) / PAGE + 1, sum = 0;
	unsigned char *in = malloc(pages);

	ck_assert(in && !mincore(first, pages * PAGE, in));
	for (size_t i = 0; i < pages; i++)
		sum += in[i] & 1;
	free(in);
	return sum * PAGE;
}

static struct vfd_log *huge_log(void)
{
	struct vfd_log_options o = { .struct_size = sizeof o, .flags = VFD_LOG_IDENTITY };
	struct vfd_log *log;

	OK(vfd_log_create(&o, &log, &err));
	OK(add_region(log, 0, UINT64_C(1) << 40, NULL));
	return log;
}

static void send_all(struct vfd_consumer *c, uint64_t pages)
{
	struct vfd_batch b = take_all(c);
	struct vfd_run run[100];
	uint64_t seen = 0;
	size_t n;

	ck_assert_uint_eq(b.pages, pages);
	do {
		OK(vfd_batch_runs(c, &b, run, 100, &n, &err));
		for (size_t i = 0; i < n; i++)
			seen += run[i].size / PAGE;
	} while (n);
	ck_assert_uint_eq(seen, pages);
	OK(vfd_commit(c, &b, 0, UINT64_MAX, &err));
}

START_TEST(a_clean_terabyte_is_small)
{
	struct vfd_log *log = huge_log();
	struct vfd_consumer *c = vfd_log_consumer(log);
	struct vfd_cause list[64];

	take_all(c);
	count_all(c);
	causes_of(log, list);
	ck_assert_msg(resident(log) <= 64 << 10, "%lu bytes", (long)resident(log));
	for (uint64_t i = 0; i < 1000; i++)
		OK(mark_pages(log, i * 268435, 1));
	send_all(c, 1000);
	ck_assert_msg(resident(log) <= 20 << 20, "%lu bytes after 1000 pages", (long)resident(log));
	OK(vfd_log_destroy(&log, 0, &err));
}
END_TEST

START_TEST(a_dirty_terabyte_is_below_100_mib)
{
	struct vfd_log *log = huge_log();
	struct vfd_consumer *c = vfd_log_consumer(log);

	OK(vfd_mark_initial(c, &err));
	send_all(c, UINT64_C(1) << 28);
	ck_assert_msg(resident(log) <= 100 << 20, "%lu bytes", (long)resident(log));
	OK(vfd_log_destroy(&log, 0, &err));
}
END_TEST

/* Half of them are in the list, half in the planes: in order, and none is lost at the seam. */
START_TEST(more_than_the_list_holds)
{
	enum { WORDS = 2 * LISTED };
	const uint64_t apart = 65536, seam = LISTED * apart * PAGE;
	struct vfd_log *log = huge_log();
	struct vfd_consumer *c = vfd_log_consumer(log);
	struct vfd_run run[WORDS];
	size_t n;

	for (uint64_t i = 0; i < WORDS; i++)
		OK(i % 2 ? mark_pages(log, i * apart, 1) : merge_bits(log, i * apart, 1, VFD_REPORTED));
	struct vfd_batch b = take_all(c);
	ck_assert_uint_eq(b.reported, WORDS / 2);
	ck_assert_uint_eq(consumer_record(log, 0)->list.pages, LISTED);
	OK(vfd_batch_runs(c, &b, run, WORDS, &n, &err));
	ck_assert_uint_eq(n, WORDS);
	for (uint64_t i = 0; i < WORDS; i++)
		ck_assert_uint_eq(run[i].address, i * apart * PAGE);
	OK(vfd_rollback(c, &b, seam - 10 * apart * PAGE, seam + 10 * apart * PAGE - 1, &err));
	expect_count(c, 20, 10, WORDS - 20);
	OK(vfd_commit(c, &b, 0, UINT64_MAX, &err));
	send_all(c, 20);
	OK(vfd_log_destroy(&log, 0, &err));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("log");
	TCase *tcase = tcase_create("log");

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, a_page_is_owed_until_committed);
	tcase_add_test(tcase, dirtied_again_stays_owed);
	tcase_add_test(tcase, reported_follows_the_page);
	tcase_add_test(tcase, destroy_says_how_much_is_owed);
	tcase_add_test(tcase, users_and_holds_keep_things);
	tcase_add_test(tcase, identity_goes_by_iova);
	tcase_add_test(tcase, full_chunks_are_counted);
	tcase_add_test(tcase, spans_exclude_and_shrink);
	tcase_add_test(tcase, no_more_than_256_batches);
	tcase_add_test(tcase, one_page_of_many_stripes);
	tcase_add_test(tcase, batches_of_another_log_are_foreign);
	tcase_add_test(tcase, discarding_a_region_resolves_batches_in_it);
	tcase_add_test(tcase, a_mark_is_seen_by_whoever_looks);
	tcase_add_test(tcase, a_mark_in_the_inbox_is_not_destroyed);
	tcase_add_test(tcase, a_mark_counts_as_owed_for_a_merge);
	tcase_add_test(tcase, a_mark_does_not_rely_on_another);
	tcase_add_test(tcase, marks_of_any_size);
	tcase_add_test(tcase, scratch_is_zeroed_but_what_is_shared);
	tcase_add_test(tcase, scratch_shared_by_two_regions);
	tcase_add_test(tcase, scratch_of_zeros_is_not_written);
	tcase_add_test(tcase, thousands_of_regions);
	tcase_add_test(tcase, causes_merge_and_go);
	tcase_add_test(tcase, a_cause_spans_all_that_is_taken);
	tcase_add_test(tcase, causes_are_bounded);
	tcase_add_test(tcase, initial_is_one_consumers);
	tcase_add_test(tcase, bad_create);
	tcase_add_test(tcase, struct_sizes);
	tcase_add_test(tcase, bad_regions);
	tcase_add_test(tcase, a_window_is_as_large_as_addresses);
	tcase_add_test(tcase, bad_marks);
	tcase_add_test(tcase, bad_bitmaps);
	tcase_add_test(tcase, bad_consumers);
	tcase_add_test(tcase, bad_batches);
	tcase_add_test(tcase, more_than_the_list_holds);
	tcase_add_test(tcase, a_full_arena_refuses_and_goes_on);
	tcase_add_test(tcase, an_arena_reads_the_same_elsewhere);
	suite_add_tcase(suite, tcase);
	tcase = tcase_create("resident memory");
	tcase_set_timeout(tcase, 60);
	tcase_set_tags(tcase, "populate"); /* what mincore(2) says */
	tcase_add_test(tcase, a_clean_terabyte_is_small);
	tcase_add_test(tcase, a_dirty_terabyte_is_below_100_mib);
	suite_add_tcase(suite, tcase);
	tcase = tcase_create("a child");
	tcase_set_tags(tcase, "wipeonfork");
	tcase_add_test(tcase, a_child_may_only_release);
	suite_add_tcase(suite, tcase);

	return run_all(suite);
}
