// SPDX-License-Identifier: GPL-2.0
/*
 * commands.c - /dev/vfdtest
 */
#include <linux/miscdevice.h>

#include "device.h"

#define UNMAP_DELAY_MAX	10000
#define IRQ_MAX		1000

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
	else if (dev->stopped && cmd != VFDTEST_UNPIN)
		ret = -ESHUTDOWN;
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
	else if (dev->stopped)
		ret = -ESHUTDOWN;
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
	s->mig_state = dev->mig.state;
	mutex_lock(&dev->truth_lock);
	s->logging = dev->log.on;
	s->log_starts = dev->log.starts;
	s->log_lost = dev->log.lost;
	s->writes = dev->writes;
	s->sequence = dev->sequence;
	mutex_unlock(&dev->truth_lock);
	mutex_unlock(&dev->lock);
	s->unmaps = atomic64_read(&dev->unmaps);
	s->unmapping = atomic64_read(&dev->unmapping);
	s->requests = atomic64_read(&dev->requests);
	return copy_to_user(arg, s, sizeof(*s)) ? -EFAULT : 0;
}

/* What the device offers, and how that fails. */
static long cmd_offer(struct vfdtest *dev, const struct vfdtest_set *set)
{
	long ret;

	mutex_lock(&dev->lock);
	mutex_lock(&dev->truth_lock);
	if (set->knob >= VFDTEST_MIG)
		ret = mig_knob(dev, set->knob, set->value);
	else
		ret = log_knob(dev, set->knob, set->value);
	mutex_unlock(&dev->truth_lock);
	mutex_unlock(&dev->lock);
	return ret;
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
		return complain_warn();
	case VFDTEST_PAST_END:
		return complain_past_end();
	case VFDTEST_LOCK_ORDER:
		return complain_lock_order();
	default:
		return cmd_offer(dev, set);
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

struct miscdevice vfdtest_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "vfdtest",
	.fops = &vfdtest_fops,
	.mode = 0600,
};
