/* SPDX-License-Identifier: MIT */

/* With VFD_PERTURB set (to a seed) threads stand aside before and after calls of the model, at random: orders of events come up that a
 * quiet machine hardly ever makes. Each thread by numbers of its own, which the seed and the order of threads decide. */

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "internal.h"

static uint64_t seed_of_thread(void)
{
	static atomic_uint_fast64_t threads;
	const char *text = getenv("VFD_PERTURB");
	uint64_t seed = text ? strtoull(text, NULL, 10) : 0;

	return seed ? seed + atomic_fetch_add(&threads, 1) * UINT64_C(0x9e3779b97f4a7c15) : 0;
}

static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

void perturb(void)
{
	static _Thread_local uint64_t state;
	static _Thread_local bool asked;

	if (!asked) {
		state = seed_of_thread();
		asked = true;
	}
	uint64_t dice = state ? next(&state) >> 32 : 1;
	struct timespec nap = { .tv_nsec = (long)(dice >> 8) % 200000 };
	if (dice % 64 == 0)
		nanosleep(&nap, NULL);
	else if (dice % 4 == 0)
		sched_yield();
}
