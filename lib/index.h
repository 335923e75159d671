/* SPDX-License-Identifier: MIT */
#ifndef LIB_INDEX_H
#define LIB_INDEX_H

/* An ordered set of ranges that do not meet, each with an item. Not thread-safe: the owner locks. */

#include <stddef.h>

#include "range.h"

struct index_entry {
	struct range where;
	void *item;
};

struct index {
	struct index_entry *entries; /* ascending */
	size_t count;
	size_t capacity;
};

void index_end(struct index *index);

/* Make sure that `more` inserts will not need memory. False: there is none. */
bool index_reserve(struct index *index, size_t more);

/* Room must be reserved and the range must not meet another. */
void index_insert(struct index *index, struct range where, void *item);

/* The range that starts at first must be there. */
void index_remove(struct index *index, uint64_t first);

struct index_cursor {
	struct range where; /* of the entry it is at */
	void *item;
	const struct index *index; /* the rest is private */
	size_t at;
};

/* To the first entry whose last byte is at or after address; false: there is none. */
bool index_seek(const struct index *index, uint64_t address, struct index_cursor *cursor);

/* To the next entry; false: it was the last one. The index must not have changed since the seek. */
bool index_next(struct index_cursor *cursor);

/* To the first entry that meets the range; false: none does. */
bool index_meets(const struct index *index, struct range where, struct index_cursor *cursor);

#endif
