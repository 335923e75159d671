/* SPDX-License-Identifier: MIT */

/* Four channels to the other end, each as slow as it likes, some of them failing, while the device writes. With the log's rule that
 * a page is in one open batch at most, the other end has the same memory at the end. Without it, by committing at the take,
 * old content overtakes new. */

#include "emulated.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	CHANNELS = 4,
	BATCH = 8,   /* pages */
	WINDOW = 32, /* pages that the device writes to, before it goes on to the next ones */
	WINDOWS = 40,
	ROUNDS = 15, /* for each window, or until the device wrote something */
	ROUNDS_MOST = 10000,
	TRIES = 5, /* until the broken variant breaks */
};

/* Pages on their way: their content as it was when they were taken. */
struct load {
	struct vfd_batch batch;
	uint64_t pages[BATCH];
	unsigned count;
	unsigned char content[BATCH][RIG_PAGE];
};

struct channel {
	struct transfer *transfer;
	pthread_t thread;
	unsigned seed;
	bool busy;
	struct load load;
};

struct transfer {
	struct rig rig;
	struct vfd_consumer *consumer;
	unsigned char *other_end;
	bool commit_at_take; /* the rule is broken */
	bool end;
	unsigned taken, sent, rolled_back;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	struct channel channels[CHANNELS];
};

/* Mostly quick, at times very slow: a load can be overtaken by several later ones. */
static void dawdle(unsigned *seed)
{
	usleep(rand_r(seed) % 8 ? (unsigned)rand_r(seed) % 300 : (unsigned)rand_r(seed) % 20000);
}

/* False: it failed, and the pages are owed again. */
static bool deliver(struct channel *c)
{
	struct transfer *t = c->transfer;
	struct load *load = &c->load;
	bool fails = rand_r(&c->seed) % 10 == 0 && !t->commit_at_take;

	dawdle(&c->seed);
	for (unsigned i = 0; i < load->count && !fails; i++)
		memcpy(t->other_end + load->pages[i] * RIG_PAGE, load->content[i], RIG_PAGE);
	if (t->commit_at_take)
		return true;
	if (fails)
		vfd_rollback(t->consumer, &load->batch, 0, UINT64_MAX, NULL);
	else
		vfd_commit(t->consumer, &load->batch, 0, UINT64_MAX, NULL);
	return !fails;
}

static void *work(void *arg)
{
	struct channel *c = arg;
	struct transfer *t = c->transfer;

	pthread_mutex_lock(&t->mutex);
	while (!t->end || c->busy) {
		if (!c->busy) {
			pthread_cond_wait(&t->changed, &t->mutex);
			continue;
		}
		pthread_mutex_unlock(&t->mutex);
		bool delivered = deliver(c);
		pthread_mutex_lock(&t->mutex);
		c->busy = false;
		t->rolled_back += !delivered;
		t->sent++;
		pthread_cond_broadcast(&t->changed);
	}
	pthread_mutex_unlock(&t->mutex);
	return NULL;
}

/* Mutex held. */
static struct channel *idle_channel(struct transfer *t)
{
	unsigned first = (unsigned)rand();

	for (;;) {
		for (unsigned i = 0; i < CHANNELS; i++)
			if (!t->channels[(first + i) % CHANNELS].busy)
				return &t->channels[(first + i) % CHANNELS];
		pthread_cond_wait(&t->changed, &t->mutex);
	}
}

static void wait_all_idle(struct transfer *t)
{
	pthread_mutex_lock(&t->mutex);
	for (unsigned i = 0; i < CHANNELS; i++)
		while (t->channels[i].busy)
			pthread_cond_wait(&t->changed, &t->mutex);
	pthread_mutex_unlock(&t->mutex);
}

static void load_run(struct load *load, const struct vfd_run *run)
{
	for (uint64_t at = 0; at < run->size; at += RIG_PAGE) {
		load->pages[load->count] = (run->address + at - RIG_LOG) / RIG_PAGE;
		memcpy(load->content[load->count++], (unsigned char *)run->memory + at, RIG_PAGE);
	}
}

/* Take a batch, read its pages, give it to a channel. False: nothing to take now. */
static bool send_batch(struct transfer *t)
{
	pthread_mutex_lock(&t->mutex);
	struct channel *c = idle_channel(t);
	pthread_mutex_unlock(&t->mutex);
	struct load *load = &c->load;
	struct vfd_run run;
	size_t count;

	load->count = 0;
	if (vfd_take(t->consumer, 0, UINT64_MAX, BATCH, &load->batch, &t->rig.err) || !load->batch.id)
		return false;
	while (!vfd_batch_runs(t->consumer, &load->batch, &run, 1, &count, NULL) && count)
		load_run(load, &run);
	t->taken++;
	if (t->commit_at_take)
		vfd_commit(t->consumer, &load->batch, 0, UINT64_MAX, NULL);
	pthread_mutex_lock(&t->mutex);
	c->busy = true;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->mutex);
	return true;
}

static void send_all(struct transfer *t)
{
	struct vfd_count owed = { .owed = 1 };

	while (owed.owed || owed.taken) {
		while (send_batch(t))
			;
		wait_all_idle(t);
		vfd_consumer_count(t->consumer, 0, UINT64_MAX, &owed, NULL);
	}
}

static void one_round(struct transfer *t)
{
	if (vfd_track_harvest(t->rig.container, 0, NULL, &t->rig.err))
		ok(false, "harvest: %s", t->rig.err.message);
	for (int i = 0; i < 2 * CHANNELS && send_batch(t); i++)
		;
}

/* Every page has its own last write some time during the transfer. */
static void migrate(struct transfer *t)
{
	for (unsigned window = 0; window < WINDOWS; window++) {
		rig_halt(0);
		rig_run(0, window * WINDOW, WINDOW, window);
		for (int i = 0; i < ROUNDS || (t->taken < 5 * (window + 1) && i < ROUNDS_MOST); i++)
			one_round(t);
	}
	ok_code(vfd_group_detach(&t->rig.groups[0], VFD_COLLECT, &t->rig.err), 0, &t->rig.err,
		"last round of the transfer");
	send_all(t);
}

static unsigned pages_different(const struct transfer *t)
{
	unsigned count = 0;

	for (uint64_t page = 0; page < RIG_PAGES; page++)
		count += !!memcmp(t->rig.memory + page * RIG_PAGE, t->other_end + page * RIG_PAGE, RIG_PAGE);
	return count;
}

static void begin(struct transfer *t, unsigned seed)
{
	rig_begin(&t->rig);
	t->consumer = vfd_log_consumer(t->rig.log);
	t->other_end = calloc(RIG_PAGES, RIG_PAGE);
	pthread_mutex_init(&t->mutex, NULL);
	pthread_cond_init(&t->changed, NULL);
	srand(seed);
	for (unsigned i = 0; i < CHANNELS; i++) {
		t->channels[i] = (struct channel){ .transfer = t, .seed = seed * CHANNELS + i };
		pthread_create(&t->channels[i].thread, NULL, work, &t->channels[i]);
	}
}

static void end(struct transfer *t)
{
	pthread_mutex_lock(&t->mutex);
	t->end = true;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->mutex);
	for (unsigned i = 0; i < CHANNELS; i++)
		pthread_join(t->channels[i].thread, NULL);
	rig_close(&t->rig);
	free(t->other_end);
}

static unsigned transfer(bool commit_at_take, unsigned seed, unsigned *sent, unsigned *rolled_back)
{
	struct transfer *t = calloc(1, sizeof *t);

	t->commit_at_take = commit_at_take;
	begin(t, seed);
	migrate(t);
	wait_all_idle(t);
	unsigned different = pages_different(t);
	*sent = t->sent;
	*rolled_back = t->rolled_back;
	end(t);
	free(t);
	return different;
}

void test_channels(void)
{
	unsigned sent, rolled_back, different = transfer(false, 1, &sent, &rolled_back);

	ok(!different && sent > 100 && rolled_back,
	   "four channels, any order: %u batches, %u rolled back, %u pages differ", sent, rolled_back,
	   different);
	different = 0;
	for (unsigned i = 0; i < TRIES && !different; i++)
		different = transfer(true, 2 + i, &sent, &rolled_back);
	ok(different > 0, "without the rule of one open batch (commit at take): %u batches, %u pages differ",
	   sent, different);
}
