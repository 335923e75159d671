/* SPDX-License-Identifier: MIT */

/* Each piece of data takes its time of the line; who comes too early sleeps. */

#include "pace.h"

#include <time.h>

enum { SLICE_NS = 50000000 };

static uint64_t reserve(struct pace *p, uint64_t bytes, uint64_t now)
{
	pthread_mutex_lock(&p->mutex);
	uint64_t start = p->free_at > now ? p->free_at : now;
	p->free_at = start + (uint64_t)((double)bytes * 1e9 / (double)p->bandwidth);
	p->waited += start - now;
	pthread_mutex_unlock(&p->mutex);
	return start;
}

int pace_wait(struct pace *p, const struct io *io, uint64_t bytes, struct mig_error *err)
{
	uint64_t now = now_ns(), start;
	int stopped;

	if (!p->bandwidth)
		return 0;
	start = reserve(p, bytes, now);
	while (now < start) {
		uint64_t rest = start - now < SLICE_NS ? start - now : SLICE_NS;
		nanosleep(&(struct timespec){ .tv_nsec = (long)rest }, NULL);
		if ((stopped = io_stopped(io, err)))
			return stopped;
		now = now_ns();
	}
	return 0;
}

uint64_t pace_waited(struct pace *p)
{
	pthread_mutex_lock(&p->mutex);
	uint64_t waited = p->waited;
	pthread_mutex_unlock(&p->mutex);
	return waited;
}
