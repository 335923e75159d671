/* SPDX-License-Identifier: MIT */
#include "bitmap.h"

size_t bitmap_runs(const uint64_t *words, uint64_t first, uint64_t last, struct bit_run *runs,
		   size_t capacity, uint64_t *next)
{
	size_t n = 0;

	for (*next = first; n < capacity && *next <= last; *next = runs[n++].last + 1)
		if (!bitmap_next_run(words, *next, last, &runs[n])) {
			*next = last + 1;
			break;
		}
	return n;
}
