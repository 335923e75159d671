/* SPDX-License-Identifier: MIT */

/* Registers and interrupts: what is made of a device is undone before it is closed, or the detach would be EBUSY. */

#include "emulated.h"

#include <linux/vfio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void registers(struct rig *rig)
{
	struct vfd_device_region region = { .struct_size = sizeof region };
	struct vfd_device *device = rig->devices[0];
	uint32_t out = 0x12345678, in = 0;
	void *whole, *sparse;

	ok_code(vfd_device_region_info(device, 1, &region, &rig->err), 0, &rig->err, "a region with a hole");
	ok(region.size == VFDTEST_REGION1_SIZE && region.area_count == 2, "its two areas");
	ok_code(vfd_device_map(device, 0, 0, VFDTEST_REGION0_SIZE, &whole, &rig->err), 0, &rig->err,
		"map a whole region");
	ok_code(vfd_device_map(device, 1, 2 * RIG_PAGE, RIG_PAGE, &sparse, &rig->err), 0, &rig->err,
		"map an area");
	ok_code(vfd_device_map(device, 1, RIG_PAGE, RIG_PAGE, &sparse, &rig->err), VFD_ERESERVED, &rig->err,
		"not the hole");
	ok_code(vfd_device_write(device, 0, 64, &out, sizeof out, &rig->err), 0, &rig->err,
		"write a register");
	ok_code(vfd_device_read(device, 0, 64, &in, sizeof in, &rig->err), 0, &rig->err, "read it");
	ok(in == out && !memcmp((char *)whole + 64, &out, sizeof out), "mapped and read agree");
}

static void interrupts(struct rig *rig)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	eventfd_t value = 0;

	ok_code(vfd_device_irq_enable(rig->devices[0], 0, 0, &fd, 1, &rig->err), 0, &rig->err,
		"an interrupt");
	rig_set(0, VFDTEST_IRQ, 3);
	ok(!eventfd_read(fd, &value) && value == 3, "it arrives");
	ok_code(vfd_device_irq_disable(rig->devices[0], 0, &rig->err), 0, &rig->err, "turn it off");
	ok(rig_set(0, VFDTEST_IRQ, 1), "and none is set");
	vfd_device_irq_enable(rig->devices[0], 0, 0, &fd, 1, &rig->err);
	close(fd);
}

void test_device(void)
{
	struct rig rig;

	rig_begin(&rig);
	registers(&rig);
	interrupts(&rig);
	rig_write(0, 9, 9, 1);
	ok_code(vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err), 0, &rig.err,
		"detach with all that open");
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, "registers and interrupts");
	rig_close(&rig);
}
