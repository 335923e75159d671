/* SPDX-License-Identifier: MIT */
#ifndef LIB_MAP_H
#define LIB_MAP_H

/* The mapping table and the kernel's, kept the same: reserve, ioctl, publish; and no unmap without its bits. */

#include "space.h"

/* The caller's, as it is or was: VFD_EINVALID if its struct_size makes no sense. */
int copy_mapping(struct vfd_mapping *want, const struct vfd_mapping *user, struct vfd_error *err);

int map_add(struct space *space, const struct vfd_mapping *want, struct vfd_error *err);

/* A list, all or none. It is sorted and joined in place, *count becomes that of its runs, *entries that of their mappings. */
int map_list(struct space *space, struct vfd_mapping *wants, size_t *count, uint64_t *entries,
	     struct vfd_error *err);

/* At an IOVA of the library's choice, which goes to want->iova. place_begin() comes first. */
int map_place(struct space *space, struct vfd_mapping *want, const struct vfd_placement *wish,
	      struct vfd_error *err);

/* Put a mapping that the kernel has already into the table. */
int map_declare(struct space *space, const struct vfd_mapping *want, struct vfd_error *err);

/* Unmap whole mappings. none_is_fine: 0 instead of VFD_ENOTMAPPED when there is none. patience: how long to wait for pins, ns. */
int map_remove(struct space *space, struct range where, bool none_is_fine, uint64_t patience,
	       struct vfd_error *err);

/* Unmap one mapping, whose range is claimed, and forget it; or leave all as it was. deadline: until when to wait for pins, 0: not at all.
 * Mutex held, but let go of meanwhile. */
int unmap_one(struct space *space, struct mapping *m, uint64_t deadline, struct vfd_error *err);

/* Give every mapping of the table to the kernel, which has none. On failure some of them may be there. */
int map_replay(struct space *space, struct vfd_error *err);

#endif
