/* SPDX-License-Identifier: MIT */
/*
 * selftest.h - what the parts of selftest share
 */
#ifndef SELFTEST_H
#define SELFTEST_H

#include <linux/vfio.h>
#include <stdbool.h>
#include <stdint.h>

#include "vfdtest.h"

#define PAGE	VFDTEST_PAGE_SIZE
#define IOVA	0x10000000ULL	/* where most tests map: 256 MiB */
#define PAGES	64		/* how much: one word of bitmap */

extern int bench;

struct session {
	int container;
	int group[VFDTEST_MAX_DEVICES];
	int device[VFDTEST_MAX_DEVICES];
	void *memory;
	uint64_t size;
};

/* Results. */
__attribute__((format(printf, 2, 3))) bool check(bool good, const char *what, ...);
void check_bits(uint64_t got, uint64_t want, const char *what);
void check_errno(int ret, int want, const char *what);
void skip(const char *what, const char *why);
void need(bool good, const char *what);

/* Commands of the test device. */
int command(unsigned long cmd, uint32_t device, uint64_t iova, uint64_t size, uint32_t flags);
int dev_write(uint32_t device, uint64_t iova, uint64_t size);
uint64_t truth(uint32_t device, uint64_t iova, uint64_t pages, uint64_t *bits, uint32_t flags);
uint64_t truth_word(uint32_t device, uint64_t iova);
void clear_truth(void);
struct vfdtest_status status_of(uint32_t device);
int set(uint32_t device, uint32_t knob, uint64_t value);
int run_pinned(uint32_t device, uint64_t iova, uint64_t size);
int run(uint32_t device, uint64_t iova, uint64_t size, uint64_t period_ns);
struct vfdtest_halt halt(uint32_t device);

/* Containers. */
struct session begin(void);
void attach(struct session *s, uint32_t index);
void open_device(struct session *s, uint32_t index);
uint64_t get_word(struct session *s, uint64_t iova);
void end(struct session *s);

/* VFIO_DEVICE_FEATURE: flags is one of _GET and _SET, and the feature. */
int feature(int device, uint32_t flags, void *data, uint32_t size);

/* The parts. */
void test_log(void);
void test_migration(void);
void test_own(void);

#endif
