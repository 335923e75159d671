/* SPDX-License-Identifier: MIT */
#ifndef VFIODIRTY_DEVICE_H
#define VFIODIRTY_DEVICE_H

/**
 * @file device.h
 * Devices: their regions, interrupts and config space, and how to make one unable to write.
 *
 * A device owns what was made of it (mapped areas, interrupt triggers) and undoes it in the right order when it
 * is closed: a forgotten munmap would keep the device open and make the detach fail with EBUSY.
 *
 * Threads and fork as in container.h; calls on one device are serialised by the library.
 */

#include <vfiodirty/container.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Open a device of an attached group. From now on it can write: the container is no longer drained.
 *
 * @param name as VFIO_GROUP_GET_DEVICE_FD wants it: "0000:3b:00.0" for PCI
 * @param[out] device end it with vfd_device_close()
 * @return 0; VFD_EINVALID; VFD_ESTATE (that device is open); VFD_ENOMEMORY; -ENODEV (no such device in the group), -EPERM, -EMFILE ...
 */
VFD_API int vfd_device_open(struct vfd_group *group, const char *name, struct vfd_device **device,
			    struct vfd_error *err);

/**
 * The handle of a device that is open already, for example in an adopted container. All callers have the same handle: when one of them
 * ends it, it has ended for all.
 *
 * @param name as it was given to vfd_device_open(), or declared
 * @return 0; VFD_EINVALID (no such device is open in the container); VFD_EFORKED
 */
VFD_API int vfd_device_find(struct vfd_container *container, const char *name, struct vfd_device **device,
			    struct vfd_error *err);

/**
 * Close a device: interrupts off, areas unmapped, fd closed. While tracking, and unless drained:
 *
 *  - flags 0: VFD_EDIRTY, and nothing is done: if the kernel removed the device before the next harvest, the last pages that it wrote
 *    would be lost;
 *  - VFD_COLLECT: quiesce, harvest, close, harvest again (a driver may unpin at close);
 *  - VFD_DISCARD: only close. The container's record is not lost by this.
 *
 * @param device address of the handle; set to NULL on success. NULL already: VFD_EINVALID.
 */
VFD_API int vfd_device_close(struct vfd_device **device, unsigned flags, struct vfd_error *err);

/** The raw fd, for what the library does not wrap; -1 if NULL or closed. Not yours to close. Enabling bus mastering
 * through it behind the library's back breaks what vfd_device_quiesce() promises. */
VFD_API int vfd_device_fd(const struct vfd_device *device);

/** The name it was opened with; NULL if NULL. Valid as long as the handle. */
VFD_API const char *vfd_device_name(const struct vfd_device *device);

struct vfd_device_info {
	uint32_t struct_size; /**< sizeof(struct vfd_device_info), set by the caller */
	uint32_t flags;	      /**< VFIO_DEVICE_FLAGS_* of linux/vfio.h */
	uint32_t regions;     /**< number of regions */
	uint32_t irqs;	      /**< number of interrupt indexes */
	uint32_t quiesced;    /**< 1: made unable to write by the library */
	int32_t group;	      /**< number of its group */
};

VFD_API int vfd_device_info(struct vfd_device *device, struct vfd_device_info *info, struct vfd_error *err);

#define VFD_DEVICE_AREAS 16

/** A region of a device, and which parts of it may be mapped. */
struct vfd_device_region {
	uint32_t struct_size; /**< sizeof(struct vfd_device_region), set by the caller */
	uint32_t flags;	      /**< VFIO_REGION_INFO_FLAG_* of linux/vfio.h */
	uint64_t size;	      /**< bytes; 0: the region is not there */
	uint64_t offset;      /**< of the region in the device's fd */
	uint32_t
		area_count; /**< mappable areas; the whole region if the kernel lists none and it can be mapped */
	uint32_t pad;
	struct {
		uint64_t offset, size; /**< in the region, bytes */
	} areas[VFD_DEVICE_AREAS];
};

/** Region `index` (VFIO_PCI_BAR0_REGION_INDEX ...). -EINVAL if the device has no such index; VFD_ENOMEMORY. */
VFD_API int vfd_device_region_info(struct vfd_device *device, uint32_t index,
				   struct vfd_device_region *region, struct vfd_error *err);

/**
 * Map part of a region. The part must lie in one mappable area; the device owns the mapping and unmaps it at close.
 *
 * @param offset,size in the region, bytes, page-aligned
 * @param[out] memory the registers; readable and writable as far as the region is
 * @return 0; VFD_EINVALID; VFD_EALIGN; VFD_ERESERVED (not in a mappable area; first..last: the nearest one); VFD_ENOMEMORY; -errno of mmap
 */
VFD_API int vfd_device_map(struct vfd_device *device, uint32_t index, uint64_t offset, uint64_t size,
			   void **memory, struct vfd_error *err);

/** Unmap what vfd_device_map() gave. VFD_EINVALID if it did not. */
VFD_API int vfd_device_unmap(struct vfd_device *device, void *memory, struct vfd_error *err);

/**
 * Read from or write to a region through the fd: all of it, or the call fails. A write that turns PCI bus mastering on ends "quiesced"; one to
 * a PCI capability ends "drained", for it may do the same when the device leaves D3hot. One that makes the kernel reset the device (a function
 * level reset, by PCI Express or the capability for conventional PCI; the way out of D3hot) is as vfd_device_reset(): the device's log
 * counts no more, and what is mapped is owed.
 *
 * @return 0; VFD_EINVALID; VFD_ENOMEMORY (nothing was read or written); -errno; -EIO when the device accepted only part
 */
VFD_API int vfd_device_read(struct vfd_device *device, uint32_t index, uint64_t offset, void *data,
			    size_t size, struct vfd_error *err);
VFD_API int vfd_device_write(struct vfd_device *device, uint32_t index, uint64_t offset, const void *data,
			     size_t size, struct vfd_error *err);

/**
 * Deliver interrupts to eventfds.
 *
 * One interrupt says that the kernel wants the device back (unbind, hot-unplug): VFIO_PCI_REQ_IRQ_INDEX of a PCI device; for a mediated
 * device the index that its driver documents. The kernel then waits until the device is closed: call vfd_device_close() with VFD_COLLECT,
 * then vfd_group_detach(). Nothing is lost meanwhile.
 *
 * @param irq VFIO_PCI_MSIX_IRQ_INDEX ...
 * @param start first vector
 * @param eventfds `count` of them; -1: none for that vector. They stay the caller's.
 * @return 0; VFD_EINVALID (count 0, wraps or above 4096); VFD_ENOMEMORY; -errno of VFIO_DEVICE_SET_IRQS
 */
VFD_API int vfd_device_irq_enable(struct vfd_device *device, uint32_t irq, uint32_t start,
				  const int *eventfds, uint32_t count, struct vfd_error *err);

/** Unmask vectors start .. start + count - 1: level-triggered interrupts mask themselves when they fire. */
VFD_API int vfd_device_irq_unmask(struct vfd_device *device, uint32_t irq, uint32_t start, uint32_t count,
				  struct vfd_error *err);

/** Turn off all vectors of an interrupt index. */
VFD_API int vfd_device_irq_disable(struct vfd_device *device, uint32_t irq, struct vfd_error *err);

/** Reset a device (VFIO_DEVICE_RESET). VFD_EUNSUPPORTED if it neither has a reset nor migrates. Afterwards it counts as able to write, its
 * migration state is RUNNING, and its data session has ended. */
VFD_API int vfd_device_reset(struct vfd_device *device, struct vfd_error *err);

/**
 * Make a device unable to write. If it has migration states, it is put into STOP (from PRE_COPY into STOP_COPY, so that its data is not
 * lost); else PCI bus mastering is turned off, and read back; else it is reset. Calling it again changes nothing.
 *
 * A device that was stopped by its state or by a reset can wake when its registers are written. After vfd_device_write() it counts as able
 * to write. The library cannot see writes through a mapped area: call vfd_device_resume() before those.
 *
 * @return 0; VFD_EUNSUPPORTED (neither migration states nor bus mastering nor reset); VFD_ENOMEMORY; -errno
 */
VFD_API int vfd_device_quiesce(struct vfd_device *device, struct vfd_error *err);

/** Undo vfd_device_quiesce(): the migration state becomes RUNNING, or bus mastering is turned on, if the device has one of them. The
 * container is no longer drained. Before the device wakes, logs of quiesced devices are started again for what was mapped meanwhile
 * (vfd_track_rearm()). If that fails, the device wakes all the same, and vfd_track_plan() says that its log does not count. */
VFD_API int vfd_device_resume(struct vfd_device *device, struct vfd_error *err);

#ifdef __cplusplus
}
#endif
#endif
