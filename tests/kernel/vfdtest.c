// SPDX-License-Identifier: GPL-2.0
/*
 * vfdtest - a VFIO device without hardware that knows what it wrote
 *
 * Up to four emulated-IOMMU VFIO devices, each on its own platform device and in
 * its own group. They pin and write the memory mapped in their container when
 * /dev/vfdtest says so, and record every page written: the truth which a dirty
 * log is judged by. vfdtest.h describes every command.
 *
 * Locks, outermost first:
 *   lock        state of the VFIO device: open, pins, quiet, the writer's thread.
 *               Held across vfio_dma_rw() and vfio_pin_pages(), which take the
 *               container's lock and mmap_lock; so mmap() must not take it, and
 *               the kernel must not call us back with the container's lock held
 *               (it does not: dma_unmap comes without).
 *   irq_lock    the eventfds
 *   truth_lock  the truth and the counters
 *
 * The writer takes only truth_lock, so it can be stopped under lock.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/eventfd.h>
#include <linux/hash.h>
#include <linux/highmem.h>
#include <linux/hrtimer.h>
#include <linux/iommu.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#include <linux/vfio.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "vfdtest.h"

static unsigned int ndevices = 2;
module_param(ndevices, uint, 0444);
MODULE_PARM_DESC(ndevices, "number of devices, 1 to 4 (default 2)");

/* One chunk of the truth is one page of bits: 128 MiB of IOVA. */
#define CHUNK_BITS	(PAGE_SIZE * 8)

#define REGION_SHIFT	40
#define REGION_OFFSET(i)	((u64)(i) << REGION_SHIFT)
#define MEMORY_SIZE	(VFDTEST_REGION0_SIZE + VFDTEST_REGION1_SIZE)

#define WRITE_MAX	64
#define UNMAP_DELAY_MAX	10000
#define IRQ_MAX		1000

struct pin {
	struct page *page;
	u64 count;
	bool write;
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
	bool quiet;
	bool resettable;
	u64 opens;
	u64 resets;
	struct xarray pins;		/* page number of the IOVA -> struct pin */
	u64 npins;
	struct task_struct *writer;
	struct vfdtest_run run;

	struct mutex irq_lock;
	struct eventfd_ctx *irq[VFDTEST_IRQS];

	struct mutex truth_lock;
	struct xarray truth;		/* chunk number -> bitmap; freed at exit only */
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

static struct vfdtest devices[VFDTEST_MAX_DEVICES];
static struct workqueue_struct *vfdtest_wq;

static struct vfdtest *to_vfdtest(struct vfio_device *vdev)
{
	return dev_get_drvdata(vdev->dev);
}

/* ---- truth --------------------------------------------------------------- */

/*
 * The chunk that holds a page's bit. Called before the write, because after it
 * there must be no way to fail.
 */
static unsigned long *truth_chunk(struct vfdtest *dev, u64 page)
{
	unsigned long key = page / CHUNK_BITS;
	unsigned long *chunk = xa_load(&dev->truth, key);

	if (chunk)
		return chunk;

	mutex_lock(&dev->truth_lock);
	chunk = xa_load(&dev->truth, key);
	if (!chunk) {
		chunk = kzalloc(CHUNK_BITS / 8, GFP_KERNEL);
		if (chunk && xa_err(xa_store(&dev->truth, key, chunk, GFP_KERNEL))) {
			kfree(chunk);
			chunk = NULL;
		}
	}
	mutex_unlock(&dev->truth_lock);
	return chunk;
}

static void truth_mark(struct vfdtest *dev, unsigned long *chunk, u64 page)
{
	mutex_lock(&dev->truth_lock);
	__set_bit(page % CHUNK_BITS, chunk);
	dev->sequence++;
	mutex_unlock(&dev->truth_lock);
}

/* The chunk is known to exist: PIN made it. */
static void truth_mark_pin(struct vfdtest *dev, u64 page)
{
	truth_mark(dev, xa_load(&dev->truth, page / CHUNK_BITS), page);
}

/* Who holds a pin for writing may have written until now. */
static void truth_fold_pins(struct vfdtest *dev, u64 first, u64 last)
{
	unsigned long page;
	struct pin *pin;

	lockdep_assert_held(&dev->truth_lock);
	if (dev->quiet)
		return;
	xa_for_each_range(&dev->pins, page, pin, first, last) {
		unsigned long *chunk = xa_load(&dev->truth, page / CHUNK_BITS);

		if (pin->write)
			__set_bit(page % CHUNK_BITS, chunk);
	}
}

/* Copy (bitmap given) or clear (NULL) the truth of pages first..last. */
static u64 truth_walk(struct vfdtest *dev, u64 first, u64 last, unsigned long *bitmap)
{
	unsigned long key, *chunk, bit;
	u64 count = 0;

	lockdep_assert_held(&dev->truth_lock);
	xa_for_each_range(&dev->truth, key, chunk, first / CHUNK_BITS, last / CHUNK_BITS) {
		u64 base = (u64)key * CHUNK_BITS;
		unsigned long start = first > base ? first - base : 0;
		unsigned long end = min_t(u64, last - base + 1, CHUNK_BITS);

		if (!bitmap) {
			bitmap_clear(chunk, start, end - start);
			continue;
		}
		bit = start;
		for_each_set_bit_from(bit, chunk, end) {
			__set_bit(base + bit - first, bitmap);
			count++;
		}
	}
	return count;
}

static int truth_read(struct vfdtest *dev, struct vfdtest_truth *t, void __user *arg)
{
	u64 first = t->iova >> VFDTEST_PAGE_SHIFT;
	u64 last = (t->iova + t->size - 1) >> VFDTEST_PAGE_SHIFT;
	size_t bytes = BITS_TO_LONGS(last - first + 1) * sizeof(long);
	unsigned long *bitmap;
	int ret = 0;

	bitmap = kvzalloc(bytes, GFP_KERNEL);
	if (!bitmap)
		return -ENOMEM;

	/*
	 * Both locks stay held over the copy to user space, so that a failing
	 * copy needs no undo.
	 */
	mutex_lock(&dev->lock);
	mutex_lock(&dev->truth_lock);
	truth_fold_pins(dev, first, last);
	t->pages = truth_walk(dev, first, last, bitmap);
	t->sequence = dev->sequence;
	t->time_ns = ktime_get_ns();
	if (copy_to_user(u64_to_user_ptr(t->bitmap), bitmap, bytes) ||
	    copy_to_user(arg, t, sizeof(*t)))
		ret = -EFAULT;
	else if (t->flags & VFDTEST_TRUTH_CLEAR)
		truth_walk(dev, first, last, NULL);
	mutex_unlock(&dev->truth_lock);
	mutex_unlock(&dev->lock);

	kvfree(bitmap);
	return ret;
}

/* ---- accesses by command --------------------------------------------------- */

static void fill(u8 *buf, u64 iova, size_t len, u64 value)
{
	size_t i;

	for (i = 0; i < len; i++) {
		u64 word = vfdtest_word(value, (iova + i) & ~7ULL);

		buf[i] = ((u8 *)&word)[(iova + i) & 7];
	}
}

static int access_page(struct vfdtest *dev, u64 iova, size_t len, u8 *buf, bool write)
{
	u64 page = iova >> VFDTEST_PAGE_SHIFT;
	unsigned long *chunk = NULL;
	int ret;

	if (write) {
		chunk = truth_chunk(dev, page);
		if (!chunk)
			return -ENOMEM;
	}
	ret = vfio_dma_rw(dev->vdev, iova, buf, len, write);
	if (!ret && write)
		truth_mark(dev, chunk, page);
	return ret;
}

static void access_pinned(struct vfdtest *dev, u64 iova, size_t len, u8 *buf)
{
	u64 page = iova >> VFDTEST_PAGE_SHIFT;
	struct pin *pin = xa_load(&dev->pins, page);

	memcpy_to_page(pin->page, offset_in_page(iova), buf, len);
	truth_mark_pin(dev, page);
}

struct access {
	struct work_struct work;
	struct vfdtest *dev;
	const struct vfdtest_range *range;
	bool write;
	int ret;
};

/*
 * Runs in a kernel thread: the container then uses the memory of whoever made
 * the mapping, as hardware does, whichever process gave the command.
 */
static void access_work(struct work_struct *work)
{
	struct access *a = container_of(work, struct access, work);
	bool pinned = a->write && (a->range->flags & VFDTEST_WRITE_PINNED);
	u64 iova = a->range->iova, left = a->range->size;
	u8 *buf = kmalloc(VFDTEST_PAGE_SIZE, GFP_KERNEL);

	a->ret = buf ? 0 : -ENOMEM;
	while (left && !a->ret) {
		size_t len = min_t(u64, left, VFDTEST_PAGE_SIZE - offset_in_page(iova));

		fill(buf, iova, len, a->range->value);
		if (pinned)
			access_pinned(a->dev, iova, len, buf);
		else
			a->ret = access_page(a->dev, iova, len, buf, a->write);
		if (!a->ret) {
			mutex_lock(&a->dev->truth_lock);
			a->dev->writes += a->write;
			mutex_unlock(&a->dev->truth_lock);
		}
		iova += len;
		left -= len;
		cond_resched();
	}
	kfree(buf);
}

static bool all_pinned(struct vfdtest *dev, const struct vfdtest_range *r, bool write)
{
	u64 page = r->iova >> VFDTEST_PAGE_SHIFT;
	u64 last = (r->iova + r->size - 1) >> VFDTEST_PAGE_SHIFT;

	for (; page <= last; page++) {
		struct pin *pin = xa_load(&dev->pins, page);

		if (!pin || (write && !pin->write))
			return false;
	}
	return true;
}

static int access_range(struct vfdtest *dev, const struct vfdtest_range *r, bool write)
{
	struct access a = { .dev = dev, .range = r, .write = write };

	if (r->flags & ~(write ? VFDTEST_WRITE_PINNED : 0))
		return -EINVAL;
	if ((r->flags & VFDTEST_WRITE_PINNED) && !all_pinned(dev, r, true))
		return -EINVAL;
	if (write)
		dev->quiet = false;

	INIT_WORK_ONSTACK(&a.work, access_work);
	queue_work(vfdtest_wq, &a.work);
	flush_work(&a.work);
	destroy_work_on_stack(&a.work);
	return a.ret;
}

/* ---- pins ------------------------------------------------------------------ */

static u64 pin_iova(u64 page)
{
	return page << VFDTEST_PAGE_SHIFT;
}

/* Take one pin. Whether it is for writing is noted by the caller, at the end. */
static int pin_one(struct vfdtest *dev, u64 page, bool write)
{
	int prot = IOMMU_READ | (write ? IOMMU_WRITE : 0);
	struct pin *pin = xa_load(&dev->pins, page);
	struct page *p;
	int ret;

	if (!truth_chunk(dev, page))
		return -ENOMEM;
	if (!pin) {
		pin = kzalloc(sizeof(*pin), GFP_KERNEL);
		if (!pin)
			return -ENOMEM;
		ret = xa_err(xa_store(&dev->pins, page, pin, GFP_KERNEL));
		if (ret) {
			kfree(pin);
			return ret;
		}
	}

	ret = vfio_pin_pages(dev->vdev, pin_iova(page), 1, prot, &p);
	if (ret != 1) {
		if (!pin->count)
			kfree(xa_erase(&dev->pins, page));
		return ret < 0 ? ret : -EFAULT;
	}
	pin->page = p;
	pin->count++;
	dev->npins++;
	return 0;
}

static void unpin_one(struct vfdtest *dev, u64 page, struct pin *pin)
{
	vfio_unpin_pages(dev->vdev, pin_iova(page), 1);
	dev->npins--;
	if (!--pin->count) {
		xa_erase(&dev->pins, page);
		kfree(pin);
	}
}

/* Give back every pin of pages first..last; each counts as written until now. */
static void unpin_all(struct vfdtest *dev, u64 first, u64 last)
{
	unsigned long page;
	struct pin *pin;

	lockdep_assert_held(&dev->lock);
	xa_for_each_range(&dev->pins, page, pin, first, last) {
		u64 count = pin->count;

		if (pin->write && !dev->quiet)
			truth_mark_pin(dev, page);
		while (count--)
			unpin_one(dev, page, pin);
	}
}

static int pin_range(struct vfdtest *dev, const struct vfdtest_range *r)
{
	u64 first = r->iova >> VFDTEST_PAGE_SHIFT;
	u64 end = first + (r->size >> VFDTEST_PAGE_SHIFT), page;
	bool write = r->flags & VFDTEST_PIN_WRITE;
	int ret = 0;

	if (r->flags & ~VFDTEST_PIN_WRITE)
		return -EINVAL;

	for (page = first; page < end; page++) {
		ret = pin_one(dev, page, write);
		if (ret)
			break;
		cond_resched();
	}
	if (ret) {
		while (page-- > first)
			unpin_one(dev, page, xa_load(&dev->pins, page));
		return ret;
	}

	dev->quiet = false;
	for (page = first; write && page < end; page++) {
		((struct pin *)xa_load(&dev->pins, page))->write = true;
		truth_mark_pin(dev, page);
	}
	return 0;
}

static int unpin_range(struct vfdtest *dev, const struct vfdtest_range *r)
{
	u64 first = r->iova >> VFDTEST_PAGE_SHIFT;
	u64 end = first + (r->size >> VFDTEST_PAGE_SHIFT), page;

	if (r->flags || !all_pinned(dev, r, false))
		return -EINVAL;
	for (page = first; page < end; page++) {
		struct pin *pin = xa_load(&dev->pins, page);

		if (pin->write && !dev->quiet)
			truth_mark_pin(dev, page);
		unpin_one(dev, page, pin);
	}
	return 0;
}

/* ---- the writer ------------------------------------------------------------ */

static u64 next_random(u64 *state)
{
	*state += 0x9e3779b97f4a7c15ULL;	/* splitmix64: any seed will do */
	return hash_64(*state ^ (*state >> 29), 64) ^ (*state >> 32);
}

static void write_random(struct vfdtest *dev, const struct vfdtest_run *run, u64 *rnd)
{
	u64 dice = next_random(rnd);
	u64 page = (run->iova >> VFDTEST_PAGE_SHIFT) +
		   next_random(rnd) % (run->size >> VFDTEST_PAGE_SHIFT);
	size_t len = 8 * (1 + dice % (WRITE_MAX / 8));
	size_t slots = (VFDTEST_PAGE_SIZE - len) / 8 + 1;
	u64 iova = pin_iova(page) + 8 * ((dice >> 8) % slots);
	unsigned long *chunk = truth_chunk(dev, page);
	u64 words[WRITE_MAX / 8];
	size_t i;
	int ret = -ENOMEM;

	words[0] = ++dev->number;
	for (i = 1; i < len / 8; i++)
		words[i] = dice ^ iova ^ i;
	if (chunk)
		ret = vfio_dma_rw(dev->vdev, iova, words, len, true);

	mutex_lock(&dev->truth_lock);
	if (ret) {
		dev->run_failures++;
	} else {
		__set_bit(page % CHUNK_BITS, chunk);
		dev->sequence++;
		dev->writes++;
		dev->run_writes++;
	}
	mutex_unlock(&dev->truth_lock);
}

static void writer_pause(u64 ns)
{
	ktime_t period = ns_to_ktime(ns);

	set_current_state(TASK_IDLE);
	if (ns && !kthread_should_stop())
		schedule_hrtimeout(&period, HRTIMER_MODE_REL);
	__set_current_state(TASK_RUNNING);
	cond_resched();
}

static int writer_main(void *data)
{
	struct vfdtest *dev = data;
	const struct vfdtest_run run = dev->run;
	u64 rnd = run.seed, left;

	while (!kthread_should_stop()) {
		for (left = max_t(u64, run.burst, 1); left && !kthread_should_stop(); left--) {
			write_random(dev, &run, &rnd);
			cond_resched();
		}
		writer_pause(run.period_ns);
	}
	return 0;
}

static int writer_start(struct vfdtest *dev, const struct vfdtest_run *run)
{
	struct task_struct *task;

	if (run->flags || run->period_ns > KTIME_MAX)
		return -EINVAL;
	if (dev->writer)
		return -EBUSY;

	mutex_lock(&dev->truth_lock);
	dev->run_writes = 0;
	dev->run_failures = 0;
	mutex_unlock(&dev->truth_lock);
	dev->run = *run;

	task = kthread_create(writer_main, dev, "vfdtest/%u", dev->index);
	if (IS_ERR(task))
		return PTR_ERR(task);
	get_task_struct(task);
	dev->quiet = false;
	dev->writer = task;
	wake_up_process(task);
	return 0;
}

static void writer_stop(struct vfdtest *dev)
{
	lockdep_assert_held(&dev->lock);
	if (!dev->writer)
		return;
	kthread_stop(dev->writer);
	put_task_struct(dev->writer);
	dev->writer = NULL;
}

/* ---- the VFIO device ------------------------------------------------------- */

static int vfdtest_init_dev(struct vfio_device *vdev)
{
	return 0;
}

static void vfdtest_release_dev(struct vfio_device *vdev)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
	vfio_free_device(vdev);
#endif
}

static int vfdtest_open_device(struct vfio_device *vdev)
{
	struct vfdtest *dev = to_vfdtest(vdev);

	mutex_lock(&dev->lock);
	dev->open = true;
	dev->quiet = false;
	dev->opens++;
	mutex_unlock(&dev->lock);
	return 0;
}

static void irq_set(struct vfdtest *dev, unsigned int index, struct eventfd_ctx *ctx)
{
	struct eventfd_ctx *old;

	mutex_lock(&dev->irq_lock);
	old = dev->irq[index];
	dev->irq[index] = ctx;
	mutex_unlock(&dev->irq_lock);
	if (old)
		eventfd_ctx_put(old);
}

static int irq_signal(struct vfdtest *dev, unsigned int index, u64 times)
{
	int ret = -ENOTCONN;

	mutex_lock(&dev->irq_lock);
	if (dev->irq[index]) {
		while (times--)
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
			eventfd_signal(dev->irq[index], 1);
#else
			eventfd_signal(dev->irq[index]);
#endif
		ret = 0;
	}
	mutex_unlock(&dev->irq_lock);
	return ret;
}

static void vfdtest_close_device(struct vfio_device *vdev)
{
	struct vfdtest *dev = to_vfdtest(vdev);
	unsigned int i;

	mutex_lock(&dev->lock);
	writer_stop(dev);
	unpin_all(dev, 0, ULONG_MAX);
	dev->open = false;
	mutex_unlock(&dev->lock);
	for (i = 0; i < VFDTEST_IRQS; i++)
		irq_set(dev, i, NULL);
}

static void vfdtest_dma_unmap(struct vfio_device *vdev, u64 iova, u64 length)
{
	struct vfdtest *dev = to_vfdtest(vdev);
	unsigned int delay = READ_ONCE(dev->unmap_delay);

	atomic64_inc(&dev->unmaps);
	atomic64_inc(&dev->unmapping);
	if (delay)
		msleep(delay);
	mutex_lock(&dev->lock);
	unpin_all(dev, iova >> VFDTEST_PAGE_SHIFT, (iova + length - 1) >> VFDTEST_PAGE_SHIFT);
	mutex_unlock(&dev->lock);
	atomic64_dec(&dev->unmapping);
}

static void vfdtest_request(struct vfio_device *vdev, unsigned int count)
{
	struct vfdtest *dev = to_vfdtest(vdev);

	atomic64_inc(&dev->requests);
	irq_signal(dev, 1, 1);
}

/* After this the device cannot write, whatever pins it still holds. */
static int vfdtest_reset(struct vfdtest *dev)
{
	int ret = -EINVAL;

	mutex_lock(&dev->lock);
	if (dev->resettable) {
		writer_stop(dev);
		mutex_lock(&dev->truth_lock);
		truth_fold_pins(dev, 0, ULONG_MAX);
		mutex_unlock(&dev->truth_lock);
		dev->quiet = true;
		dev->resets++;
		memset(dev->memory, 0, MEMORY_SIZE);
		ret = 0;
	}
	mutex_unlock(&dev->lock);
	return ret;
}

static u64 region_size(unsigned int index)
{
	return index ? VFDTEST_REGION1_SIZE : VFDTEST_REGION0_SIZE;
}

static void *region_memory(struct vfdtest *dev, unsigned int index)
{
	return dev->memory + (index ? VFDTEST_REGION0_SIZE : 0);
}

static long get_device_info(struct vfdtest *dev, void __user *arg)
{
	size_t minsz = offsetofend(struct vfio_device_info, num_irqs);
	struct vfio_device_info info;

	if (copy_from_user(&info, arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;
	info.flags = VFIO_DEVICE_FLAGS_PLATFORM;
	if (READ_ONCE(dev->resettable))
		info.flags |= VFIO_DEVICE_FLAGS_RESET;
	info.num_regions = VFDTEST_REGIONS;
	info.num_irqs = VFDTEST_IRQS;
	return copy_to_user(arg, &info, minsz) ? -EFAULT : 0;
}

static int add_sparse_mmap(struct vfio_info_cap *caps)
{
	struct vfio_region_info_cap_sparse_mmap *sparse;
	size_t size = struct_size(sparse, areas, 2);
	int ret;

	sparse = kzalloc(size, GFP_KERNEL);
	if (!sparse)
		return -ENOMEM;
	sparse->header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
	sparse->header.version = 1;
	sparse->nr_areas = 2;
	sparse->areas[0].offset = 0;
	sparse->areas[0].size = VFDTEST_PAGE_SIZE;
	sparse->areas[1].offset = 2 * VFDTEST_PAGE_SIZE;
	sparse->areas[1].size = VFDTEST_PAGE_SIZE;
	ret = vfio_info_add_capability(caps, &sparse->header, size);
	kfree(sparse);
	return ret;
}

static long get_region_info(void __user *arg)
{
	size_t minsz = offsetofend(struct vfio_region_info, offset);
	struct vfio_info_cap caps = { .buf = NULL, .size = 0 };
	struct vfio_region_info info;
	long ret = 0;

	if (copy_from_user(&info, arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz || info.index >= VFDTEST_REGIONS)
		return -EINVAL;

	info.offset = REGION_OFFSET(info.index);
	info.size = region_size(info.index);
	info.cap_offset = 0;
	info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
		     VFIO_REGION_INFO_FLAG_MMAP;
	if (info.index == 1) {
		ret = add_sparse_mmap(&caps);
		if (ret)
			return ret;
		info.flags |= VFIO_REGION_INFO_FLAG_CAPS;
		if (info.argsz < sizeof(info) + caps.size) {
			info.argsz = sizeof(info) + caps.size;
		} else {
			vfio_info_cap_shift(&caps, sizeof(info));
			if (copy_to_user(arg + sizeof(info), caps.buf, caps.size))
				ret = -EFAULT;
			info.cap_offset = sizeof(info);
		}
		kfree(caps.buf);
	}
	if (!ret && copy_to_user(arg, &info, minsz))
		ret = -EFAULT;
	return ret;
}

static long get_irq_info(void __user *arg)
{
	size_t minsz = offsetofend(struct vfio_irq_info, count);
	struct vfio_irq_info info;

	if (copy_from_user(&info, arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz || info.index >= VFDTEST_IRQS)
		return -EINVAL;
	info.flags = VFIO_IRQ_INFO_EVENTFD;
	info.count = 1;
	return copy_to_user(arg, &info, minsz) ? -EFAULT : 0;
}

/* One fd, or -1 to take the present one away. */
static long set_irq_eventfd(struct vfdtest *dev, unsigned int index, void __user *data)
{
	struct eventfd_ctx *ctx = NULL;
	s32 fd;

	if (copy_from_user(&fd, data, sizeof(fd)))
		return -EFAULT;
	if (fd >= 0) {
		ctx = eventfd_ctx_fdget(fd);
		if (IS_ERR(ctx))
			return PTR_ERR(ctx);
	} else if (fd != -1) {
		return -EINVAL;
	}
	irq_set(dev, index, ctx);
	return 0;
}

static long set_irqs(struct vfdtest *dev, void __user *arg)
{
	size_t minsz = offsetofend(struct vfio_irq_set, count), size = 0;
	void __user *data = arg + minsz;
	struct vfio_irq_set hdr;
	u8 fire;
	int ret;

	if (copy_from_user(&hdr, arg, minsz))
		return -EFAULT;
	if (hdr.index >= VFDTEST_IRQS)
		return -EINVAL;
	ret = vfio_set_irqs_validate_and_prepare(&hdr, 1, VFDTEST_IRQS, &size);
	if (ret)
		return ret;
	if ((hdr.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK) != VFIO_IRQ_SET_ACTION_TRIGGER)
		return -EINVAL;

	switch (hdr.flags & VFIO_IRQ_SET_DATA_TYPE_MASK) {
	case VFIO_IRQ_SET_DATA_NONE:
		if (hdr.count)
			return irq_signal(dev, hdr.index, 1);
		irq_set(dev, hdr.index, NULL);
		return 0;
	case VFIO_IRQ_SET_DATA_BOOL:
		if (copy_from_user(&fire, data, sizeof(fire)))
			return -EFAULT;
		return fire ? irq_signal(dev, hdr.index, 1) : 0;
	case VFIO_IRQ_SET_DATA_EVENTFD:
		return set_irq_eventfd(dev, hdr.index, data);
	}
	return -EINVAL;
}

static long vfdtest_dev_ioctl(struct vfio_device *vdev, unsigned int cmd, unsigned long arg)
{
	struct vfdtest *dev = to_vfdtest(vdev);
	void __user *uarg = (void __user *)arg;

	switch (cmd) {
	case VFIO_DEVICE_GET_INFO:
		return get_device_info(dev, uarg);
	case VFIO_DEVICE_GET_REGION_INFO:
		return get_region_info(uarg);
	case VFIO_DEVICE_GET_IRQ_INFO:
		return get_irq_info(uarg);
	case VFIO_DEVICE_SET_IRQS:
		return set_irqs(dev, uarg);
	case VFIO_DEVICE_RESET:
		return vfdtest_reset(dev);
	default:
		return -ENOTTY;
	}
}

/* Where a file position lies; NULL past the end. Shortens count to what fits. */
static void *region_at(struct vfdtest *dev, u64 pos, size_t *count)
{
	u64 index = pos >> REGION_SHIFT, offset = pos & (REGION_OFFSET(1) - 1);

	if (index >= VFDTEST_REGIONS || offset >= region_size(index))
		return NULL;
	*count = min_t(u64, *count, region_size(index) - offset);
	return region_memory(dev, index) + offset;
}

static ssize_t vfdtest_read(struct vfio_device *vdev, char __user *buf, size_t count,
			    loff_t *ppos)
{
	void *from = region_at(to_vfdtest(vdev), *ppos, &count);

	if (!from)
		return -EINVAL;
	if (copy_to_user(buf, from, count))
		return -EFAULT;
	*ppos += count;
	return count;
}

static ssize_t vfdtest_write(struct vfio_device *vdev, const char __user *buf, size_t count,
			     loff_t *ppos)
{
	void *to = region_at(to_vfdtest(vdev), *ppos, &count);

	if (!to)
		return -EINVAL;
	if (copy_from_user(to, buf, count))
		return -EFAULT;
	*ppos += count;
	return count;
}

static int vfdtest_mmap(struct vfio_device *vdev, struct vm_area_struct *vma)
{
	struct vfdtest *dev = to_vfdtest(vdev);
	u64 index = vma->vm_pgoff >> (REGION_SHIFT - PAGE_SHIFT);
	u64 page = vma->vm_pgoff & ((1ULL << (REGION_SHIFT - PAGE_SHIFT)) - 1);
	u64 size = vma->vm_end - vma->vm_start;

	if (!(vma->vm_flags & VM_SHARED) || index >= VFDTEST_REGIONS)
		return -EINVAL;
	if (size > region_size(index) || (page << PAGE_SHIFT) > region_size(index) - size)
		return -EINVAL;
	if (index == 1 && (size != PAGE_SIZE || (page & 1)))
		return -EINVAL;		/* only what the capability offers */
	return remap_vmalloc_range(vma, dev->memory,
				   (index ? VFDTEST_REGION0_SIZE >> PAGE_SHIFT : 0) + page);
}

static const struct vfio_device_ops vfdtest_ops = {
	.name = "vfdtest",
	.init = vfdtest_init_dev,
	.release = vfdtest_release_dev,
	.open_device = vfdtest_open_device,
	.close_device = vfdtest_close_device,
	.ioctl = vfdtest_dev_ioctl,
	.read = vfdtest_read,
	.write = vfdtest_write,
	.mmap = vfdtest_mmap,
	.request = vfdtest_request,
	.dma_unmap = vfdtest_dma_unmap,
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	.bind_iommufd = vfio_iommufd_emulated_bind,
	.unbind_iommufd = vfio_iommufd_emulated_unbind,
	.attach_ioas = vfio_iommufd_emulated_attach_ioas,
	.detach_ioas = vfio_iommufd_emulated_detach_ioas,
#endif
};

/* ---- the platform driver: bound is plugged in, unbound is removed ----------- */

static int group_number(struct device *dev)
{
	struct iommu_group *group = iommu_group_get(dev);
	int id = group ? iommu_group_id(group) : -1;

	iommu_group_put(group);
	return id;
}

static struct vfio_device *alloc_vdev(struct device *dev)
{
	/* the vfio_device is all there is: the rest outlives it */
	struct wrapper {
		struct vfio_device vdev;
	} *w = vfio_alloc_device(wrapper, vdev, dev, &vfdtest_ops);

	return IS_ERR(w) ? ERR_CAST(w) : &w->vdev;
}

static int vfdtest_probe(struct platform_device *pdev)
{
	struct vfdtest *dev = &devices[pdev->id];
	struct vfio_device *vdev;
	int ret;

	platform_set_drvdata(pdev, dev);
	vdev = alloc_vdev(&pdev->dev);
	if (IS_ERR(vdev))
		return PTR_ERR(vdev);

	mutex_lock(&dev->lock);
	dev->vdev = vdev;
	dev->state = VFDTEST_PRESENT;
	mutex_unlock(&dev->lock);

	ret = vfio_register_emulated_iommu_dev(vdev);

	mutex_lock(&dev->lock);
	if (ret) {
		dev->vdev = NULL;
		dev->state = VFDTEST_ABSENT;
	} else {
		dev->group = group_number(&pdev->dev);
	}
	mutex_unlock(&dev->lock);
	if (ret)
		vfio_put_device(vdev);
	return ret;
}

static void vfdtest_unplug(struct platform_device *pdev)
{
	struct vfdtest *dev = platform_get_drvdata(pdev);
	struct vfio_device *vdev = dev->vdev;

	mutex_lock(&dev->lock);
	dev->state = VFDTEST_REMOVING;
	mutex_unlock(&dev->lock);

	vfio_unregister_group_dev(vdev);	/* blocks until the user closed */

	mutex_lock(&dev->lock);
	dev->vdev = NULL;
	dev->group = -1;
	dev->state = VFDTEST_ABSENT;
	mutex_unlock(&dev->lock);
	vfio_put_device(vdev);
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)
static int vfdtest_remove(struct platform_device *pdev)
{
	vfdtest_unplug(pdev);
	return 0;
}
#else
static void vfdtest_remove(struct platform_device *pdev)
{
	vfdtest_unplug(pdev);
}
#endif

static struct platform_driver vfdtest_driver = {
	.probe = vfdtest_probe,
	.remove = vfdtest_remove,
	.driver.name = "vfdtest",
};

static void remove_work(struct work_struct *work)
{
	struct vfdtest *dev = container_of(work, struct vfdtest, remove);

	device_release_driver(&dev->pdev->dev);
}

/* ---- /dev/vfdtest ------------------------------------------------------------ */

static long cmd_range(unsigned int cmd, struct vfdtest *dev, const struct vfdtest_range *r)
{
	long ret;

	if (!r->size || r->iova + r->size - 1 < r->iova)
		return -EINVAL;
	if ((cmd == VFDTEST_PIN || cmd == VFDTEST_UNPIN) &&
	    ((r->iova | r->size) & (VFDTEST_PAGE_SIZE - 1)))
		return -EINVAL;

	mutex_lock(&dev->lock);
	if (!dev->vdev)
		ret = -ENODEV;
	else if (!dev->open)
		ret = -ENOTCONN;
	else if (cmd == VFDTEST_PIN)
		ret = pin_range(dev, r);
	else if (cmd == VFDTEST_UNPIN)
		ret = unpin_range(dev, r);
	else
		ret = access_range(dev, r, cmd == VFDTEST_WRITE);
	mutex_unlock(&dev->lock);
	return ret;
}

static long cmd_run(struct vfdtest *dev, const struct vfdtest_run *run)
{
	long ret;

	if (!run->size || run->iova + run->size - 1 < run->iova ||
	    ((run->iova | run->size) & (VFDTEST_PAGE_SIZE - 1)))
		return -EINVAL;

	mutex_lock(&dev->lock);
	if (!dev->vdev)
		ret = -ENODEV;
	else if (!dev->open)
		ret = -ENOTCONN;
	else
		ret = writer_start(dev, run);
	mutex_unlock(&dev->lock);
	return ret;
}

static long cmd_halt(struct vfdtest *dev, struct vfdtest_halt *halt, void __user *arg)
{
	if (halt->flags)
		return -EINVAL;
	mutex_lock(&dev->lock);
	writer_stop(dev);
	mutex_lock(&dev->truth_lock);
	halt->writes = dev->run_writes;
	halt->failures = dev->run_failures;
	mutex_unlock(&dev->truth_lock);
	mutex_unlock(&dev->lock);
	return copy_to_user(arg, halt, sizeof(*halt)) ? -EFAULT : 0;
}

static long cmd_truth(struct vfdtest *dev, struct vfdtest_truth *t, void __user *arg)
{
	if (!t->size || t->iova + t->size - 1 < t->iova || t->size > VFDTEST_TRUTH_MAX ||
	    ((t->iova | t->size) & (VFDTEST_PAGE_SIZE - 1)) ||
	    (t->flags & ~VFDTEST_TRUTH_CLEAR))
		return -EINVAL;
	return truth_read(dev, t, arg);
}

static long cmd_status(struct vfdtest *dev, struct vfdtest_status *s, void __user *arg)
{
	mutex_lock(&dev->lock);
	s->state = dev->state;
	s->group = dev->group;
	s->open = dev->open;
	s->running = !!dev->writer;
	s->quiet = dev->quiet;
	s->opens = dev->opens;
	s->pins = dev->npins;
	s->resets = dev->resets;
	mutex_lock(&dev->truth_lock);
	s->writes = dev->writes;
	s->sequence = dev->sequence;
	mutex_unlock(&dev->truth_lock);
	mutex_unlock(&dev->lock);
	s->unmaps = atomic64_read(&dev->unmaps);
	s->unmapping = atomic64_read(&dev->unmapping);
	s->requests = atomic64_read(&dev->requests);
	return copy_to_user(arg, s, sizeof(*s)) ? -EFAULT : 0;
}

static long cmd_set(struct vfdtest *dev, const struct vfdtest_set *set)
{
	switch (set->knob) {
	case VFDTEST_UNMAP_DELAY_MS:
		if (set->value > UNMAP_DELAY_MAX)
			return -EINVAL;
		WRITE_ONCE(dev->unmap_delay, set->value);
		return 0;
	case VFDTEST_RESET:
		if (set->value > 1)
			return -EINVAL;
		WRITE_ONCE(dev->resettable, set->value);
		return 0;
	case VFDTEST_IRQ:
		if (set->value > IRQ_MAX)
			return -EINVAL;
		return irq_signal(dev, 0, set->value);
	case VFDTEST_WARN:
		WARN(1, "vfdtest: a warning, as asked\n");
		return 0;
	default:
		return -EINVAL;
	}
}

static long cmd_remove(struct vfdtest *dev, const struct vfdtest_plug *plug)
{
	long ret = 0;

	if (plug->flags)
		return -EINVAL;
	mutex_lock(&dev->lock);
	if (dev->state == VFDTEST_REMOVING)
		ret = -EBUSY;
	else if (dev->state == VFDTEST_ABSENT)
		ret = -ENODEV;
	else
		dev->state = VFDTEST_REMOVING;
	mutex_unlock(&dev->lock);
	if (!ret)
		queue_work(vfdtest_wq, &dev->remove);
	return ret;
}

static long cmd_add(struct vfdtest *dev, const struct vfdtest_plug *plug)
{
	u32 state;
	int ret;

	if (plug->flags)
		return -EINVAL;
	mutex_lock(&dev->lock);
	state = dev->state;
	mutex_unlock(&dev->lock);
	if (state != VFDTEST_ABSENT)
		return state == VFDTEST_PRESENT ? -EEXIST : -EBUSY;

	/* the removal says ABSENT a moment before it lets go of the device */
	flush_work(&dev->remove);
	ret = device_attach(&dev->pdev->dev);
	if (ret < 0)
		return ret;
	return ret ? 0 : -ENODEV;
}

union command {
	__u32 device;			/* every command starts with it */
	struct vfdtest_range range;
	struct vfdtest_run run;
	struct vfdtest_halt halt;
	struct vfdtest_truth truth;
	struct vfdtest_status status;
	struct vfdtest_set set;
	struct vfdtest_plug plug;
};

static long vfdtest_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *uarg = (void __user *)arg;
	union command c;
	struct vfdtest *dev;

	if (_IOC_TYPE(cmd) != 'v' || _IOC_SIZE(cmd) > sizeof(c) ||
	    _IOC_SIZE(cmd) < sizeof(c.plug))
		return -ENOTTY;
	if (copy_from_user(&c, uarg, _IOC_SIZE(cmd)))
		return -EFAULT;
	if (c.device >= ndevices)
		return -ENODEV;
	dev = &devices[c.device];

	switch (cmd) {
	case VFDTEST_WRITE:
	case VFDTEST_READ:
	case VFDTEST_PIN:
	case VFDTEST_UNPIN:
		return cmd_range(cmd, dev, &c.range);
	case VFDTEST_RUN:
		return cmd_run(dev, &c.run);
	case VFDTEST_HALT:
		return cmd_halt(dev, &c.halt, uarg);
	case VFDTEST_TRUTH:
		return cmd_truth(dev, &c.truth, uarg);
	case VFDTEST_STATUS:
		return cmd_status(dev, &c.status, uarg);
	case VFDTEST_SET:
		return cmd_set(dev, &c.set);
	case VFDTEST_REMOVE:
		return cmd_remove(dev, &c.plug);
	case VFDTEST_ADD:
		return cmd_add(dev, &c.plug);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations vfdtest_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = vfdtest_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice vfdtest_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "vfdtest",
	.fops = &vfdtest_fops,
	.mode = 0600,
};

/* ---- module ------------------------------------------------------------------ */

static int device_create_one(unsigned int index)
{
	struct vfdtest *dev = &devices[index];

	dev->index = index;
	dev->state = VFDTEST_ABSENT;
	dev->group = -1;
	dev->resettable = true;
	mutex_init(&dev->lock);
	mutex_init(&dev->irq_lock);
	mutex_init(&dev->truth_lock);
	xa_init(&dev->pins);
	xa_init(&dev->truth);
	INIT_WORK(&dev->remove, remove_work);

	dev->memory = vmalloc_user(MEMORY_SIZE);
	if (!dev->memory)
		return -ENOMEM;
	dev->pdev = platform_device_register_simple("vfdtest", index, NULL, 0);
	return PTR_ERR_OR_ZERO(dev->pdev);
}

static void device_destroy_one(unsigned int index)
{
	struct vfdtest *dev = &devices[index];
	unsigned long key, *chunk;

	if (!dev->memory)
		return;
	flush_work(&dev->remove);
	if (!IS_ERR_OR_NULL(dev->pdev))
		platform_device_unregister(dev->pdev);
	xa_for_each(&dev->truth, key, chunk)
		kfree(chunk);
	xa_destroy(&dev->truth);
	xa_destroy(&dev->pins);
	vfree(dev->memory);
}

static void vfdtest_cleanup(void)
{
	unsigned int i;

	for (i = 0; i < ndevices; i++)
		device_destroy_one(i);
	platform_driver_unregister(&vfdtest_driver);
	destroy_workqueue(vfdtest_wq);
}

static int __init vfdtest_module_init(void)
{
	unsigned int i;
	int ret;

	if (!ndevices || ndevices > VFDTEST_MAX_DEVICES)
		return -EINVAL;
	vfdtest_wq = alloc_workqueue("vfdtest", WQ_UNBOUND, 0);
	if (!vfdtest_wq)
		return -ENOMEM;
	ret = platform_driver_register(&vfdtest_driver);
	if (ret) {
		destroy_workqueue(vfdtest_wq);
		return ret;
	}
	for (i = 0; i < ndevices && !ret; i++)
		ret = device_create_one(i);
	if (!ret)
		ret = misc_register(&vfdtest_misc);
	if (ret)
		vfdtest_cleanup();
	return ret;
}

static void __exit vfdtest_module_exit(void)
{
	misc_deregister(&vfdtest_misc);
	vfdtest_cleanup();
}

module_init(vfdtest_module_init);
module_exit(vfdtest_module_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("VFIO test device that knows what it wrote");
MODULE_AUTHOR("libvfiodirty contributors");
