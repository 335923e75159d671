/* SPDX-License-Identifier: MIT */
#include "map.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "pin.h"
#include "probe.h"
#include "recorder.h"

/* Nobody knows where the mapping's bits went. */
static void assume(struct space *space, const struct mapping *m, int rc)
{
	if (space->tracking && mapping_tracked(m))
		space_tell_assumed(space, VFD_WHY_UNMAP_FAILED, m->where,
				   space_assume(space, m, VFD_WHY_UNMAP_FAILED), rc);
}

/* Small mappings that come and go: most were never written. */
static bool clean(const uint64_t *words, size_t bytes)
{
	return bytes == sizeof *words && !*words;
}

/* With a physical group there they say nothing: all is owed. */
static void merge_bits(struct space *space, const struct mapping *m, const struct scratch *scratch)
{
	uint64_t page = space->backend.page_size;
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

	log_merge(space->log, &bits, &source);
}

/* The bits of one mapping, from scratch to the log. Also after a failure: what arrived is gone from the kernel. */
static void merge(struct space *space, const struct mapping *m, const struct scratch *scratch)
{
	size_t bytes = (size_t)backend_bitmap_bytes(&space->backend, m->where);

	if (clean(scratch->words, bytes))
		return;
	if (mapping_tracked(m) && space_has_record(space))
		merge_bits(space, m, scratch);
	memset(scratch->words, 0, bytes);
}

/* EFAULT comes before the mapping is removed (bits intact, or delivered in part) or after it (bits delivered). Asking again
 * tells: the mapping and its bits, or 0 bytes because it was gone already. */
static int unmap_again(struct space *space, struct mapping *m, const struct scratch *scratch,
		       uint64_t *unmapped)
{
	message(&space->messages, VFD_LEVEL_WARNING,
		(struct note){ .kind = VFD_MSG_RETRIED, .rc = -EFAULT, .where = m->where },
		"unmapping IOVA %#" PRIx64 "..%#" PRIx64 " half failed, and is asked for again",
		m->where.first, m->where.last);
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
	scratch_put_ready(&space->scratch, scratch);
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
		assume(space, m, rc);
	return fail_sys_range(err, -rc, space->backend.ops->unmap_name, w.first, w.last,
			      "IOVA %#" PRIx64 "..%#" PRIx64
			      " was not unmapped; its dirty pages are safe: call again",
			      w.first, w.last);
}

/* iommufd calls a mapping that it would have to cut, of which only a part was declared, and nothing at all by one name. To take the first
 * for the second, be it after a call of which nobody knows what it did, would leave it in the kernel, and in no table. */
static bool may_be_cut(const struct space *space, const struct mapping *m, uint64_t unmapped)
{
	return m->declared && space->backend.ops->by_device && !unmapped;
}

static int unmap_cut(struct space *space, const struct mapping *m, struct vfd_error *err)
{
	struct range w = m->where;

	assume(space, m, VFD_ECUT);
	return fail_range(err, VFD_ECUT, space->backend.ops->unmap_name, w.first, w.last,
			  "the kernel has nothing at IOVA %#" PRIx64 "..%#" PRIx64
			  ", or a mapping across its edge that was not declared; it is kept, and goes with "
			  "the last group",
			  w.first, w.last);
}

/* Success, but less than asked. After a half-failed try that means: it was gone. Else nobody knows where its bits went. */
static int unmap_short(struct space *space, struct mapping *m, uint64_t unmapped, struct vfd_error *err)
{
	struct range w = m->where;

	if (may_be_cut(space, m, unmapped))
		return unmap_cut(space, m, err);
	if (m->uncertain && !unmapped)
		return 0;
	m->uncertain = true;
	m->declared = false; /* of pieces that are whole none is left */
	assume(space, m, VFD_ESHORT);
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

/* Mutex held, here and below. */
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

/* Nobody can pin the mapping any more; but who has? */
static int wait_unpinned(struct space *space, const struct mapping *m, uint64_t deadline,
			 struct vfd_error *err)
{
	struct pin_holder holder;
	unsigned turn = 0;

	while (pins_hold(space, m->where, &holder)) {
		if (now_ns() >= deadline)
			return fail_pinned(&holder, "unmap", err);
		rest(&turn);
	}
	return 0;
}

/* The kernel's part, without the mutex */
static int take_out(struct space *space, struct mapping *m, uint64_t deadline, struct vfd_error *err)
{
	int rc = m->leaving ? wait_unpinned(space, m, deadline, err) : 0;

	if (!rc && space->attached)
		rc = kernel_unmap(space, m, err);
	if (!rc)
		recorders_unmapped(space, m);
	return rc;
}

/* What is owed as a whole enters the log when the device cannot reach the memory any more, not before. Mutex held. */
static void pay(struct space *space, const struct mapping *m, bool torn)
{
	if (!space->tracking || !mapping_tracked(m))
		return;
	enum vfd_reason why = space_owes_all(space, m);
	if (!why && torn)
		why = VFD_WHY_TORN;
	if (why)
		space_tell_assumed(space, why, m->where, space_assume(space, m, why), 0);
}

/* If nobody knows whether the kernel still has it, what a device wrote before it went may have gone with it; and it is asked for alone. */
static void stay(struct space *space, struct mapping *m, bool torn)
{
	if (m->leaving)
		table_set_leaving(&space->table, m, false);
	if (!m->uncertain)
		return;
	plan_touch(&space->plan, m->where);
	if (torn)
		pay(space, m, true);
}

int unmap_one(struct space *space, struct mapping *m, uint64_t deadline, struct vfd_error *err)
{
	bool tears = space_tears(space);
	struct moment before = space_look(space);

	if (space->pinsets)
		table_set_leaving(&space->table, m, true);
	space_unlock(space);
	struct log_intent intent = space_intent(space, m->where);
	int rc = take_out(space, m, deadline, err);
	space_lock(space);
	bool torn = (tears || space_tears(space)) && !space_quiet_since(space, before);
	if (rc)
		stay(space, m, torn);
	else
		pay(space, m, torn);
	log_intent_end(intent);
	probe(unmap, m->where.first, m->where.last, rc);
	message(&space->messages, VFD_LEVEL_DEBUG,
		(struct note){ .kind = VFD_MSG_UNMAPPED,
			       .rc = rc,
			       .where = m->where,
			       .count = range_size(m->where) },
		"IOVA %#" PRIx64 "..%#" PRIx64 " %s", m->where.first, m->where.last,
		rc ? "was not unmapped" : "is unmapped");
	if (!rc)
		forget(space, m);
	return rc;
}

/* Whether `where` cuts a mapping, and which; `first` is the first that it meets. Mutex held, here and below. */
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

/* *m: the first mapping of the range, NULL if there is none. The range is claimed: it stays, and no other comes. */
static int check_whole(struct space *space, struct range where, bool none_is_fine, struct mapping **m,
		       struct vfd_error *err)
{
	struct index_cursor first, cut;
	bool any = index_meets(&space->table.iova, where, &first);

	*m = any ? first.item : NULL;
	if (any && find_cut(space, where, &first, &cut))
		return fail_cut(&cut, err);
	if (!any && !none_is_fine)
		return fail_range(err, VFD_ENOTMAPPED, "unmap", where.first, where.last,
				  "nothing is mapped in %#" PRIx64 "..%#" PRIx64, where.first, where.last);
	return 0;
}

/* Early, so that nothing of the range is unmapped when part of it is pinned. */
static int check_pins(struct space *space, struct range where, struct vfd_error *err)
{
	struct pin_holder holder;

	if (!space->pinsets)
		return 0;
	space_unlock(space);
	bool held = pins_hold(space, where, &holder);
	space_lock(space);
	return held ? fail_pinned(&holder, "unmap", err) : 0;
}

/* The first mapping that ends behind `last` and is in the range, which is claimed. */
static struct mapping *next_in(struct space *space, struct range where, uint64_t last)
{
	struct index_cursor there;

	if (last >= where.last)
		return NULL;
	where.first = last + 1;
	return index_meets(&space->table.iova, where, &there) ? there.item : NULL;
}

/* One mapping per ioctl: behind an error for several nobody could tell which are gone. */
int map_remove(struct space *space, struct range where, bool none_is_fine, uint64_t patience,
	       struct vfd_error *err)
{
	struct range_claim claim;
	struct mapping *m;
	uint64_t deadline = patience ? now_ns() + min_u64(patience, INT64_MAX) : 0;

	space_lock(space);
	range_claim(&space->queue, &space->mutex, &claim, recorders_reach(space, where));
	int rc = check_whole(space, where, none_is_fine, &m, err);
	if (!rc && !patience)
		rc = check_pins(space, where, err);
	while (!rc && m) {
		uint64_t last = m->where.last;
		rc = unmap_one(space, m, deadline, err);
		m = rc ? NULL : next_in(space, where, last);
	}
	range_release(&space->queue, &claim);
	space_unlock(space);
	return rc;
}
