/* SPDX-License-Identifier: MIT */
/* A group: one opener, attached to at most one container, gone when its devices are taken away. */
#include <string.h>

#include "internal.h"

#define NAME_MAX_BYTES 4096 /* what the kernel reads of a device's name */

struct group *group_by_number(struct model *m, int number)
{
	for (unsigned i = 0; i < m->state->config.group_count; i++)
		if (m->state->groups[i].config.number == number)
			return &m->state->groups[i];
	return NULL;
}

int group_open(struct model *m, struct group *g)
{
	struct file *file;

	if (g->opened || g->users)
		return -EBUSY;
	file = file_new(FILE_GROUP);
	file->group = g;
	file->generation = g->generation;
	g->opened = file;
	return files_install(m, file);
}

/* The device behind this descriptor was taken away; perhaps another has its number now. */
static bool dead(const struct file *file)
{
	return !file->group->present || file->generation != file->group->generation;
}

void group_release(struct model *m, struct file *file)
{
	if (dead(file))
		return;
	if (file->group->container)
		container_detach(m, file->group, true);
	file->group->opened = NULL;
}

static int get_status(const struct file *file, void *argument)
{
	struct vfio_group_status status;

	if (copy_in(&status, argument, sizeof(status)))
		return -EFAULT;
	if (status.argsz < sizeof(status))
		return -EINVAL;
	if (dead(file))
		return -ENODEV;
	status.flags = VFIO_GROUP_FLAGS_VIABLE;
	if (file->group->container)
		status.flags |= VFIO_GROUP_FLAGS_CONTAINER_SET;
	return copy_out(argument, &status, sizeof(status));
}

static int set_container(struct model *m, struct file *file, const void *argument)
{
	const struct file *other;
	int fd;

	if (copy_in(&fd, argument, sizeof(fd)))
		return -EFAULT;
	other = files_lookup(m, fd);
	if (!other)
		return -EBADF;
	if (!dead(file) && file->group->container)
		return -EINVAL;
	if (dead(file))
		return -ENODEV;
	if (other->kind != FILE_CONTAINER)
		return -EBADFD;
	return container_attach(m, other->container, file->group);
}

static int unset_container(struct model *m, struct file *file)
{
	struct group *g = file->group;

	if (dead(file) || !g->container)
		return -EINVAL;
	if (g->users && g->container->kind != MODEL_COMPAT)
		return -EBUSY;
	container_detach(m, g, true);
	return 0;
}

/* 0 or -EFAULT, -EINVAL (no end) */
static int read_name(char *name, size_t size, const char *from)
{
	for (size_t i = 0; i < size; i++) {
		if (copy_in(name + i, from + i, 1))
			return -EFAULT;
		if (!name[i])
			return 0;
	}
	return -EINVAL;
}

static int get_device_fd(struct model *m, struct file *file, const char *argument)
{
	struct group *g = file->group;
	char name[NAME_MAX_BYTES];
	int error = read_name(name, sizeof(name), argument);

	if (error)
		return error;
	for (unsigned i = 0; i < g->device_count && !dead(file) && !g->going; i++) {
		if (strcmp(g->devices[i].config->name, name) != 0)
			continue;
		if (!g->container || !g->container->driver)
			return -EINVAL;
		return device_open(m, &g->devices[i]);
	}
	return -ENODEV;
}

int group_ioctl(struct call *call, struct file *file, unsigned long request, void *argument)
{
	switch (request) {
	case VFIO_GROUP_GET_STATUS:
		return get_status(file, argument);
	case VFIO_GROUP_SET_CONTAINER:
		return set_container(call->model, file, argument);
	case VFIO_GROUP_UNSET_CONTAINER:
		return unset_container(call->model, file);
	case VFIO_GROUP_GET_DEVICE_FD:
		return get_device_fd(call->model, file, argument);
	default:
		return -ENOTTY;
	}
}

/* When no device is open any more the group goes, and detaches from whatever it was in. */
void group_finish_unplug(struct model *m, struct group *g)
{
	if (!g->going || g->users)
		return;
	if (g->container)
		container_detach(m, g, false);
	g->going = false;
	g->present = false;
	g->opened = NULL;
	g->generation++;
}

/* Ask the user to give the devices back: the request interrupt, if one is set, and a count. */
static void request_devices(struct group *g)
{
	for (unsigned i = 0; i < g->device_count; i++) {
		struct device *d = &g->devices[i];

		if (!d->opens)
			continue;
		d->requests++;
		device_fire(d, d->config->pci ? VFIO_PCI_REQ_IRQ_INDEX : 1, 0);
	}
}

void group_unplug(struct model *m, struct group *g)
{
	if (!g->present || g->going)
		return;
	g->going = true;
	request_devices(g);
	group_finish_unplug(m, g);
}

void model_unplug(struct model *m, int number)
{
	struct group *g;

	model_lock(m);
	g = group_by_number(m, number);
	if (g)
		group_unplug(m, g);
	model_unlock(m);
}

int model_plug(struct model *m, int number)
{
	struct group *g;
	int result = -ENODEV;

	model_lock(m);
	g = group_by_number(m, number);
	if (g)
		result = g->going ? -EBUSY : g->present ? -EEXIST : 0;
	if (!result)
		g->present = true;
	model_unlock(m);
	return result;
}
