/* SPDX-License-Identifier: MIT */

/* Kernels over whole words in portable C, and the choice between them and those of this machine. */

#include <string.h>

#include "bitmap.h"

static uint64_t nonzero(const uint64_t *src, size_t n)
{
	uint64_t mask = 0;

	for (size_t i = 0; i < n; i++)
		mask |= (uint64_t)(src[i] != 0) << i;
	return mask;
}

static uint64_t merge(uint64_t *dst, const uint64_t *src, size_t n, uint64_t *fresh)
{
	uint64_t mask = 0, count = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t word = src[i];
		mask |= (uint64_t)(word != 0) << i;
		count += word_count(word & ~dst[i]);
		dst[i] |= word;
	}
	*fresh += count;
	return mask;
}

static uint64_t merge_set(uint64_t *dst, uint64_t *other, const uint64_t *src, size_t n, uint64_t *fresh)
{
	uint64_t mask = 0, count = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t word = src[i];
		mask |= (uint64_t)(word != 0) << i;
		count += word_count(word & ~dst[i]);
		dst[i] |= word;
		other[i] |= word;
	}
	*fresh += count;
	return mask;
}

static uint64_t merge_clear(uint64_t *dst, uint64_t *other, const uint64_t *src, size_t n, uint64_t *fresh)
{
	uint64_t mask = 0, count = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t word = src[i], new = word & ~dst[i];
		mask |= (uint64_t)(word != 0) << i;
		count += word_count(new);
		dst[i] |= word;
		other[i] &= ~new;
	}
	*fresh += count;
	return mask;
}

static void and_not(uint64_t *dst, const uint64_t *src, size_t n)
{
	for (size_t i = 0; i < n; i++)
		dst[i] &= ~src[i];
}

static uint64_t count_words(const uint64_t *src, size_t n)
{
	uint64_t count = 0;

	for (size_t i = 0; i < n; i++)
		count += word_count(src[i]);
	return count;
}

static void extract(uint64_t *dst, const uint64_t *src, unsigned shift, size_t n)
{
	if (!shift) {
		memcpy(dst, src, n * sizeof(*dst));
		return;
	}
	for (size_t i = 0; i < n; i++)
		dst[i] = src[i] >> shift | src[i + 1] << (WORD_BITS - shift);
}

static const struct bitmap_ops portable = {
	.name = "portable",
	.nonzero = nonzero,
	.merge = merge,
	.merge_set = merge_set,
	.merge_clear = merge_clear,
	.and_not = and_not,
	.count = count_words,
	.extract = extract,
	.runs = bitmap_runs,
};

const struct bitmap_ops *bitmap_ops_at(unsigned i)
{
	return i ? NULL : &portable;
}

const struct bitmap_ops *bitmap_ops_best(void)
{
	unsigned i = 0;

	while (bitmap_ops_at(i + 1))
		i++;
	return bitmap_ops_at(i);
}
