/* SPDX-License-Identifier: MIT */
#include "race.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct part {
	struct race *race;
	uint64_t seed;
	void (*turn)(struct part *t);
	unsigned rest_us; /* at most, between two turns */
	pthread_t thread;
	struct vfd_error err;
	struct vfd_pinset *set;
	struct vfd_group *group; /* of the device that comes and goes */
	struct vfd_device *device;
	uint64_t held; /* the device's pin: the page + 1 */
};

static uint64_t next(struct part *t, uint64_t below)
{
	t->seed ^= t->seed << 13;
	t->seed ^= t->seed >> 7;
	t->seed ^= t->seed << 17;
	return (t->seed >> 8) % below;
}

void race_problem(struct race *r, const char *what, int rc, const struct vfd_error *err)
{
	const char *none = NULL;
	char *text;

	if (asprintf(&text, "%s: %s: %s", what, vfd_strcode(rc), err->message) < 0)
		return;
	if (!atomic_compare_exchange_strong(&r->problem, &none, text))
		free(text);
	atomic_store(&r->stop, true);
}

static bool must(struct part *t, int rc, const char *what)
{
	if (rc)
		race_problem(t->race, what, rc, &t->err);
	return !rc;
}

/* ---- mapping ---- */

int race_map(struct race *r, struct vfd_container *container, uint64_t slot, struct vfd_error *err)
{
	struct vfd_mapping mapping = { .struct_size = sizeof mapping,
				       .flags = RIG_RW,
				       .iova = RIG_IOVA + slot * SLOT * RIG_PAGE,
				       .size = SLOT * RIG_PAGE,
				       .memory = r->rig.memory + slot * SLOT * RIG_PAGE };

	return vfd_map(container, &mapping, err);
}

static void remap(struct part *t, struct vfd_container *container)
{
	uint64_t slot = STABLE + next(t, SLOTS - STABLE);
	int rc = vfd_unmap(container, RIG_IOVA + slot * SLOT * RIG_PAGE, SLOT * RIG_PAGE, &t->err);

	if (rc == VFD_EPINNED) {
		t->race->refused++;
		return;
	}
	if (must(t, rc, "unmap"))
		must(t, race_map(t->race, container, slot, &t->err), "map");
	t->race->maps++;
}

static void map_turn(struct part *t)
{
	remap(t, t->race->rig.container);
}

/* ---- collecting ---- */

static void harvest(struct part *t, struct vfd_container *container)
{
	must(t, vfd_track_harvest(container, 0, NULL, &t->err), "harvest");
	t->race->harvests++;
}

static void harvest_turn(struct part *t)
{
	harvest(t, t->race->rig.container);
}

static void copy_page(struct race *r, uint64_t page)
{
	const _Atomic(uint64_t) *from = (const _Atomic(uint64_t) *)(const void *)r->rig.memory;

	for (uint64_t i = page * RIG_PAGE / 8; i < (page + 1) * RIG_PAGE / 8; i++)
		atomic_store_explicit(&r->copy[i], atomic_load_explicit(&from[i], memory_order_relaxed),
				      memory_order_relaxed);
	r->sent[page / 64] |= UINT64_C(1) << page % 64;
}

static void copy_batch(struct race *r, struct vfd_consumer *consumer, struct vfd_batch *batch)
{
	bool forget = r->forgetful;
	struct vfd_error err;
	struct vfd_run run;
	size_t n;

	while (!vfd_batch_runs(consumer, batch, &run, 1, &n, &err) && n)
		for (uint64_t at = 0; at < run.size; at += RIG_PAGE, forget = false)
			if (!forget)
				copy_page(r, (run.address - RIG_LOG + at) / RIG_PAGE);
}

/* Now and then it is taken back. False: nothing to take. */
static bool send_some(struct part *t, uint64_t most, bool back)
{
	struct vfd_consumer *consumer = vfd_log_consumer(t->race->rig.log);
	struct vfd_batch batch;

	if (!must(t, vfd_take(consumer, 0, UINT64_MAX, most, &batch, &t->err), "take") || !batch.id)
		return false;
	if (back)
		return must(t, vfd_rollback(consumer, &batch, 0, UINT64_MAX, &t->err), "rollback");
	copy_batch(t->race, consumer, &batch);
	t->race->batches++;
	return must(t, vfd_commit(consumer, &batch, 0, UINT64_MAX, &t->err), "commit");
}

static void copy_turn(struct part *t)
{
	send_some(t, 1 + next(t, 256), !next(t, 16));
}

void race_send(struct race *r)
{
	struct part t = { .race = r, .seed = 1 };

	while (send_some(&t, UINT64_MAX, false))
		;
}

/* ---- pinning ---- */

/* A driver in this process: what it writes the kernel does not see, but unpinning marks it. */
static void pin_turn(struct part *t)
{
	uint64_t page = next(t, PAGES), *word = (uint64_t *)(void *)(t->race->rig.memory + page * RIG_PAGE);
	struct vfd_pin pin;
	int rc;

	if (!t->set && !must(t, vfd_pinset_create(t->race->rig.container, NULL, &t->set, &t->err), "pin set"))
		return;
	rc = vfd_pin(t->set, word, RIG_PAGE, VFD_PIN_WRITE, &pin, &t->err);
	if (rc == VFD_ENOTMAPPED || !must(t, rc, "pin"))
		return;
	atomic_store((_Atomic(uint64_t) *)(word + RIG_PAGE / 8 - 1), next(t, UINT64_MAX));
	must(t, vfd_unpin(t->set, &pin, 1, &t->err), "unpin");
	t->race->pins++;
}

/* The device's own pin, which lasts some turns. */
static void device_pin_turn(struct part *t)
{
	if (t->held) {
		rig_unpin(0, t->held - 1, 4);
		t->held = 0;
		return;
	}
	t->held = 1 + next(t, STABLE * SLOT - 4);
	if (rig_pin(0, t->held - 1, 4))
		t->held = 0;
}

/* ---- who comes and goes ---- */

void race_run(unsigned device, uint64_t seed)
{
	struct vfdtest_run run = { .device = device,
				   .iova = RIG_IOVA,
				   .size = PAGES * RIG_PAGE,
				   .seed = seed,
				   .flags = VFDTEST_RUN_BURSTS,
				   .period_ns = 100000,
				   .burst = VFDTEST_RUN_BURST_MAX };

	rig_command(VFDTEST_RUN, &run);
}

/* A child that was forked meanwhile has what is open here open too, for a moment. */
#define UNLESS_BUSY(rc, call)                                                                                \
	for (int tries = 0; ((rc) = (call)) == -EBUSY && tries < 1000; tries++)                              \
	usleep(1000)

static bool open_device(struct part *t, struct vfd_container *container, unsigned index)
{
	char name[32];
	int rc;

	snprintf(name, sizeof name, "vfdtest.%u", index);
	UNLESS_BUSY(rc, vfd_group_attach(container, rig_group_number(index), &t->group, &t->err));
	return must(t, rc, "attach") && must(t, vfd_device_open(t->group, name, &t->device, &t->err), "open");
}

static void arrive(struct part *t)
{
	if (open_device(t, t->race->rig.container, 1))
		race_run(1, next(t, UINT64_MAX));
	t->race->plugs++;
}

static void leave(struct part *t)
{
	int rc = vfd_device_close(&t->device, VFD_COLLECT, &t->err);

	must(t, rc, "close the device");
	UNLESS_BUSY(rc, vfd_group_detach(&t->group, VFD_COLLECT, &t->err));
	must(t, rc, "detach");
	t->device = NULL;
}

/* The kernel takes it back, and has a new one. */
static void replace(struct part *t)
{
	struct vfdtest_plug plug = { .device = 1 };

	rig_command(VFDTEST_REMOVE, &plug);
	leave(t);
	for (int i = 0; i < 5000 && rig_command(VFDTEST_ADD, &plug) == -EBUSY; i++)
		usleep(1000);
	t->race->unplugs++;
}

static void plug_turn(struct part *t)
{
	if (!t->device)
		arrive(t);
	else if (next(t, 4))
		leave(t);
	else
		replace(t);
}

/* ---- the other container ---- */

static void begin_other(struct part *t)
{
	struct vfd_container_options options = { .struct_size = sizeof options, .log = t->race->rig.log };
	struct vfd_container *container;

	if (!must(t, container_open_on(&rig_sys, &options, &container, &t->err), "open another container"))
		return;
	t->race->other = container;
	for (uint64_t slot = 0; slot < SLOTS; slot++)
		must(t, race_map(t->race, container, slot, &t->err), "map in the other");
	must(t, vfd_track_start(container, NULL, NULL, &t->err), "start the other");
	if (open_device(t, container, 2))
		race_run(2, next(t, UINT64_MAX));
}

static void end_other(struct part *t)
{
	int rc;

	UNLESS_BUSY(rc, vfd_container_close(&t->race->other, VFD_COLLECT, &t->err));
	must(t, rc, "close the other");
	t->race->others++;
}

static void other_turn(struct part *t)
{
	if (!t->race->other)
		begin_other(t);
	else if (!next(t, 32))
		end_other(t);
	else if (next(t, 2))
		remap(t, t->race->other);
	else
		harvest(t, t->race->other);
}

/* ---- fork and signals ---- */

static void __attribute__((noreturn)) in_child(struct race *r)
{
	struct vfd_error err;
	bool good = vfd_track_harvest(r->rig.container, 0, NULL, &err) == VFD_EFORKED &&
		    !vfd_container_release(&r->rig.container, &err) && !vfd_log_release(&r->rig.log, &err);

	_exit(!good);
}

static void fork_turn(struct part *t)
{
	int status = 1;
	pid_t child = fork();

	if (!child)
		in_child(t->race);
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	must(t, status ? VFD_EFORKED : 0, "a child's calls");
	t->race->forks++;
}

static void nothing(int number)
{
	(void)number;
}

/* ---- all of them ---- */

static void *run(void *arg)
{
	struct part *t = arg;

	while (!t->race->stop) {
		pthread_rwlock_rdlock(&t->race->turns);
		t->turn(t);
		pthread_rwlock_unlock(&t->race->turns);
		usleep((unsigned)next(t, t->rest_us));
	}
	if (t->set)
		must(t, vfd_pinset_destroy(&t->set, 0, &t->err), "destroy the pin set");
	if (t->held)
		rig_unpin(0, t->held - 1, 4);
	return NULL;
}

static void *interrupt(void *arg)
{
	struct part *parts = arg, *t = parts;

	for (; !t->race->stop; t->race->signals++) {
		unsigned i = (unsigned)(rand() % 8);
		pthread_kill(parts[i].thread, SIGUSR1);
		usleep(2000);
	}
	return NULL;
}

void race_threads(struct race *r, void (*meanwhile)(struct race *r))
{
	struct part parts[] = {
		{ .turn = map_turn, .rest_us = 2000 },	  { .turn = harvest_turn, .rest_us = 4000 },
		{ .turn = copy_turn, .rest_us = 2000 },	  { .turn = copy_turn, .rest_us = 2000 },
		{ .turn = pin_turn, .rest_us = 2000 },	  { .turn = device_pin_turn, .rest_us = 10000 },
		{ .turn = plug_turn, .rest_us = 20000 },  { .turn = other_turn, .rest_us = 4000 },
		{ .turn = fork_turn, .rest_us = 100000 },
	};
	enum { COUNT = sizeof parts / sizeof *parts };
	struct sigaction action = { .sa_handler = nothing };
	pthread_t interrupter;

	sigaction(SIGUSR1, &action, NULL);
	for (unsigned i = 0; i < COUNT; i++) {
		parts[i].race = r;
		parts[i].seed = i + 1;
		pthread_create(&parts[i].thread, NULL, run, &parts[i]);
	}
	pthread_create(&interrupter, NULL, interrupt, parts);
	meanwhile(r);
	r->stop = true;
	pthread_join(interrupter, NULL);
	for (unsigned i = 0; i < COUNT; i++)
		pthread_join(parts[i].thread, NULL);
}
