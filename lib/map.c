/* SPDX-License-Identifier: MIT */
#include "map.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define MAP_FLAGS  (VFD_MAP_READ | VFD_MAP_WRITE | VFD_MAP_UNLOGGED | VFD_MAP_LOG_ADDRESS)

/* The kernel keeps one bit per page and counts them in an int: START fails with EINVAL on a longer mapping. */
#define MOST_PAGES ((UINT64_C(1) << 31) - 1)

static const char *const map_op = "map";

static int check_range(const struct space *space, const struct vfd_mapping *want, struct range *where,
		       struct vfd_error *err)
{
	uint64_t page = space->type1.page_size;

	if (!range_make(where, want->iova, want->size) || where->last >= TYPE1_TOP)
		return fail(err, want->size ? VFD_EWRAP : VFD_EINVALID, map_op,
			    "%#" PRIx64 " bytes at IOVA %#" PRIx64 ": %s", want->size, want->iova,
			    want->size ? "reaches into the last 2 MiB below 2^64, or beyond; leave those out"
				       : "size is 0");
	if (!is_aligned(want->iova | want->size | (uintptr_t)want->memory, page))
		return fail_range(err, VFD_EALIGN, map_op, where->first, where->last,
				  "IOVA %#" PRIx64 ", size %#" PRIx64
				  " and memory %p must be multiples of %" PRIu64,
				  want->iova, want->size, want->memory, page);
	if (space->log && range_size(*where) / page > MOST_PAGES)
		return fail_range(err, VFD_ELIMIT, map_op, where->first, where->last,
				  "%" PRIu64 " pages in one mapping: the kernel tracks at most %" PRIu64
				  " (8 TiB of 4 KiB pages); split it",
				  range_size(*where) / page, MOST_PAGES);
	return 0;
}

static int check_flags(const struct vfd_mapping *want, struct vfd_error *err)
{
	if (want->flags & ~(uint32_t)MAP_FLAGS)
		return fail(err, VFD_EINVALID, map_op, "unknown flags %#x",
			    want->flags & ~(uint32_t)MAP_FLAGS);
	if (!(want->flags & (VFD_MAP_READ | VFD_MAP_WRITE)))
		return fail(err, VFD_EINVALID, map_op, "neither VFD_MAP_READ nor VFD_MAP_WRITE");
	if (!want->memory)
		return fail(err, VFD_EINVALID, map_op, "memory is NULL");
	return 0;
}

/* Type1 checks the ranges only once a physical group is there; an empty list means that it has none yet. */
static int check_allowed(const struct caps *caps, struct range where, struct vfd_error *err)
{
	const struct vfd_iova_range *below = NULL;

	if (!caps->range_total || caps->range_total > caps->range_count)
		return 0;
	for (uint32_t i = 0; i < caps->range_count; i++) {
		const struct vfd_iova_range *r = &caps->ranges[i];
		if (r->first <= where.first && where.last <= r->last)
			return 0;
		if (r->first <= where.last)
			below = r;
	}
	if (!below)
		below = &caps->ranges[0];
	return fail_range(err, VFD_ERESERVED, map_op, where.first, where.last,
			  "IOVA %#" PRIx64 "..%#" PRIx64
			  " is not in an allowed range; the nearest is %#" PRIx64 "..%#" PRIx64,
			  where.first, where.last, (uint64_t)below->first, (uint64_t)below->last);
}

/* Find the log address and hold the region. */
static int bind_log(struct space *space, const struct vfd_mapping *want, struct mapping *m,
		    struct vfd_error *err)
{
	if (!space->log || (want->flags & VFD_MAP_UNLOGGED))
		return 0;
	int rc = log_region_get(space->log, want->memory, want->iova, want->size, &m->log_address, err);
	if (rc)
		return rc;
	if ((want->flags & VFD_MAP_LOG_ADDRESS) && want->log_address != m->log_address) {
		log_region_put(space->log, m->log_address);
		return fail_range(err, VFD_EALIAS, map_op, m->where.first, m->where.last,
				  "stated log address %#" PRIx64 ", but the memory at %p has %#" PRIx64,
				  want->log_address, want->memory, m->log_address);
	}
	m->logged = true;
	return 0;
}

static void mapping_free(struct space *space, struct mapping *m)
{
	if (m->logged)
		log_region_put(space->log, m->log_address);
	free(m);
}

static int mapping_make(struct space *space, const struct vfd_mapping *want, struct mapping **out,
			struct vfd_error *err)
{
	struct range where = { 0 };
	int rc = check_flags(want, err);

	if (!rc)
		rc = check_range(space, want, &where, err);
	if (!rc)
		rc = check_allowed(&space->type1.caps, where, err);
	if (rc)
		return rc;
	struct mapping *m = malloc(sizeof *m);
	if (!m)
		return fail(err, VFD_ENOMEMORY, map_op, "no memory for a mapping's record");
	*m = (struct mapping){ .where = where, .memory = want->memory, .flags = want->flags };
	rc = bind_log(space, want, m, err);
	if (rc)
		free(m);
	else
		*out = m;
	return rc;
}

/* Nothing is in the way. The range is claimed: what is true now stays true until it is released. */
static int check_free(struct space *space, struct range where, struct vfd_error *err)
{
	struct index_cursor there;
	int rc = 0;

	table_enter(&space->table);
	if (index_meets(&space->table.iova, where, &there))
		rc = fail_range(err, VFD_EOVERLAP, map_op, there.where.first, there.where.last,
				"IOVA %#" PRIx64 "..%#" PRIx64 " meets the mapping at %#" PRIx64 "..%#" PRIx64
				"; unmap that first",
				where.first, where.last, there.where.first, there.where.last);
	table_leave(&space->table);
	return rc;
}

/* Who placed it has taken its IOVA already. */
static int reserve(struct space *space, const struct mapping *m, bool placed, struct vfd_error *err)
{
	int rc = check_free(space, m->where, err);

	if (!rc && !placed)
		rc = place_take(space, m->where, err);
	if (rc || table_reserve(&space->table))
		return rc;
	if (!placed)
		place_give(space, m->where);
	return fail(err, VFD_ENOMEMORY, map_op, "no memory for the mapping table");
}

static void unreserve(struct space *space, const struct mapping *m, bool placed)
{
	table_unreserve(&space->table);
	if (!placed)
		place_give(space, m->where);
}

static int explain_no_memory(const struct mapping *m, int rc, struct vfd_error *err)
{
	uint64_t limit = sys_memlock_limit();

	if (limit == UINT64_MAX)
		return fail_sys_range(err, -rc, "VFIO_IOMMU_MAP_DMA", m->where.first, m->where.last,
				      "mapping %" PRIu64 " bytes: the kernel is out of memory",
				      range_size(m->where));
	return fail_sys_range(err, -rc, "VFIO_IOMMU_MAP_DMA", m->where.first, m->where.last,
			      "mapping %" PRIu64
			      " KiB needs as much locked memory; RLIMIT_MEMLOCK is %" PRIu64
			      " KiB: raise it (ulimit -l), or give the process CAP_IPC_LOCK",
			      range_size(m->where) / 1024, limit / 1024);
}

static int explain_map(struct space *space, const struct mapping *m, int rc, struct vfd_error *err)
{
	struct range w = m->where;

	struct type1 now = space->type1;

	if (rc == -EINVAL && !type1_refresh(&now) && check_allowed(&now.caps, w, err))
		return VFD_ERESERVED;
	if (rc == -ENOMEM)
		return explain_no_memory(m, rc, err);
	const char *why =
		rc == -EEXIST ? "a mapping that was not made through this library is in the way"
		: rc == -ENOSPC
			? "no mapping entry is left; raise vfio_iommu_type1's dma_entry_limit, or map "
			  "larger pieces"
		: rc == -EFAULT ? "the memory cannot be pinned; is all of it mapped in this process?"
				: "the kernel refused";
	return fail_sys_range(err, -rc, "VFIO_IOMMU_MAP_DMA", w.first, w.last,
			      "mapping %#" PRIx64 " bytes at IOVA %#" PRIx64 ": %s", range_size(w), w.first,
			      why);
}

static int kernel_map(struct space *space, const struct mapping *m, struct vfd_error *err)
{
	int rc = type1_map(&space->type1, m->where, m->memory, m->flags & VFD_MAP_READ,
			   m->flags & VFD_MAP_WRITE);

	return rc ? explain_map(space, m, rc, err) : 0;
}

enum origin { CHOSEN, PLACED, IN_KERNEL };

static int enter_table(struct space *space, const struct vfd_mapping *want, enum origin origin,
		       struct vfd_error *err)
{
	struct range_claim claim;
	struct mapping *m = NULL;
	int rc = mapping_make(space, want, &m, err);

	if (rc)
		return rc;
	range_claim(&space->queue, &claim, m->where);
	rc = reserve(space, m, origin == PLACED, err);
	if (!rc && origin != IN_KERNEL && space->attached) {
		rc = kernel_map(space, m, err);
		if (rc)
			unreserve(space, m, origin == PLACED);
	}
	if (!rc)
		table_add(&space->table, m);
	range_release(&space->queue, &claim);
	if (rc)
		mapping_free(space, m);
	return rc;
}

int map_add(struct space *space, const struct vfd_mapping *want, struct vfd_error *err)
{
	return enter_table(space, want, CHOSEN, err);
}

/* An IOVA where the kernel has a mapping that nobody declared stays taken: the next call will try another. */
int map_place(struct space *space, struct vfd_mapping *want, const struct vfd_placement *wish,
	      struct vfd_error *err)
{
	struct range where;
	int rc = place_find(space, want->size, wish, &where, err);

	if (rc)
		return rc;
	want->iova = where.first;
	rc = enter_table(space, want, PLACED, err);
	if (rc && rc != -EEXIST)
		place_give(space, where);
	return rc;
}

int map_declare(struct space *space, const struct vfd_mapping *want, struct vfd_error *err)
{
	return enter_table(space, want, IN_KERNEL, err);
}

/* The container's gate is closed: nobody changes the table between two steps, or at all. */
int map_replay(struct space *space, struct vfd_error *err)
{
	struct index_cursor at;

	for (bool more = index_seek(&space->table.iova, 0, &at); more; more = index_next(&at)) {
		struct mapping *m = at.item;
		int rc = check_allowed(&space->type1.caps, m->where, err);
		if (!rc)
			rc = kernel_map(space, m, err);
		if (rc)
			return rc;
		m->uncertain = false;
	}
	return 0;
}
