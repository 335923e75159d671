/* SPDX-License-Identifier: MIT */
#include "index.h"

#include <stdlib.h>
#include <string.h>

void index_end(struct index *index)
{
	free(index->entries);
	*index = (struct index){ 0 };
}

bool index_reserve(struct index *index, size_t more)
{
	size_t wanted = index->count + more;

	if (wanted <= index->capacity)
		return true;
	size_t capacity = index->capacity ? index->capacity * 2 : 16;
	if (capacity < wanted)
		capacity = wanted;
	struct index_entry *entries = reallocarray(index->entries, capacity, sizeof *entries);
	if (!entries)
		return false;
	index->entries = entries;
	index->capacity = capacity;
	return true;
}

static size_t position(const struct index *index, uint64_t address)
{
	size_t low = 0, high = index->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (index->entries[middle].where.last < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void index_insert(struct index *index, struct range where, void *item)
{
	size_t at = position(index, where.first);
	struct index_entry *entry = &index->entries[at];

	memmove(entry + 1, entry, (index->count - at) * sizeof *entry);
	*entry = (struct index_entry){ where, item };
	index->count++;
}

void index_remove(struct index *index, uint64_t first)
{
	size_t at = position(index, first);
	struct index_entry *entry = &index->entries[at];

	index->count--;
	memmove(entry, entry + 1, (index->count - at) * sizeof *entry);
}

static bool look(struct index_cursor *cursor)
{
	const struct index_entry *entry = &cursor->index->entries[cursor->at];

	if (cursor->at >= cursor->index->count)
		return false;
	cursor->where = entry->where;
	cursor->item = entry->item;
	return true;
}

bool index_seek(const struct index *index, uint64_t address, struct index_cursor *cursor)
{
	cursor->index = index;
	cursor->at = position(index, address);
	return look(cursor);
}

bool index_next(struct index_cursor *cursor)
{
	cursor->at++;
	return look(cursor);
}

bool index_meets(const struct index *index, struct range where, struct index_cursor *cursor)
{
	return index_seek(index, where.first, cursor) && cursor->where.first <= where.last;
}
