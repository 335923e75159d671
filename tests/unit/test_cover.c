/* SPDX-License-Identifier: MIT */

/* Plans against two oracles by dynamic programming: one knows units of address space and nothing of gaps, the other knows clusters and
 * is fast enough for some hundred ranges. The least excess is asked for, to the byte. */

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cover.h"
#include "random.h"

#include "../suite.h"

enum { UNITS = 64, ALIGN = 16, SOME = 300, FEW = 40, MANY = 65535 };

#define IMPOSSIBLE UINT64_MAX

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

/* ---- what is asked for, and what comes of it ---- */

static struct asked {
	struct range ranges[MANY];
	size_t count;
	uint64_t bytes;
} asked;

static struct range out[MANY];

static void ask(uint64_t first, uint64_t last)
{
	asked.ranges[asked.count++] = (struct range){ first, last };
	asked.bytes += last - first + 1;
}

static void ask_nothing(void)
{
	asked.count = 0;
	asked.bytes = 0;
}

static void begin(struct cover *c)
{
	ck_assert(cover_begin(c, asked.count));
	for (size_t i = 0; i < asked.count; i++)
		MUST(cover_add(c, asked.ranges[i]));
}

/* Ascending, aligned, none too long, and the excess is what the answer says. */
static void check_form(const struct cover_limits *limits, const struct cover_answer *answer)
{
	uint64_t bytes = 0;

	MUST(answer->fewest <= answer->count && answer->count <= limits->most);
	for (size_t i = 0; i < answer->count; i++) {
		MUST(out[i].first <= out[i].last);
		MUST(!i || out[i - 1].last < out[i].first);
		MUST(is_aligned(out[i].first, limits->align) && is_aligned(out[i].last + 1, limits->align));
		MUST(!limits->length || out[i].last - out[i].first <= limits->length - 1);
		bytes += range_size(out[i]);
	}
	MUST(answer->excess == bytes - asked.bytes);
}

/* All that was asked for lies in them; ranges that touch may share one that was. */
static void check_covered(const struct cover_answer *answer)
{
	size_t at = 0;

	for (size_t i = 0; i < asked.count; i++) {
		struct range rest = asked.ranges[i];
		while (at < answer->count && out[at].last < rest.first)
			at++;
		for (; at < answer->count && out[at].last < rest.last; at++) {
			MUST(out[at].first <= rest.first);
			rest.first = out[at].last + 1;
		}
		MUST(at < answer->count && out[at].first <= rest.first);
	}
}

/* Excess, or IMPOSSIBLE */
static uint64_t plan(struct cover *c, struct cover_limits limits, struct cover_answer *answer)
{
	enum cover_result result = cover_plan(c, &limits, out, answer);

	MUST(result == COVER_OK || result == COVER_IMPOSSIBLE);
	if (result == COVER_IMPOSSIBLE) {
		MUST(!answer->count && (answer->fewest > limits.most || limits.length < limits.align));
		return IMPOSSIBLE;
	}
	check_form(&limits, answer);
	check_covered(answer);
	return answer->excess;
}

/* ---- the first oracle: UNITS of ALIGN bytes each ---- */

static bool wanted[UNITS];
static uint64_t units[UNITS + 1]
		     [UNITS + 1]; /* [ranges][below this unit]: the fewest units that are not wanted */

static void unit_oracle(size_t longest)
{
	memset(units, 0xff, sizeof units);
	for (size_t k = 0; k <= UNITS; k++) {
		units[k][0] = 0;
		for (size_t end = 1; end <= UNITS; end++) {
			uint64_t best = wanted[end - 1] ? IMPOSSIBLE : units[k][end - 1];
			for (size_t n = 1, vain = 0; k && n <= end && n <= longest; n++) {
				vain += !wanted[end - n];
				if (units[k - 1][end - n] != IMPOSSIBLE)
					best = min_u64(best, units[k - 1][end - n] + vain);
			}
			units[k][end] = best;
		}
	}
}

/* Ranges of some bytes in the units from `base`, some of them touching */
static void ask_units(uint64_t base, uint64_t density, uint64_t longest)
{
	uint64_t at, size = UNITS * ALIGN;

	ask_nothing();
	memset(wanted, 0, sizeof wanted);
	for (at = rnd(density); at < size; at += rnd(8) ? rnd(density) : 0) {
		uint64_t last = min_u64(at + rnd(longest), size - 1);
		ask(base + at, base + last);
		for (uint64_t i = at / ALIGN; i <= last / ALIGN; i++)
			wanted[i] = true;
		at = last + 1;
	}
}

static void compare_units(size_t longest)
{
	uint64_t rounding = 0;
	struct cover_answer answer;
	struct cover c;

	for (size_t i = 0; i < UNITS; i++)
		rounding += wanted[i] * ALIGN;
	rounding -= asked.bytes;
	unit_oracle(longest ? longest : UNITS);
	begin(&c);
	for (size_t k = 0; k <= UNITS; k++) {
		struct cover_limits limits = { k, ALIGN, longest * ALIGN + (longest ? rnd(ALIGN) : 0) };
		uint64_t best = units[k][UNITS];
		MUST(plan(&c, limits, &answer) ==
		     (best == IMPOSSIBLE ? IMPOSSIBLE : best * ALIGN + rounding));
		MUST(answer.fewest > UNITS || units[answer.fewest][UNITS] != IMPOSSIBLE);
		MUST(!answer.fewest || units[answer.fewest - 1][UNITS] == IMPOSSIBLE);
	}
	cover_end(&c);
}

static size_t rounds(size_t usual)
{
	const char *text = getenv("VFD_OPERATIONS");

	return text ? strtoul(text, NULL, 0) / 100 : usual;
}

START_TEST(by_units)
{
	static const uint64_t bases[] = { 0, UINT64_C(1) << 40, UINT64_MAX - UNITS * ALIGN + 1 };

	for (size_t i = 0; i < rounds(600); i++) {
		ask_units(bases[rnd(3)], 2 + rnd(8 * ALIGN), 1 + rnd(8 * ALIGN));
		compare_units(rnd(3) ? 1 + rnd(rnd(2) ? 6 : UNITS) : 0);
	}
}
END_TEST

/* ---- the second: clusters ---- */

/* [ranges][below this one]: the least gaps covered. The ranges are aligned and do not touch. */
static uint64_t clusters[SOME + 1][SOME + 1];

static uint64_t cluster_oracle(size_t most, uint64_t length)
{
	for (size_t k = 0; k <= most; k++) {
		clusters[k][0] = 0;
		for (size_t end = 1; end <= asked.count; end++) {
			uint64_t best = IMPOSSIBLE, gaps = 0;
			for (size_t i = end; i-- > 0;) {
				uint64_t size = asked.ranges[end - 1].last - asked.ranges[i].first + 1;
				uint64_t n = length ? (size + length - 1) / length : 1;
				if (n > k)
					break;
				if (clusters[k - n][i] != IMPOSSIBLE)
					best = min_u64(best, clusters[k - n][i] + gaps);
				gaps += i ? asked.ranges[i].first - asked.ranges[i - 1].last - 1 : 0;
			}
			clusters[k][end] = best;
		}
	}
	return clusters[most][asked.count];
}

/* Sizes and gaps by different laws */
enum law { EQUAL, UNIFORM, TWO, EXPONENTIAL, FALLING, RISING, LAWS };

static uint64_t by_law(enum law law, size_t i, uint64_t scale)
{
	switch (law) {
	case EQUAL:
		return scale;
	case UNIFORM:
		return 1 + rnd(scale);
	case TWO:
		return rnd(2) ? 1 : scale;
	case EXPONENTIAL:
		return UINT64_C(1) << rnd(40);
	case FALLING:
		return 1 + scale - min_u64(scale, i % 16 * (scale / 16));
	default:
		return 1 + i % 16 * (scale / 16);
	}
}

static void ask_by_law(size_t count, enum law sizes, enum law gaps, uint64_t align)
{
	uint64_t at = 0, size_scale = 1 + rnd(1000), gap_scale = 1 + rnd(1000);

	ask_nothing();
	for (size_t i = 0; i < count; i++) {
		uint64_t size = by_law(sizes, i, size_scale) * align;
		ask(at, at + size - 1);
		at += size + by_law(gaps, i, gap_scale) * align;
	}
}

START_TEST(by_clusters)
{
	for (size_t i = 0; i < rounds(600); i++) {
		uint64_t align = UINT64_C(2) << rnd(16);
		size_t most = 1 + rnd(FEW);
		struct cover_answer answer;
		struct cover c;

		ask_by_law(1 + rnd(SOME), (enum law)rnd(LAWS), (enum law)rnd(LAWS), align);
		uint64_t all = asked.ranges[asked.count - 1].last + 1;
		uint64_t length = rnd(4) ? (1 + all / align / most * (4 + rnd(12)) / 8) * align : 0;
		begin(&c);
		MUST(plan(&c, (struct cover_limits){ most, align, length }, &answer) ==
		     cluster_oracle(most, length));
		cover_end(&c);
	}
}
END_TEST

/* ---- many ---- */

static int descending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x < y) - (x > y);
}

/* Without a limit of length the greatest gaps are left out. */
static uint64_t all_but_greatest(size_t left_out)
{
	static uint64_t gaps[MANY];
	uint64_t sum = 0;

	for (size_t i = 1; i < asked.count; i++)
		gaps[i - 1] = asked.ranges[i].first - asked.ranges[i - 1].last - 1;
	qsort(gaps, asked.count - 1, sizeof *gaps, descending);
	for (size_t i = left_out; i < asked.count - 1; i++)
		sum += gaps[i];
	return sum;
}

START_TEST(many)
{
	for (enum law law = EQUAL; law < LAWS; law++) {
		struct cover_answer answer;
		struct cover c;

		ask_by_law(MANY, UNIFORM, law, 4096);
		begin(&c);
		ck_assert_uint_eq(plan(&c, (struct cover_limits){ 256, 4096, 0 }, &answer),
				  all_but_greatest(255));
		ck_assert_uint_eq(answer.count, 256);
		ck_assert_uint_eq(answer.fewest, 1);
		uint64_t length = asked.ranges[MANY - 1].last / 200 & ~UINT64_C(4095);
		uint64_t limited = plan(&c, (struct cover_limits){ 256, 4096, length }, &answer);
		ck_assert(limited != IMPOSSIBLE && limited >= all_but_greatest(255));
		cover_end(&c);
	}
}
END_TEST

/* ---- edges ---- */

START_TEST(all_of_2_to_64)
{
	struct cover_answer answer;
	struct cover c;

	ask_nothing();
	ask(0, UINT64_MAX);
	begin(&c);
	ck_assert_uint_eq(plan(&c, (struct cover_limits){ 9, 4096, 0 }, &answer), 0);
	ck_assert_uint_eq(answer.count, 1);
	ck_assert_uint_eq(plan(&c, (struct cover_limits){ 2, 4096, UINT64_C(1) << 63 }, &answer), 0);
	ck_assert_uint_eq(answer.count, 2);
	ck_assert_uint_eq(plan(&c, (struct cover_limits){ 1, 4096, UINT64_C(1) << 63 }, &answer), IMPOSSIBLE);
	ck_assert_uint_eq(answer.fewest, 2);
	ck_assert_uint_eq(plan(&c, (struct cover_limits){ 1000, 2, 3 }, &answer), IMPOSSIBLE);
	ck_assert_uint_eq(answer.fewest, UINT64_C(1) << 63);
	cover_end(&c);
}
END_TEST

START_TEST(its_ends_alone)
{
	struct cover_answer answer;
	struct cover c;

	ask_nothing();
	ask(0, 0);
	ask(UINT64_MAX, UINT64_MAX);
	begin(&c);
	ck_assert_uint_eq(plan(&c, (struct cover_limits){ 2, 2, 0 }, &answer), 2);
	ck_assert_uint_eq(plan(&c, (struct cover_limits){ 1, 2, 0 }, &answer), UINT64_MAX - 1);
	ck_assert_uint_eq(plan(&c, (struct cover_limits){ 1, 2, UINT64_MAX }, &answer), IMPOSSIBLE);
	ck_assert_uint_eq(plan(&c, (struct cover_limits){ 2, 4096, 4096 }, &answer), 8190);
	ck_assert_uint_eq(out[1].last, UINT64_MAX);
	/* Halves that touch */
	ck_assert_uint_eq(plan(&c, (struct cover_limits){ 2, UINT64_C(1) << 63, 0 }, &answer),
			  UINT64_MAX - 1);
	ck_assert_uint_eq(answer.count, 1);
	cover_end(&c);
}
END_TEST

/* A device that was not content is asked again: fewer, coarser, shorter. */
START_TEST(plans_again)
{
	struct cover_answer answer;
	struct cover c;

	ask_nothing();
	for (uint64_t i = 0; i < 100; i++)
		ask(i * 0x10000, i * 0x10000 + 0xfff);
	begin(&c);
	ck_assert_uint_eq(plan(&c, (struct cover_limits){ 100, 0x1000, 0 }, &answer), 0);
	ck_assert_uint_eq(plan(&c, (struct cover_limits){ 10, 0x1000, 0 }, &answer), 90 * 0xf000);
	ck_assert_uint_eq(plan(&c, (struct cover_limits){ 10, 0x1000, 0x91000 }, &answer), 90 * 0xf000);
	ck_assert_uint_eq(plan(&c, (struct cover_limits){ 10, 0x1000, 0x90fff }, &answer), IMPOSSIBLE);
	ck_assert_uint_eq(answer.fewest, 12);
	ck_assert_uint_eq(plan(&c, (struct cover_limits){ 100, 0x2000, 0 }, &answer), 100 * 0x1000);
	ck_assert_uint_eq(plan(&c, (struct cover_limits){ 100, 0x10000, 0 }, &answer), 100 * 0xf000);
	ck_assert_uint_eq(answer.count, 1);
	ck_assert_uint_eq(plan(&c, (struct cover_limits){ 100, 0x1000, 0x10000 }, &answer), 100 * 0xf000);
	ck_assert_uint_eq(answer.count, 100);
	cover_end(&c);
}
END_TEST

START_TEST(bad_ranges)
{
	struct cover_answer answer;
	struct cover c;

	ck_assert(cover_begin(&c, 3));
	ck_assert(cover_add(&c, (struct range){ 100, 199 }));
	ck_assert(!cover_add(&c, (struct range){ 300, 299 }));
	ck_assert(!cover_add(&c, (struct range){ 199, 200 }));
	ck_assert(!cover_add(&c, (struct range){ 0, 50 }));
	ck_assert(cover_add(&c, (struct range){ 200, 299 }));
	ck_assert(cover_add(&c, (struct range){ 400, 499 }));
	ck_assert(cover_add(&c, (struct range){ 1000, 1999 }));
	ck_assert(!cover_add(&c, (struct range){ 3000, 3999 }));
	/* What was refused left nothing behind. */
	ck_assert_int_eq(cover_plan(&c, &(struct cover_limits){ 3, 4, 0 }, out, &answer), COVER_OK);
	ck_assert_uint_eq(answer.excess, 0);
	ck_assert_uint_eq(answer.count, 3);
	cover_end(&c);
}
END_TEST

START_TEST(bad_limits)
{
	static const struct cover_limits limits[] = { { 3, 0, 0 }, { 3, 1, 0 }, { 3, 3, 0 }, { 3, 4097, 0 } };
	struct cover_answer answer;
	struct cover c;

	ask_nothing();
	ask(0, 99);
	begin(&c);
	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
		ck_assert_int_eq(cover_plan(&c, &limits[i], out, &answer), COVER_INVALID);
	ck_assert_uint_eq(plan(&c, (struct cover_limits){ 0, 4, 0 }, &answer), IMPOSSIBLE);
	ck_assert_uint_eq(answer.fewest, 1);
	ck_assert_uint_eq(plan(&c, (struct cover_limits){ 100, 4, 3 }, &answer), IMPOSSIBLE);
	ck_assert_uint_eq(plan(&c, (struct cover_limits){ SIZE_MAX, 4, 5 }, &answer), 0);
	ck_assert_uint_eq(answer.count, 25);
	cover_end(&c);
}
END_TEST

START_TEST(nothing)
{
	struct cover_answer answer;
	struct cover c;

	ask_nothing();
	begin(&c);
	ck_assert(!cover_add(&c, (struct range){ 0, 0 }));
	ck_assert_uint_eq(plan(&c, (struct cover_limits){ 0, 4096, 0 }, &answer), 0);
	ck_assert_uint_eq(answer.count, 0);
	cover_end(&c);
}
END_TEST

/* ---- no memory ---- */

static int calls_left = -1; /* of calloc() until it fails once; -1: never */

void *__wrap_calloc(size_t count, size_t size);
void *__real_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
	return calls_left >= 0 && !calls_left-- ? NULL : __real_calloc(count, size);
}

START_TEST(no_memory)
{
	struct cover c;

	for (int i = 0; i < 2; i++) {
		calls_left = i;
		ck_assert(!cover_begin(&c, 100));
		ck_assert_int_eq(calls_left, -1);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cover");
	TCase *tcase = tcase_create("cover");

	tcase_set_timeout(tcase, 600);
	tcase_add_test(tcase, by_units);
	tcase_add_test(tcase, by_clusters);
	tcase_add_test(tcase, many);
	tcase_add_test(tcase, all_of_2_to_64);
	tcase_add_test(tcase, its_ends_alone);
	tcase_add_test(tcase, plans_again);
	tcase_add_test(tcase, bad_ranges);
	tcase_add_test(tcase, bad_limits);
	tcase_add_test(tcase, nothing);
	tcase_add_test(tcase, no_memory);
	suite_add_tcase(suite, tcase);
	return run_all(suite);
}
