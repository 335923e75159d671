/* SPDX-License-Identifier: MIT */
#include "bitmap_kernels.h"

uint64_t word_lowest(uint64_t word, uint64_t n)
{
	uint64_t rest = word;

	if (n >= WORD_BITS)
		return word;
	for (; rest && n; n--)
		rest &= rest - 1;
	return word & ~rest;
}

uint64_t bitmap_get(const uint64_t *words, uint64_t first, unsigned n)
{
	const uint64_t *word = &words[first / WORD_BITS];
	unsigned shift = (unsigned)(first % WORD_BITS);
	uint64_t bits = word[0] >> shift;

	if (shift + n > WORD_BITS)
		bits |= word[1] << (WORD_BITS - shift);
	return bits & word_range(0, n - 1);
}

void bitmap_extract(uint64_t *dst, unsigned at, const uint64_t *src, uint64_t first, uint64_t n)
{
	if (at && n) {
		unsigned head = n < WORD_BITS - at ? (unsigned)n : WORD_BITS - at;
		*dst++ = bitmap_get(src, first, head) << at;
		first += head;
		n -= head;
	}
	bitmap_extract_words(dst, src + first / WORD_BITS, (unsigned)(first % WORD_BITS),
			     (size_t)(n / WORD_BITS));
	if (n % WORD_BITS)
		dst[n / WORD_BITS] = bitmap_get(src, first + n / WORD_BITS * WORD_BITS, n % WORD_BITS);
}

bool bitmap_any(const uint64_t *words, uint64_t first, uint64_t last)
{
	uint64_t found;

	return bitmap_next(words, first, last, &found);
}

bool bitmap_next(const uint64_t *words, uint64_t first, uint64_t last, uint64_t *found)
{
	uint64_t w = first / WORD_BITS, end = last / WORD_BITS;
	uint64_t bits = words[w] & word_mask(w, first, last);

	while (!bits && w < end)
		bits = words[++w];
	if (w == end)
		bits &= word_mask(w, first, last);
	if (bits)
		*found = w * WORD_BITS + word_first(bits);
	return bits;
}

bool bitmap_prev(const uint64_t *words, uint64_t first, uint64_t last, uint64_t *found)
{
	uint64_t w = last / WORD_BITS, end = first / WORD_BITS;
	uint64_t bits = words[w] & word_mask(w, first, last);

	while (!bits && w > end)
		bits = words[--w];
	if (w == end)
		bits &= word_mask(w, first, last);
	if (bits)
		*found = w * WORD_BITS + word_last(bits);
	return bits;
}

bool bitmap_next_run(const uint64_t *words, uint64_t first, uint64_t last, struct bit_run *run)
{
	uint64_t next;

	return bitmap_runs(words, first, last, run, 1, &next);
}
