/* SPDX-License-Identifier: MIT */
#ifndef MIGRATE_CHANNEL_H
#define MIGRATE_CHANNEL_H

/* The source's end of a channel: takes what is owed, sends it, and commits what was acknowledged. */

#include "pace.h"
#include "wire.h"

#include <pthread.h>

enum {
	FLIGHTS = 16,	       /* batches on their way, of a channel; a consumer may have 256 */
	WINDOW = 64,	       /* frames not acknowledged: so few that the answers never fill a buffer */
	SEND_DATA = 256 << 10, /* of a frame: it is touched three times, and should stay in a cache */
	BATCH_BYTES = 4 << 20,
};

/* What channels share. */
struct sender {
	struct vfd_consumer *consumer;
	const struct mig_guest *guest;
	uint64_t page; /* of the log */
	struct pace pace;
	pthread_mutex_t mutex;
	uint64_t cursor; /* where the next batch begins */
	bool exhausted;	 /* the round has no more */
	atomic_bool failed;
	int result; /* of who failed first */
	struct mig_error error;
	void (*tick)(struct sender *s); /* now and then, by channel 0 */
};

struct flight {
	struct vfd_batch batch;
	uint64_t last; /* its last frame */
};

struct channel {
	struct wire wire;
	struct sender *sender;
	struct flight flights[FLIGHTS];
	unsigned oldest, flying;
	uint64_t acked; /* frames before this one have arrived */
	struct run runs[RUNS];
	unsigned run_count;
	size_t data_size;
	uint8_t *data;		  /* SEND_DATA bytes */
	atomic_ullong pages;	  /* sent, in blocks; others may look */
	uint64_t zeros, reported; /* of those */
	uint64_t library_ns;
};

int channel_open(struct channel *c, struct sender *s, unsigned number, const struct mig_link *link,
		 const struct mig_source *source, struct mig_error *err);
void channel_close(struct channel *c);

/* Send what is owed from the cursor on, until the round has no more, and wait until all of it has arrived. */
int channel_round(struct channel *c, struct mig_error *err);

/* One frame with bytes of the caller. */
int channel_state(struct channel *c, uint32_t section, bool last, const void *data, size_t size,
		  struct mig_error *err);

/* Wait for a frame of this type; acknowledgements may come before it. */
int channel_await(struct channel *c, enum frame_type type, struct mig_error *err);

/* It failed: all that is on its way is owed again. And has the other side said why? */
void channel_roll_back(struct channel *c);
int channel_ask_why(struct channel *c, int result, struct mig_error *err);

#endif
