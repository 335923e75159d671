/* SPDX-License-Identifier: MIT */
#ifndef MIGRATE_PACE_H
#define MIGRATE_PACE_H

#include "io.h"

#include <pthread.h>

/* The bandwidth limit, of all channels together. */
struct pace {
	pthread_mutex_t mutex;
	uint64_t bandwidth; /* bytes/s; 0: no limit */
	uint64_t free_at;   /* when what was let through has had its time */
	uint64_t waited;    /* nanoseconds, by all */
};

/* Wait until so many bytes may go. */
int pace_wait(struct pace *pace, const struct io *io, uint64_t bytes, struct mig_error *err);

/* Nanoseconds, by all together. */
uint64_t pace_waited(struct pace *pace);

#endif
