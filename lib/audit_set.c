/* SPDX-License-Identifier: MIT */

/* What an audit looks at: it follows the mapping table. */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"

static const char *const op = "audit";

/* ---- from the table ---- */

static struct audit_area area_of(const struct mapping *m)
{
	return (struct audit_area){
		.memory = mapping_memory_range(m),
		.iova = m->where.first,
		.log_address = m->log_address,
	};
}

static size_t mapping_count(struct table *table)
{
	table_enter(table);
	size_t count = table->iova.count;
	table_leave(table);
	return count;
}

/* False: there are more than `room` by now. */
static bool fill(struct table *table, struct audit_set *set, size_t room)
{
	struct index_cursor at;

	table_enter(table);
	bool fits = table->iova.count <= room;
	set->generation = table->generation;
	set->count = 0;
	for (bool more = fits && index_seek(&table->iova, 0, &at); more; more = index_next(&at))
		if (mapping_tracked(at.item))
			set->areas[set->count++] = area_of(at.item);
	table_leave(table);
	return fits;
}

/* No memory is asked for while the table is held. */
static int collect(struct table *table, struct audit_set *set, struct vfd_error *err)
{
	bool fits;

	do {
		size_t room = mapping_count(table);
		free(set->areas);
		set->areas = calloc(room + 1, sizeof *set->areas);
		if (!set->areas)
			return fail(err, VFD_ENOMEMORY, op, "no memory for a list of %zu mappings", room);
		fits = fill(table, set, room);
	} while (!fits);
	return 0;
}

static int by_memory(const void *a, const void *b)
{
	const struct audit_area *x = a, *y = b;

	if (x->memory.first != y->memory.first)
		return x->memory.first < y->memory.first ? -1 : 1;
	return x->iova < y->iova ? -1 : x->iova > y->iova;
}

/* What of the area is not in the one before. False: nothing. */
static bool cut(const struct audit_area *before, struct audit_area *area)
{
	if (area->memory.last <= before->memory.last)
		return false;
	if (area->memory.first <= before->memory.last) {
		uint64_t skip = before->memory.last - area->memory.first + 1;
		area->memory.first += skip;
		area->iova += skip;
		area->log_address += skip;
	}
	return true;
}

static bool join(struct audit_area *before, const struct audit_area *area)
{
	uint64_t size = range_size(before->memory);

	if (before->memory.first + size != area->memory.first || before->iova + size != area->iova ||
	    before->log_address + size != area->log_address)
		return false;
	before->memory.last = area->memory.last;
	return true;
}

/* In order; what is mapped several times once; neighbours together. */
static void tidy(struct audit_set *set)
{
	size_t kept = 0;

	if (!set->count)
		return;
	qsort(set->areas, set->count, sizeof *set->areas, by_memory);
	for (size_t i = 0; i < set->count; i++) {
		struct audit_area area = set->areas[i];
		if (kept && (!cut(&set->areas[kept - 1], &area) || join(&set->areas[kept - 1], &area)))
			continue;
		set->areas[kept++] = area;
	}
	set->count = kept;
}

static int make_units(const struct vfd_audit *audit, struct audit_set *set, struct vfd_error *err)
{
	for (size_t i = 0; i < set->count; i++) {
		set->areas[i].unit = set->units;
		set->units += (size_t)audit_area_units(audit, &set->areas[i]);
	}
	set->hashes = calloc(set->units + 1, sizeof *set->hashes);
	set->states = malloc(set->units + 1);
	if (!set->hashes || !set->states)
		return fail(err, VFD_ENOMEMORY, op, "no memory for 9 bytes for each of %zu pages",
			    set->units);
	memset(set->states, UNIT_WAS_EXCUSED, set->units + 1);
	return 0;
}

static void set_free(struct audit_set *set)
{
	free(set->areas);
	free(set->hashes);
	free(set->states);
	*set = (struct audit_set){ 0 };
}

/* ---- from one set to the next ---- */

size_t audit_set_from(const struct audit_set *set, uint64_t address)
{
	size_t low = 0, high = set->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (set->areas[middle].memory.last < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Parts of the area that no area of the other set has. */
static void each_gone(const struct audit_area *area, const struct audit_set *other,
		      const struct stores *stores)
{
	uint64_t at = area->memory.first;

	for (size_t i = audit_set_from(other, at); i < other->count; i++) {
		struct range there = other->areas[i].memory;
		if (there.first > area->memory.last)
			break;
		if (there.first > at)
			stores_unwatch(stores, (struct range){ at, there.first - 1 });
		at = there.last + 1;
	}
	if (at <= area->memory.last)
		stores_unwatch(stores, (struct range){ at, area->memory.last });
}

static void unwatch_gone(const struct vfd_audit *audit, const struct audit_set *now,
			 const struct audit_set *next)
{
	for (size_t i = 0; i < now->count; i++)
		each_gone(&now->areas[i], next, &audit->stores);
}

static void copy_common(const struct vfd_audit *audit, const struct audit_area *from,
			const struct audit_area *to, struct audit_set *next)
{
	struct range common = range_common(from->memory, to->memory);
	size_t source = from->unit + (size_t)((common.first - from->memory.first) >> audit->shift);
	size_t target = to->unit + (size_t)((common.first - to->memory.first) >> audit->shift);
	size_t units = (size_t)(range_size(common) >> audit->shift);

	memcpy(next->hashes + target, audit->set.hashes + source, units * sizeof *next->hashes);
	memcpy(next->states + target, audit->set.states + source, units);
}

static void carry_over(const struct vfd_audit *audit, struct audit_set *next)
{
	for (size_t i = 0; i < next->count; i++) {
		const struct audit_area *to = &next->areas[i];
		for (size_t j = audit_set_from(&audit->set, to->memory.first);
		     j < audit->set.count && audit->set.areas[j].memory.first <= to->memory.last; j++)
			copy_common(audit, &audit->set.areas[j], to, next);
	}
}

static int fail_watch(const struct audit_area *area, int rc, struct vfd_error *err)
{
	uint64_t last = area->iova + (area->memory.last - area->memory.first);

	return fail_sys_range(err, -rc, op, area->iova, last, "cannot watch memory at %#" PRIx64 ": %s",
			      area->memory.first,
			      rc == -EBUSY ? "someone else has registered it with a userfaultfd"
					   : "is it still what was mapped?");
}

/* What others have registered must not be unwatched: the kernel would do it. */
static int watch_all(const struct vfd_audit *audit, struct audit_set *next, struct vfd_error *err)
{
	for (size_t i = 0; i < next->count; i++) {
		int rc = stores_watch(&audit->stores, next->areas[i].memory);
		if (!rc)
			continue;
		next->count = i;
		unwatch_gone(audit, next, &audit->set);
		return fail_watch(&next->areas[i], rc, err);
	}
	return 0;
}

static int follow(struct vfd_audit *audit, struct vfd_error *err)
{
	struct audit_set next = { 0 };
	int rc = collect(&audit->space->table, &next, err);

	tidy(&next);
	if (!rc)
		rc = make_units(audit, &next, err);
	if (!rc)
		rc = watch_all(audit, &next, err);
	if (rc) {
		set_free(&next);
		return rc;
	}
	unwatch_gone(audit, &audit->set, &next);
	carry_over(audit, &next);
	set_free(&audit->set);
	audit->set = next;
	return 0;
}

/* What cannot be watched may have been unmapped meanwhile, and be gone rightly: then the table has moved. */
int audit_set_follow(struct vfd_audit *audit, struct vfd_error *err)
{
	const struct table *table = &audit->space->table;
	uint64_t generation;
	int rc;

	if (audit->set.states && audit->set.generation == table->generation)
		return 0;
	do {
		generation = table->generation;
		rc = follow(audit, err);
	} while (rc && rc != VFD_ENOMEMORY && generation != table->generation);
	return rc;
}

void audit_set_end(struct vfd_audit *audit)
{
	static const struct audit_set nothing;

	unwatch_gone(audit, &audit->set, &nothing);
	set_free(&audit->set);
}
