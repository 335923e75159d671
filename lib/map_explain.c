/* SPDX-License-Identifier: MIT */
#include "map_explain.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "map_check.h"
#include "vma.h"

static const char *const op = "VFIO_IOMMU_MAP_DMA";

int explain_memlock(struct space *space, struct range where, uint64_t size, struct vfd_error *err)
{
	struct sys_memlock lock;

	space->sys->memlock(space->sys, &lock);
	if (size <= memlock_left(&lock))
		return fail_sys_range(err, ENOMEM, space->backend.ops->map_name, where.first, where.last,
				      "mapping %" PRIu64
				      " KiB: the kernel is out of memory; it is not RLIMIT_MEMLOCK",
				      size / 1024);
	return fail_sys_range(err, ENOMEM, space->backend.ops->map_name, where.first, where.last,
			      "mapping %" PRIu64
			      " KiB needs as much locked memory, but of RLIMIT_MEMLOCK, %" PRIu64
			      " KiB, only %" PRIu64 " KiB are left: raise it by %" PRIu64
			      " KiB (ulimit -l), or give the process CAP_IPC_LOCK",
			      size / 1024, lock.limit / 1024, memlock_left(&lock) / 1024,
			      (size - memlock_left(&lock) + 1023) / 1024);
}

/* The kernel may have had fewer a moment ago than it says now. */
int explain_entries(struct range where, uint64_t needed, uint64_t available, struct vfd_error *err)
{
	if (available >= needed)
		available = 0;
	return fail_sys_range(err, ENOSPC, op, where.first, where.last,
			      "mapping entries: %" PRIu64 " needed, %" PRIu64
			      " left; raise vfio_iommu_type1's parameter dma_entry_limit by %" PRIu64
			      " before the container is opened, or map larger pieces",
			      needed, available, needed - available);
}

/* The kernel pins through the process' page tables: what they say is why it could not. */
static int explain_fault(const struct mapping *m, struct vfd_error *err)
{
	static const char *const texts[] = {
		[VMA_FINE] = "cannot be pinned",
		[VMA_HOLE] = "is not mapped in this process",
		[VMA_NO_ACCESS] = "may not be read by this process itself",
		[VMA_READ_ONLY] =
			"may not be written by this process itself: leave VFD_MAP_WRITE out, or allow it",
		[VMA_FILE] = "is a file's. For device writes the kernel pins files of tmpfs and hugetlbfs, "
			     "and memfds, only; "
			     "and nothing beyond a file's end: ",
	};
	struct vma_look seen = vma_look(mapping_memory_range(m), m->flags & VFD_MAP_WRITE);

	return fail_sys_range(err, EFAULT, op, m->where.first, m->where.last,
			      "mapping %#" PRIx64 " bytes at IOVA %#" PRIx64 ": the memory at %#" PRIx64
			      " %s%.80s",
			      range_size(m->where), m->where.first, seen.at, texts[seen.what], seen.file);
}

int explain_map(struct space *space, const struct mapping *m, const struct asked *asked, int rc,
		struct vfd_error *err)
{
	struct range w = m->where;
	struct backend now = space->backend;
	bool known = !backend_refresh(&now);

	if (rc == -EINVAL && known && check_allowed(&now.caps, w, err))
		return VFD_ERESERVED;
	if (rc == -ENOMEM)
		return explain_memlock(space, asked->where, asked->bytes, err);
	if (rc == -ENOSPC)
		return explain_entries(asked->where, asked->entries, now.caps.entries_available, err);
	if (rc == -EFAULT)
		return explain_fault(m, err);
	return fail_sys_range(err, -rc, space->backend.ops->map_name, w.first, w.last,
			      "mapping %#" PRIx64 " bytes at IOVA %#" PRIx64 ": %s", range_size(w), w.first,
			      rc == -EEXIST ? "a mapping that was not made through this library is in the way"
					    : "the kernel refused");
}

int explain_left(struct range left, const struct vfd_error *why, struct vfd_error *err)
{
	char cause[VFD_ERROR_TEXT] = "";

	if (err)
		snprintf(cause, sizeof cause, "%s", err->message);
	return fail_range(
		err, VFD_EPARTIAL, op, left.first, left.last,
		"IOVA %#" PRIx64 "..%#" PRIx64
		" holds mappings that could not be taken back (%.100s): unmap them. It began with: %.160s",
		left.first, left.last, why->message, cause);
}
