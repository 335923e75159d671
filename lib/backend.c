/* SPDX-License-Identifier: MIT */
#include "backend.h"

uint64_t backend_bitmap_bytes(const struct backend *backend, struct range where)
{
	uint64_t pages = ((where.last - where.first) >> __builtin_ctzll(backend->page_size)) + 1;

	return (pages / 64 + (pages % 64 != 0)) * sizeof(uint64_t);
}
