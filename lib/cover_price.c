/* SPDX-License-Identifier: MIT */
#include "cover_internal.h"

/* No plan has less excess than the one found here.
 *
 * Which gaps are left out? Let each range have a price in bytes. The plan that costs least, excess and prices together, is found in one
 * walk over the runs, and the higher the price the fewer its ranges; so the price is searched for that makes it the number allowed.
 * It is the best with that number: another one of less excess would have cost less. Such a price exists because the least excess
 * is convex in the number of ranges: where a range of one plan lies inside one of another, they can exchange their ends, and the
 * two plans together cost no more than they did.
 *
 * Gaps are multiples of the alignment. At a price halfway between two multiples no two numbers of ranges cost the same, and what a
 * walk finds is unique in number. Where one range less costs the same several times in a row (equal gaps), that number jumps over
 * the one allowed, from one step of the price to the next. Then the plans of both steps cost the same at the multiple in between,
 * and so do those that exchange ends: see splice(). */

/* ---- gaps ---- */

static uint64_t all_gaps(const struct cover *c)
{
	uint64_t sum = 0;

	for (size_t i = 0; i + 1 < c->count; i++)
		sum += gap_after(c, i);
	return sum;
}

/* The n-th greatest; there are as many. Found byte by byte, the highest first. */
static uint64_t nth_gap(const struct cover *c, size_t n)
{
	uint64_t found = 0;

	for (int shift = 56; shift >= 0; shift -= 8) {
		size_t counts[256] = { 0 }, digit = 255;
		for (size_t i = 0; i + 1 < c->count; i++) {
			uint64_t next = (gap_after(c, i) ^ found) >> shift;
			if (next < 256) /* all above is as in `found` */
				counts[next]++;
		}
		while (counts[digit] < n)
			n -= counts[digit--];
		found |= (uint64_t)digit << shift;
	}
	return found;
}

/* ---- the ranges of a plan ---- */

struct walk {
	size_t run; /* the first of the cluster */
	uint64_t first;
};

static bool next_range(const struct cover *c, struct walk *at, struct range *out)
{
	if (at->run == c->count)
		return false;
	size_t cluster = c->runs[at->run].cluster;
	*out = (struct range){ at->first, c->runs[cluster].where.last };
	if (out->last - out->first > c->span) {
		out->last = out->first + c->span;
		at->first = out->last + 1;
		return true;
	}
	at->run = cluster + 1;
	if (at->run < c->count)
		at->first = c->runs[at->run].where.first;
	return true;
}

static size_t emit(const struct cover *c, struct range *out)
{
	struct walk at = { 0, c->runs[0].where.first };
	size_t count = 0;

	while (next_range(c, &at, &out[count]))
		count++;
	return count;
}

/* A plan with too few ranges fills the end of out[most], the first `missing` are free, and the plan at hand has too many. Begin with
 * the latter, and change to the former at the first range of it that ends no earlier: there one lies inside the other. */
static void splice(const struct cover *c, struct range *out, size_t most, size_t missing)
{
	struct walk at = { 0, c->runs[0].where.first };
	struct range more;

	for (size_t i = 0; i < most && next_range(c, &at, &more); i++) {
		if (i >= missing && out[i].last >= more.last) {
			out[i].first = more.first;
			return;
		}
		out[i] = more;
	}
}

/* ---- the price ---- */

struct plan {
	uint64_t step;	 /* of the price */
	uint64_t ranges; /* the higher the price, the fewer */
	uint64_t bytes;
};

/* At a price of so many times the alignment, and half. */
static struct plan plan_at(struct cover *c, uint64_t align, uint64_t step)
{
	struct plan plan = { .step = step };

	cover_find_clusters(c, step * align + align / 2);
	for (size_t i = 0, last; i < c->count; i = last + 1) {
		last = c->runs[i].cluster;
		struct range cluster = { c->runs[i].where.first, c->runs[last].where.last };
		plan.ranges += ranges_for(c, cluster);
		plan.bytes += range_size(cluster);
	}
	return plan;
}

/* What a range less costs between the two on average: there the plan is another one, if there is one. That converges in some ten steps,
 * where halving the interval takes one for each bit. */
static uint64_t step_between(const struct plan *many, const struct plan *few, uint64_t align)
{
	uint64_t step = (few->bytes - many->bytes) / (many->ranges - few->ranges) / align;

	return min_u64(max_u64(step, many->step + 1), few->step - 1);
}

/* From the neighbours on both sides, if none is met that has as many ranges as are allowed. */
static void emit_between(struct cover *c, const struct cover_limits *limits, const struct plan *many,
			 const struct plan *few, struct range *out)
{
	size_t missing = limits->most - (size_t)few->ranges;

	plan_at(c, limits->align, few->step);
	emit(c, out + missing);
	if (!missing)
		return;
	plan_at(c, limits->align, many->step);
	splice(c, out, limits->most, missing);
}

/* Gaps greater than the price are left out, whatever the limit of length. So just below the n-th greatest there are more than n ranges;
 * and just above no more, if there is no such limit. */
static uint64_t step_of_many(const struct cover *c, const struct cover_limits *limits)
{
	return c->count > limits->most ? nth_gap(c, limits->most) / limits->align - 1 : 0;
}

/* With a limit: what a range less costs grows from one to the next. So at the number allowed it is no more than this share of all gaps. */
static uint64_t step_of_few(const struct cover *c, const struct cover_limits *limits, uint64_t least)
{
	return all_gaps(c) / (limits->most - least + 1) / limits->align;
}

size_t cover_choose(struct cover *c, const struct cover_limits *limits, uint64_t least, struct range *out)
{
	struct plan many = plan_at(c, limits->align, step_of_many(c, limits)), few;

	if (many.ranges <= limits->most)
		return emit(c, out);
	few = plan_at(c, limits->align, limits->length ? step_of_few(c, limits, least) : many.step + 1);
	while (few.ranges < limits->most && few.step - many.step > 1) {
		struct plan middle = plan_at(c, limits->align, step_between(&many, &few, limits->align));
		if (middle.ranges > limits->most)
			many = middle;
		else
			few = middle;
	}
	emit_between(c, limits, &many, &few, out);
	return limits->most;
}
