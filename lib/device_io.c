/* SPDX-License-Identifier: MIT */

/* Access to device regions by the descriptor. */

#include "container.h"

#include <errno.h>
#include <inttypes.h>

static int check_io(struct vfd_device *d, uint32_t index, uint64_t offset, const void *data, size_t size,
		    uint64_t *at, struct vfd_error *err)
{
	struct vfd_device_region region = { 0 };
	int rc = device_query_region(d, index, &region, err);

	if (rc)
		return rc;
	if (!data || !size || offset >= region.size || size > region.size - offset)
		return fail(err, VFD_EINVALID, "device access",
			    "%zu bytes at %#" PRIx64 " (data %p) of region %u, which has %#" PRIx64, size,
			    offset, data, index, region.size);
	*at = region.offset + offset;
	return 0;
}

static int explain_io(const struct vfd_device *d, ssize_t done, size_t size, struct vfd_error *err)
{
	return fail_sys(err, done < 0 ? (int)-done : EIO, "device access", "device %s: %zd of %zu bytes",
			d->name, done < 0 ? 0 : done, size);
}

int vfd_device_read(struct vfd_device *device, uint32_t index, uint64_t offset, void *data, size_t size,
		    struct vfd_error *err)
{
	uint64_t at;
	int rc = device_enter(device, "device read", err);

	if (rc)
		return rc;
	const struct sys *sys = device->group->container->sys;
	rc = check_io(device, index, offset, data, size, &at, err);
	if (!rc) {
		ssize_t done = sys->pread(sys, device->fd, data, size, at);
		rc = done == (ssize_t)size ? 0 : explain_io(device, done, size, err);
	}
	device_leave(device);
	return rc;
}

int vfd_device_write(struct vfd_device *device, uint32_t index, uint64_t offset, const void *data,
		     size_t size, struct vfd_error *err)
{
	uint64_t at;
	int rc = device_enter(device, "device write", err);

	if (rc)
		return rc;
	const struct sys *sys = device->group->container->sys;
	rc = check_io(device, index, offset, data, size, &at, err);
	if (!rc) {
		bool resets = device_write_resets(device, index, offset, data, size);
		if (resets)
			device_reset_begins(device);
		bool watched = device_write_begins(device, index, offset, size);
		ssize_t done = sys->pwrite(sys, device->fd, data, size, at);
		if (resets)
			device_was_reset(device);
		if (watched)
			device_write_ended(device);
		rc = done == (ssize_t)size ? 0 : explain_io(device, done, size, err);
	}
	device_leave(device);
	return rc;
}
