/* SPDX-License-Identifier: MIT */

/* All spans, and what is owed at the end. */

#include "harvest.h"

#include <inttypes.h>

#include "clock.h"
#include "pin.h"
#include "probe.h"
#include "recorder.h"

/* In a claimed window. Returns where to go on. */
static uint64_t harvest_window(struct harvest *h, const struct plan_window *window, uint64_t cursor,
			       struct range_claim *claim)
{
	struct span spare, *span = plan_take(h->space, h->wanted, window, &spare);

	if (!span)
		return cursor;
	space_lock(h->space);
	range_narrow(&h->space->queue, claim, span->where);
	space_unlock(h->space);
	uint64_t next = span->where.last + 1;
	h->replan = false;
	struct log_intent intent = space_intent(h->space, span->where);
	harvest_span(h, span);
	log_intent_end(intent);
	plan_done(h->space, span, h->replan);
	return next;
}

/* Span by span; calls that map or unmap elsewhere go on meanwhile. */
static void harvest_record(struct harvest *h)
{
	struct plan_window window;
	uint64_t cursor = h->wanted.first;

	while (h->space->started && plan_next(h->space, h->wanted, cursor, &window)) {
		struct range_claim claim;
		space_claim(h->space, &claim, window.where);
		cursor = harvest_window(h, &window, cursor, &claim);
		space_release(h->space, &claim);
	}
}

static void note_whole(struct space *space, uint64_t number)
{
	space_lock(space);
	space->harvested = max_u64(space->harvested, number);
	space_unlock(space);
}

/* With type1 a group that cannot report makes every answer "everything": then the kernel is not asked. */
static void harvest(struct harvest *h)
{
	pins_mark(h->space);
	if (space_has_record(h->space))
		harvest_record(h);
	recorders_harvest(h);
}

static void pay(struct space *space, struct vfd_harvest *result)
{
	uint64_t pages[sizeof result->assumed / sizeof result->assumed[0]] = { 0 };

	space_pay(space, pages);
	for (unsigned why = VFD_WHY_NONE; why < sizeof pages / sizeof pages[0]; why++) {
		harvest_assumed(result, (enum vfd_reason)why, pages[why]);
		if (pages[why])
			space_tell_assumed(space, (enum vfd_reason)why, (struct range){ 0 }, pages[why], 0);
	}
}

static int finish(struct space *space, struct vfd_harvest *result, uint64_t began, int rc)
{
	space_tell_deferred(space, result->deferred_bytes);
	result->unarmed_bytes = space_unarmed_bytes(space);
	result->rearms = space->rearms;
	result->drained = space_clean(space);
	result->nanoseconds = now_ns() - began;
	probe(harvest, rc, result->pages_new, result->pages_assumed, result->deferred_bytes,
	      result->nanoseconds);
	message(&space->messages, VFD_LEVEL_DEBUG,
		(struct note){ .kind = VFD_MSG_HARVESTED, .rc = rc, .count = result->pages_new },
		"a harvest found %" PRIu64 " new pages, %" PRIu64 " of them assumed; %" PRIu64
		" bytes are deferred",
		result->pages_new, result->pages_assumed, result->deferred_bytes);
	return rc;
}

int track_harvest(struct space *space, unsigned flags, struct vfd_harvest *result, struct vfd_error *err)
{
	struct harvest h = { .space = space, .wanted = RANGE_ALL, .result = result, .err = err };
	uint64_t began = now_ns();
	struct moment before = space_look(space);
	uint64_t number = ++space->harvests;

	harvest(&h);
	if (!h.rc || h.rc == VFD_ELOST)
		note_whole(space, number);
	if (flags & VFD_HARVEST_FINAL) {
		pay(space, result);
		scratch_pool_trim(&space->scratch);
	}
	result->deferred_bytes = flags & VFD_HARVEST_FINAL ? 0 : space_deferred_bytes(space);
	if ((!h.rc || h.rc == VFD_ELOST) && !result->deferred_bytes)
		space_settle(space, before);
	return finish(space, result, began, h.rc);
}

int track_harvest_range(struct space *space, struct range wanted, struct vfd_harvest *result,
			struct vfd_error *err)
{
	struct harvest h = { .space = space, .wanted = wanted, .result = result, .err = err };
	uint64_t began = now_ns();

	harvest(&h);
	result->deferred_bytes = space_deferred_bytes(space);
	return finish(space, result, began, h.rc);
}

/* A lost record is assumed dirty already, and asking again would not bring it back: go on. */
int track_collect(struct space *space, unsigned flags, struct vfd_error *err)
{
	struct vfd_harvest ignored = { 0 };
	int rc = space->tracking ? track_harvest(space, flags, &ignored, err) : 0;

	return rc == VFD_ELOST ? 0 : rc;
}
