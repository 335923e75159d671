/* SPDX-License-Identifier: MIT */
#ifndef LIB_MAP_CHECK_H
#define LIB_MAP_CHECK_H

/* What can be said of a mapping before the kernel is asked for it. */

#include "space.h"

/* vfio_iommu_type1's dma_entry_limit is an unsigned int: no container ever has room for more. */
#define MOST_ENTRIES UINT64_C(0xffffffff)

/* Flags, size, alignment, granule, wrap. */
int check_mapping(const struct space *space, const struct vfd_mapping *want, struct range *where,
		  struct vfd_error *err);
/* What is mapped already, against a page size that may be another than it was mapped by: bits of which a page does not make one, or more than
 * can be counted. The container's gate is closed. VFD_EALIGN. */
int check_page_size_fits(struct space *space, struct vfd_error *err);
/* The kernel's windows. VFD_ERESERVED. */
int check_allowed(const struct caps *caps, struct range where, struct vfd_error *err);
/* The table. VFD_EOVERLAP. Under a claim what is true now stays true until it is released. Mutex held. */
int check_free(struct space *space, struct range where, struct vfd_error *err);
/* The log address that was stated, if one was. VFD_EALIAS. */
int check_log_address(const struct vfd_mapping *want, uint64_t address, struct vfd_error *err);

/* The memory's region, or regions if it is cut into pieces. VFD_ENOREGION, VFD_EALIAS. */
int check_region(struct space *space, const struct vfd_mapping *run, struct vfd_error *err);

/* What a map would return now. */
int map_check(struct space *space, const struct vfd_mapping *want, struct vfd_map_cost *cost,
	      struct vfd_error *err);

#endif
