/* SPDX-License-Identifier: MIT */

/* The table of regions, twice: it is changed in the spare one, which then takes its place by one store. So whoever finds the memory
 * of a process that was killed finds the table as it was before the change, or as it was after it. */

#include <string.h>

#include "log_internal.h"

enum { FIRST_CAPACITY = 8 };

static uint64_t bytes_of(uint64_t capacity)
{
	return sizeof(struct region_table) + capacity * sizeof(struct region);
}

static struct region_table *table_at(const struct vfd_log *log, uint64_t offset)
{
	return at_offset(log, offset);
}

static void free_table(struct vfd_log *log, uint64_t offset)
{
	if (offset)
		memset(table_at(log, offset), 0, (size_t)bytes_of(table_at(log, offset)->capacity));
	segment_free(log, offset);
}

static int new_spare(struct vfd_log *log, uint64_t capacity, const char *operation, struct vfd_error *err)
{
	uint64_t spare = segment_new(log, bytes_of(capacity));

	if (!spare)
		return fail_segment(log, bytes_of(capacity), "the region table", operation, err);
	table_at(log, spare)->capacity = capacity;
	free_table(log, log->super->spare);
	log->super->spare = spare;
	return 0;
}

static void change_over(struct superblock *super)
{
	uint64_t old = super->regions;

	keep_order();
	__atomic_store_n(&super->regions, super->spare, __ATOMIC_RELEASE);
	keep_order();
	super->spare = old;
}

uint64_t regions_minimum(void)
{
	return bytes_of(FIRST_CAPACITY);
}

int regions_create(struct vfd_log *log, const char *operation, struct vfd_error *err)
{
	int ret = new_spare(log, FIRST_CAPACITY, operation, err);

	if (!ret)
		change_over(log->super);
	return ret;
}

/* The spare one has to be as large as the one in force becomes. What leaves is never more than what was there before it came. */
int regions_reserve(struct vfd_log *log, struct vfd_error *err)
{
	uint64_t count = region_count(log), spare = log->super->spare;

	if (spare && table_at(log, spare)->capacity > count)
		return 0;
	return new_spare(log, max_u64(FIRST_CAPACITY, 2 * count), "vfd_region_add", err);
}

static void copy(struct region *to, const struct region *from, uint64_t n)
{
	memcpy(to, from, (size_t)n * sizeof(*to));
}

void regions_insert(struct vfd_log *log, uint64_t index, const struct region *region)
{
	const struct region_table *old = table_in_force(log);
	struct region_table *spare = table_at(log, log->super->spare);

	copy(spare->regions, old->regions, index);
	spare->regions[index] = *region;
	copy(spare->regions + index + 1, old->regions + index, old->count - index);
	spare->count = old->count + 1;
	change_over(log->super);
}

void regions_remove(struct vfd_log *log, uint64_t index)
{
	const struct region_table *old = table_in_force(log);
	struct region_table *spare = table_at(log, log->super->spare);

	copy(spare->regions, old->regions, index);
	copy(spare->regions + index, old->regions + index + 1, old->count - index - 1);
	spare->count = old->count - 1;
	change_over(log->super);
}
