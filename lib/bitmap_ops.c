/* SPDX-License-Identifier: MIT */

/* Kernels over whole words in portable C, and the choice between them and those of this machine. */

#include <string.h>

#include "bitmap_kernels.h"

uint64_t bitmap_nonzero_words(const uint64_t *src, size_t n)
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
		uint64_t word = word_read(&src[i]);
		mask |= (uint64_t)(word != 0) << i;
		count += word_count(merge_word(&dst[i], word));
	}
	*fresh += count;
	return mask;
}

void bitmap_and_not(uint64_t *dst, const uint64_t *src, size_t n)
{
	for (size_t i = 0; i < n; i++)
		dst[i] &= ~src[i];
}

static uint64_t count(const uint64_t *src, size_t n)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < n; i++)
		bits += word_count(src[i]);
	return bits;
}

void bitmap_extract_words(uint64_t *dst, const uint64_t *src, unsigned shift, size_t n)
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
	.nonzero = bitmap_nonzero_words,
	.merge = merge,
	.and_not = bitmap_and_not,
	.count = count,
	.extract = bitmap_extract_words,
	.runs = bitmap_runs,
};

/* ---- the choice ---- */

#if !defined(__x86_64__) && !defined(__aarch64__)
const struct bitmap_ops *bitmap_ops_native(unsigned i)
{
	(void)i;
	return NULL;
}
#endif

const struct bitmap_ops *bitmap_ops_at(unsigned i)
{
	return i ? bitmap_ops_native(i - 1) : &portable;
}

const struct bitmap_ops *bitmap_ops_best(void)
{
	unsigned i = 0;

	while (bitmap_ops_at(i + 1))
		i++;
	return bitmap_ops_at(i);
}
