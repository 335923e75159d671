/* SPDX-License-Identifier: MIT */

/* Log addresses to the destination's memory, bounds first. */

#include "memory.h"

#include <stdlib.h>
#include <string.h>

int memory_open(struct memory *m, const struct mig_guest *guest, struct mig_error *err)
{
	*m = (struct memory){ .regions = guest->regions, .count = guest->region_count };
	for (size_t i = 0; i < m->count; i++) {
		m->seen[i] = calloc(m->regions[i].size / PAGE_BLOCK, 1);
		if (!m->seen[i])
			return mig_fail(err, "no memory to keep books of what has arrived");
	}
	return 0;
}

void memory_close(struct memory *m)
{
	for (size_t i = 0; i < m->count; i++)
		free((void *)m->seen[i]);
	m->count = 0;
}

/* The region of a run; count: none. */
static size_t region_of(const struct memory *m, const struct run *run)
{
	for (size_t i = 0; i < m->count; i++) {
		const struct mig_region *r = &m->regions[i];
		if (run->address >= r->address && run->address - r->address < r->size)
			return i;
	}
	return m->count;
}

void *memory_at(const struct memory *m, const struct run *run, struct mig_error *err)
{
	size_t i = region_of(m, run);
	uint64_t size = (uint64_t)run->blocks * PAGE_BLOCK;

	if (i < m->count && size <= m->regions[i].size - (run->address - m->regions[i].address))
		return (char *)m->regions[i].memory + (run->address - m->regions[i].address);
	mig_fail(err, "PAGES: %llu bytes at 0x%llx are in no region", (unsigned long long)size,
		 (unsigned long long)run->address);
	return NULL;
}

void memory_seen(struct memory *m, const struct run *run)
{
	size_t i = region_of(m, run);
	uint64_t first = (run->address - m->regions[i].address) / PAGE_BLOCK;

	for (uint64_t b = first; b < first + run->blocks; b++)
		atomic_store_explicit(&m->seen[i][b], 1, memory_order_relaxed);
}

int memory_complete(const struct memory *m, struct mig_error *err)
{
	for (size_t i = 0; i < m->count; i++) {
		uint64_t blocks = m->regions[i].size / PAGE_BLOCK;
		const void *hole = memchr((const void *)m->seen[i], 0, blocks);
		if (hole)
			return mig_fail(
				err, "memory at 0x%llx never came",
				(unsigned long long)(m->regions[i].address +
						     PAGE_BLOCK * (uint64_t)((const char *)hole -
									     (const char *)m->seen[i])));
	}
	return 0;
}
