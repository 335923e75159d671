/* SPDX-License-Identifier: MIT */
#ifndef MIGRATE_DEVICES_H
#define MIGRATE_DEVICES_H

#include "io.h"

/* Devices that migrate by VFIO's states, all together. Without any, each of these does nothing. A device may have nothing yet, or take
 * nothing for now: that is waited for until `io` is stopped, its other side is gone, or its stall_ms are over. */

/* Source. Start to precopy, if all of them can: *precopy says. */
int devices_start(const struct mig_guest *guest, bool *precopy, struct mig_error *err);
int devices_stop(const struct mig_guest *guest, struct mig_error *err);
/* The next bytes of one. *done = 0: none now, or none any more. */
int devices_save(struct vfd_device *device, void *data, size_t size, size_t *done, const struct io *io,
		 struct mig_error *err);
/* Run again, each that can. */
int devices_go_back(const struct mig_guest *guest, struct mig_error *err);
/* About how many bytes they will save while they are stopped. */
uint64_t devices_expect(const struct mig_guest *guest);

/* Destination. */
int devices_resume(const struct mig_guest *guest, struct mig_error *err);
int devices_load(struct vfd_device *device, const void *data, size_t size, const struct io *io,
		 struct mig_error *err);
/* All of it was loaded: does it make sense? */
int devices_loaded(const struct mig_guest *guest, struct mig_error *err);
int devices_run(const struct mig_guest *guest, struct mig_error *err);
/* It was in vain. MIG_FAILED: one may still write. */
int devices_silence(const struct mig_guest *guest);

#endif
