/* SPDX-License-Identifier: MIT */
#ifndef VFIODIRTY_VERSION_H
#define VFIODIRTY_VERSION_H

#include <vfiodirty/export.h>

#define VFD_VERSION_MAJOR 0
#define VFD_VERSION_MINOR 1
#define VFD_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/** Version of the library that is running, as "major.minor.patch". Static text. */
VFD_API const char *vfd_version(void);

#ifdef __cplusplus
}
#endif
#endif
