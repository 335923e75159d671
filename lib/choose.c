/* SPDX-License-Identifier: MIT */
#include "choose.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

static int explain_open(const char *path, int rc, bool native, struct vfd_error *err)
{
	const char *hint =
		rc == -ENOENT && native ? "is iommufd in this kernel (CONFIG_IOMMUFD; modprobe iommufd)?"
		: rc == -ENOENT		? "is the vfio module loaded (modprobe vfio vfio_iommu_type1)?"
		: rc == -EACCES		? "the node belongs to root by default: give this user access to it"
					: "cannot be opened";

	return fail_sys(err, -rc, "open container", "%s: %s", path, hint);
}

/* iommufd in a container's clothes answers too, but knows no dirty tracking and keeps mappings where type1 drops them: it has no
 * DIRTY_PAGES at all (ENOTTY), which a type1 container answers even before an IOMMU is set (EINVAL). */
static int check_kind(const struct sys *sys, int fd, const char *path, struct vfd_error *err)
{
	int version = sys->ioctl(sys, fd, VFIO_GET_API_VERSION, NULL);

	if (version != VFIO_API_VERSION)
		return fail(err, VFD_EUNSUPPORTED, "open container",
			    "%s is no VFIO container (API version %d, not %d)", path, version,
			    VFIO_API_VERSION);
	if (sys->ioctl(sys, fd, VFIO_CHECK_EXTENSION, (void *)VFIO_TYPE1v2_IOMMU) <= 0)
		return fail(err, VFD_EUNSUPPORTED, "open container",
			    "%s offers no type1 v2 IOMMU: modprobe vfio_iommu_type1", path);
	struct vfio_iommu_type1_dirty_bitmap probe = { 0 };
	if (sys->ioctl(sys, fd, VFIO_IOMMU_DIRTY_PAGES, &probe) == -ENOTTY)
		return fail(err, VFD_EUNSUPPORTED, "open container",
			    "%s is iommufd's compatibility container, which has no dirty tracking", path);
	return 0;
}

static int open_type1(const struct sys *sys, const char *path, struct vfd_error *err)
{
	int fd = sys->open(sys, path ? path : "/dev/vfio/vfio", O_RDWR);

	if (fd < 0)
		return explain_open(path ? path : "/dev/vfio/vfio", fd, false, err);
	int rc = check_kind(sys, fd, path ? path : "/dev/vfio/vfio", err);
	if (!rc)
		return fd;
	sys->close(sys, fd);
	return rc;
}

static int open_native(const struct sys *sys, const char *path, struct vfd_error *err)
{
	int fd = sys->open(sys, path ? path : "/dev/iommu", O_RDWR);

	return fd < 0 ? explain_open(path ? path : "/dev/iommu", fd, true, err) : fd;
}

static int check_devices(const struct sys *sys, int fd, const struct vfd_container_options *options,
			 struct vfd_error *why)
{
	const struct backend native = { .sys = sys, .fd = fd };
	int rc = 0;

	for (uint32_t i = 0; !rc && i < options->device_count; i++)
		rc = cdev_probe(&native, options->devices[i], why);
	return rc;
}

/* iommufd, if all devices named are better off there; else why not. */
static int open_better(const struct sys *sys, const struct vfd_container_options *options,
		       struct choice *choice)
{
	struct vfd_error why = { .message = "no devices were named" };
	int fd = options->device_count ? open_native(sys, NULL, &why) : -ENODEV;
	int rc = fd < 0 ? fd : check_devices(sys, fd, options, &why);

	choice->kind = VFD_KIND_IOMMUFD;
	snprintf(choice->why, sizeof choice->why, "%s",
		 rc ? why.message : "the IOMMU of each device named sets dirty bits");
	if (rc && fd >= 0)
		sys->close(sys, fd);
	return rc ? rc : fd;
}

/* Else a container if there is one that can track; else iommufd, where it is. Why there is no container is then what is told. */
static int open_any(const struct sys *sys, const struct vfd_container_options *options, struct choice *choice,
		    struct vfd_error *err)
{
	struct vfd_error why = { 0 };
	int fd = open_better(sys, options, choice);

	if (fd >= 0)
		return fd;
	fd = open_type1(sys, NULL, &why);
	choice->kind = VFD_KIND_TYPE1_V2;
	if (fd >= 0)
		return fd;
	int native = open_native(sys, NULL, NULL);
	choice->kind = VFD_KIND_IOMMUFD;
	snprintf(choice->why, sizeof choice->why, "%s", why.message);
	if (native < 0 && err)
		*err = why;
	return native < 0 ? fd : native;
}

static int check_named(const struct vfd_container_options *options, struct vfd_error *err)
{
	for (uint32_t i = 0; i < options->device_count; i++)
		if (!options->devices || !options->devices[i])
			return fail(err, VFD_EINVALID, "open container",
				    "%" PRIu32 " devices are named, but number %" PRIu32 " is NULL",
				    options->device_count, i);
	return 0;
}

int choose_backend(const struct sys *sys, const struct vfd_container_options *options, struct choice *choice,
		   struct vfd_error *err)
{
	if (options->backend > VFD_BACKEND_IOMMUFD)
		return fail(err, VFD_EINVALID, "open container", "unknown backend %" PRIu32,
			    options->backend);
	int rc = check_named(options, err);
	if (rc)
		return rc;
	if (options->backend == VFD_BACKEND_AUTO && !options->path)
		return open_any(sys, options, choice, err);
	bool native = options->backend == VFD_BACKEND_IOMMUFD;
	choice->kind = native ? VFD_KIND_IOMMUFD : VFD_KIND_TYPE1_V2;
	snprintf(choice->why, sizeof choice->why, "the caller named %s",
		 options->backend ? "it" : "its path");
	return native ? open_native(sys, options->path, err) : open_type1(sys, options->path, err);
}
