/* SPDX-License-Identifier: MIT */
#ifndef TESTS_MODEL_MODEL_H
#define TESTS_MODEL_MODEL_H

/*
 * The model kernel: VFIO containers, type1 v2, groups and devices in user space, behind the library's seam to the
 * kernel (lib/sys.h). It answers as Linux 6.12 does, its misbehaviour included, knows the truth (what devices wrote), and fails
 * any call at any point on command.
 *
 *	struct model *m = model_new(NULL);
 *	... code under test gets &m->sys ...
 *	ck_assert_ptr_null(model_crashed(m));
 *	model_free(m);
 *
 * Paths: /proc/self/pagemap and mem, /dev/vfio/vfio, /dev/vfio/N, /dev/vfio/noiommu-N, /sys/kernel/iommu_groups/N/name (emulated and no-IOMMU groups only, as in
 * the kernel) and the links /sys/bus/{pci,platform,mdev}/devices/NAME/iommu_group. Descriptors are fake: they start at
 * MODEL_FIRST_FD. Memory is real: a device's write lands in this process, bitmaps are written where the caller
 * said, and a bad address is EFAULT, not a crash.
 *
 * Any thread may call anything, except model_new, model_free and the setters of knobs.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "sys.h"

#define MODEL_FIRST_FD	1000
#define MODEL_PAGE_SIZE 4096ull

/* ---- what there is ------------------------------------------------------------------------------------- */

enum model_group_kind {
	MODEL_EMULATED, /* no IOMMU behind it: dirty pages are known exactly, by pins and dma_rw */
	MODEL_PHYSICAL, /* behind an IOMMU: everything mapped reads as dirty, always */
	MODEL_NOIOMMU,	/* no protection at all; no mappings, no tracking */
};

enum model_container_kind {
	MODEL_TYPE1,	/* the native container: v1 or v2, as SET_IOMMU says */
	MODEL_COMPAT,	/* iommufd posing as a container: cannot track */
	MODEL_NO_TYPE1, /* no type1 driver there (as on sPAPR): every extension reads 0 */
	MODEL_IOAS,	/* an address space of /dev/iommu: not for a configuration */
};

/* How old iommufd is. */
enum model_iommufd_age {
	MODEL_NOW,
	MODEL_NO_DIRTY, /* 6.6: no dirty bits, and the answer to GET_HW_INFO has no capabilities */
	MODEL_NO_HWPT,	/* 6.2: neither that question, nor page tables by hand */
};

#define MODEL_MAX_DEVICES 4 /* per group */
#define MODEL_MAX_GROUPS  8
#define MODEL_MAX_RANGES  4

/* How a device keeps a log of its own writes. All zero is a good one: 4 KiB pages, no limits, no errors. Errors are positive errnos. */
struct model_log {
	/* What it can track; 0: 4 KiB, no limit. START answers the nearest to what was asked. */
	uint64_t page_min, page_max;
	/* More ranges, a longer one, or more bytes in all are refused at START; 0: no limit. */
	unsigned range_limit;
	uint64_t length_limit, total_limit;
	/* With these: the first for ranges (0: E2BIG), the second for bytes (0: EOPNOTSUPP). */
	int range_error, length_error;
	/* Each REPORT fails so, once it has cleared and delivered so many pages; 0: none does. */
	int report_error;
	unsigned report_after;
	bool again;	   /* a second START does nothing and says 0 (mtty); else it is EINVAL (mlx5, pds) */
	bool pds;	   /* a REPORT lies in one armed range, and takes 64 pages at a time */
	bool no_report;	   /* a kernel without the helper for it: REPORT is EOPNOTSUPP, START works */
	bool pins_bitmap;  /* before 6.12: a bad bitmap is EFAULT; nothing is lost if its first page is bad */
	bool ends_on_stop; /* the log dies on STOP_COPY -> STOP (pds) */
	bool reset_clears; /* a reset empties the log, which goes on: a REPORT behind it is 0, and knows nothing */
};

/* How a device migrates. */
struct model_migration {
	uint64_t flags; /* UAPI_MIGRATION_STOP_COPY at least, _P2P, _PRE_COPY */
	/* This arc, of those that the kernel takes one after another, fails with this errno; 0: none does. */
	uint32_t fail_from, fail_to;
	int fail_error;
	bool breaks; /* an arc that fails, also for bad resume data, leaves the device in ERROR; else where it was */
	bool p2p_writes; /* in RUNNING_P2P and PRE_COPY_P2P it still writes memory; else it stops all DMA */
	unsigned chunk;	 /* bytes that one read or write of a stream moves at most; 0: all */
	bool says_zero;	 /* with nothing new in PRE_COPY a read is 0, as at the end, and not ENOMSG */
};

/* The state that migrates is so much of region 0, and a number that nobody sees: it is written into region 0 of the destination
 * when RESUMING is left. A stream is one or more records of this size; only the last one is final. */
#define MODEL_STATE_SIZE  256u
#define MODEL_RECORD_SIZE (MODEL_STATE_SIZE + 24u)

struct model_device_config {
	const char *name; /* NULL ends the list */
	bool pci; /* config space at region 7, whose bus master bit gates writes; else as vfdtest.h says */
	bool no_reset;				 /* VFIO_DEVICE_RESET is not offered */
	const struct model_log *log;		 /* NULL: keeps none, DMA_LOGGING is ENOTTY */
	const struct model_migration *migration; /* NULL: cannot, MIGRATION is ENOTTY */
};

struct model_group_config {
	int number;
	enum model_group_kind kind;
	struct model_device_config devices[MODEL_MAX_DEVICES];
	/* Physical groups only; both have sane defaults (all zero): 0..2^48-1 without the MSI hole 0xfee00000..0xfeefffff,
	 * and 4 KiB + 2 MiB + 1 GiB. */
	struct {
		uint64_t first, last;
	} ranges[MODEL_MAX_RANGES]; /* ascending; one with last 0 ends the list */
	uint64_t page_sizes;
	bool dirty_bits; /* this IOMMU sets them in its page tables */
	int iommu;	 /* which it is: page tables are shared by devices of one only */
};

struct model_config {
	enum model_container_kind container;
	unsigned group_count;
	struct model_group_config groups[MODEL_MAX_GROUPS];
	unsigned dma_entry_limit; /* 0: 65535 */
	bool iommufd;		  /* there is /dev/iommu, and devices have nodes of their own */
	enum model_iommufd_age age;
	bool no_nodes;	   /* devices have none of their own: no CONFIG_VFIO_DEVICE_CDEV */
	bool no_container; /* there is no /dev/vfio/vfio */
	uint64_t
		iommu_entry; /* bytes of the large entries of page tables, where they fit into a mapping; 0: all have 4 KiB */
	uint64_t locked_limit; /* bytes that a physical group may pin (RLIMIT_MEMLOCK); 0: no limit */
};

struct model_state;

struct model {
	struct sys sys; /* must stay first: the table's functions find the model by it */
	FILE *log;	/* NULL, or where each call is written: "12 MAP_DMA (fault) = -12" */
	/* Microseconds slept inside each container ioctl, and inside the teardown of a container, without any lock: makes calls that
	 * overlap in time, and must not, visible. 0: no sleep, the lock is kept. */
	unsigned ioctl_delay, teardown_delay;
	struct model_state *state;
};

/* NULL: one emulated group, number 7, with one device, "vfdtest.0", which is vfdtest index 0. Vfdtest indexes
 * count the devices of emulated groups in the order of the configuration. */
struct model *model_new(const struct model_config *config);
/* Frees everything, what was leaked too (ask model_counts before). */
void model_free(struct model *model);

/* The text of the first thing that the real kernel would not have survived (use after free, NULL dereference, BUG), or NULL. It is
 * a failure of whoever called, in every test. Stays valid until model_free. */
const char *model_crashed(struct model *model);

/* ---- devices at work -------------------------------------------------------------------------------------- */

/* The commands of tests/kernel/vfdtest.h, by index of the device; 0 or -errno. RUN does not run: model_step does.
 * A pci device writes only while bus mastering is on (else EACCES, and its pins add nothing to the truth). */
int model_vfdtest(struct model *model, unsigned long request, void *argument);

/* Let the running writer of a vfdtest device make `count` writes. Returns how many succeeded; 0 if it is halted. */
uint64_t model_step(struct model *model, unsigned index, uint64_t count);

/* In a state in which a device does not run, what it should write is EACCES, emulated or not. */

/* A device of a physical group writes memory through its IOMMU: 8-byte words as VFDTEST_WRITE writes them. The kernel learns nothing.
 * 0; -ENODEV (no such device); -EACCES (bus mastering off, not running, or reset and then neither written to nor opened); -EFAULT (not mapped: an
 * IOMMU fault). Page by page: those before the one that failed are written. */
int model_dma_write(struct model *model, const char *device, uint64_t iova, uint64_t size, uint64_t value);

/* Change how a device keeps its log, from now on; it must have been made with one. */
void model_set_log(struct model *model, const char *device, const struct model_log *log);
/* Does its log run? The page size that START answered, or 0. */
uint64_t model_log_page_size(struct model *model, const char *device);

/* What a byte of a PCI device's configuration space reads from now on, as if its maker had wanted it so. */
void model_set_config(struct model *model, const char *device, uint8_t at, uint8_t value);

/* Change how a device migrates, from now on; it must have been made so that it can. */
void model_set_migration(struct model *model, const char *device, const struct model_migration *migration);
/* Its state, as UAPI_MIG_; what cannot migrate is RUNNING. */
uint32_t model_migration_state(struct model *model, const char *device);

/* Fire an interrupt: add 1 to the eventfd of that vector. -ENOTCONN: none is set. */
int model_irq(struct model *model, const char *device, uint32_t index, uint32_t vector);

/* Another process holds the device: its descriptor stays open. -ENOTCONN: it is not open. */
int model_hold(struct model *model, const char *device);
void model_release(struct model *model, const char *device);

/* The kernel takes a group's devices away (unbind, unplug). At once if none is open, else when the last is closed;
 * until then nothing new can be opened. A group that is attached gets detached: that UNSET nobody asked for. */
void model_unplug(struct model *model, int group);
/* They come back, under the same number. -EBUSY while going, -EEXIST while there. */
int model_plug(struct model *model, int group);

/* ---- CPUs at work ------------------------------------------------------------------------------------------- */

/* A CPU stores bytes to this process' memory, as a program would, and the kernel notes it where a userfaultfd wants to know. 0 or -EFAULT. */
int model_store(struct model *model, void *memory, const void *bytes, size_t size);

/* Someone else registers these pages with a userfaultfd of his own. */
void model_register(struct model *model, const void *memory, uint64_t size);
/* Pages that are registered now: by him, and by the code under test. */
uint64_t model_registered(struct model *model, bool foreign);

/* ---- the oracle -------------------------------------------------------------------------------------------- */

/*
 * Sets of pages of this process, by address: the only key that survives unmap, remap and aliases. Recording
 * begins at the first START (of DIRTY_PAGES or a device's log) that succeeds; model_forget empties all sets.
 *
 * The law: TRUTH is a subset of RETURNED, SPOILED, and what the kernel still holds (HELD).
 * A log that is exact: RETURNED is in the log, and the log is in RETURNED + SPOILED.
 */
enum model_set {
	/* Written by a device, or pinned for writing by one that can write (those pages enter again at each question; but not
	 * where the device's own log would see the write). */
	MODEL_TRUTH,
	/* The kernel put their bits into a bitmap of the caller, also of a call that failed later. Mappings without
	 * write permission are left out, although the kernel marks those too; so are ghosts past a mapping's end. A device's log
	 * speaks of IOVAs: meant is what is mapped there, or was, if nothing was mapped there since. */
	MODEL_RETURNED,
	/* A fault, injected or natural, can have spoiled them, as far as its caller can know: GET failing with EFAULT: the mappings
	 * at an offset that is not a multiple of 64 pages; a tracked UNMAP failing with EFAULT: all mappings in its range; either
	 * failing with EINVAL while it should not (it looks as if the record were gone), a group taken away that was the
	 * container's last, or page sizes that change while tracking: all mappings of the container. A REPORT, or a STOP of a
	 * device's log, that fails; a log that ends while its device could write, and the START after that: all mappings in
	 * its ranges, and what was unmapped in the range that REPORT was asked for. Writable ones only. */
	MODEL_SPOILED,
	/* Bits which the kernel held and destroyed undelivered: plain UNMAP, STOP, the last detach, a shifted bitmap, the end of a
	 * device's log, a REPORT into a bad bitmap. What careless code loses. */
	MODEL_DROPPED,
	/* Bits which the kernel would deliver now: computed when asked. Writable mappings only. */
	MODEL_HELD,
};

/* For each 4 KiB page of memory .. memory + size - 1 in the set, set its bit in *bitmap (may be NULL; nothing is
 * cleared); returns how many. memory must be page-aligned. */
uint64_t model_pages(struct model *model, enum model_set set, const void *memory, uint64_t size,
		     uint64_t *bitmap);
/* Of one device alone: its writes, and what its own log returned, holds, dropped, and can have spoiled. What the container's record
 * says is in none of these: with a physical group that holds "everything", and so hides what a device's log lost. */
uint64_t model_device_pages(struct model *model, const char *device, enum model_set set, const void *memory,
			    uint64_t size, uint64_t *bitmap);
/* How many pages are in the set, wherever they are. */
uint64_t model_page_count(struct model *model, enum model_set set);
/* Empty all sets. Call it after track_start returned if anything was tracked before. */
void model_forget(struct model *model);
/* Empty TRUTH alone: tracking begins now, and what was written before it is owed to nobody. The kernel may have begun to record earlier, or
 * for a moment only: at a device's log, of which no more is wanted after it failed. */
void model_forget_written(struct model *model);

/* Is DIRTY_PAGES tracking on in the container behind this descriptor, or any page table of this /dev/iommu? And how many mappings has it? */
bool model_tracking(struct model *model, int container_fd);
uint64_t model_mapping_count(struct model *model, int container_fd);

/* ---- counting ------------------------------------------------------------------------------------------------ */

struct model_counts {
	uint64_t calls;	 /* of the table, ever */
	uint64_t ioctls; /* of those */
	uint64_t walked; /* mappings that GET_BITMAP walked in the kernel's tree: quadratic use shows here */
	unsigned descriptors; /* open now */
	unsigned areas;	      /* device memory mapped now */
	unsigned scratch;     /* scratch areas mapped now */
	unsigned triggers;    /* eventfds held by devices now */
	unsigned containers;  /* with kernel state now; address spaces of iommufd too */
	unsigned iommus;      /* of /dev/iommu */
};

struct model_counts model_counts(struct model *model);

/* ---- faults ------------------------------------------------------------------------------------------------- */

enum model_call {
	MODEL_ANY,
	MODEL_OPEN,
	MODEL_DUP,
	MODEL_CLOSE,
	MODEL_IOCTL,
	MODEL_READ,
	MODEL_WRITE,
	MODEL_PREAD,
	MODEL_PWRITE,
	MODEL_READ_FILE,
	MODEL_READ_LINK,
	MODEL_EXISTS,
	MODEL_FIND_ENTRY,
	MODEL_MAP_FILE,
	MODEL_MAP_SCRATCH,
	MODEL_POPULATE,
	MODEL_UNMAP,
	MODEL_USERFAULTFD,
};

/* What a descriptor is: VFIO's ioctl numbers mean different things on each. */
enum model_file {
	MODEL_FILE_NONE,
	MODEL_FILE_CONTAINER,
	MODEL_FILE_GROUP,
	MODEL_FILE_DEVICE,
	MODEL_FILE_PROCESS, /* a userfaultfd; /proc/self/pagemap and mem */
	MODEL_FILE_STREAM,  /* of a migration */
	MODEL_FILE_IOMMU,   /* /dev/iommu */
};

/*
 * Which call fails, and how far it gets before. Steps:
 *	0	before any effect: the argument could not be read, or the kernel refused
 *	GET_BITMAP	k: k-1 mappings are delivered and cleared, the k-th faults while it is copied (shifted, if at an odd offset)
 *	UNMAP with bitmap	likewise k, delivered and removed; one more than there are mappings: all done, the argument could not be written
 *	UNMAP plain	1: all done, the argument could not be written
 *	DMA_LOGGING_REPORT	k: k pages of the log are cleared and delivered; with any errno
 *	DMA_LOGGING_START	1: done, but the argument could not be written, so the log was stopped again, an older one too
 *	MIG_DEVICE_STATE, SET	k: k arcs are taken; all of them: a stream that they began is closed. With any errno
 *	read, write, pread, pwrite	1: error 0 and half of the bytes
 * A step beyond the last possible one counts as the last. Steps of other errnos than EFAULT are 0 but where it says any.
 */
struct model_fault {
	enum model_call call;  /* what is counted; MODEL_ANY: every call */
	unsigned long request; /* of MODEL_IOCTL; 0: any */
	/* What it is made on; NONE: any. VFIO_DEVICE_FEATURE has the number of DIRTY_PAGES: it is meant if this is DEVICE. */
	enum model_file file;
	/* of DIRTY_PAGES, UNMAP_DMA and DEVICE_FEATURE: only calls with all these flags, and that feature; 0: any */
	uint32_t flags;
	uint64_t nth;	/* 1: the next such call from now; 0 counts as 1 */
	uint64_t times; /* so many such calls in a row; 0 counts as 1 */
	int error;	/* positive errno; 0 only for short reads and writes */
	unsigned step;
};

/* Arm one more fault (up to 8). It is gone when it has fired `times` times. */
void model_fault(struct model *model, struct model_fault fault);
void model_fault_clear(struct model *model);
/* How often any has fired since model_new. */
uint64_t model_fault_fired(struct model *model);

/* One call that was made. */
struct model_trace {
	enum model_call call;
	enum model_file file;  /* what it was made on */
	unsigned long request; /* MODEL_IOCTL */
	uint32_t flags;	       /* of DIRTY_PAGES, UNMAP_DMA and DEVICE_FEATURE */
	uint32_t
		mappings; /* that GET_BITMAP, or UNMAP, delivers or removes; pages that REPORT delivers; arcs that MIG_DEVICE_STATE takes */
	int64_t result;	  /* what it returned */
};

/* Record from now on (forgets what was recorded). */
void model_trace_start(struct model *model);
/* The calls since model_trace_start, in order; valid until the next one. */
const struct model_trace *model_trace(struct model *model, size_t *count);

/* Every single fault of the recorded run: call site x errno the contract lists x partial step. Fault i belongs to a run that makes
 * the same calls in the same order: nth counts calls of any kind, so arm it where model_trace_start was called. The caller frees *faults. Returns how many. */
size_t model_single_faults(struct model *model, struct model_fault **faults);

/* "ioctl GET_BITMAP 3 mappings", "EFAULT" and the like into text: what to print when a fault run fails. */
void model_fault_text(struct model *model, const struct model_fault *fault, char *text, size_t size);

/* ---- getting in between ---------------------------------------------------------------------------------------- */

/* Called with no lock held: it may command devices, unplug, and make system calls of its own (which count). */

/* Before each call of the table and after it; number counts calls since model_trace_start, from 1. */
typedef void model_call_hook(struct model *model, const struct model_trace *call, uint64_t number, bool after,
			     void *argument);
void model_on_call(struct model *model, model_call_hook *hook, void *argument);

/* In UNMAP_DMA, after a driver's dma_unmap unpinned and before the kernel takes its lock again. */
typedef void model_window_hook(struct model *model, uint64_t iova, uint64_t size, void *argument);
void model_on_window(struct model *model, model_window_hook *hook, void *argument);

#endif
