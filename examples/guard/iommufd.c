/* SPDX-License-Identifier: MIT */

/* Address spaces and page tables of an iommufd. A page table's dirty bits are its own, also where two show one address space. */

#include "guard.h"

#include <errno.h>
#include <stdlib.h>

#include "calls.h"

struct table *table_find(struct file *iommufd, uint32_t id)
{
	struct table *t = id ? iommufd->tables : NULL;

	while (t && t->id != id)
		t = t->next;
	return t;
}

static struct table *table_new(struct file *file, uint32_t id, uint32_t space)
{
	struct table *t = calloc(1, sizeof *t);

	if (!t)
		return NULL;
	*t = (struct table){ .next = file->tables, .id = id, .space = space };
	t->record.loud = 1; /* until a device is seen to be in it, one that is not seen may be */
	t->record.page = file->record.page;
	file->tables = t;
	return t;
}

static bool shows(const struct table *t, uint32_t space)
{
	return t->id == space || t->space == space;
}

/* ---- address spaces ---------------------------------------------------------------------------------------------------- */

static void mapped(struct file *file, uint32_t space, uint64_t iova, uint64_t length, bool writable)
{
	count_maps++;
	for (struct table *t = file->tables; t; t = t->next)
		if (shows(t, space))
			record_map(&t->record, iova, length, writable);
}

static int map(struct file *file, int fd, unsigned long request, struct abi_ioas_map *m)
{
	int result = kernel_ioctl(fd, request, m);

	if (result == 0)
		mapped(file, m->ioas_id, m->iova, m->length, m->flags & ABI_MAP_WRITABLE);
	return result;
}

static int copy(struct file *file, int fd, unsigned long request, struct abi_ioas_copy *c)
{
	int result = kernel_ioctl(fd, request, c);

	if (result == 0)
		mapped(file, c->dst_ioas_id, c->dst_iova, c->length, c->flags & ABI_MAP_WRITABLE);
	return result;
}

static void lose(struct file *file, uint32_t space, uint64_t first, uint64_t last, struct loss *loss)
{
	for (struct table *t = file->tables; t; t = t->next)
		if (t->space == space && t->record.on) {
			loss->table = t;
			loss_measure(loss, &t->record, first, last);
			if (keeping)
				keep_between(loss, first, last);
		}
}

static int unmap(struct file *file, int fd, unsigned long request, struct abi_ioas_unmap *u)
{
	struct loss loss = {
		.kind = "ioas-unmap",
		.call = "IOMMU_IOAS_UNMAP",
		.file = file,
		.asker = file,
		.why = "unmapping destroys the dirty bits of these pages, and they were not read"
	};
	uint64_t first = u->iova, last = u->length == UINT64_MAX ? UINT64_MAX : first + u->length - 1;
	uint32_t space = u->ioas_id;
	int result;

	lose(file, space, first, last, &loss);
	result = kernel_ioctl(fd, request, u);
	if (result < 0)
		return kept_in_vain(&loss, result);
	count_unmaps++;
	if (loss_any(&loss))
		loss_report(&loss);
	for (struct table *t = file->tables; t; t = t->next)
		if (shows(t, space))
			range_free(range_take(&t->record.ranges, first, last));
	return result;
}

/* ---- page tables --------------------------------------------------------------------------------------------------------- */

static void add_to(struct range *r, void *set)
{
	struct range copy = *r;

	copy.since = now();
	copy.collected = false;
	range_add(set, &copy);
}

static int alloc_table(struct file *file, int fd, unsigned long request, struct abi_hwpt_alloc *a)
{
	int result = kernel_ioctl(fd, request, a);
	struct table *space = result == 0 ? table_find(file, a->pt_id) : NULL;
	struct table *t = result == 0 ? table_new(file, a->out_hwpt_id, a->pt_id) : NULL;

	if (t && space)
		range_each(space->record.ranges, 0, UINT64_MAX, add_to, &t->record.ranges);
	return result;
}

/* All that a page table holds, before the kernel is asked */
static void lose_table(struct table *t, struct loss *loss)
{
	if (!t || !t->record.on)
		return;
	loss->table = t;
	loss_measure(loss, &t->record, 0, UINT64_MAX);
	keep(loss, t->record.ranges);
}

static int set_dirty(struct file *file, int fd, unsigned long request, struct abi_set_dirty *d)
{
	bool on = d->flags & ABI_DIRTY_ENABLE;
	struct loss loss = { .kind = on ? "enable-again" : "disable",
			     .file = file,
			     .asker = file,
			     .call = on ? "IOMMU_HWPT_SET_DIRTY_TRACKING enable"
					: "IOMMU_HWPT_SET_DIRTY_TRACKING disable",
			     .why = on ? "enabling clears all bits first, also where tracking was on"
				       : "what was not read cannot be read any more" };
	struct table *t = table_find(file, d->hwpt_id);
	uint64_t moment = now();
	int result;

	lose_table(t, &loss);
	result = kernel_ioctl(fd, request, d);
	if (result < 0)
		return kept_in_vain(&loss, result);
	*(on ? &count_starts : &count_stops) += 1;
	if (loss_any(&loss))
		loss_report(&loss);
	t = table_find(file, d->hwpt_id); /* another thread may have destroyed it meanwhile */
	if (t && on)
		record_start(&t->record, moment);
	else if (t)
		record_forget(&t->record);
	return result;
}

static int get_dirty(struct file *file, int fd, unsigned long request, struct abi_get_dirty *g)
{
	struct loss loss = {
		.kind = "bad-buffer",
		.call = "IOMMU_HWPT_GET_DIRTY_BITMAP",
		.file = file,
		.why = "it said 0, but the bitmap cannot be written: the bits are cleared, and went nowhere"
	};
	struct table *t;
	uint64_t last = g->iova + g->length - 1, moment = now();
	bool bad = g->page_size && !memory_writable(g->data, (g->length / g->page_size + 63) / 64 * 8);
	int result = kernel_ioctl(fd, request, g);

	t = table_find(file, g->hwpt_id); /* another thread may have destroyed it meanwhile */
	if (result < 0 || !t)
		return result;
	count_gets++;
	t->record.page = g->page_size;
	if (!bad) {
		record_collected(&t->record, g->iova, last, moment);
		return result;
	}
	loss_measure(&loss, &t->record, g->iova, last);
	if (loss_any(&loss))
		loss_report(&loss);
	return result;
}

static void drop(struct file *file, struct table *gone)
{
	struct table **at = &file->tables;

	while (*at != gone)
		at = &(*at)->next;
	*at = gone->next;
	range_free(gone->record.ranges);
	free(gone);
}

static int destroy(struct file *file, int fd, unsigned long request, struct abi_destroy *d)
{
	struct loss loss = { .kind = "destroy",
			     .call = "IOMMU_DESTROY",
			     .file = file,
			     .asker = file,
			     .why = "the page table takes its dirty bits along" };
	struct table *t = table_find(file, d->id);
	int result;

	lose_table(t, &loss);
	result = kernel_ioctl(fd, request, d);
	if (result < 0)
		return kept_in_vain(&loss, result);
	t = table_find(file, d->id); /* another thread may have been before */
	if (!t)
		return result;
	if (loss_any(&loss))
		loss_report(&loss);
	drop(file, t);
	return result;
}

static int alloc_space(struct file *file, int fd, unsigned long request, struct abi_ioas_alloc *a)
{
	int result = kernel_ioctl(fd, request, a);

	if (result == 0)
		table_new(file, a->out_ioas_id, 0);
	return result;
}

int iommufd_ioctl(struct file *file, int fd, unsigned long request, void *arg)
{
	switch (arg ? request : 0) {
	case ABI_IOAS_ALLOC:
		return alloc_space(file, fd, request, arg);
	case ABI_IOAS_MAP:
	case ABI_IOAS_MAP_FILE:
		return map(file, fd, request, arg);
	case ABI_IOAS_COPY:
		return copy(file, fd, request, arg);
	case ABI_IOAS_UNMAP:
		return unmap(file, fd, request, arg);
	case ABI_HWPT_ALLOC:
		return alloc_table(file, fd, request, arg);
	case ABI_SET_DIRTY:
		return set_dirty(file, fd, request, arg);
	case ABI_GET_DIRTY:
		return get_dirty(file, fd, request, arg);
	case ABI_DESTROY:
		return destroy(file, fd, request, arg);
	default:
		return kernel_ioctl(fd, request, arg);
	}
}
