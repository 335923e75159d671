/* SPDX-License-Identifier: MIT */

/* Kernels over whole words in portable C, and the choice between them and those of this machine. */

#include <string.h>

#include "bitmap_kernels.h"

static uint64_t nonzero(const uint64_t *src, size_t n)
{
	uint64_t mask = 0;

	for (size_t i = 0; i < n; i++)
		mask |= (uint64_t)(src[i] != 0) << i;
	return mask;
}

KERNEL_INLINE uint64_t merge_as(enum merge_kind kind, uint64_t *dst, uint64_t *other, const uint64_t *src,
				size_t n, uint64_t *fresh)
{
	uint64_t mask = 0, count = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t word = word_read(&src[i]);
		mask |= (uint64_t)(word != 0) << i;
		count += word_count(merge_word(&dst[i], &other[i], word, kind));
	}
	*fresh += count;
	return mask;
}

static uint64_t merge(uint64_t *dst, const uint64_t *src, size_t n, uint64_t *fresh)
{
	return merge_as(MERGE_ONLY, dst, dst, src, n, fresh);
}

static uint64_t merge_set(uint64_t *dst, uint64_t *other, const uint64_t *src, size_t n, uint64_t *fresh)
{
	return merge_as(MERGE_SET, dst, other, src, n, fresh);
}

static uint64_t merge_clear(uint64_t *dst, uint64_t *other, const uint64_t *src, size_t n, uint64_t *fresh)
{
	return merge_as(MERGE_CLEAR, dst, other, src, n, fresh);
}

static void and_not(uint64_t *dst, const uint64_t *src, size_t n)
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

static void extract(uint64_t *dst, const uint64_t *src, unsigned shift, size_t n)
{
	if (!shift) {
		memcpy(dst, src, n * sizeof(*dst));
		return;
	}
	for (size_t i = 0; i < n; i++)
		dst[i] = src[i] >> shift | src[i + 1] << (WORD_BITS - shift);
}

const struct bitmap_ops bitmap_ops_portable = {
	.name = "portable",
	.nonzero = nonzero,
	.merge = merge,
	.merge_set = merge_set,
	.merge_clear = merge_clear,
	.and_not = and_not,
	.count = count,
	.extract = extract,
	.runs = bitmap_runs,
};

/* ---- the choice ---- */

#if !defined(__x86_64__) && !defined(__aarch64__)
const struct bitmap_ops *bitmap_ops_native(void)
{
	return NULL;
}
#endif

const struct bitmap_ops *bitmap_ops_at(unsigned i)
{
	return i == 0 ? &bitmap_ops_portable : i == 1 ? bitmap_ops_native() : NULL;
}

const struct bitmap_ops *bitmap_ops_best(void)
{
	const struct bitmap_ops *native = bitmap_ops_native();

	return native ? native : &bitmap_ops_portable;
}
