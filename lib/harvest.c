/* SPDX-License-Identifier: MIT */
#include "track.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "bitmap.h"
#include "pin.h"

static const char *const get_op = "VFIO_IOMMU_DIRTY_PAGES GET_BITMAP";

struct harvest {
	struct space *space;
	struct range wanted; /* the mappings that start here */
	struct vfd_harvest *result;
	struct vfd_error *err;
	int rc;	     /* the first failure */
	bool replan; /* the span: what may be wrong in it has changed */
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

/* ---- one span ---- */

static uint64_t page_of(const struct harvest *h)
{
	return h->space->type1.page_size;
}

static uint64_t first_word(const struct segment *s)
{
	return s->bit / WORD_BITS;
}

static uint64_t last_word(const struct segment *s)
{
	return ((uint64_t)s->bit + s->bits - 1) / WORD_BITS;
}

/* Let the kernel write where it will, and nowhere else: in one go for each run of pages. */
static int populate(struct harvest *h, struct span *span, struct scratch scratch)
{
	uint64_t page = sys_page_size() / sizeof *scratch.words, from = 0, to = 0;
	struct segment s;
	struct segments all;
	bool any = false;
	int rc = 0;

	if (span->populated == scratch.serial)
		return 0;
	segments_of(h->space, page_of(h), span, &all);
	while (!rc && segments_next(&all, &s)) {
		if (any && first_word(&s) / page > to / page + 1) {
			rc = scratch_populate(&h->space->scratch, scratch, from, to);
			any = false;
		}
		from = any ? from : first_word(&s);
		to = last_word(&s);
		any = true;
	}
	if (!rc && any)
		rc = scratch_populate(&h->space->scratch, scratch, from, to);
	span->populated = rc ? 0 : scratch.serial;
	return rc;
}

static struct log_source source_of(const struct harvest *h, uint32_t kind)
{
	struct log_source source = { .provenance = VFD_REPORTED, .granularity = page_of(h), .who = "type1" };

	if (kind == SEGMENT_UNALIGNED)
		source.who = "type1, unaligned";
	if (kind == SEGMENT_SPOILED) {
		source.provenance = VFD_ASSUMED;
		source.reason = VFD_WHY_HARVEST_FAILED;
	}
	return source;
}

/* On the way to the log, several at a time: what each call to it costs is paid once. */
struct parcel {
	uint32_t kind; /* of all of them */
	size_t count;
	struct log_bits bits[64];
};

static void send(struct harvest *h, struct parcel *parcel)
{
	struct log_source source = source_of(h, parcel->kind);
	uint64_t pages = log_merge_many(h->space->log, parcel->bits, parcel->count, &source);

	parcel->count = 0;
	if (parcel->kind == SEGMENT_SPOILED) {
		add_assumed(h->result, VFD_WHY_HARVEST_FAILED, pages);
	} else {
		h->result->pages_new += pages;
		h->result->pages_reported += pages;
	}
}

/* Bits first..end - 1 of the span's bitmap, which lie in the segment: never more, for the kernel's words may hold strays beyond. */
static void add_bits(struct harvest *h, struct parcel *parcel, const struct segment *s, uint64_t *words,
		     uint64_t first, uint64_t end)
{
	if (parcel->count && (parcel->kind != s->kind || parcel->count == 64))
		send(h, parcel);
	parcel->kind = s->kind;
	parcel->bits[parcel->count++] = (struct log_bits){
		.address = s->log_address + (first - s->bit) * page_of(h),
		.granularity = page_of(h),
		.words = words,
		.scratch = words,
		.first_bit = first,
		.bits = end - first,
	};
}

static bool any_set(const uint64_t *words, uint64_t from, uint64_t to)
{
	uint64_t any = 0;

	if (to - from == 8) {
		const uint64_t *w = &words[from];
		return w[0] | w[1] | w[2] | w[3] | w[4] | w[5] | w[6] | w[7];
	}
	while (from < to)
		any |= words[from++];
	return any;
}

/* A long segment: where the kernel said something, eight words at a time. */
static void merge_long(struct harvest *h, struct parcel *parcel, const struct segment *s, uint64_t *words)
{
	uint64_t end = (uint64_t)s->bit + s->bits, words_end = last_word(s) + 1, from = 0;
	bool open = false;

	for (uint64_t w = first_word(s), next; w < words_end; w = next) {
		next = min_u64(w / 8 * 8 + 8, words_end);
		bool any = any_set(words, w, next);
		if (any && !open)
			from = max_u64(w * WORD_BITS, s->bit);
		else if (!any && open)
			add_bits(h, parcel, s, words, from, w * WORD_BITS);
		open = any;
	}
	if (open)
		add_bits(h, parcel, s, words, from, end);
}

static void merge(struct harvest *h, struct parcel *parcel, const struct segment *s, uint64_t *words)
{
	uint64_t first = first_word(s), mask = word_mask(first, s->bit, (uint64_t)s->bit + s->bits - 1);

	if (s->kind == SEGMENT_UNTRACKED)
		return;
	if (first != last_word(s))
		merge_long(h, parcel, s, words);
	else if (words[first] & mask) /* most say nothing, and the log need not know */
		add_bits(h, parcel, s, words, s->bit, (uint64_t)s->bit + s->bits);
}

/* The log has cleared the words that it had to itself. The others may be a neighbour's too: not before that is merged. */
static void wipe(const struct segment *s, uint64_t *words)
{
	uint64_t first = first_word(s), last = last_word(s);

	if (s->kind == SEGMENT_UNTRACKED)
		memset(words + first, 0, (size_t)(last - first + 1) * sizeof *words);
	words[first] = 0;
	words[last] = 0;
}

/* All that arrived, from scratch to the log. Returns whether some of it may be wrong. */
static bool merge_span(struct harvest *h, const struct span *span, uint64_t *words)
{
	struct segments all;
	struct segment s;
	struct parcel parcel;
	bool spoiled = false;

	parcel.count = 0;
	segments_of(h->space, page_of(h), span, &all);
	while (segments_next(&all, &s)) {
		merge(h, &parcel, &s, words);
		spoiled |= s.kind == SEGMENT_SPOILED;
	}
	if (parcel.count)
		send(h, &parcel);
	segments_of(h->space, page_of(h), span, &all);
	while (segments_next(&all, &s))
		wipe(&s, words);
	return spoiled;
}

/* What a fault spoiled was read, and cleared in the kernel. */
static void trust_again(struct harvest *h, struct range where)
{
	struct mapping_walk walk = mapping_walk(h->space, where);

	for (struct mapping *m; (m = mapping_walk_next(&walk));)
		m->spoiled = false;
	h->replan = true;
}

/* One GET_BITMAP. Merged on failure too: what was delivered is cleared in the kernel. *asked: the failure is the kernel's. */
static int get_span(struct harvest *h, struct span *span, bool *asked)
{
	uint64_t bytes = type1_bitmap_bytes(&h->space->type1, span->where);
	struct scratch scratch;
	int rc = scratch_get(&h->space->scratch, bytes, &scratch);

	*asked = false;
	if (rc)
		return rc;
	rc = populate(h, span, scratch);
	if (!rc) {
		*asked = true;
		rc = type1_get(&h->space->type1, span->where, scratch.words);
		h->result->ioctls++;
		h->result->bytes += rc ? 0 : bytes;
		bool spoiled = merge_span(h, span, scratch.words);
		if (!rc && spoiled)
			trust_again(h, span->where);
	}
	scratch_put(&h->space->scratch, scratch);
	return rc;
}

/* ---- failures ---- */

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

/* What GET_BITMAP did with the bits is unknown, so they are dirty: of mappings that are shifted against `base`, or of all. */
static void assume_span(struct harvest *h, struct range where, bool shifted_only)
{
	struct mapping_walk walk = mapping_walk(h->space, where);
	uint64_t aligned = 64 * page_of(h);

	for (struct mapping *m; (m = mapping_walk_next(&walk));) {
		if (!mapping_tracked(m) ||
		    (shifted_only && is_aligned(m->where.first - where.first, aligned)))
			continue;
		add_assumed(h->result, VFD_WHY_HARVEST_FAILED,
			    space_assume(h->space, m, VFD_WHY_HARVEST_FAILED));
		m->spoiled = true;
		h->replan = true;
	}
}

static void span_failed(struct harvest *h, struct range span, int rc, bool asked)
{
	if (asked)
		assume_span(h, span, rc == -EFAULT);
	keep_first(
		h,
		fail_sys_range(
			err_of(h), -rc, get_op, span.first, span.last,
			"harvesting IOVA %#" PRIx64 "..%#" PRIx64
			" failed; what arrived is in the log, the rest is still with the kernel: call again",
			span.first, span.last));
}

static void get_alone(struct harvest *h, struct range where)
{
	struct span alone = { .where = where };
	bool asked;
	int rc = get_span(h, &alone, &asked);

	if (rc == -EINVAL) {
		assume_span(h, where, false);
		keep_first(h, fail_range(err_of(h), VFD_ECUT, get_op, where.first, where.last,
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

	for (const struct mapping *m; (m = mapping_walk_next(&walk));)
		get_alone(h, m->where);
}

static void harvest_span(struct harvest *h, struct span *span)
{
	bool asked;
	int rc = get_span(h, span, &asked);

	if (rc == -EINVAL) {
		enum type1_fault fault = space_diagnose(h->space);
		if (fault == TYPE1_ALIVE)
			get_each(h, span->where);
		else
			lost(h, fault);
	} else if (rc) {
		span_failed(h, span->where, rc, asked);
	}
}

/* ---- all of them ---- */

/* In a claimed window. Returns where to go on. */
static uint64_t harvest_window(struct harvest *h, const struct plan_window *window, uint64_t cursor,
			       struct range_claim *claim)
{
	struct span spare, *span = plan_take(h->space, h->wanted, window, &spare);

	if (!span)
		return cursor;
	range_narrow(&h->space->queue, claim, span->where);
	uint64_t next = span->where.last + 1;
	h->replan = false;
	harvest_span(h, span);
	plan_done(&h->space->plan, span, h->replan);
	return next;
}

/* Span by span; calls that map or unmap elsewhere go on meanwhile. */
static void harvest_record(struct harvest *h)
{
	struct plan_window window;
	uint64_t cursor = h->wanted.first;

	while (h->space->started && plan_next(h->space, h->wanted, cursor, &window)) {
		struct range_claim claim;
		range_claim(&h->space->queue, &claim, window.where);
		cursor = harvest_window(h, &window, cursor, &claim);
		range_release(&h->space->queue, &claim);
	}
}

/* A group that cannot report makes every answer "everything": then the kernel is not asked. */
static void harvest(struct harvest *h)
{
	pins_mark(h->space);
	if (h->space->attached && !h->space->physical)
		harvest_record(h);
}

static void pay(struct space *space, struct vfd_harvest *result)
{
	uint64_t pages[sizeof result->assumed / sizeof result->assumed[0]] = { 0 };

	space_pay(space, pages);
	for (unsigned why = VFD_WHY_NONE; why < sizeof pages / sizeof pages[0]; why++)
		add_assumed(result, (enum vfd_reason)why, pages[why]);
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

int track_harvest(struct space *space, unsigned flags, struct vfd_harvest *result, struct vfd_error *err)
{
	struct harvest h = { .space = space, .wanted = RANGE_ALL, .result = result, .err = err };
	uint64_t began = now_ns();
	struct moment before = look(space);

	harvest(&h);
	if (flags & VFD_HARVEST_FINAL) {
		pay(space, result);
		scratch_pool_trim(&space->scratch);
	}
	result->deferred_bytes = flags & VFD_HARVEST_FINAL ? 0 : space_deferred_bytes(space);
	if ((!h.rc || h.rc == VFD_ELOST) && !result->deferred_bytes)
		settle(space, before);
	result->drained = space_clean(space);
	result->nanoseconds = now_ns() - began;
	return h.rc;
}

int track_harvest_range(struct space *space, struct range wanted, struct vfd_harvest *result,
			struct vfd_error *err)
{
	struct harvest h = { .space = space, .wanted = wanted, .result = result, .err = err };
	uint64_t began = now_ns();

	harvest(&h);
	result->deferred_bytes = space_deferred_bytes(space);
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
