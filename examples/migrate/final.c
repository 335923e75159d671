/* SPDX-License-Identifier: MIT */

/* While the guest stands still: the rest, its state, and the moment from which on the destination has it. */

#include "devices.h"
#include "move.h"

/* ---- the rest ------------------------------------------------------------------------------------------------------- */

int move_pause(struct move *m, struct mig_error *err)
{
	gauge_enter(m, MIG_STOP);
	m->paused_at = now_ns();
	m->library_before = gauge_library_ns(m);
	m->touched = true;
	int rc = move_result(m, m->source->pause(m->source->opaque, err));
	if (rc || (rc = devices_stop(&m->source->guest, err)))
		return rc;
	m->report->pause_ms = ms_since(m->paused_at);
	return 0;
}

/* Neither to be sent, nor taken by somebody else. What cannot be counted is not none. */
static int nothing_owed(struct move *m, struct mig_error *err)
{
	struct vfd_count count;
	struct vfd_error vfd;

	if (vfd_consumer_count(m->source->consumer, 0, UINT64_MAX, &count, &vfd))
		return mig_fail_vfd(err, &vfd);
	if (count.owed)
		return mig_fail(err, "%llu pages became dirty after the last harvest: something still writes",
				(unsigned long long)gauge_blocks(m, count.owed));
	if (count.taken)
		return mig_fail(err, "%llu pages are in a batch that somebody else took from the consumer",
				(unsigned long long)gauge_blocks(m, count.taken));
	return 0;
}

int move_last_copy(struct move *m, struct mig_error *err)
{
	int rc = round_harvest(m, true, err);

	m->report->harvest_ms = m->harvest_ms;
	if (rc)
		return rc;
	m->sender.pace.bandwidth = 0;
	uint64_t begin = now_ns();
	rc = round_send(m, true, err);
	m->report->copy_ms = ms_since(begin);
	return rc ? rc : nothing_owed(m, err);
}

/* ---- the hand-over -------------------------------------------------------------------------------------------------- */

static int say_end(struct move *m, struct mig_error *err)
{
	int rc = 0;

	for (unsigned i = m->channel_count; i-- && !rc;)
		rc = wire_send(&m->channels[i].wire, FRAME_END, NULL, 0, NULL, err);
	return rc ? rc : channel_await(first_channel(m), FRAME_READY, err);
}

/* From the first byte of RUN on the destination may run: only its word brings the guest back, or that no byte went out. Who saved its
 * state may have written to memory. */
static int give_away(struct move *m, struct mig_error *err)
{
	struct channel *c = first_channel(m);
	uint64_t before = c->wire.io.written;
	int rc = io_stopped(&c->wire.io, err);

	if (rc || (rc = nothing_owed(m, err)))
		return rc;
	c->wire.io.stop[0] = NULL;
	rc = wire_send(&c->wire, FRAME_RUN, NULL, 0, NULL, err);
	m->given = c->wire.io.written != before;
	if (!rc)
		rc = channel_await(c, FRAME_RUNNING, err);
	if (rc == MIG_REFUSED)
		m->given = false;
	return rc;
}

int move_hand_over(struct move *m, struct mig_error *err)
{
	uint64_t begin = now_ns();
	int rc;

	gauge_enter(m, MIG_HANDOVER);
	rc = say_end(m, err);
	if (!rc)
		rc = give_away(m, err);
	m->report->resume_ms = ms_since(begin);
	return rc;
}
