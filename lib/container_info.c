/* SPDX-License-Identifier: MIT */

/* What a container can do and what state it is in; the plan. */

#include "container.h"

#include <stdio.h>
#include <string.h>

#include <vfiodirty/track.h>

#include "answer.h"

static void add_kernel_part(const struct backend *backend, struct vfd_container_info *info)
{
	const struct caps *caps = &backend->caps;

	info->page_sizes = caps->page_sizes;
	info->page_size = backend->page_size;
	info->dirty_page_sizes = caps->dirty_page_sizes;
	info->dirty_bitmap_limit = caps->dirty_bitmap_limit;
	info->entries_available = caps->entries_available;
	info->range_count = caps->range_count;
	info->range_total = caps->range_total;
	memcpy(info->ranges, caps->ranges, sizeof info->ranges);
}

static void add_own_part(struct vfd_container *c, struct vfd_container_info *info)
{
	info->kind = c->kind;
	memcpy(info->why, c->why, sizeof info->why);
	for (const struct vfd_group *g = c->groups; g; g = g->next) {
		info->attached += g->attached;
		info->physical += g->attached && g->physical;
	}
	info->devices = container_open_devices(c);
	info->tracking = c->space.tracking;
	info->drained = space_clean(&c->space);
	space_lock(&c->space);
	info->writers = c->space.writers;
	space_unlock(&c->space);
	table_enter(&c->space.table);
	info->mappings = c->space.table.iova.count;
	info->mapped_bytes = c->space.table.bytes;
	table_leave(&c->space.table);
}

int vfd_container_info(struct vfd_container *container, struct vfd_container_info *info,
		       struct vfd_error *err)
{
	struct vfd_container_info answer = { 0 };
	int rc = check_answer(info, sizeof answer, "struct vfd_container_info", err);

	if (!rc)
		rc = container_enter(container, "container info", err);
	if (rc)
		return rc;
	struct backend now = container->space.backend;
	if (container->space.attached)
		rc = backend_refresh(&now);
	add_kernel_part(&now, &answer);
	add_own_part(container, &answer);
	container_leave(container);
	if (rc)
		return fail_sys(err, -rc, now.ops->refresh_name,
				"the kernel does not describe the container");
	copy_answer(info, &answer, sizeof answer);
	return 0;
}

/* One physical group makes the kernel answer "all" for the whole container, the emulated ones included. */
static const char *why_deferred(const struct vfd_container *c, const struct vfd_group *g,
				const struct vfd_device *d, bool lost)
{
	if (lost)
		return "the kernel's record was lost; vfd_track_start begins a new one";
	if (is_iommufd(c))
		return d && d->unrecorded_why ? d->unrecorded_why
					      : "a device that iommufd cannot record was open";
	if (!c->space.can_track)
		return "a type1 v1 or no-IOMMU container records nothing";
	return g->physical ? g->why
			   : "a physical group in the same container makes the kernel answer \"all dirty\"";
}

static void say(struct vfd_plan_entry *e, enum vfd_source_kind source, uint64_t granularity, const char *why)
{
	e->source = source;
	e->granularity = granularity;
	snprintf(e->why, sizeof e->why, "%s", why);
}

/* Before the start: what it says it can. */
static bool plan_log(const struct vfd_container *c, const struct vfd_group *g, const struct vfd_device *d,
		     struct vfd_plan_entry *e)
{
	bool before = d && d->logs && !c->space.tracking;

	if (!d && g->by_log) {
		say(e, VFD_SOURCE_DEVLOG, 0, "it logged its own DMA until it was closed");
		return true;
	}
	if (!before && !(d && recorder_answers(&d->recorder)))
		return false;
	say(e, VFD_SOURCE_DEVLOG, before ? c->space.backend.page_size : d->recorder.log.page_size,
	    "it logs its own DMA");
	return true;
}

static void plan_deferred(const struct vfd_container *c, const struct vfd_group *g,
			  const struct vfd_device *d, bool lost, struct vfd_plan_entry *e)
{
	const char *log = d && d->recorder.armed ? "its log failed" : d ? d->log_why : NULL;

	say(e, VFD_SOURCE_DEFERRED, 0, "");
	snprintf(e->why, sizeof e->why, "%s%s%s", why_deferred(c, g, d, lost), log ? "; " : "",
		 log ? log : "");
}

static const char *why_recorded(const struct vfd_container *c)
{
	return c->iommufd.small
		       ? "its IOMMU sets dirty bits, one per page-table entry, and none is larger than a page"
	       : c->iommufd.fine
		       ? "its IOMMU sets dirty bits, one per page-table entry: that of a large page stands "
			 "for all of it; the kernel refused to have none (IOMMU_OPTION_HUGE_PAGES)"
		       : "its IOMMU sets dirty bits, one per page-table entry: that of a large page stands "
			 "for all of it";
}

/* The kernel's record of it, if that is what counts. */
static bool plan_record(const struct vfd_container *c, const struct vfd_group *g, const struct vfd_device *d,
			struct vfd_plan_entry *e)
{
	uint64_t page = c->space.backend.page_size;

	if (!is_iommufd(c) && c->space.can_track && !c->space.physical)
		say(e, VFD_SOURCE_TYPE1, page, g->why);
	else if (is_iommufd(c) && d && d->recorded && !d->pins_all && !recorder_answers(&d->recorder))
		say(e, VFD_SOURCE_IOMMUFD, page, why_recorded(c));
	else if (is_iommufd(c) && !d && g->answered && !g->by_log)
		say(e, VFD_SOURCE_IOMMUFD, page, "no device is open, so none is attached");
	else
		return false;
	return true;
}

/* d: NULL if none is open. */
static void plan_source(const struct vfd_container *c, const struct vfd_group *g, const struct vfd_device *d,
			struct vfd_plan_entry *e)
{
	bool lost = c->space.tracking && c->space.attached && !c->space.started && c->space.can_track;

	if (!lost && plan_record(c, g, d, e))
		return;
	if (d ? d->pins_all : g->answered && !g->by_log)
		say(e, VFD_SOURCE_PINS, vfd_log_page_size(c->space.log),
		    "software: its driver pins everything that it writes");
	else if (!plan_log(c, g, d, e))
		plan_deferred(c, g, d, lost, e);
}

static void plan_add(const struct vfd_container *c, const struct vfd_group *g, const struct vfd_device *d,
		     struct vfd_plan *plan)
{
	plan->entry_total++;
	if (plan->entry_count == VFD_PLAN_ENTRIES)
		return;
	struct vfd_plan_entry *e = &plan->entries[plan->entry_count++];
	e->group = g->number;
	snprintf(e->device, sizeof e->device, "%s", d ? d->name : "");
	plan_source(c, g, d, e);
	plan->exact &= e->source != VFD_SOURCE_DEFERRED;
}

static void plan_group(const struct vfd_container *c, const struct vfd_group *g, struct vfd_plan *plan)
{
	if (!group_open_devices(g))
		plan_add(c, g, NULL, plan);
	for (const struct vfd_device *d = g->devices; d; d = d->next)
		if (d->fd >= 0)
			plan_add(c, g, d, plan);
}

int vfd_track_plan(struct vfd_container *container, struct vfd_plan *plan, struct vfd_error *err)
{
	struct vfd_plan answer = { .exact = 1 };
	int rc = check_answer(plan, sizeof answer, "struct vfd_plan", err);

	if (!rc)
		rc = container_enter(container, "track plan", err);
	if (rc)
		return rc;
	answer.page_size = container->space.backend.page_size;
	for (const struct vfd_group *g = container->groups; g; g = g->next)
		if (g->attached)
			plan_group(container, g, &answer);
	if (space_all_dirty(
		    &container->space)) /* drained or not: it is the plan for when its devices write again */
		answer.deferred_bytes = space_tracked_bytes(&container->space);
	else if (container->space.tracking)
		answer.deferred_bytes = space_deferred_bytes(&container->space);
	answer.unarmed_bytes = space_unarmed_bytes(&container->space);
	answer.rearms = container->space.rearms;
	container_leave(container);
	copy_answer(plan, &answer, sizeof answer);
	return 0;
}
