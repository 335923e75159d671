/* SPDX-License-Identifier: MIT */
#ifndef TESTS_MODEL_SYS_MODEL_H
#define TESTS_MODEL_SYS_MODEL_H

#include "sys.h"

/* The model's side of the seam. */
extern const struct sys sys_model;

#endif
