/* SPDX-License-Identifier: MIT */

/* Recorders are armed anew, for what was mapped since. A log takes other ranges only by STOP and START, between which the device writes
 * into no record. So either it cannot write: it is read first, and nothing is assumed. Or all that is mapped is assumed, by a mark behind
 * START: what was written before is covered by the mark, what is written after it by the new log. From before STOP until then the
 * recorder counts as failed, which owes everything: wherever this ends, nothing counts as clean. */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "harvest.h"
#include "recorder.h"

static const char *const rearm_op = "track rearm";

bool recorder_lacks(struct space *space, const struct recorder *r)
{
	struct index_cursor at;
	bool lacks = false;

	table_enter(&space->table);
	for (bool more = index_seek(&space->table.iova, 0, &at); more && !lacks; more = index_next(&at))
		lacks = mapping_tracked(at.item) && !recorder_armed(r, at.where);
	table_leave(&space->table);
	return lacks;
}

/* A silent one costs nothing. One whose log may have ended has to begin anew altogether. */
static bool is_due(struct space *space, const struct recorder *r, bool running)
{
	return recorder_answers(r) && !r->over && (r->silent || running) && recorder_lacks(space, r);
}

/* All that is mapped is assumed once, however many are armed anew. */
static bool worth_it(struct space *space, const struct rearm *rearm)
{
	uint64_t bytes = space->rearm_bytes + space_tracked_bytes(space);

	return rearm->running && space->unarmed > rearm->least && (!rearm->budget || bytes <= rearm->budget);
}

/* ---- one of them ---- */

static int read_all(struct space *space, struct recorder *r, struct rearm *rearm, struct vfd_error *err)
{
	struct vfd_harvest result = { 0 };
	struct harvest h = { .space = space, .wanted = RANGE_ALL, .result = &result, .err = err };

	recorder_harvest(&h, r);
	rearm->pages_new += result.pages_new;
	return h.rc;
}

static void take_ranges(struct recorder *r, const struct recorder_ranges *ranges)
{
	memcpy(r->armed, ranges->at, ranges->count * sizeof *r->armed);
	r->count = ranges->count;
}

/* As it was before: its device took these ranges once. */
static int start_as_before(struct recorder *r, uint64_t page_size)
{
	int rc = devlog_begin(&r->log, r->armed, r->count, page_size);

	if (rc || r->log.page_size == page_size)
		return rc;
	devlog_quit(&r->log);
	return -EPROTO;
}

/* A STOP that fails may leave the old log running, which some devices then say is the new one. */
static int restart(struct space *space, struct recorder *r)
{
	struct recorder_ranges ranges;
	uint64_t page_size = r->log.page_size;
	int rc = devlog_quit(&r->log);

	if (rc)
		return rc;
	if (!recorder_start(space, r, &ranges))
		take_ranges(r, &ranges);
	else
		rc = start_as_before(r, page_size);
	return rc;
}

static int fail_off(struct recorder *r, int rc, struct vfd_error *err)
{
	return fail_sys(err, -rc, rearm_op,
			"device %s: its log was stopped and could not be started again; all that is mapped "
			"writable is owed at the end. vfd_track_start tries once more",
			r->who);
}

static int rearm_one(struct space *space, struct recorder *r, struct rearm *rearm, struct vfd_error *err)
{
	int rc = read_all(space, r, rearm, err);

	if (rc)
		return rc;
	atomic_store(&r->failed, true); /* until recorders_rearm() says otherwise */
	rc = restart(space, r);
	r->anew = !rc;
	rearm->rearmed += r->anew;
	rearm->running_rearmed += r->anew && !r->silent;
	rearm->failed += !r->anew;
	return rc ? fail_off(r, rc, err) : 0;
}

/* ---- all of them ---- */

/* What was owed before is in it. */
static void assume_all(struct space *space, struct rearm *rearm, const char *who)
{
	space->rearmed_who = who;
	rearm->pages_new += space_assume_all(space, VFD_WHY_REARMED);
	rearm->assumed_bytes = space_tracked_bytes(space);
	space->rearm_bytes += rearm->assumed_bytes;
	space_owe_nothing(space);
}

static void believe_again(struct space *space)
{
	for (struct recorder *r = space->recorders; r; r = r->next) {
		if (r->anew)
			atomic_store(&r->failed, false);
		r->anew = false;
	}
}

/* Those of silent devices cost nothing. */
static void tell(struct space *space, const struct rearm *rearm, const char *who)
{
	if (rearm->failed)
		message(&space->messages, VFD_LEVEL_ERROR,
			(struct note){ .kind = VFD_MSG_LOG_FAILED,
				       .reason = VFD_WHY_LOG_FAILED,
				       .count = rearm->failed },
			"%" PRIu32 " logs of devices were stopped and could not be started again",
			rearm->failed);
	if (rearm->rearmed)
		message(&space->messages, VFD_LEVEL_INFO,
			(struct note){ .kind = VFD_MSG_REARMED,
				       .reason = who ? VFD_WHY_REARMED : VFD_WHY_NONE,
				       .count = rearm->rearmed,
				       .who = who },
			"%" PRIu32 " logs of devices were started anew; %" PRIu64 " bytes are assumed for it",
			rearm->rearmed, rearm->assumed_bytes);
}

int recorders_rearm(struct space *space, struct rearm *rearm, struct vfd_error *err)
{
	bool running = worth_it(space, rearm);
	const char *who = NULL;
	int rc = 0;

	for (struct recorder *r = space->recorders; r; r = r->next) {
		if (!is_due(space, r, running))
			continue;
		int one = rearm_one(space, r, rearm, rc ? NULL : err);
		rc = rc ? rc : one;
		if (r->anew && !r->silent)
			who = who ? "several device logs" : r->who;
	}
	space_rearmed(space); /* what was unarmed stays owed */
	if (who)
		assume_all(space, rearm, who); /* and is in this */
	believe_again(space);
	space->rearms += rearm->rearmed;
	tell(space, rearm, who);
	return rc;
}
