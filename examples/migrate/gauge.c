/* SPDX-License-Identifier: MIT */

/* How it goes: what went out, what is left, and how long that will take. */

#include "devices.h"
#include "move.h"

enum { TICK_NS = 200000000 };

uint64_t gauge_wire_bytes(const struct move *m)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < m->channel_count; i++)
		sum += m->channels[i].wire.io.written;
	return sum;
}

uint64_t gauge_library_ns(const struct move *m)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < m->channel_count; i++)
		sum += m->channels[i].library_ns;
	return sum;
}

uint64_t gauge_blocks(const struct move *m, uint64_t pages)
{
	return pages * (m->sender.page / PAGE_BLOCK);
}

uint64_t gauge_owed(const struct move *m)
{
	struct vfd_count count = { 0 };

	vfd_consumer_count(m->source->consumer, 0, UINT64_MAX, &count, NULL);
	return gauge_blocks(m, count.owed);
}

void gauge_show(struct move *m)
{
	m->progress.phase = m->report->phase;
	m->progress.round = m->report->rounds;
	m->progress.pages_sent = 0;
	for (unsigned i = 0; i < m->channel_count; i++)
		m->progress.pages_sent += atomic_load(&m->channels[i].pages);
	if (m->source->progress)
		m->source->progress(m->source->opaque, &m->progress);
	m->ticked_at = now_ns();
}

void gauge_enter(struct move *m, enum mig_phase phase)
{
	m->report->phase = phase;
	gauge_show(m);
}

/* How fast it goes when it is not held back. Rounds of a few pages say nothing about that. */
void gauge_rate(struct move *m)
{
	uint64_t bytes = gauge_wire_bytes(m) - m->round_bytes, ns = now_ns() - m->round_begin;
	uint64_t held = (pace_waited(&m->sender.pace) - m->round_waited) / m->channel_count;

	ns = ns > held ? ns - held : 1;
	if (bytes >= BATCH_BYTES || !m->progress.rate)
		m->progress.rate = (uint64_t)((double)bytes * 1e9 / (double)(ns ? ns : 1));
}

/* What cannot report is unplugged by prepare(); until then it counts for nothing. */
struct outlook gauge_outlook(const struct move *m)
{
	return (struct outlook){ .round = m->report->rounds,
				 .seconds = ms_since(m->begin) / 1e3,
				 .left = m->progress.pages_left * PAGE_BLOCK,
				 .deferred = m->prepared ? m->progress.deferred : 0,
				 .state = devices_expect(&m->source->guest),
				 .rate = m->progress.rate,
				 .harvest_ms = m->harvest_ms };
}

/* Each round leaves dirty/rate of what it sent: a geometric series, which may have no end. */
static double eta(const struct move *m, double target_ms)
{
	double rate = (double)m->progress.rate, dirty = (double)m->progress.dirty_rate * PAGE_BLOCK;
	double left = (double)m->progress.pages_left * PAGE_BLOCK - rate * target_ms / 1e3;

	if (m->source->options.bandwidth && rate > (double)m->source->options.bandwidth)
		rate = (double)m->source->options.bandwidth;
	return left <= 0 ? 0 : rate > dirty ? left / (rate - dirty) : -1;
}

void gauge_foresee(struct move *m)
{
	struct outlook o = gauge_outlook(m);
	uint64_t target = m->source->options.downtime_ms;

	m->progress.downtime_ms = expected_downtime_ms(&o);
	m->progress.eta_s = eta(m, target ? (double)target : DOWNTIME_MS);
}

void gauge_tick(struct sender *s)
{
	struct move *m = (struct move *)s;

	if (now_ns() - m->ticked_at < TICK_NS)
		return;
	m->progress.pages_left = gauge_owed(m);
	gauge_rate(m);
	gauge_foresee(m);
	gauge_show(m);
}
