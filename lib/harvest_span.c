/* SPDX-License-Identifier: MIT */

/* One span: the kernel's answer on its way into the log. */

#include "harvest.h"

#include <string.h>

#include "bitmap.h"

static uint64_t page_of(const struct harvest *h)
{
	return h->space->backend.page_size;
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
	struct log_source source = { .provenance = VFD_REPORTED,
				     .granularity = page_of(h),
				     .who = h->space->backend.ops->who };

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
		harvest_assumed(h->result, VFD_WHY_HARVEST_FAILED, pages);
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

static void merge(struct harvest *h, struct parcel *parcel, const struct segment *s, uint64_t *words)
{
	uint64_t first = first_word(s), mask = word_mask(first, s->bit, (uint64_t)s->bit + s->bits - 1);

	if (s->kind == SEGMENT_UNTRACKED)
		return;
	if (first == last_word(s) && !(words[first] & mask))
		return; /* most single pages say nothing, and the log need not know */
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

int harvest_get(struct harvest *h, struct span *span, bool *asked)
{
	uint64_t bytes = backend_bitmap_bytes(&h->space->backend, span->where);
	struct scratch scratch;
	int rc = scratch_get(&h->space->scratch, bytes, &scratch);

	*asked = false;
	if (rc)
		return rc;
	rc = populate(h, span, scratch);
	if (!rc) {
		*asked = true;
		rc = backend_get(&h->space->backend, span->where, scratch.words);
		h->result->ioctls++;
		h->result->bytes += rc ? 0 : bytes;
		bool spoiled = merge_span(h, span, scratch.words);
		if (!rc && spoiled)
			trust_again(h, span->where);
	}
	scratch_put(&h->space->scratch, scratch);
	return rc;
}
