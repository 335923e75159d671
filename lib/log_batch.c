/* SPDX-License-Identifier: MIT */

/* Open batches, and walking through them. */

#include <inttypes.h>

#include "log_internal.h"

/* ---- the table of open batches ---- */

struct batch_record *batch_find(struct consumer_record *record, uint64_t id)
{
	struct batch_record *slot = &record->batches[id % MAX_BATCHES];

	return id && slot->id == id ? slot : NULL;
}

int fail_batch(uint64_t id, const char *operation, struct vfd_error *err)
{
	if (!id)
		return fail(err, VFD_EINVALID, operation,
			    "the batch is empty (id 0): there was nothing to take");
	return fail(err, VFD_EINVALID, operation,
		    "batch 0x%" PRIx64 " is not open: it was resolved already, or another consumer took it",
		    id);
}

/* ---- runs ---- */

struct filling {
	const struct cursor *at;
	struct vfd_run *runs;
	size_t count, capacity;
	uint64_t end;		  /* the bit behind the last run */
	uint64_t address, memory; /* of bit 0 of the region, modulo 2^64 */
};

static void fill_each(const struct filling *f, const struct bit_run *found, size_t n)
{
	const uint64_t address = f->address, memory = f->memory;
	const uint64_t known = f->at->log->identity ? 0 : ~UINT64_C(0);
	const unsigned shift = f->at->log->page_shift;
	struct vfd_run *runs = f->runs + f->count;

	for (size_t i = 0; i < n; i++) {
		uint64_t first = found[i].first << shift;
		runs[i].address = address + first;
		runs[i].size = (found[i].last - found[i].first + 1) << shift;
		runs[i].memory = (void *)(uintptr_t)((memory + first) & known);
	}
}

/* False once there is no room for a further run. What does not fit is found again by the next call. Only the first may go on
 * from what came before. */
static bool fill_found(struct filling *f, const struct bit_run *found, size_t n)
{
	if (n && found->first == f->end) {
		f->runs[f->count - 1].size += (found->last - found->first + 1) << f->at->log->page_shift;
		f->end = found->last + 1;
		found++;
		n--;
	}
	size_t room = f->capacity - f->count, fit = n < room ? n : room;
	fill_each(f, found, fit);
	f->count += fit;
	f->end = fit ? found[fit - 1].last + 1 : f->end;
	return fit == n;
}

/* A few more than there is room for: the kernel stops where the runs of a word might not fit. */
static bool fill_words(struct filling *f, const struct planes *p, uint64_t at, uint64_t last)
{
	enum { MOST = 256, SPARE = 40 };
	struct bit_run found[MOST + SPARE];

	while (at <= last) {
		size_t room = f->capacity - f->count;
		size_t n = f->at->log->ops->runs(p->taken.bits, at, last, found,
						 (room < MOST ? room : MOST) + SPARE, &at);
		if (!fill_found(f, found, n))
			return false;
	}
	return true;
}

static bool fill_word(struct filling *f, uint64_t first, uint64_t word)
{
	while (word) {
		unsigned low = word_first(word);
		uint64_t behind = ~word & ~UINT64_C(0) << low; /* clear bits above the lowest set one */
		unsigned high = behind ? word_first(behind) - 1 : WORD_BITS - 1;
		if (!fill_found(f, &(struct bit_run){ first + low, first + high }, 1))
			return false;
		word &= ~word_range(low, high);
	}
	return true;
}

enum { FEW = 4 };

static bool fill_few(struct filling *f, const struct planes *p, uint64_t chunk, uint64_t words)
{
	struct range bits = f->at->bits;

	for (; words; words &= words - 1) {
		uint64_t w = chunk * CHUNK_WORDS + word_first(words);
		if (!fill_word(f, w * WORD_BITS, p->taken.bits[w] & word_mask(w, bits.first, bits.last)))
			return false;
	}
	return true;
}

/* Words of a plane from the first to the last with bits, in chunks of which the first and the last have some */
static struct range stretch_bits(const struct filling *f, const struct planes *p, struct range chunks)
{
	struct range bits = f->at->bits;
	uint64_t first = chunks.first * CHUNK_WORDS + word_first(p->taken.sum[chunks.first]);
	uint64_t last = chunks.last * CHUNK_WORDS + word_last(p->taken.sum[chunks.last]);

	return (struct range){ max_u64(bits.first, first * WORD_BITS),
			       min_u64(bits.last, last * WORD_BITS + WORD_BITS - 1) };
}

/* A few words in one chunk: one by one. More, or several chunks in a row: the kernel that finds runs across words. */
static bool fill_chunks(struct filling *f, const struct planes *p, struct range chunks)
{
	uint64_t words = p->taken.sum[chunks.first];

	if (chunks.first == chunks.last && word_count(words) <= FEW)
		return fill_few(f, p, chunks.first, words & chunk_mask(chunks.first, f->at->bits));
	struct range bits = stretch_bits(f, p, chunks);
	return bits.first > bits.last || fill_words(f, p, bits.first, bits.last);
}

static bool fill_stripe(struct filling *f, const struct planes *p, uint64_t stripe)
{
	uint64_t left = stripe_chunks(&p->taken, stripe, chunks_of(f->at->bits)), base = stripe * WORD_BITS;

	if (word_count(left) > WORD_BITS / 2)
		left = word_range(word_first(left),
				  word_last(left)); /* a few clean chunks cost less than a stop */
	while (left) {
		unsigned first = word_first(left);
		uint64_t behind = ~left & ~UINT64_C(0) << first;
		unsigned last = behind ? word_first(behind) - 1 : WORD_BITS - 1;
		if (!fill_chunks(f, p, (struct range){ base + first, base + last }))
			return false;
		left &= ~word_range(first, last);
	}
	return true;
}

static bool fill_list(struct filling *f, unsigned consumer)
{
	for (struct listing l = listing_of(f->at, consumer); l.at < l.end; l.at++)
		if (!fill_word(f, listing_word(&l) * WORD_BITS, listing_pages(&l)))
			return false;
	return true;
}

static bool fill_region(struct filling *f, const struct planes *p)
{
	const struct fetch fetch = { p->taken, 1, { &p->taken } };
	struct range stripes = stripes_of(f->at->bits);
	struct window window;

	while (window_next(&window, &p->taken, NULL, &stripes)) {
		window_fetch(&window, &fetch);
		for (unsigned i = 0; i < window.count; i++)
			if (!fill_stripe(f, p, window.stripe[i]))
				return false;
	}
	return true;
}

static void fill_from(struct filling *f, const struct region *region)
{
	const struct vfd_log *log = f->at->log;

	f->address = bit_address(log, region, 0);
	f->memory = region->memory - (region->address - f->address);
	f->end = UINT64_MAX; /* a run never crosses a region's end */
}

/* Up to `capacity` runs of the pages taken in `where` */
static size_t fill_runs(const struct vfd_log *log, unsigned consumer, struct range where,
			struct vfd_run *runs, size_t capacity)
{
	struct cursor c = cursor_over(log, where);
	struct filling f = { .at = &c, .runs = runs, .capacity = capacity };

	while (f.count < capacity && cursor_next(&c)) {
		struct planes p = planes_of(log, c.region, consumer);
		fill_from(&f, c.region);
		/* of one batch, what is in the planes lies behind what is in the list */
		if (!fill_list(&f, consumer) || !fill_region(&f, &p))
			break;
	}
	return f.count;
}

static int runs_of(struct vfd_consumer *consumer, struct vfd_batch *batch, struct vfd_run *runs,
		   size_t capacity, size_t *count, struct vfd_error *err)
{
	const struct batch_record *slot =
		batch_find(consumer_record(consumer->log, consumer->index), batch->id);

	if (!slot)
		return fail_batch(batch->id, "vfd_batch_runs", err);
	struct range rest = { max_u64(batch->next, slot->first), slot->last };
	*count = rest.first > rest.last ? 0 : fill_runs(consumer->log, consumer->index, rest, runs, capacity);
	batch->next = *count ? runs[*count - 1].address + runs[*count - 1].size : slot->last + 1;
	return 0;
}

int vfd_batch_runs(struct vfd_consumer *consumer, struct vfd_batch *batch, struct vfd_run *runs,
		   size_t capacity, size_t *count, struct vfd_error *err)
{
	const char *op = "vfd_batch_runs";
	int ret = consumer_enter(consumer, op, err);

	if (ret)
		return ret;
	if (!batch || !runs || !count)
		ret = fail_null(!batch ? "batch" : !runs ? "runs" : "count", op, err);
	else if (!capacity)
		ret = fail(err, VFD_EINVALID, op, "capacity is 0: room for one run at least is needed");
	if (!ret) {
		pthread_mutex_lock(&consumer->batches);
		ret = runs_of(consumer, batch, runs, capacity, count, err);
		pthread_mutex_unlock(&consumer->batches);
	}
	log_leave(consumer->log);
	return ret;
}
