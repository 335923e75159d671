/* SPDX-License-Identifier: MIT */
/* vfio_pin_pages: pages a driver may write at any moment, ordered by IOVA. */
#include <string.h>

#include "internal.h"

static size_t index_of(const struct device *d, uint64_t iova_page)
{
	size_t low = 0, high = d->pin_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (d->pins[middle].iova_page < iova_page)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct pin *find(const struct device *d, uint64_t iova_page)
{
	size_t i = index_of(d, iova_page);

	return i < d->pin_count && d->pins[i].iova_page == iova_page ? &d->pins[i] : NULL;
}

/* The first pin at or after an IOVA, and how many follow. */
const struct pin *pins_from(const struct device *d, uint64_t iova, size_t *count)
{
	size_t i = index_of(d, iova / MODEL_PAGE_SIZE);

	*count = d->pin_count - i;
	return d->pins ? d->pins + i : NULL;
}

bool pins_any(const struct container *c, const struct mapping *map)
{
	for (unsigned i = 0; i < c->group_count; i++)
		for (unsigned j = 0; j < c->groups[i]->device_count; j++) {
			size_t count;
			const struct pin *pin = pins_from(&c->groups[i]->devices[j], map->iova, &count);

			if (count && pin->iova_page * MODEL_PAGE_SIZE - map->iova < map->size)
				return true;
		}
	return false;
}

static void enter_truth(struct model *m, struct device *d, const struct pin *pin)
{
	if (!pin->write || !device_can_write(d) || devlog_covers(d, pin->iova_page * MODEL_PAGE_SIZE))
		return;
	pageset_add(&d->truth, pin->iova_page, 1);
	d->sequence++;
	truth_wrote(m, d, pin->memory_page * MODEL_PAGE_SIZE, 1);
}

/* Not an event of its own: the device may have written at any moment until now. */
void pins_enter_truth(struct model *m, struct device *d)
{
	uint64_t sequence = d->sequence;

	for (size_t i = 0; i < d->pin_count; i++)
		enter_truth(m, d, &d->pins[i]);
	d->sequence = sequence;
}

/* What vfio_pin_pages asks of a page before it pins it. */
static int check_page(const struct type1 *t, uint64_t iova, bool write)
{
	uint32_t need = VFIO_DMA_MAP_FLAG_READ | (write ? VFIO_DMA_MAP_FLAG_WRITE : 0);
	const struct mapping *map = type1_find(t, iova, MODEL_PAGE_SIZE);
	char byte;

	if (!map)
		return -EINVAL;
	if ((map->prot & need) != need)
		return -EPERM;
	return user_read(&byte, map->vaddr + (iova - map->iova), 1) ? 0 : -EFAULT;
}

static void pin_page(struct model *m, struct device *d, uint64_t iova, bool write)
{
	struct type1 *t = d->group->container->type1;
	struct mapping *map = type1_find(t, iova, MODEL_PAGE_SIZE);
	struct pin *pin = find(d, iova / MODEL_PAGE_SIZE);

	if (!pin) {
		size_t i = index_of(d, iova / MODEL_PAGE_SIZE);

		d->pins = model_grow(d->pins, d->pin_count, &d->pin_room, sizeof(*d->pins));
		memmove(d->pins + i + 1, d->pins + i, (d->pin_count - i) * sizeof(*d->pins));
		d->pin_count++;
		pin = &d->pins[i];
		*pin = (struct pin){ .iova_page = iova / MODEL_PAGE_SIZE,
				     .memory_page = (map->vaddr + (iova - map->iova)) / MODEL_PAGE_SIZE };
	}
	pin->count++;
	pin->write |= write;
	bitmap_mark(m, t, map, iova - map->iova, MODEL_PAGE_SIZE);
	if (write)
		enter_truth(m, d, pin);
}

/* All or nothing; but pages that were pinned before the one that failed stay marked, as in the kernel. */
int pins_add(struct model *m, struct device *d, uint64_t iova, uint64_t size, bool write)
{
	struct type1 *t = d->group->container ? d->group->container->type1 : NULL;
	int error = !t ? -EINVAL : !t->v2 ? -EACCES : t->suspended ? -EBUSY : 0;
	uint64_t done = 0;

	while (!error && done < size) {
		error = check_page(t, iova + done, write);
		if (!error)
			done += MODEL_PAGE_SIZE;
	}
	for (uint64_t at = 0; error && at < done; at += MODEL_PAGE_SIZE) {
		struct mapping *map = type1_find(t, iova + at, MODEL_PAGE_SIZE);

		bitmap_mark(m, t, map, iova + at - map->iova, MODEL_PAGE_SIZE);
	}
	if (error)
		return error;
	d->quiet = false;
	for (uint64_t at = 0; at < size; at += MODEL_PAGE_SIZE)
		pin_page(m, d, iova + at, write);
	return 0;
}

static void unpin(struct model *m, struct device *d, struct pin *pin)
{
	size_t i = (size_t)(pin - d->pins);

	enter_truth(m, d, pin);
	if (--pin->count)
		return;
	d->pin_count--;
	memmove(pin, pin + 1, (d->pin_count - i) * sizeof(*pin));
}

int pins_drop(struct model *m, struct device *d, uint64_t iova, uint64_t size)
{
	for (uint64_t at = 0; at < size; at += MODEL_PAGE_SIZE)
		if (!find(d, (iova + at) / MODEL_PAGE_SIZE))
			return -EINVAL;
	for (uint64_t at = 0; at < size; at += MODEL_PAGE_SIZE)
		unpin(m, d, find(d, (iova + at) / MODEL_PAGE_SIZE));
	return 0;
}

void pins_drop_all_in(struct model *m, struct device *d, uint64_t first, uint64_t last)
{
	size_t i = index_of(d, first / MODEL_PAGE_SIZE), end = i;

	while (end < d->pin_count && d->pins[end].iova_page <= last / MODEL_PAGE_SIZE)
		enter_truth(m, d, &d->pins[end++]);
	if (end == i)
		return;
	memmove(d->pins + i, d->pins + end, (d->pin_count - end) * sizeof(*d->pins));
	d->pin_count -= end - i;
}

/* Is every page of the range pinned for writing? */
bool pins_cover(const struct device *d, uint64_t iova, uint64_t size)
{
	for (uint64_t page = iova / MODEL_PAGE_SIZE; page <= (iova + size - 1) / MODEL_PAGE_SIZE; page++) {
		const struct pin *pin = find(d, page);

		if (!pin || !pin->write)
			return false;
	}
	return true;
}
