/* SPDX-License-Identifier: MIT */
#ifndef LIB_PIECES_H
#define LIB_PIECES_H

/* From what a caller wants mapped to what the kernel is asked for. Those of a list that follow each other are joined into *runs*; a run is
 * cut at the multiples of its granule into *pieces*, each of which is an entry of the kernel, and a mapping of its own. */

#include "space.h"

/* Sort by IOVA, and join in place as far as the limits allow: one region, one window, one mapping's most pages. Each was checked by
 * check_mapping(). VFD_EOVERLAP: two of them meet. */
int runs_join(struct space *space, struct vfd_mapping *all, size_t *count, struct vfd_error *err);

/* Kernel entries that the run needs */
uint64_t piece_count(const struct vfd_mapping *run);

/* The piece that begins so many bytes behind the run's first */
struct vfd_mapping piece_at(const struct vfd_mapping *run, uint64_t offset);

#endif
