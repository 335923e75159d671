/* SPDX-License-Identifier: MIT */

/* Logs of devices are started anew for what was mapped since: when the caller says so, and before a silent device wakes. */

#include <vfiodirty/track.h>

#include "answer.h"
#include "container.h"
#include "options.h"
#include "uapi.h"

static const char *const rearm_op = "track rearm";

static int begin(struct vfd_container *container, const struct vfd_rearm_options *user, struct rearm *rearm,
		 struct vfd_error *err)
{
	struct vfd_rearm_options options = { 0 };
	int rc = user ? copy_options(&options, sizeof options, sizeof options, user,
				     "struct vfd_rearm_options", err)
		      : 0;

	if (!rc && options.flags & ~(uint32_t)VFD_REARM_RUNNING)
		rc = fail(err, VFD_EINVALID, rearm_op, "unknown flags %#x", options.flags);
	*rearm = (struct rearm){ .running = options.flags & VFD_REARM_RUNNING,
				 .least = options.unarmed_bytes,
				 .budget = options.budget };
	if (!rc)
		rc = container_close_gate(container, rearm_op, err);
	if (rc || container->space.tracking)
		return rc;
	container_open_gate(container);
	return fail(err, VFD_ESTATE, rearm_op, "tracking is off: no log runs; vfd_track_start first");
}

int vfd_track_rearm(struct vfd_container *container, const struct vfd_rearm_options *options,
		    struct vfd_rearm *result, struct vfd_error *err)
{
	struct vfd_rearm answer = { 0 };
	struct rearm rearm;
	int rc = result ? check_answer(result, sizeof answer, "struct vfd_rearm", err) : 0;

	if (!rc)
		rc = begin(container, options, &rearm, err);
	if (rc)
		return rc;
	rc = recorders_rearm(&container->space, &rearm, err);
	answer.rearmed = rearm.rearmed;
	answer.running = rearm.running_rearmed;
	answer.failed = rearm.failed;
	answer.pages_new = rearm.pages_new;
	answer.assumed_bytes = rearm.assumed_bytes;
	answer.unarmed_bytes = space_unarmed_bytes(&container->space);
	container_open_gate(container);
	if (result)
		copy_answer(result, &answer, sizeof answer);
	return rc;
}

/* One that has ended, or does so when STOP_COPY is left, is not begun anew by this. For it nobody is waited for: who reads the device's data
 * may be waiting himself, for the call that this is part of. */
static bool can_rearm(const struct vfd_device *d)
{
	return d->quiesced && recorder_answers(&d->recorder) && !d->recorder.over &&
	       d->migration.state != UAPI_MIG_STOP_COPY;
}

/* If that fails the device goes on all the same: the plan says that its log does not count. */
int device_rearm_silent(struct vfd_device *device, const char *operation, struct vfd_error *err)
{
	int rc = device_enter(device, operation, err);

	if (rc)
		return rc;
	struct vfd_container *container = device->group->container;
	bool lacks = can_rearm(device) && recorder_lacks(&container->space, &device->recorder);
	device_leave(device);
	if (!lacks || container_close_gate(container, operation, NULL))
		return 0;
	recorders_rearm(&container->space, &(struct rearm){ 0 }, NULL);
	container_open_gate(container);
	return 0;
}
