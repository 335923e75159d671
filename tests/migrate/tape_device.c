/* SPDX-License-Identifier: MIT */

/* In the place of examples/migrate/devices.c: a device that takes 3 bytes, and can say no only when all came. */

#include "devices.h"

#include "tape.h"

static size_t loaded;

void tape_device_reset(void)
{
	loaded = 0;
}

int devices_resume(const struct mig_guest *guest, struct mig_error *err)
{
	(void)guest, (void)err;
	return 0;
}

int devices_load(struct vfd_device *device, const void *data, size_t size, const struct io *io,
		 struct mig_error *err)
{
	(void)device, (void)data, (void)io;
	loaded += size;
	return loaded > 3 ? mig_fail(err, "the device takes 3 bytes") : 0;
}

int devices_loaded(const struct mig_guest *guest, struct mig_error *err)
{
	(void)guest;
	return loaded == 3 ? 0 : mig_fail(err, "the device wants 3 bytes");
}
