/* SPDX-License-Identifier: MIT */
#ifndef LIB_OPTIONS_H
#define LIB_OPTIONS_H

/* Public structs that may grow start with `uint32_t struct_size`. A program built against an older header
 * passes a shorter struct: what it does not know is zero. One built against a newer header passes a longer
 * one: that works as long as it asks for nothing that this library does not know, i.e. the unknown tail is
 * zero. */

#include <stddef.h>

#include <vfiodirty/error.h>

/* A caller's struct_size larger than this is no size but an uninitialised field: do not read so far. */
#define OPTIONS_MAX 4096

/* Copy the caller's struct to dst.
 *
 * known: sizeof(*dst); minimum: size of the struct's first version; user: the caller's, may be NULL (refused)
 * what: static text naming the struct, e.g. "struct vfd_log_options", also the operation in err
 *
 * dst is zeroed where the caller's struct is shorter; its struct_size is as the caller set it.
 * Returns 0 or VFD_EINVALID. */
int copy_options(void *dst, size_t known, size_t minimum, const void *user, const char *what,
		 struct vfd_error *err);

#endif
