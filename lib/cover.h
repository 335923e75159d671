/* SPDX-License-Identifier: MIT */
#ifndef LIB_COVER_H
#define LIB_COVER_H

/* Cover many ranges by few, with as little as possible besides: what a device's log can watch is limited in number, alignment and length.
 * All memory is set aside at the beginning, so ranges can be fed from a walk under a lock. They are kept: who is refused with one plan
 * asks for another, without a second walk. Not thread-safe. */

#include <stdbool.h>
#include <stddef.h>

#include "range.h"

struct run;
struct chain;

struct cover {
	struct run *runs; /* what was added; what touches is one run */
	size_t count, capacity;
	uint64_t asked;	      /* bytes added; wraps if they are 2^64 */
	struct chain *chains; /* scratch for plans: a queue, its size a power of two */
	size_t mask;
	uint64_t span; /* bytes less one: the limit of the plan that is being made */
};

struct cover_limits {
	size_t most; /* ranges */
	uint64_t
		align; /* a power of two, not 1: each range begins at a multiple of it, and the next byte after it is one */
	uint64_t length; /* no range is longer; 0: no limit */
};

struct cover_answer {
	size_t count;	 /* ranges */
	uint64_t excess; /* bytes in them that were not added */
	uint64_t fewest; /* ranges, with this alignment and length */
};

enum cover_result {
	COVER_OK,
	COVER_IMPOSSIBLE, /* the length is less than the alignment, or answer->fewest is more than allowed */
	COVER_INVALID	  /* the alignment is not as said */
};

/* Room for so many ranges. False: no memory, nothing to end. */
bool cover_begin(struct cover *cover, size_t capacity);
void cover_end(struct cover *cover);

/* In ascending order, before the first plan; they may touch. False: it meets or lies below an earlier one, is none, or finds no room. */
bool cover_add(struct cover *cover, struct range where);

/* The ranges that cover all with the least excess, ascending, into out[limits->most]. The last may end at 2^64 - 1. What was
 * rounded for a plan stays so: a later one with a smaller alignment is no better for it. Nothing added: no ranges. */
enum cover_result cover_plan(struct cover *cover, const struct cover_limits *limits, struct range *out,
			     struct cover_answer *answer);

#endif
