/* SPDX-License-Identifier: MIT */

/* VFIO's migration states, as the two sides need them. */

#include "devices.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <time.h>

enum { SLICE_MS = 100, PAUSE_NS = 1000000 };

/* ---- waiting for data ------------------------------------------------------------------------------------------------- */

/* Else the kernel would wait in a read or write, and nobody could end that but by changing the device's state. */
static void make_nonblocking(const struct mig_guest *g)
{
	for (size_t d = 0; d < g->device_count; d++) {
		int fd = vfd_migration_fd(g->devices[d]), flags = fd >= 0 ? fcntl(fd, F_GETFL) : -1;
		if (flags >= 0)
			fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	}
}

/* Nobody else looks at the other side meanwhile. A driver that does not know poll() looks ready at once. */
static int wait_for(struct vfd_device *device, short events, uint64_t begin, const struct io *io,
		    struct mig_error *err)
{
	struct pollfd p = { .fd = vfd_migration_fd(device), .events = events };
	int stopped = io_stopped(io, err);

	if (stopped || (stopped = io_hung_up(io, err)))
		return stopped;
	if (io->stall_ms && ms_since(begin) > (double)io->stall_ms)
		return mig_fail(err, "%s %s nothing for %llu ms", vfd_device_name(device),
				events & POLLIN ? "gave" : "took", (unsigned long long)io->stall_ms);
	poll(&p, 1, SLICE_MS);
	nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
	return 0;
}

static bool again(int rc)
{
	return rc == -EINTR || rc == -EAGAIN;
}

/* ---- states ----------------------------------------------------------------------------------------------------------- */

static int set(const struct mig_guest *g, uint32_t state, struct mig_error *err)
{
	struct vfd_error vfd;

	if (g->device_count && vfd_migration_set(g->devices, g->device_count, state, &vfd))
		return mig_fail_vfd(err, &vfd);
	make_nonblocking(g);
	return 0;
}

static int info(struct vfd_device *device, struct vfd_migration_info *info, struct mig_error *err)
{
	struct vfd_error vfd;

	*info = (struct vfd_migration_info){ .struct_size = sizeof *info };
	if (vfd_migration_info(device, info, &vfd))
		return mig_fail_vfd(err, &vfd);
	return info->flags ? 0 : mig_fail(err, "%s cannot migrate: unplug it", vfd_device_name(device));
}

int devices_start(const struct mig_guest *g, bool *precopy, struct mig_error *err)
{
	struct vfd_migration_info i;

	*precopy = g->device_count > 0;
	for (size_t d = 0; d < g->device_count; d++) {
		if (info(g->devices[d], &i, err))
			return MIG_FAILED;
		*precopy &= !!(i.flags & VFD_MIG_CAN_PRE_COPY);
	}
	return *precopy ? set(g, VFD_MIG_PRE_COPY, err) : 0;
}

int devices_stop(const struct mig_guest *g, struct mig_error *err)
{
	return set(g, VFD_MIG_STOP_COPY, err);
}

int devices_save(struct vfd_device *device, void *data, size_t size, size_t *done, const struct io *io,
		 struct mig_error *err)
{
	uint64_t begin = now_ns();
	struct vfd_error vfd;
	int rc, stopped;

	while (again(rc = vfd_migration_read(device, data, size, done, &vfd)))
		if ((stopped = wait_for(device, POLLIN, begin, io, err)))
			return stopped;
	if (rc == -ENOMSG)
		*done = 0;
	return !rc || rc == -ENOMSG ? 0 : mig_fail_vfd(err, &vfd);
}

int devices_go_back(const struct mig_guest *g, struct mig_error *err)
{
	struct vfd_error vfd;

	if (!g->device_count || !vfd_migration_cancel(g->devices, g->device_count, 0, &vfd))
		return 0;
	return mig_fail_vfd(err, &vfd);
}

uint64_t devices_expect(const struct mig_guest *g)
{
	struct vfd_migration_info i;
	struct mig_error ignored;
	uint64_t sum = 0;

	for (size_t d = 0; d < g->device_count; d++)
		if (!info(g->devices[d], &i, &ignored) && i.stop_copy_bytes != UINT64_MAX)
			sum += i.stop_copy_bytes;
	return sum;
}

int devices_resume(const struct mig_guest *g, struct mig_error *err)
{
	return set(g, VFD_MIG_RESUMING, err);
}

int devices_load(struct vfd_device *device, const void *data, size_t size, const struct io *io,
		 struct mig_error *err)
{
	const char *at = data;
	uint64_t begin = now_ns(); /* of the wait for the next bytes */
	struct vfd_error vfd;
	int rc, stopped;

	while (size) {
		size_t done = 0;
		rc = vfd_migration_write(device, at, size, &done, &vfd);
		if (rc && !again(rc))
			return mig_fail_vfd(err, &vfd);
		if (rc && (stopped = wait_for(device, POLLOUT, begin, io, err)))
			return stopped;
		begin = rc ? begin : now_ns();
		at += done;
		size -= done;
	}
	return 0;
}

int devices_loaded(const struct mig_guest *g, struct mig_error *err)
{
	return set(g, VFD_MIG_STOP, err);
}

int devices_run(const struct mig_guest *g, struct mig_error *err)
{
	return set(g, VFD_MIG_RUNNING, err);
}

/* After a reset they write nothing, for nobody has told them to. */
int devices_silence(const struct mig_guest *g)
{
	struct mig_error ignored;
	int rc = 0;

	if (!set(g, VFD_MIG_STOP, &ignored))
		return 0;
	for (size_t d = 0; d < g->device_count; d++)
		rc |= vfd_device_reset(g->devices[d], NULL);
	return rc ? MIG_FAILED : 0;
}
