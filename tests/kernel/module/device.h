/* SPDX-License-Identifier: GPL-2.0 */
/*
 * device.h - what the files of this module know of each other
 *
 * Locks, outermost first:
 *   lock        state of the VFIO device: open, pins, quiet, the writer's thread,
 *               migration.
 *               Held across vfio_dma_rw() and vfio_pin_pages(), which take the
 *               container's lock and mmap_lock; so mmap() must not take it, and
 *               the kernel must not call us back with the container's lock held
 *               (it does not: dma_unmap comes without; but see there).
 *   irq_lock    the eventfds
 *   truth_lock  the truth, the log and the counters; and with lock, changes of
 *               the pins, so that either is enough to read them. Held over copies
 *               to user space.
 *
 * The writer takes only truth_lock, so it can be stopped under lock.
 */
#ifndef VFDTEST_DEVICE_H
#define VFDTEST_DEVICE_H

#include <linux/eventfd.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#include <linux/vfio.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "../vfdtest.h"

#define MEMORY_SIZE	(VFDTEST_REGION0_SIZE + VFDTEST_REGION1_SIZE)

struct pin {
	struct page *page;
	u64 count;
	bool write;
	bool still;			/* writes nothing but what is told */
};

/* A set of pages: chunk number -> bitmap. Chunks are freed with the set only. */
struct pageset {
	struct xarray chunks;
};

/* The device's own log. */
struct log {
	bool offered;
	u32 max_ranges;
	u32 ranges_errno;
	u32 quirks;
	u64 min_page_size;
	u64 fail_after;

	bool on;
	bool failed;			/* every REPORT from now on */
	u64 page_size;			/* as START answered */
	u64 left;			/* pages to report before it fails */
	u64 starts;
	u64 lost;			/* pages forgotten unread, ever */
	struct pageset pages;
	unsigned int nranges;
	struct {
		u64 first, last;	/* pages */
	} ranges[VFDTEST_LOG_RANGES_MAX];
};

struct migration {
	u32 offered;			/* VFIO_MIGRATION_*; 0: none */
	u32 state;			/* enum vfio_device_mig_state */
	struct stream *stream;		/* of the present state */
	u8 sent[VFDTEST_MIG_REGISTERS];	/* as the last record had them */
	u32 padding;
	u32 chunk;
	u32 fail_from;
	u32 fail_to;
	u32 fail_errno;			/* 0: no arc fails */
	bool fail_broken;
};

struct span {
	u64 page;
	u64 end;			/* the first page behind it */
};

struct vfdtest {
	unsigned int index;
	struct platform_device *pdev;
	void *memory;			/* regions 0 and 1, one after the other */

	struct mutex lock;
	struct vfio_device *vdev;	/* NULL while absent */
	u32 state;
	int group;
	bool open;
	bool quiet;			/* after a reset */
	bool stopped;			/* by its migration state */
	bool resettable;
	u64 opens;
	u64 resets;
	struct xarray pins;		/* page number of the IOVA -> struct pin */
	u64 npins;
	struct task_struct *writer;
	struct vfdtest_run run;
	struct mm_struct *writer_mm;	/* of who said RUN */
	struct span burst[VFDTEST_RUN_BURST_MAX]; /* written and not yet in the truth */
	u64 *pages;			/* what the writer writes when it writes whole pages */
	struct migration mig;

	struct mutex irq_lock;
	struct eventfd_ctx *irq[VFDTEST_IRQS];

	struct mutex truth_lock;
	struct pageset truth;
	struct log log;
	u64 sequence;
	u64 writes;
	u64 run_writes;
	u64 run_failures;

	atomic64_t unmaps;
	atomic64_t unmapping;
	atomic64_t requests;
	unsigned int unmap_delay;
	u64 number;			/* last first word written by the writer */

	struct work_struct remove;
};

/* main.c */
extern unsigned int ndevices;
extern struct vfdtest devices[VFDTEST_MAX_DEVICES];
extern struct workqueue_struct *vfdtest_wq;

static inline struct vfdtest *to_vfdtest(struct vfio_device *vdev)
{
	return dev_get_drvdata(vdev->dev);
}

static inline u64 page_of(u64 iova)
{
	return iova >> VFDTEST_PAGE_SHIFT;
}

static inline u64 iova_of(u64 page)
{
	return page << VFDTEST_PAGE_SHIFT;
}

/* truth.c */
void pageset_init(struct pageset *set);
void pageset_destroy(struct pageset *set);
void pageset_set(struct pageset *set, u64 page);
u64 pageset_clear(struct pageset *set, u64 first, u64 last);
bool pageset_next(struct pageset *set, u64 *page, u64 last);
int truth_prepare(struct vfdtest *dev, u64 page);
void truth_mark(struct vfdtest *dev, u64 page);
void truth_fold_pins(struct vfdtest *dev, u64 first, u64 last);
int truth_read(struct vfdtest *dev, struct vfdtest_truth *t, void __user *arg);

/* pins.c: dev->lock is held */
bool all_pinned(struct vfdtest *dev, const struct vfdtest_range *r, bool write);
int pin_range(struct vfdtest *dev, const struct vfdtest_range *r);
int unpin_range(struct vfdtest *dev, const struct vfdtest_range *r);
void unpin_all(struct vfdtest *dev, u64 first, u64 last);

/* dma.c */
int dma_write(struct vfdtest *dev, u64 iova, void *buf, size_t len);
int dma_write_pinned(struct vfdtest *dev, u64 iova, const void *buf, size_t len);
int access_range(struct vfdtest *dev, const struct vfdtest_range *r, bool write);

/* writer.c: dev->lock is held */
int writer_start(struct vfdtest *dev, const struct vfdtest_run *run);
void writer_stop(struct vfdtest *dev);
void writer_pause(struct vfdtest *dev, bool pause);

/* logging.c */
void log_init(struct vfdtest *dev);
void log_offer(struct vfdtest *dev);
void log_mark(struct vfdtest *dev, u64 page);
void log_forget(struct vfdtest *dev);
long log_knob(struct vfdtest *dev, u32 knob, u64 value);

/* migration.c: dev->lock is held */
void mig_init(struct vfdtest *dev);
void mig_offer(struct vfdtest *dev);
void mig_restart(struct vfdtest *dev);
long mig_knob(struct vfdtest *dev, u32 knob, u64 value);

/* vfio.c */
extern const struct vfio_device_ops vfdtest_ops;
int irq_signal(struct vfdtest *dev, unsigned int index, u64 times);

/* commands.c */
extern struct miscdevice vfdtest_misc;

/* complain.c */
long complain_warn(void);
long complain_past_end(void);
long complain_lock_order(void);

#endif /* VFDTEST_DEVICE_H */
