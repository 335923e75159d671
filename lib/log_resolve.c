/* SPDX-License-Identifier: MIT */

/* The end of a batch, or of part of it: delivered, or owed again. */

#include <inttypes.h>

#include "log_internal.h"

static void resolve_word(const struct planes *p, uint64_t w, uint64_t bits, bool delivered)
{
	p->taken.bits[w] &= ~bits;
	summed_update(&p->taken, w);
	if (delivered) {
		/* a page dirtied meanwhile stays owed, and what is said of it stays said */
		p->reported[w] &= ~bits | p->owed.bits[w];
	} else {
		p->owed.bits[w] |= bits;
		summed_update(&p->owed, w);
	}
}

/* Returns how many pages were resolved. */
static uint64_t resolve_range(const struct vfd_log *log, unsigned consumer, struct range where,
			      bool delivered)
{
	struct cursor c = cursor_over(log, where);
	uint64_t pages = 0;

	while (cursor_next(&c)) {
		struct planes p = planes_of(log, c.region, consumer);
		uint64_t last = c.bits.last / WORD_BITS;
		for (uint64_t w = c.bits.first / WORD_BITS; summed_next_word(&p.taken, &w, last); w++) {
			uint64_t bits = p.taken.bits[w] & word_mask(w, c.bits.first, c.bits.last);
			pages += word_count(bits);
			resolve_word(&p, w, bits, delivered);
		}
	}
	return pages;
}

static uint64_t first_taken(const struct vfd_log *log, unsigned consumer, struct range span)
{
	struct cursor c = cursor_over(log, span);
	uint64_t bit;

	while (cursor_next(&c)) {
		struct planes p = planes_of(log, c.region, consumer);
		if (summed_first(&p.taken, c.bits, &bit))
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
		if (summed_last(&p.taken, c.bits, &bit))
			return bit_address(log, c.region, bit) + log->page_size - 1;
	}
	return span.last;
}

/* The span follows what is still taken, so that pages beside it can be taken again. */
static void resolve_slot(const struct vfd_log *log, unsigned consumer, struct batch_record *slot,
			 struct range where, bool delivered)
{
	struct consumer_record *record = consumer_record(log, consumer);
	struct range span = { slot->first, slot->last };

	if (!range_meets(span, where))
		return;
	where.first = max_u64(where.first, span.first);
	where.last = min_u64(where.last, span.last);
	slot->pages -= resolve_range(log, consumer, where, delivered);
	record->resolved = 1;
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
	struct batch_record *slot = batch_find(consumer_record(log, consumer->index), batch->id);
	if (!slot)
		return fail_batch(batch->id, operation, err);
	resolve_slot(log, consumer->index, slot, where, delivered);
	if (!slot->id)
		cause_prune(log, consumer->index);
	return 0;
}

int vfd_commit(struct vfd_consumer *consumer, const struct vfd_batch *batch, uint64_t first, uint64_t last,
	       struct vfd_error *err)
{
	int ret = consumer_enter(consumer, "vfd_commit", err);

	if (ret)
		return ret;
	ret = resolve(consumer, batch, (struct range){ first, last }, true, "vfd_commit", err);
	log_leave(consumer->log);
	return ret;
}

int vfd_rollback(struct vfd_consumer *consumer, const struct vfd_batch *batch, uint64_t first, uint64_t last,
		 struct vfd_error *err)
{
	int ret = consumer_enter(consumer, "vfd_rollback", err);

	if (ret)
		return ret;
	ret = resolve(consumer, batch, (struct range){ first, last }, false, "vfd_rollback", err);
	log_leave(consumer->log);
	return ret;
}
