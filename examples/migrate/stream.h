/* SPDX-License-Identifier: MIT */
#ifndef MIGRATE_STREAM_H
#define MIGRATE_STREAM_H

/* The stream as bytes (docs/stream-format.md): frames, and what is in them. No input and output here, no memory, no state: what
 * goes in is not trusted, what comes out is within its bounds. */

#include "migrate.h"

enum {
	STREAM_MAGIC = 0x4d444656, /* "VFDM" */
	STREAM_VERSION = 1,
	FRAME_HEADER = 40,
	FRAME_META = 8192, /* at most */
	FRAME_DATA = 1 << 20 /* at most */,
	PAGE_BLOCK = 4096, /* what memory is moved in */
	RUNS = 256,	   /* of a PAGES frame, at most */
	RUN_SIZE = 16,
	REFUSAL = 256,
};

enum frame_type {
	/* from the source */
	FRAME_HELLO = 1,
	FRAME_JOIN = 2,
	FRAME_ROUND = 3,
	FRAME_PAGES = 4,
	FRAME_STATE = 5,
	FRAME_END = 6,
	FRAME_RUN = 7,
	FRAME_CANCEL = 8,
	/* from the destination */
	FRAME_WELCOME = 16,
	FRAME_ACK = 17,
	FRAME_READY = 18,
	FRAME_RUNNING = 19,
	FRAME_REFUSE = 20,
};

const char *frame_name(unsigned type);

struct frame {
	uint8_t type; /* enum frame_type */
	uint16_t channel;
	uint64_t sequence; /* of the channel and direction, from 0 */
	uint32_t meta_size, data_size;
	uint32_t meta_sum; /* CRC32C */
	uint32_t data_sum; /* see crc32c.h */
};

void frame_encode(const struct frame *frame, uint8_t *header);
/* 0: sizes are within the bounds of the type. */
int frame_decode(const uint8_t *header, struct frame *frame, struct mig_error *err);

struct hello {
	uint32_t channels;
	uint64_t session[2];
	uint32_t regions, sections, devices;
	struct {
		uint64_t address, size;
	} region[MIG_REGIONS];
	char section[MIG_SECTIONS][MIG_NAME];
};

/* Bytes written to meta, which has room for FRAME_META. */
size_t hello_encode(const struct hello *hello, uint8_t *meta);
int hello_decode(const uint8_t *meta, size_t size, struct hello *hello, struct mig_error *err);

/* Adjacent blocks of memory. */
struct run {
	uint64_t address;
	uint32_t blocks;
	uint32_t zero; /* 1: they are all zero, and not in the data */
};

void run_encode(const struct run *run, uint8_t *meta);
/* How many; what they say about their length is what the frame's data has. Negative: not. */
int runs_decode(const struct frame *frame, const uint8_t *meta, struct run *runs, struct mig_error *err);

/* Fixed contents: one or two numbers. */
size_t u32s_encode(uint8_t *meta, uint32_t a, uint32_t b);
void u32s_decode(const uint8_t *meta, uint32_t *a, uint32_t *b);
size_t u64_encode(uint8_t *meta, uint64_t value);
uint64_t u64_decode(const uint8_t *meta);

#endif
