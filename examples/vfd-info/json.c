/* SPDX-License-Identifier: MIT */

/* JSON by hand: one function per kind of value, names and strings escaped. 64-bit numbers are strings of hexadecimal digits: many readers
 * keep numbers as doubles. */

#include "../json.h"
#include "info.h"

#include <inttypes.h>

/* Between members: a comma, but not before the first. */
static void name(bool *first, const char *n)
{
	printf("%s", *first ? "" : ", ");
	*first = false;
	json_string(n);
	printf(": ");
}

static void text(bool *first, const char *n, const char *value)
{
	name(first, n);
	json_string(value);
}

static void text_or_null(bool *first, const char *n, const char *value)
{
	name(first, n);
	if (value[0])
		json_string(value);
	else
		printf("null");
}

static void boolean(bool *first, const char *n, int value)
{
	name(first, n);
	printf("%s", value < 0 ? "null" : value ? "true" : "false");
}

static void number(bool *first, const char *n, int64_t value)
{
	name(first, n);
	printf("%" PRId64, value);
}

static void hex(bool *first, const char *n, uint64_t value)
{
	name(first, n);
	printf("\"0x%" PRIx64 "\"", value);
}

static void ranges(bool *first, const struct vfd_container_info *c)
{
	name(first, "iova_ranges");
	putchar('[');
	for (uint32_t i = 0; i < c->range_count; i++) {
		bool f = true;

		printf("%s{", i ? ", " : "");
		hex(&f, "first", c->ranges[i].first);
		hex(&f, "last", c->ranges[i].last);
		putchar('}');
	}
	putchar(']');
}

static void attached(bool *first, const struct info_attached *a)
{
	const struct vfd_container_info *c = &a->container;
	bool f = true;

	name(first, "attached");
	if (!a->tried) {
		printf("null");
		return;
	}
	putchar('{');
	text_or_null(&f, "error", a->error);
	if (a->attached) {
		hex(&f, "page_sizes", c->page_sizes);
		number(&f, "bytes_per_dirty_bit", (int64_t)c->page_size);
		boolean(&f, "can_track", c->dirty_page_sizes != 0);
		number(&f, "bitmap_limit", (int64_t)c->dirty_bitmap_limit);
		name(&f, "mappings_available");
		if (c->entries_available == UINT64_MAX)
			printf("null");
		else
			printf("%" PRIu64, c->entries_available);
		ranges(&f, c);
	}
	putchar('}');
}

static void device(const struct info_group *g, const struct info_device *d)
{
	bool f = true;

	printf("\n      {");
	text(&f, "name", d->name);
	text_or_null(&f, "driver", d->driver);
	text_or_null(&f, "pci_id", d->pci_id);
	text(&f, "tracking", tracking_word(g->tracking));
	text(&f, "rule", g->rule);
	text(&f, "decided_by", g->asked_kernel ? "kernel" : "sysfs");
	putchar('}');
}

static void group(const struct info_group *g)
{
	bool f = true;

	printf("\n    {");
	number(&f, "number", g->number);
	text(&f, "kind", kind_word(g->kind));
	text_or_null(&f, "node", g->node);
	boolean(&f, "can_open", g->can_open);
	attached(&f, &g->attached);
	name(&f, "devices");
	putchar('[');
	for (size_t i = 0; i < g->device_count; i++) {
		printf("%s", i ? "," : "");
		device(g, &g->devices[i]);
	}
	printf("]}");
}

static void container(const struct info *info, bool *first)
{
	bool f = true;

	name(first, "container");
	putchar('{');
	text(&f, "path", "/dev/vfio/vfio");
	boolean(&f, "usable", info->usable);
	text(&f, "message", info->container);
	boolean(&f, "type1_v1", info->type1_v1);
	boolean(&f, "type1_v2", info->type1_v2);
	boolean(&f, "no_iommu", info->noiommu);
	putchar('}');
}

void info_print_json(const struct info *info)
{
	char verdict[256];
	bool f = true;

	info_verdict(info, verdict, sizeof verdict);
	putchar('{');
	text(&f, "library", vfd_version());
	text_or_null(&f, "kernel", info->kernel);
	text(&f, "verdict", verdict);
	container(info, &f);
	boolean(&f, "iommufd", info->iommufd);
	text_or_null(&f, "backend", info->automatic);
	name(&f, "groups");
	putchar('[');
	for (size_t i = 0; i < info->group_count; i++) {
		printf("%s", i ? "," : "");
		group(&info->groups[i]);
	}
	printf("]}\n");
}
