/* SPDX-License-Identifier: MIT */
#include "track.h"

#include <errno.h>
#include <inttypes.h>

#include "map_check.h"
#include "pin.h"
#include "recorder.h"

static int check_trackable(struct space *space, struct vfd_error *err)
{
	if (!space->log)
		return fail(err, VFD_ESTATE, "track start",
			    "the container has no log: name one when it is opened");
	if (!space->can_track && (space->unanswered || !space->attached))
		return fail(err, VFD_EUNSUPPORTED, "track start",
			    "only a type1 v2 container has a record, and this is v1 or no-IOMMU: if its "
			    "drivers pin all that "
			    "their devices write, say so for each (vfd_device_pins_all); else the caller's "
			    "own marks "
			    "(vfd_log_mark) are what is left");
	return 0;
}

/* A page size that does not fit what is mapped no kernel comes to have, and it is not taken: the old one stays. To any other new one the ranges of
 * logs are not aligned, nor what comes between their mappings. */
static int refresh(struct space *space, struct vfd_error *err)
{
	uint64_t page_size = space->backend.page_size;
	int rc = backend_refresh(&space->backend);

	if (rc)
		return fail_sys(err, -rc, space->backend.ops->refresh_name,
				"cannot read the container's capabilities");
	rc = check_page_size_fits(space, err);
	if (rc)
		space->backend.page_size = page_size;
	else if (space->backend.page_size != page_size)
		recorders_fail(space);
	return rc;
}

static int check_page_size(struct space *space, struct vfd_error *err)
{
	int rc = refresh(space, err);

	if (rc)
		return rc;
	if (!(space->backend.caps.dirty_page_sizes & space->backend.page_size))
		return fail(err, VFD_EUNSUPPORTED, space->backend.ops->start_name,
			    "this kernel has no dirty tracking (page size %" PRIu64
			    ", trackable sizes %#" PRIx64 "); Linux 5.8 or newer is needed",
			    space->backend.page_size, space->backend.caps.dirty_page_sizes);
	return 0;
}

static int kernel_start(struct space *space, struct vfd_error *err)
{
	int rc = check_page_size(space, err);

	if (rc)
		return rc;
	rc = backend_start(&space->backend);
	if (rc)
		return fail_sys(
			err, -rc, space->backend.ops->start_name, "%s",
			rc == -ENOMEM ? "no kernel memory for one bit per mapped page"
				      : "the kernel refused; a mapping longer than 8 TiB would be a reason");
	space->started = true;
	return 0;
}

static void assume_all(struct space *space, enum vfd_reason why)
{
	space_tell_assumed(space, why, (struct range){ 0 }, space_assume_all(space, why), 0);
}

static void tell_switched(struct space *space, bool on)
{
	message(&space->messages, VFD_LEVEL_INFO, (struct note){ .kind = VFD_MSG_TRACKING, .count = on },
		"tracking is %s, with %" PRIu64 " bytes mapped writable", on ? "on" : "off",
		space_tracked_bytes(space));
}

int track_start(struct space *space, struct vfd_error *err)
{
	bool again = space->tracking;
	int rc = check_trackable(space, err);

	if (rc || (again && (space->started || !space->attached || !space->can_track)))
		return rc;
	if (again) /* it may run yet, for another page size; START would leave it so */
		backend_stop(&space->backend);
	if (space->attached && space->can_track)
		rc = kernel_start(space, err);
	if (rc)
		return rc;
	if (again) /* the record had been lost: writes since then are nowhere */
		assume_all(space, VFD_WHY_STATE_LOST);
	if (!again)
		space->rearms = 0, space->rearm_bytes = 0;
	space->tracking = true;
	pins_mark(space); /* what is pinned now may be written from here on without another word */
	space_begin(space);
	tell_switched(space, true);
	return 0;
}

int track_attached(struct space *space, struct vfd_error *err)
{
	space->attached = true;
	return space->tracking ? kernel_start(space, err) : 0;
}

/* There will be no harvest soon. */
static void give_back(struct space *space)
{
	space_lock(space);
	plan_clear(&space->plan);
	space_unlock(space);
	scratch_pool_trim(&space->scratch);
}

void track_detached(struct space *space)
{
	give_back(space);
	space->attached = space->started = space->gap = false;
	space_owe_nothing(space);
	space_silence(space);
	space_begin(space);
}

/* A record that the kernel took away with the last group needs no stopping. */
static int stop_record(struct space *space)
{
	int rc = backend_stop(&space->backend);

	if (rc != -EINVAL || space_diagnose(space) != RECORD_GONE)
		return rc;
	space->attached = false;
	return 0;
}

int track_stop(struct space *space, struct vfd_error *err)
{
	int rc = space->started ? stop_record(space) : 0;

	if (rc)
		return fail_sys(err, -rc, space->backend.ops->stop_name,
				"the kernel refused; tracking is still on");
	space->started = false;
	space->tracking = false;
	space->stops++;
	space_owe_nothing(space);
	give_back(space);
	tell_switched(space, false);
	return 0;
}

int track_pause(struct space *space, bool *paused, struct vfd_error *err)
{
	/* also one that was given up: it may run yet. But one that somebody else began, who shares the container, is his to read */
	bool own = space->tracking || !space->adopted;
	int rc = space->can_track && own ? backend_stop(&space->backend) : 0;

	*paused = space->started && !rc;
	space->gap |= *paused;
	if (rc && space->started)
		return fail_sys(err, -rc, space->backend.ops->stop_name,
				"the kernel refused; nothing was detached");
	space->started = false;
	return 0;
}

/* If it cannot be started all stays owed at the end, as for any record that was lost. */
void track_resume(struct space *space)
{
	space->started = !backend_start(&space->backend);
}

/* The marks come after START: a page written before is covered by them, one written after by the new record. */
int track_recheck(struct space *space, struct vfd_error *err)
{
	uint64_t page_size = space->backend.page_size;
	int rc = refresh(space, err);

	if (rc || space->backend.page_size == page_size)
		return rc;
	if (!space->started)
		return 0;
	rc = backend_stop(&space->backend);
	if (!rc)
		rc = backend_start(&space->backend);
	space->started = !rc;
	assume_all(space, VFD_WHY_PAGE_SIZE);
	if (rc)
		return fail_sys(err, -rc, space->backend.ops->start_name,
				"tracking could not be restarted after the page size changed from %" PRIu64
				" to %" PRIu64,
				page_size, space->backend.page_size);
	return 0;
}
