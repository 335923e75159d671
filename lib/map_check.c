/* SPDX-License-Identifier: MIT */
#include "map_check.h"

#include <errno.h>
#include <inttypes.h>

#include "map_explain.h"
#include "pieces.h"

#define MAP_FLAGS  (VFD_MAP_READ | VFD_MAP_WRITE | VFD_MAP_UNLOGGED | VFD_MAP_LOG_ADDRESS)

/* The kernel keeps one bit per page and counts them in an int: START fails with EINVAL on a longer mapping. */
#define MOST_PAGES ((UINT64_C(1) << 31) - 1)

static const char *const map_op = "map";

static bool wraps(const void *memory, uint64_t size)
{
	return size - 1 > UINTPTR_MAX - (uintptr_t)memory;
}

static int check_range(const struct space *space, const struct vfd_mapping *want, struct range *where,
		       struct vfd_error *err)
{
	uint64_t page = space->backend.page_size;

	if (!range_make(where, want->iova, want->size) || where->last >= IOVA_TOP)
		return fail(err, want->size ? VFD_EWRAP : VFD_EINVALID, map_op,
			    "%#" PRIx64 " bytes at IOVA %#" PRIx64 ": %s", want->size, want->iova,
			    want->size ? "reaches into the last 2 MiB below 2^64, or beyond; leave those out"
				       : "size is 0");
	if (wraps(want->memory, want->size))
		return fail(err, VFD_EWRAP, map_op,
			    "%#" PRIx64 " bytes from memory %p reach beyond the process' addresses",
			    want->size, want->memory);
	if (!is_aligned(want->iova | want->size | (uintptr_t)want->memory, page))
		return fail_range(err, VFD_EALIGN, map_op, where->first, where->last,
				  "IOVA %#" PRIx64 ", size %#" PRIx64
				  " and memory %p must be multiples of %" PRIu64,
				  want->iova, want->size, want->memory, page);
	return 0;
}

/* How many pieces, and how large the largest can be */
static int check_granule(const struct space *space, const struct vfd_mapping *want, struct range where,
			 struct vfd_error *err)
{
	uint64_t page = space->backend.page_size;
	uint64_t largest = want->granule ? min_u64(want->granule, want->size) : want->size;

	if (want->granule && (!is_power_of_two(want->granule) || !is_aligned(want->granule, page)))
		return fail_range(err, VFD_EALIGN, map_op, where.first, where.last,
				  "granule %#" PRIx64
				  " is not a power of two, or no multiple of the page size, %" PRIu64,
				  want->granule, page);
	if (space->log && largest / page > MOST_PAGES)
		return fail_range(err, VFD_ELIMIT, map_op, where.first, where.last,
				  "%" PRIu64 " pages in one mapping: the kernel tracks at most %" PRIu64
				  " (8 TiB of 4 KiB pages); set a granule",
				  largest / page, MOST_PAGES);
	if (piece_count(want) > MOST_ENTRIES)
		return fail_range(err, VFD_ELIMIT, map_op, where.first, where.last,
				  "%" PRIu64 " granules: a container has room for at most %" PRIu64
				  " mappings; set a larger granule",
				  piece_count(want), MOST_ENTRIES);
	return 0;
}

static int check_flags(const struct vfd_mapping *want, struct vfd_error *err)
{
	if (want->flags & ~(uint32_t)MAP_FLAGS)
		return fail(err, VFD_EINVALID, map_op, "unknown flags %#x",
			    want->flags & ~(uint32_t)MAP_FLAGS);
	if (!(want->flags & (VFD_MAP_READ | VFD_MAP_WRITE)))
		return fail(err, VFD_EINVALID, map_op, "neither VFD_MAP_READ nor VFD_MAP_WRITE");
	if (!want->memory)
		return fail(err, VFD_EINVALID, map_op, "memory is NULL");
	return 0;
}

/* Type1 checks the ranges only once a physical group is there; an empty list means that it has none yet. */
int check_allowed(const struct caps *caps, struct range where, struct vfd_error *err)
{
	const struct vfd_iova_range *below = NULL;

	if (!caps->range_total || caps->range_total > caps->range_count)
		return 0;
	for (uint32_t i = 0; i < caps->range_count; i++) {
		const struct vfd_iova_range *r = &caps->ranges[i];
		if (r->first <= where.first && where.last <= r->last)
			return 0;
		if (r->first <= where.last)
			below = r;
	}
	if (!below)
		below = &caps->ranges[0];
	return fail_range(err, VFD_ERESERVED, map_op, where.first, where.last,
			  "IOVA %#" PRIx64 "..%#" PRIx64
			  " is not in an allowed range; the nearest is %#" PRIx64 "..%#" PRIx64,
			  where.first, where.last, (uint64_t)below->first, (uint64_t)below->last);
}

int check_log_address(const struct vfd_mapping *want, uint64_t address, struct vfd_error *err)
{
	struct range where = { want->iova, want->iova + (want->size - 1) };

	if (!(want->flags & VFD_MAP_LOG_ADDRESS) || want->log_address == address)
		return 0;
	return fail_range(err, VFD_EALIAS, map_op, where.first, where.last,
			  "stated log address %#" PRIx64 ", but the memory at %p has %#" PRIx64,
			  want->log_address, want->memory, address);
}

int check_mapping(const struct space *space, const struct vfd_mapping *want, struct range *where,
		  struct vfd_error *err)
{
	int rc = check_flags(want, err);

	if (!rc)
		rc = check_range(space, want, where, err);
	return rc ? rc : check_granule(space, want, *where, err);
}

int check_page_size_fits(struct space *space, struct vfd_error *err)
{
	uint64_t page = space->backend.page_size;
	struct index_cursor at;

	for (bool more = index_seek(&space->table.iova, 0, &at); more; more = index_next(&at))
		if (!is_aligned(at.where.first | range_size(at.where), page) ||
		    (space->log && range_size(at.where) / page > MOST_PAGES))
			return fail_range(
				err, VFD_EALIGN, space->backend.ops->refresh_name, at.where.first,
				at.where.last,
				"IOVA %#" PRIx64 "..%#" PRIx64
				" is mapped, and the container says now that its pages have %" PRIu64
				" bytes: no bitmap can stand for both; unmap it first",
				at.where.first, at.where.last, page);
	return 0;
}

int check_free(struct space *space, struct range where, struct vfd_error *err)
{
	struct index_cursor there;

	if (!index_meets(&space->table.iova, where, &there))
		return 0;
	return fail_range(err, VFD_EOVERLAP, map_op, there.where.first, there.where.last,
			  "IOVA %#" PRIx64 "..%#" PRIx64 " meets the mapping at %#" PRIx64 "..%#" PRIx64
			  "; unmap that first",
			  where.first, where.last, there.where.first, there.where.last);
}

/* ---- limits ---- */

/* The kernel charges locked memory when it pins: at once behind a real IOMMU, else when a driver pins, if ever. */
static bool pins_at_map(struct space *space)
{
	space_lock(space);
	bool pins = space->attached && space->physical && space->backend.ops->locks;
	space_unlock(space);
	return pins;
}

static void fill_cost(struct space *space, const struct caps *caps, const struct vfd_mapping *want,
		      struct vfd_map_cost *cost)
{
	struct sys_memlock lock;

	space->sys->memlock(space->sys, &lock);
	cost->entries_needed = (uint32_t)piece_count(want);
	cost->locked_needed = pins_at_map(space) ? want->size : 0;
	cost->locked_available = memlock_left(&lock);
	cost->locked_limit = lock.limit;
	cost->entries_available = caps->entries_available;
}

/* What a map would meet in the kernel now, in the order in which the kernel looks */
static int check_limits(struct space *space, struct range where, const struct vfd_map_cost *cost,
			struct vfd_error *err)
{
	if (space->attached && cost->entries_available < cost->entries_needed)
		return explain_entries(where, cost->entries_needed, cost->entries_available, err);
	if (cost->locked_needed > cost->locked_available)
		return explain_memlock(space, where, cost->locked_needed, err);
	return 0;
}

static int check_piece_region(struct space *space, const struct vfd_mapping *want, struct vfd_error *err)
{
	uint64_t address = 0;

	if (!space->log || (want->flags & VFD_MAP_UNLOGGED))
		return 0;
	int rc = log_region_get(space->log, want->memory, want->iova, want->size, &address, err);
	if (!rc)
		log_region_put(space->log, address);
	return rc ? rc : check_log_address(want, address, err);
}

int check_region(struct space *space, const struct vfd_mapping *run, struct vfd_error *err)
{
	struct vfd_mapping piece;
	int rc = 0;

	for (uint64_t at = 0; !rc && at < run->size; at += piece.size) {
		piece = piece_at(run, at);
		rc = check_piece_region(space, &piece, err);
	}
	return rc;
}

static int check_free_now(struct space *space, struct range where, struct vfd_error *err)
{
	space_lock(space);
	int rc = check_free(space, where, err);
	space_unlock(space);
	return rc;
}

int map_check(struct space *space, const struct vfd_mapping *want, struct vfd_map_cost *cost,
	      struct vfd_error *err)
{
	struct backend now = space->backend;
	struct range where;
	int rc = check_mapping(space, want, &where, err);

	if (rc)
		return rc;
	if (space->attached && (rc = backend_refresh(&now)))
		return fail_sys(err, -rc, now.ops->refresh_name, "cannot read the container's limits");
	fill_cost(space, &now.caps, want, cost);
	rc = check_allowed(&now.caps, where, err);
	if (!rc)
		rc = check_region(space, want, err);
	if (!rc)
		rc = check_free_now(space, where, err);
	return rc ? rc : check_limits(space, where, cost, err);
}
