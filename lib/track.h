/* SPDX-License-Identifier: MIT */
#ifndef LIB_TRACK_H
#define LIB_TRACK_H

/* Start, harvest, stop. */

#include <vfiodirty/track.h>

#include "space.h"

/* Turn the kernel's record on, and remember that it is wanted. The gate is closed. */
int track_start(struct space *space, struct vfd_error *err);

/* The container has its IOMMU (again), and no mapping yet: turn the record on if it is wanted. Gate closed. */
int track_attached(struct space *space, struct vfd_error *err);

/* The last group left, and the kernel's record with it. Gate closed. */
void track_detached(struct space *space);

/* As vfd_track_harvest(); *result is filled in always. */
int track_harvest(struct space *space, unsigned flags, struct vfd_harvest *result, struct vfd_error *err);

/* The mappings that start in `wanted` only; drains nothing by itself. Several may run at once. */
int track_harvest_range(struct space *space, struct range wanted, struct vfd_harvest *result,
			struct vfd_error *err);

/* Harvest if tracking. VFD_ELOST counts as collected: what was lost is assumed by then. */
int track_collect(struct space *space, unsigned flags, struct vfd_error *err);

/* The gate is closed and nothing is left to collect, or it is to be dropped. */
int track_stop(struct space *space, struct vfd_error *err);

/* Groups came or went: if the size of pages changed, the kernel's bitmaps are of no use: start over, assume all. Gate closed. */
int track_recheck(struct space *space, struct vfd_error *err);

/* While a group that cannot report is taken out, there must be no record: when the page size changes with it, the kernel marks
 * everything in bitmaps that are too small. Nothing is lost, all that is mapped is owed at the end anyway. *paused tells whether
 * there was a record. Gate closed. */
int track_pause(struct space *space, bool *paused, struct vfd_error *err);
void track_resume(struct space *space);

#endif
