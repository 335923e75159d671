/* SPDX-License-Identifier: MIT */
#ifndef LIB_LOCK_H
#define LIB_LOCK_H

/* Two locks that libc does not have: a gate (shared or exclusive, and neither starves the other), and a queue of address
 * ranges in which those that meet wait for each other in order of arrival. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "range.h"

/* Shared holders count themselves in the slot of their thread, each in a cache line of its own: while nobody wants the gate
 * exclusively they write nothing that another thread reads. */
enum { GATE_SLOTS = 16, CACHE_LINE = 64 };

struct gate_slot {
	atomic_uint inside; /* shared holders */
	char rest_of_line[CACHE_LINE - sizeof(atomic_uint)];
};

struct gate {
	atomic_bool closed;
	atomic_uint queued; /* shared ones that wait; changed with the mutex */
	atomic_uint passes; /* so many of them come next, before it is shut again; likewise */
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	pthread_mutex_t turn; /* exclusive ones: held as long as it is closed */
	struct gate_slot slots[GATE_SLOTS];
};

void gate_init(struct gate *gate);
/* Not before every call on the gate has returned: who leaves looks at it once more. */
void gate_end(struct gate *gate);
void gate_enter(struct gate *gate);
void gate_leave(struct gate *gate);
void gate_close(struct gate *gate);
void gate_open(struct gate *gate);

/* The same for who has a lock of his own that lets one at a time come here. */
void gate_shut(struct gate *gate);
void gate_reopen(struct gate *gate);

/* A place in the queue; lives on the caller's stack. */
struct range_claim {
	struct range where;
	struct range_claim *next;
};

/* Its owner's mutex is held in all its calls; waiting lets go of it. */
struct range_queue {
	pthread_cond_t changed;
	struct range_claim *oldest;
	unsigned waiting;
};

void range_queue_init(struct range_queue *queue);
void range_queue_end(struct range_queue *queue);

/* Wait until no earlier claim meets `where`, then hold it. */
void range_claim(struct range_queue *queue, pthread_mutex_t *mutex, struct range_claim *claim,
		 struct range where);
/* Hold only `part` of the claimed range from here on. */
void range_narrow(struct range_queue *queue, struct range_claim *claim, struct range part);
void range_release(struct range_queue *queue, struct range_claim *claim);

#endif
