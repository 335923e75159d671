/* SPDX-License-Identifier: MIT */
#ifndef VFIODIRTY_EXPORT_H
#define VFIODIRTY_EXPORT_H

/* The library is built with hidden visibility: what is not marked is not there. */
#if defined(__GNUC__)
#define VFD_API __attribute__((visibility("default")))
#else
#define VFD_API
#endif

#endif
