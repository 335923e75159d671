/* SPDX-License-Identifier: MIT */

/* A device is reset by VFIO_DEVICE_RESET, but its guest does it too: by a bit in configuration space, or on its way out of D3hot. What its log
 * had then may be gone, as after any reset. */

#include "container.h"

#include <linux/pci_regs.h>

/* PCI Express base specification, 7.5; PCI: "Advanced Capabilities for Conventional PCI". The kernel resets the whole function:
 * vfio_exp_config_write(), vfio_af_config_write(), vfio_pci_set_power_state(). */
enum {
	LIST_LONGEST = 48,
	POWER_D3HOT = 3,
	EXPRESS_CONTROL = PCI_EXP_DEVCTL + 1, /* its high byte */
	EXPRESS_RESET = PCI_EXP_DEVCTL_BCR_FLR >> 8,
};

struct config {
	const struct vfd_device *device;
	uint64_t offset; /* of the region */
	bool unreadable;
	struct range written;
	const unsigned char *data;
};

static unsigned get(struct config *c, unsigned at)
{
	const struct sys *sys = c->device->group->container->sys;
	unsigned char byte = 0;

	c->unreadable |= sys->pread(sys, c->device->fd, &byte, 1, c->offset + at) != 1;
	return byte;
}

static bool writes_bit(const struct config *c, unsigned at, unsigned bit)
{
	return at >= c->written.first && at <= c->written.last && c->data[at - c->written.first] & bit;
}

static bool wakes(struct config *c, unsigned at)
{
	if (at < c->written.first || at > c->written.last)
		return false;
	bool stays = (c->data[at - c->written.first] & PCI_PM_CTRL_STATE_MASK) == POWER_D3HOT;
	unsigned now = get(c, at);

	return !stays && (now & PCI_PM_CTRL_STATE_MASK) == POWER_D3HOT && !(now & PCI_PM_CTRL_NO_SOFT_RESET);
}

static bool resets(struct config *c, unsigned at)
{
	switch (get(c, at)) {
	case PCI_CAP_ID_PM:
		return wakes(c, at + PCI_PM_CTRL);
	case PCI_CAP_ID_EXP:
		return writes_bit(c, at + EXPRESS_CONTROL, EXPRESS_RESET);
	case PCI_CAP_ID_AF:
		return writes_bit(c, at + PCI_AF_CTRL, PCI_AF_CTRL_FLR);
	default:
		return false;
	}
}

bool device_is_config(const struct vfd_device *d, uint32_t region)
{
	return d->flags & VFIO_DEVICE_FLAGS_PCI && region == VFIO_PCI_CONFIG_REGION_INDEX;
}

/* What cannot be read may say so. */
bool device_write_resets(struct vfd_device *d, uint32_t region, uint64_t offset, const void *data,
			 uint64_t size)
{
	struct vfd_device_region space = { 0 };
	struct config c = { .device = d, .written = { offset, offset + size - 1 }, .data = data };
	bool found = false;

	if (!device_is_config(d, region) || c.written.last < PCI_STD_HEADER_SIZEOF)
		return false;
	if (!d->recorder.armed && !d->migration.flags) /* nothing of it is known that could end */
		return false;
	if (device_query_region(d, region, &space, NULL))
		return true;
	c.offset = space.offset;
	unsigned at = get(&c, PCI_STATUS) & PCI_STATUS_CAP_LIST ? get(&c, PCI_CAPABILITY_LIST) & ~3u : 0;
	for (int i = 0; at >= PCI_STD_HEADER_SIZEOF && i < LIST_LONGEST && !found; i++) {
		found = resets(&c, at);
		at = get(&c, at + 1) & ~3u;
	}
	return found || c.unreadable;
}
