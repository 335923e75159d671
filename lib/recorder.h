/* SPDX-License-Identifier: MIT */
#ifndef LIB_RECORDER_H
#define LIB_RECORDER_H

/* A *recorder* is a device that logs its own DMA. It is armed for ranges of IOVA while the container tracks, and read where
 * something is mapped. What it writes is then known, on hardware whose IOMMU cannot tell.
 *
 * What is mapped outside of what all recorders are armed for, but those that cannot write, is *unarmed*: owed as a whole, at the end or
 * when it is unmapped. Until they are armed anew: recorder_rearm.c.
 *
 * A failed REPORT may have cleared bits that never arrived, so nothing that the device says counts any more: all that is mapped is owed
 * at the end. So it is when a log ends (at the close of its device) without having been read after the device fell silent. But a device
 * may be *recorded* by the kernel all the while, too: then nothing is owed as long as that goes on, for the record has what the log
 * failed to say; but for what a device writes into a mapping that goes, as of any device that has no log. */

#include <stdatomic.h>

#include "devlog.h"
#include "error.h"

struct space;
struct mapping;
struct harvest;

/* For a device's log: ascending, apart */
struct recorder_ranges {
	size_t count;
	struct range at[DEVLOG_RANGES];
};

struct recorder {
	struct devlog log;
	struct recorder *next; /* of the space; changed with the container's gate closed, as are the ranges */
	struct range *armed;   /* room for DEVLOG_RANGES; NULL: it is not armed */
	size_t count;
	atomic_bool failed;
	atomic_bool
		over; /* its log may have ended, with nothing unread: it is not asked, and has failed once its device can write */
	bool recorded; /* its device is in a record of the kernel's, too, by itself: iommufd's page tables */
	bool silent;   /* its device cannot write; the space's mutex, as for the next two */
	bool read;     /* all of it, since it is silent */
	uint64_t silence; /* the last one's number: space.silences then */
	bool anew; /* by a recorders_rearm() on its way: its new log runs, and it still counts as failed */
	char who[32];
};

/* Start the log, for all that may be mapped if the device can, else for what is mapped. False: it cannot, and why; *why is static
 * text. The container's gate is closed, as for the next two. */
bool recorder_arm(struct space *space, struct recorder *recorder, const char **why);

/* Start its log, which is off, for what recorder_arm() says. 0, or -errno or VFD_ENOMEMORY: it is off. */
int recorder_start(struct space *space, struct recorder *recorder, struct recorder_ranges *ranges);

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

/* Whether the kernel's record has what it fails to say. */
bool recorder_is_backed(const struct space *space, const struct recorder *recorder);

/* ---- recorder_read.c: the container's gate is entered ---- */

/* Read all of it, where mappings start in h->wanted. False: it failed, or could not be read. */
bool recorder_harvest(struct harvest *h, struct recorder *recorder);

/* Read a little of it, into the log as always. 0 or -errno: it cannot be read. */
int recorder_try(struct space *space, struct recorder *recorder);

/* Read all, where mappings start in h->wanted. */
void recorders_harvest(struct harvest *h);

/* What has to be claimed so that a mapping in this range can be read: more than itself. */
struct range recorders_reach(const struct space *space, struct range where);

/* The kernel has unmapped it, no device can write it any more: read what they wrote. Its reach is claimed. */
void recorders_unmapped(struct space *space, const struct mapping *m);

/* The first range at or behind `from` that all of them are armed for; false: there is none, or no recorder. */
bool recorders_next_armed(const struct space *space, uint64_t from, struct range *out);

/* Whether all of it is in the ranges. */
bool recorder_armed(const struct recorder *recorder, struct range where);

/* Whether all that can write are armed for it: what is mapped under a silent one is looked at again when it wakes. The space's mutex. */
bool recorders_armed(const struct space *space, struct range where);

/* ---- recorder_rearm.c: the container's gate is closed ---- */

struct rearm {
	bool running;	 /* also those that can write: all that is mapped is then assumed */
	uint64_t least;	 /* but not if no more bytes are unarmed */
	uint64_t budget; /* or if more had been assumed then, since tracking began; 0: no limit */
	/* What was done: */
	uint32_t rearmed, running_rearmed, failed;
	uint64_t assumed_bytes, pages_new;
};

/* Arm those anew that are not armed for all that is mapped. Returns the first failure: what one cannot see stays owed, and one whose log
 * is off counts as failed. */
int recorders_rearm(struct space *space, struct rearm *rearm, struct vfd_error *err);

/* Whether something is mapped for which it is not armed. The container's gate is entered, or closed. */
bool recorder_lacks(struct space *space, const struct recorder *recorder);

#endif
