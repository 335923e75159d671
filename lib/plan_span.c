/* SPDX-License-Identifier: MIT */

/* How far a span goes, and the segments in it. */

#include <stdlib.h>

#include "bitmap.h"
#include "plan.h"
#include "space.h"

/* Steps of the kernel's walk through its mappings that one harvest may cost for the sake of an exact plan: a millisecond at most. */
#define CHEAP_STEPS 65536

/* The kernel takes no larger bitmap than 256 MiB, whatever the container says. */
#define MOST_BITS   (UINT64_C(1) << 31)

static uint64_t longest(const struct backend *backend)
{
	uint64_t limit = backend->caps.dirty_bitmap_limit, bytes;
	uint64_t bits = limit && limit < MOST_BITS / 8 ? limit * 8 : MOST_BITS;

	return __builtin_mul_overflow(bits, backend->page_size, &bytes) ? UINT64_MAX : bytes;
}

/* A mapping at an odd place ends one exact span and begins another: so many spans there can be. Each call walks all mappings. */
static bool exact_is_cheap(struct table *table, uint64_t page)
{
	table_enter(table);
	uint64_t spans = 1 + 2 * (uint64_t)table_odd(table, 64 * page), steps;
	bool cheap = !__builtin_mul_overflow(spans, table->iova.count, &steps) && steps <= CHEAP_STEPS;
	table_leave(table);
	return cheap;
}

struct plan_rule plan_rule(struct space *space)
{
	uint64_t page = space->backend.page_size;

	return (struct plan_rule){
		.page = page,
		.longest = longest(&space->backend),
		.clubbed = !space->backend.ops->shifts || !exact_is_cheap(&space->table, page),
		.alone = space->alone,
		.adjoining = space->adopted || !space->backend.ops->holes,
	};
}

/* ---- mappings ---- */

struct mapping_walk mapping_walk(struct space *space, struct range where)
{
	return (struct mapping_walk){ .space = space, .rest = where };
}

static bool refill(struct mapping_walk *walk)
{
	struct index_cursor at;

	walk->at = walk->count = 0;
	table_enter(&walk->space->table);
	bool more = walk->rest.first <= walk->rest.last &&
		    index_seek(&walk->space->table.iova, walk->rest.first, &at);
	for (; more && (walk->cut ? at.where.first : at.where.last) <= walk->rest.last && walk->count < 64;
	     more = index_next(&at))
		walk->batch[walk->count++] = at.item;
	table_leave(&walk->space->table);
	if (walk->count)
		walk->rest.first = walk->batch[walk->count - 1]->where.last + 1;
	return walk->count;
}

struct mapping *mapping_walk_next(struct mapping_walk *walk)
{
	return walk->at < walk->count || refill(walk) ? walk->batch[walk->at++] : NULL;
}

/* The hull of their log addresses: more than is asked for, if they are scattered there. */
struct log_intent space_intent(struct space *space, struct range where)
{
	struct range hull = { UINT64_MAX, 0 };

	if (!log_notes_intents(space->log))
		return (struct log_intent){ 0 };
	struct mapping_walk walk = { .space = space, .rest = where, .cut = true };
	for (const struct mapping *m; (m = mapping_walk_next(&walk));) {
		if (!mapping_tracked(m))
			continue;
		hull.first = min_u64(hull.first, mapping_log_range(m).first);
		hull.last = max_u64(hull.last, mapping_log_range(m).last);
	}
	if (hull.first > hull.last)
		return (struct log_intent){ 0 };
	return log_intent_begin(space->log, hull);
}

/* ---- measuring ---- */

static bool joins(const struct plan_rule *rule, const struct span *span, struct range next)
{
	if (rule->alone || (rule->adjoining && next.first != span->where.last + 1))
		return false;
	return rule->clubbed || is_aligned(next.first - span->where.first, 64 * rule->page);
}

/* The kernel may not have it any more, and tells nothing of what lies behind a hole. */
static bool may_be_hole(const struct plan_rule *rule, const struct mapping *m)
{
	return rule->adjoining && m->uncertain;
}

static uint64_t align_down(const struct plan_rule *rule, uint64_t address)
{
	return address & ~(64 * rule->page - 1);
}

/* Where one span can end and the next begin at a multiple of 64 pages. */
struct cut {
	uint64_t last, last_start;
	bool found;
};

static void extend(struct span *span, const struct plan_rule *rule, struct range next, struct cut *cut)
{
	if (align_down(rule, next.first) > span->where.last)
		*cut = (struct cut){ span->where.last, span->last_start, true };
	span->where.last = next.last;
	span->last_start = next.first;
}

/* Whether the next mapping's first page belongs to the word of bits that the span ends in. */
static bool ends_badly(struct space *space, const struct plan_rule *rule, const struct span *span)
{
	struct index_cursor at;

	table_enter(&space->table);
	bool more = index_seek(&space->table.iova, span->where.last + 1, &at);
	table_leave(&space->table);
	return more && align_down(rule, at.where.first) <= span->where.last;
}

/* Better a somewhat shorter span than a next one in which all are shifted. */
static void retreat(struct span *span, const struct plan_rule *rule, const struct cut *cut)
{
	if (!cut->found || cut->last - span->where.first < rule->longest / 2)
		return;
	span->where.last = cut->last;
	span->last_start = cut->last_start;
}

/* The first mapping of a claimed window: nothing else is mapped before it there. */
static void begin(struct span *span, const struct plan_rule *rule, struct range window, struct range mapping)
{
	uint64_t aligned = align_down(rule, mapping.first);
	bool round = rule->clubbed && !rule->alone && !rule->adjoining && aligned >= window.first;

	span->where = (struct range){ round ? aligned : mapping.first, mapping.last };
	span->first_start = span->last_start = mapping.first;
}

bool span_measure(struct space *space, const struct plan_rule *rule, struct range window, struct span *span)
{
	struct mapping_walk walk = mapping_walk(space, window);
	const struct mapping *m = mapping_walk_next(&walk);
	struct cut cut = { 0 };

	if (!m || m->where.first < window.first)
		return false;
	begin(span, rule, window, m->where);
	if (may_be_hole(rule, m))
		return true;
	while ((m = mapping_walk_next(&walk)) && !may_be_hole(rule, m) && joins(rule, span, m->where))
		extend(span, rule, m->where, &cut);
	if (!m && rule->clubbed && range_size(window) >= rule->longest && ends_badly(space, rule, span))
		retreat(span, rule, &cut);
	return true;
}

/* ---- cutting into segments ---- */

/* A mapping that shares its first word with the end of another gets what the kernel left behind that end. */
static enum segment_kind kind_of(const struct space *space, const struct mapping *m, uint64_t bit,
				 uint64_t before)
{
	if (!mapping_tracked(m))
		return SEGMENT_UNTRACKED;
	if (m->spoiled)
		return SEGMENT_SPOILED;
	return space->backend.ops->shifts && bit / WORD_BITS == before ? SEGMENT_UNALIGNED : SEGMENT_REPORTED;
}

/* To the next mapping, as a piece of a segment. */
static void advance(struct segments *s)
{
	const struct mapping *m = mapping_walk_next(&s->walk);

	s->more = m;
	if (!m)
		return;
	uint64_t bit = (m->where.first - s->where.first) / s->page, bits = range_size(m->where) / s->page;
	s->piece = (struct segment){
		.bit = (uint32_t)bit,
		.bits = (uint32_t)bits,
		.log_address = m->log_address,
		.kind = kind_of(s->walk.space, m, bit, s->before),
	};
	s->before = (bit + bits - 1) / WORD_BITS;
}

void segments_of(struct space *space, uint64_t page, const struct span *span, struct segments *out)
{
	*out = (struct segments){ .kept = span->segments };
	if (span->segments) {
		out->end = span->segments + span->count;
		return;
	}
	out->where = span->where;
	out->page = page;
	out->walk = mapping_walk(space, span->where);
	out->before = UINT64_MAX;
	advance(out);
}

/* A small mapping among unaligned ones goes with them: else every 64th page would be a segment by itself. */
static bool kinds_mix(const struct segment *a, const struct segment *b)
{
	if (a->kind == b->kind)
		return true;
	if (a->kind == SEGMENT_UNALIGNED)
		return b->kind == SEGMENT_REPORTED && b->bits < WORD_BITS;
	return a->kind == SEGMENT_REPORTED && a->bits < WORD_BITS && b->kind == SEGMENT_UNALIGNED;
}

static bool continues(const struct segment *a, const struct segment *b, uint64_t page)
{
	return b->bit == a->bit + a->bits && kinds_mix(a, b) &&
	       (a->kind == SEGMENT_UNTRACKED || b->log_address == a->log_address + a->bits * page);
}

bool segments_found(struct segments *s, struct segment *out)
{
	if (!s->more)
		return false;
	*out = s->piece;
	for (advance(s); s->more && continues(out, &s->piece, s->page); advance(s)) {
		out->bits += s->piece.bits;
		if (s->piece.kind == SEGMENT_UNALIGNED)
			out->kind = SEGMENT_UNALIGNED;
	}
	return true;
}

static bool grow(struct segment **list, size_t *room)
{
	size_t more = *room ? 2 * *room : 4;
	struct segment *larger = reallocarray(*list, more, sizeof **list);

	if (larger) {
		*list = larger;
		*room = more;
	}
	return larger;
}

bool span_cut(struct space *space, uint64_t page, struct span *span)
{
	struct segment *list = NULL, segment;
	struct segments found;
	size_t count = 0, room = 0;

	segments_of(space, page, span, &found);
	while (segments_found(&found, &segment)) {
		if (count == room && !grow(&list, &room)) {
			free(list);
			return false;
		}
		list[count++] = segment;
	}
	span->segments = list;
	span->count = count;
	return true;
}
