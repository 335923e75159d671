/* SPDX-License-Identifier: MIT */
#ifndef LIB_PLAN_H
#define LIB_PLAN_H

/* The harvest planner: which ranges to ask the kernel for, one GET_BITMAP each, and where in the log their bits belong.
 *
 * A *span* is what one call asks for. It covers whole mappings and the holes between them; those cost the kernel nothing, and scratch
 * that stands for them is never touched. It ends where the bitmap reaches the container's limit. Only in an adopted container, whose
 * holes may not be holes, it goes from mapping to adjoining mapping, and where a 32-bit kernel is feared it is one mapping.
 *
 * Each call walks the kernel's whole tree of mappings, so calls times mappings is what a harvest costs there. While that stays small
 * the plan is *exact*: only mappings at a multiple of 64 pages from the span's start are asked for together. Else it is *clubbed*:
 * whatever comes next joins. The kernel shifts the bitmap of a mapping at any other place, in place, which has two consequences:
 *
 * - When the call fails at such a mapping, its record is spoiled (trap 15). Which one it was nobody can tell: after a fault all shifted
 *   mappings of the span are assumed dirty.
 * - Bits stay behind a mapping's end, and the next shifted read moves them on, into whatever mapping shares a bitmap word with that end
 *   (trap 17). They cannot be told from real ones: such a mapping's bits are labelled "type1, unaligned". Elsewhere they are masked.
 *
 * Both are rarer when fewer mappings are shifted and fewer words are shared: a clubbed span starts at a multiple of 64 pages, in
 * the hole before its first mapping, if there is one, so that aligned mappings stay aligned in company.
 *
 * A *segment* is a run of mappings contiguous in IOVA and in log addresses: a harvest does nothing per mapping. Spans and segments
 * are kept from round to round; map and unmap drop those that they meet, and the two neighbours, with which they may now join. */

#include <stdbool.h>
#include <stddef.h>

#include "table.h"

struct space;

enum segment_kind {
	SEGMENT_REPORTED,  /* the kernel's bits are what was written */
	SEGMENT_UNALIGNED, /* some may be the ghosts of bits of a mapping before */
	SEGMENT_SPOILED,   /* some may be wrong, for a fault shifted the record; assumed when that was */
	SEGMENT_UNTRACKED, /* nobody wants to know, but the kernel writes them */
};

struct segment {
	uint32_t bit, bits; /* in the span's bitmap */
	uint64_t log_address;
	uint32_t kind;
};

struct span {
	struct range where;   /* to ask for: a hole may come before the first mapping, none after the last */
	uint64_t first_start; /* of the first mapping */
	uint64_t last_start;  /* of the last mapping */
	struct segment *segments; /* NULL: there was no memory for them */
	size_t count;
	uint64_t populated; /* serial of the scratch that is populated for it; 0: none */
	bool kept;	    /* in the plan */
	bool used;	    /* by a harvest, which frees it if it is not kept any more */
	bool own;	    /* from the heap; else the caller's spare */
};

/* What all spans depend on. */
struct plan_rule {
	uint64_t page;	  /* bytes per bit */
	uint64_t longest; /* bytes that one bitmap can stand for */
	bool clubbed;
	bool alone;	/* one mapping each */
	bool adjoining; /* no holes: it is not known what is there, or the kernel stops at them */
};

struct plan {
	struct plan_rule rule; /* of the spans below */
	struct span **spans;   /* ascending; they do not meet */
	size_t count, capacity;
};

/* Mappings in the range came or went. Its claim is held, and the space's mutex. */
void plan_touch(struct plan *plan, struct range where);
/* Forget everything. The space's mutex held. */
void plan_clear(struct plan *plan);

/* What to claim before a span can be taken. */
struct plan_window {
	struct range where;
	bool kept; /* a span that was planned before */
};

/* For the first of the mappings that start in `wanted` and end at or after cursor, which is not before wanted.first. False: none. */
bool plan_next(struct space *space, struct range wanted, uint64_t cursor, struct plan_window *window);

/* The span to ask for in a claimed window; plan_done() when it was. NULL: things changed before it was claimed: plan_next() again.
 * spare serves when there is no memory. */
struct span *plan_take(struct space *space, struct range wanted, const struct plan_window *window,
		       struct span *spare);
/* drop: plan it anew next time. */
void plan_done(struct space *space, struct span *span, bool drop);

/* The end of the last mapping that starts in `wanted`, or of `wanted` if none reaches beyond. Table entered, or the mutex held. */
uint64_t plan_wanted_end(const struct table *table, struct range wanted);

/* ---- plan_span.c ---- */

struct plan_rule plan_rule(struct space *space);

/* The mappings of a range, some at a time, so that the table's gate is not held for long. The range is claimed: they stay. */
struct mapping_walk {
	struct space *space;
	struct range rest;
	bool cut; /* also one that ends behind it */
	struct mapping *batch[64];
	unsigned at, count;
};

struct mapping_walk mapping_walk(struct space *space, struct range where);
struct mapping *mapping_walk_next(struct mapping_walk *walk);

/* The kernel is about to be asked for these mappings: see log.h. */
struct log_intent space_intent(struct space *space, struct range where);

/* How far a span of this rule goes that starts in a claimed window; false: no mapping is in it. */
bool span_measure(struct space *space, const struct plan_rule *rule, struct range window, struct span *span);

/* Fill in the segments. False: no memory; nothing is filled in. */
bool span_cut(struct space *space, uint64_t page, struct span *span);

/* The segments of a span: those it keeps, or found again from the table. */
struct segments {
	const struct segment *kept, *end;
	struct mapping_walk walk; /* valid if nothing is kept */
	struct range where;
	uint64_t page;
	bool more; /* piece is valid: the next mapping, which begins the next segment */
	struct segment piece;
	uint64_t before; /* the word of the piece's last bit; UINT64_MAX: there was none yet */
};

void segments_of(struct space *space, uint64_t page, const struct span *span, struct segments *out);
bool segments_found(struct segments *s, struct segment *out);

static inline bool segments_next(struct segments *s, struct segment *out)
{
	if (!s->kept)
		return segments_found(s, out);
	if (s->kept == s->end)
		return false;
	*out = *s->kept++;
	return true;
}

#endif
