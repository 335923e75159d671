/* SPDX-License-Identifier: MIT */
#include "cover.h"

#include <stdlib.h>

#include "cover_internal.h"

/* ---- collecting ---- */

bool cover_begin(struct cover *c, size_t capacity)
{
	size_t size = 1;

	*c = (struct cover){ .capacity = capacity };
	c->runs = calloc(capacity + !capacity, sizeof *c->runs);
	while (c->runs && size < capacity)
		size *= 2;
	c->chains = c->runs ? calloc(size, sizeof *c->chains) : NULL;
	c->mask = size - 1;
	if (!c->chains)
		cover_end(c);
	return c->chains;
}

void cover_end(struct cover *c)
{
	free(c->runs);
	free(c->chains);
	*c = (struct cover){ 0 };
}

/* A new run, or more of the last one. */
static void put(struct cover *c, struct range where)
{
	struct range *last = c->count ? &c->runs[c->count - 1].where : NULL;

	if (last && (where.first <= last->last || where.first - 1 == last->last))
		last->last = where.last;
	else
		c->runs[c->count++].where = where;
}

bool cover_add(struct cover *c, struct range where)
{
	if (where.first > where.last || c->count == c->capacity)
		return false;
	if (c->count && where.first <= c->runs[c->count - 1].where.last)
		return false;
	put(c, where);
	c->asked += range_size(where);
	return true;
}

static void round_outwards(struct cover *c, uint64_t align)
{
	size_t count = c->count;

	c->count = 0;
	for (size_t i = 0; i < count; i++) {
		struct range where = c->runs[i].where;
		put(c, (struct range){ where.first & ~(align - 1), where.last | (align - 1) });
	}
}

/* ---- planning ---- */

/* The last address that as many ranges reach, if they are of full length. */
static uint64_t reach(const struct cover *c, struct range where)
{
	uint64_t length = where.last - where.first, end;

	if (length > c->span)
		length %= c->span + 1;
	return __builtin_add_overflow(where.last, c->span - length, &end) ? UINT64_MAX : end;
}

/* Each as long as it may be, and begun where it must */
static uint64_t fewest(const struct cover *c)
{
	uint64_t count = 0, end = 0;

	for (size_t i = 0; i < c->count; i++) {
		struct range rest = c->runs[i].where;
		if (count && rest.last <= end)
			continue;
		if (count && rest.first <= end)
			rest.first = end + 1;
		count += ranges_for(c, rest);
		end = reach(c, rest);
	}
	return count;
}

enum cover_result cover_plan(struct cover *c, const struct cover_limits *limits, struct range *out,
			     struct cover_answer *answer)
{
	*answer = (struct cover_answer){ 0 };
	if (limits->align < 2 || !is_power_of_two(limits->align))
		return COVER_INVALID;
	if (!c->count)
		return COVER_OK;
	if (limits->length && limits->length < limits->align)
		return COVER_IMPOSSIBLE;
	round_outwards(c, limits->align);
	c->span = (limits->length & ~(limits->align - 1)) - 1; /* 2^64 bytes if there is no limit */
	answer->fewest = fewest(c);
	if (answer->fewest > limits->most)
		return COVER_IMPOSSIBLE;
	answer->count = cover_choose(c, limits, answer->fewest, out);
	for (size_t i = 0; i < answer->count; i++)
		answer->excess += range_size(out[i]);
	answer->excess -= c->asked;
	return COVER_OK;
}
