/* SPDX-License-Identifier: MIT */
#ifndef LIB_VMA_H
#define LIB_VMA_H

/* What of this process' memory a device may not get, by /proc/self/maps: for the text of an error, after the kernel refused. */

#include <stdbool.h>

#include "range.h"

enum vma_what {
	VMA_FINE, /* nothing to be seen */
	VMA_HOLE,
	VMA_NO_ACCESS,
	VMA_READ_ONLY, /* and it was to be written */
	VMA_FILE,      /* a file has it; of these the kernel pins only some */
};

struct vma_look {
	enum vma_what what;
	uint64_t at;	/* where it begins */
	char file[128]; /* VMA_FILE: its name, or as much as fits */
};

struct vma_look vma_look(struct range memory, bool write);

#endif
