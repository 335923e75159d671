/* SPDX-License-Identifier: MIT */
#ifndef LIB_COVER_INTERNAL_H
#define LIB_COVER_INTERNAL_H

/* Private to lib/cover*.c.
 *
 * A gap between two runs is covered whole or not at all: a range that ends inside one could as well end before it. So a plan is a choice
 * of gaps to leave out. The runs between two such gaps are a cluster, and a cluster needs its length / the limit, rounded up. */

#include "cover.h"

struct run {
	struct range where;
	size_t cluster; /* the last run of the cluster, if one begins here */
};

/* Ranges of full length side by side, from a cluster's end downwards. */
struct chain {
	uint64_t low;	/* none of them reaches further down */
	uint64_t cost;	/* of all from here up; what is common to all chains is left out, so it may wrap */
	size_t cluster; /* the run at whose end they begin */
};

static inline uint64_t gap_after(const struct cover *c, size_t i)
{
	return c->runs[i + 1].where.first - c->runs[i].where.last - 1;
}

static inline uint64_t ranges_for(const struct cover *c, struct range where)
{
	uint64_t length = where.last - where.first;

	return length <= c->span ? 1 : length / (c->span + 1) + 1;
}

/* The clusters that cost least if each range costs so many bytes: no multiple of the alignment, see cover_price.c. */
void cover_find_clusters(struct cover *cover, uint64_t price);

/* The ranges of the best plan; more than `most` are not necessary, nor are less than `least` possible. Returns how many. */
size_t cover_choose(struct cover *cover, const struct cover_limits *limits, uint64_t least,
		    struct range *out);

#endif
