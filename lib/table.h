/* SPDX-License-Identifier: MIT */
#ifndef LIB_TABLE_H
#define LIB_TABLE_H

/* The mapping table. Who changes it holds its owner's mutex, the space's: so who holds that may read it as well. Others hold its gate
 * shared and never wait for each other; a change shuts it, for the change alone: memory is reserved before. Inside of the gate nobody waits
 * for the mutex.
 *
 * A mapping outlives the gate for whoever claimed its range in the space's queue, or closed the container's gate: none else removes it. */

#include <vfiodirty/container.h>

#include "index.h"
#include "lock.h"

/* 40 bytes: there may be millions. What is read without the space's mutex does not change while the mapping is in the table. */
struct mapping {
	struct range where; /* IOVA */
	void *memory;
	uint64_t log_address; /* valid if logged */
	uint32_t flags;	      /* enum vfd_map_flags */
	bool logged;	      /* holds its region in the log */
	/* Of whoever claimed the range: */
	bool uncertain : 1; /* an unmap failed half-way: the kernel may have it, or not */
	bool declared : 1;  /* its owner mapped it: the kernel may have it in other pieces */
	bool spoiled : 1;   /* a fault may have shifted the kernel's bits: what is read next may be wrong */
	bool leaving; /* is being unmapped: no new pin. Changed with the gate shut. Between the others, for who writes a bit
			     * field writes its neighbour too. */
	/* The space's mutex: */
	uint8_t owed : 7; /* enum vfd_reason: all of it is owed at the final harvest, and why; 0: it is not */
	uint8_t unarmed : 1; /* some recorder is not armed for it */
};

/* Whether device writes to the mapping are to be collected at all. */
static inline bool mapping_tracked(const struct mapping *m)
{
	return m->logged && (m->flags & VFD_MAP_WRITE);
}

static inline struct range mapping_log_range(const struct mapping *m)
{
	return (struct range){ m->log_address, m->log_address + (m->where.last - m->where.first) };
}

static inline struct range mapping_memory_range(const struct mapping *m)
{
	uint64_t first = (uintptr_t)m->memory;

	return (struct range){ first, first + (m->where.last - m->where.first) };
}

/* Orders that are kept when asked for. In them ranges may overlap, and the value is the mapping's IOVA: to translate takes no record. */
enum table_order { BY_MEMORY, BY_LOG, OTHER_ORDERS };

struct table {
	struct gate gate;
	struct index iova; /* its values are the mappings, and also where their memory is */
	struct index other[OTHER_ORDERS];
	bool wanted[OTHER_ORDERS];
	uint64_t bytes;	   /* mapped */
	uint64_t tracked;  /* bytes of it that mapping_tracked() says yes to */
	size_t leaving;	   /* mappings that are about to be removed */
	size_t starts[64]; /* mappings whose first address has so many trailing zeros; 0 counts as 63 */
	_Atomic(uint64_t) generation; /* moves whenever an answer may change */
};

void table_init(struct table *table);
void table_end(struct table *table);

/* Keep these orders too: enum vfd_find. Nothing may be mapped yet. */
void table_keep(struct table *table, unsigned orders);

/* To read: look, with index_seek() and its like, between these two. */
static inline void table_enter(struct table *table)
{
	gate_enter(&table->gate);
}

static inline void table_leave(struct table *table)
{
	gate_leave(&table->gate);
}

/* The mapping that contains address in that order, which must be kept; NULL. Where several do, the one that begins last; of several such,
 * the one with the lowest IOVA. Table entered. */
const struct mapping *table_find(const struct table *table, enum vfd_find by, uint64_t address);

/* The same, to go on from there in IOVA order; false: none. Table entered. */
bool table_seek(const struct table *table, enum vfd_find by, uint64_t address, struct index_cursor *at);

/* What contains address in that order, by IOVA or memory, and what begins next. No mapping is looked at, and one that is covered by another
 * may be missed. False: none, or missed. Table entered. */
bool table_glance(const struct table *table, enum vfd_find by, uint64_t address, struct index_entry *here,
		  struct index_entry *next);

/* What a glance found: the IOVA and the memory where it begins */
static inline uint64_t glance_iova(enum vfd_find by, const struct index_entry *entry)
{
	return by == VFD_FIND_IOVA ? entry->where.first : entry->value;
}

static inline uint64_t glance_memory(enum vfd_find by, const struct index_entry *entry)
{
	return by == VFD_FIND_IOVA ? entry->also : entry->where.first;
}

/* Whether that order is kept. */
bool table_keeps(const struct table *table, enum vfd_find by);

/* The mappings that begin next to address, as ranges in that order; what there is not has first > last. Table entered. */
void table_around(const struct table *table, enum vfd_find by, uint64_t address, struct range *below,
		  struct range *above);

/* Mappings whose first address is not a multiple of `size`, a power of two. Table entered. */
size_t table_odd(const struct table *table, uint64_t size);

/* ---- the owner's mutex held ---- */

/* Room for one mapping more, so that adding it cannot fail. False: no memory. */
bool table_reserve(struct table *table);
void table_unreserve(struct table *table);

/* Room must be reserved, and no other mapping meet this one. */
void table_add(struct table *table, struct mapping *m);
void table_remove(struct table *table, struct mapping *m);

/* It is about to be removed, or after all not; the generation moves. */
void table_set_leaving(struct table *table, struct mapping *m, bool leaving);

#endif
