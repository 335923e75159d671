/* SPDX-License-Identifier: MIT */
#ifndef TESTS_REAL_RIG_EDU_H
#define TESTS_REAL_RIG_EDU_H

/* QEMU's edu device, behind the emulated IOMMU: it copies between RAM and a buffer of its own. */

#include "rig.h"

#define EDU_MOST 0x800 /* QEMU 7.2 refuses all of its 4 KiB at once */

struct edu {
	char name[32];
	int number;
	struct vfd_group *group;
	struct vfd_device *device;
	volatile unsigned char *registers;
};

/* The one that is bound to vfio-pci; false: there is none. */
bool edu_find(struct edu *edu);
/* Its group is attached: open it, map its registers, bus mastering on. */
void edu_open(struct rig *rig, struct edu *edu);
/* The device reads the first half of a page of RAM and writes it to another. Pages of the rig. */
void edu_copy(struct edu *edu, uint64_t from, uint64_t to);
/* One way: from RAM into the device, from the device to RAM. At most EDU_MOST bytes. */
void edu_load(struct edu *edu, uint64_t iova, uint64_t size);
void edu_store(struct edu *edu, uint64_t iova, uint64_t size);

#endif
