/* SPDX-License-Identifier: MIT */
#include "map.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>

#include "making.h"
#include "map_check.h"
#include "map_explain.h"
#include "options.h"
#include "pieces.h"
#include "probe.h"
#include "recorder.h"

static int kernel_map(struct space *space, const struct mapping *m)
{
	return backend_map(&space->backend, m->where, m->memory, m->flags & VFD_MAP_READ,
			   m->flags & VFD_MAP_WRITE);
}

static int kernel_map_unlocked(struct space *space, const struct mapping *m)
{
	space_unlock(space);
	int rc = kernel_map(space, m);
	space_lock(space);
	return rc;
}

/* The IOMMU gets it piece by piece, as it is pinned: a map that fails on the way was there for a moment, as far as it came, and what a
 * device wrote then is in no record. The errors that are left out come before. Mutex held. */
static void assume_glimpsed(struct space *space, const struct mapping *m, struct moment before, int rc)
{
	bool early = rc == -EINVAL || rc == -EEXIST || rc == -ENOSPC;

	if (space->tracking && space->physical && mapping_tracked(m) && !early &&
	    !space_quiet_since(space, before))
		space_tell_assumed(space, VFD_WHY_TORN, m->where, space_assume(space, m, VFD_WHY_TORN),
				   rc < 0 ? rc : 0);
}

/* Once the kernel has it devices can write to it. But before it is in the table, who finds the record lost does not assume it, and
 * whose harvest is the last does not collect it. Mutex held, but for the ioctl. */
static int map_one(struct space *space, struct mapping *m, bool ask)
{
	bool recorded = space->started;
	struct moment before = space_look(space);
	int rc = ask ? kernel_map_unlocked(space, m) : 0;

	if (rc)
		assume_glimpsed(space, m, before, rc);
	if (rc < 0)
		return rc;
	space_mapped(space, m);
	space_unsettle(space, m, before);
	if (recorded && !space->started && space->tracking && mapping_tracked(m))
		space_tell_assumed(space, VFD_WHY_STATE_LOST, m->where,
				   space_assume(space, m, VFD_WHY_STATE_LOST), 0);
	probe(map, m->where.first, m->where.last, m->memory, m->flags);
	message(&space->messages, VFD_LEVEL_DEBUG,
		(struct note){ .kind = VFD_MSG_MAPPED, .where = m->where, .count = range_size(m->where) },
		"IOVA %#" PRIx64 "..%#" PRIx64 " is mapped to %p", m->where.first, m->where.last, m->memory);
	return 0;
}

/* To take back is worse than not to begin. What the kernel does not say here it says when it is asked. */
static int check_entries(struct making *making, struct vfd_error *err)
{
	struct backend now = making->space->backend;

	if (backend_refresh(&now) || now.caps.entries_available >= making->count)
		return 0;
	return explain_entries(making_hull(making), making->count, now.caps.entries_available, err);
}

/* Newest first; what devices wrote meanwhile is collected. The errors of an unmap say "call again": once. Returns whether something is
 * left, and where. */
static bool take_back(struct making *making, struct range *left, struct vfd_error *err)
{
	bool any = false;

	for (size_t i = making->mapped; i-- > 0;) {
		struct mapping *m = making->all[i];
		struct range where = m->where;
		if (!unmap_one(making->space, m, 0, err) || !unmap_one(making->space, m, 0, err))
			continue;
		left->last = any ? left->last : where.last;
		left->first = where.first;
		any = true;
	}
	return any;
}

/* The numbers in the text are those of when nothing of it is there any more. */
static int undo(struct making *making, int rc, struct vfd_error *err)
{
	struct asked asked = { making_hull(making), making_bytes(making), making->count };
	struct vfd_error why = { 0 };
	struct range left = { 0 };

	making_give_back(making, rc);
	bool any_left = take_back(making, &left, &why);
	space_unlock(making->space);
	rc = explain_map(making->space, making->all[making->mapped], &asked, rc, err);
	space_lock(making->space);
	return any_left ? explain_left(left, &why, err) : rc;
}

static int map_all(struct making *making, bool ask, struct vfd_error *err)
{
	int rc = 0;

	while (!rc && making->mapped < making->count) {
		rc = map_one(making->space, making->all[making->mapped], ask);
		making->mapped += !rc;
	}
	return rc ? undo(making, rc, err) : 0;
}

/* All promises made. */
static int map_several(struct making *making, bool ask, struct vfd_error *err)
{
	space_unlock(making->space);
	int rc = ask ? check_entries(making, err) : 0;
	space_lock(making->space);
	if (!rc)
		return map_all(making, ask, err);
	making_give_back(making, rc);
	return rc;
}

/* With the records made. To take back is to unmap, which reaches further. */
static int enter_table(struct making *making, struct vfd_error *err)
{
	struct space *space = making->space;
	struct range_claim claim;

	space_lock(space);
	range_claim(&space->queue, &space->mutex, &claim, recorders_reach(space, making_hull(making)));
	bool ask = making->origin != IN_KERNEL && space->attached;
	int rc = making_reserve(making, err);
	if (!rc)
		rc = (making->count > 1 ? map_several : map_all)(making, ask, err);
	range_release(&space->queue, &claim);
	space_unlock(space);
	return rc;
}

static int enter_runs(struct space *space, const struct vfd_mapping *runs, size_t count, enum origin origin,
		      struct vfd_error *err)
{
	struct making making = { .space = space, .origin = origin, .runs = runs, .run_count = count };
	int rc = making_begin(&making, err);

	if (!rc)
		rc = enter_table(&making, err);
	else if (origin == PLACED)
		place_give_pieces(space, runs);
	making_end(&making);
	return rc;
}

int copy_mapping(struct vfd_mapping *want, const struct vfd_mapping *user, struct vfd_error *err)
{
	return copy_options(want, sizeof *want, offsetof(struct vfd_mapping, granule), user,
			    "struct vfd_mapping", err);
}

int map_add(struct space *space, const struct vfd_mapping *want, struct vfd_error *err)
{
	return enter_runs(space, want, 1, CHOSEN, err);
}

int map_list(struct space *space, struct vfd_mapping *wants, size_t *count, uint64_t *entries,
	     struct vfd_error *err)
{
	struct range where;
	int rc = 0;

	for (size_t i = 0; !rc && i < *count; i++)
		rc = check_mapping(space, &wants[i], &where, err);
	if (!rc)
		rc = runs_join(space, wants, count, err);
	if (!rc)
		rc = enter_runs(space, wants, *count, CHOSEN, err);
	*entries = 0;
	for (size_t i = 0; !rc && i < *count; i++)
		*entries += piece_count(&wants[i]);
	return rc;
}

/* What is wrong with it wherever it goes is said before a place is looked for. */
int map_place(struct space *space, struct vfd_mapping *want, const struct vfd_placement *wish,
	      struct vfd_error *err)
{
	struct range where;

	want->iova = 0;
	int rc = check_mapping(space, want, &where, err);
	if (!rc)
		rc = place_find(space, want, wish, err);
	return rc ? rc : enter_runs(space, want, 1, PLACED, err);
}

int map_declare(struct space *space, const struct vfd_mapping *want, struct vfd_error *err)
{
	return enter_runs(space, want, 1, IN_KERNEL, err);
}

static int replay_one(struct space *space, const struct mapping *m, struct vfd_error *err)
{
	struct asked asked = { m->where, range_size(m->where), 1 };
	int rc = check_allowed(&space->backend.caps, m->where, err);

	if (rc)
		return rc;
	rc = kernel_map(space, m);
	return rc < 0 ? explain_map(space, m, &asked, rc, err) : 0;
}

/* The container's gate is closed: nobody changes the table between two steps, or at all. */
int map_replay(struct space *space, struct vfd_error *err)
{
	struct index_cursor at;

	for (bool more = index_seek(&space->table.iova, 0, &at); more; more = index_next(&at)) {
		struct mapping *m = at.item;
		int rc = replay_one(space, m, err);
		if (rc)
			return rc;
		m->uncertain = m->declared = false;
	}
	return 0;
}
