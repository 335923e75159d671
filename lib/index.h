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

/* Position of the first entry whose last byte is at or after address; count if there is none. */
size_t index_seek(const struct index *index, uint64_t address);

/* The first entry that meets the range, or NULL. */
const struct index_entry *index_meets(const struct index *index, struct range where);

#endif
