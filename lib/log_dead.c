/* SPDX-License-Identifier: MIT */
#include "log_dead.h"

#include <inttypes.h>
#include <string.h>

void dead_copy(void *to, const void *from, size_t size)
{
	memcpy(to, from, size);
	__asm__ volatile("" : : "r"(to) : "memory");
}

/* ---- is it a log? ---- */

bool dead_inside(const struct dead *dead, uint64_t offset, uint64_t bytes)
{
	return offset && is_aligned(offset, CACHE_LINE) && bytes <= dead->view.arena_size &&
	       offset <= dead->view.arena_size - bytes;
}

static int fail_damaged(struct vfd_error *err, const char *what, uint64_t at)
{
	return fail(err, VFD_EINVALID, SALVAGE_OP, "the arena is damaged: %s 0x%" PRIx64 " is impossible",
		    what, at);
}

static int check_magic(const struct superblock *super, struct vfd_error *err)
{
	if (super->magic == LOG_MAGIC_DEAD)
		return fail(err, VFD_ESTATE, SALVAGE_OP,
			    "the log in this arena was destroyed: it owes nothing");
	if (super->magic != LOG_MAGIC)
		return fail(err, VFD_EINVALID, SALVAGE_OP,
			    "there is no log in the arena, or another version's: it begins with 0x%" PRIx64,
			    super->magic);
	return super->check == super_check(super) ? 0 : fail_damaged(err, "its checksum", super->check);
}

static int check_super(const struct dead *dead, const struct vfd_log *log, struct vfd_error *err)
{
	const struct superblock *super = &dead->super;
	int ret = check_magic(super, err);

	if (!ret && super->arena_size != dead->view.arena_size)
		ret = fail(err, VFD_EINVALID, SALVAGE_OP,
			   "arena_size is %" PRIu64 ", but the log was created with %" PRIu64,
			   dead->view.arena_size, super->arena_size);
	if (!ret && super->page_size != log->page_size)
		ret = fail(err, VFD_EINVALID, SALVAGE_OP,
			   "the dead log has pages of %" PRIu64 " bytes, this one of %" PRIu64,
			   super->page_size, log->page_size);
	if (!ret && (super->flags ^ log->super->flags) & VFD_LOG_IDENTITY)
		ret = fail(err, VFD_EINVALID, SALVAGE_OP,
			   "the dead log is keyed by %s, this one is not: create it %s VFD_LOG_IDENTITY",
			   super->flags & VFD_LOG_IDENTITY ? "IOVA" : "log address",
			   super->flags & VFD_LOG_IDENTITY ? "with" : "without");
	return ret;
}

static int check_arena(const struct vfd_log *log, const void *arena, uint64_t size, struct vfd_error *err)
{
	if (!arena)
		return fail_null("arena", SALVAGE_OP, err);
	if (!is_aligned((uintptr_t)arena, 4096) || size < arena_minimum() ||
	    size > UINTPTR_MAX - (uintptr_t)arena)
		return fail(err, VFD_EINVALID, SALVAGE_OP,
			    "arena %p of %" PRIu64 " bytes: must be 4096-aligned, and %" PRIu64
			    " bytes at least",
			    arena, size, arena_minimum());
	if ((const void *)log->super == arena)
		return fail(err, VFD_ESTATE, SALVAGE_OP, "the log that lives in this arena is `log` itself");
	return 0;
}

static int open_table(struct dead *dead, struct vfd_error *err)
{
	uint64_t at = dead->super.regions;

	if (!dead_inside(dead, at, sizeof(dead->table)))
		return fail_damaged(err, "the region table's offset", at);
	dead_copy(&dead->table, at_offset(&dead->view, at), sizeof(dead->table));
	if (dead->table.count > dead->view.arena_size / sizeof(struct region) ||
	    !dead_inside(dead, at, sizeof(dead->table) + dead->table.count * sizeof(struct region)))
		return fail_damaged(err, "the number of regions", dead->table.count);
	return 0;
}

/* One that is skipped would be one whose pages are missing, and nobody told. */
static int check_consumers(const struct dead *dead, struct vfd_error *err)
{
	for (unsigned i = 0; i < MAX_CONSUMERS; i++) {
		uint64_t at = dead->super.consumers[i];
		if (at && !dead_inside(dead, at, sizeof(struct consumer_record)))
			return fail_damaged(err, "a consumer's offset", at);
	}
	return 0;
}

int dead_open(struct dead *dead, const struct vfd_log *log, const void *arena, uint64_t size,
	      struct vfd_error *err)
{
	int ret = check_arena(log, arena, size, err);

	if (ret)
		return ret;
	dead->view.base = (uintptr_t)arena;
	dead->view.arena_size = size;
	dead->view.page_size = log->page_size;
	dead->view.page_shift = log->page_shift;
	dead_copy(&dead->super, arena, sizeof(dead->super));
	ret = check_super(dead, log, err);
	if (!ret)
		ret = check_consumers(dead, err);
	return ret ? ret : open_table(dead, err);
}

/* ---- its regions ---- */

void dead_region(const struct dead *dead, uint64_t index, struct region *region)
{
	const struct region_table *table = at_offset(&dead->view, dead->super.regions);

	dead_copy(region, &table->regions[index], sizeof(*region));
}

bool dead_region_holds(const struct dead *dead, const struct region *r)
{
	const uint64_t page = dead->view.page_size;
	bool right = r->address <= r->last && r->last < UINT64_MAX && is_aligned(r->address, page) &&
		     is_aligned(r->last + 1, page) &&
		     dead_inside(dead, r->inbox, inbox_bytes(&dead->view, r));

	for (unsigned i = 0; right && i < MAX_CONSUMERS; i++)
		right = !r->planes[i] || dead_inside(dead, r->planes[i], planes_bytes(&dead->view, r));
	return right;
}

/* All of them, before anything is owed. They rise, or a table of one region a million times would be read for days. */
int dead_check_regions(const struct dead *dead, const struct vfd_log *log, struct vfd_error *err)
{
	uint64_t behind = 0;
	struct range hole;
	struct region r;

	for (uint64_t i = 0; i < dead->table.count; i++) {
		dead_region(dead, i, &r);
		if (!dead_region_holds(dead, &r) || r.address < behind)
			return fail_damaged(err, "the region at", r.address);
		behind = r.last + 1;
		if (first_hole(log, (struct range){ r.address, r.last }, &hole))
			return fail_range(err, VFD_ENOREGION, SALVAGE_OP, hole.first, hole.last,
					  "the dead log has the region 0x%" PRIx64 "..0x%" PRIx64
					  "; here, 0x%" PRIx64 "..0x%" PRIx64 " lie in none",
					  r.address, r.last, hole.first, hole.last);
	}
	return 0;
}
