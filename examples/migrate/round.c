/* SPDX-License-Identifier: MIT */

/* One round: what became dirty is moved into the log, and what is owed there goes out. */

#include "move.h"

/* ---- harvests ------------------------------------------------------------------------------------------------------- */

static uint64_t read_meter(struct move *m)
{
	struct vfd_batch batch = { 0 };

	if (vfd_take(m->meter, 0, UINT64_MAX, UINT64_MAX, &batch, NULL) || !batch.id)
		return 0;
	vfd_commit(m->meter, &batch, 0, UINT64_MAX, NULL);
	return gauge_blocks(m, batch.pages);
}

static void measure_dirty(struct move *m)
{
	uint64_t now = now_ns(), pages = read_meter(m);

	if (now > m->harvested_at)
		m->progress.dirty_rate = (uint64_t)((double)pages * 1e9 / (double)(now - m->harvested_at));
	m->harvested_at = now;
}

/* Who spoiled what, as long as it is owed. */
static void list_causes(struct move *m)
{
	struct vfd_cause all[64];
	size_t count = 0;

	if (vfd_consumer_causes(m->source->consumer, all, 64, &count, NULL))
		return;
	for (size_t i = 0; i < count && i < 64 && m->report->cause_count < MIG_CAUSES; i++)
		if (all[i].provenance == VFD_ASSUMED)
			m->report->causes[m->report->cause_count++] = all[i];
}

int round_harvest(struct move *m, bool final, struct mig_error *err)
{
	struct vfd_harvest sum = { .struct_size = sizeof sum, .drained = 1 };
	uint64_t begin = now_ns();
	int rc = move_result(m, m->source->harvest(m->source->opaque, final, &sum, err));

	m->harvest_ms = ms_since(begin);
	m->report->pages_assumed += gauge_blocks(m, sum.pages_assumed);
	m->progress.pages_left = gauge_owed(m);
	m->progress.deferred = sum.deferred_bytes;
	if (!final)
		m->report->deferred_bytes = sum.deferred_bytes;
	if (rc)
		return rc;
	if (!final)
		measure_dirty(m);
	else if (!sum.drained)
		return mig_fail(err, "a device can still write after the last harvest: pause it, or close it "
				     "and detach its group");
	else
		list_causes(m);
	return 0;
}

/* ---- all channels together ------------------------------------------------------------------------------------------ */

static void failed_first(struct sender *s, int rc, const struct mig_error *err)
{
	pthread_mutex_lock(&s->mutex);
	if (!s->result) {
		s->result = rc;
		s->error = *err;
	}
	pthread_mutex_unlock(&s->mutex);
	atomic_store(&s->failed, true);
}

static void *channel_main(void *opaque)
{
	struct channel *c = opaque;
	struct mig_error err = { "" };
	int rc = channel_round(c, &err);

	if (rc)
		failed_first(c->sender, channel_ask_why(c, rc, &err), &err);
	return NULL;
}

/* All channels take from the same log, each its own batches. */
static int send_owed(struct move *m, struct mig_error *err)
{
	pthread_t threads[MIG_CHANNELS];
	unsigned started = 1;

	m->sender.cursor = 0;
	m->sender.exhausted = false;
	while (started < m->channel_count &&
	       !pthread_create(&threads[started], NULL, channel_main, &m->channels[started]))
		started++;
	channel_main(first_channel(m));
	for (unsigned i = 1; i < started; i++)
		pthread_join(threads[i], NULL);
	if (m->sender.result)
		*err = m->sender.error;
	return m->sender.result;
}

static int say_round(struct move *m, bool last, struct mig_error *err)
{
	uint8_t meta[8];
	size_t size = u32s_encode(meta, m->report->rounds, last);

	return wire_send(&first_channel(m)->wire, FRAME_ROUND, meta, size, NULL, err);
}

int round_send(struct move *m, bool last, struct mig_error *err)
{
	m->report->rounds++;
	m->round_bytes = gauge_wire_bytes(m);
	m->round_waited = pace_waited(&m->sender.pace);
	m->round_begin = now_ns();
	int rc = say_round(m, last, err);
	if (rc || (rc = send_owed(m, err)))
		return rc;
	gauge_rate(m);
	return 0;
}
