/* SPDX-License-Identifier: MIT */

/* Taking owed pages into a batch. */

#include <inttypes.h>

#include "log_internal.h"
#include "probe.h"

/* ---- the table of open batches ---- */

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
	unsigned consumer;
	struct list *list; /* NULL once the planes have to do */
	uint64_t base;	   /* the region's first word */
	uint64_t room;
	uint64_t pages, reported;
	struct range span;
};

/* Words of a chunk that changed, by plane */
struct moved {
	uint64_t owed;	/* became 0 */
	uint64_t other; /* became 0 */
	uint64_t taken; /* have pages */
};

/* Outside the spans of open batches nothing is taken: so there is nothing to spare in that plane. */
static void move_word(struct taking *t, const struct planes *p, uint64_t w, uint64_t bits, uint64_t other,
		      struct moved *moved)
{
	uint64_t bit = UINT64_C(1) << w % CHUNK_WORDS;

	if (!t->list || !list_add(t->list, t->base + w, bits, other)) {
		t->list = NULL;
		p->taken.bits[w] |= bits;
		moved->taken |= bit;
	} else if (other) {
		p->other.bits[w] &= ~other;
		moved->other |= p->other.bits[w] ? 0 : bit;
	}
	keep_order();
	p->owed.bits[w] &= ~bits;
	moved->owed |= p->owed.bits[w] ? 0 : bit;
}

/* Returns the pages taken; `others`: some may not be reported. */
static uint64_t take_word(struct taking *t, const struct planes *p, uint64_t w, uint64_t mask, bool others,
			  struct moved *moved)
{
	uint64_t bits = p->owed.bits[w] & mask;
	unsigned pages = word_count(bits);

	if (!bits)
		return 0;
	if (pages > t->room) {
		bits = word_lowest(bits, t->room);
		pages = (unsigned)t->room;
	}
	uint64_t other = others ? bits & p->other.bits[w] : 0;
	move_word(t, p, w, bits, other, moved);
	t->pages += pages;
	t->reported += pages - (other ? word_count(other) : 0);
	t->room -= pages;
	return bits;
}

static void extend_span(struct taking *t, const struct cursor *c, uint64_t first, uint64_t last)
{
	t->span.first = min_u64(t->span.first, bit_address(c->log, c->region, first));
	t->span.last = max_u64(t->span.last, bit_address(c->log, c->region, last) + c->log->page_size - 1);
}

static void take_chunk(struct taking *t, const struct cursor *c, const struct planes *p, uint64_t chunk)
{
	bool whole = chunk_inside(chunk, c->bits);
	uint64_t words = p->owed.sum[chunk], others = summed_words(&p->other, chunk);
	uint64_t first = UINT64_MAX, last = 0;
	struct moved moved = { 0 };

	if (!whole)
		words &= chunk_mask(chunk, c->bits);
	for (; words && t->room; words &= words - 1) {
		uint64_t w = chunk * CHUNK_WORDS + word_first(words);
		uint64_t mask = whole ? ~UINT64_C(0) : word_mask(w, c->bits.first, c->bits.last);
		uint64_t bits = take_word(t, p, w, mask, others & words & -words, &moved);
		if (!bits)
			continue;
		first = min_u64(first, w * WORD_BITS + word_first(bits));
		last = w * WORD_BITS + word_last(bits);
	}
	if (first > last)
		return;
	summed_change(&p->owed, chunk, moved.owed, 0);
	if (moved.taken)
		summed_change(&p->taken, chunk, 0, moved.taken);
	if (moved.other)
		summed_change(&p->other, chunk, moved.other, 0);
	extend_span(t, c, first, last);
}

/* ---- taking from regions ---- */

/* All pages of the region that are in the stripe, and there is room for them */
static bool takes_all(const struct taking *t, const struct cursor *c, uint64_t stripe)
{
	const uint64_t pages = STRIPE_WORDS * WORD_BITS;
	bool region = c->where.first <= c->region->address && c->region->last <= c->where.last;

	return t->room >= pages &&
	       (region || (c->bits.first <= stripe * pages && stripe * pages + (pages - 1) <= c->bits.last));
}

/* What was marked is taken without being owed first, if it is certain to be; and if nothing else is owed, for all goes by address. */
static void take_marked(struct taking *t, const struct cursor *c, const struct planes *p, uint64_t stripe)
{
	struct claim claim = { .consumer = t->consumer, .planes = p, .list = t->list };

	if (summed_chunks(&p->owed, stripe) || !takes_all(t, c, stripe)) {
		hold_fold(&t->hold, NULL);
		return;
	}
	hold_fold(&t->hold, &claim);
	t->list = claim.list;
	if (!claim.pages)
		return;
	t->pages += claim.pages;
	t->room -= claim.pages;
	extend_span(t, c, claim.hull.first, claim.hull.last);
}

static void take_stripe(struct taking *t, const struct cursor *c, const struct planes *p, uint64_t stripe)
{
	struct range chunks = chunks_of(c->bits);

	hold_stripe(&t->hold, c->region, stripe);
	take_marked(t, c, p, stripe);
	for (uint64_t left = stripe_chunks(&p->owed, stripe, chunks); left && t->room; left &= left - 1)
		take_chunk(t, c, p, stripe * WORD_BITS + word_first(left));
}

static void take_range(struct taking *t, struct vfd_log *log, struct range where)
{
	struct cursor c = cursor_over(log, where);
	struct window window;

	while (t->room && cursor_next(&c)) {
		struct planes p = planes_of(log, c.region, t->consumer);
		struct summed inbox = inbox_of(log, c.region);
		struct range stripes = stripes_of(c.bits);
		t->base = first_word(log, c.region);
		while (t->room && window_next(&window, &inbox, &p.owed, &stripes)) {
			const struct fetch owed = { p.owed, t->list ? 1 : 2, { &p.owed, &p.taken } };
			const struct fetch marked = { inbox,
						      t->list ? 1 : 3,
						      { &inbox, &p.taken, &p.other } };
			window_fetch(&window, &owed);
			window_fetch(&window, &marked);
			for (unsigned i = 0; i < window.count && t->room; i++)
				take_stripe(t, &c, &p, window.stripe[i]);
		}
	}
	hold_end(&t->hold);
}

/* From gap to gap between open batches, until one gives something */
static void take_gaps(struct taking *t, struct vfd_consumer *consumer, struct range where)
{
	const struct consumer_record *record = consumer_record(consumer->log, consumer->index);
	struct range gap = where;

	while (avoid_spans(record, &gap)) {
		take_range(t, consumer->log, gap);
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
	struct taking t = { .hold.log = consumer->log,
			    .consumer = consumer->index,
			    .list = &record->list,
			    .room = max_pages,
			    .span = { UINT64_MAX, 0 } };

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
	probe(take, batch->id, batch->first, batch->last, t.pages, t.reported);
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
