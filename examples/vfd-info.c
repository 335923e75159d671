/* SPDX-License-Identifier: MIT */

/* vfd-info: what this machine's containers, groups and devices can do, and why. */

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "vfd-info/info.h"

static const char usage_text[] =
	"usage: vfd-info [--attach] [--backend NAME] [--json] [--root DIR]\n"
	"\n"
	"For each IOMMU group and device: would its dirty tracking be exact, and which rule decides?\n"
	"\n"
	"  --attach    also attach each group to a container of its own, ask, and detach it: more is\n"
	"              known then. It opens the group, so do not do it while a program starts to use it.\n"
	"  --backend   with --attach: type1, or iommufd, where devices are opened too\n"
	"  --json      for programs\n"
	"  --root DIR  look at DIR/sys and DIR/dev: a copy from another machine. Nothing is opened.\n"
	"  --help      this\n"
	"\n"
	"Exit: 0, whatever was found; 2: wrong use.\n";

void info_verdict(const struct info *info, char *text, size_t size)
{
	size_t ready = 0, exact = 0;

	for (size_t i = 0; i < info->group_count; i++) {
		bool usable = info->groups[i].node[0] && info->groups[i].device_count;
		ready += usable;
		exact += usable && info->groups[i].tracking == TRACKING_EXACT;
	}
	if (!info->usable)
		snprintf(text, size,
			 "This machine cannot use VFIO now: /dev/vfio/vfio is not there or does not open; "
			 "see above.");
	else if (!info->group_count)
		snprintf(text, size,
			 "No IOMMU group: the IOMMU is off (intel_iommu=on, or in the firmware), or there is "
			 "none.");
	else if (!ready)
		snprintf(text, size,
			 "None of the %zu IOMMU groups is given to VFIO: bind a device to vfio-pci.",
			 info->group_count);
	else
		snprintf(
			text, size,
			"%zu of %zu IOMMU groups are given to VFIO; dirty tracking is exact for %zu of them.",
			ready, info->group_count, exact);
}

static _Noreturn void usage(FILE *to, int code)
{
	fputs(usage_text, to);
	exit(code);
}

static uint32_t backend_named(const char *text)
{
	if (!strcmp(text, "type1"))
		return VFD_BACKEND_TYPE1;
	if (!strcmp(text, "iommufd"))
		return VFD_BACKEND_IOMMUFD;
	usage(stderr, 2);
}

static void gather(struct info *info, bool attach)
{
	info_read_sysfs(info);
	if (info->root[0])
		return;
	info_open_container(info);
	if (attach)
		info_attach_groups(info);
}

static void release(struct info *info)
{
	for (size_t i = 0; i < info->group_count; i++)
		free(info->groups[i].devices);
	free(info->groups);
}

int main(int argc, char **argv)
{
	static const struct option names[] = {
		{ "attach", no_argument, NULL, 'a' }, { "backend", required_argument, NULL, 'b' },
		{ "json", no_argument, NULL, 'j' },   { "root", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },   { 0 },
	};
	struct info info = { .root = "" };
	bool attach = false, json = false;
	int c;

	while ((c = getopt_long(argc, argv, "h", names, NULL)) != -1) {
		if (c == 'a')
			attach = true;
		else if (c == 'j')
			json = true;
		else if (c == 'b')
			info.backend = backend_named(optarg);
		else if (c == 'r')
			info.root = optarg;
		else
			usage(c == 'h' ? stdout : stderr, c == 'h' ? 0 : 2);
	}
	if (optind < argc)
		usage(stderr, 2);
	gather(&info, attach);
	if (json)
		info_print_json(&info);
	else
		info_print_text(&info);
	release(&info);
	return 0;
}
