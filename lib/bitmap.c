/* SPDX-License-Identifier: MIT */
#include "bitmap.h"

#include <string.h>

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

/* n whole words from bit `first` of src on */
static void extract_words(uint64_t *dst, const uint64_t *src, uint64_t first, uint64_t n)
{
	unsigned shift = (unsigned)(first % WORD_BITS);

	src += first / WORD_BITS;
	if (!shift) {
		memcpy(dst, src, (size_t)n * sizeof(*dst));
		return;
	}
	for (uint64_t i = 0; i < n; i++)
		dst[i] = src[i] >> shift | src[i + 1] << (WORD_BITS - shift);
}

void bitmap_extract(uint64_t *dst, unsigned at, const uint64_t *src, uint64_t first, uint64_t n)
{
	if (at && n) {
		unsigned head = n < WORD_BITS - at ? (unsigned)n : WORD_BITS - at;
		*dst++ = bitmap_get(src, first, head) << at;
		first += head;
		n -= head;
	}
	extract_words(dst, src, first, n / WORD_BITS);
	if (n % WORD_BITS)
		dst[n / WORD_BITS] = bitmap_get(src, first + n / WORD_BITS * WORD_BITS, n % WORD_BITS);
}

void bitmap_set(uint64_t *words, uint64_t first, uint64_t last)
{
	for (uint64_t w = first / WORD_BITS; w <= last / WORD_BITS; w++)
		words[w] |= word_mask(w, first, last);
}

void bitmap_clear(uint64_t *words, uint64_t first, uint64_t last)
{
	for (uint64_t w = first / WORD_BITS; w <= last / WORD_BITS; w++)
		words[w] &= ~word_mask(w, first, last);
}

bool bitmap_any(const uint64_t *words, uint64_t first, uint64_t last)
{
	uint64_t found;

	return bitmap_next(words, first, last, &found);
}

uint64_t bitmap_count(const uint64_t *words, uint64_t first, uint64_t last)
{
	uint64_t count = 0;

	for (uint64_t w = first / WORD_BITS; w <= last / WORD_BITS; w++)
		count += word_count(words[w] & word_mask(w, first, last));
	return count;
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

uint64_t bitmap_nonzero(const uint64_t *src, size_t n)
{
	uint64_t any = 0, mask = 0;

	for (size_t i = 0; i < n; i++)
		any |= src[i];
	if (!any)
		return 0;
	for (size_t i = 0; i < n; i++)
		mask |= (uint64_t)(src[i] != 0) << i;
	return mask;
}

void bitmap_or(uint64_t *dst, const uint64_t *src, size_t n)
{
	for (size_t i = 0; i < n; i++)
		dst[i] |= src[i];
}

uint64_t bitmap_or_count(uint64_t *dst, const uint64_t *src, size_t n)
{
	uint64_t count = 0;

	for (size_t i = 0; i < n; i++) {
		count += word_count(src[i] & ~dst[i]);
		dst[i] |= src[i];
	}
	return count;
}

uint64_t bitmap_or_count_clear(uint64_t *dst, uint64_t *other, const uint64_t *src, size_t n)
{
	uint64_t count = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t fresh = src[i] & ~dst[i];
		other[i] &= ~fresh;
		dst[i] |= src[i];
		count += word_count(fresh);
	}
	return count;
}
