/* SPDX-License-Identifier: MIT */

/* The planes of one region and consumer, and their summaries. */

#include <string.h>

#include "log_internal.h"

static uint64_t words_for(uint64_t bits)
{
	return (bits + WORD_BITS - 1) / WORD_BITS;
}

static uint64_t plane_words(const struct vfd_log *log, const struct region *region)
{
	return address_bit(log, region, region->last) / WORD_BITS + 1;
}

/* Per summed plane: the plane, one bit a word, one bit a word of that */
uint64_t planes_bytes(const struct vfd_log *log, const struct region *region)
{
	uint64_t words = plane_words(log, region), sum = words_for(words), top = words_for(sum);

	return (3 * words + 2 * sum + 2 * top) * sizeof(uint64_t);
}

/* Summaries first: those of a small log share one page. */
struct planes planes_of(const struct vfd_log *log, const struct region *region, unsigned consumer)
{
	uint64_t words = plane_words(log, region), sum = words_for(words), top = words_for(sum);
	uint64_t *base = at_offset(log, region->planes[consumer]);
	uint64_t *planes = base + 2 * (top + sum);

	return (struct planes){
		.owed = { .top = base, .sum = base + 2 * top, .bits = planes },
		.taken = { .top = base + top, .sum = base + 2 * top + sum, .bits = planes + words },
		.reported = planes + 2 * words,
	};
}

/* Down one level: the first bit of `upper` at or after word *w of the level below tells which word is not 0.
 */
static bool next_word_below_top(const struct summed *s, uint64_t *w, uint64_t last)
{
	uint64_t found, sum_last = last / WORD_BITS;

	for (uint64_t at = *w / WORD_BITS; at <= sum_last && bitmap_next(s->top, at, sum_last, &at); at++) {
		uint64_t from = max_u64(*w, at * WORD_BITS);
		if (bitmap_next(s->sum, from, min_u64(last, at * WORD_BITS + WORD_BITS - 1), &found)) {
			*w = found;
			return true;
		}
	}
	return false;
}

bool summed_next_word(const struct summed *s, uint64_t *w, uint64_t last)
{
	if (*w > last)
		return false;
	/* the common case: the word itself */
	if (s->sum[*w / WORD_BITS] >> (*w % WORD_BITS) & 1)
		return true;
	return next_word_below_top(s, w, last);
}

static bool summed_prev_word(const struct summed *s, uint64_t *w, uint64_t first)
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

	for (uint64_t w = bits.first / WORD_BITS; summed_next_word(s, &w, last); w++) {
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

	for (uint64_t w = bits.last / WORD_BITS; summed_prev_word(s, &w, first); w--) {
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

static void put_bit(uint64_t *words, uint64_t bit, bool value)
{
	uint64_t mask = UINT64_C(1) << (bit % WORD_BITS);

	words[bit / WORD_BITS] = value ? words[bit / WORD_BITS] | mask : words[bit / WORD_BITS] & ~mask;
}

void summed_update(const struct summed *s, uint64_t w)
{
	put_bit(s->sum, w, s->bits[w]);
	put_bit(s->top, w / WORD_BITS, s->sum[w / WORD_BITS]);
}

uint64_t planes_merge(const struct planes *p, uint64_t w, const uint64_t *src, size_t n, uint64_t nonzero,
		      bool reported)
{
	uint64_t fresh;

	if (reported) {
		fresh = bitmap_or_count(&p->owed.bits[w], src, n);
		bitmap_or(&p->reported[w], src, n);
	} else {
		/* what the bit said of the taken page no longer counts; what is owed as reported stays
		 * reported */
		fresh = bitmap_or_count_clear(&p->owed.bits[w], &p->reported[w], src, n);
	}
	p->owed.sum[w / WORD_BITS] |= nonzero << (w % WORD_BITS);
	put_bit(p->owed.top, w / WORD_BITS, true);
	return fresh;
}

static void wipe_summed(const struct summed *s, uint64_t *reported, uint64_t last)
{
	for (uint64_t w = 0; summed_next_word(s, &w, last); w++) {
		s->bits[w] = reported[w] = 0;
		summed_update(s, w);
	}
}

void planes_wipe(const struct planes *p, const struct vfd_log *log, const struct region *region)
{
	uint64_t last = plane_words(log, region) - 1;

	wipe_summed(&p->owed, p->reported, last);
	wipe_summed(&p->taken, p->reported, last);
}
