/* SPDX-License-Identifier: MIT */
#ifndef TESTS_REAL_RACE_H
#define TESTS_REAL_RACE_H

/* Threads that do all of it at once to two containers over one log, while devices write; and what they share. Page p of the memory has
 * IOVA and log address RIG_IOVA and RIG_LOG + p pages in both. */

#include "rig.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
	DEVICES = 3, /* the first stays, the second comes and goes, the third has the other container */
	SLOT = 32,   /* pages of a mapping */
	SLOTS = 32,
	STABLE = 16, /* the slots before this one stay mapped: devices pin there */
	PAGES = SLOTS * SLOT,
};

struct race {
	struct rig rig;
	struct vfd_container *other;
	pthread_rwlock_t turns;	       /* shared: who does something; exclusive: the reckoning */
	atomic_bool stop, forgetful;   /* control: a channel commits a page that it did not send */
	_Atomic(const char *) problem; /* the first one */
	_Atomic(uint64_t) sent[RIG_WORDS];
	_Atomic(uint64_t) copy[PAGES * RIG_PAGE / 8];
	atomic_ulong maps, refused, harvests, batches, pins, plugs, unplugs, forks, signals, others;
};

int race_map(struct race *r, struct vfd_container *container, uint64_t slot, struct vfd_error *err);
void race_problem(struct race *r, const char *what, int rc, const struct vfd_error *err);
/* The device writes all the time, if it is open. */
void race_run(unsigned device, uint64_t seed);
/* Take all that is owed, and copy it. */
void race_send(struct race *r);
void race_threads(struct race *r, void (*meanwhile)(struct race *r));

#endif
