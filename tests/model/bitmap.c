/* SPDX-License-Identifier: MIT */
/* The kernel's bitmap arithmetic, garbage past the end included. */
#include "internal.h"

uint64_t bitmap_words(uint64_t bits)
{
	return (bits + 63) / 64;
}

static void put_range(uint64_t *words, uint64_t first, uint64_t count, bool value)
{
	while (count) {
		uint64_t bit = first % 64, take = count < 64 - bit ? count : 64 - bit;
		uint64_t mask = (take == 64 ? ~0ull : (1ull << take) - 1) << bit;

		words[first / 64] = value ? words[first / 64] | mask : words[first / 64] & ~mask;
		first += take;
		count -= take;
	}
}

void bitmap_set_range(uint64_t *words, uint64_t first, uint64_t count)
{
	put_range(words, first, count, true);
}

void bitmap_clear_range(uint64_t *words, uint64_t first, uint64_t count)
{
	put_range(words, first, count, false);
}

/* By 1..63 bits; all words that hold `bits` bits take part. */
void bitmap_shift_left(uint64_t *words, uint64_t shift, uint64_t bits)
{
	for (uint64_t i = bitmap_words(bits); i--;)
		words[i] = words[i] << shift | (i ? words[i - 1] >> (64 - shift) : 0);
}
