/* SPDX-License-Identifier: MIT */
#include "container.h"

#include <errno.h>

#include "pin.h"
#include "track.h"

static const char *const detach_op = "detach group";

void group_close_devices(struct vfd_group *group)
{
	for (struct vfd_device *d = group->devices; d; d = d->next)
		device_shut(d);
}

/* The lossless order. Harvest while the devices are open, for once the last one is closed the kernel may take the group away by
 * itself; harvest again when they are closed, for a driver unpins at close and type1 keeps those bits until the detach. A device
 * that cannot be quiesced is caught by the second harvest: closed devices do not write. */
int group_drain(struct vfd_group *group, unsigned harvest_flags, struct vfd_error *err)
{
	struct space *space = &group->container->space;

	for (struct vfd_device *d = group->devices; d; d = d->next)
		if (d->fd >= 0)
			device_make_quiet(d, NULL);
	int rc = track_collect(space, harvest_flags, err);
	if (rc)
		return rc;
	group_close_devices(group);
	return track_collect(space, harvest_flags, err);
}

/* Own descriptors first: the library's are closed by now, so what is left was made through the raw fd, or in another process. */
static int explain_busy(const struct vfd_group *g, struct vfd_error *err)
{
	unsigned descriptors, areas;

	g->container->sys->count_holders(g->container->sys, &descriptors, &areas);
	unsigned own = container_open_devices(g->container);
	if (areas)
		return fail_sys(err, EBUSY, detach_op,
				"group %d: mapped areas of VFIO devices left in this process: %u; munmap "
				"them. Nothing was lost, "
				"tracking goes on",
				g->number, areas);
	if (descriptors > own)
		return fail_sys(err, EBUSY, detach_op,
				"group %d: duplicates of device descriptors open in this process: %u; "
				"close them. Nothing was "
				"lost, tracking goes on",
				g->number, descriptors - own);
	return fail_sys(err, EBUSY, detach_op,
			"group %d: another process (a forked child?) holds one of its devices. Nothing was "
			"lost, tracking goes on",
			g->number);
}

static void left(struct vfd_group *group)
{
	struct vfd_container *c = group->container;

	place_forget(&c->space);
	if (group_is_last(group)) {
		c->space.physical = c->space.unanswered = c->space.by_record = 0;
		c->had_physical = false;
		track_detached(&c->space);
		return;
	}
	/* what it wrote, and the others while it was there */
	enum vfd_reason was = space_owes_everything(&c->space);
	c->space.physical -= group->physical;
	c->space.unanswered -= !group->answered;
	c->space.by_record -= group->by_record;
	space_answer_changed(&c->space, was);
	track_recheck(&c->space, NULL);
}

/* EINVAL and ENODEV: the kernel took the group away before us. */
static bool is_away(int rc)
{
	return rc == -EINVAL || rc == -ENODEV;
}

/* With type1 groups leave, and the address space goes with the last of them; in iommufd devices left when they were closed. Away is believed
 * when said twice: of a group that is busy the record would go with what holds it, and nobody would ask. */
static int kernel_unset(struct vfd_group *group)
{
	struct vfd_container *c = group->container;

	if (is_iommufd(c))
		return group_is_last(group) ? c->space.backend.ops->end(&c->space.backend) : 0;
	int rc = c->sys->ioctl(c->sys, group->fd, VFIO_GROUP_UNSET_CONTAINER, NULL);
	return is_away(rc) ? c->sys->ioctl(c->sys, group->fd, VFIO_GROUP_UNSET_CONTAINER, NULL) : rc;
}

static void hold(struct vfd_group *g)
{
	g->container->space.held += !g->held;
	g->held = true;
}

/* What its holder wrote until now, if nobody recorded it, is owed behind the UNSET, when he cannot any more. */
static void let_go(struct vfd_group *g)
{
	struct space *space = &g->container->space;
	enum vfd_reason why = space_owes_everything(space);

	if (!g->held)
		return;
	if (space->tracking && why)
		space_tell_assumed(space, why, (struct range){ 0 }, space_assume_all(space, why), 0);
	space->held--;
	g->held = false;
}

/* EBUSY: a device is open elsewhere, and who has it can write. */
static int unset(struct vfd_group *group, struct vfd_error *err)
{
	struct vfd_container *c = group->container;
	int rc = kernel_unset(group);

	if (rc == -EBUSY) {
		space_stir(&c->space);
		hold(group);
		group_held_elsewhere(group);
		if (c->space.gap) /* what that one wrote then is in no record */
			space_owe_all(&c->space, VFD_WHY_NO_TRACKING);
		message(&c->space.messages, VFD_LEVEL_WARNING,
			(struct note){ .kind = VFD_MSG_REFUSED, .rc = -EBUSY },
			"group %d cannot be detached: someone holds one of its devices. Nothing was lost, "
			"tracking "
			"goes on",
			group->number);
		return explain_busy(group, err);
	}
	if (rc < 0 && !is_away(rc))
		return fail_sys(err, -rc, c->space.backend.ops->end_name, "group %d", group->number);
	let_go(group);
	group_close(group);
	group->attached = false;
	group_tell(group, false);
	left(group);
	return 0;
}

int group_unset(struct vfd_group *group, struct vfd_error *err)
{
	struct space *space = &group->container->space;
	bool paused = false;
	bool spoils = group->physical && !space->backend.ops->by_device;
	int rc = spoils && !group_is_last(group) ? track_pause(space, &paused, err) : 0;

	if (!rc)
		rc = unset(group, err);
	if (paused)
		track_resume(space);
	return rc;
}

const char *group_first_open(const struct vfd_group *group)
{
	for (const struct vfd_device *d = group->devices; d; d = d->next)
		if (d->fd >= 0)
			return d->name;
	return "";
}

/* Refusals come before anything is touched. */
static int check_detach(struct vfd_group *g, bool last, struct vfd_error *err)
{
	unsigned open = group_open_devices(g);

	if (last && !space_clean_but(&g->container->space, g->held))
		return refuse_loss(g->container, detach_op, err,
				   "group %d is the last: the kernel would drop a dirty record that was not "
				   "collected since the last "
				   "device could write; pass VFD_COLLECT, or VFD_DISCARD to lose it",
				   g->number);
	if (open)
		return fail(err, VFD_EDEVICES, detach_op,
			    "group %d: open devices: %u (%s%s); close them, or pass VFD_COLLECT or "
			    "VFD_DISCARD",
			    g->number, open, group_first_open(g), open > 1 ? ", ..." : "");
	return 0;
}

static int detach(struct vfd_group *g, unsigned flags, struct vfd_error *err)
{
	struct space *space = &g->container->space;
	bool last = group_is_last(g);
	int rc = 0;

	if (!g->attached)
		return 0; /* a container close that failed later has detached it */

	if (last && (rc = pins_refuse(space, detach_op, err)))
		return rc;
	if (!flags)
		rc = check_detach(g, last, err);
	else if (flags & VFD_COLLECT)
		rc = group_drain(g, last ? VFD_HARVEST_FINAL : 0, err);
	else
		group_close_devices(g);
	/* Closed here, a device may be open elsewhere; and the kernel may know better which group is the last. */
	if (!flags && !rc)
		rc = track_collect(space, 0, err);
	if (!rc && last && (flags & VFD_COLLECT) && !space_clean_but(space, g->held))
		rc = refuse_loss(g->container, detach_op, err,
				 "group %d: a device became able to write while it was drained", g->number);
	return rc ? rc : group_unset(g, err);
}

int vfd_group_detach(struct vfd_group **group, unsigned flags, struct vfd_error *err)
{
	if (!group || !*group)
		return fail(err, VFD_EINVALID, detach_op,
			    "the group is NULL: never attached, or detached already");
	struct vfd_container *c = (*group)->container;
	int rc = check_destroy_flags(flags, detach_op, err);
	if (!rc)
		rc = container_close_gate(c, detach_op, err);
	if (rc)
		return rc;
	rc = detach(*group, flags, err);
	if (!rc) {
		group_free(*group);
		*group = NULL;
	}
	container_open_gate(c);
	return rc;
}
