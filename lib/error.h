/* SPDX-License-Identifier: MIT */
#ifndef LIB_ERROR_H
#define LIB_ERROR_H

/* Error text. Fills a caller's struct vfd_error (which may be NULL) and returns the code, so that a refusal is one
 * statement: return fail(err, VFD_ESTATE, "harvest", "tracking is off: call vfd_track_start first"); */

#include <stdint.h>

#include <vfiodirty/error.h>

/* cold: what leads to a refusal is kept out of the way of what does not. */
#define PRINTF_LIKE(f, a) __attribute__((cold, format(printf, f, a)))

/* A refusal of the library that is not about a range. Returns code. */
int fail(struct vfd_error *err, int code, const char *operation, const char *format, ...) PRINTF_LIKE(4, 5);

/* A refusal about first..last (inclusive). Returns code. */
int fail_range(struct vfd_error *err, int code, const char *operation, uint64_t first, uint64_t last,
	       const char *format, ...) PRINTF_LIKE(6, 7);

/* The kernel said no: sys_errno is positive. The text of the errno is appended. Returns -sys_errno. It may be -VFD_ENOMEMORY: for lack of
 * memory the kernel was not asked. */
int fail_sys(struct vfd_error *err, int sys_errno, const char *operation, const char *format, ...)
	PRINTF_LIKE(4, 5);

int fail_sys_range(struct vfd_error *err, int sys_errno, const char *operation, uint64_t first, uint64_t last,
		   const char *format, ...) PRINTF_LIKE(6, 7);

#endif
