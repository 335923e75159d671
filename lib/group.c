/* SPDX-License-Identifier: MIT */
#include "container.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "map.h"
#include "track.h"

static const char *const attach_op = "attach group";

/* Decides whether type1 is exact. A device that only the driver's pins and copies write has a group whose name in sysfs is
 * vfio-noiommu and whose node has no prefix. In doubt it is physical: all dirty. */
int group_classify(struct vfd_group *group, struct vfd_error *err)
{
	const struct sys *sys = group->container->sys;
	char path[64], name[32];

	snprintf(path, sizeof path, "/dev/vfio/noiommu-%d", group->number);
	if (!sys->exists(sys, path))
		return fail(err, VFD_EUNSUPPORTED, attach_op,
			    "group %d has no IOMMU (%s): no protection and no tracking; only an adopted "
			    "container may have it",
			    group->number, path);
	snprintf(path, sizeof path, "/sys/kernel/iommu_groups/%d/name", group->number);
	ssize_t length = sys->read_file(sys, path, name, sizeof name);
	group->physical = length < 0 || strcmp(name, "vfio-noiommu") != 0;
	group->why = group->physical ? "behind an IOMMU that type1 does not ask: it answers \"all dirty\""
				     : "emulated IOMMU (sysfs group name vfio-noiommu): the driver's pins "
				       "and writes are recorded page by page";
	return 0;
}

static int explain_open(int number, int rc, struct vfd_error *err)
{
	const char *hint = rc == -ENOENT ? "there is no such group; bind one of its devices to vfio-pci first"
			   : rc == -EBUSY  ? "it is open in another program (or in this one, in another "
					     "container or outside the library)"
			   : rc == -EACCES ? "give this user access to the node"
			   : rc == -EPERM  ? "a no-IOMMU group needs CAP_SYS_RAWIO"
					   : "cannot be opened";

	return fail_sys(err, -rc, attach_op, "/dev/vfio/%d: %s", number, hint);
}

static int check_viable(const struct vfd_group *g, struct vfd_error *err)
{
	const struct sys *sys = g->container->sys;
	struct vfio_group_status status = { .argsz = sizeof status };
	int rc = sys->ioctl(sys, g->fd, VFIO_GROUP_GET_STATUS, &status);

	if (rc < 0)
		return fail_sys(err, -rc, "VFIO_GROUP_GET_STATUS", "group %d", g->number);
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		return fail(err, VFD_ESTATE, attach_op,
			    "group %d is not viable: every device in /sys/kernel/iommu_groups/%d/devices "
			    "must be bound to a "
			    "VFIO driver or to none",
			    g->number, g->number);
	return 0;
}

static int open_group(struct vfd_group *g, struct vfd_error *err)
{
	const struct sys *sys = g->container->sys;
	char path[64];

	snprintf(path, sizeof path, "/dev/vfio/%d", g->number);
	int fd = sys->open(sys, path, O_RDWR);
	if (fd < 0)
		return explain_open(g->number, fd, err);
	g->fd = fd;
	int rc = check_viable(g, err);
	if (rc)
		group_close(g);
	return rc;
}

static int set_container(struct vfd_group *g, struct vfd_error *err)
{
	const struct sys *sys = g->container->sys;
	int rc = sys->ioctl(sys, g->fd, VFIO_GROUP_SET_CONTAINER, &g->container->fd);

	if (rc >= 0)
		return 0;
	const char *hint = rc == -EINVAL
				   ? "an existing mapping may lie outside what this group's IOMMU allows"
			   : rc == -EPERM ? "its interrupts are not isolated, or another owner has its DMA"
			   : rc == -EBUSY ? "another owner has its DMA"
					  : "the kernel refused";
	return fail_sys(err, -rc, "VFIO_GROUP_SET_CONTAINER", "group %d: %s", g->number, hint);
}

/* A new, empty address space; START before MAP, so that nothing mapped is ever untracked. */
static int begin_space(struct vfd_container *c, struct vfd_error *err)
{
	struct backend *backend = &c->space.backend;
	int rc = backend->ops->begin(backend);

	if (rc)
		return fail_sys(err, -rc, backend->ops->begin_name, "an address space was refused");
	rc = backend_refresh(backend);
	if (rc)
		return fail_sys(err, -rc, backend->ops->refresh_name,
				"cannot read the container's capabilities");
	rc = track_attached(&c->space, err);
	return rc ? rc : map_replay(&c->space, err);
}

/* A kernel that lists IOVA ranges although only emulated groups were ever here disagrees with sysfs: believe the worse. */
static void cross_check(struct vfd_group *g)
{
	struct vfd_container *c = g->container;

	if (g->physical || c->had_physical || is_iommufd(c) || !c->space.backend.caps.range_total)
		return;
	g->physical = true;
	g->why = "sysfs says emulated, but the kernel lists IOVA ranges as for a real IOMMU: taken as \"all "
		 "dirty\"";
}

/* The kernel may have taken the last group away without a word: then this one is the first of a new, empty space.
 * Believed when said twice: the record of a space that is there after all would be out of reach. */
static bool still_attached(struct space *space)
{
	struct backend now = space->backend;

	if (space->attached && backend_refresh(&now) == -EINVAL && backend_refresh(&now) == -EINVAL)
		space_lost(space, VFD_WHY_STATE_LOST, true);
	return space->attached;
}

/* What was begun for it is undone. Behind a physical one Linux 5.8 drops what others wrote (trap 50). */
static void take_out(struct vfd_group *g, bool first)
{
	struct vfd_container *c = g->container;

	if (!is_iommufd(c) && !first && g->physical && c->space.tracking)
		space_owe_all(&c->space, VFD_WHY_NO_TRACKING);
	if (!is_iommufd(c))
		c->sys->ioctl(c->sys, g->fd, VFIO_GROUP_UNSET_CONTAINER, NULL);
	else if (first)
		c->space.backend.ops->end(&c->space.backend);
}

static int join(struct vfd_group *g, struct vfd_error *err)
{
	struct vfd_container *c = g->container;
	bool first = !still_attached(&c->space);
	int rc = is_iommufd(c) ? 0 : set_container(g, err);

	if (rc)
		return rc;
	rc = first ? begin_space(c, err) : track_recheck(&c->space, err);
	if (rc) {
		take_out(g, first);
		if (first)
			track_detached(&c->space);
		else
			track_recheck(&c->space, NULL);
		return rc;
	}
	cross_check(g);
	group_joined(g);
	return 0;
}

static int attach(struct vfd_container *c, int number, struct vfd_group **out, struct vfd_error *err)
{
	for (const struct vfd_group *g = c->groups; g; g = g->next)
		if (g->number == number && g->attached)
			return fail(err, VFD_ESTATE, attach_op, "group %d is attached already", number);
	struct vfd_group *g = group_make(c, number, err);
	if (!g)
		return VFD_ENOMEMORY;
	place_forget(&c->space);
	int rc = group_classify(g, err);
	if (!rc)
		rc = is_iommufd(c) ? cdev_check_group(g, err) : open_group(g, err);
	if (!rc) {
		rc = join(g, err);
		if (rc)
			group_close(g);
	}
	if (rc)
		free(g);
	else
		*out = g;
	return rc;
}

int vfd_group_attach(struct vfd_container *container, int number, struct vfd_group **group,
		     struct vfd_error *err)
{
	if (!group || number < 0)
		return fail(err, VFD_EINVALID, attach_op,
			    group ? "group number %d" : "group is NULL (number %d)", number);
	int rc = container_close_gate(container, attach_op, err);
	if (rc)
		return rc;
	rc = attach(container, number, group, err);
	container_open_gate(container);
	return rc;
}

int group_of_device(const struct sys *sys, const char *device)
{
	static const char *const buses[] = { "pci", "platform", "mdev" };
	char path[160], target[256];

	for (size_t i = 0; i < sizeof buses / sizeof buses[0]; i++) {
		snprintf(path, sizeof path, "/sys/bus/%s/devices/%s/iommu_group", buses[i], device);
		if (sys->read_link(sys, path, target, sizeof target) > 0 && strrchr(target, '/'))
			return atoi(strrchr(target, '/') + 1);
	}
	return -1;
}

int vfd_group_attach_device(struct vfd_container *container, const char *device, struct vfd_group **group,
			    struct vfd_error *err)
{
	if (!container || !device || !*device || strlen(device) > 100 || strchr(device, '/'))
		return fail(err, VFD_EINVALID, attach_op, "%s",
			    container ? "device must be a name such as 0000:3b:00.0"
				      : "the container is NULL");
	int rc = container_check(container, attach_op, err);
	if (rc)
		return rc;
	int number = group_of_device(container->sys, device);
	if (number < 0)
		return fail_sys(
			err, ENOENT, attach_op,
			"device %s has no IOMMU group: does it exist, and is the IOMMU on (intel_iommu=on)?",
			device);
	return vfd_group_attach(container, number, group, err);
}

int vfd_group_number(const struct vfd_group *group)
{
	return group ? group->number : -1;
}

int vfd_group_fd(const struct vfd_group *group)
{
	return group ? group->fd : -1;
}
