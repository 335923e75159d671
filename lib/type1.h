/* SPDX-License-Identifier: MIT */
#ifndef LIB_TYPE1_H
#define LIB_TYPE1_H

/* The type1 container as a source of dirty pages: its ioctls, and for each what a failure can have spoiled. Knows no mapping table
 * and no log. Bitmaps are relative to the range's first byte, one bit per page_size. */

#include "caps.h"
#include "error.h"
#include "range.h"
#include "sys.h"

struct type1 {
	const struct sys *sys;
	int fd;
	struct caps caps;
	uint64_t page_size; /* of dirty bits; 4096 until the kernel was asked */
};

/* Why a bitmap call was refused with EINVAL, which means five things. */
enum type1_fault {
	TYPE1_ALIVE,	 /* tracking is on and the page size is right: the range itself is at fault */
	TYPE1_STOPPED,	 /* the container lives, but does not track any more */
	TYPE1_GONE,	 /* the container has no IOMMU: the last group left */
	TYPE1_PAGE_SIZE, /* the page size changed */
};

/* Ask VFIO_IOMMU_GET_INFO and keep the answer. 0 or -errno. */
int type1_refresh(struct type1 *type1);

int type1_start(const struct type1 *type1);
int type1_stop(const struct type1 *type1);

/* Bytes of bitmap that the kernel wants for a range. */
uint64_t type1_bitmap_bytes(const struct type1 *type1, struct range where);

/* GET_BITMAP into zeroed words. On -EFAULT what was delivered is in words and cleared in the kernel; mappings that start at a
 * multiple of 64 pages from where.first and were not delivered are intact. All other errors: nothing was read. */
int type1_get(const struct type1 *type1, struct range where, uint64_t *words);

/* The top of the address space, where nobody maps: the kernel fails at its last page, and type1_diagnose() asks about the one before. */
#define TYPE1_TOP (UINT64_MAX - (UINT64_C(2) << 20) + 1)

/* Which of the meanings of EINVAL it was. Clears nothing: it asks where nothing is mapped; words has room for a page's bit.
 * Changes nothing: other threads rely on the page size. */
enum type1_fault type1_diagnose(const struct type1 *type1, uint64_t *words);

int type1_map(const struct type1 *type1, struct range where, const void *memory, bool read, bool write);

/* Both: *unmapped is what the kernel said, 0 on error. With words (zeroed) the bits come along; on -EFAULT they may be there too,
 * and the mapping may be gone or not: asking again tells (0 bytes: it was gone, its bits had arrived). */
int type1_unmap(const struct type1 *type1, struct range where, uint64_t *unmapped);
int type1_unmap_harvest(const struct type1 *type1, struct range where, uint64_t *words, uint64_t *unmapped);

#endif
