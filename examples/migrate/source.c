/* SPDX-License-Identifier: MIT */

/* The source: one phase after the other; and the way back from each of them. */

#include "devices.h"
#include "guest.h"
#include "move.h"

#include <string.h>
#include <sys/random.h>

/* ---- the beginning ---------------------------------------------------------------------------------------------------- */

static int check_source(const struct mig_source *s, struct mig_error *err)
{
	uint64_t page = vfd_log_page_size(s->log);

	if (guest_check_source(&s->guest, err))
		return MIG_FAILED;
	if (page < PAGE_BLOCK)
		return mig_fail(err, "the log has pages of %llu bytes; %d is the least here",
				(unsigned long long)page, PAGE_BLOCK);
	return 0;
}

/* The links are theirs from here on. */
static int open_channels(struct move *m, struct mig_link *links, struct mig_error *err)
{
	int rc = 0;

	for (unsigned i = 0; i < m->channel_count; i++) {
		rc |= channel_open(&m->channels[i], &m->sender, i, &links[i], m->source, err);
		links[i] = (struct mig_link){ -1, -1 };
	}
	return rc;
}

static void fill_hello(const struct move *m, struct hello *h)
{
	const struct mig_guest *g = &m->source->guest;

	memset(h, 0, sizeof *h);
	h->channels = m->channel_count;
	h->regions = (uint32_t)g->region_count;
	h->sections = (uint32_t)g->section_count;
	h->devices = (uint32_t)g->device_count;
	for (size_t i = 0; i < g->region_count; i++) {
		h->region[i].address = g->regions[i].address;
		h->region[i].size = g->regions[i].size;
	}
	for (size_t i = 0; i < g->section_count; i++)
		memcpy(h->section[i], g->sections[i].name, MIG_NAME);
}

static int say_hello(struct move *m, struct mig_error *err)
{
	struct hello h;
	uint8_t meta[FRAME_META];
	int rc;

	fill_hello(m, &h);
	if (getrandom(h.session, sizeof h.session, 0) != sizeof h.session)
		return mig_fail(err, "no random numbers");
	size_t size = hello_encode(&h, meta);
	if ((rc = wire_send(&first_channel(m)->wire, FRAME_HELLO, meta, size, NULL, err)))
		return rc;
	for (unsigned i = 1; i < m->channel_count; i++)
		if ((rc = wire_send(&m->channels[i].wire, FRAME_JOIN, meta, 16, NULL, err)))
			return rc;
	return channel_await(first_channel(m), FRAME_WELCOME, err);
}

static int begin(struct move *m, struct mig_link *links, struct mig_error *err)
{
	struct vfd_error vfd;

	gauge_enter(m, MIG_CONNECT);
	if (open_channels(m, links, err) || check_source(m->source, err))
		return MIG_FAILED;
	if (vfd_consumer_add(m->source->log, "dirty rate", &m->meter, &vfd))
		return mig_fail_vfd(err, &vfd);
	return say_hello(m, err);
}

static int all_phases(struct move *m, struct mig_link *links, struct mig_error *err)
{
	int (*const phases[])(struct move *, struct mig_error *) = {
		move_first_copy, move_precopy,	  move_prepare,	  move_pause,
		move_last_copy,	 move_save_state, move_hand_over,
	};
	int rc = begin(m, links, err);

	for (size_t i = 0; i < sizeof phases / sizeof *phases && !rc; i++)
		rc = phases[i](m, err);
	return rc;
}

/* ---- the way back ----------------------------------------------------------------------------------------------------- */

/* So that the destination need not wait for the connection to be closed. */
static void say_cancel(struct move *m)
{
	struct wire *w = &first_channel(m)->wire;
	struct mig_error ignored;

	if (m->given || w->broken)
		return;
	w->io.stop[0] = w->io.stop[1] = NULL;
	w->io.stall_ms = 100;
	wire_send(w, FRAME_CANCEL, NULL, 0, NULL, &ignored);
}

static void go_on_here(struct move *m, struct mig_error *err)
{
	uint64_t begin = now_ns();
	struct mig_error also;

	if (m->devices_touched && devices_go_back(&m->source->guest, &also)) {
		size_t length = strlen(err->message);
		snprintf(err->message + length, sizeof err->message - length,
			 "; and a device does not run again: %s", also.message);
	}
	if (m->touched)
		m->source->resume(m->source->opaque);
	m->report->resume_ms = ms_since(begin);
}

/* Closed before the guest goes on: from then on the destination cannot be told to run. */
static int go_back(struct move *m, int rc, struct mig_error *err)
{
	rc = channel_ask_why(first_channel(m), rc, err);
	say_cancel(m);
	for (unsigned i = 0; i < m->channel_count; i++) {
		channel_roll_back(&m->channels[i]);
		mig_close(&m->channels[i].wire.io.link);
	}
	if (m->given && rc != MIG_REFUSED)
		return MIG_UNCONFIRMED;
	go_on_here(m, err);
	return rc;
}

/* ---- the call --------------------------------------------------------------------------------------------------------- */

static void finish_report(struct move *m, int rc)
{
	struct mig_report *r = m->report;

	if (!rc)
		r->phase = MIG_OVER;
	r->result = rc;
	r->total_ms = ms_since(m->begin);
	r->downtime_ms = m->paused_at ? ms_since(m->paused_at) : 0;
	r->bytes = gauge_wire_bytes(m);
	for (unsigned i = 0; i < m->channel_count; i++) {
		r->pages_sent += m->channels[i].pages;
		r->pages_zero += m->channels[i].zeros;
		r->pages_reported += m->channels[i].reported;
	}
	if (m->paused_at)
		r->library_ms = r->harvest_ms + (double)(gauge_library_ns(m) - m->library_before) / 1e6;
}

static void end(struct move *m)
{
	if (m->meter)
		vfd_consumer_remove(&m->meter, VFD_DISCARD, NULL);
	for (unsigned i = 0; i < m->channel_count; i++)
		channel_close(&m->channels[i]);
	pthread_mutex_destroy(&m->sender.mutex);
	pthread_mutex_destroy(&m->sender.pace.mutex);
}

static int send_guest(struct move *m, struct mig_link *links, struct mig_error *err)
{
	m->sender.consumer = m->source->consumer;
	m->sender.guest = &m->source->guest;
	m->sender.page = vfd_log_page_size(m->source->log);
	m->sender.pace.bandwidth = m->source->options.bandwidth;
	m->sender.tick = gauge_tick;
	m->prepared = !m->source->prepare;
	pthread_mutex_init(&m->sender.mutex, NULL);
	pthread_mutex_init(&m->sender.pace.mutex, NULL);
	int rc = all_phases(m, links, err);
	if (rc)
		rc = go_back(m, rc, err);
	finish_report(m, rc);
	end(m);
	return rc;
}

int mig_send(const struct mig_source *source, struct mig_link *links, unsigned channels,
	     struct mig_report *report, struct mig_error *err)
{
	struct move m = { .source = source, .channel_count = channels, .report = report, .begin = now_ns() };

	*err = (struct mig_error){ "" };
	*report = (struct mig_report){ .result = MIG_FAILED };
	int rc = channels && channels <= MIG_CHANNELS
			 ? send_guest(&m, links, err)
			 : mig_fail(err, "%u channels; 1 to %d can be", channels, MIG_CHANNELS);
	for (unsigned i = 0; i < channels; i++)
		mig_close(&links[i]);
	return rc;
}
