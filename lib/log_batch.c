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
	uint64_t end; /* the bit behind the last run */
};

static void fill_run(struct filling *f, struct bit_run bits)
{
	const struct vfd_log *log = f->at->log;
	const struct region *region = f->at->region;
	uint64_t pages = bits.last - bits.first + 1;
	struct vfd_run *run = &f->runs[f->count];

	if (bits.first == f->end) { /* goes on from the chunk before */
		run[-1].size += pages << log->page_shift;
	} else {
		run->address = bit_address(log, region, bits.first);
		run->size = pages << log->page_shift;
		run->memory = NULL;
		if (!log->identity)
			run->memory = (void *)(uintptr_t)(region->memory + (run->address - region->address));
		f->count++;
	}
	f->end = bits.last + 1;
}

/* False once there is no room for a further run. What does not fit is found again by the next call. */
static bool fill_found(struct filling *f, const struct bit_run *found, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (f->count == f->capacity && found[i].first != f->end)
			return false;
		fill_run(f, found[i]);
	}
	return true;
}

static bool fill_words(struct filling *f, const struct planes *p, uint64_t at, uint64_t last)
{
	struct bit_run found[64];

	while (at <= last) {
		size_t room = f->capacity - f->count + 1; /* the first may be the end of the one before */
		size_t n = f->at->log->ops->runs(p->taken.bits, at, last, found, room < 64 ? room : 64, &at);
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

/* Few words: one by one. Many: the kernel that finds runs across words. */
static bool fill_chunk(struct filling *f, const struct planes *p, uint64_t chunk)
{
	struct range bits = f->at->bits;
	uint64_t words = p->taken.sum[chunk] & chunk_mask(chunk, bits), base = chunk * CHUNK_WORDS;

	if (word_count(words) > 4)
		return fill_words(f, p, max_u64(bits.first, (base + word_first(words)) * WORD_BITS),
				  min_u64(bits.last, (base + word_last(words)) * WORD_BITS + WORD_BITS - 1));
	for (; words; words &= words - 1) {
		uint64_t w = base + word_first(words);
		if (!fill_word(f, w * WORD_BITS, p->taken.bits[w] & word_mask(w, bits.first, bits.last)))
			return false;
	}
	return true;
}

static bool fill_stripe(struct filling *f, const struct planes *p, uint64_t stripe)
{
	for (uint64_t left = stripe_chunks(&p->taken, stripe, chunks_of(f->at->bits)); left; left &= left - 1)
		if (!fill_chunk(f, p, stripe * WORD_BITS + word_first(left)))
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

/* Up to `capacity` runs of the pages taken in `where` */
static size_t fill_runs(const struct vfd_log *log, unsigned consumer, struct range where,
			struct vfd_run *runs, size_t capacity)
{
	struct cursor c = cursor_over(log, where);
	struct filling f = { .at = &c, .runs = runs, .capacity = capacity };

	while (f.count < capacity && cursor_next(&c)) {
		struct planes p = planes_of(log, c.region, consumer);
		f.end = UINT64_MAX; /* a run never crosses a region's end */
		if (!fill_region(&f, &p))
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
