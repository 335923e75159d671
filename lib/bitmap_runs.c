/* SPDX-License-Identifier: MIT */
#include "bitmap_runs.h"

/* The last bit before the first clear one in first..last */
static uint64_t run_end(const uint64_t *words, uint64_t first, uint64_t last)
{
	uint64_t w = first / WORD_BITS;
	uint64_t clear = ~words[w] & word_mask(w, first, last);

	while (!clear && w < last / WORD_BITS)
		clear = ~words[++w];
	if (!clear)
		return last;
	uint64_t end = w * WORD_BITS + word_first(clear) - 1;
	return end < last ? end : last;
}

/* Returns where to go on. */
static uint64_t one_by_one(struct runs *r, const uint64_t *words, uint64_t at, uint64_t last)
{
	while (r->begun < r->capacity && at <= last) {
		struct bit_run *run = &r->found[r->begun];
		if (!bitmap_next(words, at, last, &run->first))
			return last + 1;
		run->last = run_end(words, run->first, last);
		at = run->last + 1;
		r->begun++;
	}
	return at;
}

size_t runs_finish(struct runs r, const uint64_t *words, uint64_t w, struct bit_run where, uint64_t *next)
{
	uint64_t at = w == where.first / WORD_BITS ? where.first : w * WORD_BITS;

	if (w > where.last / WORD_BITS)
		at = where.last + 1;
	if (r.open)
		at = (r.found[r.begun - 1].last =
			      at > where.last ? where.last : run_end(words, at, where.last)) +
		     1;
	*next = r.begun ? at : one_by_one(&r, words, at, where.last);
	return r.begun;
}

/* ---- portable ---- */

static uint64_t count(uint64_t word)
{
	return word_count(word);
}

static uint64_t lowest(uint64_t word)
{
	return word_first(word | UINT64_C(1) << (WORD_BITS - 1));
}

enum { TOGETHER = 8 };

/* In 8 words, or at their border to the word before. Written out, since gcc -O2 does not unroll. */
static bool any_edge(const uint64_t *w)
{
	const uint64_t same = 0 - (w[-1] >> (WORD_BITS - 1));

	return (w[0] ^ same) | (w[1] ^ same) | (w[2] ^ same) | (w[3] ^ same) | (w[4] ^ same) | (w[5] ^ same) |
	       (w[6] ^ same) | (w[7] ^ same);
}

static uint64_t edges_8(const uint64_t *w)
{
	return (uint64_t)word_edges(w) | (uint64_t)word_edges(w + 1) << 1 | (uint64_t)word_edges(w + 2) << 2 |
	       (uint64_t)word_edges(w + 3) << 3 | (uint64_t)word_edges(w + 4) << 4 |
	       (uint64_t)word_edges(w + 5) << 5 | (uint64_t)word_edges(w + 6) << 6 |
	       (uint64_t)word_edges(w + 7) << 7;
}

static uint64_t edges(const uint64_t *words, size_t n)
{
	uint64_t mask = 0;
	size_t i = 0;

	for (; i + TOGETHER <= n; i += TOGETHER)
		if (any_edge(&words[i]))
			mask |= edges_8(&words[i]) << i;
	for (; i < n; i++)
		mask |= (uint64_t)word_edges(&words[i]) << i;
	return mask;
}

size_t bitmap_runs(const uint64_t *words, uint64_t first, uint64_t last, struct bit_run *found,
		   size_t capacity, uint64_t *next)
{
	static const struct runs_kit kit = { .count = count, .lowest = lowest, .edges = edges };

	return runs_with(words, first, last, found, capacity, next, kit);
}
