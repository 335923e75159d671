/* SPDX-License-Identifier: MIT */

/* Frames to bytes and back. */

#include "stream.h"

#include "crc32c.h"

#include <string.h>

/* ---- numbers -------------------------------------------------------------------------------------------------------- */

static void put(uint8_t **at, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		*(*at)++ = (uint8_t)(value >> 8 * i);
}

static uint64_t get(const uint8_t **at, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes; i++)
		value |= (uint64_t) * (*at)++ << 8 * i;
	return value;
}

size_t u32s_encode(uint8_t *meta, uint32_t a, uint32_t b)
{
	put(&meta, a, 4);
	put(&meta, b, 4);
	return 8;
}

void u32s_decode(const uint8_t *meta, uint32_t *a, uint32_t *b)
{
	*a = (uint32_t)get(&meta, 4);
	*b = (uint32_t)get(&meta, 4);
}

size_t u64_encode(uint8_t *meta, uint64_t value)
{
	put(&meta, value, 8);
	return 8;
}

uint64_t u64_decode(const uint8_t *meta)
{
	return get(&meta, 8);
}

/* ---- frames --------------------------------------------------------------------------------------------------------- */

/* What each type may carry. */
static const struct {
	const char *name;
	uint32_t meta_least, meta_most, data_most;
} types[] = {
	[FRAME_HELLO] = { "HELLO", 40, FRAME_META, 0 },
	[FRAME_JOIN] = { "JOIN", 16, 16, 0 },
	[FRAME_ROUND] = { "ROUND", 8, 8, 0 },
	[FRAME_PAGES] = { "PAGES", RUN_SIZE, RUNS *RUN_SIZE, FRAME_DATA },
	[FRAME_STATE] = { "STATE", 8, 8, FRAME_DATA },
	[FRAME_END] = { "END", 0, 0, 0 },
	[FRAME_RUN] = { "RUN", 0, 0, 0 },
	[FRAME_CANCEL] = { "CANCEL", 0, 0, 0 },
	[FRAME_WELCOME] = { "WELCOME", 0, 0, 0 },
	[FRAME_ACK] = { "ACK", 8, 8, 0 },
	[FRAME_READY] = { "READY", 0, 0, 0 },
	[FRAME_RUNNING] = { "RUNNING", 0, 0, 0 },
	[FRAME_REFUSE] = { "REFUSE", 1, REFUSAL, 0 },
};

enum { TYPES = sizeof types / sizeof *types };

const char *frame_name(unsigned type)
{
	return type < TYPES && types[type].name ? types[type].name : "unknown";
}

void frame_encode(const struct frame *frame, uint8_t *header)
{
	uint8_t *at = header;

	put(&at, STREAM_MAGIC, 4);
	put(&at, STREAM_VERSION, 1);
	put(&at, frame->type, 1);
	put(&at, frame->channel, 2);
	put(&at, frame->sequence, 8);
	put(&at, frame->meta_size, 4);
	put(&at, frame->data_size, 4);
	put(&at, frame->meta_sum, 4);
	put(&at, frame->data_sum, 4);
	put(&at, 0, 4);
	put(&at, crc32c(header, FRAME_HEADER - 4), 4);
}

static int check_bounds(const struct frame *f, struct mig_error *err)
{
	if (f->type >= TYPES || !types[f->type].name)
		return mig_fail(err, "damaged stream: there is no frame of type %u", f->type);
	if (f->meta_size < types[f->type].meta_least || f->meta_size > types[f->type].meta_most)
		return mig_fail(err, "damaged stream: a %s frame of %u bytes", frame_name(f->type),
				f->meta_size);
	if (f->data_size > types[f->type].data_most)
		return mig_fail(err, "damaged stream: a %s frame with %u bytes of data", frame_name(f->type),
				f->data_size);
	return 0;
}

int frame_decode(const uint8_t *header, struct frame *frame, struct mig_error *err)
{
	const uint8_t *at = header;

	if (get(&at, 4) != STREAM_MAGIC)
		return mig_fail(err, "this is no migration stream, or a damaged one: no frame begins here");
	unsigned version = (unsigned)get(&at, 1);
	if (version != STREAM_VERSION)
		return mig_fail(err, "the stream has version %u, and only %d is understood here", version,
				STREAM_VERSION);
	frame->type = (uint8_t)get(&at, 1);
	frame->channel = (uint16_t)get(&at, 2);
	frame->sequence = get(&at, 8);
	frame->meta_size = (uint32_t)get(&at, 4);
	frame->data_size = (uint32_t)get(&at, 4);
	frame->meta_sum = (uint32_t)get(&at, 4);
	frame->data_sum = (uint32_t)get(&at, 4);
	uint64_t reserved = get(&at, 4);
	if (get(&at, 4) != crc32c(header, FRAME_HEADER - 4))
		return mig_fail(err, "damaged stream: the checksum of a frame's header is wrong");
	if (reserved)
		return mig_fail(err, "damaged stream: reserved bytes are not zero");
	return check_bounds(frame, err);
}

/* ---- HELLO ---------------------------------------------------------------------------------------------------------- */

enum { HELLO_FIXED = 40 };

size_t hello_encode(const struct hello *h, uint8_t *meta)
{
	uint8_t *at = meta;

	put(&at, h->session[0], 8);
	put(&at, h->session[1], 8);
	put(&at, h->channels, 4);
	put(&at, h->regions, 4);
	put(&at, h->sections, 4);
	put(&at, h->devices, 4);
	put(&at, 0, 8);
	for (uint32_t i = 0; i < h->regions; i++) {
		put(&at, h->region[i].address, 8);
		put(&at, h->region[i].size, 8);
	}
	memcpy(at, h->section, h->sections * MIG_NAME);
	return (size_t)(at - meta) + h->sections * MIG_NAME;
}

static int hello_counts(const struct hello *h, size_t size, struct mig_error *err)
{
	if (!h->channels || h->channels > MIG_CHANNELS)
		return mig_fail(err, "HELLO: %u channels; 1 to %d can be", h->channels, MIG_CHANNELS);
	if (!h->regions || h->regions > MIG_REGIONS)
		return mig_fail(err, "HELLO: %u regions; 1 to %d can be", h->regions, MIG_REGIONS);
	if (h->sections > MIG_SECTIONS || h->devices > MIG_SECTIONS)
		return mig_fail(err, "HELLO: %u sections and %u devices; at most %d each can be", h->sections,
				h->devices, MIG_SECTIONS);
	if (size != HELLO_FIXED + 16 * h->regions + MIG_NAME * h->sections)
		return mig_fail(err, "HELLO: %zu bytes do not hold %u regions and %u sections", size,
				h->regions, h->sections);
	return 0;
}

static int hello_lists(const uint8_t *at, struct hello *h, struct mig_error *err)
{
	for (uint32_t i = 0; i < h->regions; i++) {
		h->region[i].address = get(&at, 8);
		h->region[i].size = get(&at, 8);
	}
	memcpy(h->section, at, h->sections * MIG_NAME);
	for (uint32_t i = 0; i < h->sections; i++)
		if (!memchr(h->section[i], 0, MIG_NAME))
			return mig_fail(err, "HELLO: the name of section %u does not end", i);
	return 0;
}

int hello_decode(const uint8_t *meta, size_t size, struct hello *h, struct mig_error *err)
{
	const uint8_t *at = meta;

	h->session[0] = get(&at, 8);
	h->session[1] = get(&at, 8);
	h->channels = (uint32_t)get(&at, 4);
	h->regions = (uint32_t)get(&at, 4);
	h->sections = (uint32_t)get(&at, 4);
	h->devices = (uint32_t)get(&at, 4);
	if (get(&at, 8))
		return mig_fail(err, "HELLO: reserved bytes are not zero");
	if (hello_counts(h, size, err))
		return MIG_FAILED;
	return hello_lists(at, h, err);
}

/* ---- PAGES ---------------------------------------------------------------------------------------------------------- */

void run_encode(const struct run *run, uint8_t *meta)
{
	put(&meta, run->address, 8);
	put(&meta, run->blocks, 4);
	put(&meta, run->zero, 4);
}

static int run_decode(const uint8_t *at, struct run *run, struct mig_error *err)
{
	run->address = get(&at, 8);
	run->blocks = (uint32_t)get(&at, 4);
	run->zero = (uint32_t)get(&at, 4);
	if (run->address % PAGE_BLOCK || !run->blocks || run->zero > 1)
		return mig_fail(err, "PAGES: a run of %u blocks at 0x%llx, kind %u", run->blocks,
				(unsigned long long)run->address, run->zero);
	return 0;
}

int runs_decode(const struct frame *frame, const uint8_t *meta, struct run *runs, struct mig_error *err)
{
	int count = (int)(frame->meta_size / RUN_SIZE);
	uint64_t data = 0;

	if (frame->meta_size % RUN_SIZE)
		return mig_fail(err, "PAGES: %u bytes are no list of runs", frame->meta_size);
	for (int i = 0; i < count; i++) {
		if (run_decode(meta + i * RUN_SIZE, &runs[i], err))
			return MIG_FAILED;
		data += runs[i].zero ? 0 : (uint64_t)runs[i].blocks * PAGE_BLOCK;
	}
	if (data != frame->data_size)
		return mig_fail(err, "PAGES: runs of %llu bytes, and %u bytes of data",
				(unsigned long long)data, frame->data_size);
	return count;
}
