/* SPDX-License-Identifier: MIT */
#include "machine.h"

#include <string.h>

uint64_t machine_read(const uint64_t *src, size_t n)
{
	uint64_t any = 0;

	for (size_t i = 0; i < n; i++)
		any |= src[i];
	return any;
}

void machine_copy(uint64_t *restrict dst, const uint64_t *restrict src, size_t n)
{
	memcpy(dst, src, n * sizeof *dst);
}

void machine_or(uint64_t *restrict dst, const uint64_t *restrict src, size_t n)
{
	for (size_t i = 0; i < n; i++)
		dst[i] |= src[i];
}
