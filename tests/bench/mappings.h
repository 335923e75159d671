/* SPDX-License-Identifier: MIT */
#ifndef TESTS_BENCH_MAPPINGS_H
#define TESTS_BENCH_MAPPINGS_H

/* A set of mappings as a guest may have them, in the library's table and in the peers', and addresses to look for. */

#include <vfiodirty.h>

#include "peers.h"
#include "table.h"

enum { QUESTIONS = 1 << 16 };

struct mappings {
	size_t count;
	struct mapping *records; /* ascending by IOVA; in memory and in the log they lie in another order */
	struct flat_entry *entries; /* the same IOVAs; the items are the records */
	uint64_t *hits;		    /* QUESTIONS addresses inside mappings, random: IOVAs */
	uint64_t *memory_hits;	    /* the same, as process addresses and as log addresses */
	uint64_t *log_hits;
	struct table table; /* by IOVA alone */
	struct table all;   /* in all three orders */
	struct flat flat, flat_memory, flat_log;
	struct tree tree;
};

/* count mappings of 1 to 512 pages at random places of their 4 MiB each. */
void mappings_make(struct mappings *m, size_t count);
void mappings_free(struct mappings *m);

void table_put(struct table *table, struct mapping *record);

/* The mapping whose IOVAs contain the address, or NULL: as table_find() does it, where no two ranges meet. */
static inline void *index_find(const struct index *index, uint64_t address)
{
	struct index_cursor at;

	return index_seek(index, address, &at) && at.where.first <= address ? at.item : NULL;
}

#endif
