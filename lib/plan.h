/* SPDX-License-Identifier: MIT */
#ifndef LIB_PLAN_H
#define LIB_PLAN_H

/* The harvest planner: which ranges to ask the kernel for, one GET_BITMAP each.
 *
 * A span starts and ends with a mapping of the table. Neighbours join it as long as each starts a multiple of 64 pages from the
 * span's start (then a fault in the middle leaves what was not delivered intact, and no stray bits appear), the bitmap stays
 * within the kernel's limit and the holes are small. */

#include "space.h"

/* The first range to claim at or after cursor: from a mapping's start, as long as one bitmap can be. False: no mapping is left. */
bool plan_window(struct space *space, uint64_t cursor, struct range *window);

/* The span inside a claimed window; false if its mappings are gone by now. */
bool plan_span(struct space *space, struct range window, struct range *span);

#endif
