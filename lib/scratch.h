/* SPDX-License-Identifier: MIT */
#ifndef LIB_SCRATCH_H
#define LIB_SCRATCH_H

/* Buffers for the kernel to write bitmaps into: private, page-aligned, a guard page behind. Never the accumulator (the kernel
 * overwrites) and never user memory (a fault in the middle of GET_BITMAP spoils the kernel's record).
 *
 * A buffer is address space until part of it is populated, which must come before the kernel writes there. Between two uses all of it
 * is zero: who used words makes them zero again, so that a large one costs only what is used of it. */

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "sys.h"

enum { SCRATCH_KEPT = 4 };

struct scratch {
	uint64_t *words;
	size_t size;	 /* bytes */
	uint64_t serial; /* no other buffer of the pool ever had it; 0: it gets one when it is kept */
	uint64_t ready;	 /* bytes from its beginning that were populated once */
};

struct scratch_pool {
	const struct sys *sys;
	size_t page;
	_Atomic(uint64_t *) small; /* a page, ready: goes from unmap to unmap without the lock */
	pthread_mutex_t mutex;
	struct scratch kept[SCRATCH_KEPT];
	uint64_t serial; /* the last one given out */
};

void scratch_pool_init(struct scratch_pool *pool, const struct sys *sys);
void scratch_pool_end(struct scratch_pool *pool);

/* Give back what is kept: nothing is expected to need it soon. */
void scratch_pool_trim(struct scratch_pool *pool);

/* Room for `bytes`, zero and not populated. 0, -errno or VFD_ENOMEMORY. */
int scratch_get(struct scratch_pool *pool, uint64_t bytes, struct scratch *out);

/* Words first..last can be written by the kernel from now on. 0 or -errno. */
int scratch_populate(const struct scratch_pool *pool, struct scratch scratch, uint64_t first, uint64_t last);

/* Both in one, for a small bitmap. */
int scratch_get_populated(struct scratch_pool *pool, uint64_t bytes, struct scratch *out);

/* The same, without a call to the kernel if it was populated before: for who can ask again when the kernel faults on it after all. */
int scratch_get_ready(struct scratch_pool *pool, uint64_t bytes, struct scratch *out);
void scratch_put_ready(struct scratch_pool *pool, struct scratch scratch);

/* All of it is zero again. */
void scratch_put(struct scratch_pool *pool, struct scratch scratch);

#endif
