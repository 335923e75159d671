/* SPDX-License-Identifier: MIT */
#ifndef MIGRATE_RECEIVER_H
#define MIGRATE_RECEIVER_H

/* What a destination makes of the frames that come in: of one channel, and of the whole guest. */

#include "memory.h"
#include "wire.h"

struct receiver {
	const struct mig_destination *destination;
	struct memory memory;
	struct hello hello;
	struct mig_report *report;
	struct mig_progress progress;
	atomic_ullong pages, zeros; /* blocks */
	atomic_bool failed;	    /* one channel did: all end */
	bool last_round;
	bool loading;		       /* devices are in RESUMING */
	bool loaded[2 * MIG_SECTIONS]; /* sections, then devices: all of it came */
	uint32_t next_section;
	uint8_t *buffer; /* FRAME_DATA bytes: state */
};

/* The first frame of the first channel. It says whether both sides have the same. */
int receive_hello(struct receiver *r, struct wire *w, struct mig_error *err);
/* And of another one. */
int receive_join(struct receiver *r, struct wire *w, struct mig_error *err);

/* Frames of a channel up to its END, each acknowledged when it is where it belongs. */
int receive_frames(struct receiver *r, struct wire *w, struct mig_error *err);

/* After the END of all channels: is it a whole guest? Asks everyone who loaded something. */
int receiver_complete(struct receiver *r, struct mig_error *err);

/* We are ready. The source may take it back until it says RUN: whatever else happens, nothing may run here. */
int receive_run(struct wire *w, struct mig_error *err);

#endif
