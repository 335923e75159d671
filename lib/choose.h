/* SPDX-License-Identifier: MIT */
#ifndef LIB_CHOOSE_H
#define LIB_CHOOSE_H

/* Which of the kernel's two interfaces a container is opened on: named by the caller, or found out. What cannot be found out
 * speaks for a container, and is told. */

#include "container.h"

struct choice {
	enum vfd_container_kind kind;
	char why[VFD_ERROR_TEXT];
};

/* A descriptor, and what it is; negative: an error. */
int choose_backend(const struct sys *sys, const struct vfd_container_options *options, struct choice *choice,
		   struct vfd_error *err);

#endif
