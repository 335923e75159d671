/* SPDX-License-Identifier: MIT */
#include "track.h"

#include <errno.h>
#include <inttypes.h>
#include <time.h>

#include "plan.h"

static const char *const get_op = "VFIO_IOMMU_DIRTY_PAGES GET_BITMAP";

struct harvest {
	struct space *space;
	struct vfd_harvest *result;
	struct vfd_error *err;
	int rc; /* the first failure */
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void add_assumed(struct vfd_harvest *result, enum vfd_reason why, uint64_t pages)
{
	result->pages_new += pages;
	result->pages_assumed += pages;
	result->assumed[why] += pages;
}

/* Bits of one mapping, masked to its length: the kernel's words may hold strays beyond. */
static void merge(struct harvest *h, const struct mapping *m, struct range span, const uint64_t *words)
{
	uint64_t page = h->space->type1.page_size;
	struct log_bits bits = {
		.address = m->log_address,
		.granularity = page,
		.words = words,
		.first_bit = (m->where.first - span.first) / page,
		.bits = range_size(m->where) / page,
	};
	struct log_source source = { .provenance = VFD_REPORTED, .granularity = page, .who = "type1" };
	uint64_t pages = log_merge(h->space->log, &bits, &source);

	h->result->pages_new += pages;
	h->result->pages_reported += pages;
}

/* The next mapping of the span; it cannot go away while the span is claimed. */
static const struct mapping *next_mapping(struct space *space, uint64_t cursor, struct range span)
{
	struct range rest = { cursor, span.last };
	struct index_cursor there;

	table_enter(&space->table);
	bool found = cursor <= span.last && index_meets(&space->table.iova, rest, &there);
	const struct mapping *m = found ? there.item : NULL;
	table_leave(&space->table);
	return m;
}

static void merge_span(struct harvest *h, struct range span, const uint64_t *words)
{
	const struct mapping *m;

	for (uint64_t at = span.first; (m = next_mapping(h->space, at, span)); at = m->where.last + 1)
		if (mapping_tracked(m))
			merge(h, m, span, words);
}

/* One GET_BITMAP. Merged on failure too: what was delivered is cleared in the kernel. */
static int get_span(struct harvest *h, struct range span)
{
	struct scratch scratch;
	uint64_t bytes = type1_bitmap_bytes(&h->space->type1, span);
	int rc = scratch_get(&h->space->scratch, bytes, &scratch);

	if (rc)
		return rc;
	rc = type1_get(&h->space->type1, span, scratch.words);
	h->result->ioctls++;
	h->result->bytes += rc ? 0 : bytes;
	merge_span(h, span, scratch.words);
	scratch_put(&h->space->scratch, scratch);
	return rc;
}

static void keep_first(struct harvest *h, int rc)
{
	if (!h->rc)
		h->rc = rc;
}

/* Only the first failure is told: later ones must not overwrite its text. */
static struct vfd_error *err_of(struct harvest *h)
{
	return h->rc ? NULL : h->err;
}

static void lost(struct harvest *h, enum type1_fault fault)
{
	enum vfd_reason why = fault == TYPE1_PAGE_SIZE ? VFD_WHY_PAGE_SIZE : VFD_WHY_STATE_LOST;

	add_assumed(h->result, why, space_lost(h->space, why, fault == TYPE1_GONE));
	keep_first(h, fail(err_of(h), VFD_ELOST, get_op, "%s; all that was mapped writable is assumed dirty",
			   fault == TYPE1_GONE ? "the kernel took the last group away, and the record with it"
			   : fault == TYPE1_PAGE_SIZE
				   ? "the IOMMU page size changed under the record"
				   : "another holder of the container's descriptor stopped tracking"));
}

/* Errors that GET_BITMAP is not known for: what it did with the bits is unknown, so they are dirty. */
static void assume_span(struct harvest *h, struct range span)
{
	const struct mapping *m;

	for (uint64_t at = span.first; (m = next_mapping(h->space, at, span)); at = m->where.last + 1)
		if (mapping_tracked(m))
			add_assumed(h->result, VFD_WHY_HARVEST_FAILED,
				    space_assume(h->space, m, VFD_WHY_HARVEST_FAILED));
}

static void span_failed(struct harvest *h, struct range span, int rc)
{
	if (rc != -EFAULT && rc != -EINVAL && rc != -ENOMEM)
		assume_span(h, span);
	keep_first(
		h,
		fail_sys_range(
			err_of(h), -rc, get_op, span.first, span.last,
			"harvesting IOVA %#" PRIx64 "..%#" PRIx64
			" failed; what arrived is in the log, the rest is still with the kernel: call again",
			span.first, span.last));
}

static void get_alone(struct harvest *h, const struct mapping *m)
{
	int rc = get_span(h, m->where);

	if (rc == -EINVAL) {
		assume_span(h, m->where);
		keep_first(h, fail_range(err_of(h), VFD_ECUT, get_op, m->where.first, m->where.last,
					 "the kernel has a mapping across the edge of IOVA %#" PRIx64
					 "..%#" PRIx64 " that was not declared",
					 m->where.first, m->where.last));
	} else if (rc) {
		span_failed(h, m->where, rc);
	}
}

/* EINVAL while all is well: one of the span's mappings is not as the kernel has it. Ask for each alone. */
static void get_each(struct harvest *h, struct range span)
{
	const struct mapping *m;

	for (uint64_t at = span.first; (m = next_mapping(h->space, at, span)); at = m->where.last + 1)
		get_alone(h, m);
}

static void harvest_span(struct harvest *h, struct range span)
{
	int rc = get_span(h, span);

	if (rc == -EINVAL) {
		enum type1_fault fault = space_diagnose(h->space);
		if (fault == TYPE1_ALIVE)
			get_each(h, span);
		else
			lost(h, fault);
	} else if (rc) {
		span_failed(h, span, rc);
	}
}

/* Span by span; calls that map or unmap elsewhere go on meanwhile. */
static void harvest_record(struct harvest *h)
{
	struct range window, span;

	for (uint64_t cursor = 0; h->space->started && plan_window(h->space, cursor, &window);) {
		struct range_claim claim;
		range_claim(&h->space->queue, &claim, window);
		bool found = plan_span(h->space, window, &span);
		if (found) {
			range_narrow(&h->space->queue, &claim, span);
			harvest_span(h, span);
		}
		range_release(&h->space->queue, &claim);
		cursor = found ? span.last + 1 : window.first + 1;
	}
}

static void pay(struct space *space, struct mapping *m, void *arg)
{
	enum vfd_reason why = space_owes_all(space, m);

	if (why)
		add_assumed(arg, why, space_assume(space, m, why));
	m->owed = VFD_WHY_NONE;
}

struct moment {
	uint64_t epoch;
	unsigned writers;
};

static struct moment look(struct space *space)
{
	pthread_mutex_lock(&space->mutex);
	struct moment moment = { space->epoch, space->writers };
	pthread_mutex_unlock(&space->mutex);
	return moment;
}

/* Everything was collected after the last writer had stopped, if there was none at the beginning and none came since. */
static void settle(struct space *space, struct moment before)
{
	pthread_mutex_lock(&space->mutex);
	if (!before.writers && !space->writers && before.epoch == space->epoch)
		space->drained_at = space->epoch;
	pthread_mutex_unlock(&space->mutex);
}

/* A group that cannot report makes every answer "everything": then the kernel is not asked. */
int track_harvest(struct space *space, unsigned flags, struct vfd_harvest *result, struct vfd_error *err)
{
	struct harvest h = { .space = space, .result = result, .err = err };
	uint64_t began = now_ns();
	struct moment before = look(space);

	if (space->attached && !space->physical)
		harvest_record(&h);
	if (flags & VFD_HARVEST_FINAL)
		space_each_tracked(space, pay, result);
	result->deferred_bytes = flags & VFD_HARVEST_FINAL ? 0 : space_deferred_bytes(space);
	if ((!h.rc || h.rc == VFD_ELOST) && !result->deferred_bytes)
		settle(space, before);
	result->drained = space_clean(space);
	result->nanoseconds = now_ns() - began;
	return h.rc;
}

/* A lost record is assumed dirty already, and asking again would not bring it back: go on. */
int track_collect(struct space *space, unsigned flags, struct vfd_error *err)
{
	struct vfd_harvest ignored = { 0 };
	int rc = space->tracking ? track_harvest(space, flags, &ignored, err) : 0;

	return rc == VFD_ELOST ? 0 : rc;
}
