/* SPDX-License-Identifier: MIT */
#ifndef LIB_HARVEST_H
#define LIB_HARVEST_H

/* Private to lib/harvest*.c: a harvest on its way. */

#include "track.h"

struct harvest {
	struct space *space;
	struct range wanted; /* the mappings that start here */
	struct vfd_harvest *result;
	struct vfd_error *err;
	int rc;	     /* the first failure */
	bool replan; /* the span: what may be wrong in it has changed */
};

/* Ask for one span, and merge what arrives, also on failure: what was delivered is cleared in the kernel. *asked: a failure is the
 * kernel's. Returns its answer. */
int harvest_get(struct harvest *h, struct span *span, bool *asked);

/* That, and what a failure means. */
void harvest_span(struct harvest *h, struct span *span);

/* So many new pages are over-approximated. */
static inline void harvest_assumed(struct vfd_harvest *result, enum vfd_reason why, uint64_t pages)
{
	result->pages_new += pages;
	result->pages_assumed += pages;
	result->assumed[why] += pages;
}

#endif
