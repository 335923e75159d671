/* SPDX-License-Identifier: MIT */
#include "pin_hint.h"

#include <inttypes.h>

static const char *const pin_op = "pin";

/* Whether the mapping goes on where the hint ends. A look at where it lies often says no; the mapping itself is not in the cache. */
static bool follows(const struct pin_hint *hint, const struct index_cursor *at)
{
	const struct mapping *m = at->item;
	uint64_t offset = hint->last + 1;

	return at->where.first == hint->iova + offset && !m->leaving &&
	       (uintptr_t)m->memory == hint->memory + offset && (m->flags & PIN_ACCESS) == hint->flags &&
	       m->logged == (hint->log_address != NOT_LOGGED) &&
	       (!m->logged || m->log_address == hint->log_address + offset);
}

/* Long runs of small mappings need not be walked to their end. */
enum { MOST_NEIGHBOURS = 64 };

static void fill_hint(struct vfd_pinset *set, struct pin_hint *hint, struct index_cursor *at)
{
	const struct mapping *m = at->item;

	*hint = (struct pin_hint){
		.generation = set->space->table.generation,
		.memory = (uintptr_t)m->memory,
		.iova = at->where.first,
		.last = at->where.last - at->where.first,
		.log_address = m->logged ? m->log_address : NOT_LOGGED,
		.flags = m->flags & PIN_ACCESS,
	};
	for (int i = 0; i < MOST_NEIGHBOURS && index_next(at) && follows(hint, at); i++)
		hint->last += range_size(at->where);
}

COLD int fail_unmapped(enum by by, uint64_t address, bool leaving, struct vfd_error *err)
{
	return fail_range(err, VFD_ENOTMAPPED, pin_op, address, address, "%s %#" PRIx64 " %s",
			  by == BY_PROCESS ? "memory at" : "IOVA", address,
			  leaving ? "is being unmapped by another thread" : "is not mapped in the container");
}

/* To translate takes no mapping, where no other follows and none is leaving. */
static bool translates(const struct table *table, enum vfd_find order, uint64_t address,
		       struct pin_hint *hint)
{
	struct index_entry here, next;

	if (table->leaving || !table_glance(table, order, address, &here, &next) ||
	    next.where.first == here.where.last + 1)
		return false;
	*hint = (struct pin_hint){
		.generation = table->generation,
		.memory = glance_memory(order, &here),
		.iova = glance_iova(order, &here),
		.last = here.where.last - here.where.first,
	};
	return true;
}

static enum vfd_find order_of(enum by by)
{
	return by == BY_PROCESS ? VFD_FIND_MEMORY : VFD_FIND_IOVA;
}

/* Table entered. */
static int look_up(struct vfd_pinset *set, enum by by, uint64_t address, struct pin_hint *hint,
		   struct vfd_error *err)
{
	struct index_cursor at;

	if (!table_seek(&set->space->table, order_of(by), address, &at))
		return fail_unmapped(by, address, false, err);
	if (((const struct mapping *)at.item)->leaving)
		return fail_unmapped(by, address, true, err);
	fill_hint(set, hint, &at);
	return 0;
}

int pin_hint_refresh(struct vfd_pinset *set, enum by by, uint64_t address, bool to_pin, struct pin_hint *hint,
		     struct vfd_error *err)
{
	struct table *table = &set->space->table;
	int rc = 0;

	if (by == BY_PROCESS && !table_keeps(table, VFD_FIND_MEMORY))
		return fail(
			err, VFD_ESTATE, pin_op,
			"the container was opened without VFD_FIND_MEMORY: it cannot find process addresses");
	table_enter(table);
	if (to_pin || !translates(table, order_of(by), address, hint))
		rc = look_up(set, by, address, hint, err);
	if (!rc && to_pin && hint->log_address != NOT_LOGGED) {
		log_inbox_get(set->space->log, hint->log_address, &hint->inbox);
		hint->last = min_u64(hint->last, hint->inbox.last - hint->log_address);
	}
	table_leave(table);
	if (!rc && !to_pin)
		hint->flags = 0;
	return rc;
}

int pin_fail_leaves(const struct pin_hint *hint, enum by by, uint64_t address, struct vfd_error *err)
{
	uint64_t offset = address - hint_start(hint, by);

	return fail_range(
		err, VFD_ECUT, pin_op, hint->iova + offset, hint->iova + hint->last,
		"only %" PRIu64
		" bytes from here on are mapped without a gap: use vfd_pin_list, or pin what there is",
		hint->last - offset + 1);
}
