/* SPDX-License-Identifier: MIT */

/* Taking over a container that someone else opened. No ioctl lists what is in it: the caller declares it. */

#include "container.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "map.h"
#include "options.h"
#include "track.h"
#include "type1.h"

static const char *const op = "adopt container";

struct adopting {
	const struct vfd_adoption *what;
	struct vfd_container *container;
	struct vfd_error *err;
};

/* Always a close-on-exec duplicate: on failure the caller's descriptors are as they were. */
static int own_fd(const struct adopting *a, int fd, const char *whose, int *out)
{
	const struct sys *sys = a->container->sys;

	*out = sys->dup(sys, fd);
	return *out < 0 ? fail_sys(a->err, -*out, op, "descriptor %d of the %s cannot be duplicated", fd,
				   whose)
			: 0;
}

static bool is_noiommu(const struct vfd_adoption *what, const struct sys *sys)
{
	char path[64];

	for (uint32_t i = 0; i < what->group_count; i++) {
		snprintf(path, sizeof path, "/dev/vfio/noiommu-%d", what->groups[i].number);
		if (!sys->exists(sys, path))
			return true;
	}
	return false;
}

/* DIRTY_PAGES with argsz 0 reads nothing and changes nothing: v1 says EACCES, v2 EINVAL, iommufd's compatibility ENOTTY. */
static int ask_kind(const struct adopting *a)
{
	struct vfd_container *c = a->container;
	struct vfio_iommu_type1_dirty_bitmap probe = { 0 };

	return c->sys->ioctl(c->sys, c->fd, VFIO_IOMMU_DIRTY_PAGES, &probe);
}

static int not_type1(const struct adopting *a, int rc)
{
	if (rc == -ENOTTY)
		return fail(a->err, VFD_EUNSUPPORTED, op,
			    "descriptor %d is no container, or that of iommufd's compatibility, which has no "
			    "dirty tracking",
			    a->what->container_fd);
	return fail_sys(a->err, rc < 0 ? -rc : EINVAL, op,
			"descriptor %d does not answer as a VFIO container", a->what->container_fd);
}

/* An IOMMU must be set, or EINVAL would mean that. Asked again, and before v1 is believed, which has no record, once more: it must not pass for that
 * because somebody else refused, be it twice. */
static int probe_type1(const struct adopting *a)
{
	struct vfd_container *c = a->container;
	int kind = ask_kind(a);

	if (kind != -EACCES && kind != -EINVAL)
		return not_type1(a, kind);
	int rc = backend_refresh(&c->space.backend);
	if (rc)
		return fail_sys(
			a->err, -rc, "VFIO_IOMMU_GET_INFO",
			"descriptor %d is no type1 container with its IOMMU set (sPAPR is not supported)",
			a->what->container_fd);
	rc = ask_kind(a);
	if (rc == -EACCES && rc == kind)
		rc = ask_kind(a);
	if (rc != kind)
		return not_type1(a, rc);
	if (kind == -EACCES) {
		c->kind = VFD_KIND_TYPE1_V1;
		c->space.can_track = false;
	}
	return 0;
}

static int probe_kind(const struct adopting *a)
{
	if (!is_noiommu(a->what, a->container->sys))
		return probe_type1(a);
	a->container->kind = VFD_KIND_NOIOMMU;
	a->container->space.backend.ops = &noiommu_ops;
	a->container->space.can_track = false;
	return 0;
}

/* What is asked for is harmless, and only /dev/iommu knows it. */
static int probe_native(const struct adopting *a)
{
	struct vfd_container *c = a->container;

	container_native(c);
	c->iommufd.ioas = a->what->ioas;
	int rc = backend_refresh(&c->space.backend);
	if (!rc)
		return 0;
	return fail_sys(a->err, -rc, c->space.backend.ops->refresh_name,
			"descriptor %d: no address space (IOAS) %u, or not one of /dev/iommu",
			a->what->container_fd, a->what->ioas);
}

static struct vfd_group *find_group(const struct vfd_container *c, int number)
{
	for (struct vfd_group *g = c->groups; g; g = g->next)
		if (g->number == number)
			return g;
	return NULL;
}

/* Which group it is nothing tells; but the record could not be ended by a descriptor that is of none. */
static int check_group(const struct adopting *a, const struct vfd_adopt_group *declared, int fd)
{
	const struct sys *sys = a->container->sys;
	struct vfio_group_status status = { .argsz = sizeof status };
	int rc = sys->ioctl(sys, fd, VFIO_GROUP_GET_STATUS, &status);

	if (rc < 0)
		return fail_sys(a->err, -rc, "VFIO_GROUP_GET_STATUS",
				"descriptor %d, declared as group %d, does not answer as one", declared->fd,
				declared->number);
	if (!(status.flags & VFIO_GROUP_FLAGS_CONTAINER_SET))
		return fail(a->err, VFD_EINVALID, op,
			    "descriptor %d, declared as group %d, is a group that is in no container",
			    declared->fd, declared->number);
	return 0;
}

static int adopt_group_fd(const struct adopting *a, const struct vfd_adopt_group *declared, int *out)
{
	int rc = own_fd(a, declared->fd, "group", out);

	if (rc)
		return rc;
	rc = check_group(a, declared, *out);
	if (rc)
		a->container->sys->close(a->container->sys, *out);
	return rc;
}

/* Taken over, it would be closed twice: the second time it may be somebody else's. */
static int fail_twice(const struct adopting *a, int fd)
{
	return fail(a->err, VFD_EINVALID, op, "descriptor %d is declared twice", fd);
}

static int adopt_group(const struct adopting *a, const struct vfd_adopt_group *declared)
{
	if (find_group(a->container, declared->number))
		return fail(a->err, VFD_EINVALID, op, "group %d is declared twice", declared->number);
	for (const struct vfd_adopt_group *g = a->what->groups; g < declared; g++)
		if (g->fd == declared->fd)
			return fail_twice(a, declared->fd);
	struct vfd_group *g = group_make(a->container, declared->number, a->err);
	if (!g)
		return VFD_ENOMEMORY;
	int rc = a->container->kind == VFD_KIND_NOIOMMU ? 0 : group_classify(g, a->err);
	if (!rc)
		rc = adopt_group_fd(a, declared, &g->fd);
	if (rc) {
		free(g);
		return rc;
	}
	if (a->container->kind == VFD_KIND_NOIOMMU) {
		g->physical = true;
		g->why = "no IOMMU at all";
	}
	group_joined(g);
	return 0;
}

static int adopt_device(const struct adopting *a, const struct vfd_adopt_device *declared)
{
	struct vfd_group *g = find_group(a->container, declared->group);
	int fd;

	if (!g || !declared->name)
		return fail(a->err, VFD_EINVALID, op,
			    "device %s: its group %d is not among the declared ones",
			    declared->name ? declared->name : "(NULL)", declared->group);
	if (group_find_device(g, declared->name))
		return fail(a->err, VFD_EINVALID, op, "device %s is declared twice", declared->name);
	for (const struct vfd_adopt_device *d = a->what->devices; d < declared; d++)
		if (d->fd == declared->fd)
			return fail_twice(a, declared->fd);
	int rc = own_fd(a, declared->fd, "device", &fd);
	if (rc)
		return rc;
	struct vfd_device *d = device_make(g, declared->name, fd, a->err);
	rc = d ? device_read_info(d, a->err) : VFD_ENOMEMORY;
	if (rc)
		a->container->sys->close(a->container->sys, fd);
	if (rc && d)
		device_free(d);
	if (rc)
		return rc;
	device_find_log(d);
	device_find_migration(d);
	device_joined(d);
	return 0;
}

/* The caller's struct may be longer than ours: its own size says where the next one begins, which may be at an odd address. */
static int adopt_mappings(const struct adopting *a)
{
	const char *declared = (const char *)a->what->mappings;
	struct vfd_mapping want = { 0 };
	int rc = 0;

	for (uint32_t i = 0; !rc && i < a->what->mapping_count; i++) {
		rc = copy_mapping(&want, (const void *)declared, a->err);
		if (!rc)
			rc = map_declare(&a->container->space, &want, a->err);
		declared += want.struct_size;
	}
	return rc;
}

/* "No" is believed when said twice: nobody would ever collect a record that is missed here. */
static bool is_tracking(struct space *space)
{
	return space_diagnose(space) == RECORD_ALIVE || space_diagnose(space) == RECORD_ALIVE;
}

/* GET_BITMAP where nothing is mapped is 0 while tracking and clears nothing. A record that runs is kept, and harvested once: the kernel refuses
 * to cut a mapping, so this finds a declared one that is not as the kernel has it. */
static int adopt_tracking(const struct adopting *a)
{
	struct space *space = &a->container->space;
	struct vfd_harvest ignored = { 0 };

	if (is_iommufd(a->container) || !space->can_track || !space->log || !is_tracking(space))
		return 0;
	space->started = true;
	space->tracking = true;
	space->epoch++; /* whoever wrote before is not collected yet */
	return track_harvest(space, 0, &ignored, a->err);
}

static int declare_all(const struct adopting *a)
{
	const struct vfd_adoption *what = a->what;
	int rc = what->backend == VFD_BACKEND_IOMMUFD ? probe_native(a) : probe_kind(a);

	a->container->space.attached = true;
	a->container->space.adopted = true;
	for (uint32_t i = 0; !rc && i < what->group_count; i++)
		rc = adopt_group(a, &what->groups[i]);
	for (uint32_t i = 0; !rc && i < what->device_count; i++)
		rc = adopt_device(a, &what->devices[i]);
	rc = rc ? rc : adopt_mappings(a);
	return rc ? rc : adopt_tracking(a);
}

static void forget_all(const struct adopting *a)
{
	struct vfd_container *c = a->container;

	for (struct vfd_group *g = c->groups; g; g = g->next) {
		for (struct vfd_device *d = g->devices; d; d = d->next)
			c->sys->close(c->sys, d->fd);
		c->sys->close(c->sys, g->fd);
	}
	c->sys->close(c->sys, c->fd);
	container_free(c);
}

/* It worked: what the caller gave away is ours to close. */
static void take_all(const struct sys *sys, const struct vfd_adoption *what)
{
	for (uint32_t i = 0; i < what->device_count; i++)
		sys->close(sys, what->devices[i].fd);
	for (uint32_t i = 0; i < what->group_count; i++)
		sys->close(sys, what->groups[i].fd);
	sys->close(sys, what->container_fd);
}

/* A device that is in a table of its owner would be in no record here: it is opened after this, by the library. */
static int check_native(const struct vfd_adoption *what, struct vfd_error *err)
{
	if (what->flags & VFD_ADOPT_DUP)
		return fail(err, VFD_EUNSUPPORTED, op,
			    "an address space of iommufd can only be handed over, not shared: leave "
			    "VFD_ADOPT_DUP out");
	if (what->group_count || what->device_count)
		return fail(err, VFD_EUNSUPPORTED, op,
			    "%u groups and %u devices are declared: with iommufd close devices before, and "
			    "open them with vfd_device_open after",
			    what->group_count, what->device_count);
	if (what->mapping_count && !what->mappings)
		return fail(err, VFD_EINVALID, op, "%u mappings are declared, but the array is NULL",
			    what->mapping_count);
	return 0;
}

static int check_declaration(const struct vfd_adoption *what, struct vfd_container **container,
			     struct vfd_error *err)
{
	int rc = check_orders(what->flags & ~(uint32_t)VFD_ADOPT_DUP, what->log, op, err);

	if (rc)
		return rc;
	if (!container)
		return fail(err, VFD_EINVALID, op, "container is NULL");
	if (what->backend > VFD_BACKEND_IOMMUFD)
		return fail(err, VFD_EINVALID, op, "unknown backend %u", what->backend);
	if (what->backend == VFD_BACKEND_IOMMUFD)
		return check_native(what, err);
	if (!what->group_count || !what->groups)
		return fail(err, VFD_EINVALID, op, "no group is declared: an IOMMU can only be set with one");
	if ((what->device_count && !what->devices) || (what->mapping_count && !what->mappings))
		return fail(err, VFD_EINVALID, op,
			    "%u devices and %u mappings are declared, but the array is NULL",
			    what->device_count, what->mapping_count);
	return 0;
}

int container_adopt_on(const struct sys *sys, const struct vfd_adoption *adoption,
		       struct vfd_container **container, struct vfd_error *err)
{
	struct vfd_adoption what;
	int rc = copy_options(&what, sizeof what, offsetof(struct vfd_adoption, backend), adoption,
			      "struct vfd_adoption", err);

	if (!rc)
		rc = check_declaration(&what, container, err);
	if (!rc)
		rc = check_log(what.log, err);
	if (rc)
		return rc;
	int fd = sys->dup(sys, what.container_fd);
	if (fd < 0)
		return fail_sys(err, -fd, op, "descriptor %d", what.container_fd);
	struct adopting a = { &what, container_make(sys, fd, what.log, err), err };
	if (!a.container) {
		sys->close(sys, fd);
		return VFD_ENOMEMORY;
	}
	snprintf(a.container->why, sizeof a.container->why, "it was adopted");
	a.container->borrowed = what.flags & VFD_ADOPT_DUP;
	table_keep(&a.container->space.table, what.flags);
	rc = declare_all(&a);
	if (rc) {
		forget_all(&a);
		return rc;
	}
	if (!a.container->borrowed)
		take_all(sys, &what);
	*container = a.container;
	return 0;
}

int vfd_container_adopt(const struct vfd_adoption *adoption, struct vfd_container **container,
			struct vfd_error *err)
{
	return container_adopt_on(&sys_linux, adoption, container, err);
}
