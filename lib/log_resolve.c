/* SPDX-License-Identifier: MIT */

/* The end of a batch, or of part of it: delivered, or owed again. */

#include <inttypes.h>

#include "log_internal.h"
#include "probe.h"

/* A page dirtied meanwhile stays owed, and what is said of it stays said. Few are, so `owed` is not looked at for nothing. */
static void delivered_word(const struct planes *p, uint64_t w, uint64_t bits)
{
	uint64_t owed = summed_words(&p->owed, w / CHUNK_WORDS) >> w % CHUNK_WORDS & 1 ? p->owed.bits[w] : 0;

	p->other.bits[w] &= ~bits | owed;
	if (!p->other.bits[w])
		summed_change(&p->other, w / CHUNK_WORDS, UINT64_C(1) << w % CHUNK_WORDS, 0);
}

static void owed_again_word(const struct planes *p, uint64_t w, uint64_t bits)
{
	p->owed.bits[w] |= bits;
	summed_change(&p->owed, w / CHUNK_WORDS, 0, UINT64_C(1) << w % CHUNK_WORDS);
}

/* Delivered and reported, as most pages are: of the planes only `taken` has to change, and no stripe is held. A bit of `other`
 * for a page that was taken was there when it was taken; one that comes now stays. */
static void resolve_word(struct hold *hold, const struct cursor *c, const struct planes *p, uint64_t w,
			 uint64_t bits, bool delivered)
{
	uint64_t chunk = w / CHUNK_WORDS;

	if (!bits || (delivered && !(summed_words(&p->other, chunk) >> w % CHUNK_WORDS & 1)))
		return;
	hold_stripe(hold, c->region, w / STRIPE_WORDS);
	hold_fold(hold, NULL);
	if (delivered)
		delivered_word(p, w, bits);
	else
		owed_again_word(p, w, bits);
}

static void list_owed_again(struct hold *hold, const struct cursor *c, const struct planes *p,
			    const struct listing *l)
{
	uint64_t w = listing_word(l), pages = listing_pages(l);

	hold_stripe(hold, c->region, w / STRIPE_WORDS);
	hold_fold(hold, NULL);
	if (summed_words(&p->owed, w / CHUNK_WORDS) >> w % CHUNK_WORDS & 1)
		pages &= ~p->owed.bits[w];
	planes_merge_word(p, w, pages & ~l->at->other, true);
	planes_merge_word(p, w, pages & l->at->other, false);
}

/* Returns how many pages were resolved. */
static uint64_t resolve_chunk(struct hold *hold, const struct cursor *c, const struct planes *p,
			      uint64_t chunk, bool delivered)
{
	uint64_t words = p->taken.sum[chunk] & chunk_mask(chunk, c->bits), emptied = 0, pages = 0;

	for (; words; words &= words - 1) {
		uint64_t w = chunk * CHUNK_WORDS + word_first(words);
		uint64_t bits = p->taken.bits[w] & word_mask(w, c->bits.first, c->bits.last);
		pages += word_count(bits);
		resolve_word(hold, c, p, w, bits, delivered);
		keep_order();
		p->taken.bits[w] &= ~bits;
		emptied |= p->taken.bits[w] ? 0 : words & -words;
	}
	summed_change(&p->taken, chunk, emptied, 0);
	return pages;
}

static uint64_t resolve_stripe(struct hold *hold, const struct cursor *c, const struct planes *p,
			       uint64_t stripe, bool delivered)
{
	uint64_t pages = 0;

	for (uint64_t left = stripe_chunks(&p->taken, stripe, chunks_of(c->bits)); left; left &= left - 1)
		pages += resolve_chunk(hold, c, p, stripe * WORD_BITS + word_first(left), delivered);
	return pages;
}

static uint64_t resolve_region(struct hold *hold, const struct cursor *c, const struct planes *p,
			       bool delivered)
{
	const struct fetch taken = { p->taken, 1, { &p->taken } }, others = { p->other, 1, { &p->other } };
	struct range stripes = stripes_of(c->bits);
	struct window window;
	uint64_t pages = 0;

	while (window_next(&window, &p->taken, NULL, &stripes)) {
		window_fetch(&window, &taken);
		window_fetch(&window, &others);
		for (unsigned i = 0; i < window.count; i++)
			pages += resolve_stripe(hold, c, p, window.stripe[i], delivered);
	}
	return pages;
}

/* What the list has. Delivered: the planes never knew. Owed again: unless it is already, then what was said since counts. */
static uint64_t resolve_list(struct hold *hold, const struct cursor *c, const struct planes *p,
			     unsigned consumer, bool delivered)
{
	uint64_t pages = 0;

	for (struct listing l = listing_of(c, consumer); l.at < l.end; l.at++) {
		uint64_t bits = listing_pages(&l);
		if (bits && !delivered)
			list_owed_again(hold, c, p, &l);
		keep_order();
		l.at->pages &= ~bits;
		pages += word_count(bits);
	}
	consumer_record(c->log, consumer)->list.pages -= pages;
	return pages;
}

static uint64_t resolve_range(struct vfd_log *log, unsigned consumer, struct range where, bool delivered)
{
	struct hold hold = { .log = log };
	struct cursor c = cursor_over(log, where);
	uint64_t pages = 0;

	while (cursor_next(&c)) {
		struct planes p = planes_of(log, c.region, consumer);
		pages += resolve_list(&hold, &c, &p, consumer, delivered);
		pages += resolve_region(&hold, &c, &p, delivered);
	}
	hold_end(&hold);
	return pages;
}

static uint64_t first_taken(const struct vfd_log *log, unsigned consumer, struct range span)
{
	struct cursor c = cursor_over(log, span);
	uint64_t bit;

	while (cursor_next(&c)) {
		struct planes p = planes_of(log, c.region, consumer);
		if (taken_first(&c, &p, consumer, &bit))
			return bit_address(log, c.region, bit);
	}
	return span.first;
}

static uint64_t last_taken(const struct vfd_log *log, unsigned consumer, struct range span)
{
	struct cursor c = cursor_below(log, span);
	uint64_t bit;

	while (cursor_prev(&c)) {
		struct planes p = planes_of(log, c.region, consumer);
		if (taken_last(&c, &p, consumer, &bit))
			return bit_address(log, c.region, bit) + log->page_size - 1;
	}
	return span.last;
}

/* The span follows what is still taken, so that pages beside it can be taken again. */
static void resolve_slot(struct vfd_log *log, unsigned consumer, struct batch_record *slot,
			 struct range where, bool delivered)
{
	struct consumer_record *record = consumer_record(log, consumer);
	struct range span = { slot->first, slot->last };

	if (!range_meets(span, where))
		return;
	where.first = max_u64(where.first, span.first);
	where.last = min_u64(where.last, span.last);
	uint64_t pages = resolve_range(log, consumer, where, delivered);
	probe(commit, slot->id, where.first, where.last, pages, delivered);
	slot->pages -= pages;
	pthread_mutex_lock(&log->consumers[consumer].causes);
	record->resolved = 1;
	pthread_mutex_unlock(&log->consumers[consumer].causes);
	if (!slot->pages) {
		*slot = (struct batch_record){ 0 };
		record->open_batches--;
		return;
	}
	slot->first = first_taken(log, consumer, span);
	slot->last = last_taken(log, consumer, span);
}

void resolve_all(struct vfd_log *log, unsigned consumer, struct range where)
{
	struct consumer_record *record = consumer_record(log, consumer);

	for (unsigned i = 0; i < MAX_BATCHES && record->open_batches; i++)
		if (record->batches[i].id)
			resolve_slot(log, consumer, &record->batches[i], where, true);
}

static int resolve(struct vfd_consumer *consumer, const struct vfd_batch *batch, struct range where,
		   bool delivered, const char *operation, struct vfd_error *err)
{
	struct vfd_log *log = consumer->log;
	int ret = batch ? check_range(log, where, operation, err) : fail_null("batch", operation, err);

	if (ret)
		return ret;
	pthread_mutex_lock(&consumer->batches);
	struct batch_record *slot = batch_find(consumer_record(log, consumer->index), batch->id);
	if (slot)
		resolve_slot(log, consumer->index, slot, where, delivered);
	else
		ret = fail_batch(batch->id, operation, err);
	pthread_mutex_unlock(&consumer->batches);
	return ret;
}

/* The consumer may be removed by then, but not the log: an entry of its table is always there. */
static void prune(struct vfd_consumer *consumer)
{
	struct vfd_log *log = consumer->log;

	gate_close(&log->gate);
	if (consumer->live)
		cause_prune(log, consumer->index);
	gate_open(&log->gate);
}

static int enter_resolve(struct vfd_consumer *consumer, const struct vfd_batch *batch, struct range where,
			 bool delivered, const char *operation, struct vfd_error *err)
{
	int ret = consumer_enter(consumer, operation, err);

	if (ret)
		return ret;
	ret = resolve(consumer, batch, where, delivered, operation, err);
	bool many = !ret && cause_wants_prune(consumer);
	log_leave(consumer->log);
	if (many)
		prune(consumer);
	return ret;
}

int vfd_commit(struct vfd_consumer *consumer, const struct vfd_batch *batch, uint64_t first, uint64_t last,
	       struct vfd_error *err)
{
	return enter_resolve(consumer, batch, (struct range){ first, last }, true, "vfd_commit", err);
}

int vfd_rollback(struct vfd_consumer *consumer, const struct vfd_batch *batch, uint64_t first, uint64_t last,
		 struct vfd_error *err)
{
	return enter_resolve(consumer, batch, (struct range){ first, last }, false, "vfd_rollback", err);
}
