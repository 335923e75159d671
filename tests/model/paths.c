/* SPDX-License-Identifier: MIT */
/* The few files under /dev and /sys that exist. */
#include "paths.h"

#include <string.h>

#include "internal.h"

#define CONTAINER_PATH "/dev/vfio/vfio"
#define IOMMU_PATH     "/dev/iommu"
#define UUID_LENGTH    36

/* The group's node: /dev/vfio/7, or /dev/vfio/noiommu-7. */
static void node_of(const struct group *g, char *path, size_t size)
{
	snprintf(path, size, "/dev/vfio/%s%d", g->config.kind == MODEL_NOIOMMU ? "noiommu-" : "",
		 g->config.number);
}

static struct group *group_at(struct model *m, const char *path)
{
	char node[64];

	for (unsigned i = 0; i < m->state->config.group_count; i++) {
		struct group *g = &m->state->groups[i];

		node_of(g, node, sizeof(node));
		if (g->present && strcmp(node, path) == 0)
			return g;
	}
	return NULL;
}

static bool has_nodes(const struct model *m)
{
	return m->state->config.iommufd && !m->state->config.no_nodes;
}

/* The n-th device of all has the node /dev/vfio/devices/vfioN. */
static struct device *node_device(struct model *m, const char *path)
{
	char node[64];
	int n = 0;

	for (unsigned i = 0; has_nodes(m) && i < m->state->config.group_count; i++)
		for (unsigned j = 0; j < m->state->groups[i].device_count; j++) {
			snprintf(node, sizeof(node), "/dev/vfio/devices/vfio%d", n++);
			if (m->state->groups[i].present && !m->state->groups[i].going &&
			    strcmp(node, path) == 0)
				return &m->state->groups[i].devices[j];
		}
	return NULL;
}

int path_entry(struct model *m, const char *path, const char *begin, char *name, size_t size)
{
	char directory[192];
	int n = 0;

	for (unsigned i = 0; has_nodes(m) && i < m->state->config.group_count; i++)
		for (unsigned j = 0; j < m->state->groups[i].device_count; j++) {
			const struct device *d = &m->state->groups[i].devices[j];

			snprintf(directory, sizeof(directory),
				 "/sys/kernel/iommu_groups/%d/devices/%s/vfio-dev", d->group->config.number,
				 d->config->name);
			snprintf(name, size, "vfio%d", n++);
			if (d->group->present && strcmp(directory, path) == 0 &&
			    strncmp(name, begin, strlen(begin)) == 0)
				return 0;
		}
	return -ENOENT;
}

int path_open(struct model *m, const char *path)
{
	struct group *g = group_at(m, path);
	struct file *file;

	if (g)
		return group_open(m, g);
	if (strcmp(path, "/proc/self/pagemap") == 0)
		return files_install(m, file_new(FILE_PAGEMAP));
	if (strcmp(path, "/proc/self/mem") == 0)
		return files_install(m, file_new(FILE_MEMORY));
	if (strcmp(path, IOMMU_PATH) == 0 && m->state->config.iommufd) {
		file = file_new(FILE_IOMMU);
		file->iommu = iommu_new(m);
		return files_install(m, file);
	}
	if (node_device(m, path))
		return cdev_open_node(m, node_device(m, path));
	if (strcmp(path, CONTAINER_PATH) != 0 || m->state->config.no_container)
		return -ENOENT;
	file = file_new(FILE_CONTAINER);
	file->container = container_new(m);
	return files_install(m, file);
}

static const char *bus_of(const struct device *d)
{
	if (d->config->pci)
		return "pci";
	return strlen(d->config->name) == UUID_LENGTH ? "mdev" : "platform";
}

/* The device whose directory the path is, or begins with; *rest is what follows. */
static const struct device *device_at(struct model *m, const char *path, const char **rest)
{
	char directory[128];

	for (unsigned i = 0; i < m->state->config.group_count; i++)
		for (unsigned j = 0; j < m->state->groups[i].device_count; j++) {
			const struct device *d = &m->state->groups[i].devices[j];
			int length = snprintf(directory, sizeof(directory), "/sys/bus/%s/devices/%s",
					      bus_of(d), d->config->name);

			if (!d->group->present || strncmp(path, directory, (size_t)length) != 0)
				continue;
			*rest = path + length;
			if (**rest == '/' || **rest == '\0')
				return d;
		}
	return NULL;
}

static ssize_t answer(char *text, size_t size, const char *what)
{
	if (strlen(what) >= size)
		return -ENAMETOOLONG;
	strcpy(text, what);
	return (ssize_t)strlen(what);
}

ssize_t path_link(struct model *m, const char *path, char *text, size_t size)
{
	const char *rest;
	const struct device *d = device_at(m, path, &rest);
	char target[128];

	if (!d)
		return -ENOENT;
	if (strcmp(rest, "/iommu_group") == 0)
		snprintf(target, sizeof(target), "../../../../kernel/iommu_groups/%d",
			 d->group->config.number);
	else if (strcmp(rest, "/driver") == 0)
		snprintf(target, sizeof(target), "../../../../bus/%s/drivers/%s", bus_of(d),
			 d->config->pci ? "vfio-pci" : "vfdtest");
	else
		return *rest ? -ENOENT : -EINVAL;
	return answer(text, size, target);
}

/* Only groups that VFIO itself made have a name. */
ssize_t path_read(struct model *m, const char *path, char *text, size_t size)
{
	char name[64];

	for (unsigned i = 0; i < m->state->config.group_count; i++) {
		const struct group *g = &m->state->groups[i];

		snprintf(name, sizeof(name), "/sys/kernel/iommu_groups/%d/name", g->config.number);
		if (g->present && g->config.kind != MODEL_PHYSICAL && strcmp(path, name) == 0)
			return answer(text, size, "vfio-noiommu");
	}
	return -ENOENT;
}

static bool is_group_directory(struct model *m, const char *path)
{
	char name[64];

	for (unsigned i = 0; i < m->state->config.group_count; i++) {
		const struct group *g = &m->state->groups[i];

		snprintf(name, sizeof(name), "/sys/kernel/iommu_groups/%d", g->config.number);
		if (g->present && strcmp(path, name) == 0)
			return true;
	}
	return false;
}

int path_exists(struct model *m, const char *path)
{
	const char *rest;
	char text[128];

	if (strcmp(path, CONTAINER_PATH) == 0 || strcmp(path, "/dev/vfio") == 0 || group_at(m, path) ||
	    is_group_directory(m, path))
		return 0;
	if (path_read(m, path, text, sizeof(text)) >= 0 || path_link(m, path, text, sizeof(text)) >= 0)
		return 0;
	return device_at(m, path, &rest) && !*rest ? 0 : -ENOENT;
}
