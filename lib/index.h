/* SPDX-License-Identifier: MIT */
#ifndef LIB_INDEX_H
#define LIB_INDEX_H

/* A set of ranges, each with a value, ordered by first byte (where that is the same: by falling value). Ranges may overlap; those
 * calls that need them not to say so. Not thread-safe: the owner locks.
 *
 * It is a B+-tree. All entries are in the leaves, which are linked; an inner node has for each child a copy of the child's first entry, and
 * the greatest last byte below it. */

#include <stddef.h>

#include "range.h"

enum { INDEX_WIDTH = 64 };

struct index_slot {
	uint64_t last; /* of an inner node: the greatest below the child */
	uint64_t value;
};

/* The keys lie together: a search reads little else. Those that are not in use are 2^64 - 1. */
struct index_node {
	uint64_t first[INDEX_WIDTH];
	struct index_slot slot[INDEX_WIDTH];
	struct index_node *next; /* leaf, or spare node */
	unsigned count;
	bool wide; /* it is a struct index_wide */
};

/* An inner node, or a leaf of a wide index */
struct index_wide {
	struct index_node node;
	union {
		struct index_node *child;
		uint64_t also;
	} third[INDEX_WIDTH];
};

struct index_spares {
	struct index_node *nodes;
	size_t count;
};

struct index {
	struct index_node *root;
	unsigned height; /* levels; 0: empty */
	bool wide;	 /* keeps what entries have also; set before the first one */
	size_t count;
	size_t promised; /* inserts that must not fail */
	struct index_spares leaves, inners;
};

struct index_entry {
	struct range where;
	uint64_t value;
	uint64_t also; /* of a wide index: what is worth having without a look elsewhere. Else 0 */
};

void index_end(struct index *index);

/* Promise one insert more: it will not need memory. False: there is none. */
bool index_reserve(struct index *index);
void index_unreserve(struct index *index);

/* Takes one promise. No entry may have the same first byte and value. */
void index_insert(struct index *index, struct index_entry entry);

/* The entry must be there. Needs no memory. */
void index_remove(struct index *index, uint64_t first, uint64_t value);

/* Give memory back that no promise needs; separate, for the owner may do it after readers were let in. */
void index_trim(struct index *index);

/* Of the ranges that have address in them the one that begins last; of several such, the one with the least value. */
bool index_stab(const struct index *index, uint64_t address, struct index_entry *entry);

/* The last range that begins at or before address, and the first one behind it. What there is not has where.first > where.last. */
void index_around(const struct index *index, uint64_t address, struct index_entry *below,
		  struct index_entry *above);

/* ---- where no two ranges meet, and values are pointers ---- */

struct index_cursor {
	struct range where; /* of the entry it is at */
	void *item;
	const struct index_node *leaf; /* the rest is private */
	unsigned at;
};

/* To the first entry whose last byte is at or after address; false: there is none. */
bool index_seek(const struct index *index, uint64_t address, struct index_cursor *cursor);

/* To the first entry that meets the range; false: none does. */
bool index_meets(const struct index *index, struct range where, struct index_cursor *cursor);

/* The entry it is at, or the first one behind its leaf. */
static inline bool index_look(struct index_cursor *cursor)
{
	if (cursor->leaf && cursor->at == cursor->leaf->count) {
		cursor->leaf = cursor->leaf->next;
		cursor->at = 0;
	}
	if (!cursor->leaf)
		return false;
	const struct index_slot *slot = &cursor->leaf->slot[cursor->at];
	cursor->where = (struct range){ cursor->leaf->first[cursor->at], slot->last };
	cursor->item = (void *)(uintptr_t)slot->value;
	return true;
}

/* To the next entry; false: it was the last one. The index must not have changed since the seek. */
static inline bool index_next(struct index_cursor *cursor)
{
	cursor->at++;
	return index_look(cursor);
}

#endif
