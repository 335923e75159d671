/* SPDX-License-Identifier: MIT */
#ifndef VFIODIRTY_MIGRATION_H
#define VFIODIRTY_MIGRATION_H

/**
 * @file migration.h
 * VFIO migration (v2): the states of devices, and the data that one device's state travels in.
 *
 * The source, while dirty tracking is on and the devices work:
 *
 *     vfd_migration_set(devices, n, VFD_MIG_PRE_COPY, &err)     if they can; read what there is, as often as you like
 *     vfd_migration_set(devices, n, VFD_MIG_STOP_COPY, &err)    they are silent now
 *     vfd_track_harvest(container, VFD_HARVEST_FINAL, ...)      nothing more comes
 *     vfd_migration_read(device, ...)                           of each device, until there is no more
 *
 * and the destination: VFD_MIG_RESUMING, vfd_migration_write() of the same bytes in the same order, VFD_MIG_RUNNING.
 *
 * What the states mean for dirty tracking: a device in STOP, STOP_COPY or RESUMING does no DMA, so it is no writer (as if it
 * were quiesced). In every other state, and when its state is not known, it counts as able to write, and it does so from before
 * the system call that can wake it. Its own log of its DMA is read before a state change that may end it.
 *
 * A register write (vfd_device_write(), not of PCI configuration space) may wake a stopped device: it then counts as able to write until
 * it was running and stopped again. Do not write through a mapped area of a stopped device: the library cannot see that.
 *
 * Threads and fork as in container.h. The states of a device are changed by one thread at a time; another one may read or write its data.
 */

#include <stddef.h>

#include <vfiodirty/device.h>

#ifdef __cplusplus
extern "C" {
#endif

/** States; the numbers are the kernel's (enum vfio_device_mig_state). */
enum vfd_migration_state {
	VFD_MIG_ERROR = 0,	  /**< it has failed, and only vfd_device_reset() leads out of this */
	VFD_MIG_STOP = 1,	  /**< silent: no DMA, no interrupts, nothing changes */
	VFD_MIG_RUNNING = 2,	  /**< at work */
	VFD_MIG_STOP_COPY = 3,	  /**< silent, and all of its state can be read */
	VFD_MIG_RESUMING = 4,	  /**< silent, and its state is written */
	VFD_MIG_RUNNING_P2P = 5,  /**< at work, but leaves other devices alone */
	VFD_MIG_PRE_COPY = 6,	  /**< at work, and a part of its state can be read already */
	VFD_MIG_PRE_COPY_P2P = 7, /**< both */
};

/** What a device can; the numbers are the kernel's (VFIO_MIGRATION_*). */
enum vfd_migration_flags {
	VFD_MIG_CAN_STOP_COPY = 1u << 0, /**< STOP, STOP_COPY, RESUMING */
	VFD_MIG_CAN_P2P = 1u << 1,	 /**< RUNNING_P2P */
	VFD_MIG_CAN_PRE_COPY = 1u << 2,	 /**< PRE_COPY; with P2P, PRE_COPY_P2P too */
};

/** What there is of a device's data. */
enum vfd_migration_data {
	VFD_MIG_NO_DATA = 0, /**< no data session */
	VFD_MIG_SAVING = 1,  /**< to be read */
	VFD_MIG_SAVED = 2,   /**< read to its end */
	VFD_MIG_LOADING = 3, /**< to be written */
};

struct vfd_migration_info {
	uint32_t struct_size; /**< sizeof(struct vfd_migration_info), set by the caller */
	uint32_t flags;	      /**< enum vfd_migration_flags; 0: the device cannot migrate */
	uint32_t state; /**< enum vfd_migration_state, as the kernel says now; RUNNING for one that cannot */
	uint32_t data;	/**< enum vfd_migration_data */
	uint64_t
		stop_copy_bytes; /**< how much it expects to save in STOP_COPY; UINT64_MAX: it does not say */
};

/**
 * Whether a device can migrate, and where it is.
 *
 * @return 0, also for one that cannot; VFD_EINVALID; VFD_ESTATE (closed by a detach); -errno: the state could not be read
 */
VFD_API int vfd_migration_info(struct vfd_device *device, struct vfd_migration_info *info,
			       struct vfd_error *err);

/**
 * Bring devices to a state, all or none, over as many intermediate states as the kernel takes. They may be in different containers. Before
 * the first of several running devices is stopped, all of them stop DMA to each other (state P2P, if they have it); before the first one
 * runs again, all of them accept such DMA.
 *
 * If one fails, all are brought back to where they were. But a data session that ended on the way cannot be continued: then all devices
 * that were in PRE_COPY become RUNNING (RUNNING_P2P), and one that has left STOP_COPY or RESUMING becomes STOP. A device that did not
 * accept its data (RESUMING) may stay there, or be in ERROR. Data sessions that ended are closed.
 *
 * A device without P2P states is stopped, or started, without that step. If devices do DMA to each other, all should have them.
 *
 * @param devices `count` of them, open
 * @param state enum vfd_migration_state, not ERROR
 * @return 0; VFD_EINVALID, VFD_EUNSUPPORTED (a device lacks the state), VFD_ESTATE (one is in ERROR; from STOP_COPY to PRE_COPY; closed by a
 * detach): nothing was done; -errno of the kernel: all are as said above, in a state in which they were or can go on; VFD_EPARTIAL: one could not be
 * brought back, the message says which and where it is; VFD_EFORKED
 */
VFD_API int vfd_migration_set(struct vfd_device *const *devices, size_t count, uint32_t state,
			      struct vfd_error *err);

enum vfd_migration_cancel_flags {
	VFD_MIG_RESET =
		1u << 0, /**< reset those that nothing else brings back: they forget what they were doing */
};

/**
 * Give up a migration: bring devices to RUNNING, each that can, whatever becomes of the others. All data sessions end.
 *
 * A device in ERROR, or one that was given incomplete data, cannot go there without a reset.
 *
 * @param flags 0 or VFD_MIG_RESET
 * @return 0: all run; VFD_EINVALID, VFD_EUNSUPPORTED: nothing was done; VFD_ESTATE (one is in ERROR), -errno: the first failure; the
 * others were still brought to RUNNING if they could, and vfd_migration_info() tells the state of each; VFD_EFORKED
 */
VFD_API int vfd_migration_cancel(struct vfd_device *const *devices, size_t count, unsigned flags,
				 struct vfd_error *err);

/**
 * Read the next bytes of a device's state, in STOP_COPY, PRE_COPY or PRE_COPY_P2P. The library does not know what they mean. Their order
 * must be kept; into which pieces reads cut them does not matter.
 *
 * It waits for the device unless the descriptor is nonblocking. A change of the state, from another thread, ends the wait; closing the
 * device waits for it, and so do calls that attach or detach a group, open a device or make a set of pins in its container, and what is
 * called after those, a change of the state too. Where there are such, make the descriptor nonblocking and wait with poll(2).
 *
 * @param data,size where to, and how much at most; not 0
 * @param[out] done bytes read; 0: this was all of it (in STOP_COPY). Set on success only.
 * @return 0; -ENOMSG (in PRE_COPY: nothing new yet, ask again or go on to STOP_COPY); -EAGAIN, -EINTR (call again); -ENODEV (the state was left);
 * -errno; VFD_EINVALID; VFD_ESTATE (nothing to read in this state); VFD_EFORKED
 */
VFD_API int vfd_migration_read(struct vfd_device *device, void *data, size_t size, size_t *done,
			       struct vfd_error *err);

/**
 * Give a device in RESUMING the next bytes of another device's state. The driver may check them only when RESUMING is left.
 *
 * @param[out] done bytes taken, at least one. Set on success only.
 * @return 0; -EAGAIN (the descriptor is nonblocking, and the device takes no more for now), -EINTR (call again); -EINVAL (it refuses them), -ENOMEM, -EFBIG
 * (too many); -errno; VFD_EINVALID; VFD_ESTATE (not in RESUMING); VFD_EFORKED
 */
VFD_API int vfd_migration_write(struct vfd_device *device, const void *data, size_t size, size_t *done,
				struct vfd_error *err);

/** What is left to read in PRE_COPY, as the device estimates it. */
struct vfd_migration_precopy {
	uint32_t struct_size;	/**< sizeof(struct vfd_migration_precopy), set by the caller */
	uint32_t flags;		/**< as the kernel says */
	uint64_t initial_bytes; /**< of what should be read before STOP_COPY */
	uint64_t dirty_bytes;	/**< of what has changed since it was read */
};

/**
 * @return 0; VFD_EINVALID; VFD_ESTATE (no data to be read); -EINVAL (not in PRE_COPY); -ENOTTY (before Linux 6.2); -errno; VFD_EFORKED
 */
VFD_API int vfd_migration_precopy(struct vfd_device *device, struct vfd_migration_precopy *info,
				  struct vfd_error *err);

/** The descriptor of a device's data, to poll(2) it or make it nonblocking; -1 if there is none. Do not close it; it ends with the state. */
VFD_API int vfd_migration_fd(const struct vfd_device *device);

/** "STOP_COPY" and the like. Static text, never NULL. */
VFD_API const char *vfd_migration_state_name(uint32_t state);

#ifdef __cplusplus
}
#endif
#endif
