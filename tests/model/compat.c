/* SPDX-License-Identifier: MIT */
/* iommufd posing as a container: maps and unmaps, cannot track, and keeps its mappings when the last group leaves. */
#include "internal.h"
#include "uapi.h"

long compat_extension(unsigned long extension)
{
	return extension == VFIO_TYPE1_IOMMU || extension == VFIO_TYPE1v2_IOMMU ||
	       extension == VFIO_UNMAP_ALL;
}

static int set_iommu(struct container *c, unsigned long type)
{
	if (!c->driver && !c->group_count)
		return -ENODEV;
	if (type != VFIO_TYPE1_IOMMU && type != VFIO_TYPE1v2_IOMMU)
		return -EINVAL;
	c->driver = true;
	return 0;
}

/* Without the MIGRATION capability: only what the struct itself says. */
static int get_info(const struct container *c, void *argument)
{
	struct {
		uint32_t argsz, flags;
		uint64_t page_sizes;
	} info = { 0 };

	if (copy_in(&info, argument, sizeof(info)))
		return -EFAULT;
	if (info.argsz < sizeof(info))
		return -EINVAL;
	info.flags = VFIO_IOMMU_INFO_PGSIZES;
	info.page_sizes = c->type1->page_sizes;
	return copy_out(argument, &info, sizeof(info));
}

static bool cuts(const struct type1 *t, uint64_t iova, uint64_t size)
{
	return type1_cuts(t, iova, size);
}

static int unmap(struct call *call, struct container *c, void *argument)
{
	struct type1 *t = c->type1;
	struct uapi_unmap ask;
	bool all;

	if (copy_in(&ask, argument, UAPI_UNMAP_PLAIN_SIZE))
		return -EFAULT;
	all = ask.flags & VFIO_DMA_UNMAP_FLAG_ALL;
	if (ask.argsz < UAPI_UNMAP_PLAIN_SIZE || ask.flags & ~(uint32_t)VFIO_DMA_UNMAP_FLAG_ALL)
		return -EINVAL;
	if (all && (ask.iova || ask.size))
		return -EINVAL;
	if (!all && (!type1_find(t, ask.iova, ask.size) || cuts(t, ask.iova, ask.size)))
		return -ENOENT;
	return type1_do_unmap(call, c, argument);
}

int compat_ioctl(struct call *call, struct container *c, unsigned long request, void *argument)
{
	switch (request) {
	case VFIO_GET_API_VERSION:
		return VFIO_API_VERSION;
	case VFIO_CHECK_EXTENSION:
		return (int)compat_extension((unsigned long)argument);
	case VFIO_SET_IOMMU:
		return set_iommu(c, (unsigned long)argument);
	case VFIO_IOMMU_DIRTY_PAGES:
		return -ENOTTY;
	}
	if (!c->group_count && !c->driver)
		return request == VFIO_IOMMU_GET_INFO || request == VFIO_IOMMU_MAP_DMA ||
				       request == VFIO_IOMMU_UNMAP_DMA
			       ? -ENODEV
			       : -ENOTTY;
	switch (request) {
	case VFIO_IOMMU_GET_INFO:
		return get_info(c, argument);
	case VFIO_IOMMU_MAP_DMA:
		return type1_do_map(call, c, argument);
	case VFIO_IOMMU_UNMAP_DMA:
		return unmap(call, c, argument);
	default:
		return -ENOTTY;
	}
}
