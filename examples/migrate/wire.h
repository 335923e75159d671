/* SPDX-License-Identifier: MIT */
#ifndef MIGRATE_WIRE_H
#define MIGRATE_WIRE_H

#include "io.h"
#include "stream.h"

/* Frames over a connection, numbered and summed. */
struct wire {
	struct io io;
	uint16_t channel;
	uint64_t next_in, next_out; /* sequence numbers */
	bool broken;		    /* half a frame may have been sent: no other can follow */
};

/* The sum is that of the data, by who has just had it in his hands. */
struct cargo {
	const void *data;
	size_t size;
	uint32_t sum;
};

int wire_send(struct wire *w, enum frame_type type, const void *meta, size_t size, const struct cargo *cargo,
	      struct mig_error *err);

/* A frame without its data; meta has room for FRAME_META. */
int wire_receive(struct wire *w, struct frame *frame, uint8_t *meta, struct mig_error *err);
/* Its data, into pieces (whole blocks, but for the last) of together data_size bytes; the pieces are used up. */
int wire_receive_data(struct wire *w, const struct frame *frame, struct iovec *pieces, size_t count,
		      struct mig_error *err);

#endif
