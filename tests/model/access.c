/* SPDX-License-Identifier: MIT */
/* Devices' ways to memory: vfio_dma_rw, which the kernel sees, and DMA through an IOMMU, which it does not. */
#include <string.h>

#include "internal.h"

/* The mapping at an IOVA and how much of the access is in it, or why not: checks of vfio_iommu_type1_dma_rw_chunk. */
static int chunk(struct device *d, uint64_t iova, size_t *size, bool write, struct mapping **map)
{
	struct type1 *t = d->group->container ? d->group->container->type1 : NULL;

	if (!t)
		return -EINVAL;
	if (t->suspended)
		return -EBUSY;
	*map = type1_find(t, iova, 1);
	if (!*map)
		return -EINVAL;
	if ((write && !((*map)->prot & VFIO_DMA_MAP_FLAG_WRITE)) || !((*map)->prot & VFIO_DMA_MAP_FLAG_READ))
		return -EPERM; /* yes: a write wants READ too */
	if (*size > (*map)->size - (iova - (*map)->iova))
		*size = (size_t)((*map)->size - (iova - (*map)->iova));
	return 0;
}

/* A part that faulted may be written all the same, and is marked nowhere. */
int access_write(struct model *m, struct device *d, uint64_t iova, const void *data, size_t size)
{
	const char *from = data;

	while (size) {
		struct mapping *map;
		size_t part = size;
		int error = chunk(d, iova, &part, true, &map);

		if (error)
			return error;
		if (user_write(map->vaddr + (iova - map->iova), from, part) != part)
			return -EFAULT;
		bitmap_mark(m, d->group->container->type1, map, iova - map->iova, part);
		devlog_mark(d, iova, part);
		truth_wrote(m, d, map->vaddr + (iova - map->iova), part);
		from += part;
		iova += part;
		size -= part;
	}
	return 0;
}

int access_read(struct model *m, struct device *d, uint64_t iova, void *data, size_t size)
{
	char *to = data;

	(void)m;
	while (size) {
		struct mapping *map;
		size_t part = size;
		int error = chunk(d, iova, &part, false, &map);

		if (error)
			return error;
		if (user_read(to, map->vaddr + (iova - map->iova), part) != part)
			return -EFAULT;
		to += part;
		iova += part;
		size -= part;
	}
	return 0;
}

static struct mapping *translate(const struct device *d, uint64_t iova)
{
	bool reaches = d->cdev ? d->ioas : d->group->container;
	const struct type1 *t = reaches ? d->group->container->type1 : NULL;
	struct mapping *map = t ? type1_find(t, iova, 1) : NULL;

	for (size_t i = 0; t && !map && i < t->top_count; i++)
		if (iova >= t->tops[i]->iova)
			map = t->tops[i];
	return map && map->iommu_mapped && map->prot & VFIO_DMA_MAP_FLAG_WRITE ? map : NULL;
}

static int dma_page(struct model *m, struct device *d, uint64_t iova, size_t size, uint64_t value)
{
	const struct mapping *map = translate(d, iova);
	char bytes[MODEL_PAGE_SIZE];
	uint64_t address;

	if (!map)
		return -EFAULT;
	vfdtest_fill(bytes, iova, size, value);
	address = map->vaddr + (iova - map->iova);
	if (user_write(address, bytes, size) != size)
		return -EFAULT;
	pageset_add(&d->truth, iova / MODEL_PAGE_SIZE, 1);
	devlog_mark(d, iova, size);
	iommu_mark(d, iova);
	truth_wrote(m, d, address, size);
	return 0;
}

int model_dma_write(struct model *m, const char *name, uint64_t iova, uint64_t size, uint64_t value)
{
	struct device *d;
	int error = 0;

	model_lock(m);
	d = device_by_name(m, name);
	if (!d || !d->group->present || d->group->config.kind != MODEL_PHYSICAL)
		error = -ENODEV;
	else if (!device_can_write(d))
		error = -EACCES;
	while (!error && size) {
		uint64_t part = MODEL_PAGE_SIZE - iova % MODEL_PAGE_SIZE;

		if (part > size)
			part = size;
		error = dma_page(m, d, iova, (size_t)part, value);
		iova += part;
		size -= part;
	}
	model_unlock(m);
	return error;
}
