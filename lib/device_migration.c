/* SPDX-License-Identifier: MIT */

/* One device goes from one migration state to another: when it counts as able to write, what becomes of its log and of its data. */

#include "container.h"

#include "migstate.h"
#include "track.h"

static const char *const set_op = "VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE";

void device_find_migration(struct vfd_device *d)
{
	const struct sys *sys = d->group->container->sys;

	d->migration.flags = migstate_offered(sys, d->fd);
	d->migration.state = UAPI_MIG_RUNNING;
	device_look_state(d);
	d->touched = d->migration.state != UAPI_MIG_RUNNING; /* by whoever had it before */
}

int device_look_state(struct vfd_device *d)
{
	const struct sys *sys = d->group->container->sys;
	uint32_t state = UAPI_MIG_RUNNING;
	int rc = d->migration.flags ? migstate_get(sys, d->fd, &state) : 0;

	d->migration.state = state;
	if (d->stopped && !migstate_stopped(state)) { /* somebody else has woken it */
		d->stopped = false;
		device_loud(d);
	}
	return rc;
}

/* ---- its data ---- */

/* One data session from PRE_COPY to STOP_COPY; all others end with their state. */
static bool same_session(uint32_t from, uint32_t to)
{
	return from == to ||
	       (migstate_precopies(from) && (migstate_precopies(to) || to == UAPI_MIG_STOP_COPY));
}

/* A read or write that is under way ends first. */
static void keep_stream(struct vfd_device *d, int stream)
{
	struct device_migration *m = &d->migration;

	pthread_mutex_lock(&m->mutex);
	if (m->stream >= 0)
		d->group->container->sys->close(d->group->container->sys, m->stream);
	m->stream = stream;
	m->saved = false;
	pthread_mutex_unlock(&m->mutex);
}

void device_drop_stream(struct vfd_device *d)
{
	if (d->migration.stream >= 0)
		keep_stream(d, -1);
}

/* ---- its log ---- */

/* Some logs end when STOP_COPY is left (pds), and the device may be set back before it takes in another's state. */
static bool may_end_log(uint32_t from, uint32_t to)
{
	return from != to && (from == UAPI_MIG_STOP_COPY || to == UAPI_MIG_RESUMING);
}

/* Read it while it is there. What cannot be had is owed. */
static void let_log_go(struct vfd_device *d)
{
	struct space *space = &d->group->container->space;

	if (!recorder_answers(&d->recorder))
		return;
	if (!recorder_read_out(space, &d->recorder))
		track_collect(space, 0, NULL);
	recorder_ends(space, &d->recorder);
}

/* ---- the arc ---- */

/* Stopped and then touched, it may have woken: that the kernel still says STOP is no proof. */
static void arrived(struct vfd_device *d, uint32_t state)
{
	d->migration.state = state;
	d->touched = state == MIGSTATE_UNKNOWN || (d->touched && migstate_stopped(state));
	d->stopped = migstate_stopped(state) && !d->touched;
	if (d->stopped)
		device_hushed(d);
	else
		device_loud(d);
}

static int explain(const struct vfd_device *d, uint32_t from, uint32_t to, int rc, struct vfd_error *err)
{
	bool broken = d->migration.state == UAPI_MIG_ERROR;

	return fail_sys(err, -rc, set_op, "device %s: from %s to %s; it is in %s now%s", d->name,
			migstate_name(from), migstate_name(to), migstate_name(d->migration.state),
			broken ? " and only vfd_device_reset() leads out of that" : "");
}

/* A SET in ERROR makes the kernel WARN, so it has to be known that it is in none. */
static int check_from(struct vfd_device *d, uint32_t to, struct vfd_error *err)
{
	int rc = d->migration.state == MIGSTATE_UNKNOWN ? device_look_state(d) : 0;

	if (rc)
		return fail_sys(err, -rc, set_op, "device %s: to %s, but its state cannot be read", d->name,
				migstate_name(to));
	if (d->migration.state != UAPI_MIG_ERROR)
		return 0;
	return fail(err, VFD_ESTATE, set_op,
		    "device %s is in ERROR: only vfd_device_reset() leads out of that", d->name);
}

/* It counts as able to write from before it can be, and as silent after it is. From one stopped state to another it is silent all the way. */
int device_set_state(struct vfd_device *d, uint32_t to, struct vfd_error *err)
{
	const struct sys *sys = d->group->container->sys;
	uint32_t from, reached = to;
	int stream, rc = check_from(d, to, err);

	if (rc)
		return rc;
	from = d->migration.state;
	if (may_end_log(from, to))
		let_log_go(d);
	if (!migstate_stopped(to))
		device_loud(d);
	rc = migstate_set(sys, d->fd, to, &stream);
	if (rc)
		migstate_get(sys, d->fd, &reached);
	arrived(d, reached);
	if (stream >= 0 || !same_session(from, reached))
		keep_stream(d, stream);
	return rc ? explain(d, from, to, rc, err) : 0;
}

/* From PRE_COPY it goes on to STOP_COPY: its data is not to be lost. 0: it is silent. */
int device_stop(struct vfd_device *d, struct vfd_error *err)
{
	bool saving = migstate_precopies(d->migration.state);
	int rc = device_set_state(d, saving ? UAPI_MIG_STOP_COPY : UAPI_MIG_STOP, err);

	if (!rc && !d->stopped)
		return fail(err, VFD_EUNSUPPORTED, set_op,
			    "device %s was written to while it was stopped, and may have woken", d->name);
	return rc;
}

/* ---- without an arc ---- */

void device_was_reset(struct vfd_device *d)
{
	device_look_state(d);
	if (!migstate_has_data(d->migration.state))
		device_drop_stream(d);
	d->touched = d->migration.state != UAPI_MIG_RUNNING;
	d->stopped = false;
}

void device_touched(struct vfd_device *d)
{
	d->touched = true;
	d->stopped = false;
}

void device_look_stopped(struct vfd_device *d)
{
	device_look_state(d);
	arrived(d, d->migration.state);
}
