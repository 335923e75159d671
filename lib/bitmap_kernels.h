/* SPDX-License-Identifier: MIT */
#ifndef LIB_BITMAP_KERNELS_H
#define LIB_BITMAP_KERNELS_H

/* Private to lib/bitmap*.c: what the tables of kernels have in common. */

#include "bitmap.h"

#define KERNEL_INLINE static inline __attribute__((always_inline))

/* The i-th table of this architecture, the fastest last. NULL: it has no more, or the processor lacks the instructions. */
const struct bitmap_ops *bitmap_ops_native(unsigned i);
extern const struct bitmap_ops bitmap_avx2, bitmap_avx512;

/* Portable ones that an instruction set may have nothing better for. */
uint64_t bitmap_nonzero_words(const uint64_t *src, size_t n);
void bitmap_and_not(uint64_t *dst, const uint64_t *src, size_t n);
void bitmap_extract_words(uint64_t *dst, const uint64_t *src, unsigned shift, size_t n);

/* One load, whatever the compiler would prefer: it may change under our eyes. */
KERNEL_INLINE uint64_t word_read(const uint64_t *word)
{
	return *(const volatile uint64_t *)word;
}

/* Returns the new bits. */
KERNEL_INLINE uint64_t merge_word(uint64_t *dst, uint64_t word)
{
	uint64_t fresh = word & ~*dst;

	*dst |= word;
	return fresh;
}

/* Bits begin or end to be set in *word, or between it and the word before. */
KERNEL_INLINE bool word_edges(const uint64_t *word)
{
	return word[0] != (word[0] << 1 | word[-1] >> (WORD_BITS - 1));
}

#endif
