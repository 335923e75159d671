/* SPDX-License-Identifier: MIT */

/* What containers hold: regions that their mappings use, and the log itself. */

#include <inttypes.h>

#include "log_internal.h"

bool log_is_identity(const struct vfd_log *log)
{
	return log->identity;
}

bool log_forked(const struct vfd_log *log)
{
	return forked(&log->guard);
}

void log_user_add(struct vfd_log *log)
{
	if (forked(&log->guard))
		return;
	pthread_mutex_lock(&log->lock);
	log->users++;
	log_leave(log);
}

void log_user_remove(struct vfd_log *log)
{
	if (forked(&log->guard))
		return;
	pthread_mutex_lock(&log->lock);
	log->users--;
	log_leave(log);
}

/* Where the region begins in the addresses that the caller asks with: IOVA, or process memory */
static uint64_t region_key(const struct vfd_log *log, const struct region *region)
{
	return log->identity ? region->address : region->memory;
}

/* The region with address `at` in it. Few regions, and a mapping asks once: they are tried one by one. */
static struct region *region_holding(const struct vfd_log *log, uint64_t at)
{
	struct region *table = region_table(log);

	for (uint64_t i = 0; i < log->super->region_count; i++) {
		uint64_t offset = at - region_key(log, &table[i]);
		if (offset <= table[i].last - table[i].address)
			return &table[i];
	}
	return NULL;
}

static int get_region(struct vfd_log *log, struct range want, uint64_t *address, struct vfd_error *err)
{
	const char *op = "log_region_get", *what = log->identity ? "IOVA" : "memory";
	struct region *region = region_holding(log, want.first);

	if (!region)
		return fail_range(err, VFD_ENOREGION, op, want.first, want.last,
				  "%s 0x%" PRIx64 "..0x%" PRIx64
				  " lies in no region of the log: add one with vfd_region_add",
				  what, want.first, want.last);

	uint64_t last = region_key(log, region) + (region->last - region->address);
	if (want.last > last)
		return fail_range(err, VFD_ENOREGION, op, want.first, want.last,
				  "%s 0x%" PRIx64 "..0x%" PRIx64
				  " leaves its region, which reaches only to 0x%" PRIx64
				  ": add a region for the rest, or split there",
				  what, want.first, want.last, last);
	region->holds++;
	*address = region->address + (want.first - region_key(log, region));
	return 0;
}

int log_region_get(struct vfd_log *log, const void *memory, uint64_t iova, uint64_t size, uint64_t *address,
		   struct vfd_error *err)
{
	struct range want;
	uint64_t first;
	int ret = log_enter(log, "log_region_get", err);

	if (ret)
		return ret;
	first = log->identity ? iova : (uintptr_t)memory;
	if (!range_make(&want, first, size))
		ret = fail(err, VFD_EWRAP, "log_region_get",
			   "0x%" PRIx64 " bytes from 0x%" PRIx64 " wrap around, or are 0", size, first);
	else
		ret = get_region(log, want, address, err);
	log_leave(log);
	return ret;
}

void log_region_put(struct vfd_log *log, uint64_t address)
{
	struct cursor c;

	if (forked(&log->guard))
		return;
	pthread_mutex_lock(&log->lock);
	c = cursor_over(log, (struct range){ address, address });
	if (cursor_next(&c) && c.region->holds)
		c.region->holds--;
	log_leave(log);
}
