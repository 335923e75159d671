/* SPDX-License-Identifier: MIT */
#include "rig_edu.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <unistd.h>

/* hw/misc/edu.c of QEMU: registers in BAR 0 */
#define EDU_SOURCE	0x80
#define EDU_DESTINATION 0x88
#define EDU_COUNT	0x90
#define EDU_COMMAND	0x98
#define EDU_START	1
#define EDU_TO_RAM	2
#define EDU_BUFFER	0x40000 /* the device's own address of its 4 KiB */
#define EDU_BAR_SIZE	0x100000

bool edu_find(struct edu *edu)
{
	FILE *list = fopen("/run/vfio-pci", "re");
	bool found = list && fscanf(list, "%31s %d", edu->name, &edu->number) == 2;

	if (list)
		fclose(list);
	return found;
}

static void master_on(struct rig *rig, struct edu *edu)
{
	uint16_t command = 0;

	vfd_device_read(edu->device, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2, &rig->err);
	command |= PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY;
	ok_code(vfd_device_write(edu->device, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2,
				 &rig->err),
		0, &rig->err, "bus mastering on");
}

void edu_open(struct rig *rig, struct edu *edu)
{
	void *registers = NULL;

	ok_code(vfd_device_open(edu->group, edu->name, &edu->device, &rig->err), 0, &rig->err, "open %s",
		edu->name);
	ok_code(vfd_device_map(edu->device, VFIO_PCI_BAR0_REGION_INDEX, 0, EDU_BAR_SIZE, &registers,
			       &rig->err),
		0, &rig->err, "map its BAR 0");
	edu->registers = registers;
	master_on(rig, edu);
}

static void put(struct edu *edu, uint32_t at, uint64_t value)
{
	*(volatile uint64_t *)(edu->registers + at) = value;
}

static void dma(struct edu *edu, uint64_t from, uint64_t to, uint64_t size, uint64_t command)
{
	put(edu, EDU_SOURCE, from);
	put(edu, EDU_DESTINATION, to);
	put(edu, EDU_COUNT, size);
	put(edu, EDU_COMMAND, command | EDU_START);
	for (int i = 0; i < 3000 && *(volatile uint64_t *)(edu->registers + EDU_COMMAND) & EDU_START; i++)
		usleep(1000);
}

void edu_load(struct edu *edu, uint64_t iova, uint64_t size)
{
	dma(edu, iova, EDU_BUFFER, size, 0);
}

void edu_store(struct edu *edu, uint64_t iova, uint64_t size)
{
	dma(edu, EDU_BUFFER, iova, size, EDU_TO_RAM);
}

void edu_copy(struct edu *edu, uint64_t from, uint64_t to)
{
	edu_load(edu, RIG_IOVA + from * RIG_PAGE, EDU_MOST);
	edu_store(edu, RIG_IOVA + to * RIG_PAGE, EDU_MOST);
}
