// SPDX-License-Identifier: GPL-2.0
/*
 * pins.c - pages the device holds
 */
#include <linux/iommu.h>

#include "device.h"

bool all_pinned(struct vfdtest *dev, const struct vfdtest_range *r, bool write)
{
	u64 page = page_of(r->iova);
	u64 last = page_of(r->iova + r->size - 1);

	for (; page <= last; page++) {
		struct pin *pin = xa_load(&dev->pins, page);

		if (!pin || (write && !pin->write))
			return false;
	}
	return true;
}

static void forget(struct vfdtest *dev, u64 page)
{
	mutex_lock(&dev->truth_lock);	/* the writer may be looking */
	kfree(xa_erase(&dev->pins, page));
	mutex_unlock(&dev->truth_lock);
}

static struct pin *find_or_make(struct vfdtest *dev, u64 page)
{
	struct pin *pin = xa_load(&dev->pins, page);

	if (pin)
		return pin;
	pin = kzalloc(sizeof(*pin), GFP_KERNEL);
	if (pin && xa_err(xa_store(&dev->pins, page, pin, GFP_KERNEL))) {
		kfree(pin);
		return NULL;
	}
	return pin;
}

/* Take one pin. Whether it is for writing is noted by the caller, at the end. */
static int pin_one(struct vfdtest *dev, u64 page, bool write)
{
	int prot = IOMMU_READ | (write ? IOMMU_WRITE : 0);
	struct pin *pin;
	struct page *p;
	int ret;

	ret = truth_prepare(dev, page);
	if (ret)
		return ret;
	pin = find_or_make(dev, page);
	if (!pin)
		return -ENOMEM;

	ret = vfio_pin_pages(dev->vdev, iova_of(page), 1, prot, &p);
	if (ret != 1) {
		if (!pin->count)
			forget(dev, page);
		return ret < 0 ? ret : -EFAULT;
	}
	pin->page = p;
	pin->count++;
	dev->npins++;
	return 0;
}

/* The memory is let go of only after nobody finds it here any more. */
static void unpin_one(struct vfdtest *dev, u64 page, struct pin *pin)
{
	dev->npins--;
	if (!--pin->count)
		forget(dev, page);
	vfio_unpin_pages(dev->vdev, iova_of(page), 1);
}

static void fold(struct vfdtest *dev, u64 first, u64 last)
{
	mutex_lock(&dev->truth_lock);
	truth_fold_pins(dev, first, last);
	mutex_unlock(&dev->truth_lock);
}

/* Give back every pin of pages first..last; each counts as written until now. */
void unpin_all(struct vfdtest *dev, u64 first, u64 last)
{
	unsigned long page;
	struct pin *pin;

	lockdep_assert_held(&dev->lock);
	fold(dev, first, last);
	xa_for_each_range(&dev->pins, page, pin, first, last) {
		u64 count = pin->count;

		while (count--)
			unpin_one(dev, page, pin);
	}
}

/* From here on the device may write: everything is pinned. */
static void allow_writes(struct vfdtest *dev, u64 first, u64 last, bool still)
{
	unsigned long page;
	struct pin *pin;

	mutex_lock(&dev->truth_lock);
	xa_for_each_range(&dev->pins, page, pin, first, last) {
		pin->still = still && (pin->still || !pin->write);
		pin->write = true;
		if (!pin->still)
			truth_mark(dev, page);
	}
	mutex_unlock(&dev->truth_lock);
}

int pin_range(struct vfdtest *dev, const struct vfdtest_range *r)
{
	u64 first = page_of(r->iova);
	u64 end = first + page_of(r->size), page;
	bool write = r->flags & VFDTEST_PIN_WRITE;
	int ret = 0;

	if (r->flags & ~(VFDTEST_PIN_WRITE | VFDTEST_PIN_STILL) || r->flags == VFDTEST_PIN_STILL)
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
	if (write)
		allow_writes(dev, first, end - 1, r->flags & VFDTEST_PIN_STILL);
	return 0;
}

int unpin_range(struct vfdtest *dev, const struct vfdtest_range *r)
{
	u64 first = page_of(r->iova);
	u64 end = first + page_of(r->size), page;

	if (r->flags || !all_pinned(dev, r, false))
		return -EINVAL;
	fold(dev, first, end - 1);
	for (page = first; page < end; page++)
		unpin_one(dev, page, xa_load(&dev->pins, page));
	return 0;
}
