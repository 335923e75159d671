/* SPDX-License-Identifier: MIT */
#include "table.h"

void table_init(struct table *table)
{
	*table = (struct table){ .generation = 1, .iova.wide = true }; /* 0 is that of no answer */
	gate_init(&table->gate);
}

void table_end(struct table *table)
{
	index_end(&table->iova);
	for (unsigned i = 0; i < OTHER_ORDERS; i++)
		index_end(&table->other[i]);
	gate_end(&table->gate);
}

void table_keep(struct table *table, unsigned orders)
{
	table->wanted[BY_MEMORY] = orders & VFD_FIND_MEMORY;
	table->wanted[BY_LOG] = orders & VFD_FIND_LOG;
}

/* ---- lookups ---- */

static enum table_order other_of(enum vfd_find by)
{
	return by == VFD_FIND_LOG ? BY_LOG : BY_MEMORY;
}

bool table_keeps(const struct table *table, enum vfd_find by)
{
	return by == VFD_FIND_IOVA || table->wanted[other_of(by)];
}

static bool seek_iova(const struct table *table, uint64_t iova, struct index_cursor *at)
{
	return index_seek(&table->iova, iova, at) && at->where.first <= iova;
}

bool table_seek(const struct table *table, enum vfd_find by, uint64_t address, struct index_cursor *at)
{
	struct index_entry hit;

	if (by == VFD_FIND_IOVA)
		return seek_iova(table, address, at);
	return index_stab(&table->other[other_of(by)], address, &hit) && seek_iova(table, hit.value, at);
}

const struct mapping *table_find(const struct table *table, enum vfd_find by, uint64_t address)
{
	struct index_cursor at;

	return table_seek(table, by, address, &at) ? at.item : NULL;
}

static const struct index *index_by(const struct table *table, enum vfd_find by)
{
	return by == VFD_FIND_IOVA ? &table->iova : &table->other[other_of(by)];
}

bool table_glance(const struct table *table, enum vfd_find by, uint64_t address, struct index_entry *here,
		  struct index_entry *next)
{
	index_around(index_by(table, by), address, here, next);
	return here->where.first <= address && address <= here->where.last;
}

void table_around(const struct table *table, enum vfd_find by, uint64_t address, struct range *below,
		  struct range *above)
{
	struct index_entry entry_below, entry_above;

	index_around(index_by(table, by), address, &entry_below, &entry_above);
	*below = entry_below.where;
	*above = entry_above.where;
}

/* ---- changes ---- */

static bool is_in(const struct table *table, enum table_order order, const struct mapping *m)
{
	return table->wanted[order] && (order != BY_LOG || m->logged);
}

static struct range key_in(enum table_order order, const struct mapping *m)
{
	return order == BY_LOG ? mapping_log_range(m) : mapping_memory_range(m);
}

static void unreserve(struct table *table, unsigned others)
{
	index_unreserve(&table->iova);
	for (unsigned i = 0; i < others; i++)
		if (table->wanted[i])
			index_unreserve(&table->other[i]);
}

bool table_reserve(struct table *table)
{
	if (!index_reserve(&table->iova))
		return false;
	for (unsigned i = 0; i < OTHER_ORDERS; i++) {
		if (table->wanted[i] && !index_reserve(&table->other[i])) {
			unreserve(table, i);
			return false;
		}
	}
	return true;
}

void table_unreserve(struct table *table)
{
	unreserve(table, OTHER_ORDERS);
}

static void begin_change(struct table *table)
{
	gate_shut(&table->gate);
	table->generation++;
}

/* Memory goes back when readers are in again. */
static void end_change(struct table *table)
{
	gate_reopen(&table->gate);
	index_trim(&table->iova);
	for (unsigned i = 0; i < OTHER_ORDERS; i++)
		if (table->wanted[i])
			index_trim(&table->other[i]);
}

/* One mapping more, or less: change is 1 or -1. */
static void count(struct table *table, const struct mapping *m, uint64_t change)
{
	table->bytes += change * range_size(m->where);
	table->tracked += mapping_tracked(m) ? change * range_size(m->where) : 0;
	table->starts[m->where.first ? __builtin_ctzll(m->where.first) : 63] += (size_t)change;
}

size_t table_odd(const struct table *table, uint64_t size)
{
	size_t odd = 0;

	for (int zeros = 0; UINT64_C(1) << zeros < size; zeros++)
		odd += table->starts[zeros];
	return odd;
}

void table_add(struct table *table, struct mapping *m)
{
	begin_change(table);
	index_insert(&table->iova, (struct index_entry){ m->where, (uintptr_t)m, (uintptr_t)m->memory });
	for (unsigned i = 0; i < OTHER_ORDERS; i++) {
		if (is_in(table, i, m))
			index_insert(&table->other[i],
				     (struct index_entry){ key_in(i, m), m->where.first, 0 });
		else if (table->wanted[i])
			index_unreserve(&table->other[i]);
	}
	count(table, m, 1);
	end_change(table);
}

void table_remove(struct table *table, struct mapping *m)
{
	begin_change(table);
	index_remove(&table->iova, m->where.first, (uintptr_t)m);
	for (unsigned i = 0; i < OTHER_ORDERS; i++)
		if (is_in(table, i, m))
			index_remove(&table->other[i], key_in(i, m).first, m->where.first);
	count(table, m, (uint64_t)-1);
	table->leaving -= m->leaving;
	end_change(table);
}

void table_set_leaving(struct table *table, struct mapping *m, bool leaving)
{
	begin_change(table);
	table->leaving += (size_t)leaving - (size_t)m->leaving;
	m->leaving = leaving;
	end_change(table);
}
