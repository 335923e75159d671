/* SPDX-License-Identifier: MIT */
#ifndef LIB_STORES_H
#define LIB_STORES_H

/* Which pages of this process a CPU has stored to: a userfaultfd that lets every store go on and only notes it (asynchronous write
 * protection), and PAGEMAP_SCAN, which reads the notes and begins anew in one step, page by page. */

#include <stddef.h>
#include <stdint.h>

#include <vfiodirty/error.h>

#include "range.h"
#include "sys.h"

struct stores {
	const struct sys *sys;
	int userfault, pagemap, memory; /* descriptors; -1: none */
};

/* 0; VFD_EUNSUPPORTED; -errno, explained. Nothing is open after a failure. */
int stores_open(struct stores *stores, const struct sys *sys, struct vfd_error *err);
/* What is watched must be unwatched before: a child may have the descriptor too, and keep it open. */
void stores_close(struct stores *stores);

/* Whole pages of memory. What is watched may be watched again. 0 or -errno. */
int stores_watch(const struct stores *stores, struct range memory);
void stores_unwatch(const struct stores *stores, struct range memory);

/* Call untouched for each part that was certainly not stored to since the last scan, is there and is watched; begin anew.
 * 0, or -errno: then parts may have been begun anew that untouched was not told of. */
int stores_scan(const struct stores *stores, struct range memory,
		void (*untouched)(struct range part, void *arg), void *arg);

/* Read memory that may vanish, or that others write meanwhile. Returns the bytes that were there. */
size_t stores_read(const struct stores *stores, uint64_t address, void *data, size_t size);

#endif
