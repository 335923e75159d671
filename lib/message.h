/* SPDX-License-Identifier: MIT */
#ifndef LIB_MESSAGE_H
#define LIB_MESSAGE_H

/* What happens in an address space waits here, in a fixed place, until the call in which it happened has let go of all locks, and is then
 * handed to the program's function by the thread that made that call: vfd_container_messages(). Where nobody is to be told it costs
 * a load and a branch:
 *
 *	message(&space->messages, VFD_LEVEL_INFO, (struct note){ .kind = VFD_MSG_TRACKING, .count = 1 }, "tracking is on");
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <vfiodirty/message.h>

#include "range.h"

enum { MESSAGE_SLOTS = 64 };

struct message_slot {
	uint64_t number; /* later ones have greater ones; 0: free */
	pthread_t thread;
	struct vfd_message message;
};

/* A thread that is handing over, on its stack. */
struct message_call {
	struct message_call *next;
	pthread_t thread;
	uint64_t naming; /* of the function that it calls */
	vfd_message_fn fn;
	void *opaque;
	struct vfd_message message;
};

struct messages {
	atomic_uint level; /* the least important that is wanted; 0: none */
	atomic_uint
		waiting; /* so many; changed with the mutex, which is the innermost of all, and so is the rest */
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	vfd_message_fn fn;
	void *opaque;
	uint64_t naming; /* how often a function was named */
	uint64_t number; /* of the latest message */
	uint64_t dropped;
	uint32_t dropped_level;	    /* of the most important of those */
	struct message_slot *slots; /* MESSAGE_SLOTS; NULL: nobody ever wanted to be told */
	struct message_call *calls;
};

void messages_init(struct messages *messages);
void messages_end(struct messages *messages);

/* 0 or -ENOMEM. Waits until the function before is left, unless this thread is in it. */
int messages_name(struct messages *messages, uint32_t level, vfd_message_fn fn, void *opaque);

/* What it is about. Zero: nothing. */
struct note {
	enum vfd_message_kind kind;
	enum vfd_reason reason;
	int rc; /* a -errno of the kernel; others do not count */
	struct range where;
	uint64_t count;
	const char *who;
};

void messages_add(struct messages *messages, uint32_t level, struct note note, const char *format, ...)
	__attribute__((cold, format(printf, 4, 5)));

static inline bool messages_wanted(struct messages *messages, uint32_t level)
{
	return level <= atomic_load_explicit(&messages->level, memory_order_relaxed);
}

#define message(messages, level, ...)                                                                        \
	do {                                                                                                 \
		if (messages_wanted(messages, level))                                                        \
			messages_add(messages, level, __VA_ARGS__);                                          \
	} while (0)

/* ---- handing over; no lock held ---- */

static inline bool messages_wait(struct messages *messages)
{
	return atomic_load_explicit(&messages->waiting, memory_order_relaxed);
}

/* False: this thread is handing over already. */
bool messages_begin(struct messages *messages, struct message_call *call);
/* The next for this thread, and whom to hand it to. False: there is none, and it has ended. */
bool messages_next(struct messages *messages, struct message_call *call);

#endif
