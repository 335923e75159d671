/* SPDX-License-Identifier: MIT */
#include "container.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "answer.h"
#include "track.h"

static const char *const open_op = "open device";
static const char *const close_op = "close device";

int device_read_info(struct vfd_device *device, struct vfd_error *err)
{
	const struct sys *sys = device->group->container->sys;
	struct vfio_device_info info = { .argsz = sizeof info };
	int rc = sys->ioctl(sys, device->fd, VFIO_DEVICE_GET_INFO, &info);

	if (rc < 0)
		return fail_sys(err, -rc, "VFIO_DEVICE_GET_INFO", "device %s", device->name);
	device->flags = info.flags;
	device->regions = info.num_regions;
	device->irqs = info.num_irqs;
	return 0;
}

/* The kernel wants it back, and waits for the close. Asked by opening it once more, and believed when said twice. */
static bool being_removed(const struct vfd_device *d)
{
	const struct sys *sys = d->group->container->sys;
	char name[256];
	int fd = -ENODEV;

	for (int i = 0; fd == -ENODEV && i < 2; i++) {
		snprintf(name, sizeof name, "%s", d->name); /* the kernel's argument is not const */
		fd = sys->ioctl(sys, d->group->fd, VFIO_GROUP_GET_DEVICE_FD, name);
	}
	if (fd >= 0)
		sys->close(sys, fd);
	return fd == -ENODEV;
}

/* With the last device that is open the kernel takes the last group away by itself, and the record. */
static bool takes_the_record(const struct vfd_device *d)
{
	struct vfd_container *c = d->group->container;

	return !is_iommufd(c) && c->space.started && !c->space.physical && group_is_last(d->group) &&
	       group_open_devices(d->group) == 1 && being_removed(d);
}

static bool is_dead(const struct vfd_group *g)
{
	const struct sys *sys = g->container->sys;
	struct vfio_group_status status = { .argsz = sizeof status };

	return sys->ioctl(sys, g->fd, VFIO_GROUP_GET_STATUS, &status) == -ENODEV;
}

/* It does so after the close, without a lock against calls on the container: wait for it, and believe it when said twice. A second is long
 * enough, unless someone else holds the device; but then nothing is taken away. */
static bool taken_away(const struct vfd_group *g)
{
	struct timespec moment = { .tv_nsec = 1000000 };

	for (int i = 0; i < 1000; i++) {
		if (is_dead(g) && is_dead(g))
			return true;
		nanosleep(&moment, NULL);
	}
	return false;
}

/* A mapped area or an armed interrupt would keep the device open behind the closed descriptor. */
void device_shut(struct vfd_device *device)
{
	struct vfd_container *c = device->group->container;

	if (device->fd < 0)
		return;
	bool last = takes_the_record(device);
	device_drop_stream(device);
	device_irqs_off(device);
	device_unmap_areas(device);
	recorder_closed(&c->space, &device->recorder);
	if (is_iommufd(c)) /* whoever else has it open */
		iommufd_detach(&c->space.backend, device->fd);
	c->sys->close(c->sys, device->fd);
	device->fd = -1;
	if (last && taken_away(device->group))
		space_taken(&c->space);
	if (c->borrowed) /* it is still open: its owner has it */
		group_held_elsewhere(device->group);
	else if (!device->quiesced)
		space_writer_remove(&c->space);
	device_tell(device, false);
}

static int explain_device(const struct vfd_group *g, const char *name, int rc, struct vfd_error *err)
{
	return fail_sys(err, -rc, "VFIO_GROUP_GET_DEVICE_FD", "device %s in group %d%s", name, g->number,
			rc == -ENODEV ? ": the group has no such device bound to a VFIO driver" : "");
}

/* A descriptor; negative: an error. */
static int get_device(const struct vfd_group *g, const char *name, struct vfd_error *err)
{
	const struct sys *sys = g->container->sys;
	char *copy = strdup(name); /* the kernel's argument is not const */
	int fd = copy ? sys->ioctl(sys, g->fd, VFIO_GROUP_GET_DEVICE_FD, copy) : VFD_ENOMEMORY;

	free(copy);
	return fd < 0 ? explain_device(g, name, fd, err) : fd;
}

/* A device can write as soon as it is open, but for one of PCI, whose bus mastering the kernel turns off then. What it wrote before its log began, or
 * before it was closed again, is in no record if the kernel keeps none of it. */
static void owe_opened(struct space *space, bool recorded, uint32_t flags)
{
	if (space->tracking && !recorded && !(flags & VFIO_DEVICE_FLAGS_PCI))
		space_owe_all(space, VFD_WHY_NO_TRACKING);
}

static bool type1_records(const struct space *space)
{
	return space->can_track && !space->physical;
}

/* It was, for a moment, and nobody asked yet what it is. That there is none is what the kernel says before it opens it. */
static void opened_in_vain(struct vfd_container *c, int rc)
{
	if (rc == -ENODEV)
		return;
	space_stir(&c->space);
	if (!is_iommufd(c)) /* there it is not attached yet, or cdev_attach() has said it */
		owe_opened(&c->space, type1_records(&c->space), 0);
}

static int open_device(struct vfd_group *g, const char *name, struct vfd_device **out, struct vfd_error *err)
{
	const struct sys *sys = g->container->sys;
	struct space *space = &g->container->space;

	if (group_find_device(g, name))
		return fail(err, VFD_ESTATE, open_op, "device %s is open already", name);
	uint32_t id = 0;
	int fd = is_iommufd(g->container) ? cdev_open(g, name, &id, err) : get_device(g, name, err);
	if (fd < 0) {
		opened_in_vain(g->container, fd);
		return fd;
	}
	struct vfd_device *d = device_make(g, name, fd, err);
	int rc = d ? device_read_info(d, err) : VFD_ENOMEMORY;
	if (!rc && is_iommufd(g->container)) {
		d->iommufd_id = id;
		rc = cdev_attach(d, err);
	}
	if (rc) {
		sys->close(sys, fd);
		opened_in_vain(g->container, 0);
		if (d)
			device_free(d);
		return rc;
	}
	device_find_log(d);
	device_find_migration(d);
	if (space->tracking)
		device_arm(d);
	owe_opened(space, is_iommufd(g->container) ? d->recorded : type1_records(space), d->flags);
	device_joined(d);
	*out = d;
	return 0;
}

int vfd_device_open(struct vfd_group *group, const char *name, struct vfd_device **device,
		    struct vfd_error *err)
{
	if (!group || !name || !*name || !device)
		return fail(err, VFD_EINVALID, open_op, "%s",
			    !group ? "the group is NULL" : "name or device is NULL or empty");
	struct vfd_container *c = group->container;
	int rc = container_close_gate(c, open_op, err);
	if (rc)
		return rc;
	rc = !group->attached ? fail(err, VFD_ESTATE, open_op, "the group is detached")
			      : open_device(group, name, device, err);
	container_open_gate(c);
	return rc;
}

static int close_collecting(struct vfd_device *d, struct vfd_error *err)
{
	struct space *space = &d->group->container->space;

	if (d->fd >= 0) {
		device_make_quiet(d, NULL);
		int rc = track_collect(space, 0, err);
		if (rc)
			return rc;
		device_shut(d);
	}
	return track_collect(space, 0, err);
}

static int close_device(struct vfd_device *d, unsigned flags, struct vfd_error *err)
{
	int rc = 0;

	if (flags & VFD_COLLECT)
		rc = close_collecting(d, err);
	else if (!flags && d->fd >= 0 && !space_clean(&d->group->container->space))
		rc = refuse_loss(
			d->group->container, close_op, err,
			"device %s: its last writes were not collected; pass VFD_COLLECT, or quiesce "
			"it and harvest first",
			d->name);
	if (rc)
		return rc;
	device_shut(d);
	device_free(d);
	return 0;
}

int vfd_device_close(struct vfd_device **device, unsigned flags, struct vfd_error *err)
{
	if (!device || !*device)
		return fail(err, VFD_EINVALID, close_op,
			    "the device is NULL: never opened, or closed already");
	struct vfd_container *c = (*device)->group->container;
	int rc = check_destroy_flags(flags, close_op, err);
	if (!rc)
		rc = container_close_gate(c, close_op, err);
	if (rc)
		return rc;
	rc = close_device(*device, flags, err);
	container_open_gate(c);
	if (!rc)
		*device = NULL;
	return rc;
}

int vfd_device_fd(const struct vfd_device *device)
{
	return device ? device->fd : -1;
}

const char *vfd_device_name(const struct vfd_device *device)
{
	return device ? device->name : NULL;
}

int vfd_device_info(struct vfd_device *device, struct vfd_device_info *info, struct vfd_error *err)
{
	struct vfd_device_info answer;
	int rc = check_answer(info, sizeof answer, "struct vfd_device_info", err);

	if (!rc)
		rc = device_enter(device, "device info", err);
	if (rc)
		return rc;
	answer = (struct vfd_device_info){
		.struct_size = info->struct_size,
		.flags = device->flags,
		.regions = device->regions,
		.irqs = device->irqs,
		.quiesced = device->quiesced,
		.group = device->group->number,
	};
	device_leave(device);
	copy_answer(info, &answer, sizeof answer);
	return 0;
}
