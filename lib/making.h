/* SPDX-License-Identifier: MIT */
#ifndef LIB_MAKING_H
#define LIB_MAKING_H

/* What one call makes: mappings, all of them or none. Here is what comes before the kernel is asked and may fail, and how it is undone. */

#include "space.h"

enum origin { CHOSEN, PLACED, IN_KERNEL };

struct making {
	struct space *space;
	enum origin origin;
	const struct vfd_mapping *runs; /* by IOVA */
	size_t run_count;
	struct mapping **all;
	struct mapping *alone; /* room for `all`, if it is one */
	size_t count;
	size_t taken;	 /* the first so many have their IOVA */
	size_t promised; /* ... and room in the table */
	size_t mapped;	 /* ... and are there, in the kernel and in the table */
};

/* The records, with their regions held. Also after a failure there may be some. */
int making_begin(struct making *making, struct vfd_error *err);
/* Frees those that are not in the table. */
void making_end(struct making *making);

/* All runs: first byte of the lowest to last byte of the highest, and how much they are */
struct range making_hull(const struct making *making);
uint64_t making_bytes(const struct making *making);

/* IOVAs are free and taken, the table has room: what comes after it cannot fail. The hull is claimed, and the mutex held, here and below. */
int making_reserve(struct making *making, struct vfd_error *err);
/* Of what is not mapped: why is what the kernel said of the first of those, or another reason. */
void making_give_back(struct making *making, int why);

#endif
