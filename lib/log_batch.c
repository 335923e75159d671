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
	const uint64_t highest = UINT64_MAX / MAX_BATCHES;

	log->super->batch_sequence =
		log->super->batch_sequence >= highest ? 1 : log->super->batch_sequence + 1;
	return log->super->batch_sequence * MAX_BATCHES + slot;
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
	uint64_t room;
	uint64_t pages, reported;
	struct range span;
};

static void take_word(struct taking *t, const struct cursor *c, const struct planes *p, uint64_t w,
		      uint64_t bits)
{
	bits = word_lowest(bits, t->room);
	if (!bits)
		return;
	/* outside the spans of open batches nothing is taken, so there is nothing to spare here */
	p->owed.bits[w] &= ~bits;
	p->taken.bits[w] |= bits;
	summed_update(&p->owed, w);
	summed_update(&p->taken, w);

	if (!t->pages)
		t->span.first = bit_address(c->log, c->region, w * WORD_BITS + word_first(bits));
	t->span.last =
		bit_address(c->log, c->region, w * WORD_BITS + word_last(bits)) + c->log->page_size - 1;
	t->pages += word_count(bits);
	t->reported += word_count(bits & p->reported[w]);
	t->room -= word_count(bits);
}

static void take_range(struct taking *t, const struct vfd_log *log, unsigned consumer, struct range where)
{
	struct cursor c = cursor_over(log, where);

	while (t->room && cursor_next(&c)) {
		struct planes p = planes_of(log, c.region, consumer);
		uint64_t last = c.bits.last / WORD_BITS;
		for (uint64_t w = c.bits.first / WORD_BITS; t->room && summed_next_word(&p.owed, &w, last);
		     w++)
			take_word(t, &c, &p, w, p.owed.bits[w] & word_mask(w, c.bits.first, c.bits.last));
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
	struct taking t = { .room = max_pages };

	if (!slot)
		return fail(err, VFD_ELIMIT, "vfd_take", "%d batches are open: commit or roll back one",
			    MAX_BATCHES);
	*batch = (struct vfd_batch){ 0 };
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
	if (!ret)
		ret = take(consumer, where, max_pages, batch, err);
	log_leave(consumer->log);
	return ret;
}

/* ---- runs ---- */

/* The last bit of the run of taken pages that starts at bit `at`, not beyond `last` */
static uint64_t run_last(const struct planes *p, uint64_t at, uint64_t last)
{
	struct bit_run run;

	bitmap_next_run(p->taken.bits, at, last, &run);
	return run.last;
}

/* Up to `capacity` runs of the pages taken in `where` */
static size_t fill_runs(const struct vfd_log *log, unsigned consumer, struct range where,
			struct vfd_run *runs, size_t capacity)
{
	struct cursor c = cursor_over(log, where);
	size_t n = 0;

	while (n < capacity && cursor_next(&c)) {
		struct planes p = planes_of(log, c.region, consumer);
		while (n < capacity && c.bits.first <= c.bits.last &&
		       summed_first(&p.taken, c.bits, &c.bits.first)) {
			uint64_t last = run_last(&p, c.bits.first, c.bits.last);
			struct vfd_run *run = &runs[n++];
			run->address = bit_address(log, c.region, c.bits.first);
			run->size = (last - c.bits.first + 1) << log->page_shift;
			run->memory = log->identity ? NULL
						    : (void *)(uintptr_t)(c.region->memory +
									  (run->address - c.region->address));
			c.bits.first = last + 1;
		}
	}
	return n;
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
	else
		ret = runs_of(consumer, batch, runs, capacity, count, err);
	log_leave(consumer->log);
	return ret;
}
