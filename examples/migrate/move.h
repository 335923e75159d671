/* SPDX-License-Identifier: MIT */
#ifndef MIGRATE_MOVE_H
#define MIGRATE_MOVE_H

/* A migration, as its source sees it. source.c goes from phase to phase; a phase calls what is further down here. */

#include "channel.h"
#include "converge.h"

struct move {
	struct sender sender; /* first: gauge_tick() finds the rest by it */
	const struct mig_source *source;
	struct channel channels[MIG_CHANNELS];
	unsigned channel_count;
	struct mig_report *report;
	struct mig_progress progress;
	struct vfd_consumer *meter; /* sees what becomes dirty, and nothing else */
	struct converge converge;
	uint64_t begin, paused_at, harvested_at, ticked_at;
	uint64_t round_bytes, round_begin, round_waited; /* at the round's begin */
	uint64_t library_before; /* channels' time in the library when the guest was paused */
	double harvest_ms;	 /* of the last one */
	bool precopy;		 /* devices save while they run */
	bool prepared;		 /* prepare() is over, or there is none */
	bool touched;		 /* prepare() or pause() was called */
	bool devices_touched;
	bool given; /* the destination may be running: there is no way back */
};

static inline struct channel *first_channel(struct move *m)
{
	return &m->channels[0];
}

/* What a callback returned, as an enum mig_result: it may be any number that is not 0, an errno of its own too. */
static inline int move_result(const struct move *m, int rc)
{
	struct mig_error ignored;

	if (rc == MIG_CANCELLED && mig_cancelled(m->source->control, &ignored))
		return MIG_CANCELLED;
	return rc ? MIG_FAILED : 0;
}

/* ---- the phases: 0, or an enum mig_result with a message ---------------------------------------------------------------- */

/* precopy.c: while the guest runs */
int move_first_copy(struct move *m, struct mig_error *err);
int move_precopy(struct move *m, struct mig_error *err);
int move_prepare(struct move *m, struct mig_error *err);

/* final.c: while it stands still */
int move_pause(struct move *m, struct mig_error *err);
int move_last_copy(struct move *m, struct mig_error *err);
int move_hand_over(struct move *m, struct mig_error *err);

/* save.c: its state, which goes out in between; and what devices have while they still run */
int move_save_state(struct move *m, struct mig_error *err);
int move_save_devices(struct move *m, bool last, struct mig_error *err);

/* ---- round.c: both for the rounds and for the rest ---------------------------------------------------------------------- */

/* All sources' bits into the log. final: everything is paused, and a device that can still write is an error. */
int round_harvest(struct move *m, bool final, struct mig_error *err);
/* What is owed, by all channels; until it has arrived. */
int round_send(struct move *m, bool last, struct mig_error *err);

/* ---- gauge.c: numbers --------------------------------------------------------------------------------------------------- */

uint64_t gauge_wire_bytes(const struct move *m);
uint64_t gauge_library_ns(const struct move *m);
/* To show and to guess by: what cannot be counted is 0 here. */
uint64_t gauge_owed(const struct move *m);
/* Pages of the log, in blocks. */
uint64_t gauge_blocks(const struct move *m, uint64_t pages);
/* A phase begins; and show it. */
void gauge_enter(struct move *m, enum mig_phase phase);
void gauge_show(struct move *m);
/* After a round: how fast was it? */
void gauge_rate(struct move *m);
/* After a harvest: what is to be expected? */
struct outlook gauge_outlook(const struct move *m);
void gauge_foresee(struct move *m);
/* Now and then, by channel 0. */
void gauge_tick(struct sender *s);

#endif
