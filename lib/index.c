/* SPDX-License-Identifier: MIT */
#include "index.h"

#include <stdlib.h>
#include <string.h>

/* A node that has less is merged with a neighbour, or filled from it. A full one gives to a neighbour that has so much room, else it is
 * split. An inner node always has two children at least. One split takes some 60 on the level below: 2^64 inserts make no tree of
 * DEEPEST levels. */
enum {
	LEAST = INDEX_WIDTH / 4,
	ROOM = INDEX_WIDTH / 4,
	MERGED = INDEX_WIDTH - ROOM,
	SPARE = 4,
	DEEPEST = 16
};

static struct index_wide *wide_of(struct index_node *node)
{
	return (struct index_wide *)node;
}

static struct index_node *child_of(const struct index_node *node, unsigned i)
{
	return ((const struct index_wide *)node)->third[i].child;
}

/* ---- search ---- */

static inline unsigned reached(uint64_t key, uint64_t address)
{
	return key <= address;
}

/* How many keys are at or before address. No branch depends on what is compared; each step's loads do not wait for each other. */
static inline unsigned count_to(const struct index_node *node, uint64_t address)
{
	const uint64_t *k = node->first;

	k += 16 * (reached(k[15], address) + reached(k[31], address) + reached(k[47], address));
	k += 4 * (reached(k[3], address) + reached(k[7], address) + reached(k[11], address));
	k += reached(k[0], address) + reached(k[1], address) + reached(k[2], address) +
	     reached(k[3], address);
	return address == UINT64_MAX ? node->count : (unsigned)(k - node->first);
}
_Static_assert(INDEX_WIDTH == 64, "count_to() is written out");

/* How many entries come before (first, value), or are it. */
static unsigned count_to_entry(const struct index_node *node, uint64_t first, uint64_t value)
{
	unsigned at = count_to(node, first);

	while (at && node->first[at - 1] == first && node->slot[at - 1].value < value)
		at--;
	return at;
}

static inline unsigned before(unsigned count)
{
	return count ? count - 1 : 0;
}

/* All keys are on their way at once. A search would ask for one line when it has seen another, which costs time where nothing else is to be
 * done meanwhile; of many searches in a row the processor does several at a time. */
static inline void fetch_keys(const struct index_node *node)
{
	enum { LINE = 8 }; /* keys in a line of the cache, or there are more prefetches than it takes */

	for (unsigned i = 0; i < INDEX_WIDTH; i += LINE)
		__builtin_prefetch(&node->first[i]);
}

/* The leaf where address belongs by its key. */
static inline const struct index_node *leaf_for(const struct index *index, uint64_t address, bool fetch)
{
	const struct index_node *node = index->root;

	for (unsigned level = index->height; level > 1; level--) {
		node = child_of(node, before(count_to(node, address)));
		if (fetch)
			fetch_keys(node);
	}
	return node;
}

bool index_seek(const struct index *index, uint64_t address, struct index_cursor *cursor)
{
	const struct index_node *leaf = leaf_for(index, address, false);
	unsigned at = leaf ? count_to(leaf, address) : 0;

	cursor->leaf = leaf;
	cursor->at = at && leaf->slot[at - 1].last >= address ? at - 1 : at;
	return index_look(cursor);
}

bool index_meets(const struct index *index, struct range where, struct index_cursor *cursor)
{
	return index_seek(index, where.first, cursor) && cursor->where.first <= where.last;
}

static struct index_entry entry_at(const struct index_node *leaf, unsigned i)
{
	const struct index_slot *slot = &leaf->slot[i];
	uint64_t also = leaf->wide ? ((const struct index_wide *)leaf)->third[i].also : 0;

	return (struct index_entry){ { leaf->first[i], slot->last }, slot->value, also };
}

/* Below the child in which address falls by its key, what reaches address may begin behind it. Children before that begin before address
 * with all they have: one that reaches far enough has a hit. So at most one child a level is tried in vain. */
static bool stab(const struct index_node *node, unsigned level, uint64_t address, struct index_entry *entry)
{
	for (unsigned i = count_to(node, address); i--;) {
		if (node->slot[i].last < address)
			continue;
		if (level > 1 && stab(child_of(node, i), level - 1, address, entry))
			return true;
		if (level == 1) {
			*entry = entry_at(node, i);
			return true;
		}
	}
	return false;
}

bool index_stab(const struct index *index, uint64_t address, struct index_entry *entry)
{
	return index->root && stab(index->root, index->height, address, entry);
}

void index_around(const struct index *index, uint64_t address, struct index_entry *below,
		  struct index_entry *above)
{
	const struct index_node *leaf = leaf_for(index, address, true);
	unsigned at = leaf ? count_to(leaf, address) : 0;

	*below = *above = (struct index_entry){ .where = { 1, 0 } };
	if (at)
		*below = entry_at(leaf, at - 1);
	if (leaf && at < leaf->count)
		*above = entry_at(leaf, at);
	else if (leaf && leaf->next)
		*above = entry_at(leaf->next, 0);
}

/* ---- nodes ---- */

static bool stock(struct index_spares *spares, size_t count, size_t size)
{
	while (spares->count < count) {
		struct index_node *node = malloc(size);
		if (!node)
			return false;
		node->next = spares->nodes;
		spares->nodes = node;
		spares->count++;
	}
	return true;
}

static struct index_node *take(struct index_spares *spares, bool wide)
{
	struct index_node *node = spares->nodes;

	spares->nodes = node->next;
	spares->count--;
	node->next = NULL;
	node->count = 0;
	node->wide = wide;
	memset(node->first, 0xff, sizeof node->first);
	return node;
}

static void give(struct index_spares *spares, struct index_node *node)
{
	node->next = spares->nodes;
	spares->nodes = node;
	spares->count++;
}

static void thin(struct index_spares *spares, size_t count)
{
	while (spares->count > count) {
		struct index_node *node = spares->nodes;
		spares->nodes = node->next;
		spares->count--;
		free(node);
	}
}

/* An insert can split one node a level, and put a new root on top. A level that the tree did not have at the promise is split only
 * after as many inserts as a node is wide; removes put back what they take off. */
static size_t inners_for(const struct index *index, size_t inserts)
{
	return inserts * (index->height ? index->height : 1);
}

bool index_reserve(struct index *index)
{
	size_t inserts = index->promised + 1;
	size_t leaf = index->wide ? sizeof(struct index_wide) : sizeof(struct index_node);
	bool done = stock(&index->leaves, inserts, leaf) &&
		    stock(&index->inners, inners_for(index, inserts), sizeof(struct index_wide));

	index->promised += done;
	return done;
}

void index_unreserve(struct index *index)
{
	index->promised--;
}

void index_trim(struct index *index)
{
	thin(&index->leaves, index->promised + SPARE);
	thin(&index->inners, inners_for(index, index->promised) + SPARE);
}

static void free_below(struct index_node *node, unsigned level)
{
	for (unsigned i = 0; level > 1 && i < node->count; i++)
		free_below(child_of(node, i), level - 1);
	free(node);
}

void index_end(struct index *index)
{
	if (index->root)
		free_below(index->root, index->height);
	thin(&index->leaves, 0);
	thin(&index->inners, 0);
	*index = (struct index){ 0 };
}

/* Entries from..from + n - 1 of one node to another, or elsewhere in the same. Counts are the caller's business. */
static void move(struct index_node *to, unsigned at, struct index_node *node, unsigned from, unsigned n)
{
	memmove(&to->first[at], &node->first[from], n * sizeof *to->first);
	memmove(&to->slot[at], &node->slot[from], n * sizeof *to->slot);
	if (node->wide)
		memmove(&wide_of(to)->third[at], &wide_of(node)->third[from], n * sizeof *wide_of(to)->third);
}

static void set_count(struct index_node *node, unsigned count)
{
	for (unsigned i = count; i < node->count; i++)
		node->first[i] = UINT64_MAX;
	node->count = count;
}

static uint64_t greatest_last(const struct index_node *node)
{
	uint64_t last = 0;

	for (unsigned i = 0; i < node->count; i++)
		last = max_u64(last, node->slot[i].last);
	return last;
}

/* What a parent knows of its child. */
static void refresh(struct index_node *parent, unsigned i)
{
	const struct index_node *child = child_of(parent, i);

	parent->first[i] = child->first[0];
	parent->slot[i] = (struct index_slot){ greatest_last(child), child->slot[0].value };
}

/* The first n entries of children i and i + 1 into the left one, the rest into the right one. */
static void share(struct index_node *parent, unsigned i, unsigned n)
{
	struct index_node *left = child_of(parent, i), *right = child_of(parent, i + 1);
	unsigned had = left->count, all = had + right->count;

	if (n < had) {
		move(right, had - n, right, 0, right->count);
		move(right, 0, left, n, had - n);
	} else {
		move(left, had, right, 0, n - had);
		move(right, 0, right, n - had, all - n);
	}
	set_count(left, n);
	set_count(right, all - n);
	refresh(parent, i);
	refresh(parent, i + 1);
}

static void open_at(struct index_node *node, unsigned at)
{
	move(node, at + 1, node, at, node->count - at);
	node->count++;
}

static void close_at(struct index_node *node, unsigned at)
{
	move(node, at, node, at + 1, node->count - at - 1);
	set_count(node, node->count - 1);
}

/* ---- insert: what is full is made room in on the way down, so the parent always has room for one child more ---- */

static struct index_node *new_node(struct index *index, bool inner)
{
	return take(inner ? &index->inners : &index->leaves, inner || index->wide);
}

/* Of a full child the first n stay, the rest goes into a new node behind it. */
static void split(struct index *index, struct index_node *parent, unsigned i, unsigned n, bool inner)
{
	struct index_node *left = child_of(parent, i), *right = new_node(index, inner);

	right->next = left->next;
	if (!inner)
		left->next = right;
	open_at(parent, i + 1);
	wide_of(parent)->third[i + 1].child = right;
	share(parent, i, n);
}

/* Keys that come in order leave full nodes behind. */
static unsigned where_to_split(const struct index_node *node, uint64_t first)
{
	if (first >= node->first[INDEX_WIDTH - 1])
		return INDEX_WIDTH - 2;
	return first < node->first[0] ? 2 : INDEX_WIDTH / 2;
}

static bool has_room(const struct index_node *parent, unsigned i)
{
	return child_of(parent, i)->count <= INDEX_WIDTH - ROOM;
}

static void even_out(struct index_node *parent, unsigned i)
{
	share(parent, i, (child_of(parent, i)->count + child_of(parent, i + 1)->count) / 2);
}

static void make_room(struct index *index, struct index_node *parent, unsigned i, uint64_t first, bool inner)
{
	if (i + 1 < parent->count && has_room(parent, i + 1))
		even_out(parent, i);
	else if (i && has_room(parent, i - 1))
		even_out(parent, i - 1);
	else
		split(index, parent, i, where_to_split(child_of(parent, i), first), inner);
}

static void grow(struct index *index)
{
	struct index_node *root = new_node(index, index->height);

	if (index->height) {
		root->count = 1;
		wide_of(root)->third[0].child = index->root;
		refresh(root, 0);
	}
	index->root = root;
	index->height++;
}

/* The child that is to take the entry; the parent knows of it already. */
static struct index_node *descend(struct index *index, struct index_node *node, bool inner,
				  const struct index_entry *entry)
{
	uint64_t first = entry->where.first;
	unsigned at = before(count_to_entry(node, first, entry->value));

	if (child_of(node, at)->count == INDEX_WIDTH) {
		make_room(index, node, at, first, inner);
		at = before(count_to_entry(node, first, entry->value));
	}
	struct index_slot *slot = &node->slot[at];
	slot->last = max_u64(slot->last, entry->where.last);
	if (first < node->first[at] || (first == node->first[at] && entry->value > slot->value)) {
		node->first[at] = first;
		slot->value = entry->value;
	}
	return child_of(node, at);
}

void index_insert(struct index *index, struct index_entry entry)
{
	if (!index->root || index->root->count == INDEX_WIDTH)
		grow(index);
	struct index_node *node = index->root;
	for (unsigned level = index->height; level > 1; level--)
		node = descend(index, node, level > 2, &entry);
	unsigned at = count_to_entry(node, entry.where.first, entry.value);
	open_at(node, at);
	node->first[at] = entry.where.first;
	node->slot[at] = (struct index_slot){ entry.where.last, entry.value };
	if (index->wide)
		wide_of(node)->third[at].also = entry.also;
	index->count++;
	index->promised--;
}

/* ---- remove ---- */

static void merge(struct index *index, struct index_node *parent, unsigned i, bool inner)
{
	struct index_node *left = child_of(parent, i), *right = child_of(parent, i + 1);

	move(left, left->count, right, 0, right->count);
	left->count += right->count;
	left->next = right->next;
	give(inner ? &index->inners : &index->leaves, right);
	close_at(parent, i + 1);
	refresh(parent, i);
}

/* Child i lost an entry. */
static void mend(struct index *index, struct index_node *parent, unsigned i, uint64_t lost_last, bool inner)
{
	const struct index_node *child = child_of(parent, i);

	if (child->count >= LEAST) {
		parent->first[i] = child->first[0];
		parent->slot[i].value = child->slot[0].value;
		if (parent->slot[i].last == lost_last)
			parent->slot[i].last = greatest_last(child);
		return;
	}
	unsigned left = i + 1 < parent->count ? i : i - 1;
	if (child_of(parent, left)->count + child_of(parent, left + 1)->count <= MERGED)
		merge(index, parent, left, inner);
	else
		even_out(parent, left);
}

static void shrink(struct index *index)
{
	struct index_node *root = index->root;
	bool inner = index->height > 1;

	if (root->count > inner)
		return;
	index->root = inner ? child_of(root, 0) : NULL;
	index->height--;
	give(inner ? &index->inners : &index->leaves, root);
}

void index_remove(struct index *index, uint64_t first, uint64_t value)
{
	struct index_node *path[DEEPEST], *node = index->root;
	unsigned at[DEEPEST], level = index->height;

	for (; level > 1; level--) {
		path[level] = node;
		at[level] = before(count_to_entry(node, first, value));
		node = child_of(node, at[level]);
	}
	unsigned i = count_to_entry(node, first, value) - 1;
	uint64_t last = node->slot[i].last;
	close_at(node, i);
	for (level = 2; level <= index->height; level++)
		mend(index, path[level], at[level], last, level > 2);
	shrink(index);
	index->count--;
}
