/* SPDX-License-Identifier: MIT */
#ifndef LIB_IOMMUFD_H
#define LIB_IOMMUFD_H

/* An I/O address space of /dev/iommu (an IOAS) as a backend. Its record is the dirty bits in the page tables of those IOMMUs that set
 * them: a HWPT is one such table, which devices share as far as their IOMMUs allow. A device without one, or with an emulated
 * IOMMU, is in no record.
 *
 * What the kernel does here is worse than type1 (traps 33 to 42 of docs/kernel-contract.md):
 * - GET says 0 when the table is not switched on, over holes, and when it cannot write the bitmap, and the bits may be gone. So it is asked only
 *   of tables that are on, and the floors above ask for runs of whole mappings, into memory that is there.
 * - Switching a table on clears it, also when it is on already: done once.
 * - Unmapping clears too, and does not report: what is written between GET and UNMAP is lost. (`tears`)
 * - A table takes its bits along: it stays until the address space goes, when nobody uses it any more.
 *
 * The record is united over all tables. Changes to the list of tables: the container's gate is closed. */

#include "backend.h"

extern const struct backend_ops iommufd_ops;

#define IOMMUFD_TABLES 64 /* of one address space, at most: IOMMUs that differ */

struct hwpt {
	uint32_t id;
	bool on; /* it records */
};

struct iommufd {
	uint32_t ioas;			/* 0: none */
	bool fine;			/* entries of one page are wanted */
	bool small;			/* and that is what there is */
	struct vfd_iova_range *allowed; /* must stay usable, in each address space to come */
	uint32_t allowed_count;
	struct hwpt *tables;
	size_t count;
};

/* What became of a device. */
struct iommufd_attached {
	uint32_t table;	 /* or the IOAS */
	bool recorded;	 /* it is in a table that can tell */
	const char *why; /* ... or why not: static text */
};

/* Keep these usable, now and in address spaces to come, instead of those before: takes `ranges`, which came from malloc(), unless it fails. */
int iommufd_allow(const struct backend *backend, struct vfd_iova_range *ranges, uint32_t count);

/* A device that was opened by its own node belongs to this descriptor of /dev/iommu; *id is its name there. */
int iommufd_bind(const struct backend *backend, int device, uint32_t *id);

/* Whether its IOMMU sets dirty bits: 1, or 0; negative: that was not found out. *why: static text. */
int iommufd_can_record(const struct backend *backend, uint32_t id, const char **why);

/* Give it the address space: by a table that records if its IOMMU can. When `recording` that is switched on before the device can reach it.
 * After a failure the device reaches nothing. */
int iommufd_attach(struct backend *backend, int device, uint32_t id, bool emulated, bool recording,
		   struct iommufd_attached *out);

/* It reaches nothing any more, whoever has it open. Its table keeps the bits. Asked twice if need be: the handle is closed after it. */
int iommufd_detach(const struct backend *backend, int device);

#endif
