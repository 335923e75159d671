/* SPDX-License-Identifier: MIT */

/* Few dirty pages in a large guest lie far apart: each of their words costs a miss in the caches and in the translation of
 * addresses. So the next stripes are looked at together, and what they need is fetched while the first is worked on. */

#include "log_internal.h"

/* Which of n words of `top` are not 0. The kernel loads them as peek() does, several at a time, each whole: where summaries of
 * a large guest are mostly 0 that is what a look costs. The thread sanitizer knows only peek(). */
static uint64_t not_zero(const struct bitmap_ops *ops, const uint64_t *top, size_t n)
{
#if defined(__SANITIZE_THREAD__)
	uint64_t mask = 0;

	(void)ops;
	for (size_t i = 0; i < n; i++)
		mask |= (uint64_t)(peek(&top[i]) != 0) << i;
	return mask;
#else
	return ops->nonzero(top, n);
#endif
}

bool window_next(struct window *window, const struct bitmap_ops *ops, const struct summed *a,
		 const struct summed *b, struct range *stripes)
{
	unsigned n = 0;

	while (stripes->first <= stripes->last && n < WINDOW) {
		uint64_t at = stripes->first, size = min_u64(WORD_BITS, stripes->last - at + 1);
		uint64_t found = not_zero(ops, &a->top[at], (size_t)size);
		if (b)
			found |= not_zero(ops, &b->top[at], (size_t)size);
		for (; found && n < WINDOW; found &= found - 1)
			window->stripe[n++] = at + word_first(found);
		stripes->first = found ? window->stripe[n - 1] + 1 : at + size;
	}
	window->count = n;
	return n;
}

/* A few of each: where there are many the hardware fetches what comes next. */
enum { FETCH_CHUNKS = 4, FETCH_WORDS = 2 };

static void fetch_sums(const struct fetch *f, uint64_t stripe)
{
	uint64_t chunks = peek(&f->index.top[stripe]);

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
	uint64_t chunks = peek(&f->index.top[stripe]);

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
