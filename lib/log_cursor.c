/* SPDX-License-Identifier: MIT */

/* From log addresses to regions and the bits of their planes. */

#include "log_internal.h"

/* ---- finding ---- */

/* The index of the first region that ends at or after address */
uint64_t region_from(const struct vfd_log *log, uint64_t address)
{
	const struct region *table = region_table(log);
	uint64_t low = 0, high = region_count(log);

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		if (table[middle].last < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct cursor cursor_over(const struct vfd_log *log, struct range where)
{
	return (struct cursor){ .log = log, .where = where, .index = region_from(log, where.first) };
}

static bool cursor_at(struct cursor *c, uint64_t index)
{
	struct region *r = &region_table(c->log)[index];

	if (r->address > c->where.last || r->last < c->where.first)
		return false;
	c->region = r;
	c->bits.first = address_bit(c->log, r, max_u64(r->address, c->where.first));
	c->bits.last = address_bit(c->log, r, min_u64(r->last, c->where.last));
	return true;
}

bool cursor_next(struct cursor *c)
{
	return c->index < region_count(c->log) && cursor_at(c, c->index++);
}

struct cursor cursor_below(const struct vfd_log *log, struct range where)
{
	uint64_t index = region_from(log, where.last);

	if (index < region_count(log) && region_table(log)[index].address <= where.last)
		index++;
	return (struct cursor){ .log = log, .where = where, .index = index };
}

bool cursor_prev(struct cursor *c)
{
	return c->index && cursor_at(c, --c->index);
}

bool first_hole(const struct vfd_log *log, struct range where, struct range *hole)
{
	struct cursor c = cursor_over(log, where);

	*hole = where;
	while (cursor_next(&c)) {
		if (c.region->address > hole->first) {
			hole->last = c.region->address - 1;
			return true;
		}
		if (c.region->last >= where.last)
			return false;
		hole->first = c.region->last + 1;
	}
	return true;
}
