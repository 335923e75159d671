/* SPDX-License-Identifier: MIT */
#ifndef TESTS_REAL_MEMORY_H
#define TESTS_REAL_MEMORY_H

/* Memory of all kinds for real_memory, RIG_PAGES pages of it at a multiple of 2 MiB; MAP_FAILED if there is none. */

#include "rig_edu.h"

struct memory_kind {
	const char *name;
	unsigned char *(*make)(void);
	bool on_disk;
};

/* Those that any device may have; the last one has no name. */
extern const struct memory_kind memory_kinds[];

unsigned char *memory_anonymous(void);
unsigned char *memory_huge(void);
unsigned char *memory_disk_file(void);	/* shared */
unsigned char *memory_short_file(void); /* on tmpfs; it ends after 512 pages */

/* A RAM disk with ext4 at /disk. */
bool memory_mount_disk(void);

#endif
