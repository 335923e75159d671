/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_MIGRATION_WORLD_H
#define TESTS_UNIT_MIGRATION_WORLD_H

/* Devices that migrate, in one container: two physical ones with logs of their DMA, one more on its own group without, and an emulated one that cannot. */

#include "fixture.h"

#include <vfiodirty/migration.h>

#include "uapi.h"

#define FIRST	  "0000:00:01.0"
#define SECOND	  "0000:00:02.0"
#define THIRD	  "0000:00:03.0"

#define CAN_ALL	  (UAPI_MIGRATION_STOP_COPY | UAPI_MIGRATION_P2P | UAPI_MIGRATION_PRE_COPY)
#define SET_STATE (UAPI_FEATURE_SET | UAPI_FEATURE_MIG_STATE)
#define STATES	  8

enum { DEVICES = 3 };

/* All of one test. */
extern struct fixture *const f;
extern struct vfd_device *devices[DEVICES];
extern const char *const names[DEVICES];

/* Opened, mapped, able to write, and tracked. `how`: of all devices. */
void migration_begin(const struct model_migration *how);
/* Everything is in the log, and nothing is left over. */
void migration_end(void);

int set_one(unsigned device, uint32_t state);
struct vfd_migration_info about(unsigned device);
/* As the model knows it, and as the library says it is. */
uint32_t state_of(unsigned device);

void set_registers(unsigned device, char value);
bool has_registers(unsigned device, char value);
/* All there is now; the error that ended it, or 0. */
int read_all(unsigned device, char *data, size_t room, size_t *size);
int write_all(unsigned device, const char *data, size_t size);

/* 0 or -errno */
int dma(unsigned device, uint64_t page);
unsigned writers(void);

#endif
