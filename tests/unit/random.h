/* SPDX-License-Identifier: MIT */
#ifndef UNIT_RANDOM_H
#define UNIT_RANDOM_H

/* Numbers that look random, the same in every run: xorshift64. */

#include <stdint.h>

/* The next one; *state may begin as anything but 0. */
static inline uint64_t xorshift(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

#endif
