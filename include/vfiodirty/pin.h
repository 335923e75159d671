/* SPDX-License-Identifier: MIT */
#ifndef VFIODIRTY_PIN_H
#define VFIODIRTY_PIN_H

/**
 * @file pin.h
 * Pins: holds on mapped memory while a device may access it, for drivers in user space.
 *
 * Pinned memory cannot be unmapped, and while anything is pinned tracking cannot be stopped, nor the container closed, nor its last group
 * detached: those calls return VFD_EPINNED. While tracking, a page pinned for writing is owed (VFD_SOFTWARE) when it is pinned, at each
 * harvest in between, and when it is unpinned; the kernel treats pages that a mediated device has pinned in the same way. So a driver that
 * pins everything its device writes is tracked exactly, even on hardware that keeps no record: see vfd_device_pins_all().
 *
 * Pins belong to *pin sets*. Only one thread may use a set at a time: make one for each queue or thread; different sets do not disturb each
 * other. A set ends with its container: no thread may use it when that is closed.
 * vfd_pin() and vfd_unpin() allocate nothing, take no lock and make no system call, unless a mapping was made or removed since.
 */

#include <vfiodirty/container.h>
#include <vfiodirty/device.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vfd_pinset;

/** Options of vfd_pinset_create(). Zero everything, set `struct_size`, then what differs. */
struct vfd_pinset_options {
	uint32_t struct_size; /**< sizeof(struct vfd_pinset_options) */
	uint32_t flags;	      /**< 0 */
	uint32_t capacity;    /**< pins that can be held at once; 0: 256; at most 2^20 */
	uint32_t pad;
	const char *name; /**< for messages, copied, at most 31 characters are kept; NULL: "pin set" */
};

/**
 * Make a pin set.
 *
 * @param options NULL for the defaults
 * @param[out] set end it with vfd_pinset_destroy(), before the container
 * @return 0; VFD_EINVALID; VFD_ENOMEMORY; VFD_EFORKED
 */
VFD_API int vfd_pinset_create(struct vfd_container *container, const struct vfd_pinset_options *options,
			      struct vfd_pinset **set, struct vfd_error *err);

enum vfd_pinset_flags {
	VFD_PIN_ABANDON = 1u << 8, /**< give up pins that are still held: their pages are marked once more */
};

/**
 * End a pin set.
 *
 * @param set address of the handle; set to NULL on success. A handle that is NULL already is VFD_EINVALID.
 * @param flags 0: no pin may be held; VFD_PIN_ABANDON: legal only with all devices of the container closed
 * @return 0; VFD_EPINNED (pins are held; the message says how many); VFD_EDEVICES (abandon with devices open); VFD_EINVALID;
 * VFD_EFORKED
 */
VFD_API int vfd_pinset_destroy(struct vfd_pinset **set, unsigned flags, struct vfd_error *err);

enum vfd_pin_flags {
	VFD_PIN_READ = 1u << 0,	 /**< the device reads it */
	VFD_PIN_WRITE = 1u << 1, /**< the device writes it */
};

/**
 * Declare that the driver of this device pins everything that the device writes, from now on until the device is closed. When all open
 * devices of all groups of the container are declared, what they write is known exactly, labelled VFD_SOFTWARE, on hardware that cannot
 * report, and in a type1 v1 container: nothing is deferred to the final harvest (VFD_SOURCE_PINS in the plan). Best called right after
 * vfd_device_open(), before the device is told of any memory; while tracking, what was written before the call stays owed as a whole.
 *
 * A wrong declaration loses pages: see audit.h. Memory of descriptor rings and completion queues is written by the device too.
 *
 * @return 0; VFD_ESTATE (the device is closed); VFD_EINVALID; VFD_EFORKED
 */
VFD_API int vfd_device_pins_all(struct vfd_device *device, struct vfd_error *err);

/** A pin that is held. `iova` is what the device is given. */
struct vfd_pin {
	uint64_t iova;
	uint64_t size; /**< bytes */
	void *memory;
	uint64_t id; /**< of the set: which pin, and which use of its place */
};

/**
 * Pin process memory. It must lie in mappings that follow each other without a gap in memory, IOVA and log address, and in one region of the
 * log. If it does not, use vfd_pin_list(), which makes several pins.
 *
 * @param memory any address in memory mapped in the container, which was opened with VFD_FIND_MEMORY
 * @param size bytes, not 0
 * @param flags VFD_PIN_READ, VFD_PIN_WRITE or both
 * @return 0; VFD_ENOTMAPPED (or being unmapped); VFD_ECUT (it goes on in a mapping that does not follow: first..last are IOVAs of the
 * part that could be pinned); VFD_EINVALID; VFD_EWRAP; VFD_ELIMIT (the set is full); VFD_ESTATE (no VFD_FIND_MEMORY); -EACCES (the
 * mapping does not allow that access); VFD_EFORKED
 */
VFD_API int vfd_pin(struct vfd_pinset *set, const void *memory, uint64_t size, unsigned flags,
		    struct vfd_pin *pin, struct vfd_error *err);

/** The same by IOVA; needs no VFD_FIND_MEMORY. */
VFD_API int vfd_pin_iova(struct vfd_pinset *set, uint64_t iova, uint64_t size, unsigned flags,
			 struct vfd_pin *pin, struct vfd_error *err);

/** A piece of memory to pin. */
struct vfd_pin_part {
	const void *memory;
	uint64_t size; /**< bytes, not 0 */
};

/**
 * Pin a scatter list, all of it or nothing. A part that lies in several mappings becomes several pins. If the call fails, some parts may
 * have been pinned for a moment; if tracking is on, and they were pinned for writing, their pages are in the log.
 *
 * @param[out] pins room for `capacity` of them, in the order of the parts
 * @param[out] filled how many; on failure 0
 * @return as vfd_pin(), but VFD_ECUT; VFD_ELIMIT also when `capacity` is too small
 */
VFD_API int vfd_pin_list(struct vfd_pinset *set, const struct vfd_pin_part *parts, size_t count,
			 unsigned flags, struct vfd_pin *pins, size_t capacity, size_t *filled,
			 struct vfd_error *err);

/**
 * Unpin, by the set that made the pins. If one of them is not held (unpinned already, never pinned), all others are unpinned, and the call
 * fails.
 *
 * @return 0; VFD_EINVALID (names the first pin that was not held); VFD_EFORKED
 */
VFD_API int vfd_unpin(struct vfd_pinset *set, const struct vfd_pin *pins, size_t count,
		      struct vfd_error *err);

/** Pins held; 0 if NULL. Any thread may ask. */
VFD_API uint32_t vfd_pinset_held(const struct vfd_pinset *set);

/** An address in both worlds. */
struct vfd_translation {
	uint64_t iova;
	void *memory;
	uint64_t size;	     /**< bytes from here on that stay contiguous in both, at least */
	uint64_t generation; /**< what vfd_pinset_generation() said when this was true */
};

/**
 * Translate a process address (needs VFD_FIND_MEMORY), or an IOVA, without pinning. Another thread may unmap it at any time, so the answer
 * is true only while vfd_pinset_generation() is the same. Give a device pinned addresses only.
 *
 * @return 0; VFD_ENOTMAPPED; VFD_ESTATE; VFD_EINVALID; VFD_EFORKED
 */
VFD_API int vfd_translate(struct vfd_pinset *set, const void *memory, struct vfd_translation *out,
			  struct vfd_error *err);
VFD_API int vfd_translate_iova(struct vfd_pinset *set, uint64_t iova, struct vfd_translation *out,
			       struct vfd_error *err);

/** A number that changes whenever a mapping of the container is made, removed, or about to be removed. A translation is true as long as this
 * is equal to its `generation`. 0 if NULL. */
VFD_API uint64_t vfd_pinset_generation(const struct vfd_pinset *set);

/**
 * Like vfd_unmap(), but where that returns VFD_EPINNED, wait until the memory is unpinned, at most so long. It cannot be pinned again
 * meanwhile.
 *
 * @param nanoseconds 0: as vfd_unmap()
 * @return as vfd_unmap(); VFD_EPINNED when the time is over; then mappings before first of the error are gone
 */
VFD_API int vfd_unmap_wait(struct vfd_container *container, uint64_t iova, uint64_t size,
			   uint64_t nanoseconds, struct vfd_error *err);

#ifdef __cplusplus
}
#endif
#endif
