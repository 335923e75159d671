/* SPDX-License-Identifier: MIT */
#include "track.h"

#include <errno.h>
#include <inttypes.h>

#include "pin.h"
#include "recorder.h"

static const char *const start_op = "VFIO_IOMMU_DIRTY_PAGES START";

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

static int check_page_size(struct space *space, struct vfd_error *err)
{
	int rc = type1_refresh(&space->type1);

	if (rc)
		return fail_sys(err, -rc, "VFIO_IOMMU_GET_INFO", "cannot read the container's capabilities");
	if (!(space->type1.caps.dirty_page_sizes & space->type1.page_size))
		return fail(err, VFD_EUNSUPPORTED, start_op,
			    "this kernel has no dirty tracking (page size %" PRIu64
			    ", trackable sizes %#" PRIx64 "); Linux 5.8 or newer is needed",
			    space->type1.page_size, space->type1.caps.dirty_page_sizes);
	return 0;
}

static int kernel_start(struct space *space, struct vfd_error *err)
{
	int rc = check_page_size(space, err);

	if (rc)
		return rc;
	rc = type1_start(&space->type1);
	if (rc)
		return fail_sys(
			err, -rc, start_op, "%s",
			rc == -ENOMEM ? "no kernel memory for one bit per mapped page"
				      : "the kernel refused; a mapping longer than 8 TiB would be a reason");
	space->started = true;
	return 0;
}

int track_start(struct space *space, struct vfd_error *err)
{
	bool again = space->tracking;
	int rc = check_trackable(space, err);

	if (rc || (again && (space->started || !space->attached || !space->can_track)))
		return rc;
	if (space->attached && space->can_track)
		rc = kernel_start(space, err);
	if (rc)
		return rc;
	if (again) /* the record had been lost: writes since then are nowhere */
		space_assume_all(space, VFD_WHY_STATE_LOST);
	if (!again)
		space->rearms = 0, space->rearm_bytes = 0;
	space->tracking = true;
	pins_mark(space); /* what is pinned now may be written from here on without another word */
	space_begin(space);
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
	plan_clear(&space->plan);
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
	int rc = type1_stop(&space->type1);

	if (rc != -EINVAL || space_diagnose(space) != TYPE1_GONE)
		return rc;
	space->attached = false;
	return 0;
}

int track_stop(struct space *space, struct vfd_error *err)
{
	int rc = space->started ? stop_record(space) : 0;

	if (rc)
		return fail_sys(err, -rc, "VFIO_IOMMU_DIRTY_PAGES STOP",
				"the kernel refused; tracking is still on");
	space->started = false;
	space->tracking = false;
	space->stops++;
	space_owe_nothing(space);
	give_back(space);
	return 0;
}

int track_pause(struct space *space, bool *paused, struct vfd_error *err)
{
	int rc = space->started ? type1_stop(&space->type1) : 0;

	*paused = space->started && !rc;
	space->gap |= *paused;
	if (rc)
		return fail_sys(err, -rc, "VFIO_IOMMU_DIRTY_PAGES STOP",
				"the kernel refused; nothing was detached");
	space->started = false;
	return 0;
}

/* If it cannot be started all stays owed at the end, as for any record that was lost. */
void track_resume(struct space *space)
{
	space->started = !type1_start(&space->type1);
}

/* The marks come after START: a page written before is covered by them, one written after by the new record. */
int track_recheck(struct space *space, struct vfd_error *err)
{
	uint64_t page_size = space->type1.page_size;
	int rc = type1_refresh(&space->type1);

	if (rc)
		return fail_sys(err, -rc, "VFIO_IOMMU_GET_INFO", "cannot read the container's capabilities");
	if (space->type1.page_size == page_size)
		return 0;
	recorders_fail(space); /* their ranges are not aligned to it, nor what comes between their mappings */
	if (!space->started)
		return 0;
	rc = type1_stop(&space->type1);
	if (!rc)
		rc = type1_start(&space->type1);
	space->started = !rc;
	space_assume_all(space, VFD_WHY_PAGE_SIZE);
	if (rc)
		return fail_sys(err, -rc, start_op,
				"tracking could not be restarted after the page size changed from %" PRIu64
				" to %" PRIu64,
				page_size, space->type1.page_size);
	return 0;
}
