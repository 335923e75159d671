/* SPDX-License-Identifier: MIT */
#ifndef VFIODIRTY_AUDIT_H
#define VFIODIRTY_AUDIT_H

/**
 * @file audit.h
 * Audit: does the driver really pin, or mark, all that its device writes? A debugging aid for tracking by pins (pin.h).
 *
 * A *finding* is memory whose content changed although no CPU stored to it, nobody marked it in the log, and no pin for writing held it: the
 * device wrote it behind the driver's back, and a migration would lose it. The audit looks at all memory that is mapped with VFD_MAP_WRITE and
 * logged. It compares hashes of the pages, asks the kernel which of them were stored to, and asks the log and the pins for the rest.
 *
 * There are no false findings, whatever other threads do: a page that was stored to, marked or pinned near a change is *excused*, in the check
 * that saw it and in the next one. So a page that a CPU stores to all the time is never judged; `judged` says how much was. A page that
 * the device writes once, and nobody else touches, is found.
 *
 * Needs Linux 6.7 or newer (PAGEMAP_SCAN, userfaultfd with asynchronous write protection), and groups that are all physical: a write of an
 * emulated device looks like the store of a CPU, or like nothing. Soft-dirty bits are not used: the kernel never clears those of private memory
 * that is pinned, but in large pages.
 *
 * What it costs: while it exists the memory it looks at is registered with a userfaultfd of its own, so that nobody else can register it
 * (-EBUSY); the first store of a CPU to each page after each check faults in the kernel, and splits the page table entry of a transparent huge
 * page; a check reads all the memory. 9 bytes are kept per page. Nothing of this outlasts it.
 *
 * These look like writes of a device: stores of other processes into shared memory; DMA of devices that do not belong to this log, for
 * example by direct I/O or registered buffers; discarding mapped memory (MADV_DONTNEED).
 * Not seen are writes between the last check and an unmap. In hugetlb memory a CPU's store excuses the whole huge page.
 */

#include <vfiodirty/container.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vfd_audit;

/**
 * Begin an audit. Waits for all other calls on the container, and reads all memory that is mapped for writing, twice.
 *
 * @param container has a log with regions of memory, and tracks
 * @param flags 0
 * @param[out] audit end it with vfd_audit_destroy(), before the container. One per container.
 * @return 0; VFD_EUNSUPPORTED (the kernel; an emulated group; an identity log); VFD_ESTATE (tracking is off; there is an audit);
 * VFD_ELIMIT (the log has 16 consumers, or its arena is full: the audit is one more); VFD_ENOMEMORY; VFD_EINVALID; VFD_EFORKED; -errno of
 * the kernel (-EBUSY: the memory is registered with someone's userfaultfd; first..last say which, by IOVA)
 */
VFD_API int vfd_audit_create(struct vfd_container *container, unsigned flags, struct vfd_audit **audit,
			     struct vfd_error *err);

/** Memory that changed and should not have: adjacent pages, of the log's page size or the CPU's, whichever is smaller. */
struct vfd_audit_finding {
	uint64_t iova; /**< where a device reaches it; if it is mapped more than once, one of the places */
	uint64_t log_address;
	void *memory;
	uint64_t size; /**< bytes */
};

/** What a check did. */
struct vfd_audit_result {
	uint32_t struct_size;	/**< sizeof(struct vfd_audit_result), set by the caller */
	uint32_t count;		/**< findings filled in */
	uint64_t found_bytes;	/**< of those */
	uint64_t more_bytes;	/**< found, but there was no room: the next check has them */
	uint64_t audited_bytes; /**< looked at */
	uint64_t judged_bytes;	/**< of those: not excused, so that a change would have been seen */
	uint64_t
		changed_bytes; /**< of those looked at: differ from what the check before saw, for whatever reason */
	uint64_t nanoseconds; /**< duration of the call */
};

enum vfd_audit_flags {
	VFD_AUDIT_FINAL = 1u << 0, /**< nothing is in flight, all is marked, and harvested: do not wait */
};

/**
 * Look again, and tell what was found. If this check is the first to see a change, the next check reports it, unless somebody has marked the
 * page until then; so a driver may also mark (vfd_log_mark()) when a request completes. With VFD_AUDIT_FINAL it is reported at once.
 *
 * If the kernel records devices of the container (a device's own log, dirty bits of iommufd), what it knows comes with a harvest: then a change
 * is reported by the first check after a vfd_track_harvest() that began after the change was seen, and succeeded. Without harvests nothing is. With
 * VFD_AUDIT_FINAL harvest before, or what the kernel recorded since the last one is reported too.
 *
 * Each finding is reported once. Mapping, unmapping, pinning and marking go on meanwhile; calls that change groups or devices wait.
 *
 * @param flags 0 or VFD_AUDIT_FINAL
 * @param[out] findings room for `capacity` of them, in the order of their memory; may be NULL if capacity is 0
 * @param[out] result may not be NULL
 * @return 0; VFD_ESTATE (tracking is off); VFD_EUNSUPPORTED (a group came that is not physical); VFD_ENOMEMORY; VFD_EINVALID; VFD_EFORKED;
 * -errno of the kernel. After a failure it need not find what changed before it.
 */
VFD_API int vfd_audit_check(struct vfd_audit *audit, unsigned flags, struct vfd_audit_finding *findings,
			    size_t capacity, struct vfd_audit_result *result, struct vfd_error *err);

/**
 * End an audit. Findings that were not reported are forgotten. An audit also ends with its container: do not use it after that was closed.
 *
 * @param audit address of the handle; set to NULL on success. A handle that is NULL already is VFD_EINVALID.
 * @return 0; VFD_EINVALID; VFD_EFORKED
 */
VFD_API int vfd_audit_destroy(struct vfd_audit **audit, struct vfd_error *err);

#ifdef __cplusplus
}
#endif
#endif
