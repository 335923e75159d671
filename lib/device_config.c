/* SPDX-License-Identifier: MIT */

/* A device is reset by VFIO_DEVICE_RESET, but its guest does it too: by a bit in configuration space, or on its way out of D3hot. What its log
 * had then may be gone, as after any reset. */

#include "container.h"

/* PCI Express base specification, 7.5; PCI: "Advanced Capabilities for Conventional PCI". Offsets behind the names of capabilities are from their
 * beginning. The kernel resets the whole function: vfio_exp_config_write(), vfio_af_config_write(), vfio_pci_set_power_state(). */
enum {
	STATUS = 0x06,
	STATUS_HAS_LIST = 0x10,
	LIST = 0x34,
	LIST_BEGINS = 0x40, /* behind the header */
	LIST_LONGEST = 48,
	POWER = 0x01,
	POWER_CONTROL = 4,
	POWER_STATE = 3,
	POWER_D3HOT = 3,
	POWER_NO_RESET = 8,
	EXPRESS = 0x10,
	EXPRESS_CONTROL = 9, /* its high byte */
	EXPRESS_RESET = 0x80,
	ADVANCED = 0x13,
	ADVANCED_CONTROL = 4,
	ADVANCED_RESET = 1,
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
	bool stays = (c->data[at - c->written.first] & POWER_STATE) == POWER_D3HOT;
	unsigned now = get(c, at);

	return !stays && (now & POWER_STATE) == POWER_D3HOT && !(now & POWER_NO_RESET);
}

static bool resets(struct config *c, unsigned at)
{
	switch (get(c, at)) {
	case POWER:
		return wakes(c, at + POWER_CONTROL);
	case EXPRESS:
		return writes_bit(c, at + EXPRESS_CONTROL, EXPRESS_RESET);
	case ADVANCED:
		return writes_bit(c, at + ADVANCED_CONTROL, ADVANCED_RESET);
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

	if (!device_is_config(d, region) || c.written.last < LIST_BEGINS)
		return false;
	if (!d->recorder.armed && !d->migration.flags) /* nothing of it is known that could end */
		return false;
	if (device_query_region(d, region, &space, NULL))
		return true;
	c.offset = space.offset;
	unsigned at = get(&c, STATUS) & STATUS_HAS_LIST ? get(&c, LIST) & ~3u : 0;
	for (int i = 0; at >= LIST_BEGINS && i < LIST_LONGEST && !found; i++) {
		found = resets(&c, at);
		at = get(&c, at + 1) & ~3u;
	}
	return found || c.unreadable;
}
