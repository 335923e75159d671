/* SPDX-License-Identifier: MIT */
#ifndef LIB_SPACE_H
#define LIB_SPACE_H

/* An I/O address space: the mapping table, what the kernel was told, and whether anything could be lost now. The floor above
 * owns groups and devices and says here how many there are; the gate around every call is held by that floor too. */

#include <pthread.h>
#include <stdatomic.h>

#include "backend.h"
#include "error.h"
#include "lock.h"
#include "log.h"
#include "message.h"
#include "place.h"
#include "plan.h"
#include "scratch.h"
#include "table.h"

struct vfd_pinset;
struct recorder;

struct space {
	const struct sys *sys;
	struct vfd_log *log; /* NULL: never tracks */
	struct backend backend;
	bool can_track; /* the kernel has a record: not of type1 v1, nor no-IOMMU */
	bool adopted;	/* the kernel may have mappings that the table has not */
	bool alone; /* ask for each mapping alone: a 32-bit kernel writes those behind the first outside of the buffer */
	struct scratch_pool scratch;

	pthread_mutex_t
		mutex; /* all that changes with mappings and with who writes; never held across an ioctl */
	struct range_queue queue; /* calls whose ranges meet exclude each other across their ioctls */
	struct table table;
	struct plan plan;

	atomic_bool
		attached; /* the kernel has an IOMMU set, and every mapping of the table; or none of either */
	atomic_bool tracking; /* asked for; survives detach and attach */
	atomic_bool started;  /* the kernel keeps a record now */
	uint64_t stops;	      /* how often it was turned off. Changed with the container's gate closed. */

	unsigned physical;	 /* groups attached whose writes the kernel cannot see */
	unsigned unanswered;	 /* groups attached with devices whose writes nobody knows, but for type1 */
	unsigned by_record;	 /* groups attached with devices whose writes only iommufd knows */
	unsigned held;		 /* groups attached of which someone else has a device open, and may write */
	char all_dirty_who[32];	 /* the last of them that came, for reports */
	atomic_uint writers;	 /* devices that can write now; changed with the mutex, and so is: */
	_Atomic(uint64_t) epoch; /* moves on whenever a device becomes able to write */
	_Atomic(uint64_t) silences; /* so often a recorder has fallen silent; likewise */
	uint64_t drained_at;	    /* the epoch whose writes are all collected */
	atomic_ullong harvests;	    /* of everything, so many have begun */
	uint64_t harvested;	    /* the last of those that brought all; with the mutex */
	struct recorder *recorders; /* devices that log their DMA; changed with the container's gate closed */
	uint64_t unarmed;	 /* bytes of tracked mappings for which some that can write are not armed */
	uint32_t rearms;	 /* logs started anew for other ranges since tracking began; gate closed */
	uint64_t rearm_bytes;	 /* assumed for that */
	const char *rearmed_who; /* while they are */
	struct vfd_pinset *pinsets;   /* changed with the container's gate closed */
	struct place place;	      /* free IOVAs */
	uint64_t owed;		      /* bytes of the mappings that are owed as a whole, mapping.owed */
	struct log_intent unpaid;     /* while there are any, or nobody keeps a record that should be kept */
	struct log_deferral deferral; /* what the last harvest said */
	struct messages messages;
	bool gap; /* there was no record for a moment while a physical group left: see track_pause() */
};

static inline void space_lock(struct space *space)
{
	pthread_mutex_lock(&space->mutex);
}

static inline void space_unlock(struct space *space)
{
	pthread_mutex_unlock(&space->mutex);
}

void space_init(struct space *space, const struct sys *sys, struct vfd_log *log, int fd);
void space_end(struct space *space);

/* A device can write from now on; cannot any more. */
void space_writer_add(struct space *space);
void space_writer_remove(struct space *space);

/* No device is open anywhere. */
void space_silence(struct space *space);

/* Someone unknown may have written, or still may: what was drained is not any more. */
void space_stir(struct space *space);

/* Who could write, when a call began that takes its time. */
struct moment {
	uint64_t epoch, silences;
	unsigned writers;
};
struct moment space_look(const struct space *space);

/* Nobody could write then or since. */
bool space_quiet_since(const struct space *space, struct moment before);

/* All that the table has was collected since: drained, if nobody could write then or since. */
void space_settle(struct space *space, struct moment before);

/* The mapping, which is in the table now, was not since: not drained, if somebody could write. Mutex held. */
void space_unsettle(struct space *space, struct mapping *m, struct moment before);

/* Wait until no earlier call holds a range that meets `where`, then hold it. */
void space_claim(struct space *space, struct range_claim *claim, struct range where);
void space_release(struct space *space, struct range_claim *claim);

/* Nothing that the kernel holds could be lost: not tracking, nothing attached, or drained. */
bool space_clean(struct space *space);
/* The same, but for what so many holders may still write. */
bool space_clean_but(struct space *space, unsigned holders);
bool space_drained(struct space *space);

/* Nobody says what is written: not the kernel, and not all drivers. The container's gate held, as for all that changes with groups. */
bool space_all_dirty(const struct space *space);

/* The kernel's record says what devices wrote, of those that are in it. */
bool space_has_record(const struct space *space);

/* What a device writes while its mapping is removed is in no record: only of a device that is silent is the last bit known. */
bool space_tears(struct space *space);

/* Recorders came, left, or are armed for other ranges, with the container's gate closed; or one can write again. */
void space_rearmed(struct space *space);

/* All that is mapped writable is owed at the end, whoever is asked before; and why: that, or the record was lost. */
enum vfd_reason space_owes_everything(const struct space *space);

/* Groups came, left, or were declared: `was` is what space_owes_everything() said before. What nobody recorded stays owed. */
void space_answer_changed(struct space *space, enum vfd_reason was);

/* Why the kernel's answer for the mapping is not used, all of it being owed at the end; 0: it is used. Mutex held. */
enum vfd_reason space_owes_all(struct space *space, const struct mapping *m);

/* So many new pages were assumed, in a range or (zero) in all; rc: the -errno behind it, or 0. */
void space_tell_assumed(struct space *space, enum vfd_reason why, struct range where, uint64_t pages, int rc);

/* Owe all of the mapping now, labelled; returns the new pages. Mutex need not be held. */
uint64_t space_assume(struct space *space, const struct mapping *m, enum vfd_reason why);

/* Call visit for each tracked mapping, mutex held. */
void space_each_tracked(struct space *space, void (*visit)(struct space *space, struct mapping *m, void *arg),
			void *arg);

/* From now on everything that is mapped writable is owed at the final harvest. */
void space_owe_all(struct space *space, enum vfd_reason why);
void space_owe_nothing(struct space *space);

/* Something changed of which nobody else knows: see log_intent_begin(). */
void space_note_debt(struct space *space);

/* Owe every tracked mapping now; returns the new pages. */
uint64_t space_assume_all(struct space *space, enum vfd_reason why);

/* The kernel's record vanished: expect nothing more of it. gone: the container has no IOMMU any more. Assume what it may have held. */
uint64_t space_lost(struct space *space, enum vfd_reason why, bool gone);

/* The same, with the last group; but if all was collected before, it held nothing. */
void space_taken(struct space *space);

/* A record begins, or has ended: nothing was written yet that it could hold, unless a device can write. */
void space_begin(struct space *space);

/* What the kernel's EINVAL to a bitmap call means. Without memory to ask with: the range is at fault. */
enum record_fault space_diagnose(struct space *space);

/* A mapping is in the table from now on; is not any more, and will be freed. Its range is claimed, and the mutex held. */
void space_mapped(struct space *space, struct mapping *m);
void space_unmapped(struct space *space, struct mapping *m);

/* Everything that is owed as a whole enters the log now. Adds to pages what is new, by reason. */
void space_pay(struct space *space, uint64_t pages[]);

/* Bytes of the tracked mappings. */
uint64_t space_tracked_bytes(struct space *space);

/* Bytes for which some recorder that can write is not armed. */
uint64_t space_unarmed_bytes(struct space *space);

/* Bytes owed once, at the final harvest. */
uint64_t space_deferred_bytes(struct space *space);

/* That, as of a harvest, is seen from outside. */
void space_tell_deferred(struct space *space, uint64_t bytes);

#endif
