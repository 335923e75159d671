/* SPDX-License-Identifier: MIT */
#ifndef TESTS_REAL_EDU_H
#define TESTS_REAL_EDU_H

/* QEMU's edu device behind the emulated VT-d: real DMA that the kernel knows nothing about. */

#include "rig.h"

#define EDU_MOST 0x800 /* bytes of a transfer: QEMU 7.2 refuses all of the device's 4 KiB at once */

struct edu {
	char name[32];
	int number;
	struct vfd_group *group;
	struct vfd_device *device;
	volatile unsigned char *registers;
};

/* The device that run.sh has bound to vfio-pci; false: there is none. */
bool edu_find(struct edu *edu);
/* Its group is attached. Bus mastering is on afterwards. */
void edu_open(struct rig *rig, struct edu *edu);
/* The device reads the first half of a page of RAM and writes it to another: pages of the rig's IOVAs. */
void edu_copy(struct edu *edu, uint64_t from, uint64_t to);

#endif
