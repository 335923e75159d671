/* SPDX-License-Identifier: MIT */

/* Pages become owed. Everything that owes pages ends in merge_chunk(): 64 plane words under one summary word.
 *
 * All of it runs under the log's lock today. The seam for lock-free markers is merge_chunk() too: a marker
 * that does not own the chunk will OR into the chunk's inbox instead of its planes. */

#include <inttypes.h>

#include "log_internal.h"
#include "options.h"

/* A region's planes, of the consumers that are to be owed */
struct target {
	const struct region *region;
	unsigned count;
	struct planes planes[MAX_CONSUMERS];
};

struct merging {
	struct vfd_log *log;
	uint32_t consumers; /* a bit for each that is to be owed */
	bool reported;
	uint64_t fresh;	   /* pages that were clean, for the first of those consumers */
	bool any;	   /* hull is valid */
	struct range hull; /* of what was merged */
};

static uint32_t live_consumers(const struct vfd_log *log)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < MAX_CONSUMERS; i++)
		mask |= (uint32_t)log->consumers[i].live << i;
	return mask;
}

static void aim(const struct merging *m, struct target *t, const struct region *region)
{
	t->region = region;
	t->count = 0;
	for (uint32_t left = m->consumers; left; left &= left - 1)
		t->planes[t->count++] = planes_of(m->log, region, word_first(left));
}

static void widen(struct merging *m, struct range merged)
{
	m->hull.first = m->any ? min_u64(m->hull.first, merged.first) : merged.first;
	m->hull.last = m->any ? max_u64(m->hull.last, merged.last) : merged.last;
	m->any = true;
}

/* n words of pages at plane word w, all in one chunk */
static void merge_chunk(struct merging *m, const struct target *t, uint64_t w, const uint64_t *src, size_t n)
{
	uint64_t nonzero = bitmap_nonzero(src, n);

	if (!nonzero)
		return;
	for (unsigned i = 0; i < t->count; i++) {
		uint64_t fresh = planes_merge(&t->planes[i], w, src, n, nonzero, m->reported);
		m->fresh += i ? 0 : fresh;
	}
	unsigned low = word_first(nonzero), high = word_last(nonzero);
	uint64_t first = (w + low) * WORD_BITS + word_first(src[low]);
	uint64_t last = (w + high) * WORD_BITS + word_last(src[high]);
	widen(m, (struct range){ bit_address(m->log, t->region, first),
				 bit_address(m->log, t->region, last) + m->log->page_size - 1 });
}

/* The part of `bits` from bit `at` on that lies in one chunk */
static struct range chunk_at(struct range bits, uint64_t at)
{
	const uint64_t chunk = CHUNK_WORDS * WORD_BITS;

	return (struct range){ at, min_u64(bits.last, at / chunk * chunk + chunk - 1) };
}

/* ---- whole ranges ---- */

static void merge_solid(struct merging *m, const struct target *t, struct range bits)
{
	uint64_t words[CHUNK_WORDS];

	for (uint64_t at = bits.first; at <= bits.last;) {
		struct range part = chunk_at(bits, at);
		uint64_t from = part.first / WORD_BITS, to = part.last / WORD_BITS;
		for (uint64_t w = from; w <= to; w++)
			words[w - from] = word_mask(w, part.first, part.last);
		merge_chunk(m, t, from, words, (size_t)(to - from + 1));
		at = part.last + 1;
	}
}

static void merge_range(struct merging *m, struct range where)
{
	struct cursor c = cursor_over(m->log, where);
	struct target t;

	while (cursor_next(&c)) {
		aim(m, &t, c.region);
		merge_solid(m, &t, c.bits);
	}
}

/* ---- bitmaps ---- */

/* The log addresses of bits first..last of b, cut where 2^64 ends */
static struct range bits_range(const struct log_bits *b, uint64_t first, uint64_t last)
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

/* A bit of b is a page of the log: word by word. `lead` is the bit of words that stands for bit 0 of the
 * planes; it may lie before the first, modulo 2^64. The copy, hot in the cache, is what counts: if words
 * change under our eyes, all planes and the summary still agree. */
static void merge_words(struct merging *m, const struct target *t, struct range bits,
			const struct log_bits *b, uint64_t lead)
{
	uint64_t buffer[CHUNK_WORDS];

	for (uint64_t at = bits.first; at <= bits.last;) {
		struct range part = chunk_at(bits, at);
		bitmap_extract(buffer, (unsigned)(part.first % WORD_BITS), b->words, lead + part.first,
			       part.last - part.first + 1);
		merge_chunk(m, t, part.first / WORD_BITS, buffer,
			    (size_t)(part.last / WORD_BITS - part.first / WORD_BITS + 1));
		at = part.last + 1;
	}
}

static void merge_pages(struct merging *m, const struct log_bits *b)
{
	struct cursor c = cursor_over(m->log, bits_range(b, 0, b->bits - 1));
	struct target t;

	while (cursor_next(&c)) {
		uint64_t page = bit_address(m->log, c.region, 0) >> m->log->page_shift;
		uint64_t lead = b->first_bit + page - (b->address >> m->log->page_shift);
		aim(m, &t, c.region);
		merge_words(m, &t, c.bits, b, lead);
	}
}

/* Any granularity, any address: run by run, rounded outwards to pages of the log. */
static void merge_runs(struct merging *m, const struct log_bits *b)
{
	uint64_t end = b->first_bit + b->bits - 1;
	struct bit_run run;

	for (uint64_t at = b->first_bit; at <= end && bitmap_next_run(b->words, at, end, &run);
	     at = run.last + 1)
		merge_range(m, bits_range(b, run.first - b->first_bit, run.last - b->first_bit));
}

/* ---- the calls ---- */

static struct merging merging_all(struct vfd_log *log, const struct log_source *source)
{
	return (struct merging){
		.log = log,
		.consumers = live_consumers(log),
		.reported = source->provenance == VFD_REPORTED,
	};
}

static uint64_t finish(const struct merging *m, const struct log_source *source)
{
	for (uint32_t left = m->any ? m->consumers : 0; left; left &= left - 1)
		cause_add(m->log, word_first(left), source, m->hull);
	return m->fresh;
}

static uint64_t merge_locked(struct vfd_log *log, const struct log_bits *b, const struct log_source *source)
{
	struct merging m = merging_all(log, source);

	if (!b->bits)
		return 0;
	if (b->granularity == log->page_size && is_aligned(b->address, log->page_size))
		merge_pages(&m, b);
	else
		merge_runs(&m, b);
	return finish(&m, source);
}

static uint64_t mark_locked(struct vfd_log *log, struct range where, const struct log_source *source)
{
	struct merging m = merging_all(log, source);

	merge_range(&m, where);
	return finish(&m, source);
}

/* The words that hold no other bits than these */
static void clear_scratch(const struct log_bits *b)
{
	uint64_t end = b->first_bit + b->bits;

	for (uint64_t w = (b->first_bit + WORD_BITS - 1) / WORD_BITS; b->scratch && w < end / WORD_BITS; w++)
		if (b->scratch[w])
			b->scratch[w] = 0;
}

uint64_t log_merge(struct vfd_log *log, const struct log_bits *bits, const struct log_source *source)
{
	if (forked(&log->guard))
		return 0;
	pthread_mutex_lock(&log->lock);
	uint64_t fresh = merge_locked(log, bits, source);
	log_leave(log);
	clear_scratch(bits);
	return fresh;
}

uint64_t log_mark(struct vfd_log *log, struct range where, const struct log_source *source)
{
	if (forked(&log->guard))
		return 0;
	pthread_mutex_lock(&log->lock);
	uint64_t fresh = mark_locked(log, where, source);
	log_leave(log);
	return fresh;
}

static int fail_hole(struct range hole, const char *operation, struct vfd_error *err)
{
	return fail_range(err, VFD_ENOREGION, operation, hole.first, hole.last,
			  "log addresses 0x%" PRIx64 "..0x%" PRIx64 " lie in no region: nothing was marked",
			  hole.first, hole.last);
}

static int mark_checked(struct vfd_log *log, uint64_t address, uint64_t size, struct vfd_error *err)
{
	static const struct log_source caller = { .provenance = VFD_SOFTWARE, .who = "caller" };
	struct range where, hole;

	if (!size)
		return fail(err, VFD_EINVALID, "vfd_log_mark", "size is 0");
	if (!range_make(&where, address, size))
		return fail(err, VFD_EWRAP, "vfd_log_mark",
			    "0x%" PRIx64 " bytes from 0x%" PRIx64 " wrap around", size, address);
	if (first_hole(log, where, &hole))
		return fail_hole(hole, "vfd_log_mark", err);
	mark_locked(log, where, &caller);
	return 0;
}

int vfd_log_mark(struct vfd_log *log, uint64_t address, uint64_t size, struct vfd_error *err)
{
	int ret = log_enter(log, "vfd_log_mark", err);

	if (ret)
		return ret;
	ret = mark_checked(log, address, size, err);
	log_leave(log);
	return ret;
}

int vfd_mark_initial(struct vfd_consumer *consumer, struct vfd_error *err)
{
	static const struct log_source initial = { .provenance = VFD_INITIAL, .who = "initial" };
	int ret = consumer_enter(consumer, "vfd_mark_initial", err);

	if (ret)
		return ret;
	struct merging m = { .log = consumer->log, .consumers = UINT32_C(1) << consumer->index };
	merge_range(&m, RANGE_ALL);
	finish(&m, &initial);
	log_leave(consumer->log);
	return 0;
}

/* ---- someone else's bitmap ---- */

static int check_bitmap(const struct vfd_bitmap *b, struct vfd_error *err)
{
	const char *op = "vfd_log_merge";
	uint64_t size;
	struct range all;

	if (b->provenance != VFD_REPORTED && b->provenance != VFD_SOFTWARE)
		return fail(err, VFD_EINVALID, op,
			    "provenance %" PRIu32 " is neither VFD_REPORTED nor VFD_SOFTWARE", b->provenance);
	if (!is_power_of_two(b->page_size))
		return fail(err, VFD_EINVALID, op, "page_size %" PRIu64 " is not a power of two",
			    b->page_size);
	if (!b->bits)
		return fail(err, VFD_EINVALID, op, "bits is 0");
	if (!b->words)
		return fail_null("words", op, err);
	if (!is_aligned(b->address, b->page_size))
		return fail(err, VFD_EALIGN, op,
			    "address 0x%" PRIx64 " is not a multiple of page_size, %" PRIu64, b->address,
			    b->page_size);
	if (__builtin_mul_overflow(b->bits, b->page_size, &size) || !range_make(&all, b->address, size))
		return fail(err, VFD_EWRAP, op,
			    "%" PRIu64 " bits of %" PRIu64 " bytes from 0x%" PRIx64 " wrap around", b->bits,
			    b->page_size, b->address);
	return 0;
}

/* All set bits lie in regions: look only at those that stand for addresses in holes. */
static int check_holes(const struct vfd_log *log, const struct log_bits *b, struct vfd_error *err)
{
	struct range rest = bits_range(b, 0, b->bits - 1), hole;
	uint64_t found;

	while (first_hole(log, rest, &hole)) {
		uint64_t first = (hole.first - b->address) / b->granularity;
		uint64_t last = (hole.last - b->address) / b->granularity;
		if (bitmap_next(b->words, first, last, &found))
			return fail_hole(bits_range(b, found, found), "vfd_log_merge", err);
		if (hole.last >= rest.last)
			return 0;
		rest.first = hole.last + 1;
	}
	return 0;
}

static int merge_checked(struct vfd_log *log, const struct vfd_bitmap *bitmap, uint64_t *pages_new,
			 struct vfd_error *err)
{
	struct vfd_bitmap v;
	int ret = copy_options(&v, sizeof(v), offsetof(struct vfd_bitmap, who) + sizeof(v.who), bitmap,
			       "struct vfd_bitmap", err);

	if (ret || (ret = check_bitmap(&v, err)))
		return ret;
	struct log_bits bits = {
		.address = v.address, .granularity = v.page_size, .words = v.words, .bits = v.bits
	};
	struct log_source source = {
		.provenance = v.provenance,
		.granularity = v.page_size,
		.who = v.who ? v.who : "caller",
	};
	if ((ret = check_holes(log, &bits, err)))
		return ret;
	uint64_t fresh = merge_locked(log, &bits, &source);
	if (pages_new)
		*pages_new = fresh;
	return 0;
}

int vfd_log_merge(struct vfd_log *log, const struct vfd_bitmap *bitmap, uint64_t *pages_new,
		  struct vfd_error *err)
{
	int ret = log_enter(log, "vfd_log_merge", err);

	if (ret)
		return ret;
	ret = merge_checked(log, bitmap, pages_new, err);
	log_leave(log);
	return ret;
}
