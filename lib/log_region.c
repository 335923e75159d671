/* SPDX-License-Identifier: MIT */

/* Regions: which log addresses there are, and the memory that they stand for. */

#include <inttypes.h>
#include <string.h>

#include "log_internal.h"
#include "options.h"

/* ---- adding ---- */

static int check_region(const struct vfd_log *log, const struct vfd_region *r, struct vfd_error *err)
{
	const char *op = "vfd_region_add";
	bool identity = log->super->flags & VFD_LOG_IDENTITY;

	if (r->flags)
		return fail(err, VFD_EINVALID, op, "flags 0x%" PRIx32 " are unknown: set 0", r->flags);
	if (!r->size)
		return fail(err, VFD_EINVALID, op, "size is 0");
	if (identity && r->memory)
		return fail(err, VFD_EINVALID, op,
			    "memory must be NULL: the log was created with VFD_LOG_IDENTITY");
	if (!identity && !r->memory)
		return fail(err, VFD_EINVALID, op,
			    "memory is NULL: only a log with VFD_LOG_IDENTITY has none");
	if (!is_aligned(r->address | r->size | (uintptr_t)r->memory, log->page_size))
		return fail(err, VFD_EALIGN, op,
			    "address 0x%" PRIx64 ", size 0x%" PRIx64
			    " and memory %p must be multiples of the log's page, %" PRIu64 " bytes",
			    r->address, r->size, r->memory, log->page_size);
	return 0;
}

/* Neither range may touch its last byte: what follows a region always has an address. */
static int check_wrap(const struct vfd_region *r, struct vfd_error *err)
{
	uint64_t end;
	uintptr_t memory_end;

	if (__builtin_add_overflow(r->address, r->size, &end))
		return fail(err, VFD_EWRAP, "vfd_region_add",
			    "0x%" PRIx64 " bytes from 0x%" PRIx64 " reach the last byte of 2^64, or beyond",
			    r->size, r->address);
	if (r->memory && (r->size > UINTPTR_MAX ||
			  __builtin_add_overflow((uintptr_t)r->memory, (uintptr_t)r->size, &memory_end)))
		return fail(err, VFD_EWRAP, "vfd_region_add",
			    "0x%" PRIx64
			    " bytes from memory %p reach the end of the process' addresses, or beyond",
			    r->size, r->memory);
	return 0;
}

static struct range memory_range(const struct region *r)
{
	return (struct range){ r->memory, r->memory + (r->last - r->address) };
}

static int check_addresses(const struct vfd_log *log, const struct region *region, struct vfd_error *err)
{
	uint64_t index = region_from(log, region->address);
	const struct region *r = region_table(log) + index;

	if (index == region_count(log) || r->address > region->last)
		return 0;
	return fail_range(err, VFD_EOVERLAP, "vfd_region_add", r->address, r->last,
			  "log addresses meet the region 0x%" PRIx64 "..0x%" PRIx64
			  ": each region has its own; remove that one, or choose others",
			  r->address, r->last);
}

static int check_memory(const struct vfd_log *log, const struct region *region, struct vfd_error *err)
{
	uint64_t index = log->identity ? region_count(log) : place_from(log, region->memory);

	if (index == region_count(log) || log->places[index].memory > memory_range(region).last)
		return 0;
	const struct region *r = &region_table(log)[region_from(log, log->places[index].address)];
	return fail_range(err, VFD_EOVERLAP, "vfd_region_add", r->address, r->last,
			  "the memory meets that of the region at 0x%" PRIx64
			  ": the same page would have two log addresses",
			  r->address);
}

static void free_planes(struct vfd_log *log, struct region *region)
{
	segment_free(log, region->inbox);
	region->inbox = 0;
	for (unsigned i = 0; i < MAX_CONSUMERS; i++) {
		segment_free(log, region->planes[i]);
		region->planes[i] = 0;
	}
}

static bool new_segment(struct vfd_log *log, uint64_t bytes, uint64_t *offset, struct vfd_error *err)
{
	*offset = segment_new(log, bytes);
	if (!*offset)
		fail_segment(log, bytes, "the record of the region", "vfd_region_add", err);
	return *offset;
}

static int new_planes(struct vfd_log *log, struct region *region, struct vfd_error *err)
{
	uint64_t bytes = planes_bytes(log, region);
	bool room = new_segment(log, inbox_bytes(log, region), &region->inbox, err);

	for (uint32_t left = log->live; room && left; left &= left - 1)
		room = new_segment(log, bytes, &region->planes[word_first(left)], err);
	if (room)
		return 0;
	free_planes(log, region);
	return log->arena_size ? VFD_ELIMIT : VFD_ENOMEMORY;
}

static void insert_region(struct vfd_log *log, const struct region *region)
{
	place_add(log, region);
	regions_insert(log, region_from(log, region->address), region);
}

/* Room for one more */
static int reserve(struct vfd_log *log, struct vfd_error *err)
{
	if (!places_reserve(log))
		return fail(err, VFD_ENOMEMORY, "vfd_region_add", "no memory for the table of places");
	return regions_reserve(log, err);
}

static int add_region(struct vfd_log *log, const struct vfd_region *r, struct vfd_error *err)
{
	struct region region = { .address = r->address, .memory = (uintptr_t)r->memory };
	int ret;

	if ((ret = check_region(log, r, err)) || (ret = check_wrap(r, err)))
		return ret;
	region.last = r->address + (r->size - 1);
	if ((ret = check_addresses(log, &region, err)) || (ret = check_memory(log, &region, err)) ||
	    (ret = reserve(log, err)) || (ret = new_planes(log, &region, err)))
		return ret;
	insert_region(log, &region);
	return 0;
}

int vfd_region_add(struct vfd_log *log, const struct vfd_region *region, struct vfd_error *err)
{
	struct vfd_region r;
	int ret = log_enter_alone(log, "vfd_region_add", err);

	if (ret)
		return ret;
	ret = copy_options(&r, sizeof(r), offsetof(struct vfd_region, memory) + sizeof(r.memory), region,
			   "struct vfd_region", err);
	if (!ret)
		ret = add_region(log, &r, err);
	log_leave_alone(log);
	return ret;
}

/* ---- removing ---- */

static struct region *region_starting(const struct vfd_log *log, uint64_t address)
{
	uint64_t index = region_from(log, address);
	struct region *r = region_table(log) + index;

	return index < region_count(log) && r->address == address ? r : NULL;
}

static int check_region_clean(struct vfd_log *log, const struct region *region, struct vfd_error *err)
{
	int ret = 0;

	for (unsigned i = 0; i < MAX_CONSUMERS && !ret; i++)
		if (region->planes[i] && !log->consumers[i].observer)
			ret = check_clean(log, i, (struct range){ region->address, region->last },
					  "vfd_region_remove", err);
	return ret;
}

/* The planes go after the region: who looks on from outside finds a region that is whole, or none. */
static void give_back_planes(struct vfd_log *log, struct region *gone)
{
	for (unsigned i = 0; i < MAX_CONSUMERS; i++) {
		if (!gone->planes[i])
			continue;
		struct planes p = planes_of(log, gone, i);
		planes_wipe(&p, log, gone);
	}
	free_planes(log, gone);
}

static void drop_region(struct vfd_log *log, struct region *region)
{
	struct region gone = *region;

	place_remove(log, region);
	regions_remove(log, (uint64_t)(region - region_table(log)));
	give_back_planes(log, &gone);
	for (unsigned i = 0; i < MAX_CONSUMERS; i++) {
		if (!log->super->consumers[i])
			continue;
		consumer_record(log, i)->resolved = 1;
		cause_prune(log, i);
	}
}

static int remove_region(struct vfd_log *log, uint64_t address, unsigned flags, struct vfd_error *err)
{
	const char *op = "vfd_region_remove";
	struct region *region = region_starting(log, address);

	if (!region)
		return fail_range(err, VFD_ENOTMAPPED, op, address, address, "no region starts at 0x%" PRIx64,
				  address);
	if (region->holds)
		return fail_range(err, VFD_ESTATE, op, region->address, region->last,
				  "mappings that still use the region at 0x%" PRIx64 ": %" PRIu32
				  "; unmap them first",
				  address, region->holds);
	int ret = flags & VFD_DISCARD ? 0 : check_region_clean(log, region, err);
	if (ret)
		return ret;
	fold_range(log, (struct range){ region->address, region->last }); /* its inbox goes back zero */
	for (unsigned i = 0; i < MAX_CONSUMERS; i++)
		if (region->planes[i])
			resolve_all(log, i, (struct range){ region->address, region->last });
	drop_region(log, region);
	return 0;
}

int vfd_region_remove(struct vfd_log *log, uint64_t address, unsigned flags, struct vfd_error *err)
{
	int ret = log_enter_alone(log, "vfd_region_remove", err);

	if (ret)
		return ret;
	ret = check_flags(flags, VFD_DISCARD, "vfd_region_remove", err);
	if (!ret)
		ret = remove_region(log, address, flags, err);
	log_leave_alone(log);
	return ret;
}
