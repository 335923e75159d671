/* SPDX-License-Identifier: MIT */
#include "container.h"

#include <stdlib.h>
#include <string.h>

static const char *const set_op = "VFIO_DEVICE_SET_IRQS";

enum { MOST_VECTORS = 4096 };

/* data: count ints for DATA_EVENTFD, else NULL */
static int set_irqs(struct vfd_device *d, uint32_t flags, uint32_t irq, uint32_t start, const int *data,
		    uint32_t count)
{
	const struct sys *sys = d->group->container->sys;
	size_t extra = data ? count * sizeof *data : 0;
	struct vfio_irq_set *set = calloc(1, sizeof *set + extra);

	if (!set)
		return VFD_ENOMEMORY;
	set->argsz = (uint32_t)(sizeof *set + extra);
	set->flags = flags;
	set->index = irq;
	set->start = start;
	set->count = count;
	if (data)
		memcpy(set->data, data, extra);
	int rc = sys->ioctl(sys, d->fd, VFIO_DEVICE_SET_IRQS, set);
	free(set);
	return rc < 0 ? rc : 0;
}

static int all_off(struct vfd_device *d, uint32_t irq)
{
	return set_irqs(d, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, irq, 0, NULL, 0);
}

static int answer(const struct vfd_device *d, uint32_t irq, int rc, struct vfd_error *err)
{
	return rc ? fail_sys(err, -rc, set_op, "device %s, interrupt index %u (it has %u)", d->name, irq,
			     d->irqs)
		  : 0;
}

static int check_vectors(uint32_t start, uint32_t count, struct vfd_error *err)
{
	if (!count || count > MOST_VECTORS || start > UINT32_MAX - count)
		return fail(err, VFD_EINVALID, set_op, "%u vectors from %u: at least 1, at most %d", count,
			    start, MOST_VECTORS);
	return 0;
}

int vfd_device_irq_enable(struct vfd_device *device, uint32_t irq, uint32_t start, const int *eventfds,
			  uint32_t count, struct vfd_error *err)
{
	int rc = eventfds ? check_vectors(start, count, err)
			  : fail(err, VFD_EINVALID, set_op, "eventfds is NULL");

	if (!rc)
		rc = device_enter(device, set_op, err);
	if (rc)
		return rc;
	rc = set_irqs(device, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, irq, start, eventfds,
		      count);
	if (!rc && irq < 64)
		device->irqs_on |= UINT64_C(1) << irq;
	rc = answer(device, irq, rc, err);
	device_leave(device);
	return rc;
}

int vfd_device_irq_unmask(struct vfd_device *device, uint32_t irq, uint32_t start, uint32_t count,
			  struct vfd_error *err)
{
	int rc = check_vectors(start, count, err);

	if (!rc)
		rc = device_enter(device, set_op, err);
	if (rc)
		return rc;
	rc = answer(device, irq,
		    set_irqs(device, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, irq, start, NULL,
			     count),
		    err);
	device_leave(device);
	return rc;
}

int vfd_device_irq_disable(struct vfd_device *device, uint32_t irq, struct vfd_error *err)
{
	int rc = device_enter(device, set_op, err);

	if (rc)
		return rc;
	rc = answer(device, irq, all_off(device, irq), err);
	if (!rc && irq < 64)
		device->irqs_on &= ~(UINT64_C(1) << irq);
	device_leave(device);
	return rc;
}

/* At close: an error changes nothing, the kernel turns them off with the last reference anyway. */
void device_irqs_off(struct vfd_device *device)
{
	for (uint32_t irq = 0; irq < 64; irq++)
		if (device->irqs_on & (UINT64_C(1) << irq))
			all_off(device, irq);
	device->irqs_on = 0;
}
