/* SPDX-License-Identifier: MIT */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

#include "space.h"

/* All up to plan_clear(): the space's mutex held. */

static void span_free(struct span *span)
{
	free(span->segments);
	if (span->own)
		free(span);
}

static void remove_spans(struct plan *plan, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		plan->spans[i]->kept = false;
		if (!plan->spans[i]->used)
			span_free(plan->spans[i]);
	}
	if (from < to)
		memmove(&plan->spans[from], &plan->spans[to], (plan->count - to) * sizeof plan->spans[0]);
	plan->count -= to - from;
}

/* Position of the first span that ends at or after address. */
static size_t seek(const struct plan *plan, uint64_t address)
{
	size_t low = 0, high = plan->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (plan->spans[middle]->where.last < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void drop_range(struct plan *plan, struct range where)
{
	size_t from = seek(plan, where.first), to = from;

	while (to < plan->count && plan->spans[to]->where.first <= where.last)
		to++;
	remove_spans(plan, from, to);
}

static bool insert(struct plan *plan, struct span *span)
{
	drop_range(plan, span->where);
	if (plan->count == plan->capacity) {
		size_t capacity = plan->capacity ? 2 * plan->capacity : 4;
		struct span **spans = reallocarray(plan->spans, capacity, sizeof spans[0]);
		if (!spans)
			return false;
		plan->spans = spans;
		plan->capacity = capacity;
	}
	size_t at = seek(plan, span->where.first);
	memmove(&plan->spans[at + 1], &plan->spans[at], (plan->count - at) * sizeof plan->spans[0]);
	plan->spans[at] = span;
	plan->count++;
	return true;
}

static bool same_rule(const struct plan_rule *a, const struct plan_rule *b)
{
	return a->page == b->page && a->longest == b->longest && a->clubbed == b->clubbed &&
	       a->alone == b->alone && a->adjoining == b->adjoining;
}

static void follow(struct plan *plan, const struct plan_rule *rule)
{
	if (same_rule(&plan->rule, rule))
		return;
	remove_spans(plan, 0, plan->count);
	plan->rule = *rule;
}

/* ---- changes ---- */

void plan_touch(struct plan *plan, struct range where)
{
	if (!plan->count)
		return;
	size_t from = seek(plan, where.first), to = from;
	while (to < plan->count && plan->spans[to]->where.first <= where.last)
		to++;
	remove_spans(plan, from ? from - 1 : 0, to < plan->count ? to + 1 : to);
}

void plan_clear(struct plan *plan)
{
	remove_spans(plan, 0, plan->count);
	free(plan->spans);
	plan->spans = NULL;
	plan->capacity = 0;
}

/* ---- finding a span ---- */

static bool starts_in(const struct span *span, struct range wanted)
{
	return span->first_start >= wanted.first && span->last_start <= wanted.last;
}

/* The span that is kept for a mapping; and where the next one starts. NULL: none that has no other mappings than those wanted. */
static const struct span *find_kept(const struct plan *plan, struct range mapping, struct range wanted,
				    uint64_t *next)
{
	size_t at = seek(plan, mapping.first);
	const struct span *span = at < plan->count ? plan->spans[at] : NULL;

	*next = UINT64_MAX;
	if (span && range_contains(span->where, mapping))
		return starts_in(span, wanted) ? span : NULL;
	if (span && span->where.first > mapping.last)
		*next = span->where.first;
	return NULL;
}

uint64_t plan_wanted_end(const struct table *table, struct range wanted)
{
	struct index_cursor at;

	if (index_seek(&table->iova, wanted.last, &at) && at.where.first <= wanted.last)
		return at.where.last;
	return wanted.last;
}

/* Where a span that begins with this mapping may start: at a multiple of 64 pages, if the kernel has no mapping there. Mutex held. */
static uint64_t start_of(const struct table *table, const struct plan_rule *rule, struct range mapping)
{
	uint64_t aligned = mapping.first & ~(64 * rule->page - 1);
	struct index_cursor at;

	if (!rule->clubbed || rule->adjoining || rule->alone)
		return mapping.first;
	if (index_seek(&table->iova, aligned, &at) && at.where.first < mapping.first)
		return mapping.first;
	return aligned;
}

static struct range window_for(const struct table *table, const struct plan_rule *rule, struct range wanted,
			       struct range mapping, uint64_t next)
{
	struct range window = { .first = start_of(table, rule, mapping) };

	if (__builtin_add_overflow(window.first, rule->longest - 1, &window.last))
		window.last = UINT64_MAX;
	window.last = min_u64(window.last, min_u64(next - 1, plan_wanted_end(table, wanted)));
	window.last = max_u64(window.last, mapping.last);
	return window;
}

/* Mutex held. */
static bool find_wanted(const struct table *table, struct range wanted, uint64_t cursor,
			struct index_cursor *at)
{
	bool found = index_seek(&table->iova, cursor, at);

	if (found && at->where.first < wanted.first)
		found = index_next(at);
	return found && at->where.first <= wanted.last;
}

bool plan_next(struct space *space, struct range wanted, uint64_t cursor, struct plan_window *window)
{
	struct plan_rule rule = plan_rule(space);
	struct index_cursor at;
	uint64_t next;

	space_lock(space);
	bool found = find_wanted(&space->table, wanted, cursor, &at);
	if (found) {
		follow(&space->plan, &rule);
		const struct span *span = find_kept(&space->plan, at.where, wanted, &next);
		window->kept = span;
		window->where = span ? span->where : window_for(&space->table, &rule, wanted, at.where, next);
	}
	space_unlock(space);
	return found;
}

/* ---- taking it ---- */

static struct span *take_kept(struct plan *plan, const struct plan_rule *rule, struct range wanted,
			      struct range window)
{
	follow(plan, rule);
	size_t at = seek(plan, window.first);
	struct span *span = at < plan->count ? plan->spans[at] : NULL;
	if (span && span->where.first == window.first && span->where.last <= window.last &&
	    starts_in(span, wanted))
		span->used = true;
	else
		span = NULL;
	return span;
}

/* Nobody else can plan this range: it is claimed. Without memory for it the spare serves this one time. */
static struct span *keep(struct space *space, const struct plan_rule *rule, struct span *spare)
{
	struct span *span = malloc(sizeof *span);

	if (!span)
		return spare;
	*span = *spare;
	span->own = true;
	space_lock(space);
	follow(&space->plan, rule);
	span->kept = insert(&space->plan, span);
	space_unlock(space);
	return span;
}

struct span *plan_take(struct space *space, struct range wanted, const struct plan_window *window,
		       struct span *spare)
{
	struct plan_rule rule = plan_rule(space);

	space_lock(space);
	struct span *span = take_kept(&space->plan, &rule, wanted, window->where);
	space_unlock(space);
	if (span || window->kept)
		return span;
	*spare = (struct span){ .used = true };
	if (!span_measure(space, &rule, window->where, spare))
		return NULL;
	return span_cut(space, rule.page, spare) ? keep(space, &rule, spare) : spare;
}

void plan_done(struct space *space, struct span *span, bool drop)
{
	space_lock(space);
	if (drop && span->kept)
		drop_range(&space->plan, span->where);
	span->used = false;
	if (!span->kept)
		span_free(span);
	space_unlock(space);
}
