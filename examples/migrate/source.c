/* SPDX-License-Identifier: MIT */

/* The source: phase after phase; and the way back from each of them. */

#include "channel.h"
#include "converge.h"
#include "devices.h"
#include "guest.h"

#include <string.h>
#include <sys/random.h>

enum { TICK_NS = 200000000 };

struct move {
	struct sender sender; /* first: tick() finds the rest by it */
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

static struct channel *first_channel(struct move *m)
{
	return &m->channels[0];
}

/* What a callback returned, as an enum mig_result: it may be any number that is not 0, an errno of its own too. */
static int result_of(const struct move *m, int rc)
{
	struct mig_error ignored;

	if (rc == MIG_CANCELLED && mig_cancelled(m->source->control, &ignored))
		return MIG_CANCELLED;
	return rc ? MIG_FAILED : 0;
}

/* ---- numbers -------------------------------------------------------------------------------------------------------- */

static uint64_t wire_bytes(const struct move *m)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < m->channel_count; i++)
		sum += m->channels[i].wire.io.written;
	return sum;
}

static uint64_t library_ns(const struct move *m)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < m->channel_count; i++)
		sum += m->channels[i].library_ns;
	return sum;
}

static uint64_t blocks(const struct move *m, uint64_t pages)
{
	return pages * (m->sender.page / PAGE_BLOCK);
}

static uint64_t owed(const struct move *m)
{
	struct vfd_count count = { 0 };

	vfd_consumer_count(m->source->consumer, 0, UINT64_MAX, &count, NULL);
	return blocks(m, count.owed);
}

static void show(struct move *m)
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

static void enter(struct move *m, enum mig_phase phase)
{
	m->report->phase = phase;
	show(m);
}

/* How fast it goes when it is not held back. Rounds of a few pages say nothing about that. */
static void measure_rate(struct move *m)
{
	uint64_t bytes = wire_bytes(m) - m->round_bytes, ns = now_ns() - m->round_begin;
	uint64_t held = (pace_waited(&m->sender.pace) - m->round_waited) / m->channel_count;

	ns = ns > held ? ns - held : 1;
	if (bytes >= BATCH_BYTES || !m->progress.rate)
		m->progress.rate = (uint64_t)((double)bytes * 1e9 / (double)(ns ? ns : 1));
}

/* What cannot report is unplugged by prepare(); until then it counts for nothing. */
static struct outlook look_ahead(const struct move *m)
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

static void foresee(struct move *m)
{
	struct outlook o = look_ahead(m);
	uint64_t target = m->source->options.downtime_ms;

	m->progress.downtime_ms = expected_downtime_ms(&o);
	m->progress.eta_s = eta(m, target ? (double)target : 300);
}

static void tick(struct sender *s)
{
	struct move *m = (struct move *)s;

	if (now_ns() - m->ticked_at < TICK_NS)
		return;
	m->progress.pages_left = owed(m);
	measure_rate(m);
	foresee(m);
	show(m);
}

/* ---- harvests ------------------------------------------------------------------------------------------------------- */

static uint64_t read_meter(struct move *m)
{
	struct vfd_batch batch = { 0 };

	if (vfd_take(m->meter, 0, UINT64_MAX, UINT64_MAX, &batch, NULL) || !batch.id)
		return 0;
	vfd_commit(m->meter, &batch, 0, UINT64_MAX, NULL);
	return blocks(m, batch.pages);
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

static int harvest(struct move *m, bool final, struct mig_error *err)
{
	struct vfd_harvest sum = { .struct_size = sizeof sum, .drained = 1 };
	uint64_t begin = now_ns();
	int rc = result_of(m, m->source->harvest(m->source->opaque, final, &sum, err));

	m->harvest_ms = ms_since(begin);
	m->report->pages_assumed += blocks(m, sum.pages_assumed);
	m->progress.pages_left = owed(m);
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

/* ---- rounds --------------------------------------------------------------------------------------------------------- */

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

static int send_round(struct move *m, bool last, struct mig_error *err)
{
	m->report->rounds++;
	m->round_bytes = wire_bytes(m);
	m->round_waited = pace_waited(&m->sender.pace);
	m->round_begin = now_ns();
	int rc = say_round(m, last, err);
	if (rc || (rc = send_owed(m, err)))
		return rc;
	measure_rate(m);
	return 0;
}

/* ---- state ---------------------------------------------------------------------------------------------------------- */

static uint8_t *state_buffer(struct move *m)
{
	return first_channel(m)->data; /* between rounds nobody needs it */
}

static int save_section(struct move *m, uint32_t number, struct mig_error *err)
{
	const struct mig_section *s = &m->source->guest.sections[number];
	size_t done = 1;
	int rc = 0;

	while (!rc && done) {
		if ((rc = result_of(m, s->save(s->opaque, state_buffer(m), SEND_DATA, &done, err))))
			return rc;
		rc = channel_state(first_channel(m), number, !done, state_buffer(m), done, err);
		m->report->state_bytes += done;
	}
	return rc;
}

/* last: it is in STOP_COPY, and this is all. Before that a device may have as much as it likes, but gets one buffer a round. */
static int save_device(struct move *m, uint32_t number, bool last, struct mig_error *err)
{
	const struct mig_guest *g = &m->source->guest;
	uint32_t section = (uint32_t)g->section_count + number;
	size_t done;
	int rc;

	do {
		if ((rc = devices_save(g->devices[number], state_buffer(m), SEND_DATA, &done,
				       &first_channel(m)->wire.io, err)))
			return rc;
		if (last || done)
			rc = channel_state(first_channel(m), section, last && !done, state_buffer(m), done,
					   err);
		m->report->state_bytes += done;
	} while (!rc && last && done);
	return rc;
}

static int save_devices(struct move *m, bool last, struct mig_error *err)
{
	int rc = 0;

	for (uint32_t i = 0; i < m->source->guest.device_count && !rc; i++)
		rc = save_device(m, i, last, err);
	return rc;
}

/* ---- phases --------------------------------------------------------------------------------------------------------- */

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

static int first_copy(struct move *m, struct mig_error *err)
{
	struct vfd_error vfd;

	enter(m, MIG_FIRST);
	if (vfd_mark_initial(m->source->consumer, &vfd))
		return mig_fail_vfd(err, &vfd);
	m->devices_touched = true;
	int rc = devices_start(&m->source->guest, &m->precopy, err);
	m->harvested_at = now_ns();
	return rc ? rc : send_round(m, false, err);
}

/* Rounds, until what is left fits. */
static int rounds(struct move *m, struct mig_error *err)
{
	int rc;

	for (;;) {
		if (m->precopy && (rc = save_devices(m, false, err)))
			return rc;
		if ((rc = harvest(m, false, err)))
			return rc;
		foresee(m);
		show(m);
		struct outlook o = look_ahead(m);
		enum decision d = converge(&m->converge, &m->source->options, &o, err);
		if (d != GO_ON)
			return d == GIVE_UP ? MIG_GAVE_UP : 0;
		if ((rc = send_round(m, false, err)))
			return rc;
	}
}

static int precopy(struct move *m, struct mig_error *err)
{
	enter(m, MIG_PRECOPY);
	return rounds(m, err);
}

/* It may take long, and the guest goes on meanwhile. If something was unplugged that cannot report, all that it could write is owed
 * now, and the rounds begin anew; else those that were in vain were so. */
static int prepare(struct move *m, struct mig_error *err)
{
	if (m->prepared)
		return 0;
	uint64_t before = owed(m);
	enter(m, MIG_PREPARE);
	m->touched = true;
	int rc = result_of(m, m->source->prepare(m->source->opaque, err));
	if (rc)
		return rc;
	m->prepared = true;
	if (owed(m) > before)
		m->converge = (struct converge){ 0 };
	return rounds(m, err);
}

static int pause_guest(struct move *m, struct mig_error *err)
{
	enter(m, MIG_STOP);
	m->paused_at = now_ns();
	m->library_before = library_ns(m);
	m->touched = true;
	int rc = result_of(m, m->source->pause(m->source->opaque, err));
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
				(unsigned long long)blocks(m, count.owed));
	if (count.taken)
		return mig_fail(err, "%llu pages are in a batch that somebody else took from the consumer",
				(unsigned long long)blocks(m, count.taken));
	return 0;
}

static int last_copy(struct move *m, struct mig_error *err)
{
	int rc = harvest(m, true, err);

	m->report->harvest_ms = m->harvest_ms;
	if (rc)
		return rc;
	m->sender.pace.bandwidth = 0;
	uint64_t begin = now_ns();
	rc = send_round(m, true, err);
	m->report->copy_ms = ms_since(begin);
	return rc ? rc : nothing_owed(m, err);
}

static int save_state(struct move *m, struct mig_error *err)
{
	uint64_t begin = now_ns();
	int rc = 0;

	enter(m, MIG_STATE);
	for (uint32_t i = 0; i < m->source->guest.section_count && !rc; i++)
		rc = save_section(m, i, err);
	if (!rc)
		rc = save_devices(m, true, err);
	m->report->state_ms = ms_since(begin);
	return rc;
}

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

static int hand_over(struct move *m, struct mig_error *err)
{
	uint64_t begin = now_ns();
	int rc;

	enter(m, MIG_HANDOVER);
	rc = say_end(m, err);
	if (!rc)
		rc = give_away(m, err);
	m->report->resume_ms = ms_since(begin);
	return rc;
}

/* ---- from the beginning to the end ------------------------------------------------------------------------------------ */

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

static int begin(struct move *m, struct mig_link *links, struct mig_error *err)
{
	struct vfd_error vfd;

	enter(m, MIG_CONNECT);
	if (open_channels(m, links, err) || check_source(m->source, err))
		return MIG_FAILED;
	if (vfd_consumer_add(m->source->log, "dirty rate", &m->meter, &vfd))
		return mig_fail_vfd(err, &vfd);
	return say_hello(m, err);
}

static int all_phases(struct move *m, struct mig_link *links, struct mig_error *err)
{
	int (*const phases[])(struct move *, struct mig_error *) = { first_copy,  precopy,   prepare,
								     pause_guest, last_copy, save_state,
								     hand_over };
	int rc = begin(m, links, err);

	for (size_t i = 0; i < sizeof phases / sizeof *phases && !rc; i++)
		rc = phases[i](m, err);
	return rc;
}

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

static void finish_report(struct move *m, int rc)
{
	struct mig_report *r = m->report;

	if (!rc)
		r->phase = MIG_OVER;
	r->result = rc;
	r->total_ms = ms_since(m->begin);
	r->downtime_ms = m->paused_at ? ms_since(m->paused_at) : 0;
	r->bytes = wire_bytes(m);
	for (unsigned i = 0; i < m->channel_count; i++) {
		r->pages_sent += m->channels[i].pages;
		r->pages_zero += m->channels[i].zeros;
		r->pages_reported += m->channels[i].reported;
	}
	if (m->paused_at)
		r->library_ms = r->harvest_ms + (double)(library_ns(m) - m->library_before) / 1e6;
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
	m->sender.tick = tick;
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
