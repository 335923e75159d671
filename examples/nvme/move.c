/* SPDX-License-Identifier: MIT */

/* The driver moves to another process, with its buffers and in the middle of its work. The controller cannot migrate, and is in one
 * process at a time: it is given back when all requests are done, and attached there before the source is let go. The queues are made
 * anew. When it fails the source attaches the controller again and goes on. */

#include "nvme.h"

#include "migrate.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* What moves besides memory. */
struct work {
	struct workload load;
	uint64_t generation, done, hash;
};

struct move {
	struct nvme *n;
	struct work work;
	size_t at; /* of its bytes, in the stream */
	uint64_t until;
	pthread_t thread;
	atomic_bool running;
	struct mig_region regions[2];
	struct mig_section section;
};

/* ---- the driver's work ---- */

static void *read_blocks(void *opaque)
{
	struct move *m = opaque;

	while (atomic_load(&m->running) && (!m->until || m->work.done < m->until)) {
		while (start_random(m->n, &m->work.load))
			;
		while (nvme_poll(m->n))
			m->work.done++;
	}
	while (m->n->in_flight)
		m->work.done += nvme_poll(m->n) != NULL;
	return NULL;
}

static void start(struct move *m)
{
	atomic_store(&m->running, true);
	if (pthread_create(&m->thread, NULL, read_blocks, m))
		die("no thread");
}

static void finish(struct move *m)
{
	if (atomic_exchange(&m->running, false))
		pthread_join(m->thread, NULL);
}

static uint64_t hash(const struct nvme_memory *memory)
{
	uint64_t sum = 1, word;

	for (uint64_t at = 0; at < memory->size; at += sizeof word) {
		memcpy(&word, memory->start + at, sizeof word);
		sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		sum ^= sum >> 32;
	}
	return sum;
}

/* ---- its state ---- */

static int save(void *opaque, void *data, size_t size, size_t *done, struct mig_error *err)
{
	struct move *m = opaque;
	size_t rest = sizeof m->work - m->at;

	(void)err;
	*done = rest < size ? rest : size;
	memcpy(data, (char *)&m->work + m->at, *done);
	m->at += *done;
	return 0;
}

static int load(void *opaque, const void *data, size_t size, struct mig_error *err)
{
	struct move *m = opaque;

	if (!size && m->at == sizeof m->work)
		return m->work.hash == hash(&m->n->data) ? 0 : mig_fail(err, "MEMORY DIFFERS");
	if (!size || size > sizeof m->work - m->at)
		return mig_fail(err, "the work has %zu bytes, not %zu", sizeof m->work, m->at + size);
	memcpy((char *)&m->work + m->at, data, size);
	m->at += size;
	return 0;
}

static struct mig_guest describe(struct move *m)
{
	const struct nvme_memory *parts[] = { &m->n->completions, &m->n->data };

	for (int i = 0; i < 2; i++)
		m->regions[i] = (struct mig_region){ parts[i]->log_address, parts[i]->size, parts[i]->start };
	m->section = (struct mig_section){ .name = "work", .opaque = m, .save = save, .load = load };
	return (struct mig_guest){
		.regions = m->regions, .region_count = 2, .sections = &m->section, .section_count = 1
	};
}

/* ---- the source ---- */

static int on_harvest(void *opaque, bool final, struct vfd_harvest *sum, struct mig_error *err)
{
	struct move *m = opaque;

	return m->n->container ? mig_harvest(m->n->container, final, sum, err) : 0;
}

static void give_back(struct nvme *n)
{
	nvme_stop(n);
	nvme_unpin(n);
	nvme_detach(n);
}

static int on_pause(void *opaque, struct mig_error *err)
{
	struct move *m = opaque;

	(void)err;
	finish(m);
	give_back(m->n);
	m->work.hash = hash(&m->n->data);
	return 0;
}

static void on_resume(void *opaque)
{
	struct move *m = opaque;

	nvme_attach(m->n);
	start(m);
}

int move_there(struct nvme *n, const struct workload *w, uint64_t generation, const char *uri)
{
	static struct move m;
	struct mig_report report;
	struct mig_error err = { "" };
	struct mig_link link;

	m.n = n;
	m.work = (struct work){ .load = *w, .generation = generation };
	struct mig_source source = { .guest = describe(&m),
				     .log = n->log,
				     .consumer = vfd_log_consumer(n->log),
				     .options = { .force = true, .stall_ms = 60000 },
				     .opaque = &m,
				     .harvest = on_harvest,
				     .pause = on_pause,
				     .resume = on_resume };
	signal(SIGPIPE, SIG_IGN);
	if (mig_connect(uri, &link, 1, &err))
		die("%s", err.message);
	check(vfd_track_start(n->container, NULL, NULL, &nvme_error));
	start(&m);
	int rc = mig_send(&source, &link, 1, &report, &err);
	mig_print_report(stdout, &report, &err, false);
	finish(&m);
	printf("%llu reads here\n", (unsigned long long)m.work.done);
	if (rc && n->container) {
		printf("it goes on here\n");
		read_back(n, w->blocks, generation);
		give_back(n);
	}
	return rc != 0;
}

/* ---- the destination ---- */

static int on_ready(void *opaque, struct mig_error *err)
{
	struct move *m = opaque;
	const struct workload *w = &m->work.load;

	nvme_attach(m->n);
	return w->blocks && w->blocks <= m->n->blocks && w->reads < UINT64_MAX / 2
		       ? 0
		       : mig_fail(err, "not its disk");
}

static int on_run(void *opaque, struct mig_error *err)
{
	struct move *m = opaque;

	(void)err;
	m->until = m->work.done + m->work.load.reads;
	start(m);
	return 0;
}

int move_here(struct nvme *n, const char *uri)
{
	static struct move m;
	struct mig_listener listener;
	struct mig_report report;
	struct mig_error err = { "" };

	m.n = n;
	struct mig_destination d = { .guest = describe(&m), .opaque = &m, .ready = on_ready, .run = on_run };
	signal(SIGPIPE, SIG_IGN);
	if (mig_listen(uri, &listener, &err))
		die("%s", err.message);
	int rc = mig_receive(&d, &listener, &report, &err);
	mig_unlisten(&listener);
	if (rc)
		die("%s", err.message);
	pthread_join(m.thread, NULL);
	printf("ok: its memory is the same\n%llu reads, %llu of them here\n", (unsigned long long)m.work.done,
	       (unsigned long long)(m.work.done - m.until + m.work.load.reads));
	int failed = read_back(n, m.work.load.blocks, m.work.generation);
	give_back(n);
	nvme_close(n, VFD_DISCARD);
	return failed;
}
