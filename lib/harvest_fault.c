/* SPDX-License-Identifier: MIT */

/* When the kernel refuses: what it may have done with the bits, and what is owed for it. */

#include "harvest.h"

#include <errno.h>
#include <inttypes.h>

static const char *get_name(const struct harvest *h)
{
	return h->space->backend.ops->get_name;
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

static void lost(struct harvest *h, enum record_fault fault)
{
	enum vfd_reason why = fault == RECORD_PAGE_SIZE ? VFD_WHY_PAGE_SIZE : VFD_WHY_STATE_LOST;

	harvest_assumed(h->result, why, space_lost(h->space, why, fault == RECORD_GONE));
	keep_first(h,
		   fail(err_of(h), VFD_ELOST, get_name(h),
			"%s; all that was mapped writable is assumed dirty",
			fault == RECORD_GONE ? "the kernel took the last group away, and the record with it"
			: fault == RECORD_PAGE_SIZE
				? "the IOMMU page size changed under the record"
				: "another holder of the container's descriptor stopped tracking"));
}

/* What GET_BITMAP did with the bits is unknown, so they are dirty: of mappings that are shifted against `base`, or of all. */
static void assume_span(struct harvest *h, struct range where, bool shifted_only, int rc)
{
	uint64_t sum = 0;
	struct mapping_walk walk = mapping_walk(h->space, where);
	uint64_t aligned = 64 * h->space->backend.page_size;

	for (struct mapping *m; (m = mapping_walk_next(&walk));) {
		if (!mapping_tracked(m) ||
		    (shifted_only && is_aligned(m->where.first - where.first, aligned)))
			continue;
		uint64_t pages = space_assume(h->space, m, VFD_WHY_HARVEST_FAILED);
		harvest_assumed(h->result, VFD_WHY_HARVEST_FAILED, pages);
		sum += pages;
		m->spoiled = true;
		h->replan = true;
	}
	space_tell_assumed(h->space, VFD_WHY_HARVEST_FAILED, where, sum, rc);
}

static void span_failed(struct harvest *h, struct range span, int rc, bool asked)
{
	if (asked)
		assume_span(h, span, rc == -EFAULT && h->space->backend.ops->shifts, rc);
	keep_first(
		h,
		fail_sys_range(
			err_of(h), -rc, get_name(h), span.first, span.last,
			"harvesting IOVA %#" PRIx64 "..%#" PRIx64
			" failed; what arrived is in the log, the rest is still with the kernel: call again",
			span.first, span.last));
}

static void get_alone(struct harvest *h, struct range where)
{
	struct span alone = { .where = where };
	bool asked;
	int rc = harvest_get(h, &alone, &asked);

	if (rc == -EINVAL) {
		assume_span(h, where, false, rc);
		keep_first(h, fail_range(err_of(h), VFD_ECUT, get_name(h), where.first, where.last,
					 "the kernel has a mapping across the edge of IOVA %#" PRIx64
					 "..%#" PRIx64 " that was not declared",
					 where.first, where.last));
	} else if (rc) {
		span_failed(h, where, rc, asked);
	}
}

/* EINVAL while all is well: one of the span's mappings is not as the kernel has it. Ask for each alone. */
static void get_each(struct harvest *h, struct range where)
{
	struct mapping_walk walk = mapping_walk(h->space, where);

	message(&h->space->messages, VFD_LEVEL_WARNING,
		(struct note){ .kind = VFD_MSG_FALLBACK, .rc = -EINVAL, .where = where },
		"the kernel refused to report IOVA %#" PRIx64 "..%#" PRIx64
		", with its record alive: each mapping is asked for alone",
		where.first, where.last);
	for (const struct mapping *m; (m = mapping_walk_next(&walk));)
		get_alone(h, m->where);
}

void harvest_span(struct harvest *h, struct span *span)
{
	bool asked;
	int rc = harvest_get(h, span, &asked);

	if (rc == -EINVAL) {
		enum record_fault fault = space_diagnose(h->space);
		if (fault == RECORD_ALIVE)
			get_each(h, span->where);
		else
			lost(h, fault);
	} else if (rc) {
		span_failed(h, span->where, rc, asked);
	}
}
