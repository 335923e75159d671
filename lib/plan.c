/* SPDX-License-Identifier: MIT */
#include "plan.h"

/* A hole costs scratch to zero and scan; a call costs a walk of the kernel's mapping tree. 32 KiB of bitmap is 1 GiB of 4 KiB
 * pages. */
#define HOLE_BITS (32 * 1024 * 8)

/* An adopted container may have mappings that nobody declared: bridging a hole would read and clear their bits. */
static uint64_t longest_hole(const struct space *space)
{
	return space->adopted ? 0 : HOLE_BITS * space->type1.page_size;
}

static uint64_t longest_span(const struct space *space)
{
	uint64_t limit = space->type1.caps.dirty_bitmap_limit;
	uint64_t bytes;

	if (!limit || __builtin_mul_overflow(limit * 8, space->type1.page_size, &bytes))
		return UINT64_MAX;
	return bytes;
}

bool plan_window(struct space *space, uint64_t cursor, struct range *window)
{
	struct index_cursor at;

	table_enter(&space->table);
	bool found = index_seek(&space->table.iova, cursor, &at);
	if (found) {
		struct range first = at.where;
		uint64_t last;
		if (__builtin_add_overflow(first.first, longest_span(space) - 1, &last))
			last = UINT64_MAX;
		*window = (struct range){ first.first, max_u64(last, first.last) };
	}
	table_leave(&space->table);
	return found;
}

static bool joins(const struct space *space, struct range span, struct range next, struct range window)
{
	uint64_t aligned = 64 * space->type1.page_size;

	return !space->alone && next.last <= window.last && is_aligned(next.first - span.first, aligned) &&
	       next.first - span.last - 1 <= longest_hole(space);
}

bool plan_span(struct space *space, struct range window, struct range *span)
{
	struct index_cursor at;

	table_enter(&space->table);
	bool found = index_seek(&space->table.iova, window.first, &at) && range_contains(window, at.where);
	if (found)
		*span = at.where;
	while (found && index_next(&at) && joins(space, *span, at.where, window))
		span->last = at.where.last;
	table_leave(&space->table);
	return found;
}
