/* SPDX-License-Identifier: MIT */

/* Someone else holds the device: EBUSY, nothing lost, the message says who. And what a forked child may do. */

#include "emulated.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A child that inherits everything, does `work`, and stays until the pipe is closed. Returns the pipe's end. */
static int child_with(struct rig *rig, int (*work)(struct rig *rig), pid_t *pid)
{
	int go[2], ready[2];
	char byte = 0;

	if (pipe(go) || pipe(ready))
		_exit(1);
	fflush(stdout);
	*pid = fork();
	if (!*pid) {
		close(go[1]);
		byte = (char)work(rig);
		if (write(ready[1], &byte, 1) != 1 || read(go[0], &byte, 1))
			_exit(2);
		_exit(0);
	}
	close(go[0]);
	if (read(ready[0], &byte, 1) != 1)
		byte = 99;
	close(ready[0]);
	close(ready[1]);
	ok(!byte, "the child did its part (%d)", byte);
	return go[1];
}

static void end_child(int pipe_end, pid_t pid)
{
	close(pipe_end);
	waitpid(pid, NULL, 0);
}

static int nothing(struct rig *rig)
{
	(void)rig;
	return 0;
}

static int forbidden(struct rig *rig)
{
	struct vfd_error err;

	if (vfd_track_harvest(rig->container, 0, NULL, &err) != VFD_EFORKED)
		return 1;
	if (vfd_group_detach(&rig->groups[0], VFD_COLLECT, &err) != VFD_EFORKED)
		return 2;
	if (vfd_device_close(&rig->devices[0], VFD_DISCARD, &err) != VFD_EFORKED)
		return 3;
	return vfd_container_close(&rig->container, VFD_DISCARD, &err) == VFD_EFORKED ? 0 : 4;
}

static int release(struct rig *rig)
{
	int rc = forbidden(rig);

	if (rc)
		return rc;
	return vfd_container_release(&rig->container, &rig->err) || rig->container ? 5 : 0;
}

static void held_by_a_child(void)
{
	struct rig rig;
	pid_t pid;

	rig_begin(&rig);
	rig_write(0, 3, 30, 1);
	int end = child_with(&rig, nothing, &pid);
	int rc = vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err);
	ok_code(rc, -EBUSY, &rig.err, "a forked child holds the device");
	ok(rc == -EBUSY && strstr(rig.err.message, "another process"), "the message says so: %s",
	   rig.err.message);
	ok(rig.groups[0] != NULL, "the group is still a group");
	rig_write(0, 200, 10, 1); /* through the child's descriptor */
	ok_code(vfd_track_harvest(rig.container, 0, NULL, &rig.err), 0, &rig.err, "tracking goes on");
	ok_code(vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err), -EBUSY, &rig.err,
		"and busy it stays");
	end_child(end, pid);
	ok_code(vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err), 0, &rig.err,
		"the child is gone: detach");
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, "busy, then detached");
	rig_close(&rig);
}

static void child_releases(void)
{
	struct rig rig;
	void *area;
	pid_t pid;

	rig_begin(&rig);
	vfd_device_map(rig.devices[0], 0, 0, RIG_PAGE, &area, &rig.err);
	rig_write(0, 3, 30, 1);
	int end = child_with(&rig, release, &pid);
	ok_code(vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err), 0, &rig.err,
		"a child that released holds nothing");
	end_child(end, pid);
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, "released by the child");
	rig_close(&rig);
}

/* A duplicate of the raw descriptor in this process: another message. */
static void held_by_ourselves(void)
{
	struct rig rig;

	rig_begin(&rig);
	rig_write(0, 3, 30, 1);
	int copy = dup(vfd_device_fd(rig.devices[0]));
	int rc = vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err);
	ok(rc == -EBUSY && strstr(rig.err.message, "duplicate"), "a duplicate in this process: %s",
	   rc ? rig.err.message : "");
	close(copy);
	ok_code(vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err), 0, &rig.err, "closed: detach");
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, "duplicate");
	rig_close(&rig);
}

void test_busy(void)
{
	held_by_a_child();
	child_releases();
	held_by_ourselves();
}
