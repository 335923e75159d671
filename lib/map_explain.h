/* SPDX-License-Identifier: MIT */
#ifndef LIB_MAP_EXPLAIN_H
#define LIB_MAP_EXPLAIN_H

/* Why a map failed: which limit, by how much, and what to set. All return the code. */

#include "space.h"

/* What was asked of the kernel in all */
struct asked {
	struct range where;
	uint64_t bytes, entries;
};

static inline uint64_t memlock_left(const struct sys_memlock *lock)
{
	return lock->limit == UINT64_MAX ? UINT64_MAX : lock->limit - min_u64(lock->limit, lock->used);
}

/* -ENOMEM and -ENOSPC: so many bytes, or entries, at `where` were asked for. */
int explain_memlock(struct space *space, struct range where, uint64_t bytes, struct vfd_error *err);
int explain_entries(struct range where, uint64_t needed, uint64_t available, struct vfd_error *err);

/* The kernel refused m, as a part of all that was asked, with rc; VFD_ERESERVED if it lies outside of the windows. */
int explain_map(struct space *space, const struct mapping *m, const struct asked *asked, int rc,
		struct vfd_error *err);

/* VFD_EPARTIAL: after the failure that *err tells, `left` could not be unmapped. */
int explain_left(struct range left, const struct vfd_error *why, struct vfd_error *err);

#endif
