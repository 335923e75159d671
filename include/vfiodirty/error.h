/* SPDX-License-Identifier: MIT */
#ifndef VFIODIRTY_ERROR_H
#define VFIODIRTY_ERROR_H

/**
 * @file error.h
 * Every function that can fail returns 0 or a negative code:
 *
 *  - `-errno` (-1 .. -4095): a system call failed with this errno, or would fail with it (vfd_map_check(), -EACCES of vfd_pin());
 *  - below -4095: a code of the library, see below.
 *
 * After an error no dirty page is lost, whatever the code. Most of the library's codes are refusals: nothing was changed. The exceptions
 * are VFD_ESHORT, VFD_ELOST and VFD_EPARTIAL; calls that work through several mappings or devices (vfd_unmap(),
 * vfd_migration_cancel()); and calls with VFD_COLLECT, which may have collected pages and closed devices before they failed.
 *
 * The last parameter of such a function is a `struct vfd_error *` (NULL if the text is not wanted). It
 * belongs to the caller, needs no preparation, is written only on failure and points to nothing that must be
 * freed. Nothing is allocated to report an error, and nothing is shared between threads.
 */

#include <stddef.h>
#include <stdint.h>

#include <vfiodirty/export.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The library's own codes. The values are part of the ABI. */
enum vfd_code {
	VFD_OK = 0,
	VFD_EINVALID = -4097, /**< an argument makes no sense: NULL, zero size, unknown flag */
	VFD_ESTATE = -4098,   /**< the right call at the wrong moment; the message says what comes first */
	VFD_EDIRTY = -4099,   /**< dirty pages would be lost: collect them, or pass VFD_DISCARD */
	VFD_EPINNED = -4100,  /**< a pin holds part of the range */
	VFD_EDEVICES = -4101, /**< devices are still open; the message names the first */
	VFD_EALIAS = -4102,   /**< the stated log address is not the memory's log address */
	VFD_EFORKED = -4103,  /**< called in a child after fork(); only release is allowed there */
	VFD_EUNSUPPORTED = -4104, /**< this kernel, container or device cannot do it */
	VFD_EOVERLAP = -4105,	  /**< the range meets one that is there already */
	VFD_ENOTMAPPED = -4106,	  /**< nothing is mapped in the range */
	VFD_ECUT = -4107,	  /**< the range cuts a mapping; the kernel cannot split one */
	VFD_ERESERVED = -4108,	  /**< outside the IOVA ranges that the kernel allows */
	VFD_EALIGN = -4109,	  /**< not a multiple of the page size in question */
	VFD_EWRAP = -4110,     /**< the range wraps around 2^64, or reaches into the last bytes before it */
	VFD_ESHORT = -4111,    /**< the kernel unmapped less than asked and said success */
	VFD_ENOREGION = -4112, /**< the memory lies in no region of the log */
	VFD_ELIMIT = -4113,    /**< a fixed table is full; the message names it */
	VFD_ENOMEMORY = -4114, /**< no memory for the library's own records, or to ask the kernel */
	VFD_ELOST = -4115,     /**< the kernel's record vanished; what it may have held is assumed dirty */
	VFD_EPARTIAL = -4116,  /**< an all-or-nothing call failed, and a part of it could not be undone */
};

#define VFD_ERROR_TEXT 384

/**
 * What went wrong. `first..last` is the range it is about (IOVA, or log address for calls on a log),
 * inclusive; first > last means that no range is involved.
 */
struct vfd_error {
	int code;		      /**< what the function returned */
	int sys_errno;		      /**< errno of the failing system call; 0 if there was none */
	const char *operation;	      /**< static text: the step that failed, e.g. "VFIO_IOMMU_MAP_DMA" */
	uint64_t first;		      /**< first byte concerned */
	uint64_t last;		      /**< last byte concerned */
	char message[VFD_ERROR_TEXT]; /**< one sentence: what happened, the number that matters, what to do */
};

/**
 * Text for a code, the library's or a -errno.
 *
 * @param code a return value of this library
 * @return static text for the library's codes and the errno values that VFIO returns, else "unknown error".
 * Never NULL. Thread-safe, allocates nothing.
 */
VFD_API const char *vfd_strerror(int code);

/** The symbolic name of a code: "VFD_EDIRTY", "EBUSY"; "?" if unknown. Static text, never NULL. */
VFD_API const char *vfd_strcode(int code);

#ifdef __cplusplus
}
#endif
#endif
