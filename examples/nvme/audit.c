/* SPDX-License-Identifier: MIT */

/* The promise to pin what the device writes, checked from outside: random reads, and now and then a look at which pages changed without
 * a pin, a mark, or a store of the CPU. */

#include "nvme.h"

#include <stdio.h>

enum { AUDITS = 10, SHOWN = 3 };

struct totals {
	uint64_t found, changed, judged, audited;
};

static void show(const struct nvme *n, const struct vfd_audit_finding *finding)
{
	printf("not pinned, and written: %llu bytes at IOVA %#llx, byte %llu of the data\n",
	       (unsigned long long)finding->size, (unsigned long long)finding->iova,
	       (unsigned long long)((uint8_t *)finding->memory - n->data.start));
}

/* final: nothing is in flight. The first findings are shown; one check in ten would do to know that there are any. */
static void look(const struct nvme *n, struct vfd_audit *audit, unsigned flags, struct totals *totals)
{
	struct vfd_audit_result result = { .struct_size = sizeof result };
	struct vfd_audit_finding findings[64];

	do {
		check(vfd_audit_check(audit, flags, findings, 64, &result, &nvme_error));
		for (uint32_t i = 0; i < result.count && !totals->found && i < SHOWN; i++)
			show(n, &findings[i]);
		totals->found += result.found_bytes;
		totals->changed += result.changed_bytes;
		totals->judged += result.judged_bytes;
		totals->audited += result.audited_bytes;
	} while (result.more_bytes);
}

static void read_some(struct nvme *n, struct workload *w, uint64_t reads)
{
	for (uint64_t started = 0; started < reads;) {
		while (started < reads && start_random(n, w))
			started++;
		while (nvme_poll(n))
			continue;
	}
}

int audit(struct nvme *n, const struct workload *workload)
{
	struct workload w = *workload;
	struct totals totals = { 0 };
	struct vfd_audit *audit;

	check(vfd_track_start(n->container, NULL, NULL, &nvme_error));
	check(vfd_audit_create(n->container, 0, &audit, &nvme_error));
	for (int i = 0; i < AUDITS; i++) {
		read_some(n, &w, w.reads / AUDITS);
		look(n, audit, 0, &totals); /* some are in flight */
	}
	nvme_wait_all(n);
	look(n, audit, VFD_AUDIT_FINAL, &totals);
	check(vfd_audit_destroy(&audit, &nvme_error));
	printf("%d checks: %llu changed pages seen, %.1f %% of all judged\n", AUDITS + 1,
	       (unsigned long long)(totals.changed / NVME_PAGE),
	       100 * (double)totals.judged / (double)totals.audited);
	printf("%s: %llu pages were written without a pin\n", totals.found ? "FAILED" : "ok",
	       (unsigned long long)(totals.found / NVME_PAGE));
	return totals.found != 0;
}
