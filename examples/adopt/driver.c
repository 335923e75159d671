/* SPDX-License-Identifier: MIT */

/* Two devices that write to memory when told to: edu, by DMA behind a real IOMMU; vfdtest, as a mediated device does. */

#include "owner.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vfdtest.h"

enum {
	EDU_ID = 0x11e81234, /* of PCI: device and vendor */
	EDU_FROM = 0x80,     /* registers in BAR 0 */
	EDU_TO = 0x88,
	EDU_COUNT = 0x90,
	EDU_COMMAND = 0x98,
	EDU_START = 1,
	EDU_TO_RAM = 2,
	EDU_BUFFER = 0x40000, /* its own address of 4 KiB inside it; it refuses all of them at once */
	EDU_PIECE = 0x800,
	EDU_BAR = 0x100000,
};

/* ---- edu ---- */

static uint64_t edu_region(struct owner *o, uint32_t index)
{
	struct vfio_region_info info = { .argsz = sizeof info, .index = index };

	if (ioctl(o->fd, VFIO_DEVICE_GET_REGION_INFO, &info))
		die("%s: region %u: %s", o->device, index, strerror(errno));
	return info.offset;
}

static void edu_open(struct owner *o)
{
	uint64_t config = edu_region(o, VFIO_PCI_CONFIG_REGION_INDEX);
	uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	uint32_t id = 0;

	if (pread(o->fd, &id, sizeof id, (off_t)config) != sizeof id || id != EDU_ID)
		die("%s is neither QEMU's edu device nor vfdtest.N", o->device);
	void *bar = mmap(NULL, EDU_BAR, PROT_READ | PROT_WRITE, MAP_SHARED, o->fd,
			 (off_t)edu_region(o, VFIO_PCI_BAR0_REGION_INDEX));
	if (bar == MAP_FAILED ||
	    pwrite(o->fd, &command, sizeof command, (off_t)config + PCI_COMMAND) != sizeof command)
		die("%s: cannot be driven: %s", o->device, strerror(errno));
	o->registers = bar;
}

static volatile uint64_t *edu_register(struct owner *o, unsigned at)
{
	return (volatile uint64_t *)(o->registers + at);
}

/* Takes 100 ms. */
static void edu_copy(struct owner *o, uint64_t from, uint64_t to, uint64_t direction)
{
	*edu_register(o, EDU_FROM) = from;
	*edu_register(o, EDU_TO) = to;
	*edu_register(o, EDU_COUNT) = EDU_PIECE;
	*edu_register(o, EDU_COMMAND) = direction | EDU_START;
	for (int i = 0; *edu_register(o, EDU_COMMAND) & EDU_START; i++) {
		if (i == 10000)
			die("%s: its DMA does not end", o->device);
		usleep(1000);
	}
}

static void edu_write(struct owner *o, uint64_t iova)
{
	memcpy(o->source, &o->writes, sizeof o->writes);
	edu_copy(o, SOURCE_IOVA, EDU_BUFFER, 0);
	edu_copy(o, EDU_BUFFER, iova, EDU_TO_RAM);
}

/* ---- vfdtest ---- */

static void vfdtest_open(struct owner *o)
{
	o->bench = open(VFDTEST_PATH, O_RDWR | O_CLOEXEC);
	if (o->bench < 0)
		die("%s: %s", VFDTEST_PATH, strerror(errno));
}

static void vfdtest_write(struct owner *o, uint64_t iova)
{
	struct vfdtest_range range = {
		.device = (uint32_t)atoi(o->device + strlen("vfdtest.")),
		.iova = iova,
		.size = EDU_PIECE,
		.value = o->writes << 32,
	};

	if (ioctl(o->bench, VFDTEST_WRITE, &range))
		die("%s: cannot write: %s", o->device, strerror(errno));
}

/* ---- either ---- */

void driver_open(struct owner *o)
{
	o->vfdtest = !strncmp(o->device, "vfdtest.", strlen("vfdtest."));
	if (o->vfdtest)
		vfdtest_open(o);
	else
		edu_open(o);
}

void driver_write(struct owner *o, uint64_t page)
{
	uint64_t iova = RAM_IOVA + page * 4096;

	o->writes++;
	if (o->vfdtest)
		vfdtest_write(o, iova);
	else
		edu_write(o, iova);
}

void driver_close(struct owner *o)
{
	if (o->vfdtest)
		close(o->bench);
	else
		munmap((void *)o->registers, EDU_BAR);
}
