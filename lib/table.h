/* SPDX-License-Identifier: MIT */
#ifndef LIB_TABLE_H
#define LIB_TABLE_H

/* The mapping table. Readers hold its gate shared and never wait for each other; a change holds it exclusively, for the change alone:
 * memory is reserved before, and never is it held across an ioctl.
 *
 * A mapping outlives the gate for whoever claimed its range in the space's queue, or closed the container's gate: none else removes it. */

#include <pthread.h>

#include <vfiodirty/container.h>

#include "index.h"
#include "lock.h"

struct mapping {
	struct range where; /* IOVA */
	void *memory;
	uint64_t log_address; /* valid if logged */
	uint32_t flags;	      /* enum vfd_map_flags */
	bool logged;	      /* holds its region in the log */
	bool uncertain;	      /* an unmap failed half-way: the kernel may have it, or not */
	enum vfd_reason owed; /* all of it is owed at the final harvest, and why; 0: it is not */
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

struct table {
	struct gate gate;
	struct index iova; /* of struct mapping */
	uint64_t bytes;	   /* mapped */

	pthread_mutex_t changing; /* one change at a time; what is reserved. Taken before the gate. */
};

void table_init(struct table *table);
void table_end(struct table *table);

/* To read: look, with index_seek() and its like, between these two. */
static inline void table_enter(struct table *table)
{
	gate_enter(&table->gate);
}

static inline void table_leave(struct table *table)
{
	gate_leave(&table->gate);
}

/* Room for one mapping more, so that adding it cannot fail. False: no memory. */
bool table_reserve(struct table *table);
void table_unreserve(struct table *table);

/* Room must be reserved, and no other mapping meet this one. */
void table_add(struct table *table, struct mapping *m);
void table_remove(struct table *table, struct mapping *m);

#endif
