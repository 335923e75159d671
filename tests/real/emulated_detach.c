/* SPDX-License-Identifier: MIT */

/* The rule: detaching the last group is refused, or collects, or discards by name; it never drops. */

#include "emulated.h"

#include <time.h>
#include <unistd.h>

static bool tracking(struct rig *rig)
{
	struct vfd_container_info info = { .struct_size = sizeof info };

	return !vfd_container_info(rig->container, &info, &rig->err) && info.tracking;
}

static void refused(void)
{
	struct rig rig;

	rig_begin(&rig);
	rig_write(0, 7, 3, 1);
	ok(!vfd_track_harvest(rig.container, VFD_HARVEST_FINAL, NULL, &rig.err),
	   "harvest a device that runs but idles");
	uint64_t before = rig_calls();
	ok_code(vfd_group_detach(&rig.groups[0], 0, &rig.err), VFD_EDIRTY, &rig.err,
		"detach while the device could write");
	ok_code(vfd_device_close(&rig.devices[0], 0, &rig.err), VFD_EDIRTY, &rig.err, "close of that device");
	ok_code(vfd_track_stop(rig.container, 0, &rig.err), VFD_EDIRTY, &rig.err,
		"stop while the device could write");
	ok(vfd_container_close(&rig.container, 0, &rig.err) < -4095, "close of that container is refused");
	ok(rig_calls() == before, "refusals make no system call (%llu)",
	   (unsigned long long)(rig_calls() - before));
	ok(tracking(&rig), "tracking is still on");
	rig_write(0, 700, 2, 2);
	ok_code(vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err), 0, &rig.err,
		"the same with VFD_COLLECT");
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, "after the refusals");
	rig_close(&rig);
}

static void accepted_when_drained(void)
{
	struct vfd_harvest harvest = { .struct_size = sizeof harvest };
	struct rig rig;

	rig_begin(&rig);
	rig_pin(0, 10, 4);
	rig_write(0, 100, 40, 1);
	ok_code(vfd_device_quiesce(rig.devices[0], &rig.err), 0, &rig.err, "quiesce by reset");
	ok(!vfd_track_harvest(rig.container, 0, &harvest, &rig.err) && harvest.drained,
	   "a harvest after it says drained");
	ok_code(vfd_device_close(&rig.devices[0], 0, &rig.err), 0, &rig.err,
		"close of a quiesced, harvested device");
	ok_code(vfd_group_detach(&rig.groups[0], 0, &rig.err), 0, &rig.err, "detach when drained");
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, "drained, then detached");
	rig_close(&rig);
}

/* A free-running writer and pins, straight into the detach. */
static void collects(void)
{
	struct rig rig;

	rig_begin(&rig);
	rig_pin(0, 1600, 5);
	rig_run(0, 0, 1400, 11);
	usleep(100000);
	ok_code(vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err), 0, &rig.err,
		"detach with VFD_COLLECT under a writer");
	struct pages truth = rig_truth(&rig), log = rig_owed(&rig);
	ok_exact(&log, &truth, "group gone");
	ok_code(vfd_container_close(&rig.container, 0, &rig.err), 0, &rig.err,
		"close of a detached container");
	log = rig_deliver(&rig);
	ok_exact(&log, &truth, "container gone");
	rig_close(&rig);
}

/* It writes until it is closed, after the first look at the record: the second look finds that. */
static void collects_from_restless(void)
{
	struct rig rig;

	rig_set(0, VFDTEST_RESET, 0);
	rig_begin(&rig);
	struct vfdtest_run run = {
		.iova = RIG_IOVA, .size = RIG_PAGES * RIG_PAGE, .seed = 3, .period_ns = 100
	};
	rig_command(VFDTEST_RUN, &run);
	usleep(20000);
	ok_code(vfd_device_quiesce(rig.devices[0], &rig.err), VFD_EUNSUPPORTED, &rig.err,
		"a device without reset");
	ok_code(vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err), 0, &rig.err,
		"detach it with VFD_COLLECT");
	rig_set(0, VFDTEST_RESET, 1);
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, "a device that cannot be quiesced");
	rig_close(&rig);
}

static void discards(void)
{
	struct rig rig;

	rig_begin(&rig);
	rig_pin(0, 10, 4);
	rig_write(0, 100, 40, 1);
	ok_code(vfd_group_detach(&rig.groups[0], VFD_DISCARD, &rig.err), 0, &rig.err,
		"detach with VFD_DISCARD");
	struct pages log = rig_deliver(&rig);
	ok(!pages_count(&log), "discard: none in the log (%u)", pages_count(&log));
	rig_close(&rig);
}

/* One cycle of a container that stays: attach replays the mappings. */
static bool cycle(struct rig *rig, unsigned number, unsigned *lost, unsigned *added)
{
	if (rig_attach(rig, 0) || rig_open_device(rig, 0))
		return false;
	rig_write(0, number * 13 % 1000, 1 + number % 9, number);
	rig_pin(0, 1539 + number % 500, 2);
	if (number % 3 && vfd_track_harvest(rig->container, 0, NULL, &rig->err))
		return false;
	rig_write(0, number * 31 % 1400, 5, number);
	if (vfd_group_detach(&rig->groups[0], VFD_COLLECT, &rig->err))
		return false;
	struct pages log = rig_deliver(rig), truth = rig_truth(rig);
	*lost += pages_missing(&truth, &log);
	*added += pages_missing(&log, &truth);
	return pages_count(&truth) > 0;
}

static void hundred_cycles(void)
{
	unsigned lost = 0, added = 0, cycles = 0;
	struct rig rig;

	rig_open(&rig);
	rig_map_all(&rig);
	ok_code(vfd_track_start(rig.container, NULL, NULL, &rig.err), 0, &rig.err,
		"tracking before the first attach");
	while (cycles < 100 && cycle(&rig, cycles, &lost, &added))
		cycles++;
	ok(cycles == 100 && !lost && !added,
	   "attach, write, harvest, detach: %u cycles, %u lost, %u added%s%s", cycles, lost, added,
	   cycles < 100 ? ": " : "", cycles < 100 ? rig.err.message : "");
	rig_close(&rig);
}

/* Harvest as fast as possible while the device writes as fast as it can. */
static void harvest_loop(void)
{
	struct pages all = { 0 };
	struct rig rig;
	uint64_t gets = rig_gets();
	time_t end = time(NULL) + 2, latest = end + 30; /* the debug kernel is slow */

	rig_begin(&rig);
	struct vfdtest_run run = { .iova = RIG_IOVA, .size = RIG_PAGES * RIG_PAGE, .seed = 3 };
	rig_command(VFDTEST_RUN, &run);
	while (time(NULL) < end || (rig_gets() - gets <= 1000 && time(NULL) < latest)) {
		if (vfd_track_harvest(rig.container, 0, NULL, &rig.err))
			break;
		struct pages part = rig_deliver(&rig);
		for (int j = 0; j < RIG_WORDS; j++)
			all.words[j] |= part.words[j];
	}
	ok_code(vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err), 0, &rig.err,
		"detach after harvests under full fire");
	struct pages last = rig_deliver(&rig), truth = rig_truth(&rig);
	for (int j = 0; j < RIG_WORDS; j++)
		all.words[j] |= last.words[j];
	ok_exact(&all, &truth, "free-running writer");
	ok(rig_gets() - gets > 1000, "%llu GET_BITMAPs, %llu writes", (unsigned long long)(rig_gets() - gets),
	   (unsigned long long)rig_halt(0));
	rig_close(&rig);
}

void test_detach(void)
{
	refused();
	accepted_when_drained();
	collects();
	collects_from_restless();
	discards();
	hundred_cycles();
	harvest_loop();
}
