/* SPDX-License-Identifier: MIT */
#include "place.h"

#include <inttypes.h>

#include "pieces.h"
#include "recorder.h"
#include "space.h"

static const char *const place_op = "map anywhere";

/* No lower than this unless asked: to many a driver the address 0 means none. */
#define LOWEST	      UINT64_C(0x10000)
#define LARGEST_ALIGN (UINT64_C(1) << 30)
#define LARGE_PAGE    (UINT64_C(1) << 21) /* the smallest large page of an IOMMU */

/* ---- taking and giving, window by window; mutex held ---- */

/* The part of `where` that lies in a window; a mapping that was there before the windows were known may lie in none, or in several. */
static bool part_in(const struct place *place, uint32_t window, struct range where, struct range *part)
{
	if (!range_meets(place->windows[window], where))
		return false;
	part->first = max_u64(place->windows[window].first, where.first);
	part->last = min_u64(place->windows[window].last, where.last);
	return true;
}

static void give_parts(struct place *place, uint32_t windows, struct range where)
{
	struct range part;

	for (uint32_t i = 0; i < windows; i++)
		if (part_in(place, i, where, &part))
			extents_give(&place->extents, part);
}

static enum extents_result take_parts(struct place *place, struct range where)
{
	enum extents_result result = EXTENTS_OK;
	struct range part;
	uint32_t i;

	for (i = 0; i < place->window_count; i++) {
		if (part_in(place, i, where, &part))
			result = extents_take(&place->extents, part);
		if (result != EXTENTS_OK)
			break;
	}
	if (result != EXTENTS_OK)
		give_parts(place, i, where);
	return result;
}

/* ---- beginning anew ---- */

/* They rise and do not touch, whoever lists them: what is free is in pieces that do neither. */
static void add_window(struct place *place, uint64_t first, uint64_t last)
{
	struct range *before = place->window_count ? &place->windows[place->window_count - 1] : NULL;

	last = min_u64(last, IOVA_TOP - 1);
	if (first > last || (before && first <= before->last))
		return;
	if (before && first == before->last + 1)
		before->last = last;
	else
		place->windows[place->window_count++] = (struct range){ first, last };
}

/* As long as only emulated groups came the kernel restricts nothing. */
static void read_windows(struct place *place, const struct caps *caps)
{
	place->window_count = 0;
	for (uint32_t i = 0; i < caps->range_count; i++)
		add_window(place, caps->ranges[i].first, caps->ranges[i].last);
	if (!caps->range_total)
		add_window(place, 0, UINT64_MAX);
}

static bool add_all(struct space *space)
{
	struct place *place = &space->place;
	struct index_cursor at;

	read_windows(place, &space->backend.caps);
	for (uint32_t i = 0; i < place->window_count; i++)
		if (!extents_add(&place->extents, place->windows[i]))
			return false;
	for (bool more = index_seek(&space->table.iova, 0, &at); more; more = index_next(&at))
		if (take_parts(place, at.where) == EXTENTS_NO_MEMORY)
			return false;
	return true;
}

void place_forget(struct space *space)
{
	extents_end(&space->place.extents);
	space->place.live = false;
}

int place_begin(struct space *space, struct vfd_error *err)
{
	if (space->place.live)
		return 0;
	if (!add_all(space)) {
		place_forget(space);
		return fail(err, VFD_ENOMEMORY, place_op, "no memory for the record of free IOVAs");
	}
	space->place.live = true;
	return 0;
}

/* ---- the calls ---- */

/* The largest power of two that is no more than the size: then an IOMMU can use its large pages, and bitmaps their whole words. */
static uint64_t natural_align(uint64_t size)
{
	uint64_t align = UINT64_C(1) << (63 - __builtin_clzll(size));

	return min_u64(align, LARGEST_ALIGN);
}

/* A large page of the memory is one to the IOMMU only where both begin at once. Not at the price of shifted bitmaps: memory that begins at
 * odd pages goes to an aligned IOVA. */
static uint64_t congruent_offset(const struct space *space, const void *memory, uint64_t align)
{
	uint64_t offset = (uintptr_t)memory & (align - 1);

	return align >= LARGE_PAGE && is_aligned(offset, 64 * space->backend.page_size) ? offset : 0;
}

static int make_want(const struct space *space, const struct vfd_mapping *mapping,
		     const struct vfd_placement *wish, struct extent_want *want, struct vfd_error *err)
{
	uint64_t page = space->backend.page_size, size = mapping->size;

	if (wish->flags & ~(uint32_t)VFD_PLACE_BEST_FIT)
		return fail(err, VFD_EINVALID, place_op, "unknown flags %#" PRIx32, wish->flags);
	if (!size)
		return fail(err, VFD_EINVALID, place_op, "size is 0");
	if (wish->align && !is_power_of_two(wish->align))
		return fail(err, VFD_EINVALID, place_op, "align %" PRIu64 " is not a power of two",
			    wish->align);
	*want = (struct extent_want){
		.size = size,
		.align = max_u64(wish->align ? wish->align : natural_align(size), page),
		.within = { wish->first ? wish->first : LOWEST, wish->last ? wish->last : UINT64_MAX },
		.best = wish->flags & VFD_PLACE_BEST_FIT,
	};
	if (!wish->align)
		want->offset = congruent_offset(space, mapping->memory, want->align);
	if (want->within.first > want->within.last)
		return fail(err, VFD_EINVALID, place_op, "first %#" PRIx64 " lies behind last %#" PRIx64,
			    want->within.first, want->within.last);
	return 0;
}

static int fail_full(const struct place *place, const struct extent_want *want, struct vfd_error *err)
{
	struct range longest = { 1, 0 };

	extents_longest(&place->extents, &longest);
	return fail(err, VFD_ELIMIT, place_op,
		    "no %" PRIu64 " bytes of IOVA, aligned to %" PRIu64 ", are free in %#" PRIx64
		    "..%#" PRIx64 "; the longest free range anywhere is %" PRIu64 " bytes at %#" PRIx64,
		    want->size, want->align, want->within.first, want->within.last, range_size(longest),
		    longest.first);
}

/* The pieces of what was taken at once are given back one by one. */
static enum extents_result split(struct extents *extents, struct range where, uint64_t pieces)
{
	if (pieces == 1 || (pieces <= SIZE_MAX && extents_split(extents, (size_t)(pieces - 1))))
		return EXTENTS_OK;
	extents_give(extents, where);
	return EXTENTS_NO_MEMORY;
}

/* Congruent if there is room; mutex held. */
static enum extents_result find(struct place *place, struct extent_want *want, struct vfd_mapping *mapping)
{
	struct range where;
	enum extents_result result = extents_find(&place->extents, want, &where);

	if (result == EXTENTS_NONE && want->offset) {
		want->offset = 0;
		result = extents_find(&place->extents, want, &where);
	}
	if (result != EXTENTS_OK)
		return result;
	mapping->iova = where.first;
	return split(&place->extents, where, piece_count(mapping));
}

/* Where the logs of all devices look, if there is room: elsewhere the mapping would be owed as a whole. Mutex held. */
static enum extents_result find_armed(struct space *space, const struct extent_want *want,
				      struct vfd_mapping *mapping)
{
	enum extents_result result = EXTENTS_NONE;
	struct range armed = { 0 };

	for (uint64_t from = want->within.first;
	     result == EXTENTS_NONE && from <= want->within.last && from &&
	     recorders_next_armed(space, from, &armed) && armed.first <= want->within.last;
	     from = armed.last + 1) {
		struct extent_want inside = *want;
		inside.within = (struct range){ armed.first, min_u64(armed.last, want->within.last) };
		result = find(&space->place, &inside, mapping);
	}
	return result;
}

int place_find(struct space *space, struct vfd_mapping *mapping, const struct vfd_placement *wish,
	       struct vfd_error *err)
{
	struct extent_want want;
	int rc = make_want(space, mapping, wish, &want, err);

	if (rc)
		return rc;
	space_lock(space);
	enum extents_result result = find_armed(space, &want, mapping);
	if (result == EXTENTS_NONE)
		result = find(&space->place, &want, mapping);
	if (result == EXTENTS_NONE)
		rc = fail_full(&space->place, &want, err);
	else if (result == EXTENTS_NO_MEMORY)
		rc = fail(err, VFD_ENOMEMORY, place_op, "no memory for the record of free IOVAs");
	space_unlock(space);
	return rc;
}

int place_take(struct space *space, struct range where, struct vfd_error *err)
{
	enum extents_result result = space->place.live ? take_parts(&space->place, where) : EXTENTS_OK;

	if (result == EXTENTS_NO_MEMORY)
		return fail(err, VFD_ENOMEMORY, "map", "no memory for the record of free IOVAs");
	if (result == EXTENTS_NONE)
		return fail_range(err, VFD_EOVERLAP, "map", where.first, where.last,
				  "IOVA %#" PRIx64 "..%#" PRIx64
				  " is being mapped by another thread, which let the library choose",
				  where.first, where.last);
	return 0;
}

void place_give(struct space *space, struct range where)
{
	if (space->place.live)
		give_parts(&space->place, space->place.window_count, where);
}

void place_give_pieces(struct space *space, const struct vfd_mapping *run)
{
	struct vfd_mapping piece;

	space_lock(space);
	for (uint64_t at = 0; at < run->size; at += piece.size) {
		piece = piece_at(run, at);
		place_give(space, (struct range){ piece.iova, piece.iova + (piece.size - 1) });
	}
	space_unlock(space);
}
