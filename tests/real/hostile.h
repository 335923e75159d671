/* SPDX-License-Identifier: MIT */
#ifndef TESTS_REAL_HOSTILE_H
#define TESTS_REAL_HOSTILE_H

#include "rig.h"

/* A container that tracks, opened with plain ioctls: pages 0..511 and 1024..1474 are mapped, vfdtest.0 is open. */
struct raw {
	int container, group, device, number;
};

enum { RAW_MAPPINGS = 2 };

struct raw raw_open(struct rig *rig);
void raw_close(struct raw *raw);
void raw_switch(const struct raw *raw, uint32_t flag);
bool raw_map(const struct raw *raw, struct rig *rig, uint64_t page, uint64_t count);
bool raw_unmap(const struct raw *raw, uint64_t page, uint64_t count);

/* A log, and no container. */
void hostile_begin(struct rig *rig);
/* With these descriptors; the rest is declared as it is. */
int hostile_adopt(struct rig *rig, const struct raw *raw, uint32_t flags);

void test_descriptors(void); /* that are none of VFIO, or not what they are said to be */
void test_peer(void);	     /* another process with the same container */

#endif
