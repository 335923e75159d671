/* SPDX-License-Identifier: MIT */

/* One look: what changed, who says so, and whom that leaves. The order is explained in audit.h. */

#include <string.h>

#include "audit.h"
#include "clock.h"
#include "pin.h"

/* ---- units of a range of memory ---- */

struct units {
	size_t first, count;
};

static struct units units_of(const struct vfd_audit *audit, const struct audit_area *area,
			     struct range memory)
{
	struct range common = range_common(area->memory, memory);
	uint64_t first = (common.first - area->memory.first) >> audit->shift;
	uint64_t last = (common.last - area->memory.first) >> audit->shift;

	return (struct units){ area->unit + (size_t)first, (size_t)(last - first + 1) };
}

/* Set and clear bits of all units that the range touches. */
static void change(struct vfd_audit *audit, struct range memory, unsigned set, unsigned clear)
{
	const struct audit_set *all = &audit->set;

	for (size_t i = audit_set_from(all, memory.first);
	     i < all->count && all->areas[i].memory.first <= memory.last; i++) {
		struct units units = units_of(audit, &all->areas[i], memory);
		for (size_t unit = units.first; unit < units.first + units.count; unit++)
			all->states[unit] = (uint8_t)((all->states[unit] | set) & ~clear);
	}
}

/* ---- reading ---- */

/* A change of one word always shows: each step is one to one. */
static uint64_t hash(const char *bytes, size_t size)
{
	uint64_t h = 0, word;

	for (size_t at = 0; at < size; at += sizeof word) {
		memcpy(&word, bytes + at, sizeof word);
		h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 32;
	}
	return h;
}

static void note(struct audit_set *set, size_t unit, uint64_t h)
{
	if (set->hashes[unit] != h)
		set->states[unit] |= UNIT_CHANGED;
	set->hashes[unit] = h;
}

/* Returns how many units were done: what cannot be read is one. */
static size_t read_some(struct vfd_audit *audit, uint64_t address, size_t unit, size_t left)
{
	size_t size = (size_t)1 << audit->shift, most = AUDIT_BUFFER >> audit->shift;
	size_t want = (left < most ? left : most) << audit->shift;
	size_t units = stores_read(&audit->stores, address, audit->buffer, want) >> audit->shift;

	for (size_t i = 0; i < units; i++)
		note(&audit->set, unit + i, hash(audit->buffer + i * size, size));
	if (units)
		return units;
	audit->set.states[unit] |= UNIT_UNREAD;
	return 1;
}

static void read_area(struct vfd_audit *audit, const struct audit_area *area)
{
	size_t units = (size_t)audit_area_units(audit, area);

	for (size_t done = 0; done < units;)
		done += read_some(audit, area->memory.first + ((uint64_t)done << audit->shift),
				  area->unit + done, units - done);
}

/* ---- excuses ---- */

/* All are excused until they turn out not to be: what nobody speaks of is unknown. */
static void begin(struct audit_set *set)
{
	for (size_t i = 0; i < set->units; i++)
		set->states[i] |= UNIT_EXCUSED;
}

static void untouched(struct range memory, void *arg)
{
	change(arg, memory, 0, UNIT_EXCUSED);
}

static int ask_stores(struct vfd_audit *audit, struct vfd_error *err)
{
	for (size_t i = 0; i < audit->set.count; i++) {
		const struct audit_area *area = &audit->set.areas[i];
		int rc = stores_scan(&audit->stores, area->memory, untouched, audit);
		if (rc)
			return fail_sys_range(err, -rc, "PAGEMAP_SCAN", area->iova,
					      area->iova + (area->memory.last - area->memory.first),
					      "the kernel does not say what was stored to");
	}
	return 0;
}

/* A pin that ended since it was seen, with its mapping, has left its marks. */
static void pinned(struct range iova, void *arg)
{
	struct vfd_audit *audit = arg;
	struct table *table = &audit->space->table;
	struct index_cursor at;

	table_enter(table);
	for (bool more = index_meets(&table->iova, iova, &at); more && at.where.first <= iova.last;
	     more = index_next(&at)) {
		const struct mapping *m = at.item;
		struct range common = range_common(at.where, iova);
		uint64_t memory = (uintptr_t)m->memory + (common.first - at.where.first);
		change(audit, (struct range){ memory, memory + (common.last - common.first) }, UNIT_EXCUSED,
		       0);
	}
	table_leave(table);
}

/* Marks excuse suspects too. A batch that is gone was all in a region that was removed. */
static int take_marks(struct vfd_audit *audit, struct vfd_error *err)
{
	struct vfd_batch batch;
	struct vfd_run runs[64];
	size_t count;
	int rc = vfd_take(audit->marks, 0, UINT64_MAX, UINT64_MAX, &batch, err);

	if (rc || !batch.id)
		return rc;
	while (!vfd_batch_runs(audit->marks, &batch, runs, sizeof runs / sizeof runs[0], &count, NULL) &&
	       count)
		for (size_t i = 0; i < count; i++) {
			uint64_t first = (uintptr_t)runs[i].memory;
			change(audit, (struct range){ first, first + (runs[i].size - 1) }, UNIT_EXCUSED,
			       UNIT_SUSPECT);
		}
	vfd_commit(audit->marks, &batch, 0, UINT64_MAX, NULL);
	return 0;
}

/* ---- the verdict ---- */

/* What becomes of suspects: those of this look, and of looks before. */
struct verdict {
	unsigned now, before;
};

static uint8_t judge(uint8_t state, struct verdict verdict)
{
	unsigned excuses = UNIT_WAS_EXCUSED | UNIT_EXCUSED;
	unsigned next = state & UNIT_FOUND;

	if (state & UNIT_UNREAD)
		state |= UNIT_EXCUSED;
	if (state & UNIT_SUSPECT)
		next |= verdict.before;
	if ((state & (UNIT_CHANGED | excuses)) == UNIT_CHANGED)
		next |= verdict.now;
	if (state & UNIT_EXCUSED)
		next |= UNIT_WAS_EXCUSED;
	return (uint8_t)next;
}

static void judge_all(struct vfd_audit *audit, struct verdict verdict, struct vfd_audit_result *result)
{
	uint64_t size = UINT64_C(1) << audit->shift;
	uint8_t *states = audit->set.states;
	unsigned new = 0;

	result->audited_bytes = audit->set.units * size;
	for (size_t i = 0; i < audit->set.units; i++) {
		result->changed_bytes += states[i] & UNIT_CHANGED ? size : 0;
		result->judged_bytes +=
			states[i] & (UNIT_WAS_EXCUSED | UNIT_EXCUSED | UNIT_UNREAD) ? 0 : size;
		uint8_t judged = judge(states[i], verdict);
		new |= judged & ~(unsigned)states[i] & UNIT_SUSPECT;
		states[i] = judged;
	}
	if (new)
		audit->asked = audit->space->harvests;
}

/* May those be accused that were suspects before? Asked before this look takes the marks. */
static bool is_told(const struct vfd_audit *audit)
{
	struct space *space = audit->space;

	if (!space->recorders && !space->by_record)
		return true;
	space_lock(space);
	uint64_t harvested = space->harvested;
	space_unlock(space);
	return harvested > audit->asked;
}

/* Of what came before now nothing is known. What was found stays. */
static void forget(struct audit_set *set)
{
	for (size_t i = 0; i < set->units; i++)
		set->states[i] = (uint8_t)((set->states[i] & UNIT_FOUND) | UNIT_WAS_EXCUSED);
}

static int ask(struct vfd_audit *audit, struct vfd_error *err)
{
	begin(&audit->set);
	for (size_t i = 0; i < audit->set.count; i++)
		read_area(audit, &audit->set.areas[i]);
	int rc = ask_stores(audit, err);
	if (rc)
		return rc;
	pins_each_writing(audit->space, pinned, audit);
	return take_marks(audit, err);
}

int audit_look(struct vfd_audit *audit, bool final, struct vfd_audit_result *result, struct vfd_error *err)
{
	uint64_t began = now_ns();
	int rc = audit_set_follow(audit, err);

	if (rc)
		return rc;
	if (audit->stops != audit->space->stops) /* and nobody marked for a while */
		forget(&audit->set);
	audit->stops = audit->space->stops;
	struct verdict verdict = { .now = final ? UNIT_FOUND : UNIT_SUSPECT,
				   .before = is_told(audit) ? UNIT_FOUND : UNIT_SUSPECT };
	rc = ask(audit, err);
	if (rc)
		forget(&audit->set);
	else
		judge_all(audit, verdict, result);
	result->nanoseconds = now_ns() - began;
	return rc;
}
