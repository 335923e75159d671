/* SPDX-License-Identifier: MIT */
/* A container: groups give it privilege, and the last one takes everything with it. */
#include <stdlib.h>

#include "internal.h"

struct container *container_new(struct model *m)
{
	struct container *c = model_alloc(1, sizeof(*c));

	c->model = m;
	c->kind = m->state->config.container;
	c->refs = 1;
	c->open = true;
	c->next = m->state->containers;
	m->state->containers = c;
	if (c->kind == MODEL_COMPAT)
		c->type1 = type1_open(m, true);
	return c;
}

void container_put(struct model *m, struct container *c)
{
	struct container **link = &m->state->containers;

	if (--c->refs)
		return;
	while (*link != c)
		link = &(*link)->next;
	*link = c->next;
	if (c->type1)
		type1_release(m, c->type1);
	free(c);
}

static void forget_group(struct container *c, const struct group *g)
{
	unsigned i = 0;

	while (c->groups[i] != g)
		i++;
	c->group_count--;
	for (; i < c->group_count; i++)
		c->groups[i] = c->groups[i + 1];
}

int container_attach(struct model *m, struct container *c, struct group *g)
{
	bool noiommu = g->config.kind == MODEL_NOIOMMU;
	int error = 0;

	if (c->group_count && c->noiommu != noiommu)
		return -EPERM;
	c->groups[c->group_count++] = g;
	if (c->driver && c->type1 && c->kind != MODEL_COMPAT)
		error = type1_attach(m, c, g);
	if (error) {
		forget_group(c, g);
		return error;
	}
	c->noiommu = noiommu;
	c->refs++;
	g->container = c;
	return 0;
}

/* Nothing in the kernel keeps a container ioctl from running meanwhile, on memory that is being freed (trap 6). */
static void teardown_window(struct model *m, struct container *c)
{
	unsigned before = c->in_flight;

	c->teardown = true;
	if (m->teardown_delay)
		model_pause(m, m->teardown_delay);
	if (before || c->in_flight)
		model_crash(m, "use after free: a container ioctl ran while the last group was detached");
	c->teardown = false;
}

static void last_group_left(struct model *m, struct container *c)
{
	if (c->kind == MODEL_COMPAT)
		return;
	if (c->type1)
		type1_release(m, c->type1);
	c->type1 = NULL;
	c->driver = false;
	c->noiommu = false;
}

int ioas_join(struct model *m, struct container *c, struct group *g)
{
	int error;

	c->groups[c->group_count++] = g;
	error = type1_attach(m, c, g);
	if (error) {
		forget_group(c, g);
		return error == -EINVAL ? -EADDRINUSE : error;
	}
	g->container = c;
	return 0;
}

/* The mappings stay, in no IOMMU. */
void ioas_leave(struct model *m, struct container *c, struct group *g)
{
	struct type1 *t = c->type1;

	(void)m;
	forget_group(c, g);
	g->container = NULL;
	if (g->config.kind == MODEL_EMULATED) {
		t->emulated--;
		return;
	}
	t->non_pinned--;
	if (--t->physical == 0)
		for (size_t i = 0; i < t->count; i++)
			type1_iommu_unmap(t, t->maps[i]);
}

/* asked: the user did it. Else the kernel took the group, and with the last one a record that nobody could save. */
void container_detach(struct model *m, struct group *g, bool asked)
{
	struct container *c = g->container;
	bool last = c->group_count == 1;

	if (last && asked && c->driver)
		teardown_window(m, c);
	if (g->container != c)
		return;
	if (last && !asked && c->type1)
		truth_spoiled_all(m, c->type1);
	forget_group(c, g);
	g->container = NULL;
	if (c->type1 && c->kind != MODEL_COMPAT)
		type1_detach(m, c, g);
	if (last)
		last_group_left(m, c);
	container_put(m, c);
}

static int check_extension(struct container *c, unsigned long extension)
{
	if (c->kind == MODEL_COMPAT)
		return (int)compat_extension(extension);
	if (c->kind == MODEL_NO_TYPE1)
		return 0;
	if (c->group_count ? c->noiommu : extension == VFIO_NOIOMMU_IOMMU)
		return extension == VFIO_NOIOMMU_IOMMU;
	return (int)type1_extension(c, extension);
}

static int set_iommu(struct model *m, struct container *c, unsigned long type)
{
	bool v2 = type == VFIO_TYPE1v2_IOMMU || type == VFIO_TYPE1_NESTING_IOMMU;
	int error = 0;

	if (!c->group_count || c->driver)
		return -EINVAL;
	if (c->kind == MODEL_NO_TYPE1 || c->noiommu != (type == VFIO_NOIOMMU_IOMMU))
		return -ENODEV;
	if (!c->noiommu && type != VFIO_TYPE1_IOMMU && !v2)
		return check_extension(c, type) > 0 ? -EINVAL : -ENODEV;
	c->type1 = c->noiommu ? NULL : type1_open(m, v2);
	for (unsigned i = 0, count = c->group_count; c->type1 && !error && i < count; i++) {
		c->group_count = i + 1;
		error = type1_attach(m, c, c->groups[i]);
		c->group_count = count;
	}
	if (error) {
		type1_release(m, c->type1);
		c->type1 = NULL;
		return error;
	}
	c->driver = true;
	return 0;
}

/* Everything else goes to the driver, with no lock against the last detach. */
static int pass_through(struct call *call, struct container *c, unsigned long request, void *argument)
{
	struct model *m = call->model;
	int result = -EINVAL;

	if (!c->driver)
		return -EINVAL;
	if (c->teardown)
		model_crash(m, "use after free: a container ioctl began while the last group was detached");
	c->in_flight++;
	if (m->ioctl_delay)
		model_pause(m, m->ioctl_delay);
	if (c->driver)
		result = c->type1 ? type1_ioctl(call, c, request, argument) : -ENOTTY;
	c->in_flight--;
	return result;
}

int container_ioctl(struct call *call, struct container *c, unsigned long request, void *argument)
{
	if (c->kind == MODEL_COMPAT)
		return compat_ioctl(call, c, request, argument);
	switch (request) {
	case VFIO_GET_API_VERSION:
		return VFIO_API_VERSION;
	case VFIO_CHECK_EXTENSION:
		return check_extension(c, (unsigned long)argument);
	case VFIO_SET_IOMMU:
		return set_iommu(call->model, c, (unsigned long)argument);
	default:
		return pass_through(call, c, request, argument);
	}
}
