/* SPDX-License-Identifier: MIT */

/* A device's data, in or out. Its descriptor is closed with the mutex of migration held, so that nobody reads or writes another's; the
 * device's own mutex is not taken, for who waits for data must not keep others from changing the state. */

#include <vfiodirty/migration.h>

#include <errno.h>

#include "answer.h"
#include "container.h"
#include "migstate.h"

static const char *const read_op = "migration read";
static const char *const write_op = "migration write";
static const char *const info_op = "VFIO_MIG_GET_PRECOPY_INFO";

static void leave(struct vfd_device *d)
{
	pthread_mutex_unlock(&d->migration.mutex);
	container_leave(d->group->container);
}

/* With a data session, of the right direction. */
static int enter(struct vfd_device *d, bool loading, const char *op, struct vfd_error *err)
{
	if (!d)
		return fail(err, VFD_EINVALID, op, "the device is NULL: never opened, or closed already");
	int rc = container_enter(d->group->container, op, err);
	if (rc)
		return rc;
	pthread_mutex_lock(&d->migration.mutex);
	uint32_t state = d->migration.state;
	if (d->migration.stream >= 0 && loading == (state == UAPI_MIG_RESUMING))
		return 0;
	leave(d);
	return fail(err, VFD_ESTATE, op, "device %s is in %s: no data to %s", d->name, migstate_name(state),
		    loading ? "be written, that is in RESUMING"
			    : "be read, that is in STOP_COPY and PRE_COPY");
}

static int check_buffer(const void *data, size_t size, const size_t *done, const char *op,
			struct vfd_error *err)
{
	if (data && size && done)
		return 0;
	return fail(err, VFD_EINVALID, op, "%zu bytes at %p, or done is NULL", size, data);
}

/* A driver may say 0 where it means "nothing yet". The state is that from before: the end is never seen too early. */
static int take(struct vfd_device *d, void *data, size_t size, size_t *done, struct vfd_error *err)
{
	const struct sys *sys = d->group->container->sys;
	bool early = migstate_precopies(d->migration.state);
	ssize_t got = sys->read(sys, d->migration.stream, data, size);

	if (!got && early)
		got = -ENOMSG;
	if (got < 0)
		return fail_sys(err, (int)-got, read_op, "device %s%s", d->name,
				got == -ENOMSG ? ": nothing new yet; more comes with time, and in STOP_COPY"
					       : "");
	d->migration.saved |= !got;
	*done = (size_t)got;
	return 0;
}

int vfd_migration_read(struct vfd_device *device, void *data, size_t size, size_t *done,
		       struct vfd_error *err)
{
	int rc = check_buffer(data, size, done, read_op, err);

	if (!rc)
		rc = enter(device, false, read_op, err);
	if (rc)
		return rc;
	rc = take(device, data, size, done, err);
	leave(device);
	return rc;
}

/* Who is told that 0 bytes were taken would try for ever. */
static int give(struct vfd_device *d, const void *data, size_t size, size_t *done, struct vfd_error *err)
{
	const struct sys *sys = d->group->container->sys;
	ssize_t put = sys->write(sys, d->migration.stream, data, size);

	if (put <= 0)
		return fail_sys(err, put ? (int)-put : EIO, write_op, "device %s: none of %zu bytes taken%s",
				d->name, size, put == -EAGAIN ? "; it wants no more for now" : "");
	*done = (size_t)put;
	return 0;
}

int vfd_migration_write(struct vfd_device *device, const void *data, size_t size, size_t *done,
			struct vfd_error *err)
{
	int rc = check_buffer(data, size, done, write_op, err);

	if (!rc)
		rc = enter(device, true, write_op, err);
	if (rc)
		return rc;
	rc = give(device, data, size, done, err);
	leave(device);
	return rc;
}

int vfd_migration_precopy(struct vfd_device *device, struct vfd_migration_precopy *info,
			  struct vfd_error *err)
{
	struct uapi_precopy_info arg = { .argsz = sizeof arg };
	struct vfd_migration_precopy answer;
	int rc = check_answer(info, sizeof answer, "struct vfd_migration_precopy", err);

	if (!rc)
		rc = enter(device, false, info_op, err);
	if (rc)
		return rc;
	const struct sys *sys = device->group->container->sys;
	rc = sys->ioctl(sys, device->migration.stream, UAPI_MIG_GET_PRECOPY_INFO, &arg);
	if (rc < 0)
		rc = fail_sys(err, -rc, info_op, "device %s in %s", device->name,
			      migstate_name(device->migration.state));
	leave(device);
	if (rc < 0)
		return rc;
	answer = (struct vfd_migration_precopy){
		.struct_size = info->struct_size,
		.flags = arg.flags,
		.initial_bytes = arg.initial_bytes,
		.dirty_bytes = arg.dirty_bytes,
	};
	copy_answer(info, &answer, sizeof answer);
	return 0;
}

int vfd_migration_fd(const struct vfd_device *device)
{
	return device ? device->migration.stream : -1;
}
