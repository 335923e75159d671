/* SPDX-License-Identifier: MIT */
#ifndef TESTS_REAL_IOMMUFD_MOCK_H
#define TESTS_REAL_IOMMUFD_MOCK_H

/*
 * Devices for iommufd without hardware: the kernel's own mock domains (CONFIG_IOMMUFD_TEST), whose pages are dirtied on command, dressed as VFIO
 * devices. All of iommufd is real; of VFIO only the node, BIND, ATTACH and DETACH are imitated. Device mockN is alone in group 9000 + N.
 */

#include <stdbool.h>
#include <stdint.h>

#include "sys.h"

enum {
	MOCK_DEVICES = 3,
	MOCK_GROUP = 9000,
	MOCK_BLIND = 2, /* this one's IOMMU sets no dirty bits */
};

extern const struct sys mock_sys;

/* Whether this kernel has them, beside no real IOMMU, with which they do not work. */
bool mock_there(void);

/* Entries of 1 MiB, where they fit, for devices that are opened from now on. */
void mock_huge(bool on);

/* Device `index` writes a page. 0; -ENODEV: it is attached to nothing; -EFAULT: nothing is mapped there. */
int mock_dirty(unsigned index, uint64_t iova);

/* Calls of this thread are to fail at the nth allocation or copy in the kernel; 0: none. Returns how many were not reached. */
int mock_fail_nth(int nth);

#endif
