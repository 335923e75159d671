/* SPDX-License-Identifier: MIT */
#ifndef TESTS_REAL_CHURN_H
#define TESTS_REAL_CHURN_H

/* Mappings that never stand still, on the real kernel. */

#include "rig.h"

enum { CHURNED = 1024 }; /* the first page that comes and goes; those before stay */

/* Map one page and unmap it again, by the library. False: it failed. */
bool churn_pair(struct rig *rig, uint64_t page);

/* Medians of pairs in a second: by the library, and by the two ioctls alone. */
struct rates {
	double ours, bare, ratio;
};

struct rates churn_rates(struct rig *rig, uint64_t nanoseconds);

#endif
