/* SPDX-License-Identifier: MIT */
#ifndef LIB_BITMAP_H
#define LIB_BITMAP_H

/* Bitmaps of native 64-bit words, bit 0 the lowest of word 0: the kernel's layout on every architecture.
 * Ranges of bits are inclusive. No function reads a word that holds none of the bits it was asked about. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WORD_BITS = 64 };

/* The mask of bits first..last of one word, both 0..63 */
static inline uint64_t word_range(unsigned first, unsigned last)
{
	return (~UINT64_C(0) << first) & (~UINT64_C(0) >> (WORD_BITS - 1 - last));
}

/* The part of bits first..last that lies in word w. The range must meet the word. */
static inline uint64_t word_mask(uint64_t w, uint64_t first, uint64_t last)
{
	return word_range(first / WORD_BITS == w ? (unsigned)(first % WORD_BITS) : 0,
			  last / WORD_BITS == w ? (unsigned)(last % WORD_BITS) : WORD_BITS - 1);
}

/* Without a popcount instruction at compile time the builtin is a call; this is not, and compilers vectorise it. */
static inline unsigned word_count(uint64_t word)
{
#ifdef __POPCNT__
	return (unsigned)__builtin_popcountll(word);
#else
	word -= word >> 1 & UINT64_C(0x5555555555555555);
	word = (word & UINT64_C(0x3333333333333333)) + (word >> 2 & UINT64_C(0x3333333333333333));
	word = (word + (word >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	return (unsigned)(word * UINT64_C(0x0101010101010101) >> 56);
#endif
}

/* Lowest and highest set bit of a word that is not 0 */
static inline unsigned word_first(uint64_t word)
{
	return (unsigned)__builtin_ctzll(word);
}

static inline unsigned word_last(uint64_t word)
{
	return (unsigned)(WORD_BITS - 1 - __builtin_clzll(word));
}

/* The n lowest set bits of a word */
uint64_t word_lowest(uint64_t word, uint64_t n);

/* n bits (1..64) from bit `first` on, in the low bits of the result; the rest is 0 */
uint64_t bitmap_get(const uint64_t *words, uint64_t first, unsigned n);

/* Write bits 0..at+n-1 of dst (at < 64): n bits of src from bit `first` on go to bit `at` on, the bits below
 * `at` and those behind in the last word are 0. */
void bitmap_extract(uint64_t *dst, unsigned at, const uint64_t *src, uint64_t first, uint64_t n);

bool bitmap_any(const uint64_t *words, uint64_t first, uint64_t last);

/* The lowest, the highest set bit in first..last. False if there is none. */
bool bitmap_next(const uint64_t *words, uint64_t first, uint64_t last, uint64_t *found);
bool bitmap_prev(const uint64_t *words, uint64_t first, uint64_t last, uint64_t *found);

struct bit_run {
	uint64_t first, last;
};

/* The lowest run of set bits in first..last, cut to it. False if there is none. */
bool bitmap_next_run(const uint64_t *words, uint64_t first, uint64_t last, struct bit_run *run);

/* Runs of set bits in first..last, ascending, each cut to first..last but to nothing else; returns how many: at most
 * `capacity`, at least one if there is one. *next is where to go on: last + 1 if there are no more. It stops early where the
 * runs of a further word might not fit, less than 41 short of capacity. Entries behind those returned may have been written. */
size_t bitmap_runs(const uint64_t *words, uint64_t first, uint64_t last, struct bit_run *runs,
		   size_t capacity, uint64_t *next);

/* ---- kernels over whole words, one table per instruction set ----
 *
 * Nothing but what is named is read or written. Operands do not overlap, need no alignment beyond that of their type,
 * and n may be 0, but is at most 64 (one chunk) where a mask is returned. A word of src is loaded once: if it
 * changes meanwhile, all that is made of it still agrees. What is written, is written with plain stores, also where
 * the value stays as it was. */
struct bitmap_ops {
	const char *name;

	/* Bit i of the result: src[i] is not 0. */
	uint64_t (*nonzero)(const uint64_t *src, size_t n);

	/* dst |= src. Bit i of the result: src[i] is not 0. *fresh += bits of dst that this set. */
	uint64_t (*merge)(uint64_t *dst, const uint64_t *src, size_t n, uint64_t *fresh);

	/* dst &= ~src */
	void (*and_not)(uint64_t *dst, const uint64_t *src, size_t n);

	/* How many bits are set in n words, any n. */
	uint64_t (*count)(const uint64_t *src, size_t n);

	/* dst: n whole words from bit `shift` (0..63) of src on, any n; src[n] is read only if shift is not 0. */
	void (*extract)(uint64_t *dst, const uint64_t *src, unsigned shift, size_t n);

	/* bitmap_runs */
	size_t (*runs)(const uint64_t *words, uint64_t first, uint64_t last, struct bit_run *runs,
		       size_t capacity, uint64_t *next);
};

/* The i-th table that this machine can run, the portable one (0) first and the fastest last. NULL behind that. */
const struct bitmap_ops *bitmap_ops_at(unsigned i);

/* The fastest. Asks the processor: call it when something long-lived is created, not in a loop. */
const struct bitmap_ops *bitmap_ops_best(void);

#endif
