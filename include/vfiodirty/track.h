/* SPDX-License-Identifier: MIT */
#ifndef VFIODIRTY_TRACK_H
#define VFIODIRTY_TRACK_H

/**
 * @file track.h
 * Dirty tracking: start, harvest, stop, and the plan, which says who reports what each device writes.
 *
 * Start before the first full copy (vfd_mark_initial()), harvest once per round, and at the end pause the devices and
 * harvest once more with VFD_HARVEST_FINAL.
 */

#include <vfiodirty/container.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Who reports the pages that a device wrote. */
enum vfd_source_kind {
	VFD_SOURCE_TYPE1 = 1,  /**< the container's bitmap, exact for devices that pin what they write */
	VFD_SOURCE_PINS = 3,   /**< its driver pins everything that it writes: vfd_device_pins_all() */
	VFD_SOURCE_DEVLOG = 4, /**< the device's own log of its DMA (VFIO_DEVICE_FEATURE_DMA_LOGGING) */
	VFD_SOURCE_IOMMUFD =
		5, /**< dirty bits in the page tables of its IOMMU; one of a large page stands for all of it */
	VFD_SOURCE_DEFERRED = 2, /**< nobody: everything that is mapped writable is owed once, at the end */
};

#define VFD_PLAN_ENTRIES 32

struct vfd_plan_entry {
	uint32_t source;      /**< enum vfd_source_kind */
	int32_t group;	      /**< group number */
	uint64_t granularity; /**< bytes per bit of the source; 0: none */
	char device[48];      /**< its name; "" : no device of the group is open */
	char why[192];	      /**< which rule decided, in words */
};

/** Which source reports what a device writes, and how precisely. */
struct vfd_plan {
	uint32_t struct_size;	 /**< sizeof(struct vfd_plan), set by the caller */
	uint32_t exact;		 /**< 1: what every device writes is reported exactly */
	uint32_t entry_count;	 /**< entries filled in below */
	uint32_t entry_total;	 /**< entries there are */
	uint64_t deferred_bytes; /**< owed once, at the final harvest */
	uint64_t page_size;	 /**< bytes per bit of the container */
	struct vfd_plan_entry entries[VFD_PLAN_ENTRIES];
	uint64_t
		unarmed_bytes; /**< of deferred_bytes: mapped where a device's log does not look. vfd_track_rearm() */
	uint64_t rearms; /**< logs of devices started anew for that, since tracking began */
};

enum vfd_track_flags {
	VFD_TRACK_EXACT = 1u << 0, /**< refuse to start where something would have to be deferred */
};

/** Options of vfd_track_start(). */
struct vfd_track_options {
	uint32_t struct_size; /**< sizeof(struct vfd_track_options) */
	uint32_t flags;	      /**< enum vfd_track_flags */
};

/**
 * Turn dirty tracking on. In a container without groups it is remembered, and the first attach turns it on before it makes any mapping.
 * If it is on already, whatever failed is started again (the kernel's record that was lost, a device's log); what was missed stays owed.
 *
 * Beside a physical group, or in a v1 container, this starts the logs of devices that log their own DMA. So open them before: as long as
 * the library does not know that the devices of a group log, all that is mapped is owed at the end.
 *
 * @param options NULL for the defaults
 * @param[out] plan may be NULL
 * @return 0; VFD_EUNSUPPORTED (v1 or no-IOMMU, unless all devices pin or log what they write; no MIGRATION capability; VFD_TRACK_EXACT); VFD_ESTATE (the container has no log); VFD_EALIGN (its pages
 * have become larger than what is mapped); VFD_EINVALID; VFD_ENOMEMORY; -ENOMEM, -EINVAL from the kernel (a mapping of more than 8 TiB blocks START: the message names it)
 */
VFD_API int vfd_track_start(struct vfd_container *container, const struct vfd_track_options *options,
			    struct vfd_plan *plan, struct vfd_error *err);

enum vfd_harvest_flags {
	VFD_HARVEST_FINAL =
		1u << 0, /**< also owe what all-dirty devices may have written; devices should be paused */
};

/** What one harvest did. Pages are pages of the log, new for the log's own consumer. */
struct vfd_harvest {
	uint32_t struct_size;	 /**< sizeof(struct vfd_harvest), set by the caller */
	uint32_t drained;	 /**< 1: nothing is left that a close could lose */
	uint64_t pages_new;	 /**< clean before, owed now */
	uint64_t pages_reported; /**< of those: said by the kernel */
	uint64_t pages_assumed;	 /**< of those: over-approximated */
	uint64_t assumed[16];	 /**< pages_assumed by enum vfd_reason */
	uint64_t deferred_bytes; /**< still to come at the final harvest */
	uint64_t ioctls;	 /**< GET_BITMAP calls made */
	uint64_t bytes;		 /**< bitmap bytes that they stood for, holes included */
	uint64_t nanoseconds;	 /**< duration of the call */
	uint64_t unarmed_bytes;	 /**< of deferred_bytes: mapped where a device's log does not look */
	uint64_t rearms;	 /**< logs of devices started anew for that, since tracking began */
};

/**
 * Move the kernel's bits into the log. If it fails, whatever arrived before is in the log, and what the failure may have spoiled is owed,
 * labelled VFD_ASSUMED with the reason. Calling it again is always safe.
 *
 * @param flags 0 or VFD_HARVEST_FINAL
 * @param[out] result may be NULL; filled in on failure too
 * @return 0; VFD_ESTATE (tracking is off); VFD_ELOST (the kernel's record vanished: everything that was mapped writable is
 * assumed); VFD_ECUT (adopted: an undeclared mapping; first..last name it); -errno of GET_BITMAP, or of a device's REPORT; VFD_ENOMEMORY; VFD_EFORKED
 */
VFD_API int vfd_track_harvest(struct vfd_container *container, unsigned flags, struct vfd_harvest *result,
			      struct vfd_error *err);

/**
 * Harvest only the mappings that start in the IOVA range first..last (inclusive), so that several threads can share the harvest of
 * one large container. The threads do not wait for each other if their ranges do not meet, and if the first mapping of each range starts
 * at a multiple of 64 pages. A mapping is read whole, even if it ends behind last.
 *
 * Deferred memory does not become owed by this, and the container does not become drained: that takes vfd_track_harvest().
 *
 * @param[out] result may be NULL; of this call alone; filled in on failure too
 * @return as vfd_track_harvest(); VFD_EINVALID (last is before first)
 */
VFD_API int vfd_track_harvest_range(struct vfd_container *container, uint64_t first, uint64_t last,
				    struct vfd_harvest *result, struct vfd_error *err);

enum vfd_rearm_flags {
	VFD_REARM_RUNNING = 1u << 0, /**< also logs of devices that can write now */
};

/** Options of vfd_track_rearm(). Zero everything, set `struct_size`, then what differs from the default. */
struct vfd_rearm_options {
	uint32_t struct_size;	/**< sizeof(struct vfd_rearm_options) */
	uint32_t flags;		/**< enum vfd_rearm_flags */
	uint64_t unarmed_bytes; /**< leave running devices alone while no more than this is unarmed */
	uint64_t
		budget; /**< bytes that re-arming running devices may assume, in all calls since tracking began: leave them alone if
			  *   this one would go beyond; 0: no limit */
};

/** What one vfd_track_rearm() did. */
struct vfd_rearm {
	uint32_t struct_size;	/**< sizeof(struct vfd_rearm), set by the caller */
	uint32_t rearmed;	/**< logs started anew */
	uint32_t running;	/**< of those: of devices that can write */
	uint32_t failed;	/**< logs that could not be started again: they count no more */
	uint64_t assumed_bytes; /**< assumed for that, now in the log */
	uint64_t pages_new;	/**< clean before, owed now */
	uint64_t unarmed_bytes; /**< still mapped where a device's log does not look */
};

/**
 * Start the logs of devices again, so that they also watch what was mapped since they were started (*unarmed* mappings). Until then such
 * mappings are owed as a whole, once, at the final harvest.
 *
 * To get other ranges a log must be stopped, and what the device writes until it is started again is in no record. A quiesced device
 * (vfd_device_quiesce()) writes nothing: its log is read, stopped and started, and nothing has to be assumed. vfd_device_resume() does that
 * by itself. With VFD_REARM_RUNNING the logs of running devices are started again too, all at once; then everything that is mapped
 * writable is assumed (VFD_WHY_REARMED), and in the log when the call returns. That is worth it when too many bytes are unarmed for the
 * final harvest. The option `unarmed_bytes` says how many are too many, and `budget` limits what may be assumed for this in all.
 *
 * vfd_map_anywhere() avoids all this: it prefers IOVAs that are watched.
 *
 * @param options NULL for the defaults: quiesced devices only
 * @param[out] result may be NULL; filled in on failure too
 * @return 0, also if there was nothing to do, or running devices were left alone (see result->unarmed_bytes); VFD_ESTATE (tracking is
 * off); VFD_EINVALID; VFD_EFORKED; -errno of a device's REPORT, STOP or START: what it can write is owed at the end, and the
 * other devices were still armed
 */
VFD_API int vfd_track_rearm(struct vfd_container *container, const struct vfd_rearm_options *options,
			    struct vfd_rearm *result, struct vfd_error *err);

/**
 * Turn tracking off; the kernel frees its record. Obeys the rule at the top of container.h. After a failed STOP
 * tracking is still on.
 *
 * @param flags 0 (must be drained), VFD_COLLECT (harvest, all-dirty devices included, then stop) or VFD_DISCARD
 * @return 0 (also when off already); VFD_EDIRTY (with VFD_COLLECT: a device can still write, and would between the
 * harvest and the stop: quiesce it, or close it); -errno; VFD_EFORKED
 */
VFD_API int vfd_track_stop(struct vfd_container *container, unsigned flags, struct vfd_error *err);

/** The plan as it is now. While tracking is off: the plan as it would be. */
VFD_API int vfd_track_plan(struct vfd_container *container, struct vfd_plan *plan, struct vfd_error *err);

/**
 * The plan in words, one line per device.
 *
 * @param text room for `size` bytes, always terminated if size > 0; may be NULL if size is 0
 * @param[out] needed bytes that the whole text needs, its end included; may be NULL
 * @return 0; VFD_EINVALID
 */
VFD_API int vfd_plan_text(const struct vfd_plan *plan, char *text, size_t size, size_t *needed,
			  struct vfd_error *err);

#ifdef __cplusplus
}
#endif
#endif
