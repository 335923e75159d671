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
	pthread_mutex_lock(&space->mutex);
	size_t at = index_seek(&space->table, cursor);
	bool found = at < space->table.count;
	if (found) {
		struct range first = space->table.entries[at].where;
		uint64_t last;
		if (__builtin_add_overflow(first.first, longest_span(space) - 1, &last))
			last = UINT64_MAX;
		*window = (struct range){ first.first, max_u64(last, first.last) };
	}
	pthread_mutex_unlock(&space->mutex);
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
	pthread_mutex_lock(&space->mutex);
	const struct index *table = &space->table;
	size_t at = index_seek(table, window.first);
	bool found = at < table->count && range_contains(window, table->entries[at].where);
	if (found)
		*span = table->entries[at++].where;
	while (found && at < table->count && joins(space, *span, table->entries[at].where, window))
		span->last = table->entries[at++].where.last;
	pthread_mutex_unlock(&space->mutex);
	return found;
}
