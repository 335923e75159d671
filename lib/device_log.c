/* SPDX-License-Identifier: MIT */

/* Which devices log their own DMA, and when. */

#include "container.h"

#include <stdio.h>

void device_find_log(struct vfd_device *d)
{
	const struct sys *sys = d->group->container->sys;

	d->recorder.log = (struct devlog){ .sys = sys, .fd = d->fd };
	snprintf(d->recorder.who, sizeof d->recorder.who, "%s", d->name);
	d->recorder.recorded = d->recorded;
	d->logs = devlog_offered(sys, d->fd);
	d->log_why = d->logs ? NULL : "it keeps no log";
}

/* Type1 is exact by itself without a physical group, and a driver that pins knows better. */
static bool wanted(const struct vfd_device *d)
{
	const struct space *space = &d->group->container->space;

	return d->logs && d->fd >= 0 && !d->pins_all && space->log && space->attached &&
	       (space->physical || !space->can_track || space->backend.ops->by_device);
}

/* One that failed, or may have ended, begins anew. */
void device_arm(struct vfd_device *d)
{
	struct space *space = &d->group->container->space;

	if (!wanted(d) || (recorder_answers(&d->recorder) && !d->recorder.over))
		return;
	recorder_disarm(space, &d->recorder);
	d->log_why = NULL;
	if (!recorder_arm(space, &d->recorder, &d->log_why))
		message(&space->messages, VFD_LEVEL_WARNING,
			(struct note){ .kind = VFD_MSG_FALLBACK, .who = d->name },
			"device %s cannot log its DMA: %s", d->name, d->log_why);
}

/* What is told of logs that are begun anew holds from now on, and not for what came before. */
void container_arm(struct vfd_container *c)
{
	enum vfd_reason was = space_owes_everything(&c->space);

	for (struct vfd_group *g = c->groups; g; g = g->next) {
		for (struct vfd_device *d = g->devices; d; d = d->next)
			device_arm(d);
		if (g->attached)
			group_recount(g);
	}
	space_answer_changed(&c->space, was);
}

void container_disarm(struct vfd_container *c)
{
	for (struct vfd_group *g = c->groups; g; g = g->next) {
		for (struct vfd_device *d = g->devices; d; d = d->next)
			recorder_disarm(&c->space, &d->recorder);
		if (g->attached)
			group_recount(g);
	}
}
