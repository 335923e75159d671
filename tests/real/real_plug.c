/* SPDX-License-Identifier: MIT */

/* Devices come and go at every point of a migration: what they wrote until then arrives at the other end, or it is refused. */

#include "plug.h"

#include <linux/vfio.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const names[POINTS] = {
	"before the start",    "after the start",    "during a round",	  "between harvest and take",
	"before the last one", "after the last one", "during the detach",
};

void must(struct plug *p, int rc, const char *what)
{
	if (rc)
		ok_code(rc, 0, &p->rig.err, "%s", what);
}

/* ---- what a program that migrates does ---- */

static void send(struct plug *p)
{
	struct pages pages = rig_deliver(&p->rig);

	for (uint64_t page = 0; page < RIG_PAGES; page++)
		if (pages.words[page / 64] >> page % 64 & 1)
			memcpy(p->other_end + page * RIG_PAGE, p->rig.memory + page * RIG_PAGE, RIG_PAGE);
	for (int i = 0; i < RIG_WORDS; i++)
		p->delivered.words[i] |= pages.words[i];
}

/* That the record went with the last group is an answer, not a failure: all is assumed. */
static void harvest(struct plug *p, unsigned flags)
{
	struct vfd_error err; /* another thread may have the rig's */
	int rc = vfd_track_harvest(p->rig.container, flags, NULL, &err);

	if (rc && rc != VFD_ELOST)
		ok_code(rc, 0, &err, "harvest");
}

/* Everybody is made silent, and the rest collected. */
static void last_round(struct plug *p)
{
	for (unsigned i = 0; i < 2; i++)
		if (p->rig.devices[i])
			vfd_device_quiesce(p->rig.devices[i], &p->rig.err);
	if (p->edu.device)
		vfd_device_quiesce(p->edu.device, &p->rig.err);
	harvest(p, VFD_HARVEST_FINAL);
	send(p);
}

static void begin(struct plug *p, const struct event *event)
{
	struct edu edu = p->edu;

	*p = (struct plug){ .edu = edu, .other_end = calloc(RIG_PAGES, RIG_PAGE), .request = -1 };
	rig_open(&p->rig);
	must(p, rig_attach(&p->rig, 0), "attach");
	rig_map_all(&p->rig);
	must(p, rig_open_device(&p->rig, 0), "open");
	rig_run(0, 0, 700, 3);
	if (event->prepare)
		event->prepare(p);
}

/* ---- the event, at its point ---- */

struct happening {
	struct plug *plug;
	const struct event *event;
	pthread_t thread;
	volatile bool begun, over;
};

static void *happen(void *arg)
{
	struct happening *h = arg;

	h->begun = true;
	h->event->happen(h->plug);
	h->over = true;
	return NULL;
}

static void in_a_round(struct happening *h)
{
	pthread_create(&h->thread, NULL, happen, h);
	do
		harvest(h->plug, 0);
	while (!h->over);
	pthread_join(h->thread, NULL);
}

static struct happening *now;

/* What needs the library waits for the detach; what the kernel does by itself does not. */
static void between_looks(void *bitmap, uint64_t bytes, bool after)
{
	(void)bitmap;
	(void)bytes;
	if (!after || now->begun)
		return;
	pthread_create(&now->thread, NULL, happen, now);
	for (int i = 0; i < 20 && !now->over; i++)
		usleep(1000);
}

static void in_detach(struct happening *h)
{
	struct rig *rig = &h->plug->rig;

	now = h;
	rig->devices[0] = NULL;
	rig_around_get = between_looks;
	must(h->plug, vfd_group_detach(&rig->groups[0], VFD_COLLECT, &rig->err), "detach");
	rig_around_get = NULL;
	if (!h->begun) /* a physical group beside it: the kernel is not asked */
		happen(h);
	else
		pthread_join(h->thread, NULL);
}

static void reach(struct plug *p, const struct event *event, enum point point, enum point at)
{
	struct happening h = { .plug = p, .event = event };

	if (point != at)
		return;
	if (at == IN_A_ROUND)
		in_a_round(&h);
	else if (at == IN_DETACH)
		in_detach(&h);
	else
		event->happen(p);
	usleep(5000);
}

static void migrate(struct plug *p, const struct event *event, enum point at)
{
	reach(p, event, BEFORE_START, at);
	must(p, vfd_track_start(p->rig.container, NULL, NULL, &p->rig.err), "start");
	p->before = rig_truth(&p->rig);
	reach(p, event, STARTED, at);
	memcpy(p->other_end, p->rig.memory, RIG_PAGES * RIG_PAGE);
	for (int round = 0; round < 2; round++) {
		rig_await_writes(1); /* a migration without a write shows nothing */
		harvest(p, 0);
		send(p);
	}
	reach(p, event, IN_A_ROUND, at);
	send(p);
	harvest(p, 0);
	reach(p, event, HARVESTED, at);
	send(p);
	reach(p, event, BEFORE_FINAL, at);
	last_round(p);
	reach(p, event, AFTER_FINAL, at);
	reach(p, event, IN_DETACH, at);
	last_round(p);
}

/* ---- what came of it ---- */

/* Every write changes what is there: a page that differs was written and not sent. */
static unsigned stale_pages(const struct plug *p)
{
	unsigned stale = 0;

	for (uint64_t page = 0; page < RIG_PAGES; page++)
		stale += memcmp(p->other_end + page * RIG_PAGE, p->rig.memory + page * RIG_PAGE, RIG_PAGE) !=
			 0;
	return stale;
}

static void judge(struct plug *p, const struct event *event, enum point at)
{
	struct pages truth = rig_truth(&p->rig), known = truth;
	for (int i = 0; i < RIG_WORDS; i++)
		known.words[i] |= p->before.words[i];
	unsigned added = pages_missing(&p->delivered, &known), lost = stale_pages(p);
	bool good = !lost && p->refused == event->refused && (at >= event->exact || !added);

	ok(good && pages_count(&truth), "%s, %s: %u pages written, %u lost, %u added%s%s", event->what,
	   names[at], pages_count(&truth), lost, added, p->refused ? "; refused: " : "", p->why);
}

/* If the kernel complains, its log says where. */
static void note(const struct event *event, enum point at)
{
	FILE *log = fopen("/dev/kmsg", "we");

	if (!log)
		return;
	fprintf(log, "%s, %s\n", event->what, names[at]);
	fclose(log);
}

static void cell(struct plug *p, const struct event *event, enum point at)
{
	if (at == IN_A_ROUND && event->apart) {
		skip(event->what, "during a round: the kernel would use freed memory (trap 6)");
		return;
	}
	note(event, at);
	begin(p, event);
	migrate(p, event, at);
	must(p, vfd_container_close(&p->rig.container, VFD_COLLECT, &p->rig.err), "close");
	send(p);
	judge(p, event, at);
	rig_close(&p->rig);
	if (event->after)
		event->after(p);
	if (p->request >= 0)
		close(p->request);
	free(p->other_end);
}

static void matrix(struct plug *p, const struct event *events)
{
	for (const struct event *event = events; event->what; event++)
		for (enum point at = BEFORE_START; at < POINTS; at++)
			cell(p, event, at);
}

/* Kernels without the helper start a log that they cannot report. */
static bool can_report(struct plug *p)
{
	struct vfd_plan plan = { .struct_size = sizeof plan };

	begin(p, log_events);
	vfd_track_start(p->rig.container, NULL, &plan, &p->rig.err);
	rig_close(&p->rig);
	log_events->after(p);
	free(p->other_end);
	return plan.exact;
}

/* Two that log, and that fall silent by their state, which leaves them their logs. */
static void with_logs(struct plug *p, bool on)
{
	for (unsigned i = 0; i < 2; i++)
		if (rig_set(i, VFDTEST_LOG, on) || rig_set(i, VFDTEST_MIG, on ? VFIO_MIGRATION_STOP_COPY : 0))
			ok(false, "vfdtest.%u: a log", i);
	if (on && can_report(p))
		matrix(p, log_events);
	else if (on)
		skip("one that logs comes and goes", "this kernel cannot report logs: VFD_KERNEL=own can");
}

int main(void)
{
	struct plug plug = { 0 };

	matrix(&plug, plug_events);
	if (edu_find(&plug.edu)) {
		with_logs(&plug, true);
		with_logs(&plug, false);
		matrix(&plug, edu_events);
	} else {
		skip("a PCI device comes and goes", "no edu device is bound to vfio-pci");
	}
	return done();
}
