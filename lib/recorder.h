/* SPDX-License-Identifier: MIT */
#ifndef LIB_RECORDER_H
#define LIB_RECORDER_H

/* A *recorder* is a device that logs its own DMA. It is armed for ranges of IOVA while the container tracks, and read where
 * something is mapped. What it writes is then known, on hardware whose IOMMU cannot tell.
 *
 * What is mapped outside of what all recorders are armed for is *unarmed*: owed as a whole, at the end or when it is unmapped.
 *
 * A failed REPORT may have cleared bits that never arrived, so nothing that the device says counts any more: all that is mapped is owed
 * at the end. So it is when a log ends (at the close of its device) without having been read after the device fell silent. */

#include <stdatomic.h>

#include "devlog.h"
#include "error.h"

struct space;
struct mapping;
struct harvest;

struct recorder {
	struct devlog log;
	struct recorder *next; /* of the space; changed with the container's gate closed, as are the ranges */
	struct range *armed;   /* ascending; NULL: it is not armed */
	size_t count;
	atomic_bool failed;
	atomic_bool
		over; /* its log may have ended, with nothing unread: it is not asked, and has failed once its device can write */
	bool silent; /* its device cannot write; the space's mutex, as for the next */
	bool read;   /* all of it, since it is silent */
	char who[32];
};

/* Start the log, for all that may be mapped if the device can, else for what is mapped. False: it cannot, and why; *why is static
 * text. The container's gate is closed, as for the next two. */
bool recorder_arm(struct space *space, struct recorder *recorder, const char **why);

/* Stop it, if it is armed; nothing is left to read, or it is to be dropped. */
void recorder_disarm(struct space *space, struct recorder *recorder);

/* Its device is about to be closed, and the log with it. */
void recorder_closed(struct space *space, struct recorder *recorder);

/* Its device can write, or not. */
void recorder_set_silent(struct space *space, struct recorder *recorder, bool silent);

/* Whether all of it was read, and its device cannot have written since. */
bool recorder_read_out(struct space *space, struct recorder *recorder);

/* Its log may end now, by what the device is about to be told. What was not read is owed. */
void recorder_ends(struct space *space, struct recorder *recorder);

/* What it said counts no more. */
void recorder_fail(struct space *space, struct recorder *recorder);

/* All of them. */
void recorders_fail(struct space *space);

static inline bool recorder_answers(const struct recorder *recorder)
{
	return recorder->armed && !atomic_load(&recorder->failed);
}

/* ---- recorder_read.c: the container's gate is entered ---- */

/* Read a little of it, into the log as always. 0 or -errno: it cannot be read. */
int recorder_try(struct space *space, struct recorder *recorder);

/* Read all, where mappings start in h->wanted. */
void recorders_harvest(struct harvest *h);

/* What has to be claimed so that a mapping in this range can be read: more than itself. */
struct range recorders_reach(const struct space *space, struct range where);

/* The kernel has unmapped it, no device can write it any more: read what they wrote. Its reach is claimed. */
void recorders_unmapped(struct space *space, const struct mapping *m);

/* Whether all of them are armed for it. */
bool recorders_armed(const struct space *space, struct range where);

#endif
