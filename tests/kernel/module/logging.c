// SPDX-License-Identifier: GPL-2.0
/*
 * logging.c - the device's own log of its DMA (VFIO_DEVICE_FEATURE_DMA_LOGGING_*)
 *
 * It behaves as real devices do at their worst: what REPORT read is cleared
 * whether or not it arrived; a page it logs is cleared whole, though half of it
 * was asked for; STOP, reset and close forget what nobody read.
 *
 * Everything here is called with dev->lock and truth_lock held, but the three
 * operations at the end, which take them.
 */
#include <linux/interval_tree.h>
#include <linux/iova_bitmap.h>

#include "device.h"

static bool armed(const struct log *log, u64 page)
{
	unsigned int i;

	for (i = 0; i < log->nranges; i++)
		if (page >= log->ranges[i].first && page <= log->ranges[i].last)
			return true;
	return false;
}

/* The page was written; it is prepared. Outside the armed ranges nobody watches. */
void log_mark(struct vfdtest *dev, u64 page)
{
	struct log *log = &dev->log;

	lockdep_assert_held(&dev->truth_lock);
	if (log->on && armed(log, page))
		pageset_set(&log->pages, page);
}

void log_forget(struct vfdtest *dev)
{
	struct log *log = &dev->log;

	lockdep_assert_held(&dev->truth_lock);
	log->on = false;
	log->failed = false;
	log->nranges = 0;
	log->lost += pageset_clear(&log->pages, 0, ULONG_MAX);
}

/* ---- start -------------------------------------------------------------------- */

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
#define CAN_JOIN	true
#else
#define CAN_JOIN	false
#define vfio_combine_iova_ranges(ranges, n, max)	do { } while (0)
#endif

static int too_many(struct log *log, struct rb_root_cached *ranges, u32 *n)
{
	if (*n <= log->max_ranges)
		return 0;
	if (log->ranges_errno)
		return -(int)log->ranges_errno;
	vfio_combine_iova_ranges(ranges, *n, log->max_ranges);
	*n = log->max_ranges;
	return 0;
}

static void arm(struct log *log, struct rb_root_cached *ranges, u32 n)
{
	struct interval_tree_node *node = interval_tree_iter_first(ranges, 0, ULONG_MAX);

	for (; node && log->nranges < n; node = interval_tree_iter_next(node, 0, ULONG_MAX)) {
		log->ranges[log->nranges].first = page_of(node->start);
		log->ranges[log->nranges].last = page_of(node->last);
		log->nranges++;
	}
}

static int start(struct vfdtest *dev, struct rb_root_cached *ranges, u32 n, u64 *page_size)
{
	struct log *log = &dev->log;
	int ret;

	if (log->on && !(log->quirks & VFDTEST_LOG_RESTARTS))
		return -EINVAL;
	ret = too_many(log, ranges, &n);
	if (ret)
		return ret;
	log_forget(dev);
	arm(log, ranges, n);
	*page_size = clamp_t(u64, *page_size, log->min_page_size, VFDTEST_LOG_PAGE_MAX);
	log->page_size = *page_size;
	log->left = log->fail_after;
	log->on = true;
	log->starts++;
	return 0;
}

/* ---- report --------------------------------------------------------------------- */

/* The pages that REPORT of first..last touches: whole logged pages, or whole words of them. */
static int widen(struct log *log, u64 *first, u64 *last)
{
	u64 unit = page_of(log->page_size), base = 0;
	unsigned int i;

	if (log->quirks & (VFDTEST_LOG_ONE_RANGE | VFDTEST_LOG_WORDS)) {
		for (i = 0; i < log->nranges && *first > log->ranges[i].last; i++)
			;
		if (i == log->nranges || *first < log->ranges[i].first || *last > log->ranges[i].last)
			return -EINVAL;
		base = log->ranges[i].first;
	}
	if (log->quirks & VFDTEST_LOG_WORDS)
		unit *= 64;
	*first = base + (*first - base) / unit * unit;
	*last = base + (*last - base) / unit * unit + unit - 1;
	return 0;
}

/* Tell of one logged page: the part of it that was asked for. */
static void tell(struct iova_bitmap *dirty, u64 start, u64 end, u64 iova, u64 iova_end)
{
	start = max(start, iova);
	end = min(end, iova_end);
	if (start < end)
		iova_bitmap_set(dirty, start, end - start);
}

static int report(struct vfdtest *dev, u64 iova, u64 length, struct iova_bitmap *dirty)
{
	struct log *log = &dev->log;
	u64 first = page_of(iova), last = page_of(iova + length - 1);
	u64 unit = page_of(log->page_size), page;
	int ret;

	if (!log->on || !length)
		return -EINVAL;
	ret = log->failed ? -EIO : widen(log, &first, &last);
	if (ret)
		return ret;

	truth_fold_pins(dev, first, last);
	for (page = first; pageset_next(&log->pages, &page, last); page += unit) {
		if (!log->left) {
			log->failed = true;
			return -EIO;
		}
		if (log->left != VFDTEST_LOG_NEVER)
			log->left--;
		page = page / unit * unit;
		pageset_clear(&log->pages, page, page + unit - 1);
		tell(dirty, iova_of(page), iova_of(page + unit), iova, iova + length);
	}
	return 0;
}

/* ---- what VFIO calls ---------------------------------------------------------- */

static struct vfdtest *lock_both(struct vfio_device *vdev)
{
	struct vfdtest *dev = to_vfdtest(vdev);

	mutex_lock(&dev->lock);
	mutex_lock(&dev->truth_lock);
	return dev;
}

static void unlock_both(struct vfdtest *dev)
{
	mutex_unlock(&dev->truth_lock);
	mutex_unlock(&dev->lock);
}

static int log_start(struct vfio_device *vdev, struct rb_root_cached *ranges, u32 n, u64 *page_size)
{
	struct vfdtest *dev = lock_both(vdev);
	int ret = start(dev, ranges, n, page_size);

	unlock_both(dev);
	return ret;
}

static int log_stop(struct vfio_device *vdev)
{
	struct vfdtest *dev = lock_both(vdev);

	log_forget(dev);
	unlock_both(dev);
	return 0;
}

static int log_report(struct vfio_device *vdev, unsigned long iova, unsigned long length,
		      struct iova_bitmap *dirty)
{
	struct vfdtest *dev = lock_both(vdev);
	int ret = report(dev, iova, length, dirty);

	unlock_both(dev);
	return ret;
}

static const struct vfio_log_ops log_ops = {
	.log_start = log_start,
	.log_stop = log_stop,
	.log_read_and_clear = log_report,
};

/* ---- knobs: dev->lock is held --------------------------------------------------- */

void log_init(struct vfdtest *dev)
{
	struct log *log = &dev->log;

	pageset_init(&log->pages);
	log->min_page_size = VFDTEST_PAGE_SIZE;
	log->max_ranges = VFDTEST_LOG_RANGES_MAX;
	log->ranges_errno = E2BIG;
	log->fail_after = VFDTEST_LOG_NEVER;
}

/* What a newly plugged device offers, or one whose knob was turned while it was closed. */
void log_offer(struct vfdtest *dev)
{
	dev->vdev->log_ops = dev->log.offered ? &log_ops : NULL;
}

static long offer(struct vfdtest *dev, u64 value)
{
	if (value > 1)
		return -EINVAL;
	if (dev->open)
		return -EBUSY;
	dev->log.offered = value;
	if (dev->vdev)
		log_offer(dev);
	return 0;
}

long log_knob(struct vfdtest *dev, u32 knob, u64 value)
{
	struct log *log = &dev->log;

	switch (knob) {
	case VFDTEST_LOG:
		return offer(dev, value);
	case VFDTEST_LOG_PAGE_SIZE:
		if (value < VFDTEST_PAGE_SIZE || value > VFDTEST_LOG_PAGE_MAX || !is_power_of_2(value))
			return -EINVAL;
		log->min_page_size = value;
		return 0;
	case VFDTEST_LOG_RANGES:
		if (!value || value > VFDTEST_LOG_RANGES_MAX)
			return -EINVAL;
		log->max_ranges = value;
		return 0;
	case VFDTEST_LOG_RANGES_ERRNO:
		if (value > MAX_ERRNO)
			return -EINVAL;
		if (!value && !CAN_JOIN)
			return -EOPNOTSUPP;
		log->ranges_errno = value;
		return 0;
	case VFDTEST_LOG_FAIL_AFTER:
		log->fail_after = value;
		log->left = value;
		log->failed = false;
		return 0;
	case VFDTEST_LOG_QUIRKS:
		if (value & ~(u64)VFDTEST_LOG_ALL_QUIRKS)
			return -EINVAL;
		log->quirks = value;
		return 0;
	}
	return -EINVAL;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
MODULE_IMPORT_NS("IOMMUFD");
#else
MODULE_IMPORT_NS(IOMMUFD);
#endif
