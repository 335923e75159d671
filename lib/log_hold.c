/* SPDX-License-Identifier: MIT */

/* What containers hold: regions that their mappings use, and the log itself. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "log_internal.h"

bool log_is_identity(const struct vfd_log *log)
{
	return log->identity;
}

bool log_forked(const struct vfd_log *log)
{
	return forked(&log->guard);
}

void log_user_add(struct vfd_log *log)
{
	if (!forked(&log->guard))
		atomic_fetch_add(&log->users, 1);
}

void log_user_remove(struct vfd_log *log)
{
	if (!forked(&log->guard))
		atomic_fetch_sub(&log->users, 1);
}

/* ---- places ---- */

uint64_t place_from(const struct vfd_log *log, uint64_t memory)
{
	uint64_t low = 0, high = region_count(log);

	while (low < high) { /* the first that begins behind it */
		uint64_t middle = low + (high - low) / 2;
		if (log->places[middle].memory <= memory)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low)
		return 0;
	const struct region *region = &region_table(log)[region_from(log, log->places[low - 1].address)];
	return memory - region->memory <= region->last - region->address ? low - 1 : low;
}

/* A child that is born in the middle of it has one of the two arrays to free. */
bool places_reserve(struct vfd_log *log)
{
	uint64_t capacity = log->place_capacity ? 2 * log->place_capacity : 16;
	struct place *old = log->places, *places;

	if (log->identity || region_count(log) < log->place_capacity)
		return true;
	if (!(places = calloc((size_t)capacity, sizeof(*places))))
		return false;
	if (old)
		memcpy(places, old, (size_t)region_count(log) * sizeof(*places));
	log->places = places;
	log->place_capacity = capacity;
	free(old);
	return true;
}

/* Before the region is in the table, and while it still is. */
void place_add(struct vfd_log *log, const struct region *region)
{
	if (log->identity)
		return;
	struct place *at = log->places + place_from(log, region->memory);
	size_t behind = (size_t)(log->places + region_count(log) - at);

	memmove(at + 1, at, behind * sizeof(*at));
	*at = (struct place){ region->memory, region->address };
}

void place_remove(struct vfd_log *log, const struct region *region)
{
	if (log->identity)
		return;
	struct place *at = log->places + place_from(log, region->memory);
	size_t behind = (size_t)(log->places + region_count(log) - at) - 1;

	memmove(at, at + 1, behind * sizeof(*at));
}

/* ---- holding regions ---- */

/* Where the region begins in the addresses that the caller asks with: IOVA, or process memory */
static uint64_t region_key(const struct vfd_log *log, const struct region *region)
{
	return log->identity ? region->address : region->memory;
}

/* The region with address `at` in it */
static struct region *region_holding(const struct vfd_log *log, uint64_t at)
{
	uint64_t count = region_count(log), index;

	if (log->identity)
		index = region_from(log, at);
	else
		index = place_from(log, at);
	if (index == count)
		return NULL;
	if (!log->identity)
		index = region_from(log, log->places[index].address);
	struct region *region = &region_table(log)[index];
	return at - region_key(log, region) <= region->last - region->address ? region : NULL;
}

static int get_region(struct vfd_log *log, struct range want, uint64_t *address, struct vfd_error *err)
{
	const char *op = "log_region_get", *what = log->identity ? "IOVA" : "memory";
	struct region *region = region_holding(log, want.first);

	if (!region)
		return fail_range(err, VFD_ENOREGION, op, want.first, want.last,
				  "%s 0x%" PRIx64 "..0x%" PRIx64
				  " lies in no region of the log: add one with vfd_region_add",
				  what, want.first, want.last);

	uint64_t last = region_key(log, region) + (region->last - region->address);
	if (want.last > last)
		return fail_range(err, VFD_ENOREGION, op, want.first, want.last,
				  "%s 0x%" PRIx64 "..0x%" PRIx64
				  " leaves its region, which reaches only to 0x%" PRIx64
				  ": add a region for the rest, or split there",
				  what, want.first, want.last, last);
	__atomic_fetch_add(&region->holds, 1, __ATOMIC_RELAXED);
	*address = region->address + (want.first - region_key(log, region));
	return 0;
}

int log_region_get(struct vfd_log *log, const void *memory, uint64_t iova, uint64_t size, uint64_t *address,
		   struct vfd_error *err)
{
	struct range want;
	uint64_t first;
	int ret = log_enter(log, "log_region_get", err);

	if (ret)
		return ret;
	first = log->identity ? iova : (uintptr_t)memory;
	if (!range_make(&want, first, size))
		ret = fail(err, VFD_EWRAP, "log_region_get",
			   "0x%" PRIx64 " bytes from 0x%" PRIx64 " wrap around, or are 0", size, first);
	else
		ret = get_region(log, want, address, err);
	log_leave(log);
	return ret;
}

void log_region_put(struct vfd_log *log, uint64_t address)
{
	struct cursor c;

	if (forked(&log->guard))
		return;
	gate_enter(&log->gate);
	c = cursor_over(log, (struct range){ address, address });
	if (cursor_next(&c))
		__atomic_fetch_sub(&c.region->holds, 1, __ATOMIC_RELAXED);
	log_leave(log);
}
