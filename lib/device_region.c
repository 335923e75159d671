/* SPDX-License-Identifier: MIT */
#include "container.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "answer.h"
#include "caps.h"
#include "query.h"

int device_query_region(struct vfd_device *device, uint32_t index, struct vfd_device_region *region,
			struct vfd_error *err)
{
	const struct vfio_region_info question = { .index = index };
	const struct sys *sys = device->group->container->sys;
	void *info;
	uint32_t size;
	int rc =
		query(sys, device->fd, VFIO_DEVICE_GET_REGION_INFO, &question, sizeof question, &info, &size);

	if (rc)
		return fail_sys(err, -rc, "VFIO_DEVICE_GET_REGION_INFO", "device %s, region %u (it has %u)",
				device->name, index, device->regions);
	caps_parse_region(info, size, region);
	free(info);
	return 0;
}

int vfd_device_region_info(struct vfd_device *device, uint32_t index, struct vfd_device_region *region,
			   struct vfd_error *err)
{
	struct vfd_device_region answer = { 0 };
	int rc = check_answer(region, sizeof answer, "struct vfd_device_region", err);

	if (!rc)
		rc = device_enter(device, "region info", err);
	if (rc)
		return rc;
	rc = device_query_region(device, index, &answer, err);
	device_leave(device);
	if (!rc)
		copy_answer(region, &answer, sizeof answer);
	return rc;
}

static bool in_an_area(const struct vfd_device_region *region, uint64_t offset, uint64_t size)
{
	struct range want, area;

	if (!range_make(&want, offset, size))
		return false;
	for (uint32_t i = 0; i < region->area_count; i++)
		if (range_make(&area, region->areas[i].offset, region->areas[i].size) &&
		    range_contains(area, want))
			return true;
	return false;
}

static int region_prot(const struct vfd_device_region *region)
{
	return (region->flags & VFIO_REGION_INFO_FLAG_READ ? PROT_READ : 0) |
	       (region->flags & VFIO_REGION_INFO_FLAG_WRITE ? PROT_WRITE : 0);
}

static int map_area(struct vfd_device *d, uint32_t index, uint64_t offset, uint64_t size, void **memory,
		    struct vfd_error *err)
{
	static const char *const op = "map device region";
	const struct sys *sys = d->group->container->sys;
	struct vfd_device_region region = { 0 };
	int rc = device_query_region(d, index, &region, err);

	if (rc)
		return rc;
	if (!is_aligned(offset | size, 4096))
		return fail(err, VFD_EALIGN, op,
			    "offset %#" PRIx64 " and size %#" PRIx64 " must be multiples of 4096", offset,
			    size);
	if (!in_an_area(&region, offset, size) || size > SIZE_MAX)
		return fail(err, VFD_ERESERVED, op,
			    "%#" PRIx64 " bytes at %#" PRIx64
			    " of region %u are in none of its %u mappable areas; the first has "
			    "%#" PRIx64 " bytes at %#" PRIx64,
			    size, offset, index, region.area_count, region.areas[0].size,
			    region.areas[0].offset);
	struct area *area = malloc(sizeof *area);
	if (!area)
		return fail(err, VFD_ENOMEMORY, op, "no memory for the area's record");
	rc = sys->map_file(sys, d->fd, region.offset + offset, (size_t)size, region_prot(&region),
			   &area->memory);
	if (rc) {
		free(area);
		return fail_sys(err, -rc, op, "device %s, region %u at %#" PRIx64, d->name, index, offset);
	}
	area->size = (size_t)size;
	area->next = d->areas;
	d->areas = area;
	*memory = area->memory;
	return 0;
}

int vfd_device_map(struct vfd_device *device, uint32_t index, uint64_t offset, uint64_t size, void **memory,
		   struct vfd_error *err)
{
	if (!memory || !size)
		return fail(err, VFD_EINVALID, "map device region", memory ? "size is 0" : "memory is NULL");
	int rc = device_enter(device, "map device region", err);
	if (rc)
		return rc;
	rc = map_area(device, index, offset, size, memory, err);
	device_leave(device);
	return rc;
}

static void unmap_area(struct vfd_device *d, struct area **link)
{
	const struct sys *sys = d->group->container->sys;
	struct area *area = *link;

	*link = area->next;
	sys->unmap(sys, area->memory, area->size);
	free(area);
}

void device_unmap_areas(struct vfd_device *device)
{
	while (device->areas)
		unmap_area(device, &device->areas);
}

int vfd_device_unmap(struct vfd_device *device, void *memory, struct vfd_error *err)
{
	int rc = device_enter(device, "unmap device region", err);

	if (rc)
		return rc;
	struct area **link = &device->areas;
	while (*link && (*link)->memory != memory)
		link = &(*link)->next;
	if (*link)
		unmap_area(device, link);
	else
		rc = fail(err, VFD_EINVALID, "unmap device region",
			  "%p did not come from vfd_device_map on this device", memory);
	device_leave(device);
	return rc;
}
