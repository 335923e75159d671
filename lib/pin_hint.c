/* SPDX-License-Identifier: MIT */
#include "pin_hint.h"

#include <inttypes.h>

static const char *const pin_op = "pin";

static bool follows(const struct pin_hint *hint, const struct mapping *m)
{
	return !m->leaving && m->where.first == hint->iova + hint->last + 1 &&
	       (uintptr_t)m->memory == hint->memory + hint->last + 1 && m->flags == hint->flags &&
	       m->logged == (hint->log_address != NOT_LOGGED) &&
	       (!m->logged || m->log_address == hint->log_address + hint->last + 1);
}

/* Long runs of small mappings need not be walked to their end. */
enum { MOST_NEIGHBOURS = 64 };

static void extend(struct vfd_pinset *set, struct pin_hint *hint, const struct mapping *m)
{
	struct index_cursor at;
	bool more = index_seek(&set->space->table.iova, m->where.first, &at);

	for (int i = 0; more && i < MOST_NEIGHBOURS; i++) {
		more = index_next(&at);
		if (!more || !follows(hint, at.item))
			return;
		hint->last += range_size(at.where);
	}
}

static void fill_hint(struct vfd_pinset *set, struct pin_hint *hint, const struct mapping *m)
{
	*hint = (struct pin_hint){
		.generation = set->space->table.generation,
		.memory = (uintptr_t)m->memory,
		.iova = m->where.first,
		.last = m->where.last - m->where.first,
		.log_address = m->logged ? m->log_address : NOT_LOGGED,
		.flags = m->flags,
	};
	if (m->logged)
		log_inbox_get(set->space->log, m->log_address, &hint->inbox);
	extend(set, hint, m);
}

COLD int fail_unmapped(enum by by, uint64_t address, bool leaving, struct vfd_error *err)
{
	return fail_range(err, VFD_ENOTMAPPED, pin_op, address, address, "%s %#" PRIx64 " %s",
			  by == BY_PROCESS ? "memory at" : "IOVA", address,
			  leaving ? "is being unmapped by another thread" : "is not mapped in the container");
}

int pin_hint_refresh(struct vfd_pinset *set, enum by by, uint64_t address, struct pin_hint *hint,
		     struct vfd_error *err)
{
	struct table *table = &set->space->table;
	enum vfd_find order = by == BY_PROCESS ? VFD_FIND_MEMORY : VFD_FIND_IOVA;
	bool leaving = false;

	if (!table_keeps(table, order))
		return fail(
			err, VFD_ESTATE, pin_op,
			"the container was opened without VFD_FIND_MEMORY: it cannot find process addresses");
	table_enter(table);
	const struct mapping *m = table_find(table, order, address);
	if (m && m->leaving)
		leaving = true;
	else if (m)
		fill_hint(set, hint, m);
	table_leave(table);
	return m && !leaving ? 0 : fail_unmapped(by, address, leaving, err);
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
