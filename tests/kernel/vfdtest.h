/* SPDX-License-Identifier: MIT */
/*
 * vfdtest.h - how to command the vfdtest device and ask what it wrote
 *
 * vfdtest is a VFIO device without hardware. It writes to the memory mapped in
 * its container exactly when told to, and keeps the *truth*: the set of pages
 * it wrote. A test compares that with what a dirty log reports.
 *
 * All commands go to /dev/vfdtest and name the device by its index, never by a
 * VFIO file descriptor: the truth stays readable after the VFIO device, its
 * group and its container are closed.
 *
 * Three programs share this file: the kernel module vfdtest.c, tests, and any
 * user-space imitation of the kernel. It therefore needs only the two headers
 * below, and every struct has the same layout on 32 and 64 bits.
 *
 * Errors common to all commands (0 on success, else -1 and errno):
 *   EFAULT   the struct, or the buffer it names, cannot be read or written
 *   ENODEV   no device of that index, or it is removed (commands that act on
 *            the VFIO device; TRUTH, HALT, SET and STATUS still answer)
 *   ENOTCONN the VFIO device is not open (WRITE, READ, PIN, UNPIN, RUN)
 *   ESHUTDOWN its migration state forbids DMA (WRITE, READ, PIN, RUN)
 *   EINVAL   unknown flag or knob, size 0, or a range that wraps
 *   ENOTTY   unknown command
 */
#ifndef VFDTEST_H
#define VFDTEST_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define VFDTEST_PATH		"/dev/vfdtest"
#define VFDTEST_MAX_DEVICES	4
#define VFDTEST_PAGE_SHIFT	12
#define VFDTEST_PAGE_SIZE	(1ULL << VFDTEST_PAGE_SHIFT)

/* ---- one range: WRITE, READ, PIN, UNPIN --------------------------------- */

struct vfdtest_range {
	__u32 device;
	__u32 flags;
	__u64 iova;
	__u64 size;
	__u64 value;		/* WRITE only */
};

/*
 * The 8 bytes which WRITE leaves at an IOVA that is a multiple of 8, as one
 * native word. A write that starts or ends elsewhere leaves the matching part.
 */
static inline __u64 vfdtest_word(__u64 value, __u64 iova)
{
	return value ^ iova;
}

/*
 * WRITE: the device writes [iova, iova + size). Any alignment. One access per
 * 4 KiB page, in ascending order; a page enters the truth after its access
 * succeeded. The first error ends the command and is returned; pages before it
 * are written and are in the truth, pages from it on are neither.
 * It does not matter which process asks: the device has no process.
 *
 * Errors of the kernel's DMA: EINVAL not mapped, EPERM mapped without write
 * permission, EFAULT the memory behind the mapping is gone, EBUSY vaddr
 * suspended.
 */
#define VFDTEST_WRITE	_IOW('v', 1, struct vfdtest_range)

/*
 * Write through pins instead of the kernel's DMA call: every page must be
 * pinned for writing, else EINVAL and nothing is done. The kernel does not see
 * such a write; it reports the page only because it is (or was) pinned.
 */
#define VFDTEST_WRITE_PINNED	(1U << 0)

/* READ: the device reads the range (and drops the bytes). Never in the truth. */
#define VFDTEST_READ	_IOW('v', 2, struct vfdtest_range)

/*
 * PIN: pin every page of a range aligned to 4 KiB (else EINVAL). All or
 * nothing. Pins are counted: a page pinned twice needs two UNPINs. A page with
 * any pin for writing counts as pinned for writing until its last pin goes.
 *
 * A page pinned for writing is in the truth from the pin on, enters it again at
 * every TRUTH while it is pinned, and once more when it is unpinned: who holds
 * such a pin may write at any moment. A reset device cannot (see VFDTEST_RESET
 * below), so then its pins add nothing.
 * The kernel makes no difference between pins for reading and for writing: it
 * reports both as dirty.
 */
#define VFDTEST_PIN	_IOW('v', 3, struct vfdtest_range)
#define VFDTEST_PIN_WRITE	(1U << 0)

/*
 * With PIN_WRITE: a pin that writes nothing by itself. The page is in the truth
 * only when it is written, by WRITE or RUN with their PINNED flag. A device that
 * holds such pins on all it can reach looks to the container as a physical one
 * does: every page dirty at every look. What it really wrote only its own log
 * knows. A page with any other pin for writing counts as that one says.
 */
#define VFDTEST_PIN_STILL	(1U << 1)

/* UNPIN: release one pin of every page. EINVAL, nothing done: some has none. */
#define VFDTEST_UNPIN	_IOW('v', 4, struct vfdtest_range)

/* ---- the writer: RUN, HALT ----------------------------------------------- */

/*
 * RUN: start a thread that writes to random pages of the range, which must be
 * aligned to 4 KiB. Each write is 8 to 64 bytes, a multiple of 8, inside one
 * page, aligned to 8; its first word is a number this device never wrote
 * before, so content always changes. The page enters the truth after the write
 * succeeded; a write that failed (not mapped, EBUSY...) is only counted.
 * EBUSY: already running.
 *
 * The writer stops at HALT, at VFIO_DEVICE_RESET and when the device closes.
 */
struct vfdtest_run {
	__u32 device;
	__u32 flags;
	__u64 iova;
	__u64 size;
	__u64 seed;		/* the same seed visits the same pages */
	__u64 period_ns;	/* pause after each burst; 0: as fast as possible */
	__u64 burst;		/* writes before each pause; 0 means 1 */
};
#define VFDTEST_RUN	_IOW('v', 5, struct vfdtest_run)

/* Write through pins, as VFDTEST_WRITE_PINNED does. A page without one: a failure. */
#define VFDTEST_RUN_PINNED	(1U << 0)

/*
 * A burst at a time, and each in the memory of the process that said RUN: many
 * times cheaper, for the kernel need not go there and back for every write. The
 * burst's pages enter the truth together, when it ends. Every other write is as a
 * disk's: 2 to VFDTEST_RUN_SPAN_MAX whole pages in one access, each with a new first
 * word, and counted as a write of its own; of one that fails, pages before the
 * failure may be written, and are not in the truth. Mappings that another process
 * made: failures. At most VFDTEST_RUN_BURST_MAX writes in a burst; not with PINNED.
 */
#define VFDTEST_RUN_BURSTS	(1U << 1)
#define VFDTEST_RUN_BURST_MAX	256
#define VFDTEST_RUN_SPAN_MAX	64

/*
 * HALT: stop the writer and wait for it. When it returns, no write is in flight
 * and every write is in the truth. Not running (any more): still 0; the counts
 * are those of the last RUN.
 */
struct vfdtest_halt {
	__u32 device;
	__u32 flags;		/* 0 */
	__u64 writes;		/* out */
	__u64 failures;		/* out */
};
#define VFDTEST_HALT	_IOWR('v', 6, struct vfdtest_halt)

/* ---- the truth ------------------------------------------------------------ */

/*
 * TRUTH: which pages of [iova, iova + size) the device wrote, one bit per 4 KiB
 * page, bit 0 of word 0 is the page at iova, words are native __u64. All
 * ALIGN(pages, 64) / 64 words of the buffer are overwritten. The range must be
 * aligned to 4 KiB and at most VFDTEST_TRUTH_MAX long.
 *
 * With CLEAR the bits handed out leave the truth, atomically against a running
 * writer: each write is in exactly one such reading. On an error nothing is
 * cleared.
 *
 * A reading happens at one moment. sequence says which: it is the number of
 * entries (of WRITE pages, writer's writes and pins) into the truth before it.
 * time_ns is the same moment on CLOCK_MONOTONIC. A write in flight at that
 * moment may have changed memory and enter the truth only later, never the
 * other way round.
 */
struct vfdtest_truth {
	__u32 device;
	__u32 flags;
	__u64 iova;
	__u64 size;
	__u64 bitmap;		/* user pointer */
	__u64 pages;		/* out: bits set */
	__u64 sequence;		/* out */
	__u64 time_ns;		/* out */
};
#define VFDTEST_TRUTH	_IOWR('v', 7, struct vfdtest_truth)
#define VFDTEST_TRUTH_CLEAR	(1U << 0)
#define VFDTEST_TRUTH_MAX	(1ULL << 42)

/* ---- status and behaviour -------------------------------------------------- */

#define VFDTEST_PRESENT		0
#define VFDTEST_REMOVING	1	/* REMOVE waits for the user to close */
#define VFDTEST_ABSENT		2

struct vfdtest_status {
	__u32 device;
	__u32 state;		/* out, as all that follows: VFDTEST_PRESENT... */
	__s32 group;		/* its number in /dev/vfio; -1 unless present */
	__u32 open;		/* 1 while the VFIO device is open */
	__u32 running;		/* 1 while the writer runs */
	__u32 quiet;		/* 1 after a reset: the device cannot write */
	__u64 opens;		/* times it was opened, ever */
	__u64 pins;		/* pins held now, counted pins counted */
	__u64 resets;		/* VFIO_DEVICE_RESETs that succeeded */
	__u64 unmaps;		/* dma_unmap callbacks seen */
	__u64 unmapping;	/* dma_unmap callbacks running now */
	__u64 requests;		/* times the kernel asked for the device back */
	__u64 writes;		/* accesses that succeeded, ever */
	__u64 sequence;		/* as in TRUTH, now */
	__u32 logging;		/* 1 while the device logs its DMA */
	__u32 mig_state;	/* enum vfio_device_mig_state */
	__u64 log_starts;	/* STARTs that succeeded, ever */
	__u64 log_lost;		/* pages of the log forgotten unread, ever */
};
#define VFDTEST_STATUS	_IOWR('v', 8, struct vfdtest_status)

struct vfdtest_set {
	__u32 device;
	__u32 knob;
	__u64 value;
};
#define VFDTEST_SET	_IOW('v', 9, struct vfdtest_set)

/*
 * Milliseconds (at most 10000) which the dma_unmap callback waits before it
 * unpins. The kernel holds no container lock meanwhile, so this holds open the
 * window in which other calls may enter a half-done unmap. Default 0.
 * Do not pin the same range in that window: a mapping that is found pinned
 * after ten callbacks makes the kernel BUG().
 */
#define VFDTEST_UNMAP_DELAY_MS	1

/*
 * Whether the device can be reset: 1 (default) or 0. If not, the device's info
 * has no VFIO_DEVICE_FLAGS_RESET and VFIO_DEVICE_RESET is EINVAL.
 * A reset halts the writer and makes the device quiet: it cannot write, not even
 * through pins it still holds, until the next WRITE, RUN or PIN command.
 */
#define VFDTEST_RESET		2

/* Add value to the eventfd set on irq 0 (ENOTCONN: none is set). */
#define VFDTEST_IRQ		3

/* Raise a WARN in the kernel log: the test bench must notice. Value ignored. */
#define VFDTEST_WARN		4

/*
 * Read one byte past an allocation; take two locks in both orders. Only where
 * the kernel watches for that (KASAN, lockdep), else EOPNOTSUPP.
 */
#define VFDTEST_PAST_END	5
#define VFDTEST_LOCK_ORDER	6

/* ---- the device's own log --------------------------------------------------- */

/*
 * Whether the device logs its DMA (VFIO_DEVICE_FEATURE_DMA_LOGGING_*): 0
 * (default) or 1. EBUSY while it is open.
 *
 * Every access that enters the truth enters the log at the same moment, which is
 * behind the write (the memory may be unmapped by then, and the log read), if its
 * page is in a range that START armed; and pins as they enter the truth. STOP,
 * reset and close forget what was not reported (log_lost counts it).
 * REPORT clears what it reads, whether or not the caller's buffer took it. Pages
 * outside the armed ranges are simply not dirty. Not started: EINVAL.
 * A kernel without IOVA bitmaps (CONFIG_IOMMUFD off) lets START succeed and
 * answers EOPNOTSUPP to every REPORT.
 */
#define VFDTEST_LOG		7

/*
 * Smallest page it logs, a power of two from 4096 (default) to
 * VFDTEST_LOG_PAGE_MAX: START returns the larger of it and what was asked for.
 * REPORT of any part of such a page clears all of it.
 */
#define VFDTEST_LOG_PAGE_SIZE	8
#define VFDTEST_LOG_PAGE_MAX	(1ULL << 30)

/*
 * Most ranges that START takes, at most (and by default) VFDTEST_LOG_RANGES_MAX,
 * which is the kernel's own limit; and the errno for more (default E2BIG). 0: it
 * takes them, but arms ranges joined over the smallest gaps, without a word
 * (Linux 6.6 and later; else the command is EOPNOTSUPP).
 */
#define VFDTEST_LOG_RANGES	9
#define VFDTEST_LOG_RANGES_MAX	256
#define VFDTEST_LOG_RANGES_ERRNO	10

/*
 * After so many logged pages reported, counted from START or from this command,
 * REPORT is EIO: those before it are reported and cleared, the rest never will
 * be. Every later REPORT is EIO too, until a new START, which counts anew, or
 * this command. VFDTEST_LOG_NEVER (default): it never fails.
 */
#define VFDTEST_LOG_FAIL_AFTER	11
#define VFDTEST_LOG_NEVER	(~0ULL)

/* What some devices do, as bits. Default 0. */
#define VFDTEST_LOG_QUIRKS	12
/* START while started succeeds and forgets the old log; without: EINVAL. */
#define VFDTEST_LOG_RESTARTS	(1U << 0)
/* REPORT must lie inside one armed range, else EINVAL. */
#define VFDTEST_LOG_ONE_RANGE	(1U << 1)
/* The same, and it reads whole words: 64 logged pages at a time, counted from
 * the start of the range. Pages read but not asked for are cleared and lost. */
#define VFDTEST_LOG_WORDS	(1U << 2)
/* The log stops, forgetting, when the device goes from STOP_COPY to STOP. */
#define VFDTEST_LOG_STOPS	(1U << 3)
#define VFDTEST_LOG_ALL_QUIRKS	15U

/* ---- migration ----------------------------------------------------------------- */

/*
 * Which of VFIO_MIGRATION_STOP_COPY, _P2P and _PRE_COPY the device offers; 0
 * (default): it cannot migrate. EBUSY while it is open.
 *
 * In RUNNING and PRE_COPY it writes. On the way to any other state its writer
 * pauses, and goes on when it is back: when a SET returns, no write is in flight
 * and none will be; pins are in the truth once more, then no longer. A failed
 * arc leaves the device in the state it came from. Reset: RUNNING, and quiet.
 *
 * What migrates: the first VFDTEST_MIG_REGISTERS bytes of region 0, and the number
 * that the writer's next write must exceed. The stream is some hundred bytes, with
 * a sum over all of them: in PRE_COPY one record, and another whenever the
 * registers have changed since (nothing new: ENOMSG); in STOP_COPY the last one,
 * then end of file. Its content is nobody else's business.
 * What is written in RESUMING is looked at on the way to STOP: EINVAL, and still
 * RESUMING, if it is cut short, too long or damaged. Writing without end: EFBIG.
 */
#define VFDTEST_MIG		13
#define VFDTEST_MIG_REGISTERS	256

/*
 * Let one arc fail: vfdtest_mig_fail(). 0 (default): none. Broken: the device
 * goes to ERROR; whether it then writes is as it was before. Only single arcs
 * count, as the kernel takes them: RUNNING to STOP_COPY on a device with P2P is
 * RUNNING to RUNNING_P2P to STOP to STOP_COPY.
 */
#define VFDTEST_MIG_FAIL	14
static inline __u64 vfdtest_mig_fail(__u32 from, __u32 to, __u32 error, int broken)
{
	return from | to << 8 | error << 16 | (__u64)(broken != 0) << 32;
}

/* More bytes in each record: a multiple of 8, at most VFDTEST_MIG_PADDING_MAX. */
#define VFDTEST_MIG_PADDING	15
#define VFDTEST_MIG_PADDING_MAX	(1UL << 20)

/* Most bytes that one read or write of the stream moves (default: no limit). */
#define VFDTEST_MIG_CHUNK	16

/* ---- plug ---------------------------------------------------------------------- */

/*
 * REMOVE: the driver gives up the device, as when it is unplugged. Returns at
 * once; while the user keeps the device open, state is VFDTEST_REMOVING and the
 * kernel asks for it back (requests; and the eventfd on irq 1, if one is set).
 * EBUSY: already removing. ADD: a new device in a new group, whose number may
 * differ. EBUSY while REMOVING, EEXIST while PRESENT. Truth and counters stay.
 */
struct vfdtest_plug {
	__u32 device;
	__u32 flags;		/* 0 */
};
#define VFDTEST_REMOVE	_IOW('v', 10, struct vfdtest_plug)
#define VFDTEST_ADD	_IOW('v', 11, struct vfdtest_plug)

/* ---- what the VFIO device itself shows ------------------------------------- */

/*
 * Region 0: VFDTEST_REGION0_SIZE bytes, read, write, mmap of all of it.
 * Region 1: VFDTEST_REGION1_SIZE bytes, read, write, mmap of two areas only
 *           (sparse-mmap capability): page 0 and page 2; page 1 and 3 are not.
 * Both are plain memory, kept while the module is loaded, zeroed by a reset.
 * Irq 0: one eventfd interrupt, raised by VFDTEST_IRQ.
 * Irq 1: one eventfd, raised when the kernel asks for the device back.
 */
#define VFDTEST_REGIONS		2
#define VFDTEST_REGION0_SIZE	(2 * VFDTEST_PAGE_SIZE)
#define VFDTEST_REGION1_SIZE	(4 * VFDTEST_PAGE_SIZE)
#define VFDTEST_IRQS		2

#endif /* VFDTEST_H */
