/* SPDX-License-Identifier: MIT */

/* The public calls that owe pages: arguments, then the inbox or log_merge.c. */

#include <inttypes.h>

#include "log_internal.h"
#include "options.h"

/* ---- marks ---- */

static int fail_hole(struct range hole, const char *operation, struct vfd_error *err)
{
	return fail_range(err, VFD_ENOREGION, operation, hole.first, hole.last,
			  "log addresses 0x%" PRIx64 "..0x%" PRIx64 " lie in no region: nothing was marked",
			  hole.first, hole.last);
}

/* Up to a chunk of pages: no lock, and memory for the inbox only where they are. More go to the planes at once. */
static void mark_inboxes(struct vfd_log *log, struct range where)
{
	struct cursor c = cursor_over(log, where);

	while (cursor_next(&c)) {
		struct summed inbox = inbox_of(log, c.region);
		inbox_mark(&inbox, c.bits.first, c.bits.last);
	}
}

static int mark_checked(struct vfd_log *log, uint64_t address, uint64_t size, struct vfd_error *err)
{
	static const struct log_source caller = { .provenance = VFD_SOFTWARE, .who = "caller" };
	struct range where, hole;
	struct merging m;

	if (!size)
		return fail(err, VFD_EINVALID, "vfd_log_mark", "size is 0");
	if (!range_make(&where, address, size))
		return fail(err, VFD_EWRAP, "vfd_log_mark",
			    "0x%" PRIx64 " bytes from 0x%" PRIx64 " wrap around", size, address);
	if (first_hole(log, where, &hole))
		return fail_hole(hole, "vfd_log_mark", err);
	if (range_size(where) <= log->page_size * CHUNK_WORDS * WORD_BITS) {
		mark_inboxes(log, where);
		return 0;
	}
	merging_begin(&m, log, log->live, &caller);
	merging_range(&m, where);
	merging_end(&m, &caller);
	return 0;
}

int vfd_log_mark(struct vfd_log *log, uint64_t address, uint64_t size, struct vfd_error *err)
{
	int ret = log_enter(log, "vfd_log_mark", err);

	if (ret)
		return ret;
	ret = mark_checked(log, address, size, err);
	log_leave(log);
	return ret;
}

int vfd_mark_initial(struct vfd_consumer *consumer, struct vfd_error *err)
{
	static const struct log_source initial = { .provenance = VFD_INITIAL, .who = "initial" };
	struct merging m;
	int ret = consumer_enter(consumer, "vfd_mark_initial", err);

	if (ret)
		return ret;
	merging_begin(&m, consumer->log, UINT32_C(1) << consumer->index, &initial);
	merging_range(&m, RANGE_ALL);
	merging_end(&m, &initial);
	log_leave(consumer->log);
	return 0;
}

/* ---- someone else's bitmap ---- */

static int check_bitmap(const struct vfd_bitmap *b, struct vfd_error *err)
{
	const char *op = "vfd_log_merge";
	uint64_t size;
	struct range all;

	if (b->provenance != VFD_REPORTED && b->provenance != VFD_SOFTWARE)
		return fail(err, VFD_EINVALID, op,
			    "provenance %" PRIu32 " is neither VFD_REPORTED nor VFD_SOFTWARE", b->provenance);
	if (!is_power_of_two(b->page_size))
		return fail(err, VFD_EINVALID, op, "page_size %" PRIu64 " is not a power of two",
			    b->page_size);
	if (!b->bits)
		return fail(err, VFD_EINVALID, op, "bits is 0");
	if (!b->words)
		return fail_null("words", op, err);
	if (!is_aligned(b->address, b->page_size))
		return fail(err, VFD_EALIGN, op,
			    "address 0x%" PRIx64 " is not a multiple of page_size, %" PRIu64, b->address,
			    b->page_size);
	if (__builtin_mul_overflow(b->bits, b->page_size, &size) || !range_make(&all, b->address, size))
		return fail(err, VFD_EWRAP, op,
			    "%" PRIu64 " bits of %" PRIu64 " bytes from 0x%" PRIx64 " wrap around", b->bits,
			    b->page_size, b->address);
	return 0;
}

/* All set bits lie in regions: look only at those that stand for addresses in holes. */
static int check_holes(const struct vfd_log *log, const struct log_bits *b, struct vfd_error *err)
{
	struct range rest = bits_range(b, 0, b->bits - 1), hole;
	uint64_t found;

	while (first_hole(log, rest, &hole)) {
		uint64_t first = (hole.first - b->address) / b->granularity;
		uint64_t last = (hole.last - b->address) / b->granularity;
		if (bitmap_next(b->words, first, last, &found))
			return fail_hole(bits_range(b, found, found), "vfd_log_merge", err);
		if (hole.last >= rest.last)
			return 0;
		rest.first = hole.last + 1;
	}
	return 0;
}

static int merge_checked(struct vfd_log *log, const struct vfd_bitmap *bitmap, uint64_t *pages_new,
			 struct vfd_error *err)
{
	struct vfd_bitmap v;
	struct merging m;
	int ret = copy_options(&v, sizeof(v), offsetof(struct vfd_bitmap, who) + sizeof(v.who), bitmap,
			       "struct vfd_bitmap", err);

	if (ret || (ret = check_bitmap(&v, err)))
		return ret;
	struct log_bits bits = {
		.address = v.address, .granularity = v.page_size, .words = v.words, .bits = v.bits
	};
	struct log_source source = {
		.provenance = v.provenance,
		.granularity = v.page_size,
		.who = v.who ? v.who : "caller",
	};
	if ((ret = check_holes(log, &bits, err)))
		return ret;
	merging_begin(&m, log, log->live, &source);
	merging_bits(&m, &bits);
	merging_end(&m, &source);
	if (pages_new)
		*pages_new = m.fresh;
	return 0;
}

int vfd_log_merge(struct vfd_log *log, const struct vfd_bitmap *bitmap, uint64_t *pages_new,
		  struct vfd_error *err)
{
	int ret = log_enter(log, "vfd_log_merge", err);

	if (ret)
		return ret;
	ret = merge_checked(log, bitmap, pages_new, err);
	log_leave(log);
	return ret;
}
