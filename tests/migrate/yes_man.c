/* SPDX-License-Identifier: MIT */

#include "yes_man.h"

#include <stdlib.h>
#include <sys/socket.h>

static void answer(struct yes_man *y, struct wire *w, const struct frame *frame)
{
	static const uint8_t answers[] = {
		[FRAME_HELLO] = FRAME_WELCOME, [FRAME_PAGES] = FRAME_ACK,   [FRAME_STATE] = FRAME_ACK,
		[FRAME_END] = FRAME_READY,     [FRAME_RUN] = FRAME_RUNNING, [FRAME_CANCEL] = 0
	};
	uint8_t type = answers[frame->type], meta[8];
	size_t size = type == FRAME_ACK ? u64_encode(meta, frame->sequence) : 0;
	struct mig_error err;

	y->state += frame->type == FRAME_STATE ? frame->data_size : 0;
	y->ran |= frame->type == FRAME_RUN;
	if (type)
		wire_send(w, type, meta, size, NULL, &err);
}

static void *say_yes(void *opaque)
{
	static uint8_t data[FRAME_DATA], meta[FRAME_META];
	struct yes_man *y = opaque;
	struct wire w = { .broken = false };
	struct mig_error err;
	struct frame frame;

	io_open(&w.io, &y->link, 30000);
	while (!wire_receive(&w, &frame, meta, &err)) {
		struct iovec piece = { data, frame.data_size };
		if (wire_receive_data(&w, &frame, &piece, 1, &err))
			break;
		answer(y, &w, &frame);
	}
	return NULL;
}

struct mig_link yes_man_start(struct yes_man *y)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		abort();
	y->link = (struct mig_link){ ends[1], ends[1] };
	if (pthread_create(&y->thread, NULL, say_yes, y))
		abort();
	return (struct mig_link){ ends[0], ends[0] };
}

void yes_man_end(struct yes_man *y)
{
	pthread_join(y->thread, NULL);
	mig_close(&y->link);
}
