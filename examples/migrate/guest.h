/* SPDX-License-Identifier: MIT */
#ifndef MIGRATE_GUEST_H
#define MIGRATE_GUEST_H

#include "migrate.h"

/* Does it make sense? To be asked before anything of it is used: 0, or MIG_FAILED with a message. */
int guest_check_source(const struct mig_guest *guest, struct mig_error *err);
int guest_check_destination(const struct mig_guest *guest, struct mig_error *err);

#endif
