/* SPDX-License-Identifier: MIT */

/* When is a page clean? If it was collected, and no device could write since. All else is unknown, which is dirty. */

#include "guard.h"

#include <stdlib.h>
#include <string.h>

uint64_t now(void)
{
	static uint64_t moment;

	return ++moment;
}

bool range_dirty(const struct record *record, const struct range *r)
{
	return record->on && r->writable && (record->loud || record->last > r->since);
}

struct measuring {
	struct loss *loss;
	struct record *record;
	uint64_t first, last;
};

static void show(struct loss *loss, uint64_t first, uint64_t last, bool collected)
{
	struct loss_range *r =
		loss->ranges && loss->ranges <= LOSS_SHOWN ? &loss->shown[loss->ranges - 1] : NULL;

	if (r && r->last + 1 == first && r->collected == collected) {
		r->last = last;
		return;
	}
	if (loss->ranges < LOSS_SHOWN)
		loss->shown[loss->ranges] = (struct loss_range){ first, last, collected };
	loss->ranges++;
}

static void measure(struct range *r, void *arg)
{
	struct measuring *m = arg;
	uint64_t first = r->first > m->first ? r->first : m->first;
	uint64_t last = r->last < m->last ? r->last : m->last;

	if (!range_dirty(m->record, r))
		return;
	m->loss->pages += (last - first) / m->record->page + 1;
	show(m->loss, first, last, r->collected);
}

static void measure_set(struct loss *loss, struct range *set, struct record *record, uint64_t first,
			uint64_t last)
{
	struct measuring m = { loss, record, first, last };

	loss->record = record;
	loss->page = record->page;
	loss->unseen |= record->on && record->unseen;
	if (record->on)
		range_each(set, first, last, measure, &m);
}

void loss_measure(struct loss *loss, struct record *record, uint64_t first, uint64_t last)
{
	measure_set(loss, record->ranges, record, first, last);
}

void loss_of(struct loss *loss, struct range *set, struct record *record)
{
	bool unseen = loss->unseen;

	measure_set(loss, set, record, 0, UINT64_MAX);
	loss->unseen = unseen; /* what is in hand is known */
}

bool loss_any(const struct loss *loss)
{
	return loss->pages || loss->unseen;
}

void record_end(struct record *record)
{
	range_free(record->ranges);
	record->ranges = NULL;
	record->on = record->unseen = false;
}

void record_forget(struct record *record)
{
	record->on = record->unseen = false;
}

struct collecting {
	uint64_t moment;
	bool start;
};

static void collect(struct range *r, void *arg)
{
	struct collecting *c = arg;

	/* what was mapped meanwhile may not have been read; and what was read twice at once counts from the later read */
	if (c->moment > r->since) {
		r->since = c->moment;
		r->collected = !c->start;
	}
}

void record_collected(struct record *record, uint64_t first, uint64_t last, uint64_t moment)
{
	struct collecting c = { moment, false };

	range_cut(&record->ranges, first);
	if (last != UINT64_MAX)
		range_cut(&record->ranges, last + 1);
	range_each(record->ranges, first, last, collect, &c);
}

void record_start(struct record *record, uint64_t moment)
{
	struct collecting c = { moment, true };

	record->on = true;
	range_each(record->ranges, 0, UINT64_MAX, collect, &c);
}

void record_map(struct record *record, uint64_t first, uint64_t size, bool writable)
{
	struct range r = { .first = first, .last = first + size - 1, .since = now(), .writable = writable };

	if (size && r.last >= first)
		range_add(&record->ranges, &r);
}
