/* SPDX-License-Identifier: MIT */

/* Recorders are armed, disarmed, and given up. */

#include "recorder.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cover.h"
#include "space.h"

/* ---- which ranges ---- */

/* Rounded outwards; what then touches is one. Nothing is mapped in the top 2 MiB: see IOVA_TOP. */
static void add(struct recorder_ranges *r, struct range where, uint64_t align)
{
	struct range *last = r->count ? &r->at[r->count - 1] : NULL;

	where.first &= ~(align - 1);
	where.last = min_u64(where.last | (align - 1), (IOVA_TOP & ~(align - 1)) - 1);
	if (where.first > where.last)
		return;
	if (last && where.first <= last->last + 1)
		last->last = max_u64(last->last, where.last);
	else if (r->count < DEVLOG_RANGES)
		r->at[r->count++] = where;
}

/* Whatever the kernel allows to be mapped. None: it does not say, or not all. */
static void usable(const struct space *space, uint64_t align, struct recorder_ranges *out)
{
	const struct caps *caps = &space->backend.caps;

	out->count = 0;
	for (uint32_t i = 0; caps->range_total == caps->range_count && i < caps->range_count; i++)
		add(out, (struct range){ caps->ranges[i].first, caps->ranges[i].last }, align);
}

/* All that is mapped. False: no memory. The container's gate is closed, so nothing comes or goes. */
static bool gather(struct space *space, struct cover *cover)
{
	struct index_cursor at;

	if (!cover_begin(cover, space->table.iova.count))
		return false;
	for (bool more = index_seek(&space->table.iova, 0, &at); more; more = index_next(&at))
		cover_add(cover, at.where);
	return true;
}

/* What is mapped, in `most` ranges, with as little else as can be. None: nothing is. */
static void mapped(struct cover *cover, uint64_t align, size_t most, struct recorder_ranges *out)
{
	const struct cover_limits limits = { .most = most, .align = align };
	struct cover_answer answer = { 0 };

	if (cover_plan(cover, &limits, out->at, &answer) != COVER_OK)
		answer.count = 0;
	out->count = answer.count;
}

/* ---- arming ---- */

/* START, once more if the pages are larger than asked: the ranges then have to be aligned to those. */
static int start(struct devlog *log, struct recorder_ranges *ranges)
{
	uint64_t asked = log->page_size;
	int rc = devlog_begin(log, ranges->at, ranges->count, asked);

	if (rc || log->page_size == asked)
		return rc;
	struct recorder_ranges wider = { 0 };
	for (size_t i = 0; i < ranges->count; i++)
		add(&wider, ranges->at[i], log->page_size);
	*ranges = wider;
	asked = log->page_size;
	rc = devlog_quit(log);
	if (!rc)
		rc = devlog_begin(log, ranges->at, ranges->count, asked);
	if (rc || log->page_size == asked)
		return rc;
	devlog_quit(log); /* larger still: pages that begin before a range would be missed */
	return -EPROTO;
}

/* Keep the ranges, and see whether it can be read: some kernels start what they cannot report. */
static bool keep(struct space *space, struct recorder *r, const struct recorder_ranges *ranges,
		 const char **why)
{
	r->armed = malloc(DEVLOG_RANGES * sizeof *r->armed);
	r->failed = r->over = false;
	if (r->armed) {
		memcpy(r->armed, ranges->at, ranges->count * sizeof *r->armed);
		r->count = ranges->count;
		if (!recorder_try(space, r))
			return true;
	}
	*why = r->failed ? "its log can be started but not read: the kernel may lack CONFIG_IOMMUFD"
			 : "no memory to log its DMA";
	devlog_quit(&r->log);
	free(r->armed);
	r->armed = NULL;
	return false;
}

/* Refusals that coarser ranges can mend */
static bool is_too_much(int rc)
{
	return rc == -E2BIG || rc == -EINVAL || rc == -EOPNOTSUPP || rc == -ENOMEM || rc == -ENOSPC;
}

/* How many ranges a device takes cannot be asked, so it is tried: ever coarser covers of what is mapped. */
static int start_mapped(struct space *space, struct recorder *r, struct recorder_ranges *ranges)
{
	uint64_t page = space->backend.page_size;
	struct cover cover;
	int rc = -EINVAL;

	if (!gather(space, &cover))
		return VFD_ENOMEMORY;
	for (size_t most = DEVLOG_RANGES; most && is_too_much(rc); most /= 4) {
		r->log.page_size = page;
		mapped(&cover, page, most, ranges);
		rc = ranges->count ? start(&r->log, ranges) : -ENOENT;
	}
	cover_end(&cover);
	return rc;
}

/* Best is all that may be mapped: then no mapping is ever outside. */
int recorder_start(struct space *space, struct recorder *r, struct recorder_ranges *ranges)
{
	uint64_t page = space->backend.page_size;
	int rc = -EINVAL;

	usable(space, page, ranges);
	r->log.page_size = page;
	if (ranges->count)
		rc = start(&r->log, ranges);
	return is_too_much(rc) ? start_mapped(space, r, ranges) : rc;
}

bool recorder_arm(struct space *space, struct recorder *r, const char **why)
{
	struct recorder_ranges ranges;

	*why = "its log was refused";
	if (recorder_start(space, r, &ranges) || !keep(space, r, &ranges, why))
		return false;
	r->read = false;
	r->next = space->recorders;
	space->recorders = r;
	space_rearmed(space);
	message(&space->messages, VFD_LEVEL_INFO,
		(struct note){ .kind = VFD_MSG_LOG_STARTED, .count = r->count, .who = r->who },
		"the log of device %s runs, for %zu ranges and pages of %" PRIu64 " bytes", r->who, r->count,
		r->log.page_size);
	return true;
}

/* ---- the end ---- */

static bool take_off(struct space *space, struct recorder *r)
{
	if (!r->armed)
		return false;
	struct recorder **link = &space->recorders;
	while (*link != r)
		link = &(*link)->next;
	*link = r->next;
	free(r->armed);
	r->armed = NULL;
	space_rearmed(space);
	return true;
}

void recorder_disarm(struct space *space, struct recorder *r)
{
	if (take_off(space, r))
		devlog_quit(&r->log);
}

/* A record that was lost, and begins once more, assumes all that was written in between. */
bool recorder_is_backed(const struct space *space, const struct recorder *r)
{
	return r->recorded && space->started;
}

static void owe_unsaid(struct space *space, const struct recorder *r)
{
	if (space->tracking && !recorder_is_backed(space, r))
		space_owe_all(space, VFD_WHY_LOG_FAILED);
}

static void tell_failed(struct space *space, const struct recorder *r, const char *what)
{
	message(&space->messages, VFD_LEVEL_ERROR,
		(struct note){ .kind = VFD_MSG_LOG_FAILED, .reason = VFD_WHY_LOG_FAILED, .who = r->who },
		"the log of device %s %s: %s", r->who, what,
		recorder_is_backed(space, r) ? "iommufd's page tables have what it did not say"
					     : "all that is mapped writable is owed at the final harvest");
}

void recorder_fail(struct space *space, struct recorder *r)
{
	if (atomic_exchange(&r->failed, true))
		return;
	owe_unsaid(space, r);
	tell_failed(space, r, "failed, or may have ended unread, and counts no more");
}

void recorders_fail(struct space *space)
{
	for (struct recorder *r = space->recorders; r; r = r->next)
		recorder_fail(space, r);
}

/* A device that was not silent has written since it was read last; one that failed is not to blame any more for what comes. */
void recorder_closed(struct space *space, struct recorder *r)
{
	enum vfd_reason was = space_owes_everything(space);
	bool unread = recorder_answers(r) && !r->read;

	if (!take_off(space, r))
		return;
	devlog_quit(&r->log);
	if (unread) {
		owe_unsaid(space, r);
		if (space->tracking)
			tell_failed(space, r, "ended before it was read for the last time");
	}
	space_answer_changed(space, was);
}

void recorder_set_silent(struct space *space, struct recorder *r, bool silent)
{
	space_lock(space);
	if (silent && !r->silent)
		r->silence = ++space->silences;
	r->silent = silent;
	r->read &= silent;
	space_unlock(space);
	if (!silent && r->armed) /* what was mapped meanwhile it may write from now on */
		space_rearmed(space);
	if (r->over && !silent)
		recorder_fail(space, r);
}

bool recorder_read_out(struct space *space, struct recorder *r)
{
	space_lock(space);
	bool answer = r->silent && r->read;
	space_unlock(space);
	return answer;
}

/* Over and read in one step: what is mapped, but not in the table before that, finds it over (space_unsettle). One that has something unread has
 * failed before it is over, or who unmaps would take it for read. */
void recorder_ends(struct space *space, struct recorder *r)
{
	space_lock(space);
	bool unread = !r->silent || !r->read;
	if (!unread)
		r->over = true;
	space_unlock(space);
	if (unread)
		recorder_fail(space, r);
	r->over = true;
}
