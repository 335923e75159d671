/* SPDX-License-Identifier: MIT */
#include "lock.h"

#include <errno.h>

void gate_init(struct gate *gate)
{
	pthread_mutex_init(&gate->mutex, NULL);
	pthread_cond_init(&gate->changed, NULL);
	gate->waiting = gate->queued = gate->passes = 0;
	gate->closed = false;
	atomic_init(&gate->closing, false);
	for (unsigned i = 0; i < GATE_SLOTS; i++)
		atomic_init(&gate->slots[i].inside, 0);
}

void gate_end(struct gate *gate)
{
	pthread_cond_destroy(&gate->changed);
	pthread_mutex_destroy(&gate->mutex);
}

/* Every thread has an errno, at an address of its own. */
static atomic_uint *my_slot(struct gate *gate)
{
	uint64_t mix = (uintptr_t)&errno * UINT64_C(0x9e3779b97f4a7c15);

	return &gate->slots[mix >> 60].inside;
}

/* With the mutex. A slot that is 0 stays 0: `closing` is set, so whoever comes now waits for the mutex. */
static bool anyone_inside(const struct gate *gate)
{
	for (unsigned i = 0; i < GATE_SLOTS; i++)
		if (atomic_load(&gate->slots[i].inside))
			return true;
	return false;
}

static void enter_in_turn(struct gate *gate, atomic_uint *inside)
{
	atomic_fetch_sub(inside, 1);
	pthread_mutex_lock(&gate->mutex);
	pthread_cond_broadcast(&gate->changed); /* a closer may have seen us, and wait */
	gate->queued++;
	while (gate->closed || (gate->waiting && !gate->passes))
		pthread_cond_wait(&gate->changed, &gate->mutex);
	gate->queued--;
	if (gate->passes)
		gate->passes--;
	atomic_fetch_add(inside, 1);
	pthread_mutex_unlock(&gate->mutex);
}

/* Here and in gate_leave: write the slot, then read `closing`. A closer writes `closing`, then reads the slots. In the one order
 * of all sequentially consistent accesses one of the two is first: the closer sees us, or we see the closer. */
void gate_enter(struct gate *gate)
{
	atomic_uint *inside = my_slot(gate);

	atomic_fetch_add(inside, 1);
	if (atomic_load(&gate->closing))
		enter_in_turn(gate, inside);
}

void gate_leave(struct gate *gate)
{
	atomic_fetch_sub(my_slot(gate), 1);
	if (!atomic_load(&gate->closing))
		return;
	pthread_mutex_lock(&gate->mutex);
	pthread_cond_broadcast(&gate->changed);
	pthread_mutex_unlock(&gate->mutex);
}

void gate_close(struct gate *gate)
{
	pthread_mutex_lock(&gate->mutex);
	gate->waiting++;
	atomic_store(&gate->closing, true);
	while (gate->closed || gate->passes || anyone_inside(gate))
		pthread_cond_wait(&gate->changed, &gate->mutex);
	gate->waiting--;
	gate->closed = true;
	pthread_mutex_unlock(&gate->mutex);
}

void gate_open(struct gate *gate)
{
	pthread_mutex_lock(&gate->mutex);
	gate->closed = false;
	gate->passes = gate->queued; /* or a thread that closes it in a loop would keep them out */
	atomic_store(&gate->closing, gate->waiting > 0);
	pthread_cond_broadcast(&gate->changed);
	pthread_mutex_unlock(&gate->mutex);
}

void range_queue_init(struct range_queue *queue)
{
	pthread_mutex_init(&queue->mutex, NULL);
	pthread_cond_init(&queue->changed, NULL);
	queue->oldest = NULL;
}

void range_queue_end(struct range_queue *queue)
{
	pthread_cond_destroy(&queue->changed);
	pthread_mutex_destroy(&queue->mutex);
}

/* Whether a claim older than this one meets it. */
static bool must_wait(const struct range_queue *queue, const struct range_claim *claim)
{
	for (const struct range_claim *c = queue->oldest; c != claim; c = c->next)
		if (range_meets(c->where, claim->where))
			return true;
	return false;
}

void range_claim(struct range_queue *queue, struct range_claim *claim, struct range where)
{
	struct range_claim **tail = &queue->oldest;

	claim->where = where;
	claim->next = NULL;
	pthread_mutex_lock(&queue->mutex);
	while (*tail)
		tail = &(*tail)->next;
	*tail = claim;
	while (must_wait(queue, claim))
		pthread_cond_wait(&queue->changed, &queue->mutex);
	pthread_mutex_unlock(&queue->mutex);
}

void range_narrow(struct range_queue *queue, struct range_claim *claim, struct range part)
{
	pthread_mutex_lock(&queue->mutex);
	claim->where = part;
	pthread_cond_broadcast(&queue->changed);
	pthread_mutex_unlock(&queue->mutex);
}

void range_release(struct range_queue *queue, struct range_claim *claim)
{
	struct range_claim **link = &queue->oldest;

	pthread_mutex_lock(&queue->mutex);
	while (*link != claim)
		link = &(*link)->next;
	*link = claim->next;
	pthread_cond_broadcast(&queue->changed);
	pthread_mutex_unlock(&queue->mutex);
}
