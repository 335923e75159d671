/* SPDX-License-Identifier: MIT */
#ifndef TESTS_BENCH_QUICK_H
#define TESTS_BENCH_QUICK_H

/* A container on the model kernel whose mapping and bitmap calls cost next to nothing: what is left is the library. The time
 * inside those calls is counted, so that it can be taken off. */

#include <vfiodirty.h>

#include "model/model.h"

struct quick {
	struct model *model;
	struct vfd_log *log;
	struct vfd_container *container;
};

/* What GET_BITMAP answers: every dirty_every-th page of a range is dirty; 0: none. */
extern uint64_t quick_dirty_every;

/* Write all words of the answer, as the kernel does where all is mapped. */
extern bool quick_writes_all;

/* UNMAP_DMA says that the first page is dirty. */
extern bool quick_unmaps_dirty;

/* To populate scratch costs nothing. Set before the container is opened. */
extern bool quick_populates_nothing;

/* Nanoseconds spent in GET_BITMAP so far. */
extern double quick_inside_ns;

/* A log of `bytes` keyed by IOVA, a container that finds process addresses too. Nothing is mapped. */
void quick_open(struct quick *q, uint64_t bytes);
/* The same, and it tracks; finds IOVAs only. */
void quick_begin(struct quick *q, uint64_t bytes);
/* The same with flags of vfd_container_open(). */
void quick_begin_with(struct quick *q, uint64_t bytes, uint32_t flags);
void quick_end(struct quick *q);

void quick_map(struct quick *q, uint64_t iova, uint64_t size);
/* At an address that nobody looks behind. */
void quick_map_memory(struct quick *q, uint64_t iova, uint64_t memory, uint64_t size);
void quick_harvest(struct quick *q);

#endif
