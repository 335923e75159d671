/* SPDX-License-Identifier: MIT */
#ifndef LIB_FORKGUARD_H
#define LIB_FORKGUARD_H

/* A child must not use handles that it inherited: an ioctl of its would steal the parent's dirty bits. The guard is one
 * load from a private page that the kernel wipes on fork: no getpid, no atfork handler, nothing process-wide. */

#include <stdbool.h>

struct forkguard {
	const volatile int *alive;
};

/* 0 or -errno */
int forkguard_init(struct forkguard *guard);
void forkguard_end(struct forkguard *guard);

/* From here on every call is refused as in a child. */
void forkguard_trip(struct forkguard *guard);

static inline bool forked(const struct forkguard *guard)
{
	return !*guard->alive;
}

#endif
