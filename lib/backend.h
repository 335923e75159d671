/* SPDX-License-Identifier: MIT */
#ifndef LIB_BACKEND_H
#define LIB_BACKEND_H

/* The kernel's interface to an I/O address space, as the floors above see it: mappings, and a record of what devices wrote. What is behind
 * it (type1.c) says what each failure can have spoiled. It knows no mapping table and no log. Bitmaps are relative to the range's
 * first byte, one bit per page_size. */

#include "caps.h"
#include "range.h"
#include "sys.h"

struct backend;
struct iommufd;

/* An answer of map(): it is there, but the first try failed, when a part of it may have been there for a moment. */
enum { BACKEND_MAPPED_ANEW = 1 };

/* Why a bitmap call was refused with EINVAL, which means many things. */
enum record_fault {
	RECORD_ALIVE,	  /* it is kept, and the page size is right: the range itself is at fault */
	RECORD_STOPPED,	  /* the address space lives, but nothing is recorded any more */
	RECORD_GONE,	  /* the address space is gone */
	RECORD_PAGE_SIZE, /* the page size changed */
};

struct backend_ops {
	const char *who; /* reports */

	/* Its record is kept for each device by itself: one whose writes are in none does not spoil that of the others. */
	bool by_device;
	/* It can be asked over holes. */
	bool holes;
	/* The bits of mappings that do not start at a multiple of 64 pages from the range's first byte are shifted, in place. */
	bool shifts;
	/* unmap_harvest() reads, and then unmaps: what is written in between is lost. */
	bool tears;
	/* What is mapped is locked, if the IOMMU is real. */
	bool locks;

	/* What the calls below are to the kernel, for messages */
	const char *begin_name, *end_name, *refresh_name, *start_name, *stop_name, *get_name, *map_name,
		*unmap_name;

	/* All calls: 0 or -errno. A new, empty address space. */
	int (*begin)(struct backend *backend);
	/* It goes, and the record with it. NULL: it goes with the last group. After an error it can be asked again. */
	int (*end)(struct backend *backend);

	/* Ask for the capabilities and keep the answer. EINVAL: there is no address space. */
	int (*refresh)(struct backend *backend);

	int (*start)(const struct backend *backend);
	int (*stop)(const struct backend *backend);

	/* The record of a range into zeroed words; it is cleared in the kernel. On -EFAULT what was delivered is in words; mappings that start at
	 * a multiple of 64 pages from where.first and were not delivered are intact. All other errors: what arrived is in words (with several
	 * page tables those before the one that failed were read); the rest was not read. */
	int (*get)(const struct backend *backend, struct range where, uint64_t *words);

	/* Which of the meanings of EINVAL it was. Clears nothing; words has room for a page's bit. Changes nothing: other threads
	 * rely on the page size. */
	enum record_fault (*diagnose)(const struct backend *backend, uint64_t *words);

	int (*map)(const struct backend *backend, struct range where, const void *memory, bool read,
		   bool write);

	/* Both: *unmapped is what the kernel said, 0 on error. With words (zeroed) the bits come along; on -EFAULT they may be there
	 * too, and the mapping may be gone or not: asking again tells (0 bytes: it was gone, its bits had arrived). */
	int (*unmap)(const struct backend *backend, struct range where, uint64_t *unmapped);
	int (*unmap_harvest)(const struct backend *backend, struct range where, uint64_t *words,
			     uint64_t *unmapped);
};

struct backend {
	const struct backend_ops *ops;
	const struct sys *sys;
	int fd;
	struct iommufd *iommufd; /* what that needs to know besides; else NULL */
	struct caps caps;
	uint64_t page_size; /* of dirty bits; 4096 until the kernel was asked */
};

#define BACKEND_PAGE_SIZE    UINT64_C(4096)

/* No IOMMU's smallest page is larger; what is counted in pages, and multiplied, has room for it. */
#define BACKEND_LARGEST_PAGE (UINT64_C(1) << 30)

/* The top of the address space, where nobody maps. A container fails at its last page, and is asked about the one before. */
#define IOVA_TOP	     (UINT64_MAX - (UINT64_C(2) << 20) + 1)

/* Bytes of bitmap that the kernel wants for a range. */
uint64_t backend_bitmap_bytes(const struct backend *backend, struct range where);

static inline int backend_refresh(struct backend *backend)
{
	return backend->ops->refresh(backend);
}

static inline int backend_start(const struct backend *backend)
{
	return backend->ops->start(backend);
}

static inline int backend_stop(const struct backend *backend)
{
	return backend->ops->stop(backend);
}

static inline int backend_get(const struct backend *backend, struct range where, uint64_t *words)
{
	return backend->ops->get(backend, where, words);
}

static inline int backend_map(const struct backend *backend, struct range where, const void *memory,
			      bool read, bool write)
{
	return backend->ops->map(backend, where, memory, read, write);
}

static inline int backend_unmap(const struct backend *backend, struct range where, uint64_t *unmapped)
{
	return backend->ops->unmap(backend, where, unmapped);
}

static inline int backend_unmap_harvest(const struct backend *backend, struct range where, uint64_t *words,
					uint64_t *unmapped)
{
	return backend->ops->unmap_harvest(backend, where, words, unmapped);
}

#endif
