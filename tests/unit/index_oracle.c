/* SPDX-License-Identifier: MIT */
#include "index_oracle.h"
#include "random.h"

#include <check.h>
#include <stdlib.h>

enum { MOST = 1 << 20 };

uint64_t random_next(uint64_t *state)
{
	return xorshift(state) >> 9;
}

/* What goes along must belong to the entry it went with. */
static uint64_t also_of(uint64_t value)
{
	return value * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

void oracle_add(struct oracle *o, struct index *index, struct range where, uint64_t value)
{
	if (!o->entries)
		o->entries = malloc(MOST * sizeof *o->entries);
	must(o->entries && o->count < MOST);
	o->entries[o->count++] = (struct index_entry){ where, value, index->wide ? also_of(value) : 0 };
	must(index_reserve(index));
	index_insert(index, o->entries[o->count - 1]);
}

void oracle_remove(struct oracle *o, struct index *index, size_t i)
{
	struct index_entry gone = o->entries[i];

	o->entries[i] = o->entries[--o->count];
	index_remove(index, gone.where.first, gone.value);
	index_trim(index);
}

void oracle_free(struct oracle *o)
{
	free(o->entries);
	*o = (struct oracle){ 0 };
}

static int compare(const void *left, const void *right)
{
	const struct index_entry *a = left, *b = right;

	if (a->where.first != b->where.first)
		return a->where.first < b->where.first ? -1 : 1;
	return a->value > b->value ? -1 : a->value < b->value;
}

const struct index_entry *oracle_stab(const struct oracle *o, uint64_t address)
{
	const struct index_entry *best = NULL;

	for (size_t i = 0; i < o->count; i++) {
		const struct index_entry *e = &o->entries[i];
		if (e->where.first <= address && address <= e->where.last && (!best || compare(best, e) < 0))
			best = e;
	}
	return best;
}

const struct index_entry *oracle_seek(const struct oracle *o, uint64_t address)
{
	const struct index_entry *best = NULL;

	for (size_t i = 0; i < o->count; i++) {
		const struct index_entry *e = &o->entries[i];
		if (e->where.last >= address && (!best || e->where.last < best->where.last))
			best = e;
	}
	return best;
}

/* ---- the tree ---- */

struct walk {
	const struct index_node *leaf; /* that the links say comes next */
	size_t entries;
	struct index_entry before;
};

static const struct index_node *leftmost(const struct index *index)
{
	const struct index_node *node = index->root;

	for (unsigned level = index->height; level > 1; level--)
		node = *(struct index_node *const *)(node + 1);
	return node;
}

static struct index_entry entry_of(const struct index_node *node, unsigned i)
{
	uint64_t also = node->wide ? ((const struct index_wide *)node)->third[i].also : 0;

	return (struct index_entry){ { node->first[i], node->slot[i].last }, node->slot[i].value, also };
}

static uint64_t check_leaf(const struct index_node *leaf, struct walk *w)
{
	uint64_t last = 0;

	must_eq(leaf, w->leaf);
	w->leaf = leaf->next;
	for (unsigned i = 0; i < leaf->count; i++) {
		struct index_entry e = entry_of(leaf, i);
		must(!w->entries || compare(&w->before, &e) < 0);
		w->before = e;
		w->entries++;
		last = max_u64(last, e.where.last);
	}
	return last;
}

/* Returns the greatest last byte. */
static uint64_t check_below(const struct index_node *node, unsigned level, struct walk *w)
{
	uint64_t last = 0;

	must(node->count <= INDEX_WIDTH);
	must(node->count >= (level > 1 ? 2 : 1));
	for (unsigned i = node->count; i < INDEX_WIDTH; i++)
		must_eq(node->first[i], UINT64_MAX);
	if (level == 1)
		return check_leaf(node, w);
	for (unsigned i = 0; i < node->count; i++) {
		const struct index_node *child = ((const struct index_wide *)node)->third[i].child;
		uint64_t below = check_below(child, level - 1, w);
		must_eq(node->slot[i].last, below);
		must_eq(node->first[i], child->first[0]);
		must_eq(node->slot[i].value, child->slot[0].value);
		last = max_u64(last, below);
	}
	return last;
}

void check_tree(const struct index *index)
{
	struct walk w = { .leaf = leftmost(index) };

	must_eq(!index->root, !index->height);
	if (index->root)
		check_below(index->root, index->height, &w);
	must(!w.leaf);
	must_eq(w.entries, index->count);
}

void check_same(struct oracle *o, const struct index *index)
{
	struct index_cursor at = { .leaf = leftmost(index) };
	bool more = index_look(&at);

	check_tree(index);
	must_eq(o->count, index->count);
	if (o->count)
		qsort(o->entries, o->count, sizeof *o->entries, compare);
	for (size_t i = 0; i < o->count; i++, more = index_next(&at)) {
		must(more);
		must_eq(at.where.first, o->entries[i].where.first);
		must_eq(at.where.last, o->entries[i].where.last);
		must_eq((uintptr_t)at.item, (uintptr_t)o->entries[i].value);
		must_eq(entry_of(at.leaf, at.at).also, o->entries[i].also);
	}
	must(!more);
}
