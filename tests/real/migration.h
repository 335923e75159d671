/* SPDX-License-Identifier: MIT */
#ifndef TESTS_REAL_MIGRATION_H
#define TESTS_REAL_MIGRATION_H

/* The parts of real_migration: devices that migrate, on the real kernel. */

#include <stddef.h>

#include <vfiodirty/migration.h>

#include "rig.h"

#define CAN_ALL (VFD_MIG_CAN_STOP_COPY | VFD_MIG_CAN_P2P | VFD_MIG_CAN_PRE_COPY)

enum { STATES = 8, DATA_MOST = 1 << 20 };

/* Two devices of one container that take each other's data. */
struct pair {
	struct rig *rig;
	struct vfd_device *one, *other;
	/* Whether it does DMA now; NULL: it never does. */
	bool (*works)(void);
};

uint32_t state_of(const struct pair *pair, struct vfd_device *device);
unsigned writers(const struct pair *pair);
bool is_stopped(uint32_t state);
/* All there is of the device's data; the code that ended it. */
int read_all(struct vfd_device *device, char *data, size_t *size);
int write_all(struct vfd_device *device, const char *data, size_t size);
/* Into the state; into RESUMING with the other's data. */
int go(const struct pair *pair, uint32_t state);
int cancel(const struct pair *pair, struct vfd_device *device, unsigned flags);

/* ---- parts ---- */

/* Every pair of states, and what the library believes of each. */
void every_arc(const struct pair *pair, const char *what);

void test_vfdtest(void);
void test_mtty(void);

#endif
