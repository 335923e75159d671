/* SPDX-License-Identifier: MIT */
#ifndef TESTS_INJECT_LIFE_H
#define TESTS_INJECT_LIFE_H

/* A program that uses the library as any program does, while a device writes its memory; at its end it knows what was lost. */

#include <vfiodirty.h>

#include <stdbool.h>

#include "kernel/vfdtest.h"

#define LIFE_PAGE VFDTEST_PAGE_SIZE
#define LIFE_IOVA UINT64_C(0x1000000) /* page p of the memory, to devices */
#define LIFE_LOG  UINT64_C(0x80000000)

enum {
	LIFE_PAGES = 512,
	LIFE_PIECES = 224, /* from here on it is mapped in pieces, one of which is unmapped for good */
	LIFE_WORDS = LIFE_PAGES / 64,
	LIFE_RW = VFD_MAP_READ | VFD_MAP_WRITE,
};

struct pages {
	uint64_t words[LIFE_WORDS];
};

struct life {
	struct vfd_log *log;
	struct vfd_container *container;
	struct vfd_group *group, *physical;
	struct vfd_device *device, *other; /* other: of the physical group */
	unsigned char *memory, *copy;	   /* copy: what a receiver has */
	unsigned index;			   /* of the vfdtest device */
	char pci[32];			   /* a device behind an IOMMU; "": none */
	int pci_group;
	struct pages given; /* by the log */
	unsigned deliveries, forget;
	unsigned failed, undone; /* calls; of those, steps that failed at every try */
	bool logs; /* the device logs its DMA, and that is all there is to know: what is behind the IOMMU pins all that it writes */
	bool give_up;
	char said[VFD_ERROR_TEXT + 64]; /* by the first call that failed */
};

/* ---- the test device, by its own node ---- */

void device_begin(struct life *l); /* dies without a device, or one that logs if it must */
int device_group(const struct life *l);
void device_write(const struct life *l, uint64_t page, uint64_t count);
void device_pin(const struct life *l, uint64_t page, uint64_t count);
void device_run(const struct life *l);
struct pages device_truth(const struct life *l);
/* A device behind an IOMMU that the bench bound to vfio-pci, of the same index. */
bool find_pci(struct life *l);

void die(const char *what);

#endif
