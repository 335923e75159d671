/* SPDX-License-Identifier: MIT */
#include "info.h"

#include <inttypes.h>

static void print_sizes(uint64_t sizes)
{
	static const char unit[] = { 'B', 'K', 'M', 'G', 'T', 'P', 'E' };
	unsigned count = 0;

	for (unsigned bit = 0; bit < 64; bit++) {
		if (!(sizes >> bit & 1))
			continue;
		if (count++ < 8)
			printf(" %u%c", 1u << bit % 10, unit[bit / 10]);
	}
	printf("%s\n", count > 8 ? " and all above" : count ? "" : " unknown");
}

static void print_ranges(const struct vfd_container_info *c)
{
	if (!c->range_total)
		printf("    IOVA ranges:       no restriction known\n");
	for (uint32_t i = 0; i < c->range_count; i++)
		printf("    %-18s %#" PRIx64 " to %#" PRIx64 "\n",
		       i ? "" : "IOVA ranges:", c->ranges[i].first, c->ranges[i].last);
	if (c->range_total > c->range_count)
		printf("                       and %" PRIu32 " more\n", c->range_total - c->range_count);
}

static void print_attached(const struct info_attached *a)
{
	const struct vfd_container_info *c = &a->container;

	if (!a->tried)
		return;
	if (!a->attached) {
		printf("  cannot be attached: %s\n", a->error);
		return;
	}
	printf("  attached, its container says:\n    page sizes:       ");
	print_sizes(c->page_sizes);
	printf("    one dirty bit:     %" PRIu64 " bytes\n", c->page_size);
	if (c->dirty_page_sizes)
		printf("    tracking:          yes, bitmaps of at most %" PRIu64 " MiB\n",
		       c->dirty_bitmap_limit >> 20);
	else
		printf("    tracking:          no (the kernel has no migration capability)\n");
	if (c->entries_available == UINT64_MAX)
		printf("    mappings left:     the kernel does not say\n");
	else
		printf("    mappings left:     %" PRIu64 "\n", c->entries_available);
	print_ranges(c);
}

static void print_group(const struct info_group *g)
{
	printf("\nGroup %d: %s, %s%s\n", g->number, kind_word(g->kind),
	       g->node[0] ? g->node : "not given to VFIO (its devices have other drivers, or none)",
	       g->node[0] && !g->can_open ? " (this user may not open it)" : "");
	for (size_t i = 0; i < g->device_count; i++) {
		const struct info_device *d = &g->devices[i];

		printf("  %s%s%s%s  driver: %s\n", d->name, d->pci_id[0] ? " [" : "", d->pci_id,
		       d->pci_id[0] ? "]" : "", d->driver[0] ? d->driver : "none");
		printf("    dirty tracking %s: %s (%s)\n", g->node[0] ? "is" : "would be",
		       tracking_word(g->tracking),
		       g->asked_kernel ? "the kernel was asked" : "judged by sysfs");
		printf("    because: %s\n", g->rule);
	}
	if (!g->device_count)
		printf("  no devices\n");
	print_attached(&g->attached);
}

void info_print_text(const struct info *info)
{
	char verdict[256];

	printf("libvfiodirty %s%s%s\n", vfd_version(), info->kernel[0] ? " on " : "", info->kernel);
	printf("Container: %s\n", info->container);
	printf("iommufd:   /dev/iommu %s\n", info->iommufd ? "is there" : "is not there");
	if (info->automatic[0])
		printf("Backend:   %s, unless named\n", info->automatic);
	for (size_t i = 0; i < info->group_count; i++)
		print_group(&info->groups[i]);
	info_verdict(info, verdict, sizeof verdict);
	printf("\n%s\n", verdict);
}
