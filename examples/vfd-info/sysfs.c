/* SPDX-License-Identifier: MIT */

/* What can be known without opening anything. */

#include "info.h"

#include <glob.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

__attribute__((format(printf, 3, 4))) static void path_of(const struct info *info, char path[PATH_MAX],
							  const char *format, ...)
{
	int length = snprintf(path, PATH_MAX, "%s", info->root);
	va_list args;

	va_start(args, format);
	if (length >= 0 && length < PATH_MAX)
		vsnprintf(path + length, (size_t)(PATH_MAX - length), format, args);
	va_end(args);
}

static void read_line(const char *path, char *text, size_t size)
{
	FILE *f = fopen(path, "re");

	text[0] = 0;
	if (!f)
		return;
	if (fgets(text, (int)size, f))
		text[strcspn(text, "\n")] = 0;
	fclose(f);
}

static void link_name(const char *path, char *text, size_t size)
{
	char target[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof target - 1);

	text[0] = 0;
	if (n < 0)
		return;
	target[n] = 0;
	snprintf(text, size, "%s", basename(target));
}

static void read_device(struct info_device *d, const char *dir)
{
	char path[PATH_MAX], vendor[16], device[16];
	const char *name = strrchr(dir, '/') + 1;

	snprintf(d->name, sizeof d->name, "%s", name);
	snprintf(path, sizeof path, "%.4000s/driver", dir);
	link_name(path, d->driver, sizeof d->driver);
	snprintf(path, sizeof path, "%.4000s/vendor", dir);
	read_line(path, vendor, sizeof vendor);
	snprintf(path, sizeof path, "%.4000s/device", dir);
	read_line(path, device, sizeof device);
	if (!strncmp(vendor, "0x", 2) && !strncmp(device, "0x", 2))
		snprintf(d->pci_id, sizeof d->pci_id, "%.4s:%.4s", vendor + 2, device + 2);
}

static void read_devices(const struct info *info, struct info_group *g)
{
	char pattern[PATH_MAX];
	glob_t found;

	path_of(info, pattern, "/sys/kernel/iommu_groups/%d/devices/*", g->number);
	if (glob(pattern, 0, NULL, &found))
		return;
	g->devices = calloc(found.gl_pathc, sizeof *g->devices);
	for (size_t i = 0; g->devices && i < found.gl_pathc; i++)
		read_device(&g->devices[g->device_count++], found.gl_pathv[i]);
	globfree(&found);
}

/* The rule of design: emulated by name, no-IOMMU by node; everything else, and doubt, is physical. */
static void classify(const struct info *info, struct info_group *g)
{
	char path[PATH_MAX], name[32];

	path_of(info, path, "/dev/vfio/noiommu-%d", g->number);
	if (!access(path, F_OK)) {
		g->kind = KIND_NOIOMMU;
		return;
	}
	path_of(info, path, "/sys/kernel/iommu_groups/%d/name", g->number);
	read_line(path, name, sizeof name);
	g->kind = strcmp(name, "vfio-noiommu") ? KIND_PHYSICAL : KIND_EMULATED;
}

static void find_node(const struct info *info, struct info_group *g)
{
	char path[PATH_MAX];

	snprintf(g->node, sizeof g->node, "/dev/vfio/%s%d", g->kind == KIND_NOIOMMU ? "noiommu-" : "",
		 g->number);
	path_of(info, path, "%s", g->node);
	g->can_open = !access(path, R_OK | W_OK);
	if (access(path, F_OK))
		g->node[0] = 0;
}

static void apply_rule(struct info_group *g)
{
	static const char *const rules[] = {
		[KIND_EMULATED] = "emulated IOMMU (sysfs group name vfio-noiommu): whatever the driver pins "
				  "or writes is "
				  "recorded page by page",
		[KIND_PHYSICAL] = "behind a real IOMMU, which type1 does not ask: the kernel answers \"all "
				  "dirty\" for every "
				  "mapped page, so all of it is owed once, in the last round",
		[KIND_NOIOMMU] = "no IOMMU at all (node noiommu-N): neither protection nor tracking",
	};
	static const enum tracking outcome[] = {
		[KIND_EMULATED] = TRACKING_EXACT,
		[KIND_PHYSICAL] = TRACKING_DEFERRED,
		[KIND_NOIOMMU] = TRACKING_NONE,
	};

	g->tracking = outcome[g->kind];
	snprintf(g->rule, sizeof g->rule, "%s", rules[g->kind]);
}

static int by_number(const void *a, const void *b)
{
	const struct info_group *x = a, *y = b;

	return (x->number > y->number) - (x->number < y->number);
}

static void read_groups(struct info *info)
{
	char pattern[PATH_MAX];
	glob_t found;

	path_of(info, pattern, "/sys/kernel/iommu_groups/[0-9]*");
	if (glob(pattern, 0, NULL, &found))
		return;
	info->groups = calloc(found.gl_pathc, sizeof *info->groups);
	for (size_t i = 0; info->groups && i < found.gl_pathc; i++) {
		struct info_group *g = &info->groups[info->group_count++];

		g->number = atoi(strrchr(found.gl_pathv[i], '/') + 1);
		classify(info, g);
		find_node(info, g);
		apply_rule(g);
		read_devices(info, g);
	}
	qsort(info->groups, info->group_count, sizeof *info->groups, by_number);
	globfree(&found);
}

void info_read_sysfs(struct info *info)
{
	char path[PATH_MAX];
	struct utsname u;

	if (!info->root[0] && !uname(&u))
		snprintf(info->kernel, sizeof info->kernel, "%s %s", u.sysname, u.release);
	path_of(info, path, "/dev/iommu");
	info->iommufd = !access(path, F_OK);
	info->type1_v1 = info->type1_v2 = info->noiommu = -1;
	path_of(info, path, "/dev/vfio/vfio");
	info->usable = !access(path, F_OK);
	snprintf(info->container, sizeof info->container, "/dev/vfio/vfio %s",
		 info->usable ? "is there" : "is not there");
	read_groups(info);
}
