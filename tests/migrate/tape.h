/* SPDX-License-Identifier: MIT */
#ifndef TESTS_MIGRATE_TAPE_H
#define TESTS_MIGRATE_TAPE_H

/* A stream in memory: written by a source, changed by a test, played to a destination. */

#include "receiver.h"

enum { TAPE_ROOM = 1 << 17, TAPE_FRAMES = 32, TAPE_BLOCKS = 16 };

struct tape {
	struct io io; /* first: a tape is what is read and written below */
	uint8_t bytes[TAPE_ROOM];
	size_t size, at;
};

/* Read from `bytes`, which end somewhere; or write to them. */
void tape_open(struct tape *t);

/* A whole, good migration of two regions, one section, one device and three blocks that are not zero. */
void tape_record(struct tape *t);

/* Where frames begin; returns how many. */
size_t tape_frames(const struct tape *t, size_t *starts);
/* Make the sums right again, up to the first byte that is in no frame. renumber: the sequence too. */
void tape_mend(uint8_t *bytes, size_t size, bool renumber);

/* What a destination that is as mig_receive() with one channel does with it. */
struct played {
	int result;
	bool ran;
	struct mig_error error;
	uint8_t memory[TAPE_BLOCKS * PAGE_BLOCK];
	size_t state; /* bytes that were loaded */
};
/* Nothing was loaded yet, into the device that there is. */
void tape_device_reset(void);
void tape_play(struct tape *t, struct played *p);

#endif
