/* SPDX-License-Identifier: MIT */

/* Containers and groups: what their ioctls do to the record of dirty pages. */

#include "guard.h"

#include <errno.h>
#include <linux/vfio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "calls.h"

uint64_t count_maps, count_unmaps, count_starts, count_stops, count_gets;

bool memory_writable(uint64_t address, uint64_t size)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), start = address & ~(page - 1);
	int error = errno;
	bool bad =
		madvise((void *)(uintptr_t)start, address + size - start, 23 /* MADV_POPULATE_WRITE */) < 0 &&
		errno != EINVAL;

	errno = error;
	return !bad;
}

static void report(struct loss *loss)
{
	if (loss_any(loss))
		loss_report(loss);
}

/* ---- mappings -------------------------------------------------------------------------------------------------------- */

static int map(struct file *file, int fd, unsigned long request, struct vfio_iommu_type1_dma_map *m)
{
	int result = kernel_ioctl(fd, request, m);

	if (result == 0 && !(m->flags & VFIO_DMA_MAP_FLAG_VADDR)) {
		count_maps++;
		record_map(&file->record, m->iova, m->size, m->flags & VFIO_DMA_MAP_FLAG_WRITE);
	}
	return result;
}

static void half_unmapped(struct file *file, struct range *taken)
{
	struct loss loss = { .kind = "half-unmap",
			     .call = "VFIO_IOMMU_UNMAP_DMA",
			     .file = file,
			     .why = "it failed half-way: mappings before the fault are gone, and their bits "
				    "are in the buffer only" };

	loss_of(&loss, taken, &file->record);
	report(&loss);
}

/* The ranges are out of the set before the kernel is asked: as soon as it has done it another thread may map there. */
static int unmap(struct file *file, int fd, unsigned long request, struct vfio_iommu_type1_dma_unmap *u)
{
	bool all = u->flags & VFIO_DMA_UNMAP_FLAG_ALL, bits = u->flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP;
	struct loss loss = {
		.kind = "unmap",
		.call = "VFIO_IOMMU_UNMAP_DMA",
		.file = file,
		.asker = file,
		.why = "unmapped without GET_DIRTY_BITMAP while tracking: the record of these pages is freed"
	};
	struct range *taken;
	int result;

	if (u->flags & VFIO_DMA_UNMAP_FLAG_VADDR || (!all && (!u->size || u->iova + u->size - 1 < u->iova)))
		return kernel_ioctl(fd, request, u);
	taken = range_take(&file->record.ranges, all ? 0 : u->iova, all ? UINT64_MAX : u->iova + u->size - 1);
	if (!bits && file->record.on) {
		loss_of(&loss, taken, &file->record);
		loss.unseen = all && file->record.unseen;
		keep(&loss, taken);
	}
	result = kernel_ioctl(fd, request, u);
	count_unmaps += result == 0;
	if (result == 0) {
		report(&loss);
		range_free(taken);
		return result;
	}
	int error = errno;
	kept_in_vain(&loss, result);
	if (bits && error == EFAULT)
		half_unmapped(file, taken);
	range_put(&file->record.ranges, taken);
	errno = error;
	return result;
}

/* ---- tracking ---------------------------------------------------------------------------------------------------------- */

struct get { /* vfio_iommu_type1_dirty_bitmap with what belongs behind it */
	uint32_t argsz, flags;
	struct vfio_iommu_type1_dirty_bitmap_get get;
};

static int get(struct file *file, int fd, unsigned long request, struct get *g)
{
	struct loss loss = { .kind = "half-read",
			     .call = "VFIO_IOMMU_DIRTY_PAGES GET_BITMAP",
			     .file = file,
			     .why = "it failed half-way: the record of mappings before the fault is cleared, "
				    "and in the buffer only" };
	uint64_t first = g->get.iova, last = first + g->get.size - 1, moment = now();
	int result = kernel_ioctl(fd, request, g), error = errno;

	if (result == 0) {
		count_gets++;
		file->record.page = g->get.bitmap.pgsize;
		record_collected(&file->record, first, last, moment);
	} else if (error == EFAULT && last >= first) {
		loss_measure(&loss, &file->record, first, last);
		loss.unseen = false;
		report(&loss);
	}
	errno = error;
	return result;
}

static int start(struct file *file, int fd, unsigned long request, void *arg)
{
	uint64_t moment = now();
	int result = kernel_ioctl(fd, request, arg);

	if (result == 0) {
		count_starts++;
		if (!file->record.on) /* a second START keeps the bits */
			record_start(&file->record, moment);
	}
	return result;
}

static int stop(struct file *file, int fd, unsigned long request, void *arg)
{
	struct loss loss = { .kind = "stop",
			     .call = "VFIO_IOMMU_DIRTY_PAGES STOP",
			     .file = file,
			     .asker = file,
			     .why = "tracking ends, and the record is freed" };
	int result;

	loss_measure(&loss, &file->record, 0, UINT64_MAX);
	keep(&loss, file->record.ranges);
	result = kernel_ioctl(fd, request, arg);
	if (result == 0) {
		count_stops++;
		report(&loss);
		record_forget(&file->record);
	}
	return result ? kept_in_vain(&loss, result) : 0;
}

static int dirty_pages(struct file *file, int fd, unsigned long request, struct get *arg)
{
	if (arg->flags == VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP && arg->argsz >= sizeof *arg)
		return get(file, fd, request, arg);
	if (arg->flags == VFIO_IOMMU_DIRTY_PAGES_FLAG_START)
		return start(file, fd, request, arg);
	if (arg->flags == VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP)
		return stop(file, fd, request, arg);
	return kernel_ioctl(fd, request, arg);
}

int container_ioctl(struct file *file, int fd, unsigned long request, void *arg)
{
	if (request == VFIO_IOMMU_MAP_DMA && arg)
		return map(file, fd, request, arg);
	if (request == VFIO_IOMMU_UNMAP_DMA && arg)
		return unmap(file, fd, request, arg);
	if (request == VFIO_IOMMU_DIRTY_PAGES && arg)
		return dirty_pages(file, fd, request, arg);
	return kernel_ioctl(fd, request, arg);
}

/* ---- groups ------------------------------------------------------------------------------------------------------------ */

static void detached(struct file *group)
{
	struct file *container = group->owner;

	group->owner = NULL;
	if (!container)
		return;
	if (!--container->below)
		record_end(&container->record);
	after_release(container);
}

static int set_container(struct file *group, int fd, unsigned long request, int *container_fd)
{
	int result = kernel_ioctl(fd, request, container_fd);
	struct file *container = result == 0 ? file_of(*container_fd) : NULL;

	if (result == 0 && !container)
		container = file_identify(*container_fd);
	if (container && container->kind == CONTAINER && !group->owner) {
		group->owner = container;
		container->below++;
	}
	return result;
}

static struct loss loss_of_last(struct file *group, const char *kind, const char *call)
{
	struct file *container = group->owner;
	struct loss loss = {
		.kind = kind,
		.call = call,
		.file = group,
		.asker = container,
		.why = "the last group leaves its container: mappings, tracking and the record are freed"
	};

	if (container && container->below == 1)
		loss_measure(&loss, &container->record, 0, UINT64_MAX);
	return loss;
}

static void keep_if_reachable(struct loss *loss)
{
	if (loss->asker && loss->asker->fds && loss->record)
		keep(loss, loss->record->ranges);
}

static int unset_container(struct file *group, int fd, unsigned long request, void *arg)
{
	struct loss loss = loss_of_last(group, "detach", "VFIO_GROUP_UNSET_CONTAINER");
	int result;

	keep_if_reachable(&loss);
	result = kernel_ioctl(fd, request, arg);
	if (result == 0) {
		report(&loss);
		detached(group);
	}
	return result ? kept_in_vain(&loss, result) : 0;
}

static int get_device(struct file *group, int fd, unsigned long request, char *name)
{
	int result = kernel_ioctl(fd, request, name);
	struct file *device = result >= 0 ? file_new(result, DEVICE, name) : NULL;

	if (device) {
		device->owner = group;
		group->below++;
		device_loud(device);
	}
	return result;
}

int group_ioctl(struct file *file, int fd, unsigned long request, void *arg)
{
	if (request == VFIO_GROUP_SET_CONTAINER && arg)
		return set_container(file, fd, request, arg);
	if (request == VFIO_GROUP_UNSET_CONTAINER)
		return unset_container(file, fd, request, arg);
	if (request == VFIO_GROUP_GET_DEVICE_FD && arg)
		return get_device(file, fd, request, arg);
	return kernel_ioctl(fd, request, arg);
}

/* ---- what closing does --------------------------------------------------------------------------------------------------- */

static void before_device(struct file *device, struct loss *loss, const char *call)
{
	struct file *group = device->owner;

	if (group && group->kind == GROUP && !group->fds && group->below == 1) {
		*loss = loss_of_last(group, "device-close", call);
		loss->file = device;
	}
	if (loss_any(loss) || !device->device.log.on)
		return;
	*loss = (struct loss){ .kind = "log-close",
			       .call = call,
			       .file = device,
			       .asker = device,
			       .why = "the device's log of its own DMA ends with it" };
	loss_measure(loss, &device->device.log, 0, UINT64_MAX);
}

static void before_iommufd(struct file *file, struct loss *loss, const char *call)
{
	*loss = (struct loss){ .kind = "iommufd-close",
			       .call = call,
			       .file = file,
			       .asker = file,
			       .why = "page tables and their dirty bits cannot be reached any more" };
	for (struct table *t = file->tables; t; t = t->next)
		if (t->record.on) {
			loss->table = t;
			loss_measure(loss, &t->record, 0, UINT64_MAX);
			keep(loss, t->record.ranges);
		}
}

void before_release(struct file *file, struct loss *loss, const char *call)
{
	*loss = (struct loss){ .call = call };
	if (file->fds + file->areas > 1)
		return;
	if (file->kind == DEVICE)
		before_device(file, loss, call);
	else if (file->kind == GROUP && !file->below)
		*loss = loss_of_last(file, "group-close", call);
	else if (file->kind == IOMMUFD)
		before_iommufd(file, loss, call);
	else if (file->kind == CONTAINER && file->below) {
		*loss = (struct loss){ .kind = "container-close",
				       .call = call,
				       .file = file,
				       .asker = file,
				       .why = "the container's record cannot be reached any more, and is "
					      "freed when its groups go" };
		loss_measure(loss, &file->record, 0, UINT64_MAX);
	}
	if (!loss_any(loss))
		return;
	int elsewhere = file_elsewhere(file);
	if (elsewhere > 0)
		*loss = (struct loss){ .call = call };
	loss->shared = elsewhere < 0;
	if (loss_any(loss) && file->kind != IOMMUFD)
		keep_if_reachable(loss);
}

static void device_gone(struct file *device)
{
	struct file *owner = device->owner;

	device_silent(device);
	file_free(device);
	if (owner) {
		owner->below--;
		after_release(owner);
	}
}

void after_release(struct file *file)
{
	if (file->fds || file->areas || file->calls)
		return;
	if (file->kind == DEVICE) {
		device_gone(file);
	} else if (!file->below) {
		if (file->kind == GROUP)
			detached(file);
		file_free(file);
	} else if (file->kind == CONTAINER) {
		record_forget(&file->record);
	}
}

/* ---- the end -------------------------------------------------------------------------------------------------------------- */

static bool stays(const struct file *file, bool exec)
{
	return exec && file->fds && !file_closes_on_exec(file);
}

static void end_of(struct loss *loss)
{
	if (!loss_any(loss))
		return;
	int elsewhere = loss->file->fds ? file_elsewhere(loss->file) : 0;
	if (elsewhere > 0)
		return;
	loss->shared = elsewhere < 0;
	keep_if_reachable(loss);
	loss_report(loss);
}

static void end_of_record(struct file *file, struct record *record, struct table *table, const char *call,
			  bool exec)
{
	struct loss loss = { .kind = exec ? "exec" : "exit",
			     .call = call,
			     .file = file,
			     .asker = file,
			     .table = table,
			     .why = "the program ends with tracking on, and the record ends with it" };

	loss_measure(&loss, record, 0, UINT64_MAX);
	end_of(&loss);
}

void guard_end(const char *call, bool exec)
{
	for (struct file *f = files; f; f = f->next) {
		if (stays(f, exec))
			continue;
		if (f->kind == CONTAINER && f->below)
			end_of_record(f, &f->record, NULL, call, exec);
		if (f->kind == DEVICE)
			end_of_record(f, &f->device.log, NULL, call, exec);
		for (struct table *t = f->tables; t; t = t->next)
			end_of_record(f, &t->record, t, call, exec);
	}
}
