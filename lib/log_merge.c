/* SPDX-License-Identifier: MIT */

/* Pages become owed: from bitmaps with a bit per page of the log, or whole ranges, chunk by chunk. */

#include <string.h>

#include "log_internal.h"

void merging_begin(struct merging *m, struct vfd_log *log, uint32_t consumers,
		   const struct log_source *source)
{
	m->hold = (struct hold){ .log = log };
	m->consumers = consumers;
	m->reported = source->provenance == VFD_REPORTED;
	m->any = false;
	m->fresh = 0;
	m->region = NULL;
}

uint64_t merging_end(struct merging *m, const struct log_source *source)
{
	hold_end(&m->hold);
	for (uint32_t left = m->any ? m->consumers : 0; left; left &= left - 1)
		cause_add(m->hold.log, word_first(left), source, m->hull);
	return m->fresh;
}

void merging_region(struct merging *m, const struct region *region)
{
	if (m->region == region)
		return;
	m->region = region;
	m->count = 0;
	for (uint32_t left = m->consumers; left; left &= left - 1)
		m->planes[m->count++] = planes_of(m->hold.log, region, word_first(left));
}

static void widen(struct merging *m, uint64_t first_bit, uint64_t last_bit)
{
	const struct vfd_log *log = m->hold.log;
	uint64_t first = bit_address(log, m->region, first_bit);
	uint64_t last = bit_address(log, m->region, last_bit) + (log->page_size - 1);

	m->hull.first = m->any ? min_u64(m->hull.first, first) : first;
	m->hull.last = m->any ? max_u64(m->hull.last, last) : last;
	m->any = true;
}

/* ---- chunks ---- */

static void merge_word(struct merging *m, uint64_t w, uint64_t word)
{
	if (!word)
		return;
	hold_stripe(&m->hold, m->region, w / STRIPE_WORDS);
	for (unsigned i = 0; i < m->count; i++) {
		uint64_t fresh = planes_merge_word(&m->planes[i], w, word, m->reported);
		m->fresh += i ? 0 : fresh;
	}
	widen(m, w * WORD_BITS + word_first(word), w * WORD_BITS + word_last(word));
}

/* The first and last bit of those words of src, for the hull: if a word was cleared meanwhile, all of it. */
static void widen_words(struct merging *m, uint64_t w, const uint64_t *src, uint64_t words)
{
	unsigned low = word_first(words), high = word_last(words);
	uint64_t first = __atomic_load_n(&src[low], __ATOMIC_RELAXED);
	uint64_t last = __atomic_load_n(&src[high], __ATOMIC_RELAXED);

	widen(m, (w + low) * WORD_BITS + (first ? word_first(first) : 0),
	      (w + high) * WORD_BITS + (last ? word_last(last) : WORD_BITS - 1));
}

/* A source that reports to one consumer is read in place, each word once by what counts. Else a copy, hot in the cache, sees to
 * it that all planes agree if words change under our eyes. */
void merging_chunk(struct merging *m, uint64_t w, const uint64_t *src, size_t n, bool stable)
{
	const struct bitmap_ops *ops = m->hold.log->ops;
	uint64_t copy[CHUNK_WORDS], words = ops->nonzero(src, n), ignored = 0;

	if (!words)
		return;
	if (!stable && (m->count > 1 || !m->reported)) {
		ops->extract(copy, src, 0, n);
		src = copy;
	}
	hold_stripe(&m->hold, m->region, w / STRIPE_WORDS);
	for (unsigned i = 0; i < m->count; i++)
		words = planes_merge(&m->planes[i], ops, w, src, n, m->reported, i ? &ignored : &m->fresh);
	if (words)
		widen_words(m, w, src, words);
}

/* ---- whole ranges ---- */

static void merge_solid(struct merging *m, struct range bits)
{
	uint64_t words[CHUNK_WORDS];

	for (uint64_t at = bits.first; at <= bits.last;) {
		struct range part = chunk_part(bits, at);
		uint64_t from = part.first / WORD_BITS, to = part.last / WORD_BITS;
		for (uint64_t w = from; w <= to; w++)
			words[w - from] = word_mask(w, part.first, part.last);
		if (from == to)
			merge_word(m, from, words[0]);
		else
			merging_chunk(m, from, words, (size_t)(to - from + 1), true);
		at = part.last + 1;
	}
}

void merging_range(struct merging *m, struct range where)
{
	struct cursor c = cursor_over(m->hold.log, where);

	while (cursor_next(&c)) {
		merging_region(m, c.region);
		merge_solid(m, c.bits);
	}
}

/* ---- bitmaps ---- */

struct range bits_range(const struct log_bits *b, uint64_t first, uint64_t last)
{
	struct range r;
	uint64_t offset;

	if (__builtin_mul_overflow(first, b->granularity, &offset) ||
	    __builtin_add_overflow(b->address, offset, &r.first))
		return (struct range){ UINT64_MAX, UINT64_MAX };
	if (__builtin_mul_overflow(last, b->granularity, &offset) ||
	    __builtin_add_overflow(offset, b->granularity - 1, &offset) ||
	    __builtin_add_overflow(b->address, offset, &r.last))
		r.last = UINT64_MAX;
	return r;
}

/* Words of scratch from *done on that hold nothing but bits of b, all of them before bit `end`: merged, or in no region. A word
 * that is shared with bits not yet merged has to wait for them. */
static void clear_scratch(const struct log_bits *b, uint64_t *done, uint64_t end)
{
	for (; b->scratch && *done < end / WORD_BITS; ++*done)
		if (b->scratch[*done])
			b->scratch[*done] = 0;
}

/* One chunk's worth: n bits from bit `from` of the source go to bit `to` of the planes on. */
static void merge_part(struct merging *m, const struct log_bits *b, uint64_t from, uint64_t to, uint64_t n)
{
	const uint64_t *src = &b->words[from / WORD_BITS];
	unsigned at = (unsigned)(to % WORD_BITS), shift = (unsigned)(from % WORD_BITS);
	uint64_t buffer[CHUNK_WORDS];

	if (at + n <= WORD_BITS) {
		merge_word(m, to / WORD_BITS, bitmap_get(b->words, from, (unsigned)n) << at);
	} else if (!at && !shift && !(n % WORD_BITS)) {
		merging_chunk(m, to / WORD_BITS, src, (size_t)(n / WORD_BITS), false);
	} else {
		if (!at && !(n % WORD_BITS))
			m->hold.log->ops->extract(buffer, src, shift, (size_t)(n / WORD_BITS));
		else
			bitmap_extract(buffer, at, b->words, from, n);
		merging_chunk(m, to / WORD_BITS, buffer, (size_t)((at + n - 1) / WORD_BITS + 1), true);
	}
}

/* `lead` is the bit of the source that stands for bit 0 of the planes; it may lie before the first, modulo 2^64. */
static void merge_region(struct merging *m, const struct log_bits *b, struct range bits, uint64_t lead,
			 uint64_t *done)
{
	for (uint64_t at = bits.first; at <= bits.last;) {
		struct range part = chunk_part(bits, at);
		merge_part(m, b, lead + part.first, part.first, part.last - part.first + 1);
		at = part.last + 1;
		clear_scratch(b, done, lead + at);
	}
}

static void merge_pages(struct merging *m, const struct log_bits *b, uint64_t *done)
{
	const struct vfd_log *log = m->hold.log;
	struct cursor c = cursor_over(log, bits_range(b, 0, b->bits - 1));

	while (cursor_next(&c)) {
		uint64_t page = bit_address(log, c.region, 0) >> log->page_shift;
		merging_region(m, c.region);
		merge_region(m, b, c.bits, b->first_bit + page - (b->address >> log->page_shift), done);
	}
}

void merging_bits(struct merging *m, const struct log_bits *b)
{
	const struct vfd_log *log = m->hold.log;
	uint64_t done = (b->first_bit + WORD_BITS - 1) / WORD_BITS;

	if (!b->bits)
		return;
	if (b->granularity == log->page_size && is_aligned(b->address, log->page_size))
		merge_pages(m, b, &done);
	else
		merging_scaled(m, b);
	clear_scratch(b, &done, b->first_bit + b->bits);
}

/* ---- for the floors above ---- */

uint64_t log_merge(struct vfd_log *log, const struct log_bits *bits, const struct log_source *source)
{
	return log_merge_many(log, bits, 1, source);
}

uint64_t log_merge_many(struct vfd_log *log, const struct log_bits *bits, size_t n,
			const struct log_source *source)
{
	struct merging m;

	if (forked(&log->guard))
		return 0;
	gate_enter(&log->gate);
	merging_begin(&m, log, log->live, source);
	for (size_t i = 0; i < n; i++)
		merging_bits(&m, &bits[i]);
	merging_end(&m, source);
	gate_leave(&log->gate);
	return m.fresh;
}

uint64_t log_mark(struct vfd_log *log, struct range where, const struct log_source *source)
{
	struct merging m;

	if (forked(&log->guard))
		return 0;
	gate_enter(&log->gate);
	merging_begin(&m, log, log->live, source);
	merging_range(&m, where);
	merging_end(&m, source);
	gate_leave(&log->gate);
	return m.fresh;
}
