/* SPDX-License-Identifier: MIT */
#include "lock.h"

#include <errno.h>

void gate_init(struct gate *gate)
{
	pthread_mutex_init(&gate->mutex, NULL);
	pthread_mutex_init(&gate->turn, NULL);
	pthread_cond_init(&gate->changed, NULL);
	atomic_init(&gate->passes, 0);
	atomic_init(&gate->closed, false);
	atomic_init(&gate->queued, 0);
	for (unsigned i = 0; i < GATE_SLOTS; i++)
		atomic_init(&gate->slots[i].inside, 0);
}

void gate_end(struct gate *gate)
{
	pthread_cond_destroy(&gate->changed);
	pthread_mutex_destroy(&gate->turn);
	pthread_mutex_destroy(&gate->mutex);
}

/* ---- shared ---- */

/* Every thread has an errno, at an address of its own. */
static atomic_uint *my_slot(struct gate *gate)
{
	uint64_t mix = (uintptr_t)&errno * UINT64_C(0x9e3779b97f4a7c15);

	return &gate->slots[mix >> 60].inside;
}

static void tell(struct gate *gate)
{
	pthread_mutex_lock(&gate->mutex);
	pthread_cond_broadcast(&gate->changed);
	pthread_mutex_unlock(&gate->mutex);
}

/* Write the slot, then read `closed`. Who shuts the gate writes `closed`, then reads the slots. In the one order of all sequentially
 * consistent accesses one of the two is first: he sees us, or we see him. */
static bool step_in(struct gate *gate, atomic_uint *inside)
{
	atomic_fetch_add(inside, 1);
	return !atomic_load(&gate->closed);
}

static void step_out(struct gate *gate, atomic_uint *inside)
{
	atomic_fetch_sub(inside, 1);
	if (atomic_load(&gate->closed))
		tell(gate);
}

static void wait_open(struct gate *gate)
{
	pthread_mutex_lock(&gate->mutex);
	atomic_fetch_add(&gate->queued, 1);
	while (atomic_load(&gate->closed))
		pthread_cond_wait(&gate->changed, &gate->mutex);
	atomic_fetch_sub(&gate->queued, 1);
	pthread_mutex_unlock(&gate->mutex);
}

static void use_pass(struct gate *gate)
{
	pthread_mutex_lock(&gate->mutex);
	if (atomic_load(&gate->passes))
		atomic_fetch_sub(&gate->passes, 1);
	pthread_cond_broadcast(&gate->changed);
	pthread_mutex_unlock(&gate->mutex);
}

static void enter_in_turn(struct gate *gate, atomic_uint *inside)
{
	do {
		step_out(gate, inside);
		wait_open(gate);
	} while (!step_in(gate, inside));
	use_pass(gate);
}

void gate_enter(struct gate *gate)
{
	atomic_uint *inside = my_slot(gate);

	if (!step_in(gate, inside))
		enter_in_turn(gate, inside);
}

void gate_leave(struct gate *gate)
{
	step_out(gate, my_slot(gate));
}

/* ---- exclusive ---- */

/* A slot that is 0 stays 0, for all that counts: `closed` is set, so whoever comes now goes out again and waits. */
static bool anyone_inside(const struct gate *gate)
{
	unsigned inside = 0;

	for (const struct gate_slot *slot = gate->slots; slot < gate->slots + GATE_SLOTS; slot += 4)
		inside |= atomic_load(&slot[0].inside) | atomic_load(&slot[1].inside) |
			  atomic_load(&slot[2].inside) | atomic_load(&slot[3].inside);
	return inside;
}

static void wait_for(struct gate *gate, bool (*busy)(const struct gate *gate))
{
	pthread_mutex_lock(&gate->mutex);
	while (busy(gate))
		pthread_cond_wait(&gate->changed, &gate->mutex);
	pthread_mutex_unlock(&gate->mutex);
}

static bool has_passes(const struct gate *gate)
{
	return atomic_load(&gate->passes);
}

void gate_shut(struct gate *gate)
{
	if (has_passes(gate))
		wait_for(gate, has_passes);
	atomic_store(&gate->closed, true);
	if (anyone_inside(gate))
		wait_for(gate, anyone_inside);
}

/* Passes, or who closes it in a loop would keep the others out. */
void gate_reopen(struct gate *gate)
{
	atomic_store(&gate->closed, false);
	if (!atomic_load(&gate->queued))
		return;
	pthread_mutex_lock(&gate->mutex);
	atomic_store(&gate->passes, atomic_load(&gate->queued));
	pthread_cond_broadcast(&gate->changed);
	pthread_mutex_unlock(&gate->mutex);
}

void gate_close(struct gate *gate)
{
	pthread_mutex_lock(&gate->turn);
	gate_shut(gate);
}

void gate_open(struct gate *gate)
{
	gate_reopen(gate);
	pthread_mutex_unlock(&gate->turn);
}

/* ---- ranges ---- */

void range_queue_init(struct range_queue *queue)
{
	*queue = (struct range_queue){ 0 };
	pthread_cond_init(&queue->changed, NULL);
}

void range_queue_end(struct range_queue *queue)
{
	pthread_cond_destroy(&queue->changed);
}

/* Whether a claim older than this one meets it. */
static bool must_wait(const struct range_queue *queue, const struct range_claim *claim)
{
	for (const struct range_claim *c = queue->oldest; c != claim; c = c->next)
		if (range_meets(c->where, claim->where))
			return true;
	return false;
}

void range_claim(struct range_queue *queue, pthread_mutex_t *mutex, struct range_claim *claim,
		 struct range where)
{
	struct range_claim **tail = &queue->oldest;

	*claim = (struct range_claim){ .where = where };
	while (*tail)
		tail = &(*tail)->next;
	*tail = claim;
	queue->waiting++;
	while (must_wait(queue, claim))
		pthread_cond_wait(&queue->changed, mutex);
	queue->waiting--;
}

static void wake(struct range_queue *queue)
{
	if (queue->waiting)
		pthread_cond_broadcast(&queue->changed);
}

void range_narrow(struct range_queue *queue, struct range_claim *claim, struct range part)
{
	claim->where = part;
	wake(queue);
}

void range_release(struct range_queue *queue, struct range_claim *claim)
{
	struct range_claim **link = &queue->oldest;

	while (*link != claim)
		link = &(*link)->next;
	*link = claim->next;
	wake(queue);
}
