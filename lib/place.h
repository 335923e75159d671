/* SPDX-License-Identifier: MIT */
#ifndef LIB_PLACE_H
#define LIB_PLACE_H

/* Which IOVAs are free, for a program that does not care where its memory is mapped. Nothing is kept until the first such call. From
 * then on every range is taken before it is mapped and given back after it was unmapped, so no address is handed out twice. When
 * groups come and go the kernel's windows change: then all is forgotten, and the next call begins anew. */

#include <vfiodirty/container.h>

#include "extents.h"

struct space;

struct place {
	bool live;
	struct extents extents;
	uint32_t window_count;
	struct range windows[VFD_INFO_RANGES]; /* where the kernel allows mappings */
};

/* Container's gate closed. 0, or VFD_ENOMEMORY. */
int place_begin(struct space *space, struct vfd_error *err);
/* The kernel's windows may have changed. Container's gate closed, or nobody else there. */
void place_forget(struct space *space);

/* Choose mapping->iova and take what it needs, piece by piece of its granule. VFD_EINVALID, VFD_ELIMIT, VFD_ENOMEMORY. */
int place_find(struct space *space, struct vfd_mapping *mapping, const struct vfd_placement *wish,
	       struct vfd_error *err);
/* Take a range that the caller chose, and give it back, the space's mutex held. VFD_EOVERLAP, VFD_ENOMEMORY. Not live: 0. */
int place_take(struct space *space, struct range where, struct vfd_error *err);
void place_give(struct space *space, struct range where);
/* What place_find() took. */
void place_give_pieces(struct space *space, const struct vfd_mapping *run);

#endif
