/* SPDX-License-Identifier: MIT */

/* The planes of one region, and their summaries. */

#include <string.h>

#include "log_internal.h"

/* ---- layout ---- */

static struct summed plane_at(uint64_t *base, struct extent e, unsigned index, unsigned count)
{
	uint64_t *tops = base + count * e.tip, *sums = tops + count * e.top;

	return (struct summed){
		.tip = base + index * e.tip,
		.top = tops + index * e.top,
		.sum = sums + index * e.sum,
		.bits = base + extent_bits(e, index, count),
	};
}

uint64_t planes_bytes(const struct vfd_log *log, const struct region *region)
{
	return extent_bytes(extent_of(region, log->page_shift), 3);
}

struct planes planes_of(const struct vfd_log *log, const struct region *region, unsigned consumer)
{
	struct extent e = extent_of(region, log->page_shift);
	uint64_t *base = at_offset(log, region->planes[consumer]);

	return (struct planes){
		.owed = plane_at(base, e, 0, 3),
		.taken = plane_at(base, e, 1, 3),
		.other = plane_at(base, e, 2, 3),
	};
}

uint64_t inbox_bytes(const struct vfd_log *log, const struct region *region)
{
	return extent_bytes(extent_of(region, log->page_shift), 1);
}

struct summed inbox_of(const struct vfd_log *log, const struct region *region)
{
	return plane_at(at_offset(log, region->inbox), extent_of(region, log->page_shift), 0, 1);
}

/* ---- looking for bits ---- */

enum { LEVELS = 4 };

static const uint64_t *level_words(const struct summed *s, unsigned level)
{
	const uint64_t *const words[LEVELS] = { s->bits, s->sum, s->top, s->tip };

	return words[level];
}

/* The first bit of a level in `bits`: only words that the level above has a bit for are read. */
static bool first_at(const struct summed *s, unsigned level, struct range bits, uint64_t *found)
{
	const uint64_t *words = level_words(s, level);
	struct range within = { bits.first / WORD_BITS, bits.last / WORD_BITS };

	if (level == LEVELS - 1)
		return bitmap_next(words, bits.first, bits.last, found);
	for (uint64_t w; within.first <= within.last && first_at(s, level + 1, within, &w);
	     within.first = w + 1) {
		uint64_t word = words[w] & word_mask(w, bits.first, bits.last);
		if (word) {
			*found = w * WORD_BITS + word_first(word);
			return true;
		}
	}
	return false;
}

static bool last_at(const struct summed *s, unsigned level, struct range bits, uint64_t *found)
{
	const uint64_t *words = level_words(s, level);
	struct range within = { bits.first / WORD_BITS, bits.last / WORD_BITS };

	if (level == LEVELS - 1)
		return bitmap_prev(words, bits.first, bits.last, found);
	for (uint64_t w; last_at(s, level + 1, within, &w); within.last = w - 1) {
		uint64_t word = words[w] & word_mask(w, bits.first, bits.last);
		if (word) {
			*found = w * WORD_BITS + word_last(word);
			return true;
		}
		if (w == within.first)
			break;
	}
	return false;
}

bool summed_first(const struct summed *s, struct range bits, uint64_t *found)
{
	return first_at(s, 0, bits, found);
}

bool summed_last(const struct summed *s, struct range bits, uint64_t *found)
{
	return last_at(s, 0, bits, found);
}

/* ---- changing ---- */

void summed_change(const struct summed *s, uint64_t chunk, uint64_t zero, uint64_t set)
{
	uint64_t stripe = chunk / WORD_BITS, bit = UINT64_C(1) << chunk % WORD_BITS;
	uint64_t before = peek(&s->top[stripe]),
		 sum = (before & bit ? peek(&s->sum[chunk]) & ~zero : 0) | set;
	uint64_t top = sum ? before | bit : before & ~bit;

	if (sum || before & bit)
		poke(&s->sum[chunk], sum);
	if (top == before)
		return;
	poke(&s->top[stripe], top);
	if (!top)
		tip_clear(s, stripe);
	else if (!before)
		tip_set(s, stripe);
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

static void wipe_summed(const struct summed *s, struct range stripes)
{
	for (uint64_t stripe; stripe_next(s, NULL, &stripes, &stripe);)
		for (uint64_t chunks = s->top[stripe]; chunks; chunks &= chunks - 1)
			wipe_chunk(s, stripe * WORD_BITS + word_first(chunks));
}

void planes_wipe(const struct planes *p, const struct vfd_log *log, const struct region *region)
{
	struct range stripes = { 0, extent_of(region, log->page_shift).top - 1 };

	wipe_summed(&p->owed, stripes);
	wipe_summed(&p->taken, stripes);
	wipe_summed(&p->other, stripes);
}
