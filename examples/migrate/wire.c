/* SPDX-License-Identifier: MIT */

/* Frames out and in. */

#include "wire.h"

#include "crc32c.h"

#include <stdlib.h>
#include <string.h>

int wire_send(struct wire *w, enum frame_type type, const void *meta, size_t size, const struct cargo *cargo,
	      struct mig_error *err)
{
	uint8_t header[FRAME_HEADER];
	struct frame frame = { .type = (uint8_t)type,
			       .channel = w->channel,
			       .sequence = w->next_out,
			       .meta_size = (uint32_t)size,
			       .meta_sum = crc32c(meta, size),
			       .data_size = cargo ? (uint32_t)cargo->size : 0,
			       .data_sum = cargo ? cargo->sum : 0 };
	struct iovec pieces[] = { { header, sizeof header },
				  { (void *)meta, size },
				  { cargo ? (void *)cargo->data : NULL, frame.data_size } };

	frame_encode(&frame, header);
	int rc = w->io.write(&w->io, pieces, 3, err);
	w->next_out++;
	w->broken |= rc != 0;
	return rc;
}

static int check_place(struct wire *w, const struct frame *frame, struct mig_error *err)
{
	if (frame->channel != w->channel)
		return mig_fail(err, "a frame of channel %u came in channel %u", frame->channel, w->channel);
	if (frame->sequence != w->next_in)
		return mig_fail(err, "frame %llu came where %llu belongs: the stream is out of order",
				(unsigned long long)frame->sequence, (unsigned long long)w->next_in);
	w->next_in++;
	return 0;
}

int wire_receive(struct wire *w, struct frame *frame, uint8_t *meta, struct mig_error *err)
{
	uint8_t header[FRAME_HEADER];
	struct iovec piece = { header, sizeof header };
	int rc = w->io.read(&w->io, &piece, 1, err);

	if (rc || (rc = frame_decode(header, frame, err)) || (rc = check_place(w, frame, err)))
		return rc;
	piece = (struct iovec){ meta, frame->meta_size };
	if ((rc = w->io.read(&w->io, &piece, 1, err)))
		return rc;
	if (crc32c(meta, frame->meta_size) != frame->meta_sum)
		return mig_fail(err, "damaged stream: the checksum of a %s frame is wrong",
				frame_name(frame->type));
	return 0;
}

int wire_receive_data(struct wire *w, const struct frame *frame, struct iovec *pieces, size_t count,
		      struct mig_error *err)
{
	struct iovec used[RUNS];
	struct sum sum;

	memcpy(used, pieces, count * sizeof *used);
	int rc = w->io.read(&w->io, pieces, count, err);
	if (rc)
		return rc;
	sum_start(&sum);
	for (size_t i = 0; i < count; i++)
		sum_add(&sum, used[i].iov_base, used[i].iov_len);
	if ((frame->data_size ? sum_end(&sum) : 0) != frame->data_sum)
		return mig_fail(err, "damaged stream: the checksum of a %s frame's data is wrong",
				frame_name(frame->type));
	return 0;
}
