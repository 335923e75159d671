/* SPDX-License-Identifier: MIT */
#ifndef LIB_QUERY_H
#define LIB_QUERY_H

/* Questions whose answer has a chain of capabilities behind it. Too small a buffer succeeds, with the capabilities left out and
 * argsz telling what it takes: so grow until it fits. */

#include <stddef.h>
#include <stdint.h>

#include "sys.h"

/* question: head_size bytes, argsz first (it is filled in here). On success *answer, which the caller frees, has *size bytes. 0,
 * -errno, or VFD_ENOMEMORY: the kernel was not asked. */
int query(const struct sys *sys, int fd, unsigned long request, const void *question, size_t head_size,
	  void **answer, uint32_t *size);

#endif
