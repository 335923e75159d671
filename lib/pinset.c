/* SPDX-License-Identifier: MIT */

/* Pin sets come and go. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "options.h"
#include "pin.h"

static const char *const create_op = "create pin set", *const destroy_op = "destroy pin set";

enum { DEFAULT_CAPACITY = 256, MOST_CAPACITY = 1 << 20 };

static struct vfd_pinset *make(struct vfd_container *c, const struct vfd_pinset_options *o)
{
	uint32_t capacity = o->capacity ? o->capacity : DEFAULT_CAPACITY;
	const char *name = o->name ? o->name : "pin set";
	struct vfd_pinset *set = aligned_alloc(CACHE_LINE, sizeof *set);

	if (!set)
		return NULL;
	memset(set, 0, sizeof *set);
	set->places = aligned_alloc(CACHE_LINE, capacity * sizeof *set->places);
	if (!set->places) {
		free(set);
		return NULL;
	}
	memset(set->places, 0, capacity * sizeof *set->places);
	set->container = c;
	set->space = &c->space;
	set->guard = c->guard;
	set->capacity = capacity;
	set->page_shift = c->space.log ? (unsigned)__builtin_ctzll(vfd_log_page_size(c->space.log)) : 12;
	memcpy(set->name, name, strnlen(name, sizeof set->name - 1));
	return set;
}

static void unmake(struct vfd_pinset *set)
{
	free(set->places);
	free(set);
}

static int check_options(const struct vfd_pinset_options *o, struct vfd_error *err)
{
	if (o->flags || o->pad)
		return fail(err, VFD_EINVALID, create_op, "flags %#" PRIx32 " are unknown: set 0",
			    o->flags | o->pad);
	if (o->capacity > MOST_CAPACITY)
		return fail(err, VFD_EINVALID, create_op, "capacity %" PRIu32 ": at most %d", o->capacity,
			    MOST_CAPACITY);
	return 0;
}

int vfd_pinset_create(struct vfd_container *container, const struct vfd_pinset_options *user,
		      struct vfd_pinset **out, struct vfd_error *err)
{
	struct vfd_pinset_options o = { 0 };
	int rc = user ? copy_options(&o, sizeof o, sizeof o, user, "struct vfd_pinset_options", err) : 0;

	if (!rc)
		rc = out ? check_options(&o, err) : fail(err, VFD_EINVALID, create_op, "set is NULL");
	if (!rc)
		rc = container_close_gate(container, create_op, err);
	if (rc)
		return rc;
	struct vfd_pinset *set = make(container, &o);
	if (set) {
		set->next = container->space.pinsets;
		container->space.pinsets = set;
		*out = set;
	} else {
		rc = fail(err, VFD_ENOMEMORY, create_op, "no memory for a pin set");
	}
	container_open_gate(container);
	return rc;
}

static int check_destroy(const struct vfd_pinset *set, unsigned flags, struct vfd_error *err)
{
	uint32_t held = vfd_pinset_held(set);
	unsigned devices = container_open_devices(set->container);

	if (held && !(flags & VFD_PIN_ABANDON))
		return fail(err, VFD_EPINNED, destroy_op,
			    "%" PRIu32
			    " pins of set '%s' are held: unpin them, or close all devices and pass "
			    "VFD_PIN_ABANDON",
			    held, set->name);
	if (held && devices)
		return fail(err, VFD_EDEVICES, destroy_op,
			    "open devices: %u; they may use the %" PRIu32
			    " pins of set '%s': close them first",
			    devices, held, set->name);
	return 0;
}

static void unlink_set(struct vfd_pinset *set)
{
	struct vfd_pinset **link = &set->space->pinsets;

	while (*link != set)
		link = &(*link)->next;
	*link = set->next;
}

static int destroy(struct vfd_pinset *set, unsigned flags, struct vfd_error *err)
{
	int rc = check_destroy(set, flags, err);

	if (rc)
		return rc;
	if (set->space->tracking) /* what is abandoned was written until the devices were closed */
		pins_mark(set->space);
	unlink_set(set);
	return 0;
}

int vfd_pinset_destroy(struct vfd_pinset **set, unsigned flags, struct vfd_error *err)
{
	if (!set || !*set)
		return fail(err, VFD_EINVALID, destroy_op, "set is NULL");
	if (flags & ~(unsigned)VFD_PIN_ABANDON)
		return fail(err, VFD_EINVALID, destroy_op, "flags %#x: 0 or VFD_PIN_ABANDON", flags);
	struct vfd_container *container = (*set)->container;
	int rc = container_close_gate(container, destroy_op, err);
	if (rc)
		return rc;
	rc = destroy(*set, flags, err);
	container_open_gate(container);
	if (rc)
		return rc;
	unmake(*set);
	*set = NULL;
	return 0;
}

void pinsets_free(struct space *space)
{
	while (space->pinsets) {
		struct vfd_pinset *set = space->pinsets;
		space->pinsets = set->next;
		unmake(set);
	}
}

static int declare(struct vfd_device *device, struct vfd_error *err)
{
	if (device->fd < 0)
		return fail(err, VFD_ESTATE, "declare pins", "the device is closed");
	device->pins_all = true;
	group_recount(device->group);
	return 0;
}

int vfd_device_pins_all(struct vfd_device *device, struct vfd_error *err)
{
	if (!device)
		return fail(err, VFD_EINVALID, "declare pins", "the device is NULL");
	int rc = container_close_gate(device->group->container, "declare pins", err);
	if (rc)
		return rc;
	rc = declare(device, err);
	container_open_gate(device->group->container);
	return rc;
}
