/* SPDX-License-Identifier: MIT */
#ifndef LIB_BITMAP_RUNS_H
#define LIB_BITMAP_RUNS_H

/* Runs of set bits: which of 64 words have an edge, then all edges of such a word, with few branches that depend on
 * the bits. Compiled in portable C and once more for each instruction set that does it better: all of this is
 * inlined into its one caller there. */

#include "bitmap_kernels.h"

struct runs {
	struct bit_run *found;
	size_t capacity;
	size_t begun;
	uint64_t open; /* 1: the last one begun has not ended, else 0 */
};

/* What an instruction set does better. */
struct runs_kit {
	uint64_t (*count)(uint64_t word);
	/* The place of the lowest set bit; of 0, anything. */
	uint64_t (*lowest)(uint64_t word);
	/* Bit i: word_edges(&words[i]). n is 1..64. */
	uint64_t (*edges)(const uint64_t *words, size_t n);
	/* Places of many edges, in turn first and last of a run: `before` is the word one bit further up, with what was
	 * before it as its lowest. Up to 8 words behind the last are overwritten. NULL if there is no better way. */
	void (*many)(uint64_t *places, uint64_t word, uint64_t before, uint64_t base);
};

enum {
	RUNS_FEW = 2, /* found without a branch */
	RUNS_SOME = 8,
	RUNS_MOST = WORD_BITS / 2, /* can begin in one word, and end in one */
};

/* Places of the n lowest bits of begin and end. Behind the last it is nonsense, overwritten once there is a run. */
KERNEL_INLINE void runs_emit(struct bit_run *first, struct bit_run *last, uint64_t *begin, uint64_t *end,
			     uint64_t base, unsigned n, struct runs_kit kit)
{
	for (unsigned k = 0; k < n; k++) {
		first[k].first = base + kit.lowest(*begin);
		last[k].last = base - 1 + kit.lowest(*end);
		*begin &= *begin - 1;
		*end &= *end - 1;
	}
}

KERNEL_INLINE void runs_each(struct runs *r, uint64_t word, uint64_t before, uint64_t base, size_t most,
			     struct runs_kit kit)
{
	struct bit_run *first = r->found + r->begun, *last = first - r->open;
	uint64_t begin = word & ~before, end = ~word & before;

	runs_emit(first, last, &begin, &end, base, RUNS_FEW, kit);
	if (most > RUNS_FEW)
		runs_emit(first + RUNS_FEW, last + RUNS_FEW, &begin, &end, base, RUNS_SOME - RUNS_FEW, kit);
	for (size_t k = RUNS_SOME; k < most; k += RUNS_SOME)
		runs_emit(first + k, last + k, &begin, &end, base, RUNS_SOME, kit);
}

/* Room for `most` runs in a word, and for what is written behind them. */
KERNEL_INLINE bool runs_fit(const struct runs *r, size_t most)
{
	size_t room = r->capacity - r->begun;

	return __builtin_expect(room >= RUNS_MOST + RUNS_SOME, 1) ||
	       room >= (most <= RUNS_FEW ? RUNS_FEW : most + RUNS_SOME);
}

/* Add what begins and ends in a word. False, and nothing is changed, if there may be no room for it. */
KERNEL_INLINE bool runs_word(struct runs *r, uint64_t word, uint64_t base, struct runs_kit kit)
{
	uint64_t before = word << 1 | r->open;
	size_t begun = (size_t)kit.count(word & ~before), most = begun + (size_t)r->open;

	if (!runs_fit(r, most))
		return false;
	if (kit.many && most > RUNS_SOME)
		kit.many((uint64_t *)(void *)r->found + 2 * r->begun - r->open, word, before, base);
	else
		runs_each(r, word, before, base, most, kit);
	r->begun += begun;
	r->open = word >> (WORD_BITS - 1);
	return true;
}

/* Words w..end - 1, all of whose bits are asked for, as long as there is room. Returns the word to go on with. */
KERNEL_INLINE uint64_t runs_words(struct runs *r, const uint64_t *words, uint64_t w, uint64_t end,
				  struct runs_kit kit)
{
	while (w < end) {
		size_t n = end - w < WORD_BITS ? (size_t)(end - w) : WORD_BITS;
		for (uint64_t left = kit.edges(&words[w], n); left; left &= left - 1) {
			uint64_t at = w + word_first(left);
			if (!runs_word(r, words[at], at * WORD_BITS, kit))
				return at;
		}
		w += n;
	}
	return w;
}

/* All before word w is in r. If that is nothing, there was no room for a whole word of them: find some one by one. */
size_t runs_finish(struct runs r, const uint64_t *words, uint64_t w, struct bit_run where, uint64_t *next);

KERNEL_INLINE size_t runs_with(const uint64_t *words, uint64_t first, uint64_t last, struct bit_run *found,
			       size_t capacity, uint64_t *next, struct runs_kit kit)
{
	struct runs r = { .found = found, .capacity = capacity };
	uint64_t w = first / WORD_BITS, end = last / WORD_BITS;

	if (runs_word(&r, words[w] & word_mask(w, first, last), w * WORD_BITS, kit))
		w = runs_words(&r, words, w + 1, end, kit);
	if (w == end && first / WORD_BITS < end &&
	    runs_word(&r, words[w] & word_mask(w, first, last), w * WORD_BITS, kit))
		w++;
	return runs_finish(r, words, w, (struct bit_run){ first, last }, next);
}

#endif
