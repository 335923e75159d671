/* SPDX-License-Identifier: MIT */

/* Bitmap functions against an oracle that looks at one bit at a time. Bitmaps end where an unmapped page
 * begins, and begin where one ends, so that a read too far is a crash. */

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bitmap.h"

enum { PAGE = 4096, OFFSETS = 192, LENGTHS = 400 };

static uint64_t seed = 1;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* `words` words that end exactly at a page that cannot be read; the page before them cannot either if they
 * fill one */
static uint64_t *guarded(size_t words)
{
	size_t bytes = words * 8, body = (bytes + PAGE - 1) / PAGE * PAGE;
	char *m = mmap(NULL, body + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert(m != MAP_FAILED);
	ck_assert(!mprotect(m + PAGE, body, PROT_READ | PROT_WRITE));
	return (uint64_t *)(void *)(m + PAGE + body - bytes);
}

static void unguard(uint64_t *words, size_t n)
{
	size_t bytes = n * 8, body = (bytes + PAGE - 1) / PAGE * PAGE;

	munmap((char *)words + bytes - body - PAGE, body + 2 * PAGE);
}

static bool bit(const uint64_t *w, uint64_t i)
{
	return w[i / 64] >> (i % 64) & 1;
}

static void put(uint64_t *w, uint64_t i, bool v)
{
	w[i / 64] = (w[i / 64] & ~(UINT64_C(1) << i % 64)) | (uint64_t)v << i % 64;
}

/* Random words of every density, with long runs and long gaps among them */
static void fill(uint64_t *w, size_t n)
{
	unsigned kind = (unsigned)(rnd() % 6);

	for (size_t i = 0; i < n; i++) {
		uint64_t r = rnd();
		switch (kind) {
		case 0:
			w[i] = 0;
			break;
		case 1:
			w[i] = ~UINT64_C(0);
			break;
		case 2:
			w[i] = r;
			break;
		case 3:
			w[i] = r & rnd() & rnd() & rnd();
			break;
		case 4:
			w[i] = r | rnd() | rnd() | rnd();
			break;
		default:
			w[i] = r % 3 ? r % 3 == 1 ? 0 : ~UINT64_C(0) : r << r % 64;
		}
	}
}

static uint64_t naive_get(const uint64_t *w, uint64_t first, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v |= (uint64_t)bit(w, first + i) << i;
	return v;
}

static uint64_t naive_count(const uint64_t *w, uint64_t first, uint64_t last)
{
	uint64_t n = 0;

	for (uint64_t i = first; i <= last; i++)
		n += bit(w, i);
	return n;
}

static bool naive_next(const uint64_t *w, uint64_t first, uint64_t last, uint64_t *found)
{
	for (uint64_t i = first; i <= last; i++)
		if (bit(w, i)) {
			*found = i;
			return true;
		}
	return false;
}

static bool naive_prev(const uint64_t *w, uint64_t first, uint64_t last, uint64_t *found)
{
	for (uint64_t i = last + 1; i-- > first;)
		if (bit(w, i)) {
			*found = i;
			return true;
		}
	return false;
}

static bool naive_run(const uint64_t *w, uint64_t first, uint64_t last, struct bit_run *run)
{
	if (!naive_next(w, first, last, &run->first))
		return false;
	for (run->last = run->first; run->last < last && bit(w, run->last + 1); run->last++)
		;
	return true;
}

/* ---- looking ---- */

static bool look_right(const uint64_t *w, uint64_t first, uint64_t last)
{
	uint64_t a = 7, b = 7;
	struct bit_run r = { 7, 7 }, s = { 7, 7 };
	bool any = naive_next(w, first, last, &a);

	if (bitmap_next(w, first, last, &b) != any || a != b || bitmap_any(w, first, last) != any)
		return false;
	if (bitmap_prev(w, first, last, &b) != naive_prev(w, first, last, &a) || a != b)
		return false;
	if (bitmap_next_run(w, first, last, &r) != naive_run(w, first, last, &s) || r.first != s.first ||
	    r.last != s.last)
		return false;
	return bitmap_count(w, first, last) == naive_count(w, first, last);
}

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

START_TEST(looking_random)
{
	uint64_t *w = guarded(40);

	for (int i = 0; i < 300000; i++) {
		uint64_t first = rnd() % (40 * 64), last = first + rnd() % (40 * 64 - first);
		if (i % 50 == 0)
			fill(w, 40);
		if (!look_right(w, first, last))
			ck_abort_msg("case %d: %lu..%lu", i, (long)first, (long)last);
	}
	unguard(w, 40);
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

static bool extract_right(unsigned at, uint64_t offset, uint64_t length)
{
	static uint64_t *source, *target;
	size_t from = (offset + length + 63) / 64, to = (at + length + 63) / 64;

	if (!source) {
		source = guarded(12);
		target = guarded(12);
	}
	uint64_t *src = source + 12 - from, *dst = target + 12 - to;
	fill(src, from);
	memset(dst, 0xa5, to * 8);
	bitmap_extract(dst, at, src, offset, length);
	for (uint64_t i = 0; i < to * 64; i++) {
		bool want = i >= at && i < at + length && bit(src, offset + i - at);
		if (bit(dst, i) != want)
			return false;
	}
	return true;
}

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

/* ---- writing ---- */

START_TEST(set_and_clear_every_offset_and_length)
{
	uint64_t *room = guarded(10), before[10];

	for (uint64_t offset = 0; offset < OFFSETS; offset++)
		for (uint64_t length = 1; length <= LENGTHS; length++) {
			size_t n = (offset + length + 63) / 64;
			uint64_t *w = room + 10 - n;
			bool value = rnd() & 1;
			fill(w, n);
			memcpy(before, w, n * 8);
			(value ? bitmap_set : bitmap_clear)(w, offset, offset + length - 1);
			for (uint64_t i = 0; i < n * 64; i++)
				if (bit(w, i) !=
				    (i >= offset && i < offset + length ? value : bit(before, i)))
					ck_abort_msg("offset %lu length %lu bit %lu", (long)offset,
						     (long)length, (long)i);
		}
	unguard(room, 10);
}
END_TEST

/* ---- whole words ---- */

static bool or_right(size_t n)
{
	uint64_t dst[70], other[70], src[70], d[70], o[70], fresh = 0;

	fill(dst, n);
	fill(other, n);
	fill(src, n);
	memcpy(d, dst, sizeof d);
	memcpy(o, other, sizeof o);
	for (size_t i = 0; i < n; i++)
		fresh += (uint64_t)__builtin_popcountll(src[i] & ~d[i]);
	if (bitmap_or_count_clear(d, o, src, n) != fresh)
		return false;
	for (size_t i = 0; i < n; i++)
		if (d[i] != (dst[i] | src[i]) || o[i] != (other[i] & ~(src[i] & ~dst[i])))
			return false;
	memcpy(o, dst, sizeof o);
	if (bitmap_or_count(o, src, n) != fresh || memcmp(o, d, n * 8))
		return false;
	bitmap_or(dst, src, n);
	return !memcmp(dst, d, n * 8);
}

START_TEST(or_kernels)
{
	for (int i = 0; i < 100000; i++)
		if (!or_right(1 + rnd() % 70))
			ck_abort_msg("case %d", i);
}
END_TEST

START_TEST(nonzero_words)
{
	uint64_t *w = guarded(64);

	for (int i = 0; i < 20000; i++) {
		size_t n = rnd() % 65;
		fill(w + 64 - n, n);
		uint64_t want = 0, got = bitmap_nonzero(w + 64 - n, n);
		for (size_t k = 0; k < n; k++)
			want |= (uint64_t)(w[64 - n + k] != 0) << k;
		ck_assert(got == want);
	}
	unguard(w, 64);
}
END_TEST

/* ---- every table of kernels that this machine can run ---- */

struct merged {
	uint64_t mask, fresh, dst[66], other[66];
};

enum merge_kind { MERGE, MERGE_SET, MERGE_CLEAR, MERGE_KINDS };

static struct merged naive_merge(enum merge_kind kind, const struct merged *from, const uint64_t *src,
				 size_t n)
{
	struct merged m = *from;

	for (uint64_t i = 0; i < n * 64; i++) {
		bool is = bit(src, i), was = bit(m.dst, i);
		m.mask |= (uint64_t)is << i / 64;
		m.fresh += is && !was;
		put(m.dst, i, is || was);
		if (kind == MERGE_SET && is)
			put(m.other, i, true);
		if (kind == MERGE_CLEAR && is && !was)
			put(m.other, i, false);
	}
	return m;
}

static struct merged ops_merge(const struct bitmap_ops *ops, enum merge_kind kind, const struct merged *from,
			       const uint64_t *src, size_t n)
{
	struct merged m = *from;

	switch (kind) {
	case MERGE:
		m.mask = ops->merge(m.dst, src, n, &m.fresh);
		break;
	case MERGE_SET:
		m.mask = ops->merge_set(m.dst, m.other, src, n, &m.fresh);
		break;
	default:
		m.mask = ops->merge_clear(m.dst, m.other, src, n, &m.fresh);
	}
	return m;
}

static bool merge_right(const struct bitmap_ops *ops, const uint64_t *src, size_t n)
{
	struct merged from = { .fresh = rnd() };

	fill(from.dst, 66);
	fill(from.other, 66);
	for (enum merge_kind kind = 0; kind < MERGE_KINDS; kind++) {
		struct merged want = naive_merge(kind, &from, src, n),
			      got = ops_merge(ops, kind, &from, src, n);
		if (memcmp(&want, &got, sizeof want))
			return false;
	}
	return ops->nonzero(src, n) == naive_merge(MERGE, &from, src, n).mask;
}

static bool and_not_right(const struct bitmap_ops *ops, const uint64_t *src, size_t n)
{
	uint64_t want[66], got[66];

	fill(want, 66);
	memcpy(got, want, sizeof got);
	ops->and_not(got, src, n);
	for (uint64_t i = 0; i < n * 64; i++)
		put(want, i, bit(want, i) && !bit(src, i));
	return !memcmp(want, got, sizeof got);
}

static bool ops_extract_right(const struct bitmap_ops *ops, const uint64_t *src, size_t n, unsigned shift)
{
	uint64_t want[66], got[66];

	fill(want, 66);
	memcpy(got, want, sizeof got);
	ops->extract(got, src, shift, n);
	for (uint64_t i = 0; i < n * 64; i++)
		put(want, i, bit(src, shift + i));
	return !memcmp(want, got, sizeof got);
}

/* Sources end at a page that cannot be read. */
static void kernels_once(const struct bitmap_ops *ops, uint64_t *room, size_t words, size_t n)
{
	unsigned shift = rnd() % 4 ? (unsigned)(rnd() % 64) : 0;
	uint64_t *src = room + words - n, *shifted = src - (shift ? 1 : 0);

	fill(shifted, n + (shift ? 1 : 0));
	if (!merge_right(ops, src, n) || !and_not_right(ops, src, n) ||
	    ops->count(src, n) != (n ? naive_count(src, 0, n * 64 - 1) : 0) ||
	    !ops_extract_right(ops, shifted, n, shift))
		ck_abort_msg("%s: %zu words, shift %u", ops->name, n, shift);
}

START_TEST(kernels)
{
	uint64_t *room = guarded(65);
	const struct bitmap_ops *ops;

	for (unsigned i = 0; (ops = bitmap_ops_at(i)); i++)
		for (int k = 0; k < 200; k++)
			for (size_t n = 0; n <= 64; n++)
				kernels_once(ops, room, 65, n);
	unguard(room, 65);
}
END_TEST

static bool runs_right(const struct bitmap_ops *ops, const uint64_t *w, uint64_t first, uint64_t last,
		       size_t capacity)
{
	static struct bit_run got[400];
	struct bit_run want;
	uint64_t at = first, next;
	size_t n;

	do {
		n = ops->runs(w, at, last, got, capacity, &next);
		for (size_t i = 0; i < n; i++, at = want.last + 1)
			if (!naive_run(w, at, last, &want) || memcmp(&want, &got[i], sizeof want))
				return false;
		if (next != (n == capacity ? at : last + 1))
			return false;
	} while (n == capacity && next <= last);
	return at > last || !naive_next(w, at, last, &at);
}

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

/* Lengths beyond 2^32 bits: address space only, but for the words looked at. Walking it reads it: 512 MiB of
 * the zero page. Where there is no room for it, there is nothing to test. */
START_TEST(beyond_32_bits)
{
	const uint64_t bits = (UINT64_C(1) << 32) + 300;
	size_t bytes = (size_t)((bits + 63) / 64 * 8);
	uint64_t *w = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			   -1, 0),
		 found;

	if (w == MAP_FAILED)
		return;
	put(w, (UINT64_C(1) << 32) + 77, true);
	ck_assert(bitmap_next(w, 5, bits - 1, &found) && found == (UINT64_C(1) << 32) + 77);
	ck_assert(bitmap_prev(w, 0, bits - 1, &found) && found == (UINT64_C(1) << 32) + 77);
	ck_assert(bitmap_count(w, (UINT64_C(1) << 32) - 200, bits - 1) == 1);
	bitmap_set(w, (UINT64_C(1) << 32) - 3, (UINT64_C(1) << 32) + 80);
	struct bit_run run;
	ck_assert(bitmap_next_run(w, 1, bits - 1, &run));
	ck_assert(run.first == (UINT64_C(1) << 32) - 3 && run.last == (UINT64_C(1) << 32) + 80);
	munmap(w, bytes);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("bitmap");
	TCase *tcase = tcase_create("bitmap");

	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, looking_every_offset_and_length);
	tcase_add_test(tcase, looking_random);
	tcase_add_test(tcase, looking_single);
	tcase_add_test(tcase, get_every_offset);
	tcase_add_test(tcase, extract_every_offset_and_length);
	tcase_add_test(tcase, extract_every_target);
	tcase_add_test(tcase, set_and_clear_every_offset_and_length);
	tcase_add_test(tcase, or_kernels);
	tcase_add_test(tcase, nonzero_words);
	tcase_add_test(tcase, kernels);
	tcase_add_test(tcase, runs_every_offset_and_length);
	tcase_add_test(tcase, runs_of_many_words);
	tcase_add_test(tcase, words);
	tcase_add_test(tcase, beyond_32_bits);
	suite_add_tcase(suite, tcase);

	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
