/* SPDX-License-Identifier: MIT */
#ifndef LIB_EXTENTS_H
#define LIB_EXTENTS_H

/* Free address space: ranges that do not meet and do not touch. Whoever takes some of it can always give it back: the memory that this
 * may need is set aside when it is taken. Not thread-safe: the owner locks. */

#include <stdbool.h>
#include <stddef.h>

#include "range.h"

struct extent;
struct chunk;

struct extents {
	struct extent *by_address; /* treaps over the same nodes */
	struct extent *by_length;
	struct extent *spare;
	struct chunk *chunks; /* the nodes' memory */
	uint64_t random;      /* shapes the trees, decides nothing */
	size_t count;	      /* free ranges */
	size_t spares;
	size_t added; /* ranges that became free by extents_add() */
	size_t taken; /* ranges not given back */
};

/* What is asked for */
struct extent_want {
	uint64_t size;	     /* bytes, not 0 */
	uint64_t align;	     /* a power of two */
	uint64_t offset;     /* the place is congruent to this modulo align */
	struct range within; /* all of it must lie here */
	bool best;	     /* the smallest range that has room (the lowest of those); else the lowest */
};

void extents_end(struct extents *extents);

/* All of `where` becomes free; it must not meet what is free already. False: no memory, nothing done. */
bool extents_add(struct extents *extents, struct range where);

enum extents_result { EXTENTS_OK, EXTENTS_NONE, EXTENTS_NO_MEMORY };

/* Take the free space that is asked for. */
enum extents_result extents_find(struct extents *extents, const struct extent_want *want, struct range *out);

/* Take exactly `where`. EXTENTS_NONE if not all of it is free. */
enum extents_result extents_take(struct extents *extents, struct range where);

/* A range that was taken becomes `more` + 1 of them, to be given back one by one. False: no memory, nothing done. */
bool extents_split(struct extents *extents, size_t more);

/* Give back a range that was taken, as it was taken; cannot fail. */
void extents_give(struct extents *extents, struct range where);

/* Whether all of `where` is free. */
bool extents_free(const struct extents *extents, struct range where);

/* The longest free range, in bytes less one; false if nothing is free. */
bool extents_longest(const struct extents *extents, struct range *out);

/* The free range at or after address; false if there is none. */
bool extents_next(const struct extents *extents, uint64_t address, struct range *out);

#endif
