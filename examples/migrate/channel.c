/* SPDX-License-Identifier: MIT */

/* Batches become frames; acknowledged frames become commits. A batch is committed when its last frame has arrived, not before, and
 * rolled back if that never happens. */

#include "channel.h"

#include "crc32c.h"

#include <stdlib.h>
#include <string.h>

enum { LAST_WORDS_MS = 1000 }; /* what has begun to come is waited for so long */

int channel_open(struct channel *c, struct sender *s, unsigned number, const struct mig_link *link,
		 const struct mig_source *source, struct mig_error *err)
{
	uint64_t stall = source->options.stall_ms ? source->options.stall_ms : 10000;

	*c = (struct channel){ .sender = s, .data = malloc(SEND_DATA) };
	io_open(&c->wire.io, link, stall);
	c->wire.io.stop[0] = source->control ? &source->control->cancelled : NULL;
	c->wire.io.stop[1] = &s->failed;
	c->wire.channel = (uint16_t)number;
	return c->data ? 0 : mig_fail(err, "no memory for a channel");
}

void channel_close(struct channel *c)
{
	free(c->data);
	mig_close(&c->wire.io.link);
}

/* ---- answers -------------------------------------------------------------------------------------------------------- */

static int commit_oldest(struct channel *c, struct mig_error *err)
{
	struct vfd_error vfd;
	uint64_t begin = now_ns();
	int rc = vfd_commit(c->sender->consumer, &c->flights[c->oldest].batch, 0, UINT64_MAX, &vfd);

	c->library_ns += now_ns() - begin;
	c->oldest = (c->oldest + 1) % FLIGHTS;
	c->flying--;
	return rc ? mig_fail_vfd(err, &vfd) : 0;
}

static int on_ack(struct channel *c, uint64_t sequence, struct mig_error *err)
{
	if (sequence < c->acked || sequence >= c->wire.next_out)
		return mig_fail(err, "frame %llu was acknowledged; %llu to %llu are on their way",
				(unsigned long long)sequence, (unsigned long long)c->acked,
				(unsigned long long)c->wire.next_out);
	c->acked = sequence + 1;
	while (c->flying && c->flights[c->oldest].last <= sequence)
		if (commit_oldest(c, err))
			return MIG_FAILED;
	return 0;
}

static int on_refuse(const struct frame *f, const uint8_t *meta, struct mig_error *err)
{
	char text[REFUSAL + 1] = "";

	memcpy(text, meta, f->meta_size);
	for (char *p = text; *p; p++)
		*p = *p < ' ' || *p > '~' ? '?' : *p;
	mig_fail(err, "the destination refused: %s", text);
	return MIG_REFUSED;
}

/* The next frame, of any type. */
static int next_answer(struct channel *c, struct frame *f, struct mig_error *err)
{
	uint8_t meta[FRAME_META];
	int rc = wire_receive(&c->wire, f, meta, err);

	if (rc)
		return rc;
	if (f->type == FRAME_REFUSE)
		return on_refuse(f, meta, err);
	return f->type == FRAME_ACK ? on_ack(c, u64_decode(meta), err) : 0;
}

static int next_ack(struct channel *c, struct mig_error *err)
{
	struct frame f;
	int rc = next_answer(c, &f, err);

	if (rc || f.type == FRAME_ACK)
		return rc;
	return mig_fail(err, "the destination sent %s where nobody asked for it", frame_name(f.type));
}

int channel_await(struct channel *c, enum frame_type type, struct mig_error *err)
{
	struct frame f;
	int rc;

	while (!(rc = next_answer(c, &f, err)))
		if (f.type == type)
			return 0;
		else if (f.type != FRAME_ACK)
			return mig_fail(err, "the destination sent %s instead of %s", frame_name(f.type),
					frame_name(type));
	return rc;
}

/* Until there is room for a frame; what is here already is read in any case. */
static int make_room(struct channel *c, struct mig_error *err)
{
	int rc = 0;

	while (!rc && (c->wire.next_out - c->acked >= WINDOW || c->wire.io.readable(&c->wire.io)))
		rc = next_ack(c, err);
	return rc;
}

/* ---- frames --------------------------------------------------------------------------------------------------------- */

static int emit(struct channel *c, struct mig_error *err)
{
	uint8_t meta[RUNS * RUN_SIZE];
	size_t size = c->run_count * RUN_SIZE;
	struct cargo cargo = { c->data, c->data_size, 0 };
	struct sum sum;
	int rc;

	for (unsigned i = 0; i < c->run_count; i++) {
		run_encode(&c->runs[i], meta + i * RUN_SIZE);
		atomic_fetch_add(&c->pages, c->runs[i].blocks);
		c->zeros += c->runs[i].zero ? c->runs[i].blocks : 0;
	}
	sum_start(&sum);
	sum_add(&sum, c->data, c->data_size);
	cargo.sum = c->data_size ? sum_end(&sum) : 0;
	if ((rc = pace_wait(&c->sender->pace, &c->wire.io, FRAME_HEADER + size + c->data_size, err)) ||
	    (rc = make_room(c, err)) || (rc = wire_send(&c->wire, FRAME_PAGES, meta, size, &cargo, err)))
		return rc;
	c->run_count = 0;
	c->data_size = 0;
	if (!c->wire.channel)
		c->sender->tick(c->sender);
	return io_stopped(&c->wire.io, err);
}

/* Most blocks that are not zero show it in their first bytes. */
static bool is_zero(const void *block)
{
	const uint64_t *words = block;

	for (unsigned i = 0; i < PAGE_BLOCK / 8; i += 8)
		if (words[i] | words[i + 1] | words[i + 2] | words[i + 3] | words[i + 4] | words[i + 5] |
		    words[i + 6] | words[i + 7])
			return false;
	return true;
}

static bool begins_region(const struct mig_guest *g, uint64_t address)
{
	for (size_t i = 0; i < g->region_count; i++)
		if (g->regions[i].address == address)
			return true;
	return false;
}

/* Regions may be neighbours, but a run lies within one. */
static bool continues(const struct channel *c, uint64_t address, bool zero)
{
	const struct run *last = c->run_count ? &c->runs[c->run_count - 1] : NULL;

	return last && last->zero == zero && last->address + (uint64_t)last->blocks * PAGE_BLOCK == address &&
	       !begins_region(c->sender->guest, address);
}

/* The guest may be writing it: what is sent is a copy, whose checksum stays true. It was taken before it is read here, so what is
 * written from now on is owed again. */
static int add_block(struct channel *c, uint64_t address, const void *memory, struct mig_error *err)
{
	bool zero = is_zero(memory), joins = continues(c, address, zero);

	if (c->data_size == SEND_DATA || (!joins && c->run_count == RUNS)) {
		int rc = emit(c, err);
		if (rc)
			return rc;
		joins = false;
	}
	if (!joins)
		c->runs[c->run_count++] = (struct run){ .address = address, .zero = zero };
	c->runs[c->run_count - 1].blocks++;
	if (!zero) {
		memcpy(c->data + c->data_size, memory, PAGE_BLOCK);
		c->data_size += PAGE_BLOCK;
	}
	return 0;
}

static int add_run(struct channel *c, const struct vfd_run *run, struct mig_error *err)
{
	int rc = 0;

	if (!run->memory)
		return mig_fail(err, "the log knows no memory (VFD_LOG_IDENTITY): there is nothing to send");
	for (uint64_t at = 0; at < run->size && !rc; at += PAGE_BLOCK)
		rc = add_block(c, run->address + at, (const char *)run->memory + at, err);
	return rc;
}

/* ---- batches -------------------------------------------------------------------------------------------------------- */

/* The next batch of the round; id 0: there is none. */
static int take(struct channel *c, struct vfd_batch *batch, struct mig_error *err)
{
	struct sender *s = c->sender;
	struct vfd_error vfd;
	uint64_t begin = now_ns(), most = BATCH_BYTES / s->page;
	int rc = 0;

	batch->id = 0;
	pthread_mutex_lock(&s->mutex);
	if (!s->exhausted)
		rc = vfd_take(s->consumer, s->cursor, UINT64_MAX, most ? most : 1, batch, &vfd);
	if (!rc && batch->id)
		s->cursor = batch->last + 1;
	s->exhausted |= rc || !batch->id || !s->cursor;
	pthread_mutex_unlock(&s->mutex);
	c->library_ns += now_ns() - begin;
	return rc ? mig_fail_vfd(err, &vfd) : 0;
}

static int next_runs(struct channel *c, struct vfd_batch *batch, struct vfd_run *runs, size_t *count,
		     struct mig_error *err)
{
	struct vfd_error vfd;
	uint64_t begin = now_ns();
	int rc = vfd_batch_runs(c->sender->consumer, batch, runs, 64, count, &vfd);

	c->library_ns += now_ns() - begin;
	return rc ? mig_fail_vfd(err, &vfd) : 0;
}

static int send_batch(struct channel *c, struct vfd_batch *batch, struct mig_error *err)
{
	struct vfd_run runs[64];
	size_t count = 1;
	int rc = 0;

	while (!rc && count) {
		rc = next_runs(c, batch, runs, &count, err);
		for (size_t i = 0; i < count && !rc; i++)
			rc = add_run(c, &runs[i], err);
	}
	return rc || !c->run_count ? rc : emit(c, err);
}

/* From here on it is either acknowledged or rolled back. */
static int fly(struct channel *c, struct vfd_batch *batch, struct mig_error *err)
{
	struct flight *f = &c->flights[(c->oldest + c->flying) % FLIGHTS];

	*f = (struct flight){ *batch, UINT64_MAX };
	c->flying++;
	c->reported += batch->reported * (c->sender->page / PAGE_BLOCK);
	int rc = send_batch(c, batch, err);
	if (!rc)
		f->last = c->wire.next_out - 1;
	return rc;
}

static int wait_for_flights(struct channel *c, unsigned most, struct mig_error *err)
{
	int rc = 0;

	while (!rc && c->flying > most)
		rc = next_ack(c, err);
	return rc;
}

int channel_round(struct channel *c, struct mig_error *err)
{
	struct vfd_batch batch = { 0 };
	int rc;

	/* room first: what is taken and then not sent nobody would roll back */
	while (!(rc = wait_for_flights(c, FLIGHTS - 1, err)) && !(rc = take(c, &batch, err)) && batch.id)
		if ((rc = fly(c, &batch, err)))
			return rc;
	return rc ? rc : wait_for_flights(c, 0, err);
}

void channel_roll_back(struct channel *c)
{
	for (; c->flying; c->flying--, c->oldest = (c->oldest + 1) % FLIGHTS)
		vfd_rollback(c->sender->consumer, &c->flights[c->oldest].batch, 0, UINT64_MAX, NULL);
}

int channel_ask_why(struct channel *c, int result, struct mig_error *err)
{
	uint64_t begin = now_ns();
	struct mig_error said;
	struct frame f;
	int rc = 0;

	c->wire.io.stop[0] = c->wire.io.stop[1] = NULL;
	c->wire.io.stall_ms = LAST_WORDS_MS;
	while (!rc && ms_since(begin) < LAST_WORDS_MS && c->wire.io.readable(&c->wire.io))
		rc = next_answer(c, &f, &said);
	if (rc != MIG_REFUSED)
		return result;
	*err = said;
	return rc;
}

int channel_state(struct channel *c, uint32_t section, bool last, const void *data, size_t size,
		  struct mig_error *err)
{
	uint8_t meta[8];
	struct cargo cargo = { data, size, 0 };
	struct sum sum;
	int rc = make_room(c, err);

	sum_start(&sum);
	sum_add(&sum, data, size);
	cargo.sum = size ? sum_end(&sum) : 0;
	return rc ? rc
		  : wire_send(&c->wire, FRAME_STATE, meta, u32s_encode(meta, section, last), &cargo, err);
}
