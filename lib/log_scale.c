/* SPDX-License-Identifier: MIT */

/* Bitmaps whose bits are not pages of the log: larger (expanded), smaller (reduced), or shifted against them. Both sizes are
 * powers of two. Word by word if bit 0 begins where a page does, and up to 4096 pages a bit or 32 bits a page; else run by
 * run, rounded outwards. */

#include "log_internal.h"

enum { MAX_UP = 12, MAX_DOWN = 5 };

/* ---- one word ---- */

/* Each of the 32 low bits twice: 2 i and 2 i + 1 */
static uint64_t twice(uint64_t x)
{
	x &= UINT64_C(0xffffffff);
	x = (x | x << 16) & UINT64_C(0x0000ffff0000ffff);
	x = (x | x << 8) & UINT64_C(0x00ff00ff00ff00ff);
	x = (x | x << 4) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	x = (x | x << 2) & UINT64_C(0x3333333333333333);
	x = (x | x << 1) & UINT64_C(0x5555555555555555);
	return x | x << 1;
}

/* Bit i: bit 2 i or 2 i + 1 */
static uint64_t half(uint64_t x)
{
	x = (x | x >> 1) & UINT64_C(0x5555555555555555);
	x = (x | x >> 1) & UINT64_C(0x3333333333333333);
	x = (x | x >> 2) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	x = (x | x >> 4) & UINT64_C(0x00ff00ff00ff00ff);
	x = (x | x >> 8) & UINT64_C(0x0000ffff0000ffff);
	return (x | x >> 16) & UINT64_C(0x00000000ffffffff);
}

/* Each of the low bits 2^shift times (2 to 32), as many as fill a word */
static uint64_t spread(uint64_t x, unsigned shift)
{
	uint64_t word = 0, block = word_range(0, (1u << shift) - 1);

	if (shift == 1)
		return twice(x);
	if (shift == 2)
		return twice(twice(x));
	for (x &= word_range(0, (64u >> shift) - 1); x; x &= x - 1)
		word |= block << (word_first(x) << shift);
	return word;
}

/* Bit i: any of the 2^shift bits (2 to 32) from i 2^shift on */
static uint64_t gather(uint64_t x, unsigned shift)
{
	uint64_t word = 0;

	if (shift == 1)
		return half(x);
	if (shift == 2)
		return half(half(x));
	for (unsigned i = 0; i < 64u >> shift; i++)
		word |= (uint64_t)((x >> (i << shift) & word_range(0, (1u << shift) - 1)) != 0) << i;
	return word;
}

/* Pages first..first + n - 1, at most 64, counted from the one in which bit 0 begins: all within the bitmap */
struct pages {
	uint64_t first;
	unsigned n;
};

/* A bit is 2^shift pages, 64 or more: at most two bits count. */
static uint64_t expand_far(const struct log_bits *b, unsigned shift, struct pages pages)
{
	uint64_t from = pages.first >> shift,
		 rest = ((from + 1) << shift) - pages.first; /* pages of that bit */
	uint64_t low = 0 - bitmap_get(b->words, b->first_bit + from, 1);

	if (rest >= pages.n)
		return low & word_range(0, pages.n - 1);
	uint64_t high = 0 - bitmap_get(b->words, b->first_bit + from + 1, 1);
	return (low & word_range(0, (unsigned)rest - 1)) | (high & word_range((unsigned)rest, pages.n - 1));
}

/* A bit is 2^shift pages. */
static uint64_t expand(const struct log_bits *b, unsigned shift, struct pages pages)
{
	if (shift >= 6)
		return expand_far(b, shift, pages);
	uint64_t from = pages.first >> shift, to = (pages.first + pages.n - 1) >> shift;
	unsigned phase = (unsigned)(pages.first & ((1u << shift) - 1));
	uint64_t bits = bitmap_get(b->words, b->first_bit + from, (unsigned)(to - from + 1));
	uint64_t word = spread(bits, shift) >> phase;

	if (phase)
		word |= spread(bits >> (WORD_BITS >> shift), shift) << (WORD_BITS - phase);
	return word & word_range(0, pages.n - 1);
}

/* A page is 2^shift bits; the last one may not have all of its own. */
static uint64_t reduce(const struct log_bits *b, unsigned shift, struct pages pages)
{
	uint64_t at = pages.first << shift, end = min_u64(b->bits, (pages.first + pages.n) << shift),
		 word = 0;

	for (unsigned to = 0; at < end; to += (unsigned)WORD_BITS >> shift, at += WORD_BITS) {
		unsigned n = (unsigned)min_u64(WORD_BITS, end - at);
		word |= gather(bitmap_get(b->words, b->first_bit + at, n), shift) << to;
	}
	return word;
}

/* ---- chunks ---- */

struct scale {
	const struct log_bits *b;
	bool up; /* expand */
	unsigned shift;
};

/* Whether any bit is set that stands for one of these pages */
static bool any_bit(const struct scale *s, uint64_t first, uint64_t last)
{
	if (s->up) {
		first >>= s->shift;
		last >>= s->shift;
	} else {
		first <<= s->shift;
		last = min_u64(s->b->bits - 1, (last << s->shift) + ((UINT64_C(1) << s->shift) - 1));
	}
	return bitmap_any(s->b->words, s->b->first_bit + first, s->b->first_bit + last);
}

/* Bits `part` of the planes, in one chunk; page: that of bit 0 of the planes, modulo 2^64 */
static void scale_chunk(struct merging *m, const struct scale *s, struct range part, uint64_t page)
{
	uint64_t words[CHUNK_WORDS], from = part.first / WORD_BITS;

	if (!any_bit(s, page + part.first, page + part.last))
		return;
	for (uint64_t w = from; w <= part.last / WORD_BITS; w++) {
		uint64_t first = max_u64(part.first, w * WORD_BITS);
		uint64_t last = min_u64(part.last, w * WORD_BITS + WORD_BITS - 1);
		struct pages pages = { page + first, (unsigned)(last - first + 1) };
		words[w - from] = (s->up ? expand : reduce)(s->b, s->shift, pages) << first % WORD_BITS;
	}
	merging_chunk(m, from, words, (size_t)(part.last / WORD_BITS - from + 1), true);
}

static void scale_words(struct merging *m, const struct scale *s)
{
	const struct vfd_log *log = m->hold.log;
	struct cursor c = cursor_over(log, bits_range(s->b, 0, s->b->bits - 1));

	while (cursor_next(&c)) {
		uint64_t page = (bit_address(log, c.region, 0) >> log->page_shift) -
				(s->b->address >> log->page_shift);
		merging_region(m, c.region, c.bits);
		for (uint64_t at = c.bits.first; at <= c.bits.last;) {
			struct range part = chunk_part(c.bits, at);
			scale_chunk(m, s, part, page);
			at = part.last + 1;
		}
	}
}

/* ---- runs ---- */

/* The first bit of b that does not lie wholly at or before `last`, the last address of a page */
static uint64_t bit_behind(const struct log_bits *b, uint64_t last)
{
	return last == UINT64_MAX ? 0 : (last + 1 - b->address) / b->granularity;
}

/* Of bits that share a page one is enough: go on behind the page in which the run ends. */
static void scale_runs(struct merging *m, const struct log_bits *b)
{
	uint64_t end = b->first_bit + b->bits - 1, page = m->hold.log->page_size;
	struct bit_run run;

	for (uint64_t at = b->first_bit; at <= end && bitmap_next_run(b->words, at, end, &run);) {
		struct range where = bits_range(b, run.first - b->first_bit, run.last - b->first_bit);
		merging_range(m, where);
		at = max_u64(run.last + 1, b->first_bit + bit_behind(b, where.last | (page - 1)));
	}
}

void merging_scaled(struct merging *m, const struct log_bits *b)
{
	const struct vfd_log *log = m->hold.log;
	struct scale s = { .b = b, .up = b->granularity > log->page_size };

	if (is_power_of_two(b->granularity)) {
		unsigned shift = word_first(b->granularity);
		s.shift = s.up ? shift - log->page_shift : log->page_shift - shift;
	}
	if (s.shift && s.shift <= (s.up ? MAX_UP : MAX_DOWN) && is_aligned(b->address, log->page_size))
		scale_words(m, &s);
	else
		scale_runs(m, b);
}
