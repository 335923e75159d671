/* SPDX-License-Identifier: MIT */

/* Hot-unplug in the middle: the kernel waits until the device is closed, then detaches the group by itself. */

#include "emulated.h"

#include <unistd.h>

static int plug(unsigned index, bool in)
{
	struct vfdtest_plug plug = { .device = index };

	return rig_command(in ? VFDTEST_ADD : VFDTEST_REMOVE, &plug);
}

/* Removal goes on in the kernel after the last close. */
static bool wait_absent(unsigned index)
{
	for (int i = 0; i < 200 && rig_status(index).state != VFDTEST_ABSENT; i++)
		usleep(10000);
	return rig_status(index).state == VFDTEST_ABSENT;
}

static void while_writing(void)
{
	struct rig rig;

	rig_begin(&rig);
	rig_run(0, 0, 1400, 21);
	rig_pin(0, 1600, 3);
	usleep(20000);
	ok(!plug(0, false), "take the device away while it writes");
	ok_code(vfd_track_harvest(rig.container, 0, NULL, &rig.err), 0, &rig.err,
		"harvest while it is being removed");
	usleep(20000);
	ok_code(vfd_device_close(&rig.devices[0], VFD_COLLECT, &rig.err), 0, &rig.err,
		"close the device, collecting");
	ok(wait_absent(0), "the kernel removed it then");
	ok_code(vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err), 0, &rig.err,
		"detach a group that is gone already");
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_nothing_lost(&log, &truth, "unplugged while writing");
	ok(!plug(0, true), "plug it in again");
	rig_close(&rig);
}

/* With the last close the kernel takes the record away. What was asked of it before is known by name, not assumed. */
static void straight_into_detach(void)
{
	struct vfd_count count = { 0 };
	struct rig rig;

	rig_begin(&rig);
	rig_run(0, 0, 1400, 22);
	usleep(20000);
	plug(0, false);
	ok_code(vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err), 0, &rig.err,
		"detach a device that is being removed");
	vfd_consumer_count(vfd_log_consumer(rig.log), 0, UINT64_MAX, &count, &rig.err);
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok(count.reported >= pages_count(&truth), "%llu pages reported of %u written",
	   (unsigned long long)count.reported, pages_count(&truth));
	ok_nothing_lost(&log, &truth, "unplugged, then detached");
	ok(wait_absent(0) && !plug(0, true), "removed, and plugged in again");
	rig_close(&rig);
}

/* Between the device's close and the detach nothing holds the group. */
static void in_the_gap(void)
{
	struct rig rig;

	rig_begin(&rig);
	rig_attach(&rig, 1);
	rig_open_device(&rig, 1);
	rig_write(0, 5, 50, 1);
	rig_write(1, 600, 50, 1);
	rig_pin(0, 1600, 3);
	ok_code(vfd_device_close(&rig.devices[0], VFD_COLLECT, &rig.err), 0, &rig.err, "close a device");
	ok(!plug(0, false) && wait_absent(0), "its group goes, another stays");
	rig_write(1, 900, 20, 1);
	ok_code(vfd_track_harvest(rig.container, 0, NULL, &rig.err), 0, &rig.err, "harvest on");
	ok_code(vfd_container_close(&rig.container, VFD_COLLECT, &rig.err), 0, &rig.err, "close all");
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_nothing_lost(&log, &truth, "unplugged in the gap");
	ok(!plug(0, true), "plug it in again");
	rig_close(&rig);
}

void test_plug(void)
{
	while_writing();
	straight_into_detach();
	in_the_gap();
}
