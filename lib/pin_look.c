/* SPDX-License-Identifier: MIT */

/* Looking at the pins of others: before a mapping goes, at each harvest, before anything ends. The container's gate is held, so no set
 * comes or goes. */

#include <inttypes.h>
#include <sched.h>

#include "pin.h"
#include "space.h"

/* One pin, as it was at some moment during the look */
struct seen {
	struct range where;
	uint64_t log_address;
};

static uint32_t settled_state(const struct pin_place *place)
{
	uint32_t state;

	while ((state = atomic_load_explicit(&place->state, memory_order_acquire)) & PLACE_TENTATIVE)
		sched_yield();
	return state;
}

/* False: no pin is held there. */
static bool look(const struct pin_place *place, struct seen *seen)
{
	uint32_t state = settled_state(place);

	while (state & PLACE_HELD) {
		/* acquire: all three before the state is looked at again */
		seen->where.first = atomic_load_explicit(&place->first, memory_order_acquire);
		seen->where.last = atomic_load_explicit(&place->last, memory_order_acquire);
		seen->log_address = atomic_load_explicit(&place->log_address, memory_order_acquire);
		uint32_t again = settled_state(place);
		if (again == state)
			return true;
		state = again;
	}
	return false;
}

/* Calls visit for each pin until that says no more. */
static void each_pin(struct space *space,
		     bool (*visit)(const struct vfd_pinset *set, const struct seen *seen, void *arg),
		     void *arg)
{
	struct seen seen;

	__sync_synchronize();
	for (const struct vfd_pinset *set = space->pinsets; set; set = set->next) {
		uint32_t high = atomic_load_explicit(&set->held, memory_order_acquire)
					? atomic_load_explicit(&set->high, memory_order_relaxed)
					: 0;
		for (uint32_t i = 0; i < high; i++)
			if (look(&set->places[i], &seen) && !visit(set, &seen, arg))
				return;
	}
}

struct search {
	struct range where;
	struct pin_holder *holder;
};

static bool count_meeting(const struct vfd_pinset *set, const struct seen *seen, void *arg)
{
	struct search *search = arg;
	struct pin_holder *holder = search->holder;

	if (!range_meets(seen->where, search->where))
		return true;
	if (!holder->pins++) {
		holder->set = set;
		holder->where = seen->where;
	}
	return true;
}

bool pins_hold(struct space *space, struct range where, struct pin_holder *holder)
{
	struct search search = { where, holder };

	*holder = (struct pin_holder){ 0 };
	each_pin(space, count_meeting, &search);
	return holder->pins;
}

static bool note_writing(const struct vfd_pinset *set, const struct seen *seen, void *arg)
{
	(void)set;
	*(bool *)arg |= seen->log_address != NOT_LOGGED;
	return !*(bool *)arg;
}

bool pins_writing(struct space *space)
{
	bool writing = false;

	each_pin(space, note_writing, &writing);
	return writing;
}

struct visitor {
	void (*visit)(struct range where, void *arg);
	void *arg;
};

static bool visit_writing(const struct vfd_pinset *set, const struct seen *seen, void *arg)
{
	const struct visitor *visitor = arg;

	(void)set;
	if (seen->log_address != NOT_LOGGED)
		visitor->visit(seen->where, visitor->arg);
	return true;
}

void pins_each_writing(struct space *space, void (*visit)(struct range where, void *arg), void *arg)
{
	struct visitor visitor = { visit, arg };

	each_pin(space, visit_writing, &visitor);
}

/* A pin that was let go meanwhile has marked its pages itself; should its region be gone, the log ignores this. */
static bool mark_seen(const struct vfd_pinset *set, const struct seen *seen, void *arg)
{
	static const struct log_source source = { .provenance = VFD_SOFTWARE, .who = "pins" };
	struct space *space = arg;
	uint64_t more = seen->where.last - seen->where.first;

	(void)set;
	if (seen->log_address != NOT_LOGGED)
		log_mark(space->log, (struct range){ seen->log_address, seen->log_address + more }, &source);
	return true;
}

void pins_mark(struct space *space)
{
	each_pin(space, mark_seen, space);
}

int fail_pinned(const struct pin_holder *holder, const char *operation, struct vfd_error *err)
{
	return fail_range(err, VFD_EPINNED, operation, holder->where.first, holder->where.last,
			  "held by %" PRIu64 " pin%s: the first found is of set '%s', IOVA %#" PRIx64
			  "..%#" PRIx64 "; unpin first",
			  holder->pins, holder->pins == 1 ? "" : "s", holder->set->name, holder->where.first,
			  holder->where.last);
}

int pins_refuse(struct space *space, const char *operation, struct vfd_error *err)
{
	struct pin_holder holder;

	if (!pins_hold(space, RANGE_ALL, &holder))
		return 0;
	message(&space->messages, VFD_LEVEL_WARNING,
		(struct note){ .kind = VFD_MSG_REFUSED, .where = holder.where },
		"%s refused: memory is pinned, and its device may write to it", operation);
	return fail_pinned(&holder, operation, err);
}
