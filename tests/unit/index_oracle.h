/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_INDEX_ORACLE_H
#define TESTS_UNIT_INDEX_ORACLE_H

/* The same set of ranges as a plain array, and what must be true of the tree besides. */

#include "index.h"

/* As Check's, which writes into a pipe each time it is asked: too slow for millions. */
#define must(condition)                                                                                      \
	do {                                                                                                 \
		if (!(condition))                                                                            \
			ck_abort_msg("%s", #condition);                                                      \
	} while (0)
#define must_eq(a, b) must((a) == (b))

struct oracle {
	struct index_entry *entries; /* in no order */
	size_t count;
};

uint64_t random_next(uint64_t *state);

void oracle_add(struct oracle *o, struct index *index, struct range where, uint64_t value);
/* Remove the i-th of the array. */
void oracle_remove(struct oracle *o, struct index *index, size_t i);
void oracle_free(struct oracle *o);

/* Of the ranges with address in them the one that begins last, of those the one with the least value; NULL. */
const struct index_entry *oracle_stab(const struct oracle *o, uint64_t address);
/* The entry with the least last byte at or after address. */
const struct index_entry *oracle_seek(const struct oracle *o, uint64_t address);

/* Fails the test unless the tree is in order from top to bottom. */
void check_tree(const struct index *index);
/* And unless it holds the oracle's entries, in order. */
void check_same(struct oracle *o, const struct index *index);

#endif
