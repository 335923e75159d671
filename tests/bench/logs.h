/* SPDX-License-Identifier: MIT */
#ifndef TESTS_BENCH_LOGS_H
#define TESTS_BENCH_LOGS_H

/* A log over a guest of any size, without the guest: keyed by IOVA, it needs no memory. */

#include <vfiodirty.h>

#include "log.h"

#define PAGE	  UINT64_C(4096)
#define GIB	  (UINT64_C(1) << 30)
#define TIB	  (UINT64_C(1) << 40)
#define TIB_WORDS ((size_t)(TIB / PAGE / 64))

struct vfd_log *log_of(uint64_t bytes);
void log_drop(struct vfd_log *log);

/* The first n words of pages from address on, as a container's harvest gives them. Returns the new pages. */
uint64_t log_give(struct vfd_log *log, uint64_t address, const uint64_t *words, size_t n);

/* Take and commit all there is. */
void log_empty(struct vfd_log *log);

#endif
