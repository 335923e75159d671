/* SPDX-License-Identifier: MIT */
#include "space.h"

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
	table_init(&space->table);
	plan_init(&space->plan);
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
	plan_end(&space->plan);
	table_end(&space->table);
	place_forget(space);
	range_queue_end(&space->queue);
	scratch_pool_end(&space->scratch);
	pthread_mutex_destroy(&space->mutex);
	if (space->log)
		log_user_remove(space->log);
}

void space_writer_add(struct space *space)
{
	pthread_mutex_lock(&space->mutex);
	space->writers++;
	space->epoch++;
	pthread_mutex_unlock(&space->mutex);
}

void space_writer_remove(struct space *space)
{
	pthread_mutex_lock(&space->mutex);
	space->writers--;
	pthread_mutex_unlock(&space->mutex);
}

void space_silence(struct space *space)
{
	pthread_mutex_lock(&space->mutex);
	space->writers = 0;
	pthread_mutex_unlock(&space->mutex);
}

void space_stir(struct space *space)
{
	pthread_mutex_lock(&space->mutex);
	space->epoch++;
	pthread_mutex_unlock(&space->mutex);
}

struct moment space_look(struct space *space)
{
	pthread_mutex_lock(&space->mutex);
	struct moment moment = { space->epoch, space->writers };
	pthread_mutex_unlock(&space->mutex);
	return moment;
}

/* Mutex held, here and below. */
static bool quiet_since(const struct space *space, struct moment before)
{
	return !before.writers && !space->writers && before.epoch == space->epoch;
}

bool space_quiet_since(struct space *space, struct moment before)
{
	pthread_mutex_lock(&space->mutex);
	bool quiet = quiet_since(space, before);
	pthread_mutex_unlock(&space->mutex);
	return quiet;
}

void space_settle(struct space *space, struct moment before)
{
	pthread_mutex_lock(&space->mutex);
	if (quiet_since(space, before))
		space->drained_at = space->epoch;
	pthread_mutex_unlock(&space->mutex);
}

void space_unsettle(struct space *space, struct moment before)
{
	pthread_mutex_lock(&space->mutex);
	if (!quiet_since(space, before)) {
		space->epoch++;
		for (struct recorder *r = space->recorders; r; r = r->next)
			r->read = false;
	}
	pthread_mutex_unlock(&space->mutex);
}

static bool drained(const struct space *space)
{
	return !space->writers && space->drained_at == space->epoch;
}

bool space_drained(struct space *space)
{
	pthread_mutex_lock(&space->mutex);
	bool answer = drained(space);
	pthread_mutex_unlock(&space->mutex);
	return answer && !pins_writing(space);
}

bool space_clean(struct space *space)
{
	return !space->tracking || !space->attached || space_drained(space);
}

static const struct recorder *failed_recorder(const struct space *space)
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
	return space->started && space->by_record && space->backend.ops->tears;
}

void space_answer_changed(struct space *space, bool was)
{
	if (was && !space_all_dirty(space) && space->tracking && !space_drained(space))
		space_owe_all(space, VFD_WHY_NO_TRACKING);
}

/* The kernel should have a record of it, and has none. */
static bool unrecorded(const struct space *space)
{
	bool some = space->unanswered || space->by_record;

	return space->attached && some && !space->started;
}

enum vfd_reason space_owes_all(struct space *space, const struct mapping *m)
{
	if (space->attached && drained(space))
		return VFD_WHY_NONE;
	if (space_all_dirty(space))
		return VFD_WHY_NO_TRACKING;
	if (unrecorded(space))
		return VFD_WHY_STATE_LOST;
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

void space_each_tracked(struct space *space, void (*visit)(struct space *space, struct mapping *m, void *arg),
			void *arg)
{
	struct index_cursor at;

	table_enter(&space->table);
	pthread_mutex_lock(&space->mutex);
	for (bool more = index_seek(&space->table.iova, 0, &at); more; more = index_next(&at))
		if (mapping_tracked(at.item))
			visit(space, at.item, arg);
	pthread_mutex_unlock(&space->mutex);
	table_leave(&space->table);
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
	pthread_mutex_lock(&space->mutex);
	note_debt(space);
	pthread_mutex_unlock(&space->mutex);
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

/* In the table first: a recorder that wakes meanwhile looks there, or else was awake before this looks. */
void space_mapped(struct space *space, struct mapping *m)
{
	table_add(&space->table, m);
	plan_touch(&space->plan, m->where);
	if (!space->recorders || !mapping_tracked(m))
		return;
	pthread_mutex_lock(&space->mutex);
	set_unarmed(space, m, !recorders_armed(space, m->where));
	pthread_mutex_unlock(&space->mutex);
}

void space_unmapped(struct space *space, struct mapping *m)
{
	table_remove(&space->table, m);
	plan_touch(&space->plan, m->where);
	pthread_mutex_lock(&space->mutex);
	set_owed(space, m, VFD_WHY_NONE);
	set_unarmed(space, m, false);
	pthread_mutex_unlock(&space->mutex);
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
	pthread_mutex_lock(&space->mutex);
	bool answer = !space->owed;
	pthread_mutex_unlock(&space->mutex);
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

/* Once `started` is false nothing more is expected of the kernel: what devices write from here on is owed at the end. `attached` comes
 * last: without it an unmap in parallel would forget its mapping before it was marked. */
uint64_t space_lost(struct space *space, enum vfd_reason why, bool gone)
{
	space->started = false;
	space_note_debt(space);
	uint64_t pages = space->tracking ? space_assume_all(space, why) : 0;
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
	pthread_mutex_lock(&space->mutex);
	space->epoch++;
	if (!space->writers)
		space->drained_at = space->epoch;
	pthread_mutex_unlock(&space->mutex);
}

enum record_fault space_diagnose(struct space *space)
{
	struct scratch scratch;

	if (scratch_get_populated(&space->scratch, sizeof *scratch.words, &scratch))
		return RECORD_ALIVE;
	enum record_fault fault = space->backend.ops->diagnose(&space->backend, scratch.words);
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
	table_enter(&space->table);
	uint64_t bytes = space->table.tracked;
	table_leave(&space->table);
	return bytes;
}

uint64_t space_unarmed_bytes(struct space *space)
{
	pthread_mutex_lock(&space->mutex);
	uint64_t bytes = space->unarmed;
	pthread_mutex_unlock(&space->mutex);
	return bytes;
}

uint64_t space_deferred_bytes(struct space *space)
{
	uint64_t tracked = space_tracked_bytes(space);

	pthread_mutex_lock(&space->mutex);
	bool all = space_all_dirty(space) || unrecorded(space);
	uint64_t bytes = space->attached && drained(space) ? 0
			 : all				   ? tracked
							   : min_u64(tracked, space->owed + space->unarmed);
	pthread_mutex_unlock(&space->mutex);
	return bytes;
}
