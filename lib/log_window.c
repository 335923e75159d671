/* SPDX-License-Identifier: MIT */

/* Few dirty pages in a large guest lie far apart: each of their words costs a miss in the caches and in the translation of
 * addresses. So the next stripes are looked at together, and what they need is fetched while the first is worked on. */

#include "log_internal.h"

bool stripe_next(const struct summed *a, const struct summed *b, struct range *stripes, uint64_t *stripe)
{
	while (stripes->first <= stripes->last) {
		uint64_t at = stripes->first / WORD_BITS, found = peek(&a->tip[at]);
		if (b)
			found |= peek(&b->tip[at]);
		found &= word_mask(at, stripes->first, stripes->last);
		*stripe = at * WORD_BITS + (found ? word_first(found) : WORD_BITS - 1);
		stripes->first = *stripe + 1;
		if (found)
			return true;
	}
	return false;
}

/* Where there are many the hardware fetches what comes next. */
static bool is_dense(const struct summed *s, uint64_t stripe)
{
	return summed_chunks(s, stripe) == ~UINT64_C(0);
}

bool window_next(struct window *window, const struct summed *a, const struct summed *b, struct range *stripes)
{
	unsigned n = 0;

	while (n < WINDOW && stripe_next(a, b, stripes, &window->stripe[n]))
		if (is_dense(a, window->stripe[n++]))
			break;
	window->count = n;
	return n;
}

/* A few of each */
enum { FETCH_CHUNKS = 4, FETCH_WORDS = 2 };

static void fetch_sums(const struct fetch *f, uint64_t stripe)
{
	uint64_t chunks = summed_chunks(&f->index, stripe);

	for (unsigned n = 0; chunks && n < FETCH_CHUNKS; n++, chunks &= chunks - 1)
		for (unsigned i = 0; i < f->count; i++)
			__builtin_prefetch(&f->planes[i]->sum[stripe * WORD_BITS + word_first(chunks)], 1);
}

static void fetch_chunk(const struct fetch *f, uint64_t chunk)
{
	uint64_t words = peek(&f->index.sum[chunk]);

	for (unsigned n = 0; words && n < FETCH_WORDS; n++, words &= words - 1)
		for (unsigned i = 0; i < f->count; i++)
			__builtin_prefetch(&f->planes[i]->bits[chunk * CHUNK_WORDS + word_first(words)], 1);
}

static void fetch_words(const struct fetch *f, uint64_t stripe)
{
	uint64_t chunks = summed_chunks(&f->index, stripe);

	for (unsigned n = 0; chunks && n < FETCH_CHUNKS; n++, chunks &= chunks - 1)
		fetch_chunk(f, stripe * WORD_BITS + word_first(chunks));
}

void window_fetch(const struct window *window, const struct fetch *f)
{
	for (unsigned i = 0; i < window->count; i++)
		fetch_sums(f, window->stripe[i]);
	for (unsigned i = 0; i < window->count; i++)
		fetch_words(f, window->stripe[i]);
}
