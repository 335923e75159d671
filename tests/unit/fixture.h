/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_FIXTURE_H
#define TESTS_UNIT_FIXTURE_H

/* What most tests over the model kernel begin with: a log with one region of real memory, a container on the model, and the oracle
 * that compares the log with what the model knows. The log is never taken from, so that it holds all that was ever owed. */

#include <stdbool.h>
#include <stdint.h>

#include <vfiodirty.h>

#include "container.h"
#include "model/model.h"
#include "modes.h"
#include "track.h"

#include <check.h>

enum { PAGES = 1024, WORDS = PAGES / 64 };

#define PAGE	     UINT64_C(4096)
#define LOG_ADDRESS  UINT64_C(0x40000000) /* of the region: neither an IOVA nor a pointer looks like it */
#define RW	     (VFD_MAP_READ | VFD_MAP_WRITE)
#define NAME(number) "vfdtest." #number

/* A free-running writer, where the model has none. */
struct runner {
	char *name;
	uint64_t first, count, state; /* pages */
};

struct fixture {
	struct model *model;
	struct vfd_log *log;
	struct vfd_container *container;
	struct vfd_group *group, *group2;
	struct vfd_device *device, *device2;
	char *memory; /* PAGES pages */
	struct runner runners[2];
	struct vfd_error err;
};

/* Fails the test with the library's own words. Needs a `struct fixture *f`. */
#define OK(call)                                                                                             \
	do {                                                                                                 \
		int ok_rc = (call);                                                                          \
		ck_assert_msg(!ok_rc, "%s: %s: %s", #call, vfd_strcode(ok_rc), f->err.message);              \
	} while (0)
#define REFUSED(wanted, call)                                                                                \
	do {                                                                                                 \
		int refused_rc = (call);                                                                     \
		ck_assert_msg(refused_rc == (wanted), "%s: %s, not %s", #call, vfd_strcode(refused_rc),      \
			      vfd_strcode(wanted));                                                          \
		ck_assert_int_eq(f->err.code, (wanted));                                                     \
		ck_assert_msg(f->err.message[0], "%s: no message", #call);                                   \
	} while (0)

/* Configurations: NULL is one emulated group, 7, with vfdtest.0. */
extern const struct model_config two_emulated; /* 7 with vfdtest.0, 8 with vfdtest.1 */
extern const struct model_config mixed;	       /* 7 emulated with vfdtest.0, 20 physical with a PCI device */
extern const struct model_config mixed_64k;    /* the same, and that IOMMU has no pages below 64 KiB */
extern const struct model_config one_physical; /* 20 */
extern const struct model_config
	emulated_pci;			   /* 7 with a PCI device "0000:00:01.0" that is vfdtest index 0 */
extern const struct model_config stubborn; /* 7 with vfdtest.0, which can neither be reset nor quiesced */
#define PCI_NAME "0000:00:01.0"

/* From here on logs live there, zero-filled by the caller each time. */
void fixture_arena(void *arena, uint64_t size);
/* Called with each model that is made. */
void fixture_on_model(void (*visit)(struct model *model));
/* Model, log, region, container, as the mode has them (modes.h); nothing is attached. */
void fixture_begin(struct fixture *f, const struct model_config *config);
/* With those flags of vfd_container_open(); else it keeps all orders. */
void fixture_begin_flags(struct fixture *f, const struct model_config *config, uint32_t flags);
/* The mode is compat: the container is refused, nothing is left of it, and that is the end of the test. */
void fixture_refused(struct fixture *f, const struct model_config *config) __attribute__((noreturn));
/* That, on a backend of one's choice. */
void fixture_begin_on(struct fixture *f, const struct model_config *config, uint32_t flags,
		      enum vfd_backend backend);
/* That, group 7 attached, its first device open, all memory mapped at IOVA 0, tracking on. */
void fixture_track(struct fixture *f, const struct model_config *config);
/* The same with `count` mappings of `size` pages, the i-th at page i * stride of IOVA and memory. */
void fixture_pieces(struct fixture *f, const struct model_config *config, uint64_t count, uint64_t size,
		    uint64_t stride);
/* A 32-bit program asks for each mapping alone, for fear of a 32-bit kernel (trap 19). The model's has 64 bits: club, as there. */
void fixture_club(struct fixture *f);
/* Close what is open, destroy all, and fail if the kernel would have crashed or anything leaked. */
void fixture_end(struct fixture *f);

/* In pages. */
struct vfd_mapping mapping_of(const struct fixture *f, uint64_t iova, uint64_t memory,
			      uint64_t count); /* RW */
int map_pages(struct fixture *f, uint64_t iova, uint64_t memory, uint64_t count, uint32_t flags);
int unmap_pages(struct fixture *f, uint64_t iova, uint64_t count);
/* Commands to a vfdtest device; fail the test on error. */
void device_writes(struct fixture *f, unsigned index, uint64_t iova, uint64_t count);
void device_pins(struct fixture *f, unsigned index, uint64_t iova, uint64_t count);
void device_unpins(struct fixture *f, unsigned index, uint64_t iova, uint64_t count);
/* Lets it write anywhere there, whenever it is given steps: device_steps() returns how many writes were made. One thread per device. */
void device_runs(struct fixture *f, unsigned index, uint64_t iova, uint64_t count);
uint64_t device_steps(struct fixture *f, unsigned index, uint64_t count);
void device_knob(struct fixture *f, unsigned index, uint32_t knob, uint64_t value);

int harvest(struct fixture *f, unsigned flags);

/* A call to the kernel behind the library's back. */
int raw_ioctl(struct fixture *f, int fd, unsigned long request, void *arg);
int raw_switch(struct fixture *f, uint32_t flag); /* DIRTY_PAGES START or STOP */
int raw_get(struct fixture *f, uint64_t iova, uint64_t count, uint64_t *words);
int raw_map(struct fixture *f, uint64_t iova, uint64_t memory, uint64_t count);
int raw_unmap(struct fixture *f, uint64_t iova, uint64_t count);

/* ---- the oracle ---- */

/* Pages owed to the log's own consumer, open batches aside: one bit per page of the memory. Returns how many. */
uint64_t logged(struct fixture *f, uint64_t *bitmap);
bool is_logged(struct fixture *f, uint64_t page);
uint64_t reported(struct fixture *f); /* of those: said by the kernel */
void forget_log(struct fixture *f);   /* take and commit everything, and let the model forget too */

/* TRUTH is in the log, or held by the kernel, or owed at the end by the library. */
void check_law(struct fixture *f);
/* TRUTH is in the log: nothing more is to come. */
void check_all_logged(struct fixture *f);
/* The same for what this device wrote, by its own log. What type1 says of a physical group is no help: it says "everything". */
void check_device_law(struct fixture *f, const char *device);
void check_device_logged(struct fixture *f, const char *device);
/* RETURNED is in the log, and the log in RETURNED and SPOILED. */
void check_exact(struct fixture *f);
/* All three sets are the same: no fault, nothing spoiled. */
void check_precise(struct fixture *f);

/* Something was unmapped under a running device: precise where that is one step, else everything written is there, and what is assumed has
 * a reason. */
void check_unmapped(struct fixture *f);

/* ---- frame ---- */

struct vfd_container_info info_of(struct fixture *f);
struct vfd_plan plan_of(struct fixture *f);

/* A test case of its own, tagged "trapN". */
void add_trap(Suite *suite, int trap, const char *what, const TTest *test);
void add_case(Suite *suite, const char *name, const TTest *test);
/* For those that need of the system what an emulator of user mode may lack: tests/cross.sh finds out. */
#define TAG_FORK     "wipeonfork" /* MADV_WIPEONFORK */
#define TAG_POPULATE "populate"	  /* MAP_POPULATE, and mincore(2) that tells */
void add_tagged(Suite *suite, const char *tag, const char *name, const TTest *test);
void add_tagged_trap(Suite *suite, int trap, const char *tag, const char *what, const TTest *test);
/* Status for main(). */
int run_suite(Suite *suite);

#endif
