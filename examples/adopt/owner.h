/* SPDX-License-Identifier: MIT */
#ifndef OWNER_H
#define OWNER_H

/* A program that has VFIO already: plain ioctls, nothing of libvfiodirty. */

#include <stdbool.h>
#include <stdint.h>

enum {
	RAM_SIZE = 4 << 20,
	RAM_PAGES = RAM_SIZE / 4096,
	RAM_IOVA = 1 << 20,
	SOURCE_SIZE = 4096,
	SOURCE_IOVA = 16 << 20,
};

struct owner {
	const char *device; /* as VFIO_GROUP_GET_DEVICE_FD wants it */
	int number;	    /* of its group */
	int container, group, fd;
	uint8_t *ram;	 /* the device writes it */
	uint8_t *source; /* the device reads it */
	uint64_t writes; /* so far */
	/* the driver's: */
	bool vfdtest;
	int bench;
	volatile uint8_t *registers;
};

/* owner.c: type: 1 or 2, of type1. */
void owner_open(struct owner *o, int number, const char *device, int type);
/* VFIO_IOMMU_DIRTY_PAGES START: a program may have begun to track by itself. */
void owner_track(struct owner *o);
/* Not for one who has given its descriptors away. */
void owner_close(struct owner *o);

/* driver.c: QEMU's edu device, or the test device of tests/kernel ("vfdtest.N"). */
void driver_open(struct owner *o);
/* The device writes to a page of RAM what it never wrote before. Returns when it has. */
void driver_write(struct owner *o, uint64_t page);
/* The device is not used any more; while its registers are mapped it stays open. */
void driver_close(struct owner *o);

_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
