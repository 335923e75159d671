/* SPDX-License-Identifier: MIT */
#ifndef LIB_ANSWER_H
#define LIB_ANSWER_H

/* Structs that the library fills in and that may grow: the caller's struct_size says how much of one it knows. */

#include <stddef.h>

#include <vfiodirty/error.h>

/* 0, or VFD_EINVALID if the caller's struct is NULL or its struct_size is not set. what: static text, its name. */
int check_answer(const void *user, size_t known, const char *what, struct vfd_error *err);

/* Copy as much as the caller's struct has room for; its struct_size stays, what the library does not know is zeroed. */
void copy_answer(void *user, const void *answer, size_t known);

#endif
