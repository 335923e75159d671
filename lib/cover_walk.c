/* SPDX-License-Identifier: MIT */
#include "cover_internal.h"

/* The cheapest plan at a price, in one walk from the last run to the first: one step for each run, and one for each place where a range of
 * full length ends inside a run; in practice the latter are fewer. */

/* Each chain reaches further down than the one before it, and costs more. */
struct queue {
	struct chain *chains;
	size_t mask, head, tail;
	uint64_t span, price;
};

static inline struct chain *cheapest(const struct queue *q)
{
	return &q->chains[q->head & q->mask];
}

/* One more, which begins at `from`. No chain costs less than base, so costs are compared from there. Those that cost as much or more than
 * it are of no use any more, for it reaches further; nor is it itself, if the cheapest reaches all. */
static inline void push(struct queue *q, uint64_t base, uint64_t from, uint64_t cost, size_t cluster)
{
	uint64_t low = from > q->span ? from - q->span : 0;

	if (q->head != q->tail && !cheapest(q)->low)
		return;
	while (q->head != q->tail && q->chains[(q->tail - 1) & q->mask].cost - base >= cost - base)
		q->tail--;
	q->chains[q->tail++ & q->mask] = (struct chain){ low, cost, cluster };
}

/* A cluster may end with run i: that costs a range, and saves the gap above it. If that is worth more, it must. */
static inline void begin_chain(struct queue *q, size_t i, struct range where, uint64_t gap)
{
	uint64_t base = cheapest(q)->cost;

	if (gap > q->price)
		q->head = q->tail;
	push(q, base, where.last, base + q->price - gap, i);
}

/* Chains that end in the gap above are of no use: one that begins at this run costs less. Those that end inside it go on, with one
 * more range. */
static inline void follow_chains(struct queue *q, struct range where)
{
	while (cheapest(q)->low > where.first) {
		struct chain ended = *cheapest(q);
		q->head++;
		if (ended.low <= where.last)
			push(q, ended.cost, ended.low - 1, ended.cost + q->price, ended.cluster);
	}
}

void cover_find_clusters(struct cover *c, uint64_t price)
{
	struct queue q = { .chains = c->chains, .mask = c->mask, .span = c->span, .price = price };

	push(&q, 0, c->runs[c->count - 1].where.last, 0, c->count - 1);
	for (size_t i = c->count; i-- > 0;) {
		struct run *run = &c->runs[i];
		if (i + 1 < c->count)
			begin_chain(&q, i, run->where, gap_after(c, i));
		follow_chains(&q, run->where);
		run->cluster = cheapest(&q)->cluster;
	}
}
