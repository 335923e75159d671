/* SPDX-License-Identifier: MIT */
#ifndef VFIODIRTY_CONTAINER_H
#define VFIODIRTY_CONTAINER_H

/**
 * @file container.h
 * Containers, groups and mappings.
 *
 *     open -> attached -> tracking -> drained -> detached -> attached again | closed
 *
 * A container is a VFIO I/O address space. It remembers its mappings: they can be made before the first group is
 * attached and are replayed (SET_IOMMU, START, MAP, in that order) when a group is attached again.
 *
 * *Drained* means: every source was harvested successfully, all-dirty devices included (VFD_HARVEST_FINAL),
 * *after* the last device that could write was quiesced or closed. While tracking, a call that makes the kernel drop
 * its record (detaching the last group, closing the container, stopping) succeeds only when drained. Otherwise it
 * returns VFD_EDIRTY, having made no system call; VFD_COLLECT drains first, VFD_DISCARD drops.
 *
 * Threads: any thread may call anything. Attach, detach, opening and closing devices, close, start and stop wait until
 * no other call on the container runs, and no other begins meanwhile (the kernel has a use-after-free there). Map, unmap and
 * harvest run in parallel, except where their ranges meet. A handle must not be used after the call that ends it. Nothing may be
 * called from a signal handler: it would wait for the call that it interrupted.
 *
 * Fork: in a child every call returns VFD_EFORKED, save vfd_container_release().
 */

#include <vfiodirty/error.h>
#include <vfiodirty/log.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vfd_container;
struct vfd_group;
struct vfd_device;

/** Kinds of address by which vfd_mapping_find() can look. The table is always ordered by IOVA. Each other order costs some 30 bytes and
 * 200 to 300 ns for each mapping, and must be asked for in `flags` when the container is opened or adopted. */
enum vfd_find {
	VFD_FIND_IOVA = 0,
	VFD_FIND_MEMORY = 1u << 8, /**< by process address */
	VFD_FIND_LOG = 1u << 9,	   /**< by log address; needs a log */
};

/** Other flags of vfd_container_open(). */
enum vfd_open_flags {
	VFD_OPEN_FINE =
		1u
		<< 0, /**< iommufd: no page table entry is larger than a page, so that a dirty bit never stands for more. Page
			  *   tables take more memory, and the IOMMU more misses. If the kernel refuses, the plan says so.
			  *   Elsewhere it changes nothing. */
};

/** The kernel's two interfaces to an I/O address space. */
enum vfd_backend {
	VFD_BACKEND_AUTO =
		0, /**< iommufd, if `devices` are named and the IOMMU of each sets dirty bits; else a container, if the kernel has one
		    *   that can track; else iommufd. With a path: a container */
	VFD_BACKEND_TYPE1 =
		1, /**< a container of type1 v2, "/dev/vfio/vfio": exact for devices that pin what they write */
	VFD_BACKEND_IOMMUFD =
		2, /**< "/dev/iommu": exact for devices whose IOMMU sets dirty bits in its page tables */
};

/** Options of vfd_container_open(). Zero everything, set `struct_size`, then what differs. */
struct vfd_container_options {
	uint32_t struct_size; /**< sizeof(struct vfd_container_options) */
	uint32_t flags;	      /**< enum vfd_find: orders to keep besides that by IOVA; enum vfd_open_flags */
	struct vfd_log *
		log; /**< where dirty pages go; must outlive the container; NULL: this one will never track */
	const char *path;      /**< NULL: where the backend's node is by default */
	uint32_t backend;      /**< enum vfd_backend */
	uint32_t device_count; /**< of the next; 0: decide without them */
	const char *const *
		devices; /**< with VFD_BACKEND_AUTO: all that will be in it, as "0000:3b:00.0". Each is opened and closed again, to
			   *   ask about its IOMMU, which resets most devices. One that cannot be asked counts as one without dirty bits. */
};

/**
 * Open a container. Nothing is attached yet.
 *
 * @param options NULL for the defaults (no log, hence no tracking)
 * @param[out] container end it with vfd_container_close()
 * @return 0; -ENOENT, -EACCES, ... from open(2), with what to do about it; VFD_EUNSUPPORTED (no type1 v2 there);
 * VFD_EINVALID; VFD_ENOMEMORY
 */
VFD_API int vfd_container_open(const struct vfd_container_options *options, struct vfd_container **container,
			       struct vfd_error *err);

/** Flags of a mapping. */
enum vfd_map_flags {
	VFD_MAP_READ = 1u << 0,	 /**< devices may read */
	VFD_MAP_WRITE = 1u << 1, /**< devices may write; without it the mapping never becomes dirty */
	VFD_MAP_UNLOGGED =
		1u << 2, /**< memory that nobody migrates, in no region: its dirty bits are dropped */
	VFD_MAP_LOG_ADDRESS =
		1u << 3, /**< log_address is stated: refuse with VFD_EALIAS if the region says otherwise */
};

/** IOVA iova .. iova + size - 1 stands for the process memory at `memory`. */
struct vfd_mapping {
	uint32_t struct_size; /**< sizeof(struct vfd_mapping) */
	uint32_t flags;	      /**< enum vfd_map_flags */
	uint64_t iova;	      /**< multiple of the container's page size */
	uint64_t size;	      /**< bytes, multiple of the container's page size */
	void *memory;	      /**< page-aligned; stays the caller's, must stay mapped */
	uint64_t log_address; /**< read only with VFD_MAP_LOG_ADDRESS */
	uint64_t
		granule; /**< bytes, a power of two, whole pages: cut the mapping at multiples of it, so that parts can be unmapped;
			  *   0: one mapping, which can only be unmapped as a whole */
};

/** A group that someone else opened. This struct and the next will not grow. */
struct vfd_adopt_group {
	int number; /**< N of /dev/vfio/N */
	int fd;	    /**< its open fd */
};

/** A device that someone else opened. */
struct vfd_adopt_device {
	int group;	  /**< number of its group */
	int fd;		  /**< its open fd */
	const char *name; /**< as given to VFIO_GROUP_GET_DEVICE_FD */
};

/** VFD_FIND_MEMORY and VFD_FIND_LOG are flags here too. */
enum vfd_adopt_flags {
	VFD_ADOPT_DUP = 1u << 0, /**< the caller keeps, and later closes, its own descriptors */
};

/** What a program must say of a container that it opened without this library: no ioctl lists these. */
struct vfd_adoption {
	uint32_t struct_size; /**< sizeof(struct vfd_adoption) */
	uint32_t flags;	      /**< enum vfd_adopt_flags, enum vfd_find */
	int container_fd;
	uint32_t group_count;
	uint32_t device_count;
	uint32_t mapping_count;
	const struct vfd_adopt_group *groups;
	const struct vfd_adopt_device *devices;
	const struct vfd_mapping
		*mappings; /**< all of them; one that is missing is found when the kernel refuses to cut it */
	struct vfd_log *log; /**< as in vfd_container_options */
	uint32_t backend;    /**< enum vfd_backend; VFD_BACKEND_IOMMUFD: container_fd is one of /dev/iommu */
	uint32_t ioas;	     /**< with that: the address space, IOMMU_IOAS_ALLOC's out_ioas_id */
};

/**
 * Take over a container that has its IOMMU set. The library works on close-on-exec duplicates; without
 * VFD_ADOPT_DUP the given descriptors are closed on success (use vfd_container_fd() and its like from then on); on failure they
 * are as they were. Tracking that is on already is kept, never restarted. Bits that the owner read before are not in the log: they are
 * for the owner to copy. From now on the owner must not call GET_BITMAP and STOP itself.
 *
 * From a peer that is not trusted: the sizes, ranges and page sizes in answers are checked, but descriptors that are answered are believed. So
 * be sure that what the peer gives is one of the kernel's VFIO. One whose ioctls another process answers (CUSE) may write anywhere in the
 * caller's memory, whatever a library checks; fstat(2) tells: /dev/vfio/vfio is the character device 10:196.
 *
 * Type1 v1 and no-IOMMU containers: mappings work, vfd_track_start() is VFD_EUNSUPPORTED unless all devices pin what they write
 * (vfd_device_pins_all()). The library does not learn what the owner maps or unmaps itself later; vfd_map() there is -EEXIST. sPAPR and iommufd's
 * compatibility container are VFD_EUNSUPPORTED.
 *
 * iommufd: an address space (IOAS) can be taken over with its mappings, but without devices, because no call tells whether the page table
 * of a device records. Close the devices before, and open them with vfd_device_open() after; mappings stay where they are. Nothing is
 * tracked before vfd_track_start(); what was written until then is for the owner to copy (vfd_mark_initial()). Declare mappings exactly
 * as they were made. The library cannot check that, and if a declared mapping covers only half of a large page, that page's bits could
 * be lost. The address space ends when the last group is detached, or its last descriptor is closed. VFD_ADOPT_DUP is VFD_EUNSUPPORTED.
 *
 * @return 0; VFD_EINVALID (also: a declared group is in no container; one descriptor is declared for two groups or devices);
 * VFD_EUNSUPPORTED (also: a descriptor that is no container); VFD_ENOREGION
 * / VFD_EALIAS / VFD_EOVERLAP (a declared mapping); VFD_ECUT (a mapping exists that was not declared; first..last of the error narrow it
 * down); -errno of fcntl or the probes (a descriptor that is no group, or no device); VFD_ENOMEMORY
 */
VFD_API int vfd_container_adopt(const struct vfd_adoption *adoption, struct vfd_container **container,
				struct vfd_error *err);

/**
 * Close a container and everything in it: its devices, groups and mappings; their handles end with it.
 * While tracking this destroys the kernel's record, so it obeys the rule at the top of this file. After success nothing of the container
 * is left.
 *
 * @param container address of the handle; set to NULL on success. A handle that is NULL already is VFD_EINVALID.
 * @param flags 0 (devices must be closed, groups may be attached), VFD_COLLECT or VFD_DISCARD
 * @return 0; VFD_EDIRTY; VFD_EDEVICES; errors of vfd_group_detach(); VFD_EFORKED
 */
VFD_API int vfd_container_close(struct vfd_container **container, unsigned flags, struct vfd_error *err);

/**
 * In a child after fork(): unmap and close what was inherited, with no ioctl. Otherwise the child keeps devices open, and
 * the parent's detach is refused (EBUSY). All handles of the container end. In the process that opened it: VFD_ESTATE.
 */
VFD_API int vfd_container_release(struct vfd_container **container, struct vfd_error *err);

/** The raw fd, for what the library does not wrap. Never call GET_BITMAP, STOP or UNMAP on it. -1 if NULL. */
VFD_API int vfd_container_fd(const struct vfd_container *container);

enum vfd_container_kind {
	VFD_KIND_TYPE1_V2 = 1, /**< can track */
	VFD_KIND_TYPE1_V1 = 2, /**< adopted: no record; tracked by pins */
	VFD_KIND_NOIOMMU = 3,  /**< adopted: no record, no translation; tracked by pins */
	VFD_KIND_IOMMUFD = 4,  /**< /dev/iommu: can track where the IOMMU can */
};

#define VFD_INFO_RANGES 32

struct vfd_iova_range {
	uint64_t first, last; /**< inclusive */
};

/** What the kernel says of a container, and what the library knows. */
struct vfd_container_info {
	uint32_t struct_size; /**< sizeof(struct vfd_container_info), set by the caller */
	uint32_t kind;	      /**< enum vfd_container_kind */
	uint32_t attached;    /**< groups attached now */
	uint32_t physical;    /**< of those: groups behind a real IOMMU, which cannot tell what is dirty */
	uint32_t devices;     /**< devices open */
	uint32_t writers;     /**< of those: not quiesced */
	uint32_t tracking;    /**< 1: tracking is on */
	uint32_t drained;     /**< 1: nothing can be lost by closing things now */
	uint64_t mappings;    /**< in the library's table */
	uint64_t mapped_bytes;
	uint64_t page_sizes;	     /**< IOMMU page sizes, one bit each; 0 before the first attach */
	uint64_t page_size;	     /**< bytes per dirty bit: the smallest of page_sizes */
	uint64_t dirty_page_sizes;   /**< MIGRATION capability: page sizes of bitmaps; 0: absent */
	uint64_t dirty_bitmap_limit; /**< MIGRATION capability: largest bitmap, bytes; 0: absent */
	uint64_t
		entries_available; /**< mappings that can still be made; UINT64_MAX: the kernel does not say */
	uint32_t range_count;	   /**< ranges filled in below */
	uint32_t
		range_total; /**< ranges the kernel has; 0: no restriction known (only emulated groups so far) */
	struct vfd_iova_range ranges[VFD_INFO_RANGES]; /**< IOVAs that can be mapped */
	char why[VFD_ERROR_TEXT];		       /**< it is of that kind: what decided, in words */
};

/**
 * Ask the kernel anew (VFIO_IOMMU_GET_INFO) and fill in *info.
 *
 * Before the first group is attached the kernel's part is 0 or its default.
 */
VFD_API int vfd_container_info(struct vfd_container *container, struct vfd_container_info *info,
			       struct vfd_error *err);

/**
 * Name IOVAs that must stay usable, whatever devices come. A device whose IOMMU cannot reach all of them is then refused when it is opened
 * (EADDRINUSE); without this call the ranges of vfd_container_info() would become narrower. This is for programs that place their memory
 * before they know all devices, as a guest's memory is. Needs iommufd (IOMMU_IOAS_ALLOW_IOVAS, in the kernel iopt_set_allow_iova()).
 *
 * The ranges replace those named before. They hold for the present address space, and for those that the container makes later.
 * No other call on the container runs meanwhile.
 *
 * @param ranges ascending and apart; copied
 * @param count how many; 0: none any more, ranges may be NULL
 * @return 0; VFD_EINVALID (the message says which range, and why), VFD_EUNSUPPORTED (type1 has no such list), VFD_ENOMEMORY,
 * -EADDRINUSE (a device that is attached cannot reach some), or what else the kernel said. On failure the ranges named before stay.
 */
VFD_API int vfd_iova_allow(struct vfd_container *container, const struct vfd_iova_range *ranges, size_t count,
			   struct vfd_error *err);

/**
 * Attach a group: open /dev/vfio/N, check that it is viable, SET_CONTAINER; for the first one also SET_IOMMU, and
 * then START if tracking is on, and MAP for each remembered mapping. A failure anywhere rolls all of it back.
 *
 * On iommufd the first one makes the address space; then MAP. Its devices are attached one by one, when they are opened; START is done then,
 * for each page table, before the device can use it.
 *
 * @param number N of /dev/vfio/N (for a no-IOMMU group, of /dev/vfio/noiommu-N: VFD_EUNSUPPORTED)
 * @param[out] group belongs to the container; end it with vfd_group_detach()
 * @return 0; -ENOENT (no such group; the message says how to bind a device to vfio-pci), -EBUSY (open elsewhere),
 * -EPERM, -EACCES; VFD_ESTATE (attached already); VFD_EUNSUPPORTED; VFD_ENOMEMORY; errors of SET_CONTAINER and of mapping
 */
VFD_API int vfd_group_attach(struct vfd_container *container, int number, struct vfd_group **group,
			     struct vfd_error *err);

/** Like vfd_group_attach(), for the group of a device: "0000:3b:00.0", or its name on the platform or mdev bus. */
VFD_API int vfd_group_attach_device(struct vfd_container *container, const char *device,
				    struct vfd_group **group, struct vfd_error *err);

/**
 * Detach a group: the lossless way. For the last group, with VFD_COLLECT: quiesce each device, harvest with the
 * devices open, close them (drivers unpin), harvest again, and only then UNSET. Mappings are remembered.
 *
 * If the group is not the last, the kernel's record stays; devices of the group must be closed, or a flag be passed.
 *
 * @param group address of the handle; set to NULL on success
 * @param flags 0, VFD_COLLECT or VFD_DISCARD; with either, devices of the group that are open are closed, and their
 * handles end, when the call succeeds. If it fails after they were closed, their handles stay: every call with one
 * returns VFD_ESTATE, but vfd_device_close(), to which it must still be given.
 * @return 0; VFD_EDEVICES; VFD_EDIRTY; -EBUSY (something holds a device: the message says what; nothing was lost and
 * tracking is still on); VFD_EINVALID; VFD_EFORKED; never VFD_ELOST: if the record was lost, everything is assumed dirty, and the detach goes on
 */
VFD_API int vfd_group_detach(struct vfd_group **group, unsigned flags, struct vfd_error *err);

/**
 * The handle of a group that is attached already, for example in an adopted container. All callers have the same handle: when one of them
 * ends it, it has ended for all.
 *
 * @param number N of /dev/vfio/N
 * @return 0; VFD_EINVALID (it is not attached); VFD_EFORKED
 */
VFD_API int vfd_group_find(struct vfd_container *container, int number, struct vfd_group **group,
			   struct vfd_error *err);

/** The group's number; -1 if NULL. */
VFD_API int vfd_group_number(const struct vfd_group *group);

/** The group's raw fd, e.g. for KVM_DEV_TYPE_VFIO. Do not close it: that destroys the kernel's record. -1 if NULL, and on iommufd, where
 * groups have none (KVM takes a device's). */
VFD_API int vfd_group_fd(const struct vfd_group *group);

/**
 * Map memory for devices.
 *
 * The kernel cannot unmap a part of a mapping. With a `granule` the library makes several mappings, which begin and end at multiples of the
 * granule in IOVA (the first one begins, and the last one ends, where the whole does). Later any whole granules can be unmapped. Each
 * is a mapping of its own for vfd_mapping_find(), and takes an entry of the kernel's limited table. All are made, or none; what devices
 * wrote to those that were made and removed again is in the log.
 *
 * Memory may be anonymous, huge pages, memfd, tmpfs or hugetlbfs. Behind a real IOMMU the kernel (6.4 and later) refuses to let devices write
 * to a shared mapping of a file elsewhere; and VFD_MAP_WRITE needs memory that the process may write. The message of -EFAULT says which it
 * was. Private anonymous memory that devices may only read (VFD_MAP_READ alone) should have been written to once, each
 * page, or come from mmap() with MAP_POPULATE: Linux 6.1 pins the page of zeros in the place of one that was never written, and what
 * the program writes later does not reach the device. (vfio_pin_pages_remote; 6.12 does it right.)
 *
 * Before the first attach the mapping is only remembered, and checked at the replay.
 *
 * @return 0; VFD_EINVALID (no READ or WRITE, NULL); VFD_EALIGN; VFD_EWRAP (IOVA or memory; also: in the last 2 MiB
 * below 2^64, where the kernel loses mappings); VFD_EOVERLAP (first..last: the mapping that
 * is in the way); VFD_ERESERVED (names the allowed range next to it); VFD_ENOREGION; VFD_EALIAS; VFD_ELIMIT (more than
 * 2^31 - 1 pages, which would block START); -ENOMEM (with what is
 * needed and what RLIMIT_MEMLOCK allows), -ENOSPC (dma_entry_limit), -EEXIST (a mapping that this library does not know),
 * -EFAULT (the memory cannot be pinned: the message says why); VFD_ENOMEMORY; VFD_EFORKED. On every failure nothing is mapped, except:
 * VFD_EPARTIAL (only with a granule: one failed, and others could not be unmapped again; they lie in first..last: unmap that)
 */
VFD_API int vfd_map(struct vfd_container *container, const struct vfd_mapping *mapping,
		    struct vfd_error *err);

/**
 * Map many, all of them or none, with as few mappings as the limits allow: those that follow each other in IOVA, memory and log address,
 * with the same flags and granule, become one. For programs with more pages than the kernel has entries (65 535 unless dma_entry_limit
 * says otherwise): that is 128 GiB in pages of 2 MiB, each mapped alone.
 *
 * What was joined can only be unmapped together; with a `granule`, the same for all, it is cut at multiples of that. Other calls that
 * touch any IOVA between the lowest and the highest of the list wait until this one returns.
 *
 * @param mappings in any order; each has its own struct_size, which also says where the next one begins. A joined mapping has at most
 * 2^31 - 1 pages, and lies in one region of the log and in one window of the IOMMU.
 * @param count not 0
 * @param[out] entries may be NULL; how many mappings were made
 * @return as vfd_map(); VFD_EOVERLAP also when two of the list meet
 */
VFD_API int vfd_map_list(struct vfd_container *container, const struct vfd_mapping *mappings, size_t count,
			 uint64_t *entries, struct vfd_error *err);

enum vfd_placement_flags {
	VFD_PLACE_BEST_FIT = 1u << 0, /**< the smallest free range that has room; else the lowest */
};

/** Where a mapping may go. Zero everything, set `struct_size`, then what differs from the default. */
struct vfd_placement {
	uint32_t struct_size; /**< sizeof(struct vfd_placement) */
	uint32_t flags;	      /**< enum vfd_placement_flags */
	uint64_t
		align; /**< bytes, a power of two. 0: the library's choice, so that harvests stay exact and the IOMMU can use large
			 *   pages. Let N be the largest power of two that is not above the size, at most 1 GiB. IOVA and memory are
			 *   congruent modulo N if N is at least 2 MiB, the memory begins at a multiple of 64 pages, and there is
			 *   room for that; else the IOVA is a multiple of N */
	uint64_t first; /**< lowest IOVA allowed; 0: 64 KiB (to go lower name at least 1) */
	uint64_t
		last; /**< highest IOVA allowed, inclusive: 2^32 - 1 for a device with 32 address bits; 0: no limit */
};

/**
 * Map memory at an IOVA that the library chooses: a free one, in a range that the kernel allows and `placement` asks for. It never chooses
 * an address that is mapped, or that another thread is mapping right now; it does choose one again after it was unmapped.
 *
 * If devices log their own DMA, the library prefers IOVAs that all their logs watch, because a mapping elsewhere is owed as a whole
 * (vfd_track_rearm()).
 *
 * The first such call on a container, and the first after groups came or went, reads the table of mappings once; from then on every map
 * and unmap costs a little more.
 *
 * @param mapping as for vfd_map(); its `iova` is set on success
 * @param placement NULL for the defaults
 * @return as vfd_map(); also VFD_ELIMIT (no such range is free: the message names the longest that is)
 */
VFD_API int vfd_map_anywhere(struct vfd_container *container, struct vfd_mapping *mapping,
			     const struct vfd_placement *placement, struct vfd_error *err);

/** What a mapping needs of the kernel, and what is there. */
struct vfd_map_cost {
	uint32_t struct_size;	    /**< sizeof(struct vfd_map_cost), set by the caller */
	uint32_t entries_needed;    /**< mapping entries: 1, or as many as granules are met */
	uint64_t entries_available; /**< UINT64_MAX: the kernel does not say */
	uint64_t
		locked_needed; /**< bytes that are charged as locked memory at the map: its size behind a real IOMMU, 0 while
				 *   all groups are emulated (then a driver is charged for what it pins, when it pins) */
	uint64_t locked_available; /**< bytes left of the limit; UINT64_MAX: no limit, or CAP_IPC_LOCK */
	uint64_t locked_limit;	   /**< RLIMIT_MEMLOCK, bytes; UINT64_MAX: none */
};

/**
 * Would vfd_map() succeed now, and what would it cost? Nothing is mapped or kept; another thread may change the answer.
 *
 * @param[out] cost may be NULL; filled in unless the mapping itself makes no sense
 * @return what vfd_map() would: 0, its refusals, -ENOSPC (mapping entries) and -ENOMEM (locked memory), by the numbers of
 * VFIO_IOMMU_GET_INFO, RLIMIT_MEMLOCK and /proc/self/status; not foreseen are -EFAULT, -EEXIST, and a kernel without memory
 */
VFD_API int vfd_map_check(struct vfd_container *container, const struct vfd_mapping *mapping,
			  struct vfd_map_cost *cost, struct vfd_error *err);

/**
 * Unmap all mappings in iova .. iova + size - 1; none may be cut by the range, holes are fine. While tracking, the bits
 * of each go to the log first, one mapping per ioctl.
 *
 * iommufd cannot read and unmap in one step: unless each device that it alone records is quiesced or closed, all of the mapping is assumed
 * dirty (VFD_WHY_TORN), for a device may have written in between.
 *
 * On failure the mappings before first of the error are gone, with their bits in the log; the others are there.
 *
 * @return 0; VFD_ENOTMAPPED (nothing there); VFD_ECUT (first..last: the mapping that is cut; or, in an adopted
 * address space of iommufd, one of which the kernel has more than was declared, or nothing: it is assumed dirty, and stays); VFD_EWRAP; VFD_EALIGN;
 * VFD_ESHORT; VFD_ELOST; -errno of VFIO_IOMMU_UNMAP_DMA (its pages are assumed dirty when they may be gone)
 */
VFD_API int vfd_unmap(struct vfd_container *container, uint64_t iova, uint64_t size, struct vfd_error *err);

/** Unmap everything; the same promises. 0 also when nothing is mapped. */
VFD_API int vfd_unmap_all(struct vfd_container *container, struct vfd_error *err);

/**
 * The mapping that contains an address. Never waits for the kernel, nor for other lookups.
 *
 * Several mappings may contain the same memory. Then the answer is the one whose memory begins at the highest address, and of several
 * such the one with the lowest IOVA. IOVAs are unique.
 *
 * @param by what `address` is; other than VFD_FIND_IOVA it must have been among the flags at vfd_container_open()
 * @param address any byte of the mapping
 * @param[out] mapping set its struct_size. It is filled in as for vfd_map(), with VFD_MAP_LOG_ADDRESS and the log address if
 * the mapping is logged. What it says is true until the mapping is unmapped: by this thread or another one.
 * @return 0; VFD_ENOTMAPPED (the message names the mappings next to the address); VFD_ESTATE (that order is not kept);
 * VFD_EINVALID; VFD_EFORKED
 */
VFD_API int vfd_mapping_find(struct vfd_container *container, enum vfd_find by, uint64_t address,
			     struct vfd_mapping *mapping, struct vfd_error *err);

#ifdef __cplusplus
}
#endif
#endif
