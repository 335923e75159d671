/* SPDX-License-Identifier: MIT */
#ifndef LIB_MAP_H
#define LIB_MAP_H

/* The mapping table and the kernel's, kept the same: reserve, ioctl, publish; and no unmap without its bits. */

#include "space.h"

int map_add(struct space *space, const struct vfd_mapping *want, struct vfd_error *err);

/* At an IOVA of the library's choice, which goes to want->iova. place_begin() comes first. */
int map_place(struct space *space, struct vfd_mapping *want, const struct vfd_placement *wish,
	      struct vfd_error *err);

/* Put a mapping that the kernel has already into the table. */
int map_declare(struct space *space, const struct vfd_mapping *want, struct vfd_error *err);

/* Unmap whole mappings. none_is_fine: 0 instead of VFD_ENOTMAPPED when there is none. patience: how long to wait for pins, ns. */
int map_remove(struct space *space, struct range where, bool none_is_fine, uint64_t patience,
	       struct vfd_error *err);

/* Give every mapping of the table to the kernel, which has none. On failure some of them may be there. */
int map_replay(struct space *space, struct vfd_error *err);

#endif
