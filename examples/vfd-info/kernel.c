/* SPDX-License-Identifier: MIT */

/* What the kernel says when asked, through the library. */

#include "info.h"

#include <linux/vfio.h>
#include <string.h>
#include <sys/ioctl.h>

#ifndef VFIO_NOIOMMU_IOMMU
#define VFIO_NOIOMMU_IOMMU 8
#endif

static int extension(const struct vfd_container *c, unsigned long which)
{
	return ioctl(vfd_container_fd(c), VFIO_CHECK_EXTENSION, which) > 0;
}

void info_open_container(struct info *info)
{
	struct vfd_container *c;
	struct vfd_error err;

	info->usable = !vfd_container_open(NULL, &c, &err);
	if (!info->usable) {
		snprintf(info->container, sizeof info->container, "%s", err.message);
		return;
	}
	info->type1_v1 = extension(c, VFIO_TYPE1_IOMMU);
	info->type1_v2 = extension(c, VFIO_TYPE1v2_IOMMU);
	info->noiommu = extension(c, VFIO_NOIOMMU_IOMMU);
	snprintf(info->container, sizeof info->container,
		 "/dev/vfio/vfio opens, and has type1 v2, which can track");
	vfd_container_close(&c, 0, NULL);
}

/* The library's plan is what decides; it knows cross-checks that sysfs alone has not. */
static void take_plan(struct info_group *g, struct vfd_container *c, struct vfd_error *err)
{
	struct vfd_plan plan = { .struct_size = sizeof plan };

	if (vfd_track_plan(c, &plan, err) || !plan.entry_count)
		return;
	const struct vfd_plan_entry *e = &plan.entries[0];
	g->tracking = e->source == VFD_SOURCE_TYPE1 ? TRACKING_EXACT : TRACKING_DEFERRED;
	snprintf(g->rule, sizeof g->rule, "%s", e->why);
	g->asked_kernel = true;
}

static int attach(struct info_group *g, struct vfd_container *c, struct vfd_error *err)
{
	struct vfd_group *group;
	int rc = vfd_group_attach(c, g->number, &group, err);

	if (rc)
		return rc;
	take_plan(g, c, err);
	g->attached.container = (struct vfd_container_info){ .struct_size = sizeof g->attached.container };
	rc = vfd_container_info(c, &g->attached.container, err);
	int detached = vfd_group_detach(&group, 0, err);
	return rc ? rc : detached;
}

static void attach_group(struct info_group *g)
{
	struct vfd_container *c;
	struct vfd_error err;
	int rc = vfd_container_open(NULL, &c, &err);

	g->attached.tried = true;
	if (!rc) {
		rc = attach(g, c, &err);
		vfd_container_close(&c, VFD_DISCARD, NULL);
	}
	g->attached.attached = !rc;
	if (rc)
		snprintf(g->attached.error, sizeof g->attached.error, "%s", err.message);
}

void info_attach_groups(struct info *info)
{
	for (size_t i = 0; info->usable && i < info->group_count; i++)
		if (info->groups[i].node[0] && info->groups[i].kind != KIND_NOIOMMU)
			attach_group(&info->groups[i]);
}
