/* SPDX-License-Identifier: MIT */

/* What happened between two looks. A count that became less, or a region that came, is taken from 0. */

#include "top.h"

#include <stdlib.h>
#include <string.h>

#include <vfiodirty.h>

static uint64_t grown(uint64_t before, uint64_t now)
{
	return now >= before ? now - before : now;
}

const char *provenance_word(uint32_t provenance)
{
	static const char *const words[] = { "?", "reported", "software", "assumed", "initial" };

	return words[provenance <= VFD_INITIAL ? provenance : 0];
}

const char *reason_word(uint32_t reason)
{
	static const char *const words[] = {
		"",	      "cannot report", "harvest failed", "unmap failed", "record lost", "page size",
		"log failed", "not watched",   "log re-armed",	 "torn unmap",	 "interrupted"
	};

	return reason <= VFD_WHY_INTERRUPTED ? words[reason] : "?";
}

bool spoils(const struct source *s)
{
	return s->deferred || (s->label.provenance == VFD_ASSUMED && s->rate > 0);
}

static int rank(const struct source *s)
{
	return s->deferred ? 0 : spoils(s) ? 1 : 2;
}

static int compare(const void *one, const void *two)
{
	const struct source *a = one, *b = two;

	if (rank(a) != rank(b))
		return rank(a) - rank(b);
	if (a->rate != b->rate)
		return a->rate < b->rate ? 1 : -1;
	return a->pages < b->pages ? 1 : a->pages > b->pages ? -1 : 0;
}

static void add_rate(struct rates *r, uint32_t provenance, double rate)
{
	double *const of[] = { &r->assumed, &r->reported, &r->software, &r->assumed, &r->initial };

	*of[provenance <= VFD_INITIAL ? provenance : 0] += rate;
}

/* The same entry, if it says the same. */
static uint64_t tally_before(const struct look *before, unsigned i, const struct tally *now)
{
	const struct tally *t = &before->tallies[i];

	return i < before->tally_count && t->label.provenance == now->label.provenance ? t->pages : 0;
}

static void take_sources(struct rates *r, const struct look *before, const struct look *now)
{
	r->count = (unsigned)now->tally_count;
	for (unsigned i = 0; i < r->count; i++) {
		const struct tally *t = &now->tallies[i];
		struct source *s = &r->sources[i];
		s->label = t->label;
		s->pages = t->pages;
		s->deferred = t->deferred;
		s->rate = (double)grown(tally_before(before, i, t), t->pages) / r->seconds;
		r->deferred += t->deferred;
		add_rate(r, t->label.provenance, s->rate);
	}
	qsort(r->sources, r->count, sizeof *r->sources, compare);
}

/* Both are in order. */
static uint64_t region_before(const struct look *before, const struct top_region *now, uint64_t *at)
{
	while (*at < before->region_count && before->regions[*at].address < now->address)
		++*at;
	const struct top_region *r = &before->regions[*at];
	return *at < before->region_count && r->address == now->address && r->size == now->size ? r->fresh
												: 0;
}

struct rates rates_of(const struct look *before, const struct look *now)
{
	struct rates r = { .seconds = now->at - before->at };
	uint64_t at = 0;

	if (r.seconds <= 0)
		r.seconds = 1e-9;
	take_sources(&r, before, now);
	r.regions = calloc(now->region_count + 1, sizeof *r.regions);
	for (uint64_t i = 0; r.regions && i < now->region_count; i++) {
		const struct top_region *region = &now->regions[i];
		r.regions[i] = (double)grown(region_before(before, region, &at), region->fresh) / r.seconds;
	}
	return r;
}
