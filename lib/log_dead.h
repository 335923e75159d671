/* SPDX-License-Identifier: MIT */
#ifndef LIB_LOG_DEAD_H
#define LIB_LOG_DEAD_H

/* A dead process' log, in its arena. The arena may have been written by anyone: each number is loaded once, and checked before it is used. */

#include "log_internal.h"

#define SALVAGE_OP "vfd_log_salvage"

struct dead {
	struct vfd_log view; /* as much of a log as planes_of() and the like look at */
	struct superblock super;
	struct region_table table; /* the header */
};

/* It is one, of a log that could be `log`; every number but those of single regions was checked. */
int dead_open(struct dead *dead, const struct vfd_log *log, const void *arena, uint64_t size,
	      struct vfd_error *err);

/* All of its regions are possible, and lie in regions of `log`. */
int dead_check_regions(const struct dead *dead, const struct vfd_log *log, struct vfd_error *err);

/* A copy of one; whether its numbers are possible, which has to be asked of each copy. */
void dead_region(const struct dead *dead, uint64_t index, struct region *region);
bool dead_region_holds(const struct dead *dead, const struct region *r);

/* So many bytes from there lie in the arena. */
bool dead_inside(const struct dead *dead, uint64_t offset, uint64_t bytes);

/* One load each, whatever the compiler would like */
void dead_copy(void *to, const void *from, size_t size);

#endif
