/* SPDX-License-Identifier: MIT */
#include "map.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "map_check.h"

static const char *const map_op = "map";

/* Find the log address and hold the region. */
static int bind_log(struct space *space, const struct vfd_mapping *want, struct mapping *m,
		    struct vfd_error *err)
{
	if (!space->log || (want->flags & VFD_MAP_UNLOGGED))
		return 0;
	int rc = log_region_get(space->log, want->memory, want->iova, want->size, &m->log_address, err);
	if (rc)
		return rc;
	rc = check_log_address(want, m->log_address, err);
	if (rc)
		log_region_put(space->log, m->log_address);
	m->logged = !rc;
	return rc;
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
	int rc = check_mapping(space, want, &where, err);

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

static int explain_map(struct space *space, const struct mapping *m, int rc, struct vfd_error *err)
{
	struct range w = m->where;

	struct type1 now = space->type1;

	if (rc == -EINVAL && !type1_refresh(&now) && check_allowed(&now.caps, w, err))
		return VFD_ERESERVED;
	if (rc == -ENOMEM)
		return explain_memlock(space, w, err);
	if (rc == -ENOSPC)
		return explain_entries(w, err);
	const char *why = rc == -EEXIST ? "a mapping that was not made through this library is in the way"
			  : rc == -EFAULT
				  ? "the memory cannot be pinned; is all of it mapped in this process?"
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
		space_mapped(space, m);
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
