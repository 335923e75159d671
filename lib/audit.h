/* SPDX-License-Identifier: MIT */
#ifndef LIB_AUDIT_H
#define LIB_AUDIT_H

/* Audit: what changed without anyone who says so.
 *
 * A *look* does, in this order: read and hash all pages (r), ask which were stored to and begin anew (s), ask who is pinned for writing (p),
 * take what was marked (m). Pages stored to, pinned or marked are *excused*. A page whose hash differs between looks 1 and 2 is a suspect if it
 * was excused in neither. Why that accuses nobody falsely, each byte having been read once a look:
 *
 * - A CPU's store that r2 saw and r1 did not came after r1, so after s0 (of the look before), and before s2. The kernel notes it before it is
 *   in memory, so s1 or s2 tells.
 * - A device's write under a pin: the pin was marked at its begin, before the write, and is marked at its end, behind it. The write came after r1,
 *   so after m0, and before r2. If the pin began after m0 its first mark is in m1 or m2; if it ended before m2 its last mark is. Else it was
 *   held from m0 to m2, and p2 tells.
 * - A mark behind the write (who marks at completion) is in m1, m2, or not there yet: suspects wait for the next look.
 * - What the kernel recorded is marked by a harvest, at any time behind the write: while it records devices, suspects wait for a look behind a
 *   whole harvest that began after them.
 *
 * And nothing else excuses: a page written once is accused if no CPU, pin or mark came near. */

#include <pthread.h>

#include <vfiodirty/audit.h>

#include "space.h"
#include "stores.h"

/* Mapped for writing, logged, and adjacent in all three worlds. */
struct audit_area {
	struct range memory;
	uint64_t iova, log_address;
	size_t unit; /* its first one */
};

/* State of a unit: a page, as small as either the log's or the CPU's */
enum {
	UNIT_WAS_EXCUSED = 1 << 0, /* by the look before, or new since */
	UNIT_EXCUSED = 1 << 1,
	UNIT_CHANGED = 1 << 2,
	UNIT_UNREAD = 1 << 3,
	UNIT_SUSPECT = 1 << 4, /* of the look before */
	UNIT_FOUND = 1 << 5,   /* to be told */
};

/* What is audited, by memory; no two areas meet. */
struct audit_set {
	struct audit_area *areas;
	size_t count, units;
	uint64_t *hashes;
	uint8_t *states;
	uint64_t generation; /* of the mapping table */
};

struct vfd_audit {
	struct vfd_container *container;
	struct space *space;
	struct stores stores;
	struct vfd_consumer *marks;
	pthread_mutex_t mutex; /* all below; taken after the container's gate, and before the table's */
	struct audit_set set;
	unsigned shift; /* of a unit */
	uint64_t stops; /* of tracking, when it was looked last */
	uint64_t asked; /* harvests that had begun when there last was a new suspect */
	char *buffer;
};

enum { AUDIT_BUFFER = 256 * 1024 };

static inline uint64_t audit_area_units(const struct vfd_audit *audit, const struct audit_area *area)
{
	return range_size(area->memory) >> audit->shift;
}

/* ---- audit_set.c ---- */

/* Follow the mapping table: watch what is new, which is excused; forget what is gone. After a failure all is as before. */
int audit_set_follow(struct vfd_audit *audit, struct vfd_error *err);
/* Watch nothing, free all. */
void audit_set_end(struct vfd_audit *audit);
/* The first area that does not end before the address. */
size_t audit_set_from(const struct audit_set *set, uint64_t address);

/* ---- audit_look.c ---- */

/* final: suspects of this look need not wait. */
int audit_look(struct vfd_audit *audit, bool final, struct vfd_audit_result *result, struct vfd_error *err);

/* ---- audit.c ---- */

/* Its container ends. */
void audit_free(struct vfd_audit *audit);

#endif
