/* SPDX-License-Identifier: MIT */
#ifndef TESTS_BENCH_MAPPINGS_H
#define TESTS_BENCH_MAPPINGS_H

/* A set of mappings as a guest may have them, in the library's index and in the peers', and addresses to look for. */

#include <vfiodirty.h>

#include "index.h"
#include "peers.h"

enum { QUESTIONS = 1 << 16 };

struct mappings {
	size_t count;
	struct flat_entry *entries; /* ascending; items are the entries' addresses */
	uint64_t *hits;		    /* QUESTIONS addresses inside mappings, random */
	struct index index;
	struct flat flat;
	struct tree tree;
};

/* count mappings of 1 to 512 pages at random places of their 4 MiB each. */
void mappings_make(struct mappings *m, size_t count);
void mappings_free(struct mappings *m);

void index_put(struct index *index, struct flat_entry *entry);

/* ours: the item whose range contains the address, or NULL */
static inline void *index_find(const struct index *index, uint64_t address)
{
	struct index_cursor at;

	return index_meets(index, (struct range){ address, address }, &at) ? at.item : NULL;
}

#endif
