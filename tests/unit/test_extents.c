/* SPDX-License-Identifier: MIT */

/* Free address space against an oracle: one byte per page, searched from the start. */

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "extents.h"
#include "random.h"

#include "../suite.h"

enum { PAGES = 1024, PAGE = 4096, MOST = 400 };

/* Two windows with a hole between them; the second ends at 2^64 - 1. */
static const struct range windows[] = {
	{ 0x10000, 0x10000 + 600 * (uint64_t)PAGE - 1 },
	{ UINT64_MAX - 300 * (uint64_t)PAGE + 1, UINT64_MAX },
};

static struct world {
	struct extents extents;
	bool is_free[PAGES];
	struct range taken[MOST];
	size_t count;
} w;

/* ck_assert() writes to a file each time, which is too slow for millions. */
#define MUST(what)                                                                                           \
	do {                                                                                                 \
		if (!(what))                                                                                 \
			ck_abort_msg("not so: " #what);                                                      \
	} while (0)

static uint64_t seed = 1;

static uint64_t rnd(uint64_t below)
{
	return xorshift(&seed) % below;
}

/* Page i of the world: the first 600 lie in the first window, then 100 that are in none, then the second window. */
static uint64_t page_address(size_t i)
{
	return i < 700 ? windows[0].first + i * (uint64_t)PAGE
		       : windows[1].first + (i - 700) * (uint64_t)PAGE;
}

static void world_begin(void)
{
	extents_end(&w.extents);
	memset(&w, 0, sizeof w);
	for (int i = 0; i < 2; i++)
		ck_assert(extents_add(&w.extents, windows[i]));
	for (size_t i = 0; i < 1000; i++)
		w.is_free[i] = i < 600 || i >= 700;
}

static void paint(struct range where, bool is_free)
{
	for (size_t i = 0; i < 1000; i++) {
		uint64_t at = page_address(i);
		if (where.first <= at && at <= where.last) {
			MUST(w.is_free[i] != is_free);
			w.is_free[i] = is_free;
		}
	}
}

static void note(struct range where)
{
	paint(where, false);
	w.taken[w.count++] = where;
}

/* The maximal run of free pages from page i on; its number of pages */
static size_t run(size_t i)
{
	size_t n = 0;

	while (i + n < 1000 && w.is_free[i + n])
		n++;
	return n;
}

static bool naive_place(struct range free_run, const struct extent_want *want, struct range *out)
{
	uint64_t first = max_u64(free_run.first, want->within.first);
	uint64_t last = min_u64(free_run.last, want->within.last);

	while ((first - want->offset) % want->align) {
		if (first > UINT64_MAX - 1)
			return false;
		first += PAGE - first % PAGE;
		if (!first)
			return false;
	}
	return range_make(out, first, want->size) && out->last <= last;
}

static bool naive_find(const struct extent_want *want, struct range *out)
{
	size_t best = SIZE_MAX, n;
	struct range place = { 0, 0 };

	for (size_t i = 0; i < 1000; i += n ? n : 1) {
		n = run(i);
		if (!n)
			continue;
		struct range all = { page_address(i), page_address(i + n - 1) + PAGE - 1 };
		if (!naive_place(all, want, &place) || (want->best && n >= best))
			continue;
		best = n;
		*out = place;
		if (!want->best)
			return true;
	}
	return best != SIZE_MAX;
}

static struct extent_want random_want(void)
{
	size_t a = rnd(1000), b = rnd(1000);
	struct extent_want want = {
		.size = (1 + rnd(rnd(4) ? 8 : 64)) * PAGE,
		.align = (uint64_t)PAGE << (rnd(2) ? 0 : rnd(6)),
		.within = RANGE_ALL,
		.best = rnd(2),
	};

	if (!rnd(3))
		want.offset = rnd(64) * PAGE & (want.align - 1);
	if (!rnd(3))
		want.within =
			(struct range){ page_address(a < b ? a : b), page_address(a < b ? b : a) + PAGE - 1 };
	return want;
}

static void find(void)
{
	struct extent_want want = random_want();
	struct range expected, got;
	bool there = naive_find(&want, &expected);

	MUST(extents_find(&w.extents, &want, &got) == (there ? EXTENTS_OK : EXTENTS_NONE));
	if (!there)
		return;
	MUST(got.first == (expected.first));
	MUST(got.last == (expected.last));
	note(got);
}

static void take(void)
{
	size_t i = rnd(1000), n = 1 + rnd(8);
	struct range where = { page_address(i), 0 };
	bool there = true;

	if (!range_make(&where, where.first, n * PAGE))
		return;
	for (size_t k = 0; k < n; k++)
		there &= i + k < 1000 && w.is_free[i + k] && page_address(i + k) == where.first + k * PAGE;
	MUST(extents_free(&w.extents, where) == there);
	MUST(extents_take(&w.extents, where) == (there ? EXTENTS_OK : EXTENTS_NONE));
	if (there)
		note(where);
}

static void give(void)
{
	if (!w.count)
		return;
	size_t i = rnd(w.count);
	struct range where = w.taken[i];
	w.taken[i] = w.taken[--w.count];
	extents_give(&w.extents, where);
	paint(where, true);
}

/* One of them becomes two, which are given back one by one. */
static void halve(void)
{
	struct range *one = w.count ? &w.taken[rnd(w.count)] : NULL;
	uint64_t pages = one ? range_size(*one) / PAGE : 0;

	if (pages < 2 || w.count == MOST)
		return;
	MUST(extents_split(&w.extents, 1));
	uint64_t middle = one->first + pages / 2 * PAGE;
	w.taken[w.count++] = (struct range){ middle, one->last };
	one->last = middle - 1;
}

static void check_all(void)
{
	struct range got = { 0, 0 };
	uint64_t at = 0;
	size_t n, longest = 0;

	for (size_t i = 0; i < 1000; i += n ? n : 1) {
		n = run(i);
		if (!n)
			continue;
		longest = n > longest ? n : longest;
		MUST(extents_next(&w.extents, at, &got));
		MUST(got.first == (page_address(i)));
		MUST(got.last == (page_address(i + n - 1) + PAGE - 1));
		at = got.last + 1;
	}
	MUST(extents_longest(&w.extents, &got) == (longest > 0));
	if (longest)
		MUST(range_size(got) == (longest * PAGE));
}

static size_t operations(void)
{
	const char *text = getenv("VFD_OPERATIONS");

	return text ? strtoul(text, NULL, 0) : 200000;
}

START_TEST(as_the_oracle_says)
{
	world_begin();
	for (size_t i = 0; i < operations(); i++) {
		uint64_t what = rnd(16), pressure = i / 2000 % 2 ? 10 : 6;
		if (what >= pressure || w.count == MOST)
			give();
		else if (!rnd(16))
			halve();
		else if (what % 3)
			find();
		else
			take();
		if (i % 512 == 0)
			check_all();
	}
	while (w.count)
		give();
	check_all();
	for (int i = 0; i < 2; i++)
		ck_assert(extents_free(&w.extents, windows[i]));
	ck_assert_uint_eq(w.extents.count, 2);
	extents_end(&w.extents);
}
END_TEST

START_TEST(all_of_2_to_64)
{
	struct extents x = { 0 };
	struct extent_want want = { .size = UINT64_C(1) << 63, .align = PAGE, .within = RANGE_ALL };
	struct range got;

	ck_assert(extents_add(&x, RANGE_ALL));
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(extents_find(&x, &want, &got), EXTENTS_OK);
	ck_assert_uint_eq(got.last, UINT64_MAX);
	ck_assert_int_eq(extents_find(&x, &want, &got), EXTENTS_NONE);
	ck_assert(!extents_longest(&x, &got));
	ck_assert(!extents_next(&x, 0, &got));
	extents_give(&x, got);
	extents_give(&x, (struct range){ 0, UINT64_MAX / 2 });
	ck_assert(extents_free(&x, RANGE_ALL));
	extents_end(&x);
}
END_TEST

/* Giving back in the order that needs the most pieces */
START_TEST(giving_back_needs_no_memory)
{
	enum { N = 5000 };
	struct extents x = { 0 };
	struct extent_want want = { .size = PAGE, .align = PAGE, .within = RANGE_ALL };
	struct range got;

	ck_assert(extents_add(&x, (struct range){ 0, N * (uint64_t)PAGE - 1 }));
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(extents_find(&x, &want, &got), EXTENTS_OK);
	const struct chunk *chunks = x.chunks;
	for (uint64_t start = 0; start < 2; start++)
		for (uint64_t i = start; i < N; i += 2)
			extents_give(&x, (struct range){ i * PAGE, i * PAGE + PAGE - 1 });
	ck_assert_ptr_eq(x.chunks, chunks);
	ck_assert_uint_eq(x.count, 1);
	extents_end(&x);
}
END_TEST

/* So does one range that became many. */
START_TEST(pieces_need_no_memory)
{
	enum { N = 5000 };
	struct extents x = { 0 };
	struct extent_want want = { .size = N * (uint64_t)PAGE, .align = PAGE, .within = RANGE_ALL };
	struct range got;

	ck_assert(extents_add(&x, (struct range){ 0, N * (uint64_t)PAGE - 1 }));
	ck_assert_int_eq(extents_find(&x, &want, &got), EXTENTS_OK);
	ck_assert(extents_split(&x, N - 1));
	for (uint64_t start = 0; start < 2; start++)
		for (uint64_t i = start; i < N; i += 2)
			extents_give(&x, (struct range){ i * PAGE, i * PAGE + PAGE - 1 });
	ck_assert_uint_eq(x.count, 1);
	ck_assert_uint_eq(x.taken, 0);
	extents_end(&x);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("extents");
	TCase *tcase = tcase_create("extents");

	tcase_set_timeout(tcase, 600);
	tcase_add_test(tcase, as_the_oracle_says);
	tcase_add_test(tcase, all_of_2_to_64);
	tcase_add_test(tcase, giving_back_needs_no_memory);
	tcase_add_test(tcase, pieces_need_no_memory);
	suite_add_tcase(suite, tcase);
	return run_all(suite);
}
