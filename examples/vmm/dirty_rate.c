/* SPDX-License-Identifier: MIT */

/* How much memory changes: what a second of harvests brings, by vCPUs and by the device, to a consumer of its own. */

#include "vmm.h"

#include <string.h>
#include <time.h>

/* On for both, or off for both. */
int track(struct vm *vm, bool on, struct vfd_error *err)
{
	int rc = ram_track(vm, on, err);

	if (rc || !vm->container)
		return rc;
	rc = on ? vfd_track_start(vm->container, NULL, NULL, err)
		: vfd_track_stop(vm->container, VFD_DISCARD, err);
	return rc;
}

/* Both sources into the one log. */
int harvest(struct vm *vm, bool final, struct vfd_harvest *result, struct vfd_error *err)
{
	int rc = ram_harvest(vm, err);

	if (!rc && vm->container)
		rc = vfd_track_harvest(vm->container, final ? VFD_HARVEST_FINAL : 0, result, err);
	return rc;
}

static int measure(struct vm *vm, struct vfd_consumer *meter, struct vfd_harvest *h, struct vfd_count *count,
		   struct vfd_error *err)
{
	struct timespec second = { .tv_sec = 1 };

	nanosleep(&second, NULL);
	return harvest(vm, false, h, err) ?: vfd_consumer_count(meter, 0, UINT64_MAX, count, err);
}

int dirty_rate(struct vm *vm, char *text, size_t size, struct vfd_error *err)
{
	struct vfd_harvest h = { .struct_size = sizeof h };
	struct vfd_consumer *meter;
	struct vfd_count count = { 0 };
	struct vfd_error ignored;

	if (vm->ram.tracked)
		return fail(err, "a migration is measuring that already");
	if (vfd_consumer_add(vm->log, "dirty-rate", &meter, err))
		return -1;
	int rc = track(vm, true, err) ?: measure(vm, meter, &h, &count, err);
	track(vm, false, &ignored);
	vfd_consumer_remove(&meter, VFD_DISCARD, &ignored);
	snprintf(text, size, "pages=%llu by-device=%llu deferred-bytes=%llu", (unsigned long long)count.owed,
		 (unsigned long long)h.pages_new, (unsigned long long)h.deferred_bytes);
	return rc;
}
