/* SPDX-License-Identifier: MIT */
#include "iommufd.h"

#include <errno.h>
#include <stdlib.h>

#include <vfiodirty/error.h>

#include "uapi_iommufd.h"

/* The kernel has no limit. As type1: it holds a lock while it fills it. */
#define LARGEST_BITMAP (UINT64_C(1) << 28)

static int call(const struct backend *backend, unsigned long request, void *arg)
{
	int rc = backend->sys->ioctl(backend->sys, backend->fd, request, arg);

	return rc < 0 ? rc : 0;
}

static int destroy(const struct backend *backend, uint32_t id)
{
	struct uapi_iommu_destroy arg = { .size = sizeof arg, .id = id };
	int rc = call(backend, UAPI_IOMMU_DESTROY, &arg);

	if (rc == -ENOENT) /* somebody else did, if it is said twice: else what it is in could never go */
		rc = call(backend, UAPI_IOMMU_DESTROY, &arg);
	return rc == -ENOENT ? 0 : rc;
}

/* ---- the address space ---- */

/* While nothing is mapped. A kernel that refuses leaves them as they are: a bit may stand for more, which the plan tells. */
static void make_small(const struct backend *backend)
{
	struct iommufd *own = backend->iommufd;
	struct uapi_iommu_option arg = {
		.size = sizeof arg,
		.option_id = UAPI_OPTION_HUGE_PAGES,
		.object_id = own->ioas,
	};

	own->small = !call(backend, UAPI_IOMMU_OPTION, &arg);
}

static int tell_allowed(const struct backend *backend, const struct vfd_iova_range *ranges, uint32_t count)
{
	struct uapi_ioas_allow_iovas arg = {
		.size = sizeof arg,
		.ioas_id = backend->iommufd->ioas,
		.num_iovas = count,
		.allowed_iovas = (uintptr_t)ranges,
	};

	return call(backend, UAPI_IOAS_ALLOW_IOVAS, &arg);
}

int iommufd_allow(const struct backend *backend, struct vfd_iova_range *ranges, uint32_t count)
{
	struct iommufd *own = backend->iommufd;
	int rc = own->ioas ? tell_allowed(backend, ranges, count) : 0;

	if (rc)
		return rc;
	free(own->allowed);
	own->allowed = ranges;
	own->allowed_count = count;
	return 0;
}

/* EBUSY: a device is in it still. Each step can be the last one; what is gone is forgotten, so that it can be asked again. */
static int iommufd_end(struct backend *backend)
{
	struct iommufd *own = backend->iommufd;
	int rc = 0;

	while (!rc && own->count) {
		rc = destroy(backend, own->tables[own->count - 1].id);
		own->count -= !rc;
	}
	if (rc)
		return rc;
	free(own->tables);
	own->tables = NULL;
	rc = destroy(backend, own->ioas);
	own->ioas = rc ? own->ioas : 0;
	return rc;
}

static int iommufd_begin(struct backend *backend)
{
	struct uapi_ioas_alloc arg = { .size = sizeof arg };
	struct iommufd *own = backend->iommufd;
	int rc = own->ioas ? iommufd_end(backend) : 0; /* of one that could not go, or is gone */

	rc = rc ? rc : call(backend, UAPI_IOAS_ALLOC, &arg);
	if (rc)
		return rc;
	own->ioas = arg.out_ioas_id;
	if (own->fine)
		make_small(backend);
	return own->allowed_count ? tell_allowed(backend, own->allowed, own->allowed_count) : 0;
}

/* All that it says is where may be mapped, and at multiples of what. No address space: EINVAL, as type1. */
static int iommufd_refresh(struct backend *backend)
{
	struct caps caps = { .entries_available = UINT64_MAX };
	struct uapi_ioas_iova_ranges arg = {
		.size = sizeof arg,
		.ioas_id = backend->iommufd->ioas,
		.num_iovas = VFD_INFO_RANGES,
		.allowed_iovas = (uintptr_t)caps.ranges,
	};
	int rc = call(backend, UAPI_IOAS_IOVA_RANGES, &arg);

	if (rc && rc != -EMSGSIZE)
		return rc == -ENOENT ? -EINVAL : rc;
	if (!is_power_of_two(arg.out_iova_alignment) || arg.out_iova_alignment > BACKEND_LARGEST_PAGE)
		return -EPROTO;
	caps.range_total = arg.num_iovas;
	caps.range_count = (uint32_t)min_u64(arg.num_iovas, VFD_INFO_RANGES);
	backend->page_size = max_u64(arg.out_iova_alignment, BACKEND_PAGE_SIZE);
	caps.page_sizes = caps.dirty_page_sizes = backend->page_size;
	caps.dirty_bitmap_limit = LARGEST_BITMAP;
	backend->caps = caps;
	return 0;
}

/* ---- the record ---- */

/* On clears the table, whatever it was before: the caller knows that nothing in it is wanted. */
static int table_switch(const struct backend *backend, const struct hwpt *table, bool on)
{
	struct uapi_hwpt_set_dirty arg = {
		.size = sizeof arg,
		.flags = on ? UAPI_HWPT_DIRTY_ENABLE : 0,
		.hwpt_id = table->id,
	};

	return call(backend, UAPI_HWPT_SET_DIRTY, &arg);
}

/* Bits of a table that is off count as nothing. If the kernel refuses it goes on recording for nobody, until it is switched on, which
 * clears it. */
static void table_off(const struct backend *backend, struct hwpt *table)
{
	if (table->on)
		table_switch(backend, table, false);
	table->on = false;
}

/* Those that are on stay as they are, also if another cannot be. */
static int iommufd_start(const struct backend *backend)
{
	struct iommufd *own = backend->iommufd;
	bool fresh[IOMMUFD_TABLES] = { false };
	int rc = 0;

	for (size_t i = 0; !rc && i < own->count; i++) {
		if (own->tables[i].on)
			continue;
		rc = table_switch(backend, &own->tables[i], true);
		fresh[i] = own->tables[i].on = !rc;
	}
	for (size_t i = 0; rc && i < own->count; i++)
		if (fresh[i])
			table_off(backend, &own->tables[i]);
	return rc;
}

static int iommufd_stop(const struct backend *backend)
{
	for (size_t i = 0; i < backend->iommufd->count; i++)
		table_off(backend, &backend->iommufd->tables[i]);
	return 0;
}

/* ORs into words. An error comes before anything is read; what goes wrong while it reads the kernel keeps to itself. */
static int table_get(const struct backend *backend, const struct hwpt *table, struct range where,
		     uint64_t page_size, uint64_t *words)
{
	struct uapi_hwpt_get_dirty arg = {
		.size = sizeof arg,
		.hwpt_id = table->id,
		.iova = where.first,
		.length = range_size(where),
		.page_size = page_size,
		.data = (uintptr_t)words,
	};

	return call(backend, UAPI_HWPT_GET_DIRTY, &arg);
}

/* A table that is gone looks like a record that is, which diagnose() tells. */
static int iommufd_get(const struct backend *backend, struct range where, uint64_t *words)
{
	const struct iommufd *own = backend->iommufd;
	int rc = 0;

	for (size_t i = 0; !rc && i < own->count; i++)
		if (own->tables[i].on)
			rc = table_get(backend, &own->tables[i], where, backend->page_size, words);
	return rc == -ENOENT ? -EINVAL : rc;
}

/* GET with a page size of 0 is refused after the table was looked for, and reads nothing. */
static enum record_fault iommufd_diagnose(const struct backend *backend, uint64_t *words)
{
	const struct iommufd *own = backend->iommufd;
	struct backend now = *backend;
	int rc = iommufd_refresh(&now);

	if (rc == -EINVAL)
		return RECORD_GONE;
	if (!rc && now.page_size != backend->page_size)
		return RECORD_PAGE_SIZE;
	for (size_t i = 0; i < own->count; i++)
		if (own->tables[i].on &&
		    table_get(backend, &own->tables[i], (struct range){ 0, now.page_size - 1 }, 0, words) ==
			    -ENOENT)
			return RECORD_STOPPED;
	return RECORD_ALIVE;
}

/* ---- mappings ---- */

/* ENOENT, said twice: it is not there, which is what type1 calls success with 0 bytes. */
static int iommufd_unmap(const struct backend *backend, struct range where, uint64_t *unmapped)
{
	struct uapi_ioas_unmap arg = {
		.size = sizeof arg,
		.ioas_id = backend->iommufd->ioas,
		.iova = where.first,
		.length = range_size(where),
	};
	int rc = call(backend, UAPI_IOAS_UNMAP, &arg);

	if (rc == -ENOENT)
		rc = call(backend, UAPI_IOAS_UNMAP, &arg);
	*unmapped = rc ? 0 : arg.length;
	return rc == -ENOENT ? 0 : rc;
}

/* EFAULT may mean: mapped, but not told. Asked again it is then in its own way; else it had come half-way. Where even that is not said it must not
 * stay: what no table has is never harvested. */
static int iommufd_map(const struct backend *backend, struct range where, const void *memory, bool read,
		       bool write)
{
	struct uapi_ioas_map arg = {
		.size = sizeof arg,
		.flags = UAPI_IOAS_MAP_FIXED | (read ? UAPI_IOAS_MAP_READ : 0) |
			 (write ? UAPI_IOAS_MAP_WRITE : 0),
		.ioas_id = backend->iommufd->ioas,
		.user_va = (uintptr_t)memory,
		.length = range_size(where),
		.iova = where.first,
	};
	uint64_t unmapped;
	int rc = call(backend, UAPI_IOAS_MAP, &arg);

	if (rc != -EFAULT)
		return rc;
	rc = call(backend, UAPI_IOAS_MAP, &arg);
	if (!rc || rc == -EEXIST)
		return rc ? 0 : BACKEND_MAPPED_ANEW;
	if (iommufd_unmap(backend, where, &unmapped))
		iommufd_unmap(backend, where, &unmapped);
	return -EFAULT;
}

static int iommufd_unmap_harvest(const struct backend *backend, struct range where, uint64_t *words,
				 uint64_t *unmapped)
{
	int rc = iommufd_get(backend, where, words);

	*unmapped = 0;
	return rc ? rc : iommufd_unmap(backend, where, unmapped);
}

/* ---- devices ---- */

static int device_call(const struct backend *backend, int device, unsigned long request, void *arg)
{
	int rc = backend->sys->ioctl(backend->sys, device, request, arg);

	return rc < 0 ? rc : 0;
}

int iommufd_bind(const struct backend *backend, int device, uint32_t *id)
{
	struct uapi_device_bind arg = { .argsz = sizeof arg, .iommufd = backend->fd };
	int rc = device_call(backend, device, UAPI_DEVICE_BIND, &arg);

	*id = arg.out_devid;
	return rc;
}

int iommufd_detach(const struct backend *backend, int device)
{
	struct uapi_device_detach arg = { .argsz = sizeof arg };
	int rc = device_call(backend, device, UAPI_DEVICE_DETACH, &arg);

	return rc ? device_call(backend, device, UAPI_DEVICE_DETACH, &arg) : 0;
}

static int attach_to(const struct backend *backend, int device, uint32_t table)
{
	struct uapi_device_attach arg = { .argsz = sizeof arg, .pt_id = table };

	return device_call(backend, device, UAPI_DEVICE_ATTACH, &arg);
}

/* Of a kernel before that call, or that use of it. */
static bool is_older(int rc)
{
	return rc == -ENOTTY || rc == -E2BIG || rc == -EOPNOTSUPP;
}

int iommufd_can_record(const struct backend *backend, uint32_t id, const char **why)
{
	struct uapi_hw_info arg = { .size = sizeof arg, .dev_id = id };
	int rc = call(backend, UAPI_GET_HW_INFO, &arg);
	bool can = !rc && arg.out_capabilities & UAPI_HW_CAP_DIRTY;

	*why = rc == -ENOENT  ? "iommufd records nothing of what an emulated device writes: type1 does"
	       : is_older(rc) ? "this kernel's iommufd is older than dirty bits (Linux 6.7)"
	       : rc	      ? "iommufd refused it a page table with dirty bits"
	       : can ? "its IOMMU sets dirty bits (IOMMU_GET_HW_INFO), but iommufd refused it a table"
		     : "its IOMMU sets no dirty bits (IOMMU_GET_HW_INFO)";
	return rc == -ENOENT || is_older(rc) ? 0 : rc ? rc : can;
}

/* Not this table: its IOMMU is another one, or the device's group has one already (EINVAL); or no table is for an emulated device, whatever
 * sysfs says (ENOENT). */
static bool is_unfit(int rc)
{
	return rc == -EINVAL || rc == -ENOENT;
}

/* One that is there already, if it fits. */
static int attach_shared(const struct backend *backend, int device, struct iommufd_attached *out)
{
	const struct iommufd *own = backend->iommufd;
	int rc = -EINVAL;

	for (size_t i = 0; is_unfit(rc) && i < own->count; i++) {
		out->table = own->tables[i].id;
		rc = attach_to(backend, device, out->table);
	}
	return rc;
}

/* EINVAL, ENOENT: it has no IOMMU that can record. */
static int table_make(const struct backend *backend, uint32_t id, struct hwpt *table)
{
	struct uapi_hwpt_alloc arg = {
		.size = sizeof arg,
		.flags = UAPI_HWPT_ALLOC_DIRTY,
		.dev_id = id,
		.pt_id = backend->iommufd->ioas,
	};
	int rc = call(backend, UAPI_HWPT_ALLOC, &arg);

	*table = (struct hwpt){ .id = arg.out_hwpt_id };
	return is_older(rc) ? -EINVAL : rc;
}

static bool table_room(struct iommufd *own)
{
	if (own->count == IOMMUFD_TABLES)
		return false;
	struct hwpt *larger = reallocarray(own->tables, own->count + 1, sizeof *larger);
	if (larger)
		own->tables = larger;
	return larger;
}

/* It is on before the device is in it; the others stay as they are. EFAULT: the device was in it for a moment, so it stays. */
static int attach_new(struct backend *backend, int device, uint32_t id, bool recording,
		      struct iommufd_attached *out)
{
	struct iommufd *own = backend->iommufd;
	struct hwpt table;

	if (!table_room(own))
		return VFD_ENOMEMORY;
	int rc = table_make(backend, id, &table);
	if (rc)
		return rc;
	own->tables[own->count++] = table;
	out->table = table.id;
	if (recording)
		rc = iommufd_start(backend);
	bool asked = !rc;
	if (asked)
		rc = attach_to(backend, device, table.id);
	if (rc && !(asked && rc == -EFAULT))
		own->count -= !destroy(backend, table.id); /* or it goes at the end */
	return rc;
}

/* In a table that records: one that is there, or one of its own. One that is there may have failed to start before. */
static int attach_recorded(struct backend *backend, int device, uint32_t id, bool recording,
			   struct iommufd_attached *out)
{
	int rc = recording ? iommufd_start(backend) : 0;

	if (rc)
		return rc;
	rc = attach_shared(backend, device, out);
	return is_unfit(rc) ? attach_new(backend, device, id, recording, out) : rc;
}

int iommufd_attach(struct backend *backend, int device, uint32_t id, bool emulated, bool recording,
		   struct iommufd_attached *out)
{
	int rc = -EINVAL;

	out->why = "iommufd records nothing of what an emulated device writes: type1 does";
	if (!emulated && iommufd_can_record(backend, id, &out->why)) /* if that failed the table tells */
		rc = attach_recorded(backend, device, id, recording, out);
	out->recorded = !rc;
	if (!is_unfit(rc))
		return rc;
	out->table = backend->iommufd->ioas;
	return attach_to(backend, device, out->table);
}

const struct backend_ops iommufd_ops = {
	.who = "iommufd (per page-table entry)",
	.refresh_name = "IOMMU_IOAS_IOVA_RANGES",
	.start_name = "IOMMU_HWPT_SET_DIRTY_TRACKING on",
	.stop_name = "IOMMU_HWPT_SET_DIRTY_TRACKING off",
	.get_name = "IOMMU_HWPT_GET_DIRTY_BITMAP",
	.map_name = "IOMMU_IOAS_MAP",
	.unmap_name = "IOMMU_IOAS_UNMAP",
	.by_device = true,
	.tears = true,
	.locks = true,
	.begin_name = "IOMMU_IOAS_ALLOC",
	.end_name = "IOMMU_DESTROY",
	.begin = iommufd_begin,
	.end = iommufd_end,
	.refresh = iommufd_refresh,
	.start = iommufd_start,
	.stop = iommufd_stop,
	.get = iommufd_get,
	.diagnose = iommufd_diagnose,
	.map = iommufd_map,
	.unmap = iommufd_unmap,
	.unmap_harvest = iommufd_unmap_harvest,
};
