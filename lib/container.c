/* SPDX-License-Identifier: MIT */
#include "container.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "choose.h"
#include "options.h"
#include "pin.h"
#include "track.h"

struct vfd_container *container_make(const struct sys *sys, int fd, struct vfd_log *log,
				     struct vfd_error *err)
{
	struct vfd_container *c = calloc(1, sizeof *c);

	if (!c || forkguard_init(&c->guard)) {
		free(c);
		fail(err, VFD_ENOMEMORY, "open container", "no memory for the container's record");
		return NULL;
	}
	c->sys = sys;
	c->fd = fd;
	c->kind = VFD_KIND_TYPE1_V2;
	gate_init(&c->gate);
	space_init(&c->space, sys, log, fd);
	return c;
}

void container_free(struct vfd_container *container)
{
	while (container->groups)
		group_free(container->groups);
	audit_free(container->audit);
	free(container->iommufd.tables);
	free(container->iommufd.allowed);
	pinsets_free(&container->space);
	space_end(&container->space);
	gate_end(&container->gate);
	forkguard_end(&container->guard);
	free(container);
}

void container_native(struct vfd_container *c)
{
	c->kind = VFD_KIND_IOMMUFD;
	c->space.backend.ops = &iommufd_ops;
	c->space.backend.iommufd = &c->iommufd;
	c->space.alone = false; /* it is type1 that cannot be asked for several by 32 bits */
}

int container_open_on(const struct sys *sys, const struct vfd_container_options *user,
		      struct vfd_container **container, struct vfd_error *err)
{
	struct vfd_container_options options = { 0 };
	int rc =
		user ? copy_options(&options, sizeof options, offsetof(struct vfd_container_options, backend),
				    user, "struct vfd_container_options", err)
		     : 0;

	if (rc)
		return rc;
	rc = check_log(options.log, err);
	if (rc)
		return rc;
	if (!container)
		return fail(err, VFD_EINVALID, "open container", "container is NULL");
	rc = check_orders(options.flags & ~(uint32_t)VFD_OPEN_FINE, options.log, "open container", err);
	if (rc)
		return rc;
	struct choice choice = { 0 };
	int fd = choose_backend(sys, &options, &choice, err);
	if (fd < 0)
		return fd;
	struct vfd_container *c = container_make(sys, fd, options.log, err);
	if (!c) {
		sys->close(sys, fd);
		return VFD_ENOMEMORY;
	}
	memcpy(c->why, choice.why, sizeof c->why);
	if (choice.kind == VFD_KIND_IOMMUFD)
		container_native(c);
	c->iommufd.fine = options.flags & VFD_OPEN_FINE;
	table_keep(&c->space.table, options.flags);
	*container = c;
	return 0;
}

int vfd_container_open(const struct vfd_container_options *options, struct vfd_container **container,
		       struct vfd_error *err)
{
	return container_open_on(&sys_linux, options, container, err);
}

int vfd_container_fd(const struct vfd_container *container)
{
	return container ? container->fd : -1;
}

/* The order is devices, groups, container: each step's record is collected before the step. */
static int drain_all(struct vfd_container *c, struct vfd_error *err)
{
	for (struct vfd_group *g = c->groups; g; g = g->next) {
		int rc = group_drain(g, g->next ? 0 : VFD_HARVEST_FINAL,
				     err); /* the last time with all devices closed */
		if (rc)
			return rc;
	}
	return 0;
}

static const char *first_open(const struct vfd_container *c)
{
	const char *name = "";

	for (const struct vfd_group *g = c->groups; g && !*name; g = g->next)
		name = group_first_open(g);
	return name;
}

static int prepare_close(struct vfd_container *c, unsigned flags, struct vfd_error *err)
{
	static const char *const op = "close container";
	unsigned open = container_open_devices(c);

	if (flags & VFD_DISCARD)
		return 0;
	if (flags & VFD_COLLECT) {
		int rc = drain_all(c, err);
		if (rc)
			return rc;
	} else if (open) {
		return fail(err, VFD_EDEVICES, op, "open devices: %u (%s%s); close them, or pass VFD_COLLECT",
			    open, first_open(c), open > 1 ? ", ..." : "");
	}
	if (!space_clean_but(&c->space, c->space.held))
		return refuse_loss(
			c, op, err,
			"the kernel holds a dirty record that was not collected since the last device "
			"could write; pass "
			"VFD_COLLECT, or VFD_DISCARD to lose it");
	return flags ? 0 : track_collect(&c->space, 0, err); /* as in detach() */
}

/* Handles stay valid until all of it succeeded. What cannot be unset goes with its descriptor if it is to be dropped anyway. */
static int unset_groups(struct vfd_container *c, bool force, struct vfd_error *err)
{
	for (struct vfd_group *g = c->groups; g; g = g->next) {
		if (!g->attached)
			continue;
		group_close_devices(g);
		int rc = c->borrowed ? 0 : group_unset(g, err);
		if (rc && !force)
			return rc;
		if (g->attached) {
			group_close(g);
			g->attached = false;
		}
	}
	return 0;
}

/* Behind a closed gate. From then on it is closed to everyone: what its last messages are told to must not begin anything in it. */
static int empty_it(struct vfd_container *c, unsigned flags, const char *op, struct vfd_error *err)
{
	int rc = pins_refuse(&c->space, op, err);

	if (!rc)
		rc = prepare_close(c, flags, err);
	if (!rc)
		rc = unset_groups(c, flags & VFD_DISCARD, err);
	if (!rc) {
		c->ended = true;
		forkguard_trip(&c->guard);
	}
	return rc;
}

int vfd_container_close(struct vfd_container **container, unsigned flags, struct vfd_error *err)
{
	static const char *const op = "close container";
	struct vfd_container *c = container ? *container : NULL;
	int rc = check_destroy_flags(flags, op, err);

	if (!rc)
		rc = container_close_gate(c, op, err);
	if (rc)
		return rc;
	rc = empty_it(c, flags, op, err);
	container_open_gate(c);
	if (rc)
		return rc;
	messages_name(&c->space.messages, 0, NULL, NULL); /* waits for other threads that are handing over */
	c->sys->close(c->sys, c->fd);
	container_free(c);
	*container = NULL;
	return 0;
}

/* No ioctl, no lock: the parent's threads may have held them at the fork. And nothing is freed: they may have been in the middle of
 * changing the records. The child loses a little memory, and keeps its word. */
static void release_group(struct vfd_group *g)
{
	const struct sys *sys = g->container->sys;

	for (struct vfd_device *d = g->devices; d; d = d->next) {
		device_unmap_areas(d);
		if (d->migration.stream >= 0)
			sys->close(sys, d->migration.stream);
		if (d->fd >= 0)
			sys->close(sys, d->fd);
	}
	if (g->fd >= 0)
		sys->close(sys, g->fd);
}

int vfd_container_release(struct vfd_container **container, struct vfd_error *err)
{
	struct vfd_container *c = container ? *container : NULL;

	if (!c)
		return fail(err, VFD_EINVALID, "release container", "the container is NULL");
	if (!forked(&c->guard) || c->ended)
		return fail(
			err, VFD_ESTATE, "release container",
			"this process opened the container: vfd_container_close it; release is for children");
	for (struct vfd_group *g = c->groups; g; g = g->next)
		release_group(g);
	if (c->audit)
		stores_close(&c->audit->stores);
	c->sys->close(c->sys, c->fd);
	forkguard_end(&c->guard);
	*container = NULL;
	return 0;
}
