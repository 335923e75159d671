/* SPDX-License-Identifier: MIT */
#ifndef VFIODIRTY_H
#define VFIODIRTY_H

/**
 * @file vfiodirty.h
 * libvfiodirty: VFIO containers, mappings and dirty page tracking in which no call can lose a dirty page.
 *
 * Read in this order: log.h (the pages still owed), container.h (containers, groups, devices, mappings),
 * track.h (start, harvest, stop), error.h (what a return value means). For drivers: pin.h, and audit.h. For devices that
 * migrate: migration.h. For a journal: message.h.
 *
 * The law, at every return of every function here: a page that a device wrote while tracking was on is in the
 * log, or the kernel still holds its bit and the library will still collect it.
 */

#include <vfiodirty/audit.h>
#include <vfiodirty/container.h>
#include <vfiodirty/device.h>
#include <vfiodirty/error.h>
#include <vfiodirty/log.h>
#include <vfiodirty/message.h>
#include <vfiodirty/migration.h>
#include <vfiodirty/pin.h>
#include <vfiodirty/track.h>
#include <vfiodirty/version.h>

#endif
