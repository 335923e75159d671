/* SPDX-License-Identifier: MIT */

/* Taking batches and walking through them. */

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

static struct batch_record *free_slot(struct consumer_record *record)
{
	for (unsigned i = 0; i < MAX_BATCHES; i++)
		if (!record->batches[i].id)
			return &record->batches[i];
	return NULL;
}

/* One sequence for the whole log: ids are not reused, nor shared between consumers. */
static uint64_t new_id(struct vfd_log *log, uint64_t slot)
{
	uint64_t sequence;

	do
		sequence = __atomic_add_fetch(&log->super->batch_sequence, 1, __ATOMIC_RELAXED) * MAX_BATCHES;
	while (!sequence);
	return sequence + slot;
}

static const struct batch_record *span_holding(const struct consumer_record *record, uint64_t address)
{
	for (unsigned i = 0; i < MAX_BATCHES; i++) {
		const struct batch_record *b = &record->batches[i];
		if (b->id && b->first <= address && address <= b->last)
			return b;
	}
	return NULL;
}

/* Move where->first behind the spans of open batches that hold it, and where->last before the next such span.
 * False if nothing is left. */
static bool avoid_spans(const struct consumer_record *record, struct range *where)
{
	const struct batch_record *b;

	while (record->open_batches && (b = span_holding(record, where->first)) && b->last < where->last)
		where->first = b->last + 1;
	if (record->open_batches && b)
		return false;
	for (unsigned i = 0; i < MAX_BATCHES && record->open_batches; i++) {
		b = &record->batches[i];
		if (b->id && b->first > where->first)
			where->last = min_u64(where->last, b->first - 1);
	}
	return true;
}

/* ---- taking ---- */

struct taking {
	struct hold hold;
	uint64_t room;
	uint64_t pages, reported;
	struct range span;
};

/* Returns the pages taken. */
static uint64_t take_word(struct taking *t, const struct planes *p, uint64_t w, uint64_t mask)
{
	uint64_t bits = p->owed.bits[w] & mask;
	unsigned pages = word_count(bits);

	if (pages > t->room) {
		bits = word_lowest(bits, t->room);
		pages = (unsigned)t->room;
	}
	/* outside the spans of open batches nothing is taken, so there is nothing to spare here */
	p->owed.bits[w] &= ~bits;
	p->taken.bits[w] |= bits;
	t->pages += pages;
	t->reported += pages;
	t->room -= pages;
	return bits;
}

static void extend_span(struct taking *t, const struct cursor *c, uint64_t first, uint64_t last, bool begins)
{
	if (begins)
		t->span.first = bit_address(c->log, c->region, first);
	t->span.last = bit_address(c->log, c->region, last) + c->log->page_size - 1;
}

static void take_chunk(struct taking *t, const struct cursor *c, const struct planes *p, uint64_t chunk)
{
	uint64_t words = p->owed.sum[chunk] & chunk_mask(chunk, c->bits),
		 other = summed_words(&p->other, chunk);
	uint64_t emptied = 0, filled = 0, first = 0, last = 0;
	bool begins = !t->pages;

	for (; words && t->room; words &= words - 1) {
		uint64_t bit = words & -words, w = chunk * CHUNK_WORDS + word_first(words);
		uint64_t bits = take_word(t, p, w, word_mask(w, c->bits.first, c->bits.last));
		if (!bits)
			continue;
		if (other & bit)
			t->reported -= word_count(bits & p->other.bits[w]);
		emptied |= p->owed.bits[w] ? 0 : bit;
		first = filled ? first : w * WORD_BITS + word_first(bits);
		last = w * WORD_BITS + word_last(bits);
		filled |= bit;
	}
	if (!filled)
		return;
	summed_change(&p->owed, chunk, emptied, 0);
	summed_change(&p->taken, chunk, 0, filled);
	extend_span(t, c, first, last, begins);
}

static void take_range(struct taking *t, struct vfd_log *log, unsigned consumer, struct range where)
{
	struct cursor c = cursor_over(log, where);
	struct window window;

	while (t->room && cursor_next(&c)) {
		struct planes p = planes_of(log, c.region, consumer);
		uint64_t chunk = c.bits.first / (CHUNK_WORDS * WORD_BITS);
		uint64_t last = c.bits.last / (CHUNK_WORDS * WORD_BITS);
		while (t->room && summed_window(&p.owed, &p.taken, &chunk, last, &window))
			for (unsigned i = 0; i < window.count && t->room; i++) {
				hold_stripe(&t->hold, c.region, window.chunk[i] / WORD_BITS);
				take_chunk(t, &c, &p, window.chunk[i]);
			}
		hold_end(&t->hold);
	}
}

/* From gap to gap between open batches, until one gives something */
static void take_gaps(struct taking *t, struct vfd_consumer *consumer, struct range where)
{
	const struct consumer_record *record = consumer_record(consumer->log, consumer->index);
	struct range gap = where;

	while (avoid_spans(record, &gap)) {
		take_range(t, consumer->log, consumer->index, gap);
		if (t->pages || gap.last >= where.last)
			return;
		gap = (struct range){ gap.last + 1, where.last };
	}
}

static int take(struct vfd_consumer *consumer, struct range where, uint64_t max_pages,
		struct vfd_batch *batch, struct vfd_error *err)
{
	struct consumer_record *record = consumer_record(consumer->log, consumer->index);
	struct batch_record *slot = free_slot(record);
	struct taking t = { .hold.log = consumer->log, .room = max_pages };

	if (!slot)
		return fail(err, VFD_ELIMIT, "vfd_take", "%d batches are open: commit or roll back one",
			    MAX_BATCHES);
	*batch = (struct vfd_batch){ 0 };
	fold_range(consumer->log, where);
	take_gaps(&t, consumer, where);
	if (!t.pages)
		return 0;
	*slot = (struct batch_record){
		.id = new_id(consumer->log, (uint64_t)(slot - record->batches)),
		.first = t.span.first,
		.last = t.span.last,
		.pages = t.pages,
	};
	record->open_batches++;
	*batch = (struct vfd_batch){
		.id = slot->id,
		.first = slot->first,
		.last = slot->last,
		.pages = t.pages,
		.reported = t.reported,
		.next = slot->first,
	};
	return 0;
}

int vfd_take(struct vfd_consumer *consumer, uint64_t first, uint64_t last, uint64_t max_pages,
	     struct vfd_batch *batch, struct vfd_error *err)
{
	const char *op = "vfd_take";
	struct range where = { first, last };
	int ret = consumer_enter(consumer, op, err);

	if (ret)
		return ret;
	if (!batch)
		ret = fail_null("batch", op, err);
	else if (!max_pages)
		ret = fail(err, VFD_EINVALID, op, "max_pages is 0: pass UINT64_MAX for no limit");
	else
		ret = check_range(consumer->log, where, op, err);
	if (!ret) {
		pthread_mutex_lock(&consumer->batches);
		ret = take(consumer, where, max_pages, batch, err);
		pthread_mutex_unlock(&consumer->batches);
	}
	log_leave(consumer->log);
	return ret;
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

/* Up to `capacity` runs of the pages taken in `where` */
static size_t fill_runs(const struct vfd_log *log, unsigned consumer, struct range where,
			struct vfd_run *runs, size_t capacity)
{
	struct cursor c = cursor_over(log, where);
	struct filling f = { .at = &c, .runs = runs, .capacity = capacity };
	struct window window;

	while (f.count < capacity && cursor_next(&c)) {
		struct planes p = planes_of(log, c.region, consumer);
		uint64_t chunk = c.bits.first / (CHUNK_WORDS * WORD_BITS);
		uint64_t last = c.bits.last / (CHUNK_WORDS * WORD_BITS);
		f.end = UINT64_MAX; /* a run never crosses a region's end */
		while (summed_window(&p.taken, &p.taken, &chunk, last, &window))
			for (unsigned i = 0; i < window.count; i++)
				if (!fill_chunk(&f, &p, window.chunk[i]))
					return f.count;
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
