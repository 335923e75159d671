/* SPDX-License-Identifier: MIT */
#include "space.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "pin.h"
#include "recorder.h"
#include "type1.h"

void space_init(struct space *space, const struct sys *sys, struct vfd_log *log, int fd)
{
	*space = (struct space){ .sys = sys, .log = log, .can_track = true, .alone = sizeof(void *) < 8 };
	space->backend =
		(struct backend){ .ops = &type1_ops, .sys = sys, .fd = fd, .page_size = BACKEND_PAGE_SIZE };
	space->backend.caps.entries_available = UINT64_MAX;
	pthread_mutex_init(&space->mutex, NULL);
	scratch_pool_init(&space->scratch, sys);
	range_queue_init(&space->queue);
	messages_init(&space->messages);
	table_init(&space->table);
	if (log)
		log_user_add(log);
}

void space_end(struct space *space)
{
	struct index_cursor at;

	for (bool more = index_seek(&space->table.iova, 0, &at); more; more = index_next(&at)) {
		struct mapping *m = at.item;
		if (m->logged)
			log_region_put(space->log, m->log_address);
		free(m);
	}
	log_intent_end(space->unpaid);
	if (space->log) /* asking for no reason: groups and devices are freed by now */
		log_defer(space->log, &space->deferral, NULL, 0);
	plan_clear(&space->plan);
	table_end(&space->table);
	place_forget(space);
	range_queue_end(&space->queue);
	messages_end(&space->messages);
	scratch_pool_end(&space->scratch);
	pthread_mutex_destroy(&space->mutex);
	if (space->log)
		log_user_remove(space->log);
}

void space_claim(struct space *space, struct range_claim *claim, struct range where)
{
	space_lock(space);
	range_claim(&space->queue, &space->mutex, claim, where);
	space_unlock(space);
}

void space_release(struct space *space, struct range_claim *claim)
{
	space_lock(space);
	range_release(&space->queue, claim);
	space_unlock(space);
}

void space_writer_add(struct space *space)
{
	space_lock(space);
	space->writers++;
	space->epoch++;
	space_unlock(space);
}

void space_writer_remove(struct space *space)
{
	space_lock(space);
	space->writers--;
	space_unlock(space);
}

void space_silence(struct space *space)
{
	space_lock(space);
	space->writers = 0;
	space_unlock(space);
}

void space_stir(struct space *space)
{
	space_lock(space);
	space->epoch++;
	space_unlock(space);
}

/* Who came between these two is counted, or was gone before the look was over. */
struct moment space_look(const struct space *space)
{
	uint64_t epoch = space->epoch, silences = space->silences;

	return (struct moment){ epoch, silences, space->writers };
}

/* Who came since has moved the epoch. */
bool space_quiet_since(const struct space *space, struct moment before)
{
	return !before.writers && before.epoch == space->epoch;
}

void space_settle(struct space *space, struct moment before)
{
	space_lock(space);
	if (space_quiet_since(space, before))
		space->drained_at = space->epoch;
	space_unlock(space);
}

/* Mutex held. What a holder writes where nothing is recorded, nobody has seen the last of. */
static bool drained(const struct space *space)
{
	bool unseen = space->held && space_owes_everything(space);

	return !space->writers && !unseen && space->drained_at == space->epoch;
}

bool space_drained(struct space *space)
{
	space_lock(space);
	bool answer = drained(space);
	space_unlock(space);
	return answer && !pins_writing(space);
}

bool space_clean(struct space *space)
{
	return !space->tracking || !space->attached || space_drained(space);
}

/* The container's gate is closed. */
bool space_clean_but(struct space *space, unsigned holders)
{
	space->held -= holders;
	bool answer = space_clean(space);
	space->held += holders;
	return answer;
}

static const struct recorder *failed_recorder(const struct space *space)
{
	const struct recorder *r = space->recorders;

	while (r && (recorder_answers(r) || recorder_is_backed(space, r)))
		r = r->next;
	return r;
}

/* Some device's log failed, so that only the kernel's record knows what it writes. */
static bool fallen_back(const struct space *space)
{
	const struct recorder *r = space->recorders;

	while (r && recorder_answers(r))
		r = r->next;
	return r;
}

bool space_all_dirty(const struct space *space)
{
	bool apart = space->backend.ops->by_device || space->physical || !space->can_track;
	bool silent = space->unanswered && apart;

	return space->attached && (silent || failed_recorder(space));
}

bool space_has_record(const struct space *space)
{
	return space->attached && (space->backend.ops->by_device || !space->physical);
}

bool space_tears(struct space *space)
{
	return space->started && space->backend.ops->tears && (space->by_record || fallen_back(space));
}

/* The kernel should have a record of it, and has none. */
static bool unrecorded(const struct space *space)
{
	bool some = space->unanswered || space->by_record;

	return space->attached && some && !space->started;
}

enum vfd_reason space_owes_everything(const struct space *space)
{
	if (space_all_dirty(space))
		return VFD_WHY_NO_TRACKING;
	return unrecorded(space) ? VFD_WHY_STATE_LOST : VFD_WHY_NONE;
}

void space_answer_changed(struct space *space, enum vfd_reason was)
{
	bool settled = !space->held && space_drained(space);

	if (was && was != space_owes_everything(space) && space->tracking && !settled)
		space_owe_all(space, was);
}

enum vfd_reason space_owes_all(struct space *space, const struct mapping *m)
{
	enum vfd_reason all = space_owes_everything(space);

	if (space->attached && drained(space))
		return VFD_WHY_NONE;
	if (all)
		return all;
	return m->unarmed ? VFD_WHY_UNARMED : (enum vfd_reason)m->owed;
}

static const char *culprit(const struct space *space, enum vfd_reason why)
{
	const struct recorder *failed = failed_recorder(space);

	if (why == VFD_WHY_REARMED)
		return space->rearmed_who;
	if (why == VFD_WHY_LOG_FAILED || why == VFD_WHY_UNARMED)
		return failed ? failed->who : "device log";
	if (why != VFD_WHY_NO_TRACKING)
		return space->backend.ops->who;
	return failed ? failed->who : space->all_dirty_who;
}

uint64_t space_assume(struct space *space, const struct mapping *m, enum vfd_reason why)
{
	struct log_source source = {
		.provenance = VFD_ASSUMED,
		.reason = why,
		.who = culprit(space, why),
	};

	return log_mark(space->log, mapping_log_range(m), &source);
}

/* What was to come is no cause for alarm. */
static uint32_t level_of(enum vfd_reason why)
{
	bool planned = why == VFD_WHY_NO_TRACKING || why == VFD_WHY_UNARMED;

	return planned ? VFD_LEVEL_INFO : VFD_LEVEL_WARNING;
}

static const char *describe(enum vfd_reason why)
{
	static const char *const texts[] = {
		[VFD_WHY_NO_TRACKING] = "nobody reports what their device writes",
		[VFD_WHY_HARVEST_FAILED] = "the kernel failed while it reported them",
		[VFD_WHY_UNMAP_FAILED] = "an unmap failed, and their bits may be gone",
		[VFD_WHY_STATE_LOST] = "the kernel's record had vanished",
		[VFD_WHY_PAGE_SIZE] = "the page size of the record changed",
		[VFD_WHY_LOG_FAILED] = "a device's log failed",
		[VFD_WHY_UNARMED] = "they were mapped where no device's log looks",
		[VFD_WHY_REARMED] = "logs were started anew while their devices could write",
		[VFD_WHY_TORN] = "they were unmapped while a device could write",
	};

	return why < sizeof texts / sizeof texts[0] && texts[why] ? texts[why] : "nobody reported them";
}

void space_tell_assumed(struct space *space, enum vfd_reason why, struct range where, uint64_t pages, int rc)
{
	message(&space->messages, level_of(why),
		(struct note){ .kind = VFD_MSG_ASSUMED,
			       .reason = why,
			       .rc = rc,
			       .where = where,
			       .count = pages,
			       .who = culprit(space, why) },
		"%" PRIu64 " pages are assumed dirty: %s", pages, describe(why));
}

void space_each_tracked(struct space *space, void (*visit)(struct space *space, struct mapping *m, void *arg),
			void *arg)
{
	struct index_cursor at;

	space_lock(space);
	for (bool more = index_seek(&space->table.iova, 0, &at); more; more = index_next(&at))
		if (mapping_tracked(at.item))
			visit(space, at.item, arg);
	space_unlock(space);
}

/* Mutex held, here and below. What happened earlier, or that nobody keeps a record, is known here only: as long as it is not paid, whoever
 * salvages the log owes it. */
static void note_debt(struct space *space)
{
	bool debt = space->owed || (space->tracking && space->attached && !space->started);

	if (debt == (space->unpaid.all != NULL))
		return;
	log_intent_end(space->unpaid);
	space->unpaid = (struct log_intent){ 0 };
	if (debt)
		space->unpaid = log_intent_begin(space->log, RANGE_ALL);
}

static void set_owed(struct space *space, struct mapping *m, enum vfd_reason why)
{
	if (m->owed)
		space->owed -= range_size(m->where);
	if (why)
		space->owed += range_size(m->where);
	m->owed = (unsigned)why & 0x7fu;
	note_debt(space);
}

void space_note_debt(struct space *space)
{
	space_lock(space);
	note_debt(space);
	space_unlock(space);
}

static void set_unarmed(struct space *space, struct mapping *m, bool unarmed)
{
	if (m->unarmed)
		space->unarmed -= range_size(m->where);
	if (unarmed)
		space->unarmed += range_size(m->where);
	m->unarmed = unarmed;
}

/* What was written while nobody looked stays owed. */
static void look_armed(struct space *space, struct mapping *m, void *arg)
{
	bool unarmed = !recorders_armed(space, m->where);

	(void)arg;
	if (m->unarmed && !unarmed && !m->owed && space->tracking && !drained(space))
		set_owed(space, m, VFD_WHY_UNARMED);
	set_unarmed(space, m, unarmed);
}

void space_rearmed(struct space *space)
{
	space_each_tracked(space, look_armed, NULL);
}

void space_mapped(struct space *space, struct mapping *m)
{
	table_add(&space->table, m);
	plan_touch(&space->plan, m->where);
	if (space->recorders && mapping_tracked(m))
		set_unarmed(space, m, !recorders_armed(space, m->where));
}

/* Who has fallen silent since then may have written to it where its log does not look, or has ended. */
static bool may_have_missed(const struct recorder *r, const struct mapping *m, struct moment before)
{
	return r->silent && r->silence > before.silences && (r->over || !recorder_armed(r, m->where));
}

void space_unsettle(struct space *space, struct mapping *m, struct moment before)
{
	if (space_quiet_since(space, before))
		return;
	space->epoch++;
	for (struct recorder *r = space->recorders; r; r = r->next) {
		if (mapping_tracked(m) && !m->unarmed && may_have_missed(r, m, before))
			set_owed(space, m, VFD_WHY_UNARMED);
		r->read = false;
	}
}

void space_unmapped(struct space *space, struct mapping *m)
{
	table_remove(&space->table, m);
	plan_touch(&space->plan, m->where);
	if (m->owed)
		set_owed(space, m, VFD_WHY_NONE);
	set_unarmed(space, m, false);
}

static void owe(struct space *space, struct mapping *m, void *arg)
{
	set_owed(space, m, *(const enum vfd_reason *)arg);
}

void space_owe_all(struct space *space, enum vfd_reason why)
{
	space_each_tracked(space, owe, &why);
}

static bool owes_nothing(struct space *space)
{
	space_lock(space);
	bool answer = !space->owed;
	space_unlock(space);
	return answer;
}

void space_owe_nothing(struct space *space)
{
	if (!owes_nothing(space))
		space_owe_all(space, VFD_WHY_NONE);
}

struct assumption {
	enum vfd_reason why;
	uint64_t pages;
};

static void assume(struct space *space, struct mapping *m, void *arg)
{
	struct assumption *assumption = arg;

	assumption->pages += space_assume(space, m, assumption->why);
}

uint64_t space_assume_all(struct space *space, enum vfd_reason why)
{
	struct assumption assumption = { .why = why };

	space_each_tracked(space, assume, &assumption);
	return assumption.pages;
}

static void tell_lost(struct space *space, enum vfd_reason why, uint64_t pages)
{
	message(&space->messages, VFD_LEVEL_ERROR,
		(struct note){
			.kind = VFD_MSG_LOST, .reason = why, .count = pages, .who = space->backend.ops->who },
		"the kernel's dirty record vanished%s: all that is mapped writable is assumed, %" PRIu64
		" pages of it new",
		why == VFD_WHY_PAGE_SIZE ? ", for its page size changed" : "", pages);
}

/* Once `started` is false nothing more is expected of the kernel: what devices write from here on is owed at the end. `attached` comes
 * last: without it an unmap in parallel would forget its mapping before it was marked. */
uint64_t space_lost(struct space *space, enum vfd_reason why, bool gone)
{
	space->started = false;
	space_note_debt(space);
	uint64_t pages = space->tracking ? space_assume_all(space, why) : 0;
	tell_lost(space, why, pages);
	if (gone)
		space->attached = false;
	return pages;
}

void space_taken(struct space *space)
{
	if (space_drained(space))
		space->started = space->attached = false;
	else
		space_lost(space, VFD_WHY_STATE_LOST, true);
}

void space_begin(struct space *space)
{
	space_lock(space);
	space->epoch++;
	if (!space->writers)
		space->drained_at = space->epoch;
	space_unlock(space);
}

enum record_fault space_diagnose(struct space *space)
{
	struct scratch scratch;

	if (scratch_get_populated(&space->scratch, sizeof *scratch.words, &scratch))
		return RECORD_ALIVE;
	enum record_fault fault = space->backend.ops->diagnose(&space->backend, scratch.words);
	/* From a record that ended nothing more is expected: not for one answer that was wrong. Gone it is if both say so. */
	if (fault != RECORD_ALIVE) {
		enum record_fault again = space->backend.ops->diagnose(&space->backend, scratch.words);
		fault = again == RECORD_GONE ? fault : again;
	}
	*scratch.words = 0;
	scratch_put(&space->scratch, scratch);
	return fault;
}

static void pay(struct space *space, struct mapping *m, void *arg)
{
	enum vfd_reason why = space_owes_all(space, m);
	uint64_t *pages = arg;

	if (why)
		pages[why] += space_assume(space, m, why);
	set_owed(space, m, VFD_WHY_NONE);
	set_unarmed(space, m, !recorders_armed(space, m->where)); /* a silent one wrote there before */
}

void space_pay(struct space *space, uint64_t pages[])
{
	if (space_deferred_bytes(space) || !owes_nothing(space))
		space_each_tracked(space, pay, pages);
}

uint64_t space_tracked_bytes(struct space *space)
{
	space_lock(space);
	uint64_t bytes = space->table.tracked;
	space_unlock(space);
	return bytes;
}

uint64_t space_unarmed_bytes(struct space *space)
{
	space_lock(space);
	uint64_t bytes = space->unarmed;
	space_unlock(space);
	return bytes;
}

uint64_t space_deferred_bytes(struct space *space)
{
	space_lock(space);
	uint64_t tracked = space->table.tracked;
	bool all = space_owes_everything(space);
	uint64_t bytes = space->attached && drained(space) ? 0
			 : all				   ? tracked
							   : min_u64(tracked, space->owed + space->unarmed);
	space_unlock(space);
	return bytes;
}

/* Nobody answers for some device; or something happened, of which the record says what it was. */
void space_tell_deferred(struct space *space, uint64_t bytes)
{
	enum vfd_reason why = space_unarmed_bytes(space) ? VFD_WHY_UNARMED : VFD_WHY_STATE_LOST;

	if (space_all_dirty(space))
		why = VFD_WHY_NO_TRACKING;
	struct log_source source = { .provenance = VFD_ASSUMED, .reason = why, .who = culprit(space, why) };

	if (space->log)
		log_defer(space->log, &space->deferral, &source, bytes);
}
