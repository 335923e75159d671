/* SPDX-License-Identifier: MIT */
/* Interrupts: eventfds per index and vector. */
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "internal.h"

#define VECTORS_MAX ARRAY_SIZE(((struct device *)0)->triggers[0])
#define HEAD_SIZE   sizeof(struct vfio_irq_set)

uint32_t device_irq_count(const struct device *d)
{
	return d->config->pci ? VFIO_PCI_NUM_IRQS : VFDTEST_IRQS;
}

static uint32_t vectors(const struct device *d, uint32_t index)
{
	return d->config->pci && index == VFIO_PCI_MSIX_IRQ_INDEX ? VECTORS_MAX : 1;
}

int device_irq_info(struct device *d, void *argument)
{
	struct vfio_irq_info info;

	if (copy_in(&info, argument, sizeof(info)))
		return -EFAULT;
	if (info.argsz < sizeof(info) || info.index >= device_irq_count(d))
		return -EINVAL;
	info.flags = VFIO_IRQ_INFO_EVENTFD;
	if (d->config->pci && info.index == VFIO_PCI_INTX_IRQ_INDEX)
		info.flags |= VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
	else if (d->config->pci)
		info.flags |= VFIO_IRQ_INFO_NORESIZE;
	info.count = vectors(d, info.index);
	return copy_out(argument, &info, sizeof(info));
}

static void set_trigger(struct device *d, uint32_t index, uint32_t vector, int fd)
{
	int *trigger = &d->triggers[index][vector];

	if (*trigger >= 0)
		close(*trigger);
	*trigger = fd;
}

void device_drop_triggers(struct device *d)
{
	for (uint32_t i = 0; i < ARRAY_SIZE(d->triggers); i++)
		for (uint32_t j = 0; j < VECTORS_MAX; j++)
			set_trigger(d, i, j, -1);
}

unsigned device_trigger_count(const struct device *d)
{
	unsigned count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(d->triggers); i++)
		for (size_t j = 0; j < VECTORS_MAX; j++)
			count += d->triggers[i][j] >= 0;
	return count;
}

/* vfio_set_irqs_validate_and_prepare: bytes of data that follow, or what is wrong. */
static ssize_t check(const struct device *d, const struct vfio_irq_set *set)
{
	uint32_t size = 0;

	if (set->argsz < HEAD_SIZE || set->index >= device_irq_count(d) ||
	    set->count >= UINT32_MAX - set->start ||
	    set->flags & ~(uint32_t)(VFIO_IRQ_SET_DATA_TYPE_MASK | VFIO_IRQ_SET_ACTION_TYPE_MASK))
		return -EINVAL;
	if (set->start >= vectors(d, set->index) || set->start + set->count > vectors(d, set->index))
		return -EINVAL;
	switch (set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK) {
	case VFIO_IRQ_SET_DATA_NONE:
		break;
	case VFIO_IRQ_SET_DATA_BOOL:
		size = 1;
		break;
	case VFIO_IRQ_SET_DATA_EVENTFD:
		size = sizeof(int32_t);
		break;
	default:
		return -EINVAL;
	}
	return set->argsz - HEAD_SIZE < set->count * size ? -EINVAL : (ssize_t)(set->count * size);
}

static int set_eventfds(struct device *d, const struct vfio_irq_set *set, const int32_t *fds)
{
	int copies[VECTORS_MAX];

	for (uint32_t i = 0; i < set->count; i++) {
		copies[i] = fds[i] < 0 ? -1 : dup(fds[i]);
		if (fds[i] >= 0 && copies[i] < 0) {
			while (i--)
				if (copies[i] >= 0)
					close(copies[i]);
			return -EBADF;
		}
	}
	for (uint32_t i = 0; i < set->count; i++)
		set_trigger(d, set->index, set->start + i, copies[i]);
	return 0;
}

int device_fire(const struct device *d, uint32_t index, uint32_t vector)
{
	int fd = d->triggers[index][vector];

	return fd < 0 || eventfd_write(fd, 1) ? -ENOTCONN : 0;
}

/* Fire those that are asked for (NULL: all), or with no vectors turn everything of the index off. */
static int set_none(struct device *d, const struct vfio_irq_set *set, const uint8_t *wanted)
{
	if (!set->count)
		for (uint32_t i = 0; i < VECTORS_MAX; i++)
			set_trigger(d, set->index, i, -1);
	for (uint32_t i = 0; i < set->count; i++)
		if (!wanted || wanted[i])
			device_fire(d, set->index, set->start + i);
	return 0;
}

int device_set_irqs(struct device *d, void *argument)
{
	struct vfio_irq_set set;
	int32_t fds[VECTORS_MAX];
	ssize_t bytes;

	if (copy_in(&set, argument, HEAD_SIZE))
		return -EFAULT;
	bytes = check(d, &set);
	if (bytes < 0)
		return (int)bytes;
	if (copy_in(fds, (const char *)argument + HEAD_SIZE, (size_t)bytes))
		return -EFAULT;
	switch (set.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK) {
	case VFIO_IRQ_SET_ACTION_MASK:
	case VFIO_IRQ_SET_ACTION_UNMASK:
		return set.index == 0 && d->config->pci ? 0 : -ENOTTY;
	case VFIO_IRQ_SET_ACTION_TRIGGER:
		break;
	default:
		return -ENOTTY;
	}
	if (set.flags & VFIO_IRQ_SET_DATA_EVENTFD)
		return set_eventfds(d, &set, fds);
	return set_none(d, &set, set.flags & VFIO_IRQ_SET_DATA_BOOL ? (const uint8_t *)fds : NULL);
}

int model_irq(struct model *m, const char *name, uint32_t index, uint32_t vector)
{
	struct device *d;
	int result = -ENOTCONN;

	model_lock(m);
	d = device_by_name(m, name);
	if (d && index < device_irq_count(d) && vector < vectors(d, index))
		result = device_fire(d, index, vector);
	model_unlock(m);
	return result;
}
