/* SPDX-License-Identifier: MIT */
#include "life.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

static int bench = -1;

void die(const char *what)
{
	printf("cannot begin: %s: %s\n", what, strerror(errno));
	exit(3);
}

static void set(const struct life *l, uint32_t knob, uint64_t value)
{
	struct vfdtest_set how = { .device = l->index, .knob = knob, .value = value };

	if (ioctl(bench, VFDTEST_SET, &how))
		die("the device is set up");
}

/* One that logs has states, too: quieted by a reset, its log would end. */
void device_begin(struct life *l)
{
	bench = open(VFDTEST_PATH, O_RDWR | O_CLOEXEC);
	if (bench < 0 || device_group(l) < 0)
		die(VFDTEST_PATH);
	set(l, VFDTEST_LOG, l->logs);
	set(l, VFDTEST_MIG, l->logs ? VFIO_MIGRATION_STOP_COPY : 0);
	device_truth(l); /* forget */
}

int device_group(const struct life *l)
{
	struct vfdtest_status status = { .device = l->index };

	return ioctl(bench, VFDTEST_STATUS, &status) ? -1 : status.group;
}

static struct vfdtest_range range_of(const struct life *l, uint64_t page, uint64_t count)
{
	return (struct vfdtest_range){ .device = l->index,
				       .iova = LIFE_IOVA + page * LIFE_PAGE,
				       .size = count * LIFE_PAGE };
}

/* Where the fault has taken away the device, or the mapping, nothing is written: the device says what was. */
void device_write(const struct life *l, uint64_t page, uint64_t count)
{
	struct vfdtest_range range = range_of(l, page, count);

	range.value = 1 + l->deliveries;
	ioctl(bench, VFDTEST_WRITE, &range);
}

void device_pin(const struct life *l, uint64_t page, uint64_t count)
{
	struct vfdtest_range range = range_of(l, page, count);

	range.flags = VFDTEST_PIN_WRITE;
	ioctl(bench, VFDTEST_PIN, &range);
}

/* All over the memory, until the device is reset or closed. Its log has a write only behind it, when the memory may have been unmapped and the log
 * read: one that logs keeps out of what does not come back. */
void device_run(const struct life *l)
{
	struct vfdtest_run run = {
		.device = l->index,
		.iova = LIFE_IOVA,
		.size = (l->logs ? LIFE_PIECES : LIFE_PAGES) * LIFE_PAGE,
		.seed = 1 + l->deliveries,
		.period_ns = 200000,
		.burst = 2,
	};

	ioctl(bench, VFDTEST_RUN, &run);
}

struct pages device_truth(const struct life *l)
{
	struct pages pages = { 0 };
	struct vfdtest_truth truth = {
		.device = l->index,
		.flags = VFDTEST_TRUTH_CLEAR,
		.iova = LIFE_IOVA,
		.size = LIFE_PAGES * LIFE_PAGE,
		.bitmap = (uintptr_t)pages.words,
	};

	if (ioctl(bench, VFDTEST_TRUTH, &truth))
		die("the truth");
	return pages;
}

bool find_pci(struct life *l)
{
	FILE *list = fopen("/run/vfio-pci", "re");
	bool found = list;

	for (unsigned i = 0; found && i <= l->index; i++)
		found = fscanf(list, "%31s %d", l->pci, &l->pci_group) == 2;

	if (list)
		fclose(list);
	return found;
}
