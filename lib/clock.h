/* SPDX-License-Identifier: MIT */
#ifndef LIB_CLOCK_H
#define LIB_CLOCK_H

/* How long something takes; not what time it is. */

#include <stdint.h>
#include <time.h>

static inline uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#endif
