// SPDX-License-Identifier: GPL-2.0
/*
 * dma.c - the device's accesses to memory
 */
#include <linux/highmem.h>

#include "device.h"

/* ---- one access, inside one page --------------------------------------------- */

static void written(struct vfdtest *dev, u64 iova)
{
	truth_mark(dev, page_of(iova));
	dev->writes++;
}

/* Through the kernel's DMA call. */
int dma_write(struct vfdtest *dev, u64 iova, void *buf, size_t len)
{
	int ret = truth_prepare(dev, page_of(iova));

	if (!ret)
		ret = vfio_dma_rw(dev->vdev, iova, buf, len, true);
	if (ret)
		return ret;
	mutex_lock(&dev->truth_lock);
	written(dev, iova);
	mutex_unlock(&dev->truth_lock);
	return 0;
}

/* Through a pin, which truth_lock keeps from going away. The page is prepared: PIN did. */
int dma_write_pinned(struct vfdtest *dev, u64 iova, const void *buf, size_t len)
{
	struct pin *pin;
	int ret = -EINVAL;

	mutex_lock(&dev->truth_lock);
	pin = xa_load(&dev->pins, page_of(iova));
	if (pin && pin->write) {
		memcpy_to_page(pin->page, offset_in_page(iova), buf, len);
		written(dev, iova);
		ret = 0;
	}
	mutex_unlock(&dev->truth_lock);
	return ret;
}

/* ---- accesses by command -------------------------------------------------------- */

static void fill(u8 *buf, u64 iova, size_t len, u64 value)
{
	size_t i;

	for (i = 0; i < len; i++) {
		u64 word = vfdtest_word(value, (iova + i) & ~7ULL);

		buf[i] = ((u8 *)&word)[(iova + i) & 7];
	}
}

struct access {
	struct work_struct work;
	struct vfdtest *dev;
	const struct vfdtest_range *range;
	bool write;
	int ret;
};

static int access_page(struct access *a, u64 iova, size_t len, u8 *buf)
{
	if (!a->write)
		return vfio_dma_rw(a->dev->vdev, iova, buf, len, false);
	fill(buf, iova, len, a->range->value);
	if (a->range->flags & VFDTEST_WRITE_PINNED)
		return dma_write_pinned(a->dev, iova, buf, len);
	return dma_write(a->dev, iova, buf, len);
}

/*
 * Runs in a kernel thread: the container then uses the memory of whoever made
 * the mapping, as hardware does, whichever process gave the command.
 */
static void access_work(struct work_struct *work)
{
	struct access *a = container_of(work, struct access, work);
	u64 iova = a->range->iova, left = a->range->size;
	u8 *buf = kmalloc(VFDTEST_PAGE_SIZE, GFP_KERNEL);

	a->ret = buf ? 0 : -ENOMEM;
	while (left && !a->ret) {
		size_t len = min_t(u64, left, VFDTEST_PAGE_SIZE - offset_in_page(iova));

		a->ret = access_page(a, iova, len, buf);
		iova += len;
		left -= len;
		cond_resched();
	}
	kfree(buf);
}

int access_range(struct vfdtest *dev, const struct vfdtest_range *r, bool write)
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
