/* SPDX-License-Identifier: MIT */
#include "container.h"

#include <errno.h>
#include <linux/pci_regs.h>

#include "migstate.h"

static const char *const op = "quiesce device";
static const char *const resume_op = "resume device";

void device_hushed(struct vfd_device *device)
{
	if (!device->quiesced)
		space_writer_remove(&device->group->container->space);
	device->quiesced = true;
	recorder_set_silent(&device->group->container->space, &device->recorder, true);
}

void device_loud(struct vfd_device *device)
{
	if (device->quiesced)
		space_writer_add(&device->group->container->space);
	device->quiesced = false;
	recorder_set_silent(&device->group->container->space, &device->recorder, false);
}

/* Little endian on the wire, whatever the host. 0 or -errno. */
static int read_command(struct vfd_device *d, const struct vfd_device_region *config, uint16_t *command)
{
	const struct sys *sys = d->group->container->sys;
	unsigned char bytes[2];
	ssize_t done = sys->pread(sys, d->fd, bytes, sizeof bytes, config->offset + PCI_COMMAND);

	if (done != sizeof bytes)
		return done < 0 ? (int)done : -EIO;
	*command = (uint16_t)(bytes[0] | bytes[1] << 8);
	return 0;
}

static int write_command(struct vfd_device *d, const struct vfd_device_region *config, uint16_t command)
{
	const struct sys *sys = d->group->container->sys;
	unsigned char bytes[2] = { (unsigned char)command, (unsigned char)(command >> 8) };
	ssize_t done = sys->pwrite(sys, d->fd, bytes, sizeof bytes, config->offset + PCI_COMMAND);

	return done == sizeof bytes ? 0 : done < 0 ? (int)done : -EIO;
}

/* Believed when read back: a device torn out answers all ones, and a write that did not take leaves the bit. */
static int set_bus_master(struct vfd_device *d, bool on, struct vfd_error *err)
{
	struct vfd_device_region config = { 0 };
	uint16_t command;
	int rc = device_query_region(d, VFIO_PCI_CONFIG_REGION_INDEX, &config, err);

	if (rc)
		return rc;
	rc = read_command(d, &config, &command);
	if (!rc)
		rc = write_command(
			d, &config,
			(uint16_t)(on ? command | PCI_COMMAND_MASTER : command & ~PCI_COMMAND_MASTER));
	if (!rc)
		rc = read_command(d, &config, &command);
	if (!rc && !(command & PCI_COMMAND_MASTER) == on)
		rc = -EIO;
	return rc ? fail_sys(err, -rc, op, "device %s: bus mastering could not be turned %s", d->name,
			     on ? "on" : "off")
		  : 0;
}

/* The log may end with it: said before, for who unmaps meanwhile. */
void device_reset_begins(struct vfd_device *d)
{
	if (d->recorder.armed)
		recorder_fail(&d->group->container->space, &d->recorder);
}

/* One that migrates has a reset, whatever it says (mtty): without it nothing would lead out of ERROR. */
static int reset(struct vfd_device *d, struct vfd_error *err)
{
	const struct sys *sys = d->group->container->sys;

	if (!(d->flags & VFIO_DEVICE_FLAGS_RESET) && !d->migration.flags)
		return fail(err, VFD_EUNSUPPORTED, op, "device %s has neither bus mastering nor a reset",
			    d->name);
	device_reset_begins(d);
	int rc = sys->ioctl(sys, d->fd, VFIO_DEVICE_RESET, NULL);
	device_was_reset(d);
	return rc < 0 ? fail_sys(err, -rc, "VFIO_DEVICE_RESET", "device %s", d->name) : 0;
}

/* What keeps most of the device comes first: its state of migration, bus mastering, and last a reset. */
int device_make_quiet(struct vfd_device *device, struct vfd_error *err)
{
	int rc = -ENODEV;

	if (device->quiesced)
		return 0;
	device->gated = false;
	if (device->migration.flags && !device_stop(device, NULL))
		return 0;
	if (device->flags & VFIO_DEVICE_FLAGS_PCI)
		rc = set_bus_master(device, false, err);
	device->gated = !rc;
	if (rc)
		rc = reset(device, err);
	if (!rc)
		device_hushed(device);
	return rc;
}

int vfd_device_quiesce(struct vfd_device *device, struct vfd_error *err)
{
	int rc = device_enter(device, op, err);

	if (rc)
		return rc;
	rc = device_make_quiet(device, err);
	device_leave(device);
	return rc;
}

/* It counts as able to write before it is: a harvest in between must not believe itself the last. Bus mastering of a device that only its
 * state had stopped is its owner's. */
static int resume(struct vfd_device *d, struct vfd_error *err)
{
	bool stopped = migstate_stopped(d->migration.state);
	bool master = d->flags & VFIO_DEVICE_FLAGS_PCI && (d->gated || !stopped);
	int rc = 0;

	if (stopped)
		rc = device_set_state(d, UAPI_MIG_RUNNING, err);
	else
		device_loud(d);
	return !rc && master ? set_bus_master(d, true, err) : rc;
}

int vfd_device_resume(struct vfd_device *device, struct vfd_error *err)
{
	int rc = device_rearm_silent(device, resume_op, err);

	if (!rc)
		rc = device_enter(device, resume_op, err);
	if (rc)
		return rc;
	rc = resume(device, err);
	device_leave(device);
	return rc;
}

/* A reset stops a device, but the owner resets it in order to use it again. */
int vfd_device_reset(struct vfd_device *device, struct vfd_error *err)
{
	int rc = device_enter(device, "reset device", err);

	if (rc)
		return rc;
	device_loud(device);
	rc = reset(device, err);
	device_leave(device);
	return rc;
}

/* The write may turn bus mastering on, or wake a device that was only reset: it counts as able to write from before. So may one to a
 * capability: when a device leaves D3hot, vfio-pci can bring the command register back as it was on the way there. A stopped device must
 * not be touched, or it may wake; configuration space is no part of it, but can reset it. */
bool device_write_begins(struct vfd_device *device, uint32_t region, uint64_t offset, uint64_t size)
{
	struct range written = { offset, offset + size - 1 };
	struct range command = { PCI_COMMAND, PCI_COMMAND + 1 };
	bool config = device_is_config(device, region);
	bool may_switch = config && (range_meets(written, command) || written.last >= PCI_STD_HEADER_SIZEOF);

	if (!device->quiesced || (device->gated && !device->stopped && !may_switch))
		return false;
	device_loud(device);
	if (device->stopped && !config)
		device_touched(device);
	return device->stopped || device->gated;
}

void device_write_ended(struct vfd_device *device)
{
	struct vfd_device_region config = { 0 };
	uint16_t command;

	if (device->stopped)
		device_look_stopped(device);
	else if (!device_query_region(device, VFIO_PCI_CONFIG_REGION_INDEX, &config, NULL) &&
		 !read_command(device, &config, &command) && !(command & PCI_COMMAND_MASTER))
		device_hushed(device);
}
