/* SPDX-License-Identifier: MIT */

/* Recorders are read, window by window: a REPORT costs the device something, and holes cost bitmap. */

#include <inttypes.h>
#include <string.h>

#include "bitmap.h"
#include "harvest.h"
#include "recorder.h"

enum {
	WINDOW_BITS = 1 << 24, /* of one REPORT, at most: 64 GiB of pages of 4 KiB */
	HOLE_BITS = 1 << 18,   /* read along with what is on both sides */
	WINDOW_MAPPINGS = 4096,
};

/* Bytes that a REPORT's edges are multiples of, counted from the range's first */
static uint64_t unit_of(const struct recorder *r)
{
	return DEVLOG_TOGETHER * r->log.page_size;
}

/* Rounded outwards to units, within the range. The range is met. */
static struct range round_out(const struct recorder *r, struct range armed, struct range where)
{
	uint64_t unit = unit_of(r), from = max_u64(where.first, armed.first) - armed.first;
	uint64_t to = (min_u64(where.last, armed.last) - armed.first) | (unit - 1);

	return (struct range){ armed.first + (from & ~(unit - 1)),
			       armed.first + min_u64(to, armed.last - armed.first) };
}

/* ---- one window: its range is claimed ---- */

/* The part of a mapping that lies in the window */
static struct log_bits bits_of(const struct mapping *m, struct range window, uint64_t page,
			       const uint64_t *words)
{
	uint64_t first = max_u64(window.first, m->where.first), last = min_u64(window.last, m->where.last);

	return (struct log_bits){
		.address = m->log_address + (first - m->where.first),
		.granularity = page,
		.words = words,
		.first_bit = (first - window.first) / page,
		.bits = (last - first + 1) / page,
	};
}

/* All mappings that meet the window; returns the new pages. */
static uint64_t merge(struct space *space, const struct recorder *r, struct range window,
		      const uint64_t *words)
{
	struct log_source source = { .provenance = VFD_REPORTED,
				     .granularity = r->log.page_size,
				     .who = r->who };
	struct mapping_walk walk = { .space = space, .rest = window, .cut = true };
	struct log_bits bits[64];
	uint64_t pages = 0;
	size_t count = 0;

	for (const struct mapping *m; (m = mapping_walk_next(&walk));) {
		if (mapping_tracked(m))
			bits[count++] = bits_of(m, window, space->backend.page_size, words);
		if (count == sizeof bits / sizeof bits[0]) {
			pages += log_merge_many(space->log, bits, count, &source);
			count = 0;
		}
	}
	return pages + (count ? log_merge_many(space->log, bits, count, &source) : 0);
}

static int read_window(struct space *space, struct recorder *r, struct range window,
		       struct vfd_harvest *result)
{
	uint64_t page = space->backend.page_size,
		 words = (range_size(window) / page + WORD_BITS - 1) / WORD_BITS;
	struct scratch scratch;
	int rc = scratch_get_populated(&space->scratch, words * sizeof *scratch.words, &scratch);

	if (rc)
		return rc; /* not asked: all is still there */
	struct log_intent intent = space_intent(space, window);
	rc = devlog_read(&r->log, window, page, scratch.words);
	result->ioctls++;
	result->bytes += rc ? 0 : words * sizeof *scratch.words;
	if (rc)
		recorder_fail(space, r);
	uint64_t pages = merge(space, r, window, scratch.words);
	result->pages_new += pages;
	result->pages_reported += pages;
	log_intent_end(intent);
	memset(scratch.words, 0, (size_t)(words * sizeof *scratch.words));
	scratch_put(&space->scratch, scratch);
	return rc;
}

int recorder_try(struct space *space, struct recorder *r)
{
	struct range armed = r->armed[0], first = { armed.first, armed.first };
	struct vfd_harvest ignored = { 0 };

	return read_window(space, r, round_out(r, armed, first), &ignored);
}

/* ---- all windows ---- */

static uint64_t end_of(uint64_t first, uint64_t size)
{
	return first > UINT64_MAX - size ? UINT64_MAX : first + (size - 1);
}

/* The next one: what is mapped from cursor on, with holes that are not too large. Table entered. */
static bool find_window(const struct table *table, uint64_t page, struct range where, struct range *window)
{
	struct index_cursor at;
	unsigned count = 0;

	if (!index_seek(&table->iova, where.first, &at) || at.where.first > where.last)
		return false;
	*window = (struct range){ max_u64(at.where.first, where.first), at.where.last };
	while (++count < WINDOW_MAPPINGS && index_next(&at) && at.where.first <= where.last &&
	       at.where.first - window->last <= HOLE_BITS * page &&
	       at.where.last - window->first < WINDOW_BITS * page)
		window->last = at.where.last;
	window->last = min_u64(window->last, end_of(window->first, WINDOW_BITS * page));
	return true;
}

static bool next_window(struct harvest *h, const struct recorder *r, struct range armed, uint64_t cursor,
			struct range *window)
{
	struct table *table = &h->space->table;
	struct range where = { max_u64(cursor, armed.first), armed.last };

	table_enter(table);
	where.last = min_u64(where.last, plan_wanted_end(table, h->wanted));
	bool found =
		where.first <= where.last && find_window(table, h->space->backend.page_size, where, window);
	table_leave(table);
	if (found)
		*window = round_out(r, armed, *window);
	return found;
}

static void failed(struct harvest *h, const struct recorder *r, struct range window, int rc)
{
	if (h->rc)
		return;
	h->rc = fail_sys_range(
		h->err, -rc, "VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT", window.first, window.last,
		recorder_answers(r)
			? "device %s, IOVA %#" PRIx64 "..%#" PRIx64
			  ": no memory for a bitmap; its pages are still with the device: call again"
			: "device %s, IOVA %#" PRIx64 "..%#" PRIx64
			  ": its log counts no more; all that is mapped writable is owed at the end",
		r->who, window.first, window.last);
}

static bool read_range(struct harvest *h, struct recorder *r, struct range armed)
{
	struct range window;

	for (uint64_t cursor = max_u64(h->wanted.first, armed.first);
	     recorder_answers(r) && next_window(h, r, armed, cursor, &window); cursor = window.last + 1) {
		struct range_claim claim;
		space_claim(h->space, &claim, window);
		int rc = read_window(h->space, r, window, h->result);
		space_release(h->space, &claim);
		if (rc)
			failed(h, r, window, rc);
		if (rc)
			return false;
	}
	return true;
}

struct silence {
	bool silent;
	uint64_t epoch;
};

static struct silence look(struct space *space, const struct recorder *r)
{
	space_lock(space);
	struct silence then = { r->silent, space->epoch };
	space_unlock(space);
	return then;
}

/* Read since it is silent: only if it was so from the beginning, and nobody woke meanwhile. */
static void settle(struct harvest *h, struct recorder *r, struct silence before)
{
	bool all = !h->wanted.first && h->wanted.last == UINT64_MAX;

	space_lock(h->space);
	r->read |= all && before.silent && r->silent && before.epoch == h->space->epoch;
	space_unlock(h->space);
}

bool recorder_harvest(struct harvest *h, struct recorder *r)
{
	struct silence before = look(h->space, r);
	bool right = !r->over;

	for (size_t i = 0; right && i < r->count; i++)
		right = read_range(h, r, r->armed[i]);
	if (right)
		settle(h, r, before);
	return right && recorder_answers(r);
}

/* A device that fails does not keep the others from being read. */
void recorders_harvest(struct harvest *h)
{
	for (struct recorder *r = h->space->recorders; r; r = r->next)
		recorder_harvest(h, r);
}

/* ---- when mappings come and go ---- */

bool recorder_armed(const struct recorder *r, struct range where)
{
	for (size_t i = 0; i < r->count; i++)
		if (range_contains(r->armed[i], where))
			return true;
	return false;
}

bool recorders_armed(const struct space *space, struct range where)
{
	const struct recorder *r = space->recorders;

	while (r && (r->silent || recorder_armed(r, where)))
		r = r->next;
	return !r;
}

static const struct range *armed_behind(const struct recorder *r, uint64_t from)
{
	size_t i = 0;

	while (i < r->count && r->armed[i].last < from)
		i++;
	return i < r->count ? &r->armed[i] : NULL;
}

/* Whenever one begins later, all are asked again from there. */
bool recorders_next_armed(const struct space *space, uint64_t from, struct range *out)
{
	const struct recorder *r = space->recorders;

	*out = (struct range){ from, UINT64_MAX };
	if (!r)
		return false;
	while (r) {
		const struct range *next = armed_behind(r, out->first);
		if (!next)
			return false;
		bool here = next->first <= out->first;
		*out = here ? (struct range){ out->first, min_u64(out->last, next->last) }
			    : (struct range){ next->first, UINT64_MAX };
		r = here ? r->next : space->recorders;
	}
	return true;
}

struct range recorders_reach(const struct space *space, struct range where)
{
	struct range reach = where;

	for (const struct recorder *r = space->recorders; r; r = r->next) {
		for (size_t i = 0; i < r->count; i++) {
			if (!range_meets(r->armed[i], where))
				continue;
			struct range own = round_out(r, r->armed[i], where);
			reach.first = min_u64(reach.first, own.first);
			reach.last = max_u64(reach.last, own.last);
		}
	}
	return reach;
}

static bool read_part(struct space *space, struct recorder *r, struct range armed, struct range part)
{
	uint64_t most = WINDOW_BITS * space->backend.page_size;
	struct vfd_harvest ignored = { 0 };

	while (part.first <= part.last) {
		struct range window = { part.first, min_u64(part.last, end_of(part.first, most)) };
		window = round_out(r, armed, window);
		if (read_window(space, r, window, &ignored))
			return false;
		part.first = window.last + 1;
	}
	return true;
}

static bool read_mapping(struct space *space, struct recorder *r, struct range where)
{
	bool right = true;

	for (size_t i = 0; right && i < r->count; i++) {
		struct range part = { max_u64(where.first, r->armed[i].first),
				      min_u64(where.last, r->armed[i].last) };
		right = read_part(space, r, r->armed[i], part);
	}
	return right;
}

/* Also if nobody could ask: later the IOVA may mean other memory. */
void recorders_unmapped(struct space *space, const struct mapping *m)
{
	for (struct recorder *r = space->recorders; r; r = r->next)
		if (recorder_answers(r) && !r->over && !read_mapping(space, r, m->where))
			recorder_fail(space, r);
}
