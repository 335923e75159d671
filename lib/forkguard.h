/* SPDX-License-Identifier: MIT */
#ifndef LIB_FORKGUARD_H
#define LIB_FORKGUARD_H

/* A child must not use handles that it inherited: an ioctl of its would steal the parent's dirty bits. The guard is one
 * load from a private page that the kernel wipes on fork: no getpid, no atfork handler, nothing process-wide. */

#include <stdatomic.h>
#include <stdbool.h>

struct forkguard {
	const atomic_int *alive;
};

/* 0 or -errno */
int forkguard_init(struct forkguard *guard);
void forkguard_end(struct forkguard *guard);

/* From here on every call is refused as in a child; whoever is refused sees what was written before. */
void forkguard_trip(struct forkguard *guard);

static inline bool forked(const struct forkguard *guard)
{
	return !atomic_load_explicit(guard->alive, memory_order_acquire);
}

#endif
