/* SPDX-License-Identifier: MIT */
#ifndef MIGRATE_MEMORY_H
#define MIGRATE_MEMORY_H

#include "stream.h"

/* The memory that is to be filled, and which blocks of it were. */
struct memory {
	const struct mig_region *regions;
	size_t count;
	atomic_uchar *seen[MIG_REGIONS]; /* a byte a block: channels need no lock */
};

int memory_open(struct memory *m, const struct mig_guest *guest, struct mig_error *err);
void memory_close(struct memory *m);
/* Where a run belongs; NULL with a message if it is not within one region. */
void *memory_at(const struct memory *m, const struct run *run, struct mig_error *err);
void memory_seen(struct memory *m, const struct run *run);
/* Has every block been here? */
int memory_complete(const struct memory *m, struct mig_error *err);

#endif
