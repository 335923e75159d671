/* SPDX-License-Identifier: MIT */

/* The planes of one region, and their summaries. */

#include <string.h>

#include "log_internal.h"

/* ---- layout ---- */

static uint64_t words_for(uint64_t bits)
{
	return (bits + WORD_BITS - 1) / WORD_BITS;
}

/* Words of a plane, of its summary, of the summary of that */
struct extent {
	uint64_t words, sum, top;
};

static struct extent extent_of(const struct vfd_log *log, const struct region *region)
{
	uint64_t words = address_bit(log, region, region->last) / WORD_BITS + 1;
	uint64_t sum = words_for(words);

	return (struct extent){ words, sum, words_for(sum) };
}

/* `count` planes with their summaries. Summaries first: those of a small log share one page. */
static uint64_t bytes_of(struct extent e, unsigned count)
{
	return count * (e.words + e.sum + e.top) * sizeof(uint64_t);
}

static struct summed plane_at(uint64_t *base, struct extent e, unsigned index, unsigned count)
{
	uint64_t *sums = base + count * e.top, *planes = sums + count * e.sum;

	return (struct summed){
		.top = base + index * e.top,
		.sum = sums + index * e.sum,
		.bits = planes + index * e.words,
	};
}

uint64_t planes_bytes(const struct vfd_log *log, const struct region *region)
{
	return bytes_of(extent_of(log, region), 3);
}

struct planes planes_of(const struct vfd_log *log, const struct region *region, unsigned consumer)
{
	struct extent e = extent_of(log, region);
	uint64_t *base = at_offset(log, region->planes[consumer]);

	return (struct planes){
		.owed = plane_at(base, e, 0, 3),
		.taken = plane_at(base, e, 1, 3),
		.other = plane_at(base, e, 2, 3),
	};
}

uint64_t inbox_bytes(const struct vfd_log *log, const struct region *region)
{
	return bytes_of(extent_of(log, region), 1);
}

struct summed inbox_of(const struct vfd_log *log, const struct region *region)
{
	return plane_at(at_offset(log, region->inbox), extent_of(log, region), 0, 1);
}

/* ---- looking for bits ---- */

/* Down two levels: the first chunk at or after chunk w / 64 that has a word at or after w, not beyond last */
static bool next_word(const struct summed *s, uint64_t *w, uint64_t last)
{
	uint64_t found, chunk = *w / CHUNK_WORDS, end = last / CHUNK_WORDS;

	for (; *w <= last && bitmap_next(s->top, chunk, end, &chunk) && chunk <= end; chunk++) {
		uint64_t from = max_u64(*w, chunk * CHUNK_WORDS);
		if (bitmap_next(s->sum, from, min_u64(last, chunk * CHUNK_WORDS + CHUNK_WORDS - 1), &found)) {
			*w = found;
			return true;
		}
		if (chunk == end)
			break;
	}
	return false;
}

static bool prev_word(const struct summed *s, uint64_t *w, uint64_t first)
{
	uint64_t found, at = *w / WORD_BITS;

	while (bitmap_prev(s->top, first / WORD_BITS, at, &at)) {
		uint64_t to = min_u64(*w, at * WORD_BITS + WORD_BITS - 1);
		if (bitmap_prev(s->sum, max_u64(first, at * WORD_BITS), to, &found)) {
			*w = found;
			return true;
		}
		if (at-- == first / WORD_BITS)
			break;
	}
	return false;
}

bool summed_first(const struct summed *s, struct range bits, uint64_t *found)
{
	uint64_t last = bits.last / WORD_BITS;

	for (uint64_t w = bits.first / WORD_BITS; next_word(s, &w, last); w++) {
		uint64_t word = s->bits[w] & word_mask(w, bits.first, bits.last);
		if (word) {
			*found = w * WORD_BITS + word_first(word);
			return true;
		}
	}
	return false;
}

bool summed_last(const struct summed *s, struct range bits, uint64_t *found)
{
	uint64_t first = bits.first / WORD_BITS;

	for (uint64_t w = bits.last / WORD_BITS; prev_word(s, &w, first); w--) {
		uint64_t word = s->bits[w] & word_mask(w, bits.first, bits.last);
		if (word) {
			*found = w * WORD_BITS + word_last(word);
			return true;
		}
		if (w == first)
			break;
	}
	return false;
}

/* ---- changing ---- */

void summed_change(const struct summed *s, uint64_t chunk, uint64_t zero, uint64_t set)
{
	uint64_t bit = UINT64_C(1) << chunk % WORD_BITS, *top = &s->top[chunk / WORD_BITS];
	uint64_t sum = (peek(&s->sum[chunk]) & ~zero) | set;

	poke(&s->sum[chunk], sum);
	poke(top, sum ? peek(top) | bit : peek(top) & ~bit);
}

/* The words at w on that are set in `words`, those of src: reported by now */
static void settle(const struct summed *other, uint64_t w, const uint64_t *src, uint64_t words)
{
	uint64_t chunk = w / CHUNK_WORDS, zero = 0;

	words &= summed_words(other, chunk) >> w % CHUNK_WORDS;
	if (!words)
		return;
	for (; words; words &= words - 1) {
		unsigned i = word_first(words);
		other->bits[w + i] &= ~src[i];
		zero |= (uint64_t)!other->bits[w + i] << (w + i) % CHUNK_WORDS;
	}
	summed_change(other, chunk, zero, 0);
}

/* What was said of a taken page no longer counts when it is owed again; what is owed as reported stays reported. */
static uint64_t merge_other(const struct planes *p, const struct bitmap_ops *ops, uint64_t w,
			    const uint64_t *src, size_t n, uint64_t *fresh)
{
	uint64_t added[CHUNK_WORDS], ignored = 0;

	ops->extract(added, src, 0, n);
	ops->and_not(added, &p->owed.bits[w], n);
	uint64_t words = ops->merge(&p->other.bits[w], added, n, &ignored);
	if (words)
		summed_change(&p->other, w / CHUNK_WORDS, 0, words << w % CHUNK_WORDS);
	return ops->merge(&p->owed.bits[w], src, n, fresh);
}

uint64_t planes_merge(const struct planes *p, const struct bitmap_ops *ops, uint64_t w, const uint64_t *src,
		      size_t n, bool reported, uint64_t *fresh)
{
	uint64_t words;

	if (reported) {
		words = ops->merge(&p->owed.bits[w], src, n, fresh);
		settle(&p->other, w, src, words);
	} else {
		words = merge_other(p, ops, w, src, n, fresh);
	}
	summed_change(&p->owed, w / CHUNK_WORDS, 0, words << w % CHUNK_WORDS);
	return words;
}

uint64_t planes_merge_word(const struct planes *p, uint64_t w, uint64_t word, bool reported)
{
	uint64_t fresh = word & ~p->owed.bits[w];

	if (reported)
		settle(&p->other, w, &word, 1);
	if (!fresh)
		return 0;
	p->owed.bits[w] |= fresh;
	summed_change(&p->owed, w / CHUNK_WORDS, 0, UINT64_C(1) << w % CHUNK_WORDS);
	if (!reported) {
		p->other.bits[w] |= fresh;
		summed_change(&p->other, w / CHUNK_WORDS, 0, UINT64_C(1) << w % CHUNK_WORDS);
	}
	return word_count(fresh);
}

static void wipe_chunk(const struct summed *s, uint64_t chunk)
{
	for (uint64_t words = s->sum[chunk]; words; words &= words - 1)
		s->bits[chunk * CHUNK_WORDS + word_first(words)] = 0;
	summed_change(s, chunk, ~UINT64_C(0), 0);
}

static void wipe_summed(const struct summed *s, uint64_t tops)
{
	for (uint64_t stripe = 0; stripe < tops; stripe++)
		for (uint64_t chunks = s->top[stripe]; chunks; chunks &= chunks - 1)
			wipe_chunk(s, stripe * WORD_BITS + word_first(chunks));
}

void planes_wipe(const struct planes *p, const struct vfd_log *log, const struct region *region)
{
	uint64_t tops = extent_of(log, region).top;

	wipe_summed(&p->owed, tops);
	wipe_summed(&p->taken, tops);
	wipe_summed(&p->other, tops);
}
