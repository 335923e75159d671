// SPDX-License-Identifier: GPL-2.0
/*
 * vfio.c - the VFIO device that user space opens
 */
#include <linux/delay.h>
#include <linux/vmalloc.h>

#include "device.h"

#define REGION_SHIFT	40
#define REGION_OFFSET(i)	((u64)(i) << REGION_SHIFT)

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
	mig_restart(dev);
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

int irq_signal(struct vfdtest *dev, unsigned int index, u64 times)
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
	mutex_lock(&dev->truth_lock);
	log_forget(dev);
	mutex_unlock(&dev->truth_lock);
	mig_restart(dev);
	dev->open = false;
	mutex_unlock(&dev->lock);
	for (i = 0; i < VFDTEST_IRQS; i++)
		irq_set(dev, i, NULL);
}

/*
 * The kernel holds its list of devices meanwhile, and vfio_unpin_pages() takes the
 * container's lock: to open a device it takes the two in the other order. That
 * is its own error (docs/kernel-contract.md, section 6), which lockdep would tell
 * once, and then watch nothing any more.
 */
static void vfdtest_dma_unmap(struct vfio_device *vdev, u64 iova, u64 length)
{
	struct vfdtest *dev = to_vfdtest(vdev);
	unsigned int delay = READ_ONCE(dev->unmap_delay);

	atomic64_inc(&dev->unmaps);
	atomic64_inc(&dev->unmapping);
	if (delay)
		msleep(delay);
	lockdep_off();
	mutex_lock(&dev->lock);
	unpin_all(dev, page_of(iova), page_of(iova + length - 1));
	mutex_unlock(&dev->lock);
	lockdep_on();
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
		log_forget(dev);
		mutex_unlock(&dev->truth_lock);
		mig_restart(dev);
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

const struct vfio_device_ops vfdtest_ops = {
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
