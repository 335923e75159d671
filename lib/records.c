/* SPDX-License-Identifier: MIT */

/* The records of groups and devices, and their lists. No system call here. */

#include "container.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct vfd_group *group_make(struct vfd_container *container, int number, struct vfd_error *err)
{
	struct vfd_group *g = calloc(1, sizeof *g);

	if (!g) {
		fail(err, VFD_ENOMEMORY, "attach group", "no memory for the group's record");
		return NULL;
	}
	g->container = container;
	g->number = number;
	g->fd = -1;
	return g;
}

void group_close(struct vfd_group *g)
{
	if (g->fd >= 0)
		g->container->sys->close(g->container->sys, g->fd);
	g->fd = -1;
}

void group_free(struct vfd_group *group)
{
	struct vfd_group **link = &group->container->groups;

	while (*link && *link != group)
		link = &(*link)->next;
	if (*link)
		*link = group->next;
	while (group->devices)
		device_free(group->devices);
	free(group);
}

void group_tell(struct vfd_group *g, bool attached)
{
	message(&g->container->space.messages, VFD_LEVEL_INFO,
		(struct note){ .kind = VFD_MSG_GROUP, .count = attached }, "group %d is %s", g->number,
		attached ? "attached" : "detached");
}

void group_joined(struct vfd_group *g)
{
	struct vfd_container *c = g->container;

	group_tell(g, true);
	g->next = c->groups;
	c->groups = g;
	g->attached = true;
	g->answered = is_iommufd(c); /* there each device is attached by itself: none can write yet */
	c->space.unanswered += !g->answered;
	if (!g->physical)
		return;
	c->had_physical = true;
	c->space.physical++;
	snprintf(c->space.all_dirty_who, sizeof c->space.all_dirty_who, "group %d", g->number);
}

unsigned group_open_devices(const struct vfd_group *group)
{
	unsigned count = 0;

	for (const struct vfd_device *d = group->devices; d; d = d->next)
		count += d->fd >= 0;
	return count;
}

bool group_is_last(const struct vfd_group *group)
{
	for (const struct vfd_group *g = group->container->groups; g; g = g->next)
		if (g != group && g->attached)
			return false;
	return true;
}

struct vfd_device *group_find_device(const struct vfd_group *group, const char *name)
{
	for (struct vfd_device *d = group->devices; d; d = d->next)
		if (d->fd >= 0 && !strcmp(d->name, name))
			return d;
	return NULL;
}

unsigned container_open_devices(const struct vfd_container *container)
{
	unsigned count = 0;

	for (const struct vfd_group *g = container->groups; g; g = g->next)
		count += group_open_devices(g);
	return count;
}

struct vfd_device *device_make(struct vfd_group *group, const char *name, int fd, struct vfd_error *err)
{
	struct vfd_device *d = calloc(1, sizeof *d);

	if (d)
		d->name = strdup(name);
	if (!d || !d->name) {
		free(d);
		fail(err, VFD_ENOMEMORY, "open device", "no memory for the device's record");
		return NULL;
	}
	d->group = group;
	d->fd = fd;
	d->migration.stream = -1;
	pthread_mutex_init(&d->migration.mutex, NULL);
	pthread_mutex_init(&d->mutex, NULL);
	return d;
}

static void set_answered(struct vfd_group *g, bool answered, bool by_log, bool by_record)
{
	struct space *space = &g->container->space;
	enum vfd_reason was = space_owes_everything(space);

	space->unanswered += g->answered && !answered;
	space->unanswered -= !g->answered && answered;
	g->answered = answered;
	g->by_log = by_log;
	space->by_record += by_record && !g->by_record;
	space->by_record -= !by_record && g->by_record;
	g->by_record = by_record;
	space_answer_changed(space, was);
}

/* With none open it stays as it was. */
void group_recount(struct vfd_group *g)
{
	bool all = true, by_log = false, by_record = false;

	for (const struct vfd_device *d = g->devices; d; d = d->next) {
		all &= d->fd < 0 || device_answers(d);
		if (d->fd < 0 || d->pins_all)
			continue;
		bool by_itself = d->recorded && !recorder_answers(&d->recorder);
		by_record |= by_itself;
		by_log |= !by_itself;
	}
	if (group_open_devices(g))
		set_answered(g, all, all && by_log, by_record);
}

/* In iommufd it was detached, and is in the table's record if it was in one. Who lent us a container by duplicates is the driver that promised. */
void group_held_elsewhere(struct vfd_group *g)
{
	bool promised = g->answered && !is_iommufd(g->container) && !g->container->borrowed;

	if (g->by_log || promised)
		set_answered(g, false, false, g->by_record);
}

void device_tell(struct vfd_device *device, bool opened)
{
	message(&device->group->container->space.messages, VFD_LEVEL_INFO,
		(struct note){ .kind = VFD_MSG_DEVICE, .count = opened, .who = device->name },
		"device %s of group %d is %s", device->name, device->group->number,
		opened ? "open" : "closed");
}

void device_joined(struct vfd_device *device)
{
	device->next = device->group->devices;
	device->group->devices = device;
	group_recount(device->group);
	space_writer_add(&device->group->container->space);
	device_tell(device, true);
}

void device_free(struct vfd_device *device)
{
	struct vfd_device **link = &device->group->devices;

	while (*link && *link != device)
		link = &(*link)->next;
	if (*link)
		*link = device->next;
	pthread_mutex_destroy(&device->migration.mutex);
	pthread_mutex_destroy(&device->mutex);
	free(device->name);
	free(device);
}
