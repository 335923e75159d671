/* SPDX-License-Identifier: MIT */
#include "pieces.h"

#include <inttypes.h>
#include <stdlib.h>

#include "map_check.h"

static uint64_t last_of(const struct vfd_mapping *m)
{
	return m->iova + (m->size - 1);
}

/* ---- joining ---- */

static int by_iova(const void *left, const void *right)
{
	const struct vfd_mapping *a = left, *b = right;

	return a->iova < b->iova ? -1 : a->iova > b->iova;
}

static bool follows(const struct vfd_mapping *a, const struct vfd_mapping *b)
{
	return a->iova + a->size == b->iova && (uintptr_t)a->memory + a->size == (uintptr_t)b->memory &&
	       a->flags == b->flags && a->granule == b->granule &&
	       (!(a->flags & VFD_MAP_LOG_ADDRESS) || a->log_address + a->size == b->log_address);
}

/* The piece in which two runs meet: the others are checked by themselves. */
static struct vfd_mapping seam(const struct vfd_mapping *joined, uint64_t offset)
{
	uint64_t granule = joined->granule,
		 behind = granule ? (joined->iova + offset) & (granule - 1) : offset;

	return piece_at(joined, offset - min_u64(offset, behind));
}

static bool join(struct space *space, struct vfd_mapping *run, const struct vfd_mapping *next)
{
	struct vfd_mapping joined = *run;
	struct range where;

	if (!follows(run, next))
		return false;
	joined.size += next->size;
	struct vfd_mapping piece = seam(&joined, run->size);
	if (check_mapping(space, &joined, &where, NULL) || check_allowed(&space->backend.caps, where, NULL) ||
	    check_region(space, &piece, NULL))
		return false;
	*run = joined;
	return true;
}

int runs_join(struct space *space, struct vfd_mapping *all, size_t *count, struct vfd_error *err)
{
	struct vfd_mapping *run = all;

	qsort(all, *count, sizeof *all, by_iova);
	for (struct vfd_mapping *next = all + 1; next < all + *count; next++) {
		if (next->iova <= last_of(run))
			return fail_range(err, VFD_EOVERLAP, "map list", run->iova, last_of(run),
					  "IOVA %#" PRIx64 "..%#" PRIx64 " of the list meets %#" PRIx64
					  "..%#" PRIx64 " of the list",
					  next->iova, last_of(next), run->iova, last_of(run));
		if (!join(space, run, next))
			*++run = *next;
	}
	*count = (size_t)(run - all) + 1;
	return 0;
}

/* ---- cutting ---- */

uint64_t piece_count(const struct vfd_mapping *run)
{
	return run->granule ? last_of(run) / run->granule - run->iova / run->granule + 1 : 1;
}

struct vfd_mapping piece_at(const struct vfd_mapping *run, uint64_t offset)
{
	struct vfd_mapping piece = *run;

	piece.iova += offset;
	piece.size -= offset;
	piece.memory = (char *)run->memory + offset;
	piece.log_address += offset;
	if (run->granule)
		piece.size = min_u64(piece.size, run->granule - (piece.iova & (run->granule - 1)));
	return piece;
}
