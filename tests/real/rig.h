/* SPDX-License-Identifier: MIT */
#ifndef TESTS_REAL_RIG_H
#define TESTS_REAL_RIG_H

/*
 * For programs that run in the guest: a library container over the real kernel whose system calls are counted, a log, memory, and the
 * vfdtest devices with their truth. Page p of the memory has IOVA RIG_IOVA + p pages and log address RIG_LOG + p pages.
 */

#include "container.h"

#include <vfiodirty.h>

#include "kernel/vfdtest.h"

#define RIG_PAGE   VFDTEST_PAGE_SIZE
#define RIG_IOVA   UINT64_C(0x1000000)
#define RIG_LOG	   UINT64_C(0x80000000)
#define RIG_GROUPS 4

enum {
	RIG_PAGES = 2048,
	RIG_WORDS = RIG_PAGES / 64,
	RIG_RW = VFD_MAP_READ | VFD_MAP_WRITE,
};

struct pages {
	uint64_t words[RIG_WORDS];
};

struct rig {
	struct vfd_container *container;
	struct vfd_log *log;
	struct vfd_group *groups[RIG_GROUPS];
	struct vfd_device *devices[RIG_GROUPS];
	unsigned char *memory;
	struct pages truth; /* kept from devices whose truth was cleared */
	struct vfd_error err;
};

/* ---- results, in TAP ---- */

/* One check. Returns good. */
bool ok(bool good, const char *what, ...) __attribute__((format(printf, 2, 3)));
/* rc must be want; if not, the error's text is shown. */
bool ok_code(int rc, int want, const struct vfd_error *err, const char *what, ...)
	__attribute__((format(printf, 4, 5)));
void skip(const char *what, const char *why);
/* The plan line; returns the program's exit code. */
int done(void);

/* ---- the kernel, counted ---- */

extern const struct sys rig_sys;
uint64_t rig_calls(void); /* of the table, so far */
uint64_t rig_gets(void);  /* GET_BITMAPs among them */
/* If set, called before and after each GET_BITMAP. */
extern void (*rig_around_get)(void *bitmap, uint64_t bytes, bool after);

/* ---- the rig ---- */

/* A log with one region, an open container. Aborts the program if that fails: nothing else would work either. */
void rig_open(struct rig *rig);
/* The same with flags of the container, and over memory of RIG_PAGES pages, which rig_close() unmaps. */
void rig_open_with(struct rig *rig, uint32_t flags);
void rig_open_on(struct rig *rig, unsigned char *memory, uint32_t flags);
/* On /dev/iommu. memory: NULL for ordinary memory; rig_close() unmaps it. */
void rig_open_native(struct rig *rig, unsigned char *memory, const struct sys *sys);
void rig_open_native_on(struct rig *rig, unsigned char *memory, const struct sys *sys, uint32_t flags);
/* Map four mappings over all of the memory: neighbours, an odd number of pages, a hole of 64 pages between the last two. */
void rig_map_all(struct rig *rig);
int rig_map(struct rig *rig, uint64_t page, uint64_t count, uint32_t flags);
int rig_unmap(struct rig *rig, uint64_t page, uint64_t count);
int rig_attach(struct rig *rig, unsigned index);
int rig_open_device(struct rig *rig, unsigned index);
/* attach, track, map, open the device: what most tests begin with. */
void rig_begin(struct rig *rig);
/* Close everything (collecting), and forget the truth. */
void rig_close(struct rig *rig);

/* ---- devices ---- */

int rig_command(unsigned long request, void *arg); /* 0 or -errno */
int rig_write(unsigned index, uint64_t page, uint64_t count, uint64_t value);
int rig_pin(unsigned index, uint64_t page, uint64_t count);
int rig_unpin(unsigned index, uint64_t page, uint64_t count);
int rig_run(unsigned index, uint64_t page, uint64_t count, uint64_t seed);
uint64_t rig_halt(unsigned index); /* writes */
/* At least 5 ms, and until the devices together have written so often: on a busy machine their threads may have no turn for long. */
void rig_await_writes(uint64_t count);
int rig_set(unsigned index, uint32_t knob, uint64_t value);
struct vfdtest_status rig_status(unsigned index);
int rig_group_number(unsigned index);
/* What the devices wrote, and forget it. */
struct pages rig_truth(struct rig *rig);
void rig_forget(struct rig *rig);

/* ---- the log ---- */

struct pages rig_owed(struct rig *rig);	   /* looks */
struct pages rig_deliver(struct rig *rig); /* takes and commits */
unsigned pages_count(const struct pages *pages);
/* How many pages of a are not in b. */
unsigned pages_missing(const struct pages *a, const struct pages *b);
/* Both differences, as two checks: nothing lost; nothing added. */
void ok_exact(const struct pages *log, const struct pages *truth, const char *what);
void ok_nothing_lost(const struct pages *log, const struct pages *truth, const char *what);

#endif
