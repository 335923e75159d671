/* SPDX-License-Identifier: MIT */

/* Handles of what is there already: who adopts a container has not attached its groups, nor opened its devices. */

#include "container.h"

static int find_group(struct vfd_container *c, int number, struct vfd_group **out, struct vfd_error *err)
{
	for (struct vfd_group *g = c->groups; g; g = g->next) {
		if (g->number == number && g->attached) {
			*out = g;
			return 0;
		}
	}
	return fail(err, VFD_EINVALID, "find group", "group %d is not attached to the container", number);
}

static int find_device(struct vfd_container *c, const char *name, struct vfd_device **out,
		       struct vfd_error *err)
{
	for (struct vfd_group *g = c->groups; g; g = g->next) {
		*out = group_find_device(g, name);
		if (*out)
			return 0;
	}
	return fail(err, VFD_EINVALID, "find device", "no device %s is open in the container", name);
}

int vfd_group_find(struct vfd_container *container, int number, struct vfd_group **group,
		   struct vfd_error *err)
{
	if (!group)
		return fail(err, VFD_EINVALID, "find group", "group is NULL");
	int rc = container_enter(container, "find group", err);
	if (rc)
		return rc;
	rc = find_group(container, number, group, err);
	container_leave(container);
	return rc;
}

int vfd_device_find(struct vfd_container *container, const char *name, struct vfd_device **device,
		    struct vfd_error *err)
{
	struct vfd_device *found = NULL;

	if (!name || !device)
		return fail(err, VFD_EINVALID, "find device", "name or device is NULL");
	int rc = container_enter(container, "find device", err);
	if (rc)
		return rc;
	rc = find_device(container, name, &found, err);
	container_leave(container);
	if (!rc)
		*device = found;
	return rc;
}
