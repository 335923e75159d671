/* SPDX-License-Identifier: MIT */

/* The addresses of a name. A resolver asks its servers as long as it likes, and nothing ends that: so a thread waits for it, which is
 * left alone when nobody wants to know any more. */

#include "dial.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SLICE_NS = 100000000 };

struct question {
	char *host, *service;
	struct addrinfo hints, *found;
	int rc;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool answered, left; /* whoever comes second cleans up */
};

static void forget(struct question *q)
{
	if (q->found)
		freeaddrinfo(q->found);
	pthread_cond_destroy(&q->cond);
	pthread_mutex_destroy(&q->mutex);
	free(q->service);
	free(q->host);
	free(q);
}

/* It is waited for by a clock that nobody sets. */
static void init_cond(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

static struct question *make_question(const char *host, const char *service, int flags)
{
	struct question *q = calloc(1, sizeof *q);

	if (!q)
		return NULL;
	pthread_mutex_init(&q->mutex, NULL);
	init_cond(&q->cond);
	q->hints = (struct addrinfo){ .ai_socktype = SOCK_STREAM, .ai_flags = flags };
	q->host = host ? strdup(host) : NULL;
	q->service = strdup(service);
	if (q->service && (q->host || !host))
		return q;
	forget(q);
	return NULL;
}

static void *ask(void *opaque)
{
	struct question *q = opaque;
	struct addrinfo *found = NULL;
	int rc = getaddrinfo(q->host, q->service, &q->hints, &found);

	pthread_mutex_lock(&q->mutex);
	q->rc = rc;
	q->found = rc ? NULL : found;
	q->answered = true;
	bool left = q->left;
	pthread_cond_signal(&q->cond);
	pthread_mutex_unlock(&q->mutex);
	if (left)
		forget(q);
	return NULL;
}

static void wait_a_moment(struct question *q)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += SLICE_NS;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&q->cond, &q->mutex, &until);
}

/* False: it was left, and is not ours any more. */
static bool wait_for_answer(struct question *q, pthread_t thread, const struct mig_control *control,
			    struct mig_error *err)
{
	pthread_mutex_lock(&q->mutex);
	while (!q->answered && !mig_cancelled(control, err))
		wait_a_moment(q);
	bool answered = q->answered;
	q->left = !answered;
	pthread_mutex_unlock(&q->mutex);
	if (answered)
		pthread_join(thread, NULL);
	else
		pthread_detach(thread);
	return answered;
}

int dial_lookup(const char *host, const char *service, int flags, const struct mig_control *control,
		struct addrinfo **found, struct mig_error *err)
{
	struct question *q = make_question(host, service, flags);
	pthread_t thread;

	if (!q)
		return mig_fail(err, "no memory to look up %s", host ? host : "any address");
	if (pthread_create(&thread, NULL, ask, q)) {
		forget(q);
		return mig_fail(err, "no thread to look up %s", host ? host : "any address");
	}
	if (!wait_for_answer(q, thread, control, err))
		return MIG_CANCELLED;
	*found = q->found;
	q->found = NULL;
	int rc = q->rc ? mig_fail(err, "%s:%s: %s", host ? host : "", service, gai_strerror(q->rc)) : 0;
	forget(q);
	return rc;
}
