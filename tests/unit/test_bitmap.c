/* SPDX-License-Identifier: MIT */

/* Bitmap functions against an oracle that looks at one bit at a time: every offset, every length. Random ones, and those
 * that counters of 8, 16 or 32 bits are too small for, are in bitmap_random.c. */

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bitmap_oracle.h"

enum { OFFSETS = 192, LENGTHS = 400 };

/* ---- looking ---- */

START_TEST(looking_every_offset_and_length)
{
	for (uint64_t offset = 0; offset < OFFSETS; offset++)
		for (uint64_t length = 1; length <= LENGTHS; length++) {
			size_t n = (offset + length + 63) / 64;
			static uint64_t *room;
			if (!room)
				room = guarded(10);
			uint64_t *w = room + 10 - n;
			fill(w, n);
			if (!look_right(w, offset, offset + length - 1))
				ck_abort_msg("offset %lu length %lu", (long)offset, (long)length);
		}
}
END_TEST

/* A single set bit, a single clear bit: at every place, seen from every end */
START_TEST(looking_single)
{
	uint64_t w[4], found;

	for (uint64_t at = 0; at < 256; at++)
		for (uint64_t first = 0; first < 256; first++) {
			memset(w, 0, sizeof w);
			put(w, at, true);
			bool in = first <= at;
			ck_assert(bitmap_next(w, first, 255, &found) == in && (!in || found == at));
			in = at <= first;
			ck_assert(bitmap_prev(w, 0, first, &found) == in && (!in || found == at));
			memset(w, 0xff, sizeof w);
			put(w, at, false);
			struct bit_run run;
			if (!bitmap_next_run(w, first, 255, &run)) {
				ck_assert(at == 255 && first == 255);
				continue;
			}
			ck_assert(run.first == (first == at ? first + 1 : first));
			ck_assert(run.last == (at > first ? at - 1 : 255));
		}
}
END_TEST

/* ---- copying ---- */

START_TEST(get_every_offset)
{
	uint64_t *room = guarded(4);

	for (uint64_t offset = 0; offset < OFFSETS; offset++)
		for (unsigned n = 1; n <= 64; n++) {
			size_t words = (offset + n + 63) / 64;
			uint64_t *w = room + 4 - words;
			fill(w, words);
			ck_assert(bitmap_get(w, offset, n) == naive_get(w, offset, n));
		}
	unguard(room, 4);
}
END_TEST

START_TEST(extract_every_offset_and_length)
{
	for (uint64_t offset = 0; offset < OFFSETS; offset++)
		for (uint64_t length = 1; length <= LENGTHS; length++)
			for (int i = 0; i < 2; i++) {
				unsigned at = i ? (unsigned)(rnd() % 64) : 0;
				if (!extract_right(at, offset, length))
					ck_abort_msg("at %u offset %lu length %lu", at, (long)offset,
						     (long)length);
			}
}
END_TEST

START_TEST(extract_every_target)
{
	for (unsigned at = 0; at < 64; at++)
		for (uint64_t offset = 0; offset < 130; offset++)
			for (uint64_t length = 1; length < 140; length += 1 + rnd() % 3)
				if (!extract_right(at, offset, length))
					ck_abort_msg("at %u offset %lu length %lu", at, (long)offset,
						     (long)length);
}
END_TEST

/* ---- every table of kernels that this machine can run ---- */

/* Sources end at a page that cannot be read; they and what they are merged into begin at every distance from a vector's
 * alignment. */
static void kernels_once(const struct bitmap_ops *ops, uint64_t *room, size_t words, size_t n)
{
	uint64_t *src = room + words - n;

	fill(src, n);
	if (!merge_right(ops, src, n) || !and_not_right(ops, src, n) || !count_right(ops, src, n))
		ck_abort_msg("%s: %zu words", ops->name, n);
}

START_TEST(kernels_every_length)
{
	uint64_t *room = guarded(64);
	const struct bitmap_ops *ops;

	for (unsigned i = 0; (ops = bitmap_ops_at(i)); i++)
		for (int k = 0; k < 200; k++)
			for (size_t n = 0; n <= 64; n++)
				kernels_once(ops, room, 64, n);
	unguard(room, 64);
}
END_TEST

/* A bit in one word, in each word of any number of them: nobody looks past it. */
START_TEST(kernels_one_word)
{
	const struct bitmap_ops *ops;
	uint64_t w[64] = { 0 };

	for (unsigned i = 0; (ops = bitmap_ops_at(i)); i++)
		for (size_t n = 1; n <= 64; n++) {
			ck_assert_msg(!ops->nonzero(w, n), "%s: %zu words of 0", ops->name, n);
			for (size_t at = 0; at < n; at++) {
				w[at] = UINT64_C(1) << (at * 7 + n) % 64;
				uint64_t mask = ops->nonzero(w, n);
				w[at] = 0;
				ck_assert_msg(mask == UINT64_C(1) << at, "%s: word %zu of %zu: %#llx",
					      ops->name, at, n, (unsigned long long)mask);
			}
		}
}
END_TEST

/* The same in words: each shift, from 0 to 2 words on, to 400 bits and to a chunk */
START_TEST(kernels_extract_every_offset_and_length)
{
	uint64_t *room = guarded(70);
	const struct bitmap_ops *ops;

	for (unsigned i = 0; (ops = bitmap_ops_at(i)); i++)
		for (unsigned offset = 0; offset < OFFSETS; offset++)
			for (size_t n = 0; n <= 64; n += n < LENGTHS / 64 + 2 ? 1 : 1 + rnd() % 7) {
				size_t words = offset / 64 + n + (offset % 64 != 0);
				uint64_t *w = room + 70 - words;
				fill(w, words);
				if (!words_extract_right(ops, w + offset / 64, n, offset % 64))
					ck_abort_msg("%s: offset %u, %zu words", ops->name, offset, n);
			}
	unguard(room, 70);
}
END_TEST

START_TEST(runs_every_offset_and_length)
{
	static const size_t capacities[] = { 1, 2, 31, 32, 33, 40, 64, 65, 100, 400 };
	uint64_t *room = guarded(10);
	const struct bitmap_ops *ops;

	for (unsigned i = 0; (ops = bitmap_ops_at(i)); i++)
		for (uint64_t offset = 0; offset < OFFSETS; offset++)
			for (uint64_t length = 1; length <= LENGTHS; length++) {
				size_t n = (offset + length + 63) / 64, capacity = capacities[rnd() % 10];
				uint64_t *w = room + 10 - n;
				fill(w, n);
				if (!runs_right(ops, w, offset, offset + length - 1, capacity))
					ck_abort_msg("%s: offset %lu length %lu capacity %zu", ops->name,
						     (long)offset, (long)length, capacity);
			}
	unguard(room, 10);
}
END_TEST

/* Long enough for blocks of 64 words, at every distance from their borders */
START_TEST(runs_of_many_words)
{
	enum { MANY = 330 };
	uint64_t *w = guarded(MANY);
	const struct bitmap_ops *ops;

	for (unsigned i = 0; (ops = bitmap_ops_at(i)); i++)
		for (int k = 0; k < 600; k++) {
			uint64_t first = rnd() % (MANY * 64), last = first + rnd() % (MANY * 64 - first);
			fill(w, MANY);
			for (int gaps = k % 3; gaps; gaps--)
				memset(w + rnd() % 100, (int)(rnd() % 2 * 255), rnd() % 200 * 8);
			if (!runs_right(ops, w, first, last, 1 + rnd() % 400))
				ck_abort_msg("%s: case %d: %lu..%lu", ops->name, k, (long)first, (long)last);
		}
	unguard(w, MANY);
}
END_TEST

START_TEST(words)
{
	for (unsigned first = 0; first < 64; first++)
		for (unsigned last = first; last < 64; last++)
			for (unsigned i = 0; i < 64; i++)
				ck_assert((word_range(first, last) >> i & 1) == (i >= first && i <= last));
	for (int i = 0; i < 10000; i++) {
		uint64_t w = rnd() & (i & 1 ? rnd() : ~UINT64_C(0)), n = rnd() % 70, want = 0, left = n;
		for (unsigned k = 0; k < 64 && left; k++)
			if (w >> k & 1) {
				want |= UINT64_C(1) << k;
				left--;
			}
		ck_assert(word_lowest(w, n) == want);
		ck_assert(word_count(want) == (n < word_count(w) ? n : word_count(w)));
	}
	ck_assert(word_lowest(~UINT64_C(0), UINT64_MAX) == ~UINT64_C(0));
	ck_assert(word_first(UINT64_C(1) << 63) == 63 && word_last(1) == 0);
}
END_TEST

/* Check cannot skip. Its record of this program can say so, for unit.sh to read. */
static void note_skipped(const char *name)
{
	const char *tap = getenv("CK_TAP_LOG_FILE_NAME");
	FILE *record = tap ? fopen(tap, "a") : stdout;

	ck_assert_ptr_nonnull(record);
	fprintf(record, "ok 0 - bitmap:%s # SKIP no room in the address space\n", name);
	if (tap)
		fclose(record);
}

int main(void)
{
	Suite *suite = suite_create("bitmap");
	TCase *tcase = tcase_create("bitmap");

	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, looking_every_offset_and_length);
	tcase_add_test(tcase, looking_single);
	tcase_add_test(tcase, get_every_offset);
	tcase_add_test(tcase, extract_every_offset_and_length);
	tcase_add_test(tcase, extract_every_target);
	tcase_add_test(tcase, kernels_every_length);
	tcase_add_test(tcase, kernels_one_word);
	tcase_add_test(tcase, kernels_extract_every_offset_and_length);
	tcase_add_test(tcase, runs_every_offset_and_length);
	tcase_add_test(tcase, runs_of_many_words);
	tcase_add_test(tcase, words);
	suite_add_tcase(suite, tcase);
	const char *skipped = add_random_cases(suite);

	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	if (skipped)
		note_skipped(skipped);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
