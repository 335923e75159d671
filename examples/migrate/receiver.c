/* SPDX-License-Identifier: MIT */

/* Frames come in; nothing in them is believed. */

#include "receiver.h"

#include "devices.h"

#include <string.h>

/* ---- the first frames ------------------------------------------------------------------------------------------------- */

static int expect(struct wire *w, enum frame_type type, uint8_t *meta, struct frame *f, struct mig_error *err)
{
	int rc = wire_receive(w, f, meta, err);

	if (rc || f->type == type)
		return rc;
	return mig_fail(err, "the source sent %s instead of %s", frame_name(f->type), frame_name(type));
}

static int same_regions(const struct hello *h, const struct mig_guest *g, struct mig_error *err)
{
	if (h->regions != g->region_count)
		return mig_fail(err, "the source has %u regions of memory, and here are %zu", h->regions,
				g->region_count);
	for (uint32_t i = 0; i < h->regions; i++)
		if (h->region[i].address != g->regions[i].address || h->region[i].size != g->regions[i].size)
			return mig_fail(err,
					"region %u: %llu bytes at 0x%llx in the source, %llu at 0x%llx here",
					i, (unsigned long long)h->region[i].size,
					(unsigned long long)h->region[i].address,
					(unsigned long long)g->regions[i].size,
					(unsigned long long)g->regions[i].address);
	return 0;
}

static int same_state(const struct hello *h, const struct mig_guest *g, struct mig_error *err)
{
	if (h->sections != g->section_count || h->devices != g->device_count)
		return mig_fail(
			err,
			"the source has %u sections and %u devices that migrate, and here are %zu and %zu",
			h->sections, h->devices, g->section_count, g->device_count);
	for (uint32_t i = 0; i < h->sections; i++)
		if (strncmp(h->section[i], g->sections[i].name, MIG_NAME))
			return mig_fail(err, "section %u is not \"%.47s\" in the source", i,
					g->sections[i].name);
	return 0;
}

int receive_hello(struct receiver *r, struct wire *w, struct mig_error *err)
{
	uint8_t meta[FRAME_META];
	struct frame f;
	int rc;

	if ((rc = expect(w, FRAME_HELLO, meta, &f, err)) ||
	    (rc = hello_decode(meta, f.meta_size, &r->hello, err)) ||
	    (rc = same_regions(&r->hello, &r->destination->guest, err)))
		return rc;
	return same_state(&r->hello, &r->destination->guest, err);
}

int receive_join(struct receiver *r, struct wire *w, struct mig_error *err)
{
	uint8_t meta[FRAME_META];
	struct frame f;
	int rc = expect(w, FRAME_JOIN, meta, &f, err);

	if (rc)
		return rc;
	if (u64_decode(meta) != r->hello.session[0] || u64_decode(meta + 8) != r->hello.session[1])
		return mig_fail(err, "a connection of another migration came in between");
	return 0;
}

/* ---- pages ---------------------------------------------------------------------------------------------------------- */

/* Only what is not zero already is written, so that untouched memory stays untouched. */
static void make_zero(void *memory, size_t size)
{
	char *p = memory;

	for (size_t at = 0; at < size; at += PAGE_BLOCK)
		if (p[at] || memcmp(p + at, p + at + 1, PAGE_BLOCK - 1))
			memset(p + at, 0, PAGE_BLOCK);
}

/* All bounds of a frame are checked before its first byte is put anywhere. */
static int find_places(struct receiver *r, const struct run *runs, int count, void **places,
		       struct mig_error *err)
{
	for (int i = 0; i < count; i++)
		if (!(places[i] = memory_at(&r->memory, &runs[i], err)))
			return MIG_FAILED;
	return 0;
}

static void book(struct receiver *r, const struct run *runs, int count)
{
	for (int i = 0; i < count; i++) {
		memory_seen(&r->memory, &runs[i]);
		atomic_fetch_add(&r->pages, runs[i].blocks);
		if (runs[i].zero)
			atomic_fetch_add(&r->zeros, runs[i].blocks);
	}
}

static int receive_pages(struct receiver *r, struct wire *w, const struct frame *f, const uint8_t *meta,
			 struct mig_error *err)
{
	struct run runs[RUNS];
	void *places[RUNS];
	struct iovec pieces[RUNS];
	size_t filled = 0;
	int count = runs_decode(f, meta, runs, err);

	if (count < 0 || find_places(r, runs, count, places, err))
		return MIG_FAILED;
	for (int i = 0; i < count; i++)
		if (!runs[i].zero)
			pieces[filled++] = (struct iovec){ places[i], (size_t)runs[i].blocks * PAGE_BLOCK };
	int rc = wire_receive_data(w, f, pieces, filled, err);
	if (rc)
		return rc;
	for (int i = 0; i < count; i++)
		if (runs[i].zero)
			make_zero(places[i], (size_t)runs[i].blocks * PAGE_BLOCK);
	book(r, runs, count);
	return 0;
}

/* ---- state ---------------------------------------------------------------------------------------------------------- */

static int load_section(struct receiver *r, uint32_t number, bool last, size_t size, struct mig_error *err)
{
	const struct mig_section *s = &r->destination->guest.sections[number];

	if (number != r->next_section || !r->last_round)
		return mig_fail(err, "STATE of section \"%.47s\" before its turn", s->name);
	if (size && s->load(s->opaque, r->buffer, size, err))
		return MIG_FAILED;
	if (!last)
		return 0;
	r->next_section++;
	return s->load(s->opaque, NULL, 0, err) ? MIG_FAILED : 0;
}

static int load_device(struct receiver *r, uint32_t number, size_t size, const struct io *io,
		       struct mig_error *err)
{
	const struct mig_guest *g = &r->destination->guest;

	if (!r->loading && devices_resume(g, err))
		return MIG_FAILED;
	r->loading = true;
	return devices_load(g->devices[number], r->buffer, size, io, err);
}

static int receive_state(struct receiver *r, struct wire *w, const struct frame *f, const uint8_t *meta,
			 struct mig_error *err)
{
	const struct mig_guest *g = &r->destination->guest;
	struct iovec piece = { r->buffer, f->data_size };
	uint32_t number, last;

	u32s_decode(meta, &number, &last);
	if (number >= g->section_count + g->device_count || last > 1)
		return mig_fail(err, "STATE of section %u, and there are %zu", number,
				g->section_count + g->device_count);
	if (r->loaded[number])
		return mig_fail(err, "STATE of section %u after its end", number);
	int rc = wire_receive_data(w, f, &piece, 1, err);
	if (rc)
		return rc;
	r->loaded[number] = last;
	r->report->state_bytes += f->data_size;
	if (number < g->section_count)
		return load_section(r, number, last, f->data_size, err);
	return load_device(r, number - (uint32_t)g->section_count, f->data_size, &w->io, err);
}

/* ---- frame by frame ------------------------------------------------------------------------------------------------- */

static int receive_round(struct receiver *r, const uint8_t *meta, struct mig_error *err)
{
	uint32_t round, last;

	u32s_decode(meta, &round, &last);
	if (round != r->report->rounds + 1 || last > 1 || r->last_round)
		return mig_fail(err, "ROUND %u came after round %u", round, r->report->rounds);
	r->report->rounds = round;
	r->last_round = last;
	r->report->phase = last ? MIG_STOP : round > 1 ? MIG_PRECOPY : MIG_FIRST;
	r->progress.phase = r->report->phase;
	r->progress.round = round;
	r->progress.pages_sent = atomic_load(&r->pages);
	if (r->destination->progress)
		r->destination->progress(r->destination->opaque, &r->progress);
	return 0;
}

static int acknowledge(struct wire *w, const struct frame *f, struct mig_error *err)
{
	uint8_t meta[8];

	return wire_send(w, FRAME_ACK, meta, u64_encode(meta, f->sequence), NULL, err);
}

/* Rounds and state come in the first channel only. */
static int receive_frame(struct receiver *r, struct wire *w, const struct frame *f, const uint8_t *meta,
			 struct mig_error *err)
{
	int rc;

	switch (w->channel && f->type != FRAME_PAGES ? 0 : f->type) {
	case FRAME_ROUND:
		return receive_round(r, meta, err);
	case FRAME_PAGES:
		if ((rc = receive_pages(r, w, f, meta, err)))
			return rc;
		return acknowledge(w, f, err);
	case FRAME_STATE:
		if ((rc = receive_state(r, w, f, meta, err)))
			return rc;
		return acknowledge(w, f, err);
	case FRAME_CANCEL:
		mig_fail(err, "the source cancelled");
		return MIG_CANCELLED;
	}
	return mig_fail(err, "the source sent %s where it has no place", frame_name(f->type));
}

int receive_frames(struct receiver *r, struct wire *w, struct mig_error *err)
{
	uint8_t meta[FRAME_META];
	struct frame f;
	int rc;

	while (!(rc = wire_receive(w, &f, meta, err))) {
		if (f.type == FRAME_END)
			return 0;
		if ((rc = receive_frame(r, w, &f, meta, err)))
			return rc;
	}
	return rc;
}

int receiver_complete(struct receiver *r, struct mig_error *err)
{
	const struct mig_destination *d = r->destination;

	if (!r->last_round)
		return mig_fail(err, "END came before the last round");
	for (size_t i = 0; i < d->guest.section_count + d->guest.device_count; i++)
		if (!r->loaded[i])
			return mig_fail(err, "END came before the state of section %zu", i);
	if (memory_complete(&r->memory, err) || devices_loaded(&d->guest, err))
		return MIG_FAILED;
	return d->ready && d->ready(d->opaque, err) ? MIG_FAILED : 0;
}

int receive_run(struct wire *w, struct mig_error *err)
{
	uint8_t meta[FRAME_META];
	struct frame f;
	int rc = wire_send(w, FRAME_READY, NULL, 0, NULL, err);

	if (rc || (rc = wire_receive(w, &f, meta, err)))
		return rc;
	if (f.type == FRAME_RUN)
		return 0;
	mig_fail(err, "the source sent %s, not RUN: it keeps the guest", frame_name(f.type));
	return f.type == FRAME_CANCEL ? MIG_CANCELLED : MIG_FAILED;
}
