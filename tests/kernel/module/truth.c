// SPDX-License-Identifier: GPL-2.0
/*
 * truth.c - which pages the device wrote
 */
#include "device.h"

/* One chunk is one page of bits: 128 MiB of IOVA. */
#define CHUNK_BITS	(PAGE_SIZE * 8)

/* ---- sets of pages ----------------------------------------------------------- */

void pageset_init(struct pageset *set)
{
	xa_init(&set->chunks);
}

void pageset_destroy(struct pageset *set)
{
	unsigned long key, *chunk;

	xa_for_each(&set->chunks, key, chunk)
		kfree(chunk);
	xa_destroy(&set->chunks);
}

static unsigned long *pageset_chunk(struct pageset *set, u64 page)
{
	return xa_load(&set->chunks, page / CHUNK_BITS);
}

static int pageset_make_chunk(struct pageset *set, u64 page)
{
	unsigned long *chunk = kzalloc(CHUNK_BITS / 8, GFP_KERNEL);
	int ret;

	if (!chunk)
		return -ENOMEM;
	ret = xa_err(xa_store(&set->chunks, page / CHUNK_BITS, chunk, GFP_KERNEL));
	if (ret)
		kfree(chunk);
	return ret;
}

/* The chunk is known to exist. */
void pageset_set(struct pageset *set, u64 page)
{
	__set_bit(page % CHUNK_BITS, pageset_chunk(set, page));
}

/* Copy pages first..last, if there is a bitmap; clear them, if so told. How many they were. */
static u64 pageset_walk(struct pageset *set, u64 first, u64 last, unsigned long *bitmap, bool clear)
{
	unsigned long key, *chunk, bit;
	u64 count = 0;

	xa_for_each_range(&set->chunks, key, chunk, first / CHUNK_BITS, last / CHUNK_BITS) {
		u64 base = (u64)key * CHUNK_BITS;
		unsigned long start = first > base ? first - base : 0;
		unsigned long end = min_t(u64, last - base + 1, CHUNK_BITS);

		bit = start;
		for_each_set_bit_from(bit, chunk, end) {
			if (bitmap)
				__set_bit(base + bit - first, bitmap);
			count++;
		}
		if (clear)
			bitmap_clear(chunk, start, end - start);
	}
	return count;
}

u64 pageset_clear(struct pageset *set, u64 first, u64 last)
{
	return pageset_walk(set, first, last, NULL, true);
}

/* The first page from *page on, if there is one up to last. */
bool pageset_next(struct pageset *set, u64 *page, u64 last)
{
	unsigned long key, *chunk, bit;

	if (*page > last)
		return false;
	xa_for_each_range(&set->chunks, key, chunk, *page / CHUNK_BITS, last / CHUNK_BITS) {
		u64 base = (u64)key * CHUNK_BITS;

		bit = find_next_bit(chunk, CHUNK_BITS, *page > base ? *page - base : 0);
		if (bit < CHUNK_BITS) {
			*page = base + bit;
			return *page <= last;
		}
	}
	return false;
}

/* ---- the truth ------------------------------------------------------------------ */

/*
 * Make room for a page's bit, here and in the log. Called before the write, because after it there
 * must be no way to fail.
 */
int truth_prepare(struct vfdtest *dev, u64 page)
{
	int ret = 0;

	if (pageset_chunk(&dev->truth, page))
		return 0;
	mutex_lock(&dev->truth_lock);
	if (!pageset_chunk(&dev->log.pages, page))
		ret = pageset_make_chunk(&dev->log.pages, page);
	if (!ret && !pageset_chunk(&dev->truth, page))
		ret = pageset_make_chunk(&dev->truth, page);
	mutex_unlock(&dev->truth_lock);
	return ret;
}

/* The page was written. It is prepared. */
void truth_mark(struct vfdtest *dev, u64 page)
{
	lockdep_assert_held(&dev->truth_lock);
	pageset_set(&dev->truth, page);
	log_mark(dev, page);
	dev->sequence++;
}

/* Who holds a pin for writing may have written until now. */
void truth_fold_pins(struct vfdtest *dev, u64 first, u64 last)
{
	unsigned long page;
	struct pin *pin;

	lockdep_assert_held(&dev->truth_lock);
	if (dev->quiet || dev->stopped)
		return;
	xa_for_each_range(&dev->pins, page, pin, first, last) {
		if (!pin->write || pin->still)
			continue;
		pageset_set(&dev->truth, page);
		log_mark(dev, page);
	}
}

int truth_read(struct vfdtest *dev, struct vfdtest_truth *t, void __user *arg)
{
	u64 first = page_of(t->iova);
	u64 last = page_of(t->iova + t->size - 1);
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
	t->pages = pageset_walk(&dev->truth, first, last, bitmap, false);
	t->sequence = dev->sequence;
	t->time_ns = ktime_get_ns();
	if (copy_to_user(u64_to_user_ptr(t->bitmap), bitmap, bytes) ||
	    copy_to_user(arg, t, sizeof(*t)))
		ret = -EFAULT;
	else if (t->flags & VFDTEST_TRUTH_CLEAR)
		pageset_clear(&dev->truth, first, last);
	mutex_unlock(&dev->truth_lock);
	mutex_unlock(&dev->lock);

	kvfree(bitmap);
	return ret;
}
