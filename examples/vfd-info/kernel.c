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

/* Which backend, when no program names one */
static void find_automatic(struct info *info)
{
	struct vfd_container_info told = { .struct_size = sizeof told };
	struct vfd_container *c;

	snprintf(info->automatic, sizeof info->automatic, "none");
	if (vfd_container_open(NULL, &c, NULL))
		return;
	if (!vfd_container_info(c, &told, NULL))
		snprintf(info->automatic, sizeof info->automatic, "%s (%s)",
			 told.kind == VFD_KIND_IOMMUFD ? "iommufd" : "type1", told.why);
	vfd_container_close(&c, 0, NULL);
}

void info_open_container(struct info *info)
{
	struct vfd_container_options options = { .struct_size = sizeof options,
						 .backend = VFD_BACKEND_TYPE1 };
	struct vfd_container *c;
	struct vfd_error err;

	find_automatic(info);
	info->usable = !vfd_container_open(&options, &c, &err);
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
	g->tracking = e->source != VFD_SOURCE_DEFERRED ? TRACKING_EXACT : TRACKING_DEFERRED;
	snprintf(g->rule, sizeof g->rule, "%s", e->why);
	g->asked_kernel = true;
}

static int attach(struct info_group *g, struct vfd_container *c, bool native, struct vfd_error *err)
{
	struct vfd_device *device;
	struct vfd_group *group;
	int rc = vfd_group_attach(c, g->number, &group, err);

	if (rc)
		return rc;
	if (native && g->device_count) /* only its devices know */
		vfd_device_open(group, g->devices[0].name, &device, err);
	take_plan(g, c, err);
	g->attached.container = (struct vfd_container_info){ .struct_size = sizeof g->attached.container };
	rc = vfd_container_info(c, &g->attached.container, err);
	int detached = vfd_group_detach(&group, VFD_DISCARD, err);
	return rc ? rc : detached;
}

static void attach_group(struct info_group *g, uint32_t backend)
{
	struct vfd_container_options options = { .struct_size = sizeof options, .backend = backend };
	struct vfd_container *c;
	struct vfd_error err;
	int rc = vfd_container_open(&options, &c, &err);

	g->attached.tried = true;
	if (!rc) {
		rc = attach(g, c, backend == VFD_BACKEND_IOMMUFD, &err);
		vfd_container_close(&c, VFD_DISCARD, NULL);
	}
	g->attached.attached = !rc;
	if (rc)
		snprintf(g->attached.error, sizeof g->attached.error, "%s", err.message);
}

void info_attach_groups(struct info *info)
{
	bool usable = info->backend == VFD_BACKEND_IOMMUFD ? info->iommufd : info->usable;

	for (size_t i = 0; usable && i < info->group_count; i++)
		if (info->groups[i].node[0] && info->groups[i].kind != KIND_NOIOMMU)
			attach_group(&info->groups[i], info->backend);
}
