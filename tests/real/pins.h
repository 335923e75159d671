/* SPDX-License-Identifier: MIT */
#ifndef TESTS_REAL_PINS_H
#define TESTS_REAL_PINS_H

/* Threads that pin memory and have devices write it, one that unmaps and maps it elsewhere, one that harvests, two that copy. Each
 * writes its own part of a page, its lane, so that it can tell what arrived there. */

#include "rig_edu.h"

#include <stdatomic.h>

enum {
	SIZE = 16,   /* pages of a mapping */
	PINNED = 32, /* mappings that are written under pins, */
	FREE = 4,    /* and behind them such as the device's own thread writes at any time */
	PAGES = (PINNED + FREE) * SIZE, /* of memory */
	FREE_SLOT = 64,			/* where those are, in sizes of a mapping; they keep their IOVA */
	PINNERS = 3,
	CHANNELS = 2,
	LANE = 64, /* bytes */
	EDU_LANE = 15,
};

struct play {
	struct rig rig;
	struct edu *edu;  /* it writes too; NULL: there is none */
	bool no_marks;	  /* control: buffers are pinned as if they were only read */
	bool unpin_early; /* control: before the device is done */
	atomic_bool stop;
	atomic_int in_use[PINNED];
	uint64_t slots[PINNED], empty; /* where each mapping is, and what place is free */
	atomic_ulong pins, edu_pins, unmaps, refused, waits, wait_refused, harvests, batches;
	atomic_ulong violations;       /* unmapped under a pin */
	_Atomic(const char *) problem; /* the first one that is none of these */
	_Atomic(uint64_t) copy[PAGES * RIG_PAGE / 8];
};

uint64_t slot_iova(uint64_t slot);
int map_part(struct play *p, uint64_t part, uint64_t slot);
void play_threads(struct play *p, unsigned seconds);
/* Send all that is owed. */
void send_owed(struct play *p);

#endif
