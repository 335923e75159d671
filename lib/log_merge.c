/* SPDX-License-Identifier: MIT */

/* Pages become owed: from bitmaps with a bit per page of the log, or whole ranges, chunk by chunk. */

#include <string.h>

#include "log_internal.h"
#include "probe.h"

void merging_begin(struct merging *m, struct vfd_log *log, uint32_t consumers,
		   const struct log_source *source)
{
	m->hold = (struct hold){ .log = log };
	m->consumers = consumers;
	m->reported = source->provenance == VFD_REPORTED;
	m->any = false;
	m->counted = consumers & 1 && source->provenance != VFD_INITIAL;
	m->fresh = m->before = 0;
	m->region = NULL;
	m->bits = (struct range){ UINT64_MAX, 0 };
}

static void widen(struct merging *m, uint64_t first_bit, uint64_t last_bit)
{
	m->bits.first = min_u64(m->bits.first, first_bit);
	m->bits.last = max_u64(m->bits.last, last_bit);
}

static void leave_region(struct merging *m)
{
	const struct vfd_log *log = m->hold.log;

	if (m->bits.first > m->bits.last)
		return;
	uint64_t first = bit_address(log, m->region, m->bits.first);
	uint64_t last = bit_address(log, m->region, m->bits.last) + (log->page_size - 1);
	m->hull.first = m->any ? min_u64(m->hull.first, first) : first;
	m->hull.last = m->any ? max_u64(m->hull.last, last) : last;
	m->any = true;
	m->bits = (struct range){ UINT64_MAX, 0 };
	if (m->counted)
		region_count_fresh(m->region, m->fresh - m->before);
	m->before = m->fresh;
}

static void enter_region(struct merging *m, struct region *region)
{
	leave_region(m);
	m->region = region;
	m->count = 0;
	for (uint32_t left = m->consumers; left; left &= left - 1)
		m->planes[m->count++] = planes_of(m->hold.log, region, word_first(left));
}

/* What was marked before is owed before, and not new. What is marked from here on may come to be owed later: the planes are the
 * same then. So a merge never waits for markers. */
void merging_region(struct merging *m, struct region *region, struct range bits)
{
	if (m->region != region)
		enter_region(m, region);
	fold_stripes(&m->hold, region, stripes_of(bits));
}

uint64_t merging_end(struct merging *m, const struct log_source *source)
{
	leave_region(m);
	hold_end(&m->hold);
	for (uint32_t left = m->any ? m->consumers : 0; left; left &= left - 1)
		cause_add(m->hold.log, word_first(left), source, m->hull, m->fresh);
	if (m->any && source->provenance == VFD_ASSUMED)
		probe(assume, source->reason, source->who, m->hull.first, m->hull.last, m->fresh);
	return m->fresh;
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

/* Word by word, each loaded once */
static void merge_words(struct merging *m, uint64_t w, const uint64_t *src, uint64_t words)
{
	for (; words; words &= words - 1)
		merge_word(m, w + word_first(words),
			   __atomic_load_n(&src[word_first(words)], __ATOMIC_RELAXED));
}

/* A source that reports to one consumer is read in place, each word once by what counts. Else a copy, hot in the cache, sees to
 * it that all planes agree if words change under our eyes. */
static void merge_many(struct merging *m, uint64_t w, const uint64_t *src, size_t n, bool stable)
{
	const struct bitmap_ops *ops = m->hold.log->ops;
	uint64_t copy[CHUNK_WORDS], words = 0, ignored = 0;

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

uint64_t merging_chunk(struct merging *m, uint64_t w, const uint64_t *src, size_t n, bool stable)
{
	enum { FEW = 8 }; /* below this share the kernel over all of them costs more */
	uint64_t words = m->hold.log->ops->nonzero(src, n);

	if (!words)
		return 0;
	if (word_count(words) * FEW <= n)
		merge_words(m, w, src, words);
	else
		merge_many(m, w, src, n, stable);
	return words;
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
		merging_region(m, c.region, c.bits);
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

/* n words, at most 64, become 0: those in `set` are not. */
static void clear_words(uint64_t *words, size_t n, uint64_t set)
{
	if (n == CHUNK_WORDS && set == ~UINT64_C(0)) {
		memset(words, 0, CHUNK_WORDS * sizeof(*words));
		return;
	}
	for (; set; set &= set - 1)
		words[word_first(set)] = 0;
}

/* Words of scratch from *done on that hold nothing but bits of b, all of them before bit `end`: merged, or in no region. A word
 * that is shared with bits not yet merged has to wait for them. */
static void clear_scratch(const struct merging *m, const struct log_bits *b, uint64_t *done, uint64_t end)
{
	uint64_t to = end / WORD_BITS;

	for (uint64_t n; *done < to; *done += n) {
		n = min_u64(CHUNK_WORDS, to - *done);
		uint64_t *words = &b->scratch[*done];
		clear_words(words, (size_t)n, m->hold.log->ops->nonzero(words, (size_t)n));
	}
}

/* Whole words of the source are whole words of the planes: scratch is cleared while its words are known. */
static void merge_whole(struct merging *m, const struct log_bits *b, uint64_t from, uint64_t to, size_t n,
			uint64_t *done)
{
	uint64_t words = merging_chunk(m, to, &b->words[from], n, b->scratch);

	if (!b->scratch || *done != from)
		return;
	clear_words(&b->scratch[from], n, words);
	*done += n;
}

static void merge_shifted(struct merging *m, const struct log_bits *b, uint64_t from, uint64_t to, uint64_t n)
{
	unsigned at = (unsigned)(to % WORD_BITS), shift = (unsigned)(from % WORD_BITS);
	uint64_t buffer[CHUNK_WORDS];

	if (!at && !(n % WORD_BITS))
		m->hold.log->ops->extract(buffer, &b->words[from / WORD_BITS], shift,
					  (size_t)(n / WORD_BITS));
	else
		bitmap_extract(buffer, at, b->words, from, n);
	merging_chunk(m, to / WORD_BITS, buffer, (size_t)((at + n - 1) / WORD_BITS + 1), true);
}

/* One chunk's worth: n bits from bit `from` of the source go to bit `to` of the planes on. */
static void merge_part(struct merging *m, const struct log_bits *b, uint64_t from, uint64_t to, uint64_t n,
		       uint64_t *done)
{
	unsigned at = (unsigned)(to % WORD_BITS);

	if (at + n <= WORD_BITS)
		merge_word(m, to / WORD_BITS, bitmap_get(b->words, from, (unsigned)n) << at);
	else if (!((from | to | n) % WORD_BITS))
		merge_whole(m, b, from / WORD_BITS, to / WORD_BITS, (size_t)(n / WORD_BITS), done);
	else
		merge_shifted(m, b, from, to, n);
}

/* `lead` is the bit of the source that stands for bit 0 of the planes; it may lie before the first, modulo 2^64. */
static void merge_region(struct merging *m, const struct log_bits *b, struct range bits, uint64_t lead,
			 uint64_t *done)
{
	for (uint64_t at = bits.first; at <= bits.last;) {
		struct range part = chunk_part(bits, at);
		merge_part(m, b, lead + part.first, part.first, part.last - part.first + 1, done);
		at = part.last + 1;
		if (b->scratch)
			clear_scratch(m, b, done, lead + at);
	}
}

static void merge_pages(struct merging *m, const struct log_bits *b, uint64_t *done)
{
	const struct vfd_log *log = m->hold.log;
	struct cursor c = cursor_over(log, bits_range(b, 0, b->bits - 1));

	while (cursor_next(&c)) {
		uint64_t page = bit_address(log, c.region, 0) >> log->page_shift;
		merging_region(m, c.region, c.bits);
		merge_region(m, b, c.bits, b->first_bit + page - (b->address >> log->page_shift), done);
	}
}

/* A few pages in the region where we are, in one word: that is what single pages of memory come as, thousands of times. No
 * word of scratch is theirs alone. */
static bool merge_few(struct merging *m, const struct log_bits *b)
{
	const struct vfd_log *log = m->hold.log;
	struct region *region = m->region;

	if (!region || b->bits >= WORD_BITS || b->address < region->address || b->address > region->last)
		return false;
	uint64_t bit = address_bit(log, region, b->address);
	unsigned at = (unsigned)(bit % WORD_BITS), n = (unsigned)b->bits;
	if (at + n > WORD_BITS || bit + n - 1 > address_bit(log, region, region->last))
		return false;
	merging_region(m, region, (struct range){ bit, bit + n - 1 });
	merge_word(m, bit / WORD_BITS, bitmap_get(b->words, b->first_bit, n) << at);
	return true;
}

void merging_bits(struct merging *m, const struct log_bits *b)
{
	const struct vfd_log *log = m->hold.log;
	uint64_t done = (b->first_bit + WORD_BITS - 1) / WORD_BITS;
	bool pages = b->granularity == log->page_size && is_aligned(b->address, log->page_size);

	if (!b->bits || (pages && merge_few(m, b)))
		return;
	if (pages)
		merge_pages(m, b, &done);
	else
		merging_scaled(m, b);
	if (b->scratch)
		clear_scratch(m, b, &done, b->first_bit + b->bits);
}

/* ---- for the floors above ---- */

/* On the way into the cache: what a page of the region where we are will need */
static void fetch_page(const struct merging *m, uint64_t address)
{
	if (!m->region || address < m->region->address || address > m->region->last)
		return;
	uint64_t w = address_bit(m->hold.log, m->region, address) / WORD_BITS;
	__builtin_prefetch(&m->planes[0].owed.bits[w], 1);
	__builtin_prefetch(&m->planes[0].owed.sum[w / CHUNK_WORDS], 1);
}

uint64_t log_merge_many(struct vfd_log *log, const struct log_bits *bits, size_t n,
			const struct log_source *source)
{
	enum { AHEAD = 8 };
	struct merging m;

	if (forked(&log->guard))
		return 0;
	gate_enter(&log->gate);
	merging_begin(&m, log, log->live, source);
	for (size_t i = 0; i < n; i++) {
		if (n - i > AHEAD)
			fetch_page(&m, bits[i + AHEAD].address);
		merging_bits(&m, &bits[i]);
	}
	merging_end(&m, source);
	gate_leave(&log->gate);
	return m.fresh;
}

uint64_t log_merge(struct vfd_log *log, const struct log_bits *bits, const struct log_source *source)
{
	return log_merge_many(log, bits, 1, source);
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
