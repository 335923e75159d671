/* SPDX-License-Identifier: MIT */
#include "lock.h"

void gate_init(struct gate *gate)
{
	pthread_mutex_init(&gate->mutex, NULL);
	pthread_cond_init(&gate->changed, NULL);
	gate->inside = gate->waiting = gate->queued = gate->passes = 0;
	gate->closed = false;
}

void gate_end(struct gate *gate)
{
	pthread_cond_destroy(&gate->changed);
	pthread_mutex_destroy(&gate->mutex);
}

void gate_enter(struct gate *gate)
{
	pthread_mutex_lock(&gate->mutex);
	gate->queued++;
	while (gate->closed || (gate->waiting && !gate->passes))
		pthread_cond_wait(&gate->changed, &gate->mutex);
	gate->queued--;
	if (gate->passes)
		gate->passes--;
	gate->inside++;
	pthread_mutex_unlock(&gate->mutex);
}

void gate_leave(struct gate *gate)
{
	pthread_mutex_lock(&gate->mutex);
	if (!--gate->inside)
		pthread_cond_broadcast(&gate->changed);
	pthread_mutex_unlock(&gate->mutex);
}

void gate_close(struct gate *gate)
{
	pthread_mutex_lock(&gate->mutex);
	gate->waiting++;
	while (gate->closed || gate->inside || gate->passes)
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
