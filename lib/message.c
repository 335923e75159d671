/* SPDX-License-Identifier: MIT */
#include "message.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void messages_init(struct messages *m)
{
	pthread_mutex_init(&m->mutex, NULL);
	pthread_cond_init(&m->changed, NULL);
}

void messages_end(struct messages *m)
{
	pthread_cond_destroy(&m->changed);
	pthread_mutex_destroy(&m->mutex);
	free(m->slots);
}

/* ---- what waits; mutex held ---- */

static void drop(struct messages *m, uint32_t level)
{
	if (!m->dropped++) {
		m->dropped_level = level;
		m->waiting++; /* the word of it */
	}
	if (level < m->dropped_level)
		m->dropped_level = level;
}

static bool gives_way(const struct message_slot *a, const struct message_slot *b)
{
	return a->message.level > b->message.level ||
	       (a->message.level == b->message.level && a->number > b->number);
}

/* A free place, or that of the newest of those that matter least, if they matter less than this one. */
static struct message_slot *find_place(struct messages *m, uint32_t level)
{
	struct message_slot *least = m->slots;

	for (struct message_slot *s = m->slots; s < m->slots + MESSAGE_SLOTS; s++) {
		if (!s->number)
			return s;
		if (gives_way(s, least))
			least = s;
	}
	return least->message.level > level ? least : NULL;
}

static void fill(struct vfd_message *message, uint32_t level, const struct note *note, const char *format,
		 va_list args)
{
	bool somewhere = note->where.last;

	*message = (struct vfd_message){
		.struct_size = sizeof *message,
		.level = level,
		.kind = note->kind,
		.reason = note->reason,
		.sys_errno = note->rc < 0 && note->rc >= -4095 ? -note->rc : 0,
		.first = somewhere ? note->where.first : 1,
		.last = note->where.last,
		.count = note->count,
	};
	if (note->who)
		snprintf(message->who, sizeof message->who, "%s", note->who);
	int used = vsnprintf(message->text, sizeof message->text, format, args);
	if (note->rc && used >= 0 && (size_t)used < sizeof message->text)
		snprintf(message->text + used, sizeof message->text - (size_t)used, " (%s: %s)",
			 vfd_strcode(note->rc), vfd_strerror(note->rc));
}

void messages_add(struct messages *m, uint32_t level, struct note note, const char *format, ...)
{
	int saved = errno;
	va_list args;

	pthread_mutex_lock(&m->mutex);
	struct message_slot *slot = messages_wanted(m, level) ? find_place(m, level) : NULL;
	if (slot) {
		m->waiting += !slot->number;
		if (slot->number)
			drop(m, slot->message.level);
		slot->number = ++m->number;
		slot->thread = pthread_self();
		va_start(args, format);
		fill(&slot->message, level, &note, format, args);
		va_end(args);
	} else if (messages_wanted(m, level)) {
		drop(m, level);
	}
	pthread_mutex_unlock(&m->mutex);
	errno = saved;
}

/* ---- who is told ---- */

/* Mutex held, here and below. */
static void forget_unwanted(struct messages *m)
{
	unsigned waiting = 0;

	for (struct message_slot *s = m->slots; s && s < m->slots + MESSAGE_SLOTS; s++) {
		if (s->number && !messages_wanted(m, s->message.level))
			s->number = 0;
		waiting += s->number != 0;
	}
	if (!m->fn)
		m->dropped = 0;
	m->waiting = waiting + (m->dropped != 0);
}

static const struct message_call *own_call(const struct messages *m)
{
	const struct message_call *c = m->calls;

	while (c && !pthread_equal(c->thread, pthread_self()))
		c = c->next;
	return c;
}

static bool runs_older(const struct messages *m, uint64_t naming)
{
	const struct message_call *c = m->calls;

	while (c && c->naming >= naming)
		c = c->next;
	return c;
}

static void wait_left(struct messages *m, uint64_t naming)
{
	while (!own_call(m) && runs_older(m, naming))
		pthread_cond_wait(&m->changed, &m->mutex);
}

int messages_name(struct messages *m, uint32_t level, vfd_message_fn fn, void *opaque)
{
	int rc = 0;

	pthread_mutex_lock(&m->mutex);
	if (fn && !m->slots)
		m->slots = calloc(MESSAGE_SLOTS, sizeof *m->slots);
	if (fn && !m->slots) {
		rc = -ENOMEM;
	} else {
		m->fn = fn;
		m->opaque = opaque;
		m->level = fn ? level : 0;
		forget_unwanted(m);
		wait_left(m, ++m->naming);
	}
	pthread_mutex_unlock(&m->mutex);
	return rc;
}

/* ---- handing over ---- */

bool messages_begin(struct messages *m, struct message_call *call)
{
	pthread_mutex_lock(&m->mutex);
	bool first = !own_call(m);
	if (first) {
		call->thread = pthread_self();
		call->naming = m->naming;
		call->next = m->calls;
		m->calls = call;
	}
	pthread_mutex_unlock(&m->mutex);
	return first;
}

/* Mutex held, here and below. */
static void finish(struct messages *m, const struct message_call *call)
{
	struct message_call **link = &m->calls;

	while (*link != call)
		link = &(*link)->next;
	*link = call->next;
}

static struct message_slot *oldest(struct messages *m)
{
	struct message_slot *oldest = NULL;

	for (struct message_slot *s = m->slots; s < m->slots + MESSAGE_SLOTS; s++)
		if (s->number && pthread_equal(s->thread, pthread_self()) &&
		    (!oldest || s->number < oldest->number))
			oldest = s;
	return oldest;
}

static void tell_dropped(struct messages *m, struct vfd_message *message)
{
	*message = (struct vfd_message){
		.struct_size = sizeof *message,
		.level = m->dropped_level,
		.kind = VFD_MSG_DROPPED,
		.first = 1,
		.count = m->dropped,
	};
	snprintf(message->text, sizeof message->text,
		 "%" PRIu64 " messages found no place: more than %d waited at a time", m->dropped,
		 MESSAGE_SLOTS);
	m->dropped = 0;
}

static bool take(struct messages *m, struct vfd_message *message)
{
	struct message_slot *slot = m->fn && !m->dropped ? oldest(m) : NULL;

	if (m->fn && m->dropped) {
		tell_dropped(m, message);
	} else if (slot) {
		*message = slot->message;
		slot->number = 0;
	} else {
		return false;
	}
	m->waiting--;
	return true;
}

bool messages_next(struct messages *m, struct message_call *call)
{
	pthread_mutex_lock(&m->mutex);
	bool any = take(m, &call->message);
	call->naming = m->naming;
	call->fn = m->fn;
	call->opaque = m->opaque;
	if (!any)
		finish(m, call);
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->mutex);
	return any;
}
