/* SPDX-License-Identifier: MIT */
/* Dirty bits in page tables: set by DMA, read and cleared by GET, which keeps its errors to itself. */
#include "iommufd.h"
#include "uapi_iommufd.h"

static bool writable(const struct mapping *map)
{
	return map->prot & VFIO_DMA_MAP_FLAG_WRITE;
}

static const struct mapping *mapping_at(const struct hwpt *h, uint64_t page)
{
	return type1_find(h->ioas->type1, page * MODEL_PAGE_SIZE, 1);
}

/* Where an IOVA page lies in a large entry, its first page and how many there are. */
static uint64_t entry_of(const struct hwpt *h, uint64_t page, uint64_t *count)
{
	const struct mapping *map = mapping_at(h, page);
	uint64_t size = h->ioas->model->state->config.iommu_entry, first;

	*count = 1;
	if (!size || !map || h->ioas->small)
		return page;
	first = page * MODEL_PAGE_SIZE & ~(size - 1);
	if (first < map->iova || first + size > map->iova + map->size)
		return page;
	*count = size / MODEL_PAGE_SIZE;
	return first / MODEL_PAGE_SIZE;
}

void iommu_mark(struct device *d, uint64_t iova)
{
	uint64_t count;

	if (d->hwpt && d->hwpt->on)
		pageset_add(&d->hwpt->dirty, entry_of(d->hwpt, iova / MODEL_PAGE_SIZE, &count), 1);
}

/* Pages of one mapping, as memory. */
static void add_pages(struct pageset *set, const struct mapping *map, uint64_t page, uint64_t count)
{
	if (map && writable(map))
		pageset_add(set, (map->vaddr + (page * MODEL_PAGE_SIZE - map->iova)) / MODEL_PAGE_SIZE,
			    count);
}

static void add_entry(const struct hwpt *h, struct pageset *set, uint64_t page)
{
	uint64_t count, first = entry_of(h, page, &count);

	add_pages(set, mapping_at(h, first), first, count);
}

void hwpt_held(const struct hwpt *h, struct pageset *set)
{
	for (uint64_t page = 0; h->on && pageset_next(&h->dirty, &page, ~0ull / MODEL_PAGE_SIZE); page++)
		add_entry(h, set, page);
}

void hwpt_drop(struct model *m, struct hwpt *h, uint64_t first, uint64_t last)
{
	uint64_t page = first / MODEL_PAGE_SIZE;

	for (; pageset_next(&h->dirty, &page, last / MODEL_PAGE_SIZE); page++) {
		if (h->on)
			add_entry(h, &m->state->sets.dropped, page);
		pageset_clear_range(&h->dirty, page, 1);
	}
}

void hwpts_drop(struct model *m, struct iommu *iommu, const struct container *ioas, uint64_t first,
		uint64_t last)
{
	for (size_t i = 0; i < iommu->count; i++)
		if (iommu->objects[i].kind == OBJECT_HWPT && iommu->objects[i].hwpt->ioas == ioas)
			hwpt_drop(m, iommu->objects[i].hwpt, first, last);
}

int hwpt_set_dirty(struct call *call, struct iommu *iommu, const void *argument)
{
	struct uapi_hwpt_set_dirty ask;
	struct object *object;

	if (copy_in(&ask, argument, sizeof(ask)))
		return -EFAULT;
	if (ask.size < sizeof(ask))
		return -EINVAL;
	object = iommu_find(iommu, ask.hwpt_id);
	if (ask.flags & ~UAPI_HWPT_DIRTY_ENABLE)
		return -EOPNOTSUPP;
	if (!object || object->kind != OBJECT_HWPT)
		return -ENOENT;
	if (!object->hwpt->can)
		return -EOPNOTSUPP;
	if (ask.flags) /* also if it is on (trap 37) */
		hwpt_drop(call->model, object->hwpt, 0, ~0ull);
	else /* what is left cannot be read any more (trap 38) */
		hwpt_held(object->hwpt, &call->model->state->sets.dropped);
	object->hwpt->on = ask.flags;
	call->model->state->recording |= object->hwpt->on;
	return 0;
}

/* ---- GET ---- */

struct query {
	struct model *m;
	struct hwpt *h;
	struct uapi_hwpt_get_dirty ask;
	uint64_t last;
};

static bool set_bit(const struct query *q, uint64_t page)
{
	uint64_t bit = (page * MODEL_PAGE_SIZE - q->ask.iova) / q->ask.page_size, word;
	uint64_t at = q->ask.data + bit / 64 * 8;

	if (user_read(&word, at, 8) != 8)
		return false;
	word |= 1ull << bit % 64;
	return user_write(at, &word, 8) == 8;
}

/* Its bit may speak of neighbours too. */
static void told(const struct query *q, const struct mapping *map, uint64_t page)
{
	uint64_t size = q->ask.page_size, at = page * MODEL_PAGE_SIZE;
	uint64_t first = at - (at - q->ask.iova) % size, last = first + (size - 1);

	if (last > map->iova + (map->size - 1))
		last = map->iova + (map->size - 1);
	add_pages(&q->m->state->sets.returned, map, first / MODEL_PAGE_SIZE,
		  (last - first) / MODEL_PAGE_SIZE + 1);
}

/* All of the entry, also what is behind the end of the query (trap 34). What cannot be written is lost (trap 33). */
static void deliver(const struct query *q, const struct mapping *map, uint64_t page)
{
	uint64_t count, first = entry_of(q->h, page, &count);

	for (uint64_t i = first; i < first + count; i++)
		if (set_bit(q, i) && i * MODEL_PAGE_SIZE <= q->last)
			told(q, map, i);
		else
			add_pages(&q->m->state->sets.dropped, map, i, 1);
}

/* An entry that begins before the query is cleared, and not told (trap 35). */
static void behead(const struct query *q, uint64_t page)
{
	uint64_t count, first = entry_of(q->h, page, &count);

	if (first < page && pageset_has(&q->h->dirty, first))
		hwpt_drop(q->m, q->h, first * MODEL_PAGE_SIZE, first * MODEL_PAGE_SIZE);
}

static void read_area(const struct query *q, const struct mapping *map, uint64_t from, uint64_t to)
{
	uint64_t page = from / MODEL_PAGE_SIZE;

	behead(q, page);
	for (; pageset_next(&q->h->dirty, &page, to / MODEL_PAGE_SIZE); page++) {
		deliver(q, map, page);
		if (!(q->ask.flags & UAPI_HWPT_GET_DIRTY_PEEK))
			pageset_clear_range(&q->h->dirty, page, 1);
	}
}

/* Up to the first hole, and then no word of it (trap 36). */
static void read_areas(const struct query *q)
{
	uint64_t at = q->ask.iova;
	const struct mapping *map;

	while (q->h->on && (map = type1_find(q->h->ioas->type1, at, 1))) {
		uint64_t end = map->iova + (map->size - 1);

		read_area(q, map, at, end < q->last ? end : q->last);
		if (end >= q->last)
			return;
		at = end + 1;
	}
}

static int check(const struct query *q)
{
	uint64_t align = type1_page_size(q->h->ioas->type1), page = q->ask.page_size;

	if (!page || (q->ask.iova | (q->last + 1)) & (align - 1) ||
	    (q->ask.iova | (q->last + 1)) & (page - 1))
		return -EINVAL;
	return q->h->can ? 0 : -EOPNOTSUPP;
}

int hwpt_get_dirty(struct call *call, struct iommu *iommu, const void *argument)
{
	struct query q = { .m = call->model };
	struct object *object;
	int error;

	if (copy_in(&q.ask, argument, sizeof(q.ask)))
		return -EFAULT;
	if (q.ask.size < sizeof(q.ask))
		return -EINVAL;
	if (q.ask.flags & ~UAPI_HWPT_GET_DIRTY_PEEK || q.ask.reserved)
		return -EOPNOTSUPP;
	object = iommu_find(iommu, q.ask.hwpt_id);
	if (!object || object->kind != OBJECT_HWPT)
		return -ENOENT;
	q.h = object->hwpt;
	if (__builtin_add_overflow(q.ask.iova, q.ask.length - 1, &q.last))
		return -EOVERFLOW;
	error = check(&q);
	if (!error)
		read_areas(&q);
	return error;
}
