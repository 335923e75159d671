/* SPDX-License-Identifier: MIT */

/* Devices go from one state to another together, or stay where they were. */

#include <vfiodirty/migration.h>

#include <inttypes.h>

#include "answer.h"
#include "container.h"
#include "migstate.h"

static const char *const op = "migration";

/* ---- the way, in stages: nobody enters one before all have passed the one before ---- */

enum { FIRST_TO_RUN = 1, STAGES = 3 };

static bool runs_freely(uint32_t state)
{
	return state == UAPI_MIG_RUNNING || state == UAPI_MIG_PRE_COPY;
}

/* Before any stops, all that run leave each other alone. Before any runs, all are stopped, with what they were given taken in. */
static uint32_t first_stage(const struct vfd_device *d, uint32_t state, uint32_t goal)
{
	if (!migstate_stopped(goal))
		return migstate_stopped(state) ? UAPI_MIG_STOP : state;
	if (!runs_freely(state) || !(d->migration.flags & UAPI_MIGRATION_P2P))
		return state;
	return state == UAPI_MIG_RUNNING ? UAPI_MIG_RUNNING_P2P : UAPI_MIG_PRE_COPY_P2P;
}

/* Before any runs freely, all take what others send. And a log may end on the way into RESUMING: it is read in STOP. */
static uint32_t second_stage(const struct vfd_device *d, uint32_t state, uint32_t goal)
{
	if (goal == UAPI_MIG_RESUMING && !migstate_stopped(state))
		return UAPI_MIG_STOP;
	if (migstate_stopped(goal) || state != UAPI_MIG_STOP || !(d->migration.flags & UAPI_MIGRATION_P2P))
		return state;
	return UAPI_MIG_RUNNING_P2P;
}

static uint32_t after_stage(const struct vfd_device *d, int stage)
{
	uint32_t state = d->migration.state, goal = d->migration.goal;

	if (state == goal)
		return goal;
	return stage == 0 ? first_stage(d, state, goal) : stage == 1 ? second_stage(d, state, goal) : goal;
}

static int advance(struct vfd_device *d, int stage, struct vfd_error *err)
{
	int rc = device_enter(d, op, err);

	if (rc)
		return rc;
	uint32_t to = after_stage(d, stage);
	if (to != d->migration.state)
		rc = device_set_state(d, to, err);
	device_leave(d);
	return rc;
}

/* No other call may run meanwhile: who waits for the data of one of them has been told by now that there will be no more. */
static int rearm(struct vfd_device *const *devices, size_t count, struct vfd_error *err)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < count; i++)
		if (!migstate_stopped(devices[i]->migration.goal))
			rc = device_rearm_silent(devices[i], op, err);
	return rc;
}

/* All of them, to what each has for a goal. The first that fails ends it, unless the others are to go on all the same. */
static int move(struct vfd_device *const *devices, size_t count, bool go_on, struct vfd_error *err)
{
	int first = 0;

	for (int stage = 0; stage < STAGES; stage++) {
		if (stage == FIRST_TO_RUN && !go_on && (first = rearm(devices, count, err)))
			return first;
		for (size_t i = 0; i < count; i++) {
			int rc = advance(devices[i], stage, first ? NULL : err);
			if (rc && !go_on)
				return rc;
			first = first ? first : rc;
		}
	}
	return first;
}

/* ---- and back ---- */

/* Of one that precopied: its data cannot be taken up again. */
static bool lost_data(const struct vfd_device *d)
{
	return migstate_precopies(d->migration.origin) &&
	       (!migstate_precopies(d->migration.state) || d->migration.stream < 0);
}

/* Who ran runs, and who was stopped is stopped: but a data session that has ended is not begun again. */
static uint32_t way_back(const struct vfd_device *d, bool lost)
{
	uint32_t origin = d->migration.origin;

	if (lost && migstate_precopies(origin))
		return origin == UAPI_MIG_PRE_COPY ? UAPI_MIG_RUNNING : UAPI_MIG_RUNNING_P2P;
	if (d->migration.state == origin)
		return origin;
	return migstate_has_data(origin) && migstate_stopped(origin) ? UAPI_MIG_STOP : origin;
}

static int explain_left(struct vfd_device *const *devices, size_t count, int rc, struct vfd_error *err)
{
	for (size_t i = 0; i < count; i++) {
		const struct device_migration *m = &devices[i]->migration;
		if (m->state != m->goal)
			return fail(err, VFD_EPARTIAL, op,
				    "%s, and then device %s, which was in %s, could not be brought back: it "
				    "is in %s; "
				    "vfd_migration_cancel() brings all back that can be",
				    vfd_strcode(rc), devices[i]->name, migstate_name(m->origin),
				    migstate_name(m->state));
	}
	return rc;
}

static int move_back(struct vfd_device *const *devices, size_t count, int rc, struct vfd_error *err)
{
	bool lost = false; /* of one: those of the others are of no use either */

	for (size_t i = 0; i < count; i++)
		lost |= lost_data(devices[i]);
	for (size_t i = 0; i < count; i++)
		devices[i]->migration.goal = way_back(devices[i], lost);
	return move(devices, count, true, NULL) ? explain_left(devices, count, rc, err) : rc;
}

/* ---- the calls ---- */

static int check_goal(const struct vfd_device *d, uint32_t goal, struct vfd_error *err)
{
	uint64_t needs = migstate_needs(goal), has = d->migration.flags;

	if (needs == UINT64_MAX)
		return fail(err, VFD_EINVALID, op, "%" PRIu32 " is no state that a device can be sent to",
			    goal);
	if ((has & needs) != needs)
		return fail(err, VFD_EUNSUPPORTED, op,
			    "device %s has no state %s: it %s (flags %#" PRIx64 ")", d->name,
			    migstate_name(goal), has ? "lacks P2P or PRE_COPY" : "cannot migrate", has);
	if (d->migration.state == UAPI_MIG_ERROR)
		return fail(err, VFD_ESTATE, op, "device %s is in ERROR: vfd_device_reset() it first",
			    d->name);
	if (d->migration.state == UAPI_MIG_STOP_COPY && migstate_precopies(goal))
		return fail(err, VFD_ESTATE, op,
			    "device %s: from STOP_COPY to %s there is no way; go to RUNNING first", d->name,
			    migstate_name(goal));
	return 0;
}

/* Where it really is decides, and nothing is done before all are known to have a way. */
static int prepare(struct vfd_device *d, uint32_t goal, struct vfd_error *err)
{
	int rc = device_enter(d, op, err);

	if (rc)
		return rc;
	rc = device_look_state(d);
	if (rc)
		rc = fail_sys(err, -rc, op, "device %s: its state cannot be read", d->name);
	else
		rc = check_goal(d, goal, err);
	d->migration.origin = d->migration.state;
	d->migration.goal = goal;
	device_leave(d);
	return rc;
}

static int check_devices(struct vfd_device *const *devices, size_t count, struct vfd_error *err)
{
	if (!devices || !count)
		return fail(err, VFD_EINVALID, op, "%zu devices at %p: nothing to do", count,
			    (const void *)devices);
	return 0;
}

int vfd_migration_set(struct vfd_device *const *devices, size_t count, uint32_t state, struct vfd_error *err)
{
	int rc = check_devices(devices, count, err);

	for (size_t i = 0; !rc && i < count; i++)
		rc = prepare(devices[i], state, err);
	if (rc)
		return rc;
	rc = move(devices, count, false, err);
	return rc ? move_back(devices, count, rc, err) : 0;
}

/* Where it is does not matter, and whether it can go there is seen on the way. */
static int prepare_cancel(struct vfd_device *d, struct vfd_error *err)
{
	int rc = device_enter(d, op, err);

	if (rc)
		return rc;
	if (!d->migration.flags)
		rc = check_goal(d, UAPI_MIG_RUNNING, err);
	else
		device_look_state(d);
	d->migration.origin = d->migration.state;
	d->migration.goal = UAPI_MIG_RUNNING;
	device_leave(d);
	return rc;
}

static int reset_others(struct vfd_device *const *devices, size_t count, int rc, struct vfd_error *err)
{
	int first = 0;

	for (size_t i = 0; i < count; i++) {
		if (devices[i]->migration.state == UAPI_MIG_RUNNING)
			continue;
		int failed = vfd_device_reset(devices[i], first ? NULL : err);
		if (!failed && devices[i]->migration.state != UAPI_MIG_RUNNING)
			failed = rc;
		first = first ? first : failed;
	}
	return first;
}

int vfd_migration_cancel(struct vfd_device *const *devices, size_t count, unsigned flags,
			 struct vfd_error *err)
{
	int rc = check_devices(devices, count, err);

	if (!rc && flags & ~(unsigned)VFD_MIG_RESET)
		rc = fail(err, VFD_EINVALID, op, "unknown flags %#x", flags);
	for (size_t i = 0; !rc && i < count; i++)
		rc = prepare_cancel(devices[i], err);
	if (rc)
		return rc;
	rc = move(devices, count, true, err);
	return rc && flags & VFD_MIG_RESET ? reset_others(devices, count, rc, err) : rc;
}

static uint32_t data_of(const struct device_migration *m)
{
	if (m->stream < 0)
		return VFD_MIG_NO_DATA;
	return m->state == UAPI_MIG_RESUMING ? VFD_MIG_LOADING : m->saved ? VFD_MIG_SAVED : VFD_MIG_SAVING;
}

int vfd_migration_info(struct vfd_device *device, struct vfd_migration_info *info, struct vfd_error *err)
{
	struct vfd_migration_info answer;
	int rc = check_answer(info, sizeof answer, "struct vfd_migration_info", err);

	if (!rc)
		rc = device_enter(device, op, err);
	if (rc)
		return rc;
	struct device_migration *m = &device->migration;
	rc = device_look_state(device);
	pthread_mutex_lock(&m->mutex);
	answer = (struct vfd_migration_info){ .struct_size = info->struct_size,
					      .flags = (uint32_t)m->flags,
					      .state = m->state,
					      .data = data_of(m) };
	pthread_mutex_unlock(&m->mutex);
	answer.stop_copy_bytes =
		m->flags ? migstate_data_size(device->group->container->sys, device->fd) : UINT64_MAX;
	device_leave(device);
	if (rc)
		return fail_sys(err, -rc, op, "device %s: its state cannot be read", vfd_device_name(device));
	copy_answer(info, &answer, sizeof answer);
	return 0;
}

const char *vfd_migration_state_name(uint32_t state)
{
	return migstate_name(state);
}
