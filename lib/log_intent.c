/* SPDX-License-Identifier: MIT */

/* Questions to the kernel that are on their way. The kernel clears its record when it answers, and the answer is in private memory until
 * it is merged: if the process is killed then, nobody has it. So what it may say is noted in the arena before, and struck out behind.
 * A log without an arena dies with its process; it notes nothing. */

#include "log_internal.h"

bool log_notes_intents(const struct vfd_log *log)
{
	return log && log->arena_size;
}

static struct intent *claim(struct superblock *super)
{
	for (unsigned i = 0; i < MAX_INTENTS; i++) {
		uint64_t free = INTENT_FREE;
		if (__atomic_compare_exchange_n(&super->intents[i].state, &free, INTENT_CLAIMED, false,
						__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return &super->intents[i];
	}
	return NULL;
}

/* Everything is counted, and so is what finds no room: nobody ever waits here, for some last long, and are begun inside of others. */
struct log_intent log_intent_begin(struct vfd_log *log, struct range where)
{
	struct intent *intent;

	if (!log_notes_intents(log))
		return (struct log_intent){ 0 };
	bool all = !where.first && where.last == UINT64_MAX;
	if (all || !(intent = claim(log->super))) {
		__atomic_fetch_add(&log->super->all_asked, 1, __ATOMIC_SEQ_CST);
		return (struct log_intent){ &log->super->all_asked, NULL };
	}
	intent->first = where.first;
	intent->last = where.last;
	__atomic_store_n(&intent->state, INTENT_ASKED, __ATOMIC_RELEASE);
	keep_order();
	return (struct log_intent){ NULL, intent };
}

void log_intent_end(struct log_intent intent)
{
	keep_order();
	if (intent.all)
		__atomic_fetch_sub(intent.all, 1, __ATOMIC_SEQ_CST);
	if (intent.at)
		__atomic_store_n(&intent.at->state, INTENT_FREE, __ATOMIC_RELEASE);
}
