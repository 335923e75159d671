/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <vfiodirty/track.h>

#include "error.h"

/* Appends as snprintf would: counts what does not fit. */
struct text {
	char *at;
	size_t room;
	size_t length;
};

static void add(struct text *t, const char *line)
{
	size_t length = strlen(line);

	if (t->length < t->room)
		snprintf(t->at + t->length, t->room - t->length, "%s", line);
	t->length += length;
}

static void add_entry(struct text *t, const struct vfd_plan *plan, const struct vfd_plan_entry *e)
{
	char line[512], name[64], answer[96];
	bool small = plan->deferred_bytes >> 10 & 1023; /* no whole MiB, as when a vIOMMU maps pages */

	snprintf(name, sizeof name, e->device[0] ? "%.47s (group %d)" : "%.0sgroup %d, no device open",
		 e->device, e->group);
	if (e->source == VFD_SOURCE_TYPE1)
		snprintf(answer, sizeof answer, "type1 record, %" PRIu64 " bytes a bit", e->granularity);
	else if (e->source == VFD_SOURCE_IOMMUFD)
		snprintf(answer, sizeof answer, "iommufd page tables, %" PRIu64 " bytes a bit",
			 e->granularity);
	else if (e->source == VFD_SOURCE_DEVLOG)
		snprintf(answer, sizeof answer, "device log, %" PRIu64 " bytes a bit", e->granularity);
	else if (e->source == VFD_SOURCE_PINS)
		snprintf(answer, sizeof answer, "pins, %" PRIu64 " bytes a bit", e->granularity);
	else
		snprintf(answer, sizeof answer, "nobody: %" PRIu64 " %s deferred to the last round",
			 plan->deferred_bytes >> (small ? 10 : 20), small ? "KiB" : "MiB");
	snprintf(line, sizeof line, "%s: %s; %s%s\n", name, answer, e->why,
		 e->source == VFD_SOURCE_DEFERRED ? ": give it pins (vfd_device_pins_all), or unplug it first"
						  : "");
	add(t, line);
}

/* Made by a program that knew a shorter struct, it ends with the entries. */
static bool plan_says_unarmed(const struct vfd_plan *plan)
{
	size_t size = offsetof(struct vfd_plan, unarmed_bytes) + sizeof plan->unarmed_bytes;

	return plan->struct_size >= size && plan->unarmed_bytes;
}

static void add_unarmed(struct text *t, const struct vfd_plan *plan)
{
	char line[256];

	snprintf(line, sizeof line,
		 "%" PRIu64 " KiB unarmed, mapped where a device log does not look: owed whole at the end; "
		 "pause the device and resume it, or vfd_track_rearm\n",
		 plan->unarmed_bytes >> 10);
	add(t, line);
}

int vfd_plan_text(const struct vfd_plan *plan, char *text, size_t size, size_t *needed, struct vfd_error *err)
{
	struct text t = { .at = text, .room = size };

	if (!plan || (!text && size) || plan->entry_count > VFD_PLAN_ENTRIES)
		return fail(err, VFD_EINVALID, "plan text", "%s",
			    plan ? "text is NULL, or the plan was never filled in" : "plan is NULL");
	if (size)
		*text = 0;
	for (uint32_t i = 0; i < plan->entry_count; i++)
		add_entry(&t, plan, &plan->entries[i]);
	if (!plan->entry_total)
		add(&t, "no group is attached\n");
	if (plan_says_unarmed(plan))
		add_unarmed(&t, plan);
	if (needed)
		*needed = t.length + 1;
	return 0;
}
