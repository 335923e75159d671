/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_BITMAP_ORACLE_H
#define TESTS_UNIT_BITMAP_ORACLE_H

/* Is what a bitmap function says of one bitmap what one gets by looking at it one bit at a time? Bitmaps end where an
 * unmapped page begins, so that a read too far is a crash. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <check.h>

#include "bitmap.h"

uint64_t rnd(void);

/* `words` words that end exactly at a page that cannot be read; the page before them cannot either if they
 * fill one */
uint64_t *guarded(size_t words);
void unguard(uint64_t *words, size_t n);

/* Random words of every density, with long runs and long gaps among them */
void fill(uint64_t *words, size_t n);

static inline bool bit(const uint64_t *words, uint64_t i)
{
	return words[i / 64] >> (i % 64) & 1;
}

static inline void put(uint64_t *words, uint64_t i, bool value)
{
	words[i / 64] = (words[i / 64] & ~(UINT64_C(1) << i % 64)) | (uint64_t)value << i % 64;
}

uint64_t naive_get(const uint64_t *words, uint64_t first, unsigned n);

/* next, prev, any, next_run */
bool look_right(const uint64_t *words, uint64_t first, uint64_t last);
/* `length` bits, at most ORACLE_BITS; with what is filled in at random */
bool extract_right(unsigned at, uint64_t offset, uint64_t length);

/* Of a table: whole words, at most 64 of them where a mask is returned. Other operands are random. */
bool merge_right(const struct bitmap_ops *ops, const uint64_t *src, size_t n);
bool and_not_right(const struct bitmap_ops *ops, const uint64_t *src, size_t n);
bool count_right(const struct bitmap_ops *ops, const uint64_t *src, size_t n);
bool words_extract_right(const struct bitmap_ops *ops, const uint64_t *src, size_t n, unsigned shift);
/* Called again and again until the end, with room for `capacity`. */
bool runs_right(const struct bitmap_ops *ops, const uint64_t *words, uint64_t first, uint64_t last,
		size_t capacity);

enum {
	ORACLE_BITS = 66000,
	ORACLE_WORDS = ORACLE_BITS / 64 + 8,
};

/* bitmap_random.c. Returns the name of a test that cannot run here for lack of address space, or NULL. */
const char *add_random_cases(Suite *suite);

#endif
