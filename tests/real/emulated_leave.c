/* SPDX-License-Identifier: MIT */

/* Groups that leave a container in which another stays, and containers closed with everything open. */

#include "emulated.h"

#include <unistd.h>

static void one_of_two(void)
{
	struct rig rig;

	rig_begin(&rig);
	ok_code(rig_attach(&rig, 1), 0, &rig.err, "a second group");
	ok_code(rig_open_device(&rig, 1), 0, &rig.err, "its device");
	rig_run(0, 0, 700, 5);
	rig_run(1, 700, 700, 6);
	rig_pin(1, 1700, 2);
	usleep(30000);
	ok_code(vfd_group_detach(&rig.groups[1], 0, &rig.err), VFD_EDEVICES, &rig.err,
		"a group with an open device");
	ok_code(vfd_group_detach(&rig.groups[1], VFD_COLLECT, &rig.err), 0, &rig.err,
		"one group leaves, the other writes on");
	usleep(30000);
	ok_code(vfd_track_harvest(rig.container, 0, NULL, &rig.err), 0, &rig.err,
		"harvest with the group that stayed");
	ok_code(vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err), 0, &rig.err,
		"the last group leaves");
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, "two groups");
	rig_close(&rig);
}

static void close_collects(void)
{
	struct rig rig;

	rig_begin(&rig);
	rig_attach(&rig, 1);
	rig_open_device(&rig, 1);
	rig_run(0, 0, 700, 7);
	rig_run(1, 0, 1400, 8);
	rig_pin(0, 1700, 2);
	usleep(30000);
	ok_code(vfd_container_close(&rig.container, VFD_COLLECT, &rig.err), 0, &rig.err,
		"close a container with two devices at work");
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, "closed with VFD_COLLECT");
	rig_close(&rig);
}

static void stop_collects(void)
{
	struct rig rig;

	rig_begin(&rig);
	rig_write(0, 40, 20, 1);
	rig_pin(0, 300, 2);
	rig_unpin(0, 300, 1);
	vfd_device_quiesce(rig.devices[0], &rig.err);
	ok_code(vfd_track_stop(rig.container, VFD_COLLECT, &rig.err), 0, &rig.err, "stop with VFD_COLLECT");
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, "stopped");
	rig_close(&rig);
}

void test_leave(void)
{
	one_of_two();
	close_collects();
	stop_collects();
}
