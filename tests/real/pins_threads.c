/* SPDX-License-Identifier: MIT */
#include "pins.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct part {
	struct play *play;
	uint64_t number, seed;
	struct vfd_error err;
	pthread_t thread;
	void (*turn)(struct part *part);
	struct vfd_pinset *set;
};

static uint64_t next(struct part *t, uint64_t below)
{
	t->seed ^= t->seed << 13;
	t->seed ^= t->seed >> 7;
	t->seed ^= t->seed << 17;
	return (t->seed >> 8) % below;
}

/* Nothing else is to be done then. */
static void give_up(struct part *t, const char *what, int rc)
{
	const char *none = NULL;
	char *text;

	if (asprintf(&text, "%s: %s: %s", what, vfd_strcode(rc), t->err.message) < 0)
		text = NULL;
	if (!atomic_compare_exchange_strong(&t->play->problem, &none, text ? text : what))
		free(text);
	atomic_store(&t->play->stop, true);
}

static _Atomic(uint64_t) *word_at(const struct play *p, uint64_t page, uint64_t offset)
{
	return (_Atomic(uint64_t) *)(void *)(p->rig.memory + page * RIG_PAGE + offset);
}

/* ---- who pins ---- */

/* What is pinned is mapped, and where the pin says. */
static bool stays_mapped(struct part *t, const struct vfd_pin *pin)
{
	struct vfd_mapping m = { .struct_size = sizeof m };

	return !vfd_mapping_find(t->play->rig.container, VFD_FIND_IOVA, pin->iova, &m, &t->err) &&
	       (char *)m.memory + (pin->iova - m.iova) == pin->memory;
}

/* The device writes one word, and it arrives. */
static bool device_writes(struct part *t, const struct vfd_pin *pin, const _Atomic(uint64_t) *word)
{
	struct vfdtest_range range = { .iova = pin->iova, .size = 8, .value = next(t, UINT64_MAX) };

	return !rig_command(VFDTEST_WRITE, &range) &&
	       atomic_load(word) == vfdtest_word(range.value, range.iova);
}

/* Edu reads a word that was written for it, and stores it behind. A tenth of a second each, pinned all the time. */
static bool edu_writes(struct part *t, const struct vfd_pin *pin, _Atomic(uint64_t) *word)
{
	uint64_t value = next(t, UINT64_MAX);

	atomic_store(word, value);
	edu_load(t->play->edu, pin->iova, LANE / 2);
	edu_store(t->play->edu, pin->iova + LANE / 2, LANE / 2);
	return atomic_load(word + LANE / 2 / sizeof value) == value;
}

/* One buffer, used as drivers do. False: it was unmapped, or the device wrote elsewhere. */
static bool use(struct part *t, const struct vfd_pin *pin, _Atomic(uint64_t) *word, uint64_t lane)
{
	bool good = stays_mapped(t, pin);

	if (lane == EDU_LANE)
		good &= edu_writes(t, pin, word);
	else if (next(t, 2))
		good &= device_writes(t, pin, word);
	else /* stands for DMA of which the kernel knows nothing */
		atomic_store(word, next(t, UINT64_MAX));
	if (!next(t, 4))
		usleep((unsigned)next(t, 500));
	return good && stays_mapped(t, pin);
}

static void pin_and_use(struct part *t, uint64_t lane)
{
	struct play *p = t->play;
	uint64_t page = next(t, PINNED * SIZE);
	struct vfd_pin pin;
	int rc = vfd_pin(t->set, p->rig.memory + page * RIG_PAGE + lane * LANE, LANE,
			 p->no_marks ? VFD_PIN_READ : VFD_PIN_WRITE, &pin, &t->err);

	if (rc == VFD_ENOTMAPPED)
		return;
	if (rc) {
		give_up(t, "pin", rc);
		return;
	}
	if (p->unpin_early)
		vfd_unpin(t->set, &pin, 1, &t->err);
	atomic_fetch_add(&p->in_use[page / SIZE], 1);
	if (!use(t, &pin, word_at(p, page, lane * LANE), lane))
		atomic_fetch_add(&p->violations, 1);
	atomic_fetch_sub(&p->in_use[page / SIZE], 1);
	rc = p->unpin_early ? 0 : vfd_unpin(t->set, &pin, 1, &t->err);
	if (rc)
		give_up(t, "unpin", rc);
	atomic_fetch_add(lane == EDU_LANE ? &p->edu_pins : &p->pins, 1);
}

static void pin_turn(struct part *t)
{
	pin_and_use(t, t->number);
}

static void edu_turn(struct part *t)
{
	pin_and_use(t, EDU_LANE);
}

/* ---- who maps ---- */

uint64_t slot_iova(uint64_t slot)
{
	return RIG_IOVA + slot * SIZE * RIG_PAGE;
}

int map_part(struct play *p, uint64_t part, uint64_t slot)
{
	struct vfd_error err;
	struct vfd_mapping mapping = { .struct_size = sizeof mapping,
				       .flags = RIG_RW,
				       .iova = slot_iova(slot),
				       .size = SIZE * RIG_PAGE,
				       .memory = p->rig.memory + part * SIZE * RIG_PAGE };

	return vfd_map(p->rig.container, &mapping, &err);
}

/* 0, or 1: it is pinned; else the turn is over. */
static int unmap(struct part *t, uint64_t slot, uint64_t patience)
{
	struct play *p = t->play;
	int rc = patience ? vfd_unmap_wait(p->rig.container, slot_iova(slot), SIZE * RIG_PAGE, patience,
					   &t->err)
			  : vfd_unmap(p->rig.container, slot_iova(slot), SIZE * RIG_PAGE, &t->err);

	atomic_fetch_add(&p->waits, patience != 0);
	if (rc == VFD_EPINNED) {
		atomic_fetch_add(patience ? &p->wait_refused : &p->refused, 1);
		return 1;
	}
	if (rc)
		give_up(t, "unmap", rc);
	atomic_fetch_add(&p->unmaps, 1);
	return rc;
}

static void map_again(struct part *t, uint64_t part, uint64_t slot)
{
	int rc = map_part(t->play, part, slot);

	if (rc)
		give_up(t, "map", rc);
}

/* Each time to where another one was before */
static void move(struct part *t, uint64_t part)
{
	struct play *p = t->play;
	uint64_t from = p->slots[part];

	if (unmap(t, from, next(t, 2) * 2000000))
		return;
	bool used = atomic_load(&p->in_use[part]);
	sched_yield();
	if (used || atomic_load(&p->in_use[part]))
		atomic_fetch_add(&p->violations, 1);
	p->slots[part] = p->empty;
	p->empty = from;
	map_again(t, part, p->slots[part]);
}

static void map_turn(struct part *t)
{
	uint64_t part = next(t, PINNED + FREE);

	if (part < PINNED)
		move(t, part);
	else if (!unmap(t, FREE_SLOT + part - PINNED, 0))
		map_again(t, part, FREE_SLOT + part - PINNED);
	if (!next(t, 4))
		usleep((unsigned)next(t, 500));
}

/* ---- who harvests and copies ---- */

static void harvest_turn(struct part *t)
{
	int rc = vfd_track_harvest(t->play->rig.container, 0, NULL, &t->err);

	if (rc)
		give_up(t, "harvest", rc);
	atomic_fetch_add(&t->play->harvests, 1);
	usleep((unsigned)next(t, 3000));
}

static void copy_page(struct play *p, uint64_t page)
{
	for (uint64_t i = 0; i < RIG_PAGE / 8; i++)
		atomic_store_explicit(&p->copy[page * RIG_PAGE / 8 + i],
				      atomic_load_explicit(word_at(p, page, i * 8), memory_order_relaxed),
				      memory_order_relaxed);
}

static void copy_batch(struct part *t, struct vfd_batch *batch)
{
	struct vfd_consumer *consumer = vfd_log_consumer(t->play->rig.log);
	struct vfd_run run;
	size_t n;

	while (!vfd_batch_runs(consumer, batch, &run, 1, &n, &t->err) && n)
		for (uint64_t at = 0; at < run.size; at += RIG_PAGE)
			if (run.address - RIG_LOG + at < PAGES * RIG_PAGE)
				copy_page(t->play, (run.address - RIG_LOG + at) / RIG_PAGE);
}

/* A channel: take some, be as slow as you like, commit. False: nothing to take. */
static bool send_some(struct part *t)
{
	struct vfd_consumer *consumer = vfd_log_consumer(t->play->rig.log);
	struct vfd_batch batch;
	int rc = vfd_take(consumer, 0, UINT64_MAX, 1 + next(t, 64), &batch, &t->err);

	if (!rc && batch.id) {
		copy_batch(t, &batch);
		if (!next(t, 16))
			usleep((unsigned)next(t, 2000));
		rc = vfd_commit(consumer, &batch, 0, UINT64_MAX, &t->err);
		atomic_fetch_add(&t->play->batches, 1);
	}
	if (rc)
		give_up(t, "take or commit", rc);
	return !rc && batch.id;
}

static void copy_turn(struct part *t)
{
	if (!send_some(t))
		usleep(500);
}

void send_owed(struct play *p)
{
	struct part t = { .play = p, .seed = 5 };

	while (send_some(&t))
		;
}

/* ---- all of them ---- */

static void *run(void *arg)
{
	struct part *t = arg;
	int rc = vfd_pinset_create(t->play->rig.container, NULL, &t->set, &t->err);

	if (rc)
		give_up(t, "create a pin set", rc);
	while (!atomic_load(&t->play->stop))
		t->turn(t);
	rc = rc ? rc : vfd_pinset_destroy(&t->set, 0, &t->err);
	if (rc)
		give_up(t, "destroy a pin set", rc);
	return NULL;
}

void play_threads(struct play *p, unsigned seconds)
{
	void (*const turns[])(struct part *) = { map_turn, harvest_turn, copy_turn, copy_turn,
						 pin_turn, pin_turn,	 pin_turn,  edu_turn };
	enum { MOST = sizeof turns / sizeof *turns };
	struct part parts[MOST];
	unsigned count = p->edu ? MOST : MOST - 1;

	for (unsigned i = 0; i < count; i++) {
		parts[i] = (struct part){ .play = p, .number = i, .seed = i + 1, .turn = turns[i] };
		pthread_create(&parts[i].thread, NULL, run, &parts[i]);
	}
	for (unsigned i = 0; i < 10 * seconds && !atomic_load(&p->stop); i++)
		usleep(100000);
	atomic_store(&p->stop, true);
	for (unsigned i = 0; i < count; i++)
		pthread_join(parts[i].thread, NULL);
}
