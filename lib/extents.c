/* SPDX-License-Identifier: MIT */
#include "extents.h"

#include <stdlib.h>

/* Two treaps over the same nodes: by address, where each node knows the longest range below it, and by length. Lengths are in bytes
 * less one, so that 2^64 bytes fit. */

enum tree { BY_ADDRESS, BY_LENGTH };

struct extent {
	struct range where;
	uint64_t longest;	    /* in this subtree by address */
	uint64_t rank;		    /* a parent's is higher */
	struct extent *child[2][2]; /* [tree][greater] */
};

enum { CHUNK_NODES = 63 };

struct chunk {
	struct chunk *next;
	struct extent nodes[CHUNK_NODES];
};

static uint64_t length(const struct extent *e)
{
	return e->where.last - e->where.first;
}

/* ---- nodes ---- */

static uint64_t next_random(struct extents *x)
{
	uint64_t r = x->random ? x->random : UINT64_C(0x9e3779b97f4a7c15);

	r ^= r << 13;
	r ^= r >> 7;
	r ^= r << 17;
	return x->random = r;
}

static void spare_put(struct extents *x, struct extent *e)
{
	e->child[0][0] = x->spare;
	x->spare = e;
	x->spares++;
}

static struct extent *spare_get(struct extents *x, struct range where)
{
	struct extent *e = x->spare;

	x->spare = e->child[0][0];
	x->spares--;
	*e = (struct extent){ .where = where, .longest = where.last - where.first, .rank = next_random(x) };
	return e;
}

/* What is free is in at most as many pieces as ranges were added and taken: with so many nodes nothing that follows needs memory. */
static bool reserve(struct extents *x)
{
	while (x->count + x->spares < x->added + x->taken + 1) {
		struct chunk *chunk = malloc(sizeof *chunk);
		if (!chunk)
			return false;
		chunk->next = x->chunks;
		x->chunks = chunk;
		for (int i = 0; i < CHUNK_NODES; i++)
			spare_put(x, &chunk->nodes[i]);
	}
	return true;
}

void extents_end(struct extents *x)
{
	for (struct chunk *chunk = x->chunks, *next; chunk; chunk = next) {
		next = chunk->next;
		free(chunk);
	}
	*x = (struct extents){ 0 };
}

/* ---- treaps ---- */

static bool before(enum tree tree, const struct extent *a, const struct extent *b)
{
	if (tree == BY_LENGTH && length(a) != length(b))
		return length(a) < length(b);
	return a->where.first < b->where.first;
}

static struct extent *update(enum tree tree, struct extent *e)
{
	if (tree == BY_LENGTH)
		return e;
	e->longest = length(e);
	for (int side = 0; side < 2; side++)
		if (e->child[tree][side])
			e->longest = max_u64(e->longest, e->child[tree][side]->longest);
	return e;
}

/* Those before `at`, and the others */
static void split(enum tree tree, struct extent *e, const struct extent *at, struct extent **less,
		  struct extent **rest)
{
	if (!e) {
		*less = *rest = NULL;
	} else if (before(tree, e, at)) {
		split(tree, e->child[tree][1], at, &e->child[tree][1], rest);
		*less = update(tree, e);
	} else {
		split(tree, e->child[tree][0], at, less, &e->child[tree][0]);
		*rest = update(tree, e);
	}
}

static struct extent *join(enum tree tree, struct extent *less, struct extent *rest)
{
	if (!less || !rest)
		return less ? less : rest;
	if (less->rank > rest->rank) {
		less->child[tree][1] = join(tree, less->child[tree][1], rest);
		return update(tree, less);
	}
	rest->child[tree][0] = join(tree, less, rest->child[tree][0]);
	return update(tree, rest);
}

static struct extent *insert(enum tree tree, struct extent *root, struct extent *e)
{
	if (!root || e->rank > root->rank) {
		split(tree, root, e, &e->child[tree][0], &e->child[tree][1]);
		return update(tree, e);
	}
	bool greater = before(tree, root, e);
	root->child[tree][greater] = insert(tree, root->child[tree][greater], e);
	return update(tree, root);
}

static struct extent *erase(enum tree tree, struct extent *root, const struct extent *e)
{
	if (root == e)
		return join(tree, e->child[tree][0], e->child[tree][1]);
	bool greater = before(tree, root, e);
	root->child[tree][greater] = erase(tree, root->child[tree][greater], e);
	return update(tree, root);
}

static void link_range(struct extents *x, struct range where)
{
	struct extent *e = spare_get(x, where);

	x->by_address = insert(BY_ADDRESS, x->by_address, e);
	x->by_length = insert(BY_LENGTH, x->by_length, e);
	x->count++;
}

static void unlink_extent(struct extents *x, struct extent *e)
{
	x->by_address = erase(BY_ADDRESS, x->by_address, e);
	x->by_length = erase(BY_LENGTH, x->by_length, e);
	x->count--;
	spare_put(x, e);
}

/* ---- looking ---- */

/* The extent that ends at or after address, the lowest such */
static struct extent *at_or_after(const struct extents *x, uint64_t address)
{
	struct extent *found = NULL;

	for (struct extent *e = x->by_address; e;) {
		bool below = e->where.last < address;
		if (!below)
			found = e;
		e = e->child[BY_ADDRESS][below];
	}
	return found;
}

bool extents_next(const struct extents *x, uint64_t address, struct range *out)
{
	const struct extent *e = at_or_after(x, address);

	if (e)
		*out = e->where;
	return e;
}

bool extents_free(const struct extents *x, struct range where)
{
	const struct extent *e = at_or_after(x, where.first);

	return e && range_contains(e->where, where);
}

bool extents_longest(const struct extents *x, struct range *out)
{
	const struct extent *e = x->by_length;

	while (e && e->child[BY_LENGTH][1])
		e = e->child[BY_LENGTH][1];
	if (e)
		*out = e->where;
	return e;
}

/* The lowest place in the extent that is as wanted. False if there is none. */
static bool fits(const struct extent *e, const struct extent_want *want, struct range *out)
{
	uint64_t first = max_u64(e->where.first, want->within.first);
	uint64_t last = min_u64(e->where.last, want->within.last);
	uint64_t ahead = (want->offset - first) & (want->align - 1);

	if (__builtin_add_overflow(first, ahead, &first) || !range_make(out, first, want->size))
		return false;
	return out->last <= last;
}

static struct extent *lowest_fit(struct extent *e, const struct extent_want *want, struct range *out)
{
	struct extent *found = NULL;

	if (!e || e->longest < want->size - 1)
		return NULL;
	if (e->where.first > want->within.first)
		found = lowest_fit(e->child[BY_ADDRESS][0], want, out);
	if (!found && fits(e, want, out))
		found = e;
	if (!found && e->where.last < want->within.last)
		found = lowest_fit(e->child[BY_ADDRESS][1], want, out);
	return found;
}

static struct extent *shortest_fit(struct extent *e, const struct extent_want *want, struct range *out)
{
	struct extent *found = NULL;

	if (!e)
		return NULL;
	if (length(e) >= want->size - 1) {
		found = shortest_fit(e->child[BY_LENGTH][0], want, out);
		if (!found && fits(e, want, out))
			found = e;
	}
	return found ? found : shortest_fit(e->child[BY_LENGTH][1], want, out);
}

/* ---- taking and giving ---- */

/* `where` becomes free, and one with what it touches. */
static void release(struct extents *x, struct range where)
{
	struct extent *below = where.first ? at_or_after(x, where.first - 1) : NULL;
	struct extent *above = where.last < UINT64_MAX ? at_or_after(x, where.last + 1) : NULL;

	if (above && above->where.first == where.last + 1) {
		where.last = above->where.last;
		unlink_extent(x, above);
	}
	if (below && below->where.last == where.first - 1) {
		where.first = below->where.first;
		unlink_extent(x, below);
	}
	link_range(x, where);
}

bool extents_add(struct extents *x, struct range where)
{
	if (!reserve(x))
		return false;
	x->added++;
	release(x, where);
	return true;
}

bool extents_split(struct extents *x, size_t more)
{
	x->taken += more;
	if (reserve(x))
		return true;
	x->taken -= more;
	return false;
}

void extents_give(struct extents *x, struct range where)
{
	x->taken--;
	release(x, where);
}

/* What is left of the extent stays free. */
static void cut(struct extents *x, struct extent *e, struct range where)
{
	struct range whole = e->where;

	unlink_extent(x, e);
	if (whole.first < where.first)
		link_range(x, (struct range){ whole.first, where.first - 1 });
	if (where.last < whole.last)
		link_range(x, (struct range){ where.last + 1, whole.last });
	x->taken++;
}

enum extents_result extents_find(struct extents *x, const struct extent_want *want, struct range *out)
{
	if (!reserve(x))
		return EXTENTS_NO_MEMORY;
	struct extent *e =
		want->best ? shortest_fit(x->by_length, want, out) : lowest_fit(x->by_address, want, out);
	if (!e)
		return EXTENTS_NONE;
	cut(x, e, *out);
	return EXTENTS_OK;
}

enum extents_result extents_take(struct extents *x, struct range where)
{
	if (!reserve(x))
		return EXTENTS_NO_MEMORY;
	struct extent *e = at_or_after(x, where.first);
	if (!e || !range_contains(e->where, where))
		return EXTENTS_NONE;
	cut(x, e, where);
	return EXTENTS_OK;
}
