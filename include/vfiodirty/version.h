/* SPDX-License-Identifier: MIT */
#ifndef VFIODIRTY_VERSION_H
#define VFIODIRTY_VERSION_H

#include <vfiodirty/export.h>

/* The one place that says so: the soname, pkg-config and CMake follow. A candidate has the numbers of its release. */
#define VFD_VERSION_MAJOR 1
#define VFD_VERSION_MINOR 0
#define VFD_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Version of the library that is running, as "major.minor.patch": three numbers and nothing behind them, of a candidate those of the
 * release that it is to become. Static text. Compare it with VFD_VERSION_* to see what the program was compiled with.
 */
VFD_API const char *vfd_version(void);

#ifdef __cplusplus
}
#endif
#endif
