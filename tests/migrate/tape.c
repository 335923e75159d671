/* SPDX-License-Identifier: MIT */

#include "tape.h"

#include "crc32c.h"

#include <stdlib.h>
#include <string.h>

static int tape_read(struct io *io, struct iovec *pieces, size_t count, struct mig_error *err)
{
	struct tape *t = (struct tape *)io;

	for (size_t i = 0; i < count; i++) {
		if (pieces[i].iov_len > t->size - t->at)
			return mig_fail(err, "the tape ends");
		if (pieces[i].iov_len)
			memcpy(pieces[i].iov_base, t->bytes + t->at, pieces[i].iov_len);
		t->at += pieces[i].iov_len;
	}
	return 0;
}

static int tape_write(struct io *io, struct iovec *pieces, size_t count, struct mig_error *err)
{
	struct tape *t = (struct tape *)io;

	for (size_t i = 0; i < count; i++) {
		if (pieces[i].iov_len > TAPE_ROOM - t->size)
			return mig_fail(err, "the tape is full");
		if (pieces[i].iov_len)
			memcpy(t->bytes + t->size, pieces[i].iov_base, pieces[i].iov_len);
		t->size += pieces[i].iov_len;
	}
	return 0;
}

void tape_open(struct tape *t)
{
	t->io = (struct io){ .read = tape_read, .write = tape_write };
	t->size = t->at = 0;
}

/* ---- a good one ----------------------------------------------------------------------------------------------------- */

static void put(struct tape *t, struct wire *w, enum frame_type type, const uint8_t *meta, size_t size,
		const void *data, size_t data_size)
{
	uint8_t header[FRAME_HEADER];
	struct iovec pieces[] = { { header, sizeof header },
				  { (void *)meta, size },
				  { (void *)data, data_size } };
	struct frame frame = { .type = (uint8_t)type,
			       .sequence = w->next_out++,
			       .meta_size = (uint32_t)size,
			       .meta_sum = crc32c(meta, size),
			       .data_size = (uint32_t)data_size };
	struct mig_error err;
	struct sum sum;

	sum_start(&sum);
	sum_add(&sum, data, data_size);
	frame.data_sum = data_size ? sum_end(&sum) : 0;
	frame_encode(&frame, header);
	tape_write(&t->io, pieces, 3, &err);
}

void tape_record(struct tape *t)
{
	static uint8_t blocks[3 * PAGE_BLOCK];
	struct hello hello = { .channels = 1,
			       .session = { 1, 2 },
			       .regions = 2,
			       .sections = 1,
			       .devices = 1,
			       .region = { { 0, 8 * PAGE_BLOCK }, { 1 << 20, 8 * PAGE_BLOCK } },
			       .section = { "cpu" } };
	uint8_t meta[FRAME_META] = { 0 };
	struct wire w = { .next_out = 0 };

	for (size_t i = 0; i < sizeof blocks; i++)
		blocks[i] = (uint8_t)(i * 7 + i / 256 + 1);
	tape_open(t);
	put(t, &w, FRAME_HELLO, meta, hello_encode(&hello, meta), NULL, 0);
	put(t, &w, FRAME_ROUND, meta, u32s_encode(meta, 1, 0), NULL, 0);
	run_encode(&(struct run){ 0, 2, 0 }, meta);
	run_encode(&(struct run){ 2 * PAGE_BLOCK, 6, 1 }, meta + RUN_SIZE);
	put(t, &w, FRAME_PAGES, meta, 2 * RUN_SIZE, blocks, 2 * PAGE_BLOCK);
	run_encode(&(struct run){ 1 << 20, 8, 1 }, meta);
	put(t, &w, FRAME_PAGES, meta, RUN_SIZE, NULL, 0);
	put(t, &w, FRAME_ROUND, meta, u32s_encode(meta, 2, 1), NULL, 0);
	run_encode(&(struct run){ (1 << 20) + 7 * PAGE_BLOCK, 1, 0 }, meta);
	put(t, &w, FRAME_PAGES, meta, RUN_SIZE, blocks + 2 * PAGE_BLOCK, PAGE_BLOCK);
	put(t, &w, FRAME_STATE, meta, u32s_encode(meta, 0, 0), "state", 5);
	put(t, &w, FRAME_STATE, meta, u32s_encode(meta, 0, 1), NULL, 0);
	put(t, &w, FRAME_STATE, meta, u32s_encode(meta, 1, 0), "dev", 3);
	put(t, &w, FRAME_STATE, meta, u32s_encode(meta, 1, 1), NULL, 0);
	put(t, &w, FRAME_END, meta, 0, NULL, 0);
	put(t, &w, FRAME_RUN, meta, 0, NULL, 0);
}

/* ---- frame by frame ------------------------------------------------------------------------------------------------- */

static uint32_t get32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put32(uint8_t *p, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(value >> 8 * i);
}

/* A frame's bytes; 0: it is not all there. */
static size_t frame_size(const uint8_t *bytes, size_t size)
{
	if (size < FRAME_HEADER)
		return 0;
	uint64_t whole = FRAME_HEADER + (uint64_t)get32(bytes + 16) + get32(bytes + 20);
	return whole > size ? 0 : (size_t)whole;
}

size_t tape_frames(const struct tape *t, size_t *starts)
{
	size_t count = 0, at = 0, size;

	while (count < TAPE_FRAMES && (size = frame_size(t->bytes + at, t->size - at))) {
		starts[count++] = at;
		at += size;
	}
	return count;
}

static void mend_frame(uint8_t *frame, uint32_t number, bool renumber)
{
	uint32_t meta = get32(frame + 16), data = get32(frame + 20);
	struct sum sum;

	if (renumber) {
		put32(frame + 8, number);
		put32(frame + 12, 0);
	}
	sum_start(&sum);
	sum_add(&sum, frame + FRAME_HEADER + meta, data);
	put32(frame + 24, crc32c(frame + FRAME_HEADER, meta));
	put32(frame + 28, data ? sum_end(&sum) : 0);
	put32(frame + 36, crc32c(frame, 36));
}

void tape_mend(uint8_t *bytes, size_t size, bool renumber)
{
	size_t at = 0, whole;

	for (uint32_t number = 0; (whole = frame_size(bytes + at, size - at)); at += whole)
		mend_frame(bytes + at, number++, renumber);
}

/* ---- the destination ------------------------------------------------------------------------------------------------- */

static int load(void *opaque, const void *data, size_t size, struct mig_error *err)
{
	struct played *p = opaque;

	(void)data;
	p->state += size;
	return !size && p->state != 5 ? mig_fail(err, "the state has 5 bytes") : 0;
}

/* The answers go nowhere. */
static int swallow(struct io *io, struct iovec *pieces, size_t count, struct mig_error *err)
{
	(void)io, (void)pieces, (void)count, (void)err;
	return 0;
}

static int play(struct receiver *r, struct wire *w, struct mig_error *err)
{
	int rc;

	if ((rc = receive_hello(r, w, err)))
		return rc;
	for (uint32_t i = 1; i < r->hello.channels; i++) /* on a tape they are all one */
		if ((rc = receive_join(r, w, err)))
			return rc;
	if ((rc = receive_frames(r, w, err)) || (rc = receiver_complete(r, err)))
		return rc;
	return receive_run(w, err);
}

/* A wire that is a tape. */
struct playing {
	struct wire wire; /* its io is read as if it were a tape's */
	struct tape *tape;
};

static int playing_read(struct io *io, struct iovec *pieces, size_t count, struct mig_error *err)
{
	return tape_read(&((struct playing *)io)->tape->io, pieces, count, err);
}

void tape_play(struct tape *t, struct played *p)
{
	static uint8_t buffer[FRAME_DATA];
	struct mig_report report = { 0 };
	struct mig_section section = { .name = "cpu", .opaque = p, .load = load };
	memset(p, 0, sizeof *p);
	struct mig_region regions[] = { { 0, 8 * PAGE_BLOCK, p->memory },
					{ 1 << 20, 8 * PAGE_BLOCK, p->memory + 8 * PAGE_BLOCK } };
	struct vfd_device *device = NULL; /* tape_device.c needs none */
	struct mig_destination d = { .guest = { regions, 2, &section, 1, &device, 1 } };
	struct receiver r = { .destination = &d, .report = &report, .buffer = buffer };
	struct playing w = { .wire = { .io = { .read = playing_read, .write = swallow } }, .tape = t };

	t->at = 0;
	tape_device_reset();
	p->result = memory_open(&r.memory, &d.guest, &p->error);
	if (!p->result)
		p->result = play(&r, &w.wire, &p->error);
	p->ran = !p->result;
	memory_close(&r.memory);
}
