/* SPDX-License-Identifier: MIT */

/* Recorders are armed, disarmed, and given up. */

#include "recorder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "space.h"

/* ---- which ranges ---- */

struct ranges {
	size_t count;
	struct range at[DEVLOG_RANGES];
};

/* Rounded outwards; what then touches is one. Nothing is mapped in the top 2 MiB: see TYPE1_TOP. */
static void add(struct ranges *r, struct range where, uint64_t align)
{
	struct range *last = r->count ? &r->at[r->count - 1] : NULL;

	where.first &= ~(align - 1);
	where.last = min_u64(where.last | (align - 1), (TYPE1_TOP & ~(align - 1)) - 1);
	if (where.first > where.last)
		return;
	if (last && where.first <= last->last + 1)
		last->last = max_u64(last->last, where.last);
	else if (r->count < DEVLOG_RANGES)
		r->at[r->count++] = where;
}

/* Whatever the kernel allows to be mapped. None: it does not say, or not all. */
static void usable(const struct space *space, uint64_t align, struct ranges *out)
{
	const struct caps *caps = &space->type1.caps;

	out->count = 0;
	for (uint32_t i = 0; caps->range_total == caps->range_count && i < caps->range_count; i++)
		add(out, (struct range){ caps->ranges[i].first, caps->ranges[i].last }, align);
}

/* What is mapped, in `most` ranges: those closest together become one. */
static int mapped(struct space *space, uint64_t align, size_t most, struct ranges *out)
{
	struct index_cursor at;

	out->count = 0;
	(void)most; /* until cover.c is there */
	table_enter(&space->table);
	for (bool more = index_seek(&space->table.iova, 0, &at); more; more = index_next(&at))
		add(out, at.where, align);
	table_leave(&space->table);
	return out->count ? 0 : -ENOENT;
}

/* ---- arming ---- */

/* START, once more if the pages are larger than asked: the ranges then have to be aligned to those. */
static int start(struct devlog *log, struct ranges *ranges)
{
	uint64_t asked = log->page_size;
	int rc = devlog_start(log, ranges->at, ranges->count, asked);

	if (rc || log->page_size == asked)
		return rc;
	struct ranges wider = { 0 };
	for (size_t i = 0; i < ranges->count; i++)
		add(&wider, ranges->at[i], log->page_size);
	*ranges = wider;
	rc = devlog_stop(log);
	return rc ? rc : devlog_start(log, ranges->at, ranges->count, log->page_size);
}

/* Keep the ranges, and see whether it can be read: some kernels start what they cannot report. */
static bool keep(struct space *space, struct recorder *r, const struct ranges *ranges, const char **why)
{
	r->armed = malloc(ranges->count * sizeof *r->armed);
	if (r->armed) {
		memcpy(r->armed, ranges->at, ranges->count * sizeof *r->armed);
		r->count = ranges->count;
		if (!recorder_try(space, r))
			return true;
	}
	*why = r->armed ? "its log can be started but not read: the kernel may lack CONFIG_IOMMUFD"
			: "no memory to log its DMA";
	devlog_stop(&r->log);
	free(r->armed);
	r->armed = NULL;
	return false;
}

/* How many ranges a device takes cannot be asked: from all that may be mapped to ever coarser covers of what is. */
static int start_somehow(struct space *space, struct recorder *r, struct ranges *ranges)
{
	uint64_t page = space->type1.page_size;
	int rc = -ENOENT;

	usable(space, page, ranges);
	for (size_t most = DEVLOG_RANGES;; most /= 4) {
		r->log.page_size = page;
		if (ranges->count)
			rc = start(&r->log, ranges);
		if (!rc || !most || rc == -ENOTTY || rc == -ENODEV)
			return rc;
		rc = mapped(space, page, most, ranges);
	}
}

bool recorder_arm(struct space *space, struct recorder *r, const char **why)
{
	struct ranges ranges;

	*why = "its log was refused";
	if (start_somehow(space, r, &ranges) || !keep(space, r, &ranges, why))
		return false;
	atomic_store(&r->failed, false);
	r->read = false;
	r->next = space->recorders;
	space->recorders = r;
	space_rearmed(space);
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
		devlog_stop(&r->log);
}

void recorder_fail(struct space *space, struct recorder *r)
{
	if (!atomic_exchange(&r->failed, true))
		space_owe_all(space, VFD_WHY_LOG_FAILED);
}

/* A device that was not silent has written since it was read last; one that failed is not to blame any more for what comes. */
void recorder_closed(struct space *space, struct recorder *r)
{
	bool was = space_all_dirty(space), unread = recorder_answers(r) && !r->read;

	if (!take_off(space, r))
		return;
	devlog_stop(&r->log);
	if (unread && space->tracking)
		space_owe_all(space, VFD_WHY_LOG_FAILED);
	space_answer_changed(space, was);
}

void recorder_set_silent(struct space *space, struct recorder *r, bool silent)
{
	pthread_mutex_lock(&space->mutex);
	r->silent = silent;
	r->read &= silent;
	pthread_mutex_unlock(&space->mutex);
}
