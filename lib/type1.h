/* SPDX-License-Identifier: MIT */
#ifndef LIB_TYPE1_H
#define LIB_TYPE1_H

/* The type1 container as a backend: its ioctls, and for each what a failure can have spoiled. And one without an IOMMU. */

#include "backend.h"

extern const struct backend_ops type1_ops, noiommu_ops;

#endif
