/* SPDX-License-Identifier: MIT */
#include "map.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "pin.h"
#include "recorder.h"

static enum vfd_reason owed_whole(struct space *space, const struct mapping *m)
{
	pthread_mutex_lock(&space->mutex);
	enum vfd_reason why = space->tracking && mapping_tracked(m) ? space_owes_all(space, m) : VFD_WHY_NONE;
	pthread_mutex_unlock(&space->mutex);
	return why;
}

/* Nobody knows where the mapping's bits went. */
static void assume(struct space *space, const struct mapping *m)
{
	if (space->tracking && mapping_tracked(m))
		space_assume(space, m, VFD_WHY_UNMAP_FAILED);
}

/* Small mappings that come and go: most were never written. */
static bool clean(const uint64_t *words, size_t bytes)
{
	return bytes == sizeof *words && !*words;
}

/* The bits of one mapping, from scratch to the log. Also after a failure: what arrived is gone from the kernel. With a physical group
 * there they say nothing: all is owed. */
static void merge(struct space *space, const struct mapping *m, const struct scratch *scratch)
{
	uint64_t page = space->backend.page_size;
	size_t bytes = (size_t)backend_bitmap_bytes(&space->backend, m->where);
	struct log_bits bits = {
		.address = m->log_address,
		.granularity = page,
		.words = scratch->words,
		.bits = range_size(m->where) / page,
	};
	struct log_source source = {
		.provenance = m->spoiled ? VFD_ASSUMED : VFD_REPORTED,
		.reason = m->spoiled ? VFD_WHY_HARVEST_FAILED : VFD_WHY_NONE,
		.granularity = page,
		.who = space->backend.ops->who,
	};

	if (clean(scratch->words, bytes))
		return;
	if (mapping_tracked(m) && space_has_record(space))
		log_merge(space->log, &bits, &source);
	memset(scratch->words, 0, bytes);
}

/* EFAULT comes before the mapping is removed (bits intact, or delivered in part) or after it (bits delivered). Asking again
 * tells: the mapping and its bits, or 0 bytes because it was gone already. */
static int unmap_again(struct space *space, struct mapping *m, const struct scratch *scratch,
		       uint64_t *unmapped)
{
	int rc = backend_unmap_harvest(&space->backend, m->where, scratch->words, unmapped);
	merge(space, m, scratch);
	return rc;
}

static int unmap_collect(struct space *space, struct mapping *m, uint64_t *unmapped)
{
	struct scratch scratch;
	int rc =
		scratch_get_ready(&space->scratch, backend_bitmap_bytes(&space->backend, m->where), &scratch);

	if (rc)
		return rc;
	rc = backend_unmap_harvest(&space->backend, m->where, scratch.words, unmapped);
	merge(space, m, &scratch);
	if (rc == -EFAULT) {
		m->uncertain = true;
		rc = unmap_again(space, m, &scratch, unmapped);
	}
	scratch_put(&space->scratch, scratch);
	return rc;
}

/* The kernel refused. Whatever it may have done with the mapping's bits, none is lost. */
static int unmap_refused(struct space *space, struct mapping *m, int rc, struct vfd_error *err)
{
	struct range w = m->where;

	m->uncertain |= rc == -EFAULT;
	if (rc == -EINVAL) {
		enum record_fault fault = space_diagnose(space);
		if (fault == RECORD_GONE || (space->started && fault != RECORD_ALIVE)) {
			space_lost(space, VFD_WHY_STATE_LOST, fault == RECORD_GONE);
			return fail_range(err, VFD_ELOST, space->backend.ops->unmap_name, w.first, w.last,
					  "the kernel's record of the container vanished; what was tracked "
					  "is assumed dirty. "
					  "Nothing was unmapped: call again");
		}
	}
	if (rc != -EINVAL && rc != -EFAULT && rc != -ENOMEM)
		assume(space, m);
	return fail_sys_range(err, -rc, space->backend.ops->unmap_name, w.first, w.last,
			      "IOVA %#" PRIx64 "..%#" PRIx64
			      " was not unmapped; its dirty pages are safe: call again",
			      w.first, w.last);
}

/* Success, but less than asked. After a half-failed try that means: it was gone. Else nobody knows where its bits went. */
static int unmap_short(struct space *space, struct mapping *m, uint64_t unmapped, struct vfd_error *err)
{
	struct range w = m->where;

	if (m->uncertain && !unmapped)
		return 0;
	m->uncertain = true;
	assume(space, m);
	return fail_range(err, VFD_ESHORT, space->backend.ops->unmap_name, w.first, w.last,
			  "the kernel unmapped %" PRIu64 " of %" PRIu64
			  " bytes and said success; the mapping is kept and assumed dirty: call again",
			  unmapped, range_size(w));
}

static int kernel_unmap(struct space *space, struct mapping *m, struct vfd_error *err)
{
	uint64_t unmapped = 0;
	int rc = space->started ? unmap_collect(space, m, &unmapped)
				: backend_unmap(&space->backend, m->where, &unmapped);

	if (rc)
		return unmap_refused(space, m, rc, err);
	return unmapped == range_size(m->where) ? 0 : unmap_short(space, m, unmapped, err);
}

static void forget(struct space *space, struct mapping *m)
{
	space_unmapped(space, m);
	place_give(space, m->where);
	if (m->logged)
		log_region_put(space->log, m->log_address);
	free(m);
}

/* Pins make no system call when they go, so who waits for them looks now and then. */
static void rest(unsigned *turn)
{
	const struct timespec nap = { .tv_nsec = 10000 << (*turn < 6 ? *turn : 6) };

	++*turn;
	nanosleep(&nap, NULL);
}

/* From here on nobody can pin the mapping, and nobody has. */
static int leave(struct space *space, struct mapping *m, uint64_t deadline, struct vfd_error *err)
{
	struct pin_holder holder;
	unsigned turn = 0;

	if (!space->pinsets)
		return 0;
	table_set_leaving(&space->table, m, true);
	while (pins_hold(space, m->where, &holder)) {
		if (now_ns() >= deadline) {
			table_set_leaving(&space->table, m, false);
			return fail_pinned(&holder, "unmap", err);
		}
		rest(&turn);
	}
	return 0;
}

/* What is owed as a whole enters the log when the device cannot reach the memory any more, not before. */
static int unmap_left(struct space *space, struct mapping *m, struct vfd_error *err)
{
	struct moment before = space_look(space);
	bool tears = space_tears(space);
	int rc = space->attached ? kernel_unmap(space, m, err) : 0;
	if (rc) {
		if (space->pinsets)
			table_set_leaving(&space->table, m, false);
		return rc;
	}
	recorders_unmapped(space, m);
	enum vfd_reason why = owed_whole(space, m);
	if (!why && tears && mapping_tracked(m) && !space_quiet_since(space, before))
		why = VFD_WHY_TORN;
	if (why)
		space_assume(space, m, why);
	return 0;
}

int unmap_one(struct space *space, struct mapping *m, uint64_t deadline, struct vfd_error *err)
{
	int rc = leave(space, m, deadline, err);

	if (rc)
		return rc;
	struct log_intent intent = space_intent(space, m->where);
	rc = unmap_left(space, m, err);
	log_intent_end(intent);
	if (!rc)
		forget(space, m);
	return rc;
}

/* Whether `where` cuts a mapping, and which; `first` is the first that it meets. Table entered. */
static bool find_cut(const struct space *space, struct range where, const struct index_cursor *first,
		     struct index_cursor *cut)
{
	struct range edge = { where.last, where.last };

	*cut = *first;
	return !range_contains(where, first->where) ||
	       (first->where.last < where.last && index_meets(&space->table.iova, edge, cut) &&
		!range_contains(where, cut->where));
}

static int fail_cut(const struct index_cursor *cut, struct vfd_error *err)
{
	return fail_range(err, VFD_ECUT, "unmap", cut->where.first, cut->where.last,
			  "the range cuts the mapping at %#" PRIx64 "..%#" PRIx64
			  ", which the kernel cannot split; unmap all of it",
			  cut->where.first, cut->where.last);
}

/* *m: the first mapping of the range, NULL if there is none. The range is claimed: it stays when the table is left, and no other comes. */
static int check_whole(struct space *space, struct range where, bool none_is_fine, struct mapping **m,
		       struct vfd_error *err)
{
	struct index_cursor first, cut;
	int rc = 0;

	table_enter(&space->table);
	bool any = index_meets(&space->table.iova, where, &first);
	*m = any ? first.item : NULL;
	if (any && find_cut(space, where, &first, &cut))
		rc = fail_cut(&cut, err);
	else if (!any && !none_is_fine)
		rc = fail_range(err, VFD_ENOTMAPPED, "unmap", where.first, where.last,
				"nothing is mapped in %#" PRIx64 "..%#" PRIx64, where.first, where.last);
	table_leave(&space->table);
	return rc;
}

/* Early, so that nothing of the range is unmapped when part of it is pinned. */
static int check_pins(struct space *space, struct range where, struct vfd_error *err)
{
	struct pin_holder holder;

	return space->pinsets && pins_hold(space, where, &holder) ? fail_pinned(&holder, "unmap", err) : 0;
}

/* The first mapping that ends behind `last` and is in the range, which is claimed. */
static struct mapping *next_in(struct space *space, struct range where, uint64_t last)
{
	struct index_cursor there;

	if (last >= where.last)
		return NULL;
	where.first = last + 1;
	table_enter(&space->table);
	struct mapping *m = index_meets(&space->table.iova, where, &there) ? there.item : NULL;
	table_leave(&space->table);
	return m;
}

/* One mapping per ioctl: behind an error for several nobody could tell which are gone. */
int map_remove(struct space *space, struct range where, bool none_is_fine, uint64_t patience,
	       struct vfd_error *err)
{
	struct range_claim claim;
	struct mapping *m;
	uint64_t deadline = patience ? now_ns() + min_u64(patience, INT64_MAX) : 0;

	range_claim(&space->queue, &claim, recorders_reach(space, where));
	int rc = check_whole(space, where, none_is_fine, &m, err);
	if (!rc && !patience)
		rc = check_pins(space, where, err);
	while (!rc && m) {
		uint64_t last = m->where.last;
		rc = unmap_one(space, m, deadline, err);
		m = rc ? NULL : next_in(space, where, last);
	}
	range_release(&space->queue, &claim);
	return rc;
}
