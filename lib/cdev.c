/* SPDX-License-Identifier: MIT */

/* Groups and devices of iommufd: each device has a node of its own, and is attached by itself. */

#include "container.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "track.h"

static const char *const open_op = "open device";

int cdev_check_group(const struct vfd_group *g, struct vfd_error *err)
{
	const struct sys *sys = g->container->sys;
	char path[64];

	snprintf(path, sizeof path, "/sys/kernel/iommu_groups/%d", g->number);
	int rc = sys->exists(sys, path);
	return rc ? fail_sys(err, -rc, "attach group", "%s: there is no such group", path) : 0;
}

/* In sysfs the device has a directory vfio-dev, with one entry that is named as its node. */
static int find_node(const struct sys *sys, int group, const char *name, char *path, size_t size,
		     struct vfd_error *err)
{
	char directory[192], node[32];
	int length = snprintf(directory, sizeof directory, "/sys/kernel/iommu_groups/%d/devices/%s/vfio-dev",
			      group, name);
	int rc = strchr(name, '/') || length >= (int)sizeof directory
			 ? -EINVAL
			 : sys->find_entry(sys, directory, "vfio", node, sizeof node);

	if (rc)
		return fail_sys(
			err, -rc, open_op,
			"device %s in group %d has no node of its own: is it bound to a VFIO driver, and has "
			"the kernel CONFIG_VFIO_DEVICE_CDEV?",
			name, group);
	snprintf(path, size, "/dev/vfio/devices/%s", node);
	return 0;
}

static int explain_bind(const char *name, int rc, struct vfd_error *err)
{
	return fail_sys(err, -rc, "VFIO_DEVICE_BIND_IOMMUFD", "device %s%s", name,
			rc == -EBUSY ? ": it, or its group, is open elsewhere" : "");
}

static int open_bound(const struct backend *backend, int group, const char *name, uint32_t *id,
		      struct vfd_error *err)
{
	const struct sys *sys = backend->sys;
	char path[64];
	int rc = find_node(sys, group, name, path, sizeof path, err);

	if (rc)
		return rc;
	int fd = sys->open(sys, path, O_RDWR);
	if (fd < 0)
		return fail_sys(err, -fd, open_op, "%s cannot be opened", path);
	rc = iommufd_bind(backend, fd, id);
	if (!rc)
		return fd;
	sys->close(sys, fd);
	return explain_bind(name, rc, err);
}

int cdev_open(const struct vfd_group *g, const char *name, uint32_t *id, struct vfd_error *err)
{
	return open_bound(&g->container->space.backend, g->number, name, id, err);
}

int cdev_probe(const struct backend *backend, const char *name, struct vfd_error *err)
{
	const char *why;
	uint32_t id;
	int group = group_of_device(backend->sys, name);

	if (group < 0)
		return fail_sys(err, ENOENT, open_op, "device %s has no IOMMU group", name);
	int fd = open_bound(backend, group, name, &id, err);
	if (fd < 0)
		return fd;
	int can = iommufd_can_record(backend, id, &why);
	backend->sys->close(backend->sys, fd);
	return can == 1 ? 0 : fail(err, VFD_EUNSUPPORTED, open_op, "device %s: %s", name, why);
}

/* It was in the address space itself, whose writes are in no record; EFAULT: for a moment, before the kernel took it out. */
static void attached_in_vain(struct space *space, const struct iommufd_attached *to)
{
	if (space->tracking && to->table == space->backend.iommufd->ioas)
		space_owe_all(space, VFD_WHY_NO_TRACKING);
}

/* With a device come limits on where may be mapped, and a page size. */
int cdev_attach(struct vfd_device *d, struct vfd_error *err)
{
	struct space *space = &d->group->container->space;
	struct iommufd_attached to = { 0 };
	int rc = iommufd_attach(&space->backend, d->fd, d->iommufd_id, !d->group->physical, space->started,
				&to);

	place_forget(space);
	if (rc == -EFAULT)
		attached_in_vain(space, &to);
	if (rc)
		return fail_sys(
			err, -rc, "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "device %s%s", d->name,
			rc == -EADDRINUSE
				? ": what is mapped, or named to vfd_iova_allow(), lies where its IOMMU "
				  "allows nothing"
				: "");
	d->recorded = to.recorded;
	d->unrecorded_why = to.why;
	rc = track_recheck(space, err);
	if (rc)
		attached_in_vain(space, &to);
	return rc;
}
