/* SPDX-License-Identifier: MIT */

/* A set of ranges that do not overlap: a treap, for programs map in any order, and tens of thousands. */

#include "guard.h"

#include <stdlib.h>

static uint32_t next_weight(void)
{
	static uint32_t x = 2463534242u;

	x ^= x << 13;
	x ^= x >> 17;
	return x ^= x << 5;
}

/* low: what begins below the key. */
static void split(struct range *t, uint64_t key, struct range **low, struct range **high)
{
	while (t) {
		if (t->first < key) {
			*low = t;
			low = &t->right;
			t = t->right;
		} else {
			*high = t;
			high = &t->left;
			t = t->left;
		}
	}
	*low = *high = NULL;
}

static struct range *join(struct range *low, struct range *high)
{
	struct range *root, **at = &root;

	while (low && high) {
		if (low->weight > high->weight) {
			*at = low;
			at = &low->right;
			low = low->right;
		} else {
			*at = high;
			at = &high->left;
			high = high->left;
		}
	}
	*at = low ? low : high;
	return root;
}

void range_add(struct range **set, const struct range *what)
{
	struct range *r = malloc(sizeof *r);

	if (!r)
		return;
	*r = *what;
	r->weight = next_weight();
	while (*set && (*set)->weight >= r->weight)
		set = r->first < (*set)->first ? &(*set)->left : &(*set)->right;
	split(*set, r->first, &r->left, &r->right);
	*set = r;
}

/* Where the byte before and this one lie in one range, make two of it. */
void range_cut(struct range **set, uint64_t at)
{
	struct range *t = *set, piece;

	while (t && (at < t->first || at > t->last))
		t = at < t->first ? t->left : t->right;
	if (!t || t->first == at)
		return;
	piece = *t;
	piece.first = at;
	t->last = at - 1;
	range_add(set, &piece);
}

/* What programs do nearly always: just what was mapped. */
static struct range *take_one(struct range **at, uint64_t first, uint64_t last)
{
	struct range *t;

	while (*at && (*at)->first != first)
		at = first < (*at)->first ? &(*at)->left : &(*at)->right;
	t = *at;
	if (!t || t->last != last)
		return NULL;
	*at = join(t->left, t->right);
	t->left = t->right = NULL;
	return t;
}

struct range *range_take(struct range **set, uint64_t first, uint64_t last)
{
	struct range *low, *taken = take_one(set, first, last), *high = NULL;

	if (taken)
		return taken;
	range_cut(set, first);
	if (last != UINT64_MAX)
		range_cut(set, last + 1);
	split(*set, first, &low, &taken);
	if (last != UINT64_MAX)
		split(taken, last + 1, &taken, &high);
	*set = join(low, high);
	return taken;
}

static void add_again(struct range *r, void *set)
{
	range_add(set, r);
}

/* One by one: others may have added what lies between. */
void range_put(struct range **set, struct range *taken)
{
	range_each(taken, 0, UINT64_MAX, add_again, set);
	range_free(taken);
}

void range_each(struct range *t, uint64_t first, uint64_t last, range_visit *visit, void *arg)
{
	if (!t)
		return;
	if (first < t->first)
		range_each(t->left, first, last, visit, arg);
	if (t->first <= last && t->last >= first)
		visit(t, arg);
	if (last > t->last)
		range_each(t->right, first, last, visit, arg);
}

void range_free(struct range *set)
{
	while (set) {
		struct range *right = set->right;

		range_free(set->left);
		free(set);
		set = right;
	}
}
