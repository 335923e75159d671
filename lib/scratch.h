/* SPDX-License-Identifier: MIT */
#ifndef LIB_SCRATCH_H
#define LIB_SCRATCH_H

/* Buffers for the kernel to write bitmaps into: private, page-aligned, populated and zero. Never the accumulator (the kernel
 * overwrites) and never user memory (a fault in the middle of GET_BITMAP spoils the kernel's record). */

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "sys.h"

enum { SCRATCH_KEPT = 4 };

struct scratch {
	uint64_t *words;
	size_t size; /* bytes */
};

struct scratch_pool {
	const struct sys *sys;
	pthread_mutex_t mutex;
	struct scratch kept[SCRATCH_KEPT];
};

void scratch_pool_init(struct scratch_pool *pool, const struct sys *sys);
void scratch_pool_end(struct scratch_pool *pool);

/* At least `bytes` zero bytes. 0 or -errno. */
int scratch_get(struct scratch_pool *pool, uint64_t bytes, struct scratch *out);
void scratch_put(struct scratch_pool *pool, struct scratch scratch);

#endif
