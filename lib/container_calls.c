/* SPDX-License-Identifier: MIT */

/* Public calls on a container that only check, take the gate, and go one floor down. */

#include "container.h"

#include <stdlib.h>

#include "answer.h"
#include "map.h"
#include "map_check.h"
#include "options.h"
#include "pin.h"
#include "track.h"

static const char *const harvest_op = "track harvest";
static const char *const messages_op = "container messages";

int vfd_map(struct vfd_container *container, const struct vfd_mapping *mapping, struct vfd_error *err)
{
	struct vfd_mapping want;
	int rc = copy_mapping(&want, mapping, err);

	if (!rc)
		rc = container_enter(container, "map", err);
	if (rc)
		return rc;
	rc = map_add(&container->space, &want, err);
	container_leave(container);
	return rc;
}

/* The caller's struct may be longer than ours, or shorter: its own size says where the next one begins. */
static int copy_list(struct vfd_mapping *wants, const struct vfd_mapping *list, size_t count,
		     struct vfd_error *err)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < count; i++) {
		rc = copy_mapping(&wants[i], list, err);
		list = (const struct vfd_mapping *)(const void *)((const char *)list + wants[i].struct_size);
	}
	return rc;
}

static int enter_list(struct vfd_container *container, struct vfd_mapping *wants, size_t count,
		      uint64_t *entries, struct vfd_error *err)
{
	uint64_t made = 0;
	int rc = container_enter(container, "map list", err);

	if (rc)
		return rc;
	rc = map_list(&container->space, wants, &count, &made, err);
	container_leave(container);
	if (!rc && entries)
		*entries = made;
	return rc;
}

int vfd_map_list(struct vfd_container *container, const struct vfd_mapping *mappings, size_t count,
		 uint64_t *entries, struct vfd_error *err)
{
	if (!mappings || !count)
		return fail(err, VFD_EINVALID, "map list", mappings ? "count is 0" : "mappings is NULL");
	struct vfd_mapping *wants = calloc(count, sizeof *wants);
	if (!wants)
		return fail(err, VFD_ENOMEMORY, "map list", "no memory to sort %zu mappings", count);
	int rc = copy_list(wants, mappings, count, err);
	if (!rc)
		rc = enter_list(container, wants, count, entries, err);
	free(wants);
	return rc;
}

/* Enters the gate, with the record of free IOVAs ready. */
static int enter_to_place(struct vfd_container *container, struct vfd_error *err)
{
	int rc = container_enter(container, "map anywhere", err);

	while (!rc && !container->space.place.live) {
		container_leave(container);
		rc = container_close_gate(container, "map anywhere", err);
		if (rc)
			return rc;
		rc = place_begin(&container->space, err);
		container_open_gate(container);
		if (!rc)
			rc = container_enter(container, "map anywhere", err);
	}
	return rc;
}

int vfd_map_anywhere(struct vfd_container *container, struct vfd_mapping *mapping,
		     const struct vfd_placement *placement, struct vfd_error *err)
{
	struct vfd_mapping want;
	struct vfd_placement wish = { 0 };
	int rc = copy_mapping(&want, mapping, err);

	if (!rc && placement)
		rc = copy_options(&wish, sizeof wish, sizeof wish, placement, "struct vfd_placement", err);
	if (!rc)
		rc = enter_to_place(container, err);
	if (rc)
		return rc;
	rc = map_place(&container->space, &want, &wish, err);
	container_leave(container);
	if (!rc)
		mapping->iova = want.iova;
	return rc;
}

int vfd_map_check(struct vfd_container *container, const struct vfd_mapping *mapping,
		  struct vfd_map_cost *cost, struct vfd_error *err)
{
	struct vfd_map_cost answer = { .entries_needed = 1 };
	struct vfd_mapping want;
	int rc = copy_mapping(&want, mapping, err);

	if (!rc && cost)
		rc = check_answer(cost, sizeof answer, "struct vfd_map_cost", err);
	if (!rc)
		rc = container_enter(container, "map check", err);
	if (rc)
		return rc;
	rc = map_check(&container->space, &want, &answer, err);
	container_leave(container);
	if (cost)
		copy_answer(cost, &answer, sizeof answer);
	return rc;
}

int vfd_unmap(struct vfd_container *container, uint64_t iova, uint64_t size, struct vfd_error *err)
{
	return vfd_unmap_wait(container, iova, size, 0, err);
}

int vfd_unmap_wait(struct vfd_container *container, uint64_t iova, uint64_t size, uint64_t nanoseconds,
		   struct vfd_error *err)
{
	struct range where;

	if (!range_make(&where, iova, size))
		return fail(err, size ? VFD_EWRAP : VFD_EINVALID, "unmap",
			    size ? "the range wraps around 2^64" : "size is 0");
	int rc = container_enter(container, "unmap", err);
	if (rc)
		return rc;
	if (is_aligned(iova | size, container->space.backend.page_size))
		rc = map_remove(&container->space, where, false, nanoseconds, err);
	else
		rc = fail_range(err, VFD_EALIGN, "unmap", where.first, where.last,
				"IOVA and size must be multiples of the page size, %llu",
				(unsigned long long)container->space.backend.page_size);
	container_leave(container);
	return rc;
}

int vfd_unmap_all(struct vfd_container *container, struct vfd_error *err)
{
	int rc = container_enter(container, "unmap all", err);

	if (rc)
		return rc;
	rc = map_remove(&container->space, RANGE_ALL, true, 0, err);
	container_leave(container);
	return rc;
}

static int check_exact(struct vfd_container *c, struct vfd_error *err)
{
	if (!space_all_dirty(&c->space))
		return 0;
	return fail(err, VFD_EUNSUPPORTED, "track start",
		    "VFD_TRACK_EXACT, but of %u groups nobody knows what their devices write: vfd_track_plan "
		    "says of which, "
		    "and why",
		    c->space.unanswered);
}

/* Logs of devices first: with them there may be nothing to defer. */
static int start(struct vfd_container *c, unsigned flags, struct vfd_error *err)
{
	bool again = c->space.tracking;

	container_arm(c);
	int rc = flags & VFD_TRACK_EXACT ? check_exact(c, err) : 0;
	if (!rc)
		rc = track_start(&c->space, err);
	if (rc && !again)
		container_disarm(c);
	return rc;
}

int vfd_track_start(struct vfd_container *container, const struct vfd_track_options *user,
		    struct vfd_plan *plan, struct vfd_error *err)
{
	struct vfd_track_options options = { 0 };
	int rc = user ? copy_options(&options, sizeof options, sizeof options, user,
				     "struct vfd_track_options", err)
		      : 0;

	if (!rc && options.flags & ~(unsigned)VFD_TRACK_EXACT)
		rc = fail(err, VFD_EINVALID, "track start", "unknown flags %#x", options.flags);
	if (!rc && plan)
		rc = check_answer(plan, sizeof *plan, "struct vfd_plan", err);
	if (!rc)
		rc = container_close_gate(container, "track start", err);
	if (rc)
		return rc;
	rc = start(container, options.flags, err);
	container_open_gate(container);
	return !rc && plan ? vfd_track_plan(container, plan, err) : rc;
}

static void end_harvest(struct vfd_container *container, struct vfd_harvest *result,
			const struct vfd_harvest *answer)
{
	container_leave(container);
	if (result)
		copy_answer(result, answer, sizeof *answer);
}

/* The gate is entered if it returns 0. */
static int begin_harvest(struct vfd_container *container, struct vfd_harvest *result, struct vfd_error *err)
{
	static const struct vfd_harvest nothing;
	int rc = result ? check_answer(result, sizeof *result, "struct vfd_harvest", err) : 0;

	if (!rc)
		rc = container_enter(container, harvest_op, err);
	if (rc || container->space.tracking)
		return rc;
	end_harvest(container, result, &nothing);
	return fail(err, VFD_ESTATE, harvest_op, "tracking is off: vfd_track_start first");
}

int vfd_track_harvest(struct vfd_container *container, unsigned flags, struct vfd_harvest *result,
		      struct vfd_error *err)
{
	struct vfd_harvest answer = { 0 };
	int rc = flags & ~(unsigned)VFD_HARVEST_FINAL
			 ? fail(err, VFD_EINVALID, harvest_op, "unknown flags %#x", flags)
			 : begin_harvest(container, result, err);

	if (!rc) {
		rc = track_harvest(&container->space, flags, &answer, err);
		end_harvest(container, result, &answer);
	}
	return rc;
}

int vfd_track_harvest_range(struct vfd_container *container, uint64_t first, uint64_t last,
			    struct vfd_harvest *result, struct vfd_error *err)
{
	struct vfd_harvest answer = { 0 };
	int rc = last < first ? fail(err, VFD_EINVALID, harvest_op, "the range ends before it begins")
			      : begin_harvest(container, result, err);

	if (!rc) {
		rc = track_harvest_range(&container->space, (struct range){ first, last }, &answer, err);
		end_harvest(container, result, &answer);
	}
	return rc;
}

static int stop(struct vfd_container *c, unsigned flags, struct vfd_error *err)
{
	int pinned = c->space.tracking ? pins_refuse(&c->space, "track stop", err) : 0;

	if (pinned || !c->space.tracking)
		return pinned;
	if (flags & VFD_COLLECT) {
		int rc = track_collect(&c->space, VFD_HARVEST_FINAL, err);
		if (rc)
			return rc;
	}
	if (!(flags & VFD_DISCARD) && !space_clean(&c->space))
		return refuse_loss(
			c, "track stop", err,
			"devices can still write (%u; and of %u groups someone else holds one), or wrote "
			"since the last harvest, and stopping would lose it: quiesce them, detach those "
			"groups when they are let go, and pass VFD_COLLECT, or VFD_DISCARD to lose it",
			c->space.writers, c->space.held);
	/* once more, for a device that was closed here may be open elsewhere */
	int rc = flags ? 0 : track_collect(&c->space, 0, err);
	if (!rc)
		rc = track_stop(&c->space, err);
	if (!rc)
		container_disarm(c);
	return rc;
}

int vfd_track_stop(struct vfd_container *container, unsigned flags, struct vfd_error *err)
{
	int rc = check_destroy_flags(flags, "track stop", err);

	if (!rc)
		rc = container_close_gate(container, "track stop", err);
	if (rc)
		return rc;
	rc = stop(container, flags, err);
	container_open_gate(container);
	return rc;
}

int vfd_container_messages(struct vfd_container *container, enum vfd_level level, vfd_message_fn fn,
			   void *opaque, struct vfd_error *err)
{
	int rc = container_check(container, messages_op, err);

	if (rc)
		return rc;
	if (fn && (level < VFD_LEVEL_ERROR || level > VFD_LEVEL_DEBUG))
		return fail(err, VFD_EINVALID, messages_op, "there is no level %d", (int)level);
	if (messages_name(&container->space.messages, level, fn, opaque))
		return fail(err, VFD_ENOMEMORY, messages_op, "no memory for %d messages", MESSAGE_SLOTS);
	return 0;
}
