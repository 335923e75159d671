/* SPDX-License-Identifier: MIT */

/* Several containers are harvested one after the other, and none of them may make forgotten what another one said. */

#include "migrate.h"

static void add(struct vfd_harvest *sum, const struct vfd_harvest *one)
{
	sum->drained = sum->drained && one->drained;
	sum->pages_new += one->pages_new;
	sum->pages_reported += one->pages_reported;
	sum->pages_assumed += one->pages_assumed;
	for (size_t i = 0; i < sizeof one->assumed / sizeof *one->assumed; i++)
		sum->assumed[i] += one->assumed[i];
	sum->deferred_bytes += one->deferred_bytes;
	sum->ioctls += one->ioctls;
	sum->bytes += one->bytes;
	sum->nanoseconds += one->nanoseconds;
	sum->unarmed_bytes += one->unarmed_bytes;
	sum->rearms += one->rearms;
}

int mig_harvest(struct vfd_container *container, bool final, struct vfd_harvest *sum, struct mig_error *err)
{
	struct vfd_harvest one = { .struct_size = sizeof one };
	struct vfd_error vfd;
	int rc = vfd_track_harvest(container, final ? VFD_HARVEST_FINAL : 0, &one, &vfd);

	add(sum, &one);
	return rc ? mig_fail_vfd(err, &vfd) : 0;
}
