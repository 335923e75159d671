/* SPDX-License-Identifier: MIT */

/* Unmapping while the device writes and pins, and while the kernel's unlocked window in the middle of it is held open. */

#include "emulated.h"

#include <pthread.h>
#include <unistd.h>

static void under_a_writer(void)
{
	struct rig rig;

	rig_begin(&rig);
	rig_pin(0, 520, 6);
	rig_pin(0, 1030, 2);
	rig_run(0, 0, 2000, 31);
	usleep(20000);
	ok_code(rig_unmap(&rig, 512, 512), 0, &rig.err, "unmap a mapping with pins, under a writer");
	ok_code(rig_unmap(&rig, 1024, 1024), 0, &rig.err, "unmap two mappings and a hole");
	usleep(20000);
	ok_code(rig_map(&rig, 512, 512, RIG_RW), 0, &rig.err, "map again at the same address");
	usleep(20000);
	ok_code(vfd_unmap_all(rig.container, &rig.err), 0, &rig.err, "unmap all");
	rig_halt(0);
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, "unmapped under a writer");
	rig_close(&rig);
}

struct harvester {
	struct rig *rig;
	volatile bool end;
	unsigned rounds;
	int rc;
};

static void *harvest_on(void *arg)
{
	struct harvester *h = arg;
	struct vfd_error err;

	while (!h->end && !h->rc) {
		h->rc = vfd_track_harvest(h->rig->container, 0, NULL, &err);
		h->rounds++;
	}
	return NULL;
}

/* Another thread harvests, and a third asks to stop: the library must keep both out of the window. */
static void *stop_now(void *arg)
{
	struct rig *rig = arg;
	struct vfd_error err;

	usleep(30000);
	return (void *)(intptr_t)vfd_track_stop(rig->container, VFD_COLLECT, &err);
}

static void in_the_window(void)
{
	struct harvester h = { 0 };
	pthread_t harvester, stopper;
	struct rig rig;
	void *rc;

	rig_begin(&rig);
	rig_pin(0, 520, 6);
	rig_write(0, 600, 9, 1);
	rig_write(0, 90, 9, 1);
	rig_set(0, VFDTEST_UNMAP_DELAY_MS, 100);
	h.rig = &rig;
	pthread_create(&harvester, NULL, harvest_on, &h);
	usleep(10000);
	pthread_create(&stopper, NULL, stop_now, &rig);
	ok_code(rig_unmap(&rig, 512, 512), 0, &rig.err, "unmap with its window held open for 100 ms");
	pthread_join(stopper, &rc);
	h.end = true;
	pthread_join(harvester, NULL);
	rig_set(0, VFDTEST_UNMAP_DELAY_MS, 0);
	ok(rc == (void *)(intptr_t)VFD_EDIRTY, "stop waited for it, then refused: the device can write (%ld)",
	   (long)(intptr_t)rc);
	ok(!h.rc && h.rounds, "harvests went on: %u", h.rounds);
	vfd_device_close(&rig.devices[0], VFD_COLLECT, &rig.err);
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, "held window");
	rig_close(&rig);
}

static void *open_now(void *arg)
{
	usleep(30000);
	return (void *)(intptr_t)rig_open_device(arg, 1);
}

/* To open a device the kernel takes two locks in the other order than drivers do that unpin for an unmap: it would hang for ever. */
static void opened_in_the_window(void)
{
	pthread_t opener;
	struct rig rig;
	void *rc;

	rig_begin(&rig);
	ok_code(rig_attach(&rig, 1), 0, &rig.err, "a second group");
	rig_pin(0, 520, 6);
	rig_set(0, VFDTEST_UNMAP_DELAY_MS, 100);
	pthread_create(&opener, NULL, open_now, &rig);
	ok_code(rig_unmap(&rig, 512, 512), 0, &rig.err, "unmap, while another thread opens a device");
	pthread_join(opener, &rc);
	rig_set(0, VFDTEST_UNMAP_DELAY_MS, 0);
	ok(!rc && rig_status(1).open, "opened in that window: after it");
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, "unmapped meanwhile");
	rig_close(&rig);
}

/* The kernel marks what a device pins of a read-only mapping; nobody can have written it. */
static void read_only(void)
{
	struct rig rig;

	rig_open(&rig);
	rig_attach(&rig, 0);
	vfd_track_start(rig.container, NULL, NULL, &rig.err);
	rig_map(&rig, 0, 64, VFD_MAP_READ);
	rig_map(&rig, 64, 64, RIG_RW);
	rig_open_device(&rig, 0);
	struct vfdtest_range pin = { .iova = RIG_IOVA, .size = 8 * RIG_PAGE };
	ok(!rig_command(VFDTEST_PIN, &pin), "pin part of a read-only mapping");
	rig_write(0, 70, 3, 1);
	ok_code(vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err), 0, &rig.err, "detach");
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, "read-only mapping");
	rig_close(&rig);
}

void test_unmap(void)
{
	under_a_writer();
	in_the_window();
	opened_in_the_window();
	read_only();
}
