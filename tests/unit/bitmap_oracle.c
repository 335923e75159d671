/* SPDX-License-Identifier: MIT */
#include "bitmap_oracle.h"
#include "random.h"

#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096 };

uint64_t rnd(void)
{
	static uint64_t seed = 1;

	return xorshift(&seed);
}

uint64_t *guarded(size_t words)
{
	size_t bytes = words * 8, body = (bytes + PAGE - 1) / PAGE * PAGE;
	char *m = mmap(NULL, body + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert(m != MAP_FAILED);
	ck_assert(!mprotect(m + PAGE, body, PROT_READ | PROT_WRITE));
	return (uint64_t *)(void *)(m + PAGE + body - bytes);
}

void unguard(uint64_t *words, size_t n)
{
	size_t bytes = n * 8, body = (bytes + PAGE - 1) / PAGE * PAGE;

	munmap((char *)words + bytes - body - PAGE, body + 2 * PAGE);
}

static uint64_t random_word(unsigned kind)
{
	uint64_t r = rnd();

	switch (kind) {
	case 0:
		return 0;
	case 1:
		return ~UINT64_C(0);
	case 2:
		return r;
	case 3:
		return r & rnd() & rnd() & rnd();
	case 4:
		return r | rnd() | rnd() | rnd();
	default:
		return r % 3 ? r % 3 == 1 ? 0 : ~UINT64_C(0) : r << r % 64;
	}
}

void fill(uint64_t *words, size_t n)
{
	unsigned kind = (unsigned)(rnd() % 6);

	for (size_t i = 0; i < n; i++)
		words[i] = random_word(kind);
}

/* ---- looking ---- */

uint64_t naive_get(const uint64_t *words, uint64_t first, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v |= (uint64_t)bit(words, first + i) << i;
	return v;
}

static bool naive_next(const uint64_t *words, uint64_t first, uint64_t last, uint64_t *found)
{
	for (uint64_t i = first; i <= last; i++)
		if (bit(words, i)) {
			*found = i;
			return true;
		}
	return false;
}

static bool naive_prev(const uint64_t *words, uint64_t first, uint64_t last, uint64_t *found)
{
	for (uint64_t i = last + 1; i-- > first;)
		if (bit(words, i)) {
			*found = i;
			return true;
		}
	return false;
}

static bool naive_run(const uint64_t *words, uint64_t first, uint64_t last, struct bit_run *run)
{
	if (!naive_next(words, first, last, &run->first))
		return false;
	for (run->last = run->first; run->last < last && bit(words, run->last + 1); run->last++)
		;
	return true;
}

bool look_right(const uint64_t *words, uint64_t first, uint64_t last)
{
	uint64_t a = 7, b = 7;
	struct bit_run r = { 7, 7 }, s = { 7, 7 };
	bool any = naive_next(words, first, last, &a);

	if (bitmap_next(words, first, last, &b) != any || a != b || bitmap_any(words, first, last) != any)
		return false;
	if (bitmap_prev(words, first, last, &b) != naive_prev(words, first, last, &a) || a != b)
		return false;
	return bitmap_next_run(words, first, last, &r) == naive_run(words, first, last, &s) &&
	       r.first == s.first && r.last == s.last;
}

bool runs_right(const struct bitmap_ops *ops, const uint64_t *words, uint64_t first, uint64_t last,
		size_t capacity)
{
	static struct bit_run got[400];
	struct bit_run want;
	uint64_t at = first, next;
	size_t n;

	ck_assert_uint_le(capacity, sizeof got / sizeof got[0]);
	do {
		n = ops->runs(words, at, last, got, capacity, &next);
		for (size_t i = 0; i < n; i++, at = want.last + 1)
			if (!naive_run(words, at, last, &want) || memcmp(&want, &got[i], sizeof want))
				return false;
		if (next < at || next > last + 1 || (next <= last && (!n || n + 41 <= capacity)))
			return false;
		if (next > at && naive_next(words, at, next - 1, &at))
			return false;
		at = next;
	} while (next <= last);
	return true;
}

/* ---- copying ---- */

bool extract_right(unsigned at, uint64_t offset, uint64_t length)
{
	static uint64_t *source, *target;
	size_t from = (size_t)(offset + length + 63) / 64, to = (size_t)(at + length + 63) / 64;

	ck_assert(from <= ORACLE_WORDS && to <= ORACLE_WORDS);
	if (!source) {
		source = guarded(ORACLE_WORDS);
		target = guarded(ORACLE_WORDS);
	}
	uint64_t *src = source + ORACLE_WORDS - from, *dst = target + ORACLE_WORDS - to;
	fill(src, from);
	memset(dst, 0xa5, to * 8);
	bitmap_extract(dst, at, src, offset, length);
	for (uint64_t i = 0; i < to * 64; i++)
		if (bit(dst, i) != (i >= at && i < at + length && bit(src, offset + i - at)))
			return false;
	return true;
}

bool words_extract_right(const struct bitmap_ops *ops, const uint64_t *src, size_t n, unsigned shift)
{
	static uint64_t got[ORACLE_WORDS + 1], behind;

	ck_assert_uint_le(n, ORACLE_WORDS);
	memset(got, 0xa5, n * sizeof got[0]);
	got[n] = behind = rnd();
	ops->extract(got, src, shift, n);
	for (uint64_t i = 0; i < n * 64; i++)
		if (bit(got, i) != bit(src, shift + i))
			return false;
	return got[n] == behind;
}

/* ---- whole words ---- */

enum { MOST = 66 };

struct merged {
	uint64_t mask, fresh, dst[MOST];
};

static struct merged naive_merge(const struct merged *from, const uint64_t *src, size_t n)
{
	struct merged m = *from;

	for (uint64_t i = 0; i < n * 64; i++) {
		bool is = bit(src, i), was = bit(m.dst, i);
		m.mask |= (uint64_t)is << i / 64;
		m.fresh += is && !was;
		put(m.dst, i, is || was);
	}
	return m;
}

bool merge_right(const struct bitmap_ops *ops, const uint64_t *src, size_t n)
{
	struct merged from = { .fresh = rnd() }, got;

	fill(from.dst, MOST);
	struct merged want = naive_merge(&from, src, n);
	got = from;
	got.mask = ops->merge(got.dst, src, n, &got.fresh);
	return !memcmp(&want, &got, sizeof want) && ops->nonzero(src, n) == want.mask;
}

bool and_not_right(const struct bitmap_ops *ops, const uint64_t *src, size_t n)
{
	uint64_t want[MOST], got[MOST];

	fill(want, MOST);
	memcpy(got, want, sizeof got);
	ops->and_not(got, src, n);
	for (uint64_t i = 0; i < n * 64; i++)
		put(want, i, bit(want, i) && !bit(src, i));
	return !memcmp(want, got, sizeof got);
}

bool count_right(const struct bitmap_ops *ops, const uint64_t *src, size_t n)
{
	uint64_t want = 0;

	for (uint64_t i = 0; i < n * 64; i++)
		want += bit(src, i);
	return ops->count(src, n) == want;
}
