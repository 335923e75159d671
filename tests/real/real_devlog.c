/* SPDX-License-Identifier: MIT */

/* Devices that log their own DMA, where the container's record says "everything": beside a physical group, edu's. Needs a kernel that can
 * report: tests/kernel/README.md. */

#include "rig.h"
#include "rig_edu.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct edu edu;

enum { MAPPED = 2048 };

/* edu's driver pins all that it writes: nothing. So what vfdtest.0 logs is all there is to know. */
static void begin(struct rig *rig)
{
	rig_open(rig);
	ok_code(vfd_group_attach(rig->container, edu.number, &edu.group, &rig->err), 0, &rig->err,
		"attach group %d", edu.number);
	edu_open(rig, &edu);
	ok_code(vfd_device_pins_all(edu.device, &rig->err), 0, &rig->err, "edu pins all");
	ok_code(rig_attach(rig, 0), 0, &rig->err, "attach vfdtest.0");
	ok_code(rig_open_device(rig, 0), 0, &rig->err, "open vfdtest.0");
}

static struct vfd_plan plan_of(struct rig *rig)
{
	struct vfd_plan plan = { .struct_size = sizeof plan };
	char text[2048];

	ok_code(vfd_track_plan(rig->container, &plan, &rig->err), 0, &rig->err, "the plan");
	vfd_plan_text(&plan, text, sizeof text, NULL, NULL);
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		printf("# %s\n", line);
	return plan;
}

static bool start(struct rig *rig)
{
	ok_code(vfd_track_start(rig->container, NULL, NULL, &rig->err), 0, &rig->err, "start");
	struct vfd_plan plan = plan_of(rig);
	bool logs = false;
	for (unsigned i = 0; i < plan.entry_count; i++)
		logs |= plan.entries[i].source == VFD_SOURCE_DEVLOG;
	return ok(logs && plan.exact && !plan.deferred_bytes, "exact, by the device's log");
}

static void harvest(struct rig *rig, unsigned flags)
{
	ok_code(vfd_track_harvest(rig->container, flags, NULL, &rig->err), 0, &rig->err, "harvest");
}

/* A writer at work while rounds go by, stopped before the last: page for page. */
static void exact(void)
{
	struct rig rig;
	struct pages log = { 0 };

	begin(&rig);
	rig_map_all(&rig);
	start(&rig);
	rig_run(0, 0, MAPPED, 7);
	for (int round = 0; round < 20; round++) {
		rig_await_writes(50);
		vfd_track_harvest(rig.container, 0, NULL, &rig.err);
		struct pages part = rig_deliver(&rig);
		for (unsigned i = 0; i < RIG_WORDS; i++)
			log.words[i] |= part.words[i];
	}
	ok(rig_halt(0) >= 1000, "it wrote");
	harvest(&rig, VFD_HARVEST_FINAL);
	struct pages part = rig_deliver(&rig), truth = rig_truth(&rig);
	for (unsigned i = 0; i < RIG_WORDS; i++)
		log.words[i] |= part.words[i];
	ok_exact(&log, &truth, "20 rounds beside a writer");
	rig_write(0, 1000, 3, 5);
	harvest(&rig, 0);
	log = rig_deliver(&rig);
	truth = rig_truth(&rig);
	ok_exact(&log, &truth, "three pages");
	rig_close(&rig);
}

/* Mappings come and go under the writer; what it wrote there until the unmap is in the log. */
static void churn(void)
{
	struct rig rig;

	begin(&rig);
	for (uint64_t page = 0; page < MAPPED; page += 32)
		ok_code(rig_map(&rig, page, 32, RIG_RW), 0, &rig.err, "map");
	start(&rig);
	rig_run(0, 0, MAPPED, 8);
	for (unsigned i = 0; i < 200; i++) {
		uint64_t page = i * 7 % 64 * 32;
		int rc = rig_unmap(&rig, page, 32);
		if (!rc)
			rc = rig_map(&rig, page, 32, RIG_RW);
		if (rc)
			ok_code(rc, 0, &rig.err, "unmap and map page %u", (unsigned)page);
	}
	rig_halt(0);
	harvest(&rig, VFD_HARVEST_FINAL);
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, "200 mappings went and came beside a writer");
	rig_close(&rig);
}

/* It logs 16 pages at a time, and takes 4 ranges: of many. */
static void coarse(void)
{
	struct rig rig;

	rig_set(0, VFDTEST_LOG_PAGE_SIZE, 16 * RIG_PAGE);
	rig_set(0, VFDTEST_LOG_RANGES, 4);
	begin(&rig);
	for (uint64_t page = 5; page < 1000; page += 50)
		ok_code(rig_map(&rig, page, 11, RIG_RW), 0, &rig.err, "map");
	start(&rig);
	rig_write(0, 5, 1, 9);
	rig_write(0, 515, 1, 9);
	harvest(&rig, VFD_HARVEST_FINAL);
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_nothing_lost(&log, &truth, "pages of 64 KiB");
	ok(pages_count(&log) <= 32, "not more than two of those pages: %u", pages_count(&log));
	rig_close(&rig);
	rig_set(0, VFDTEST_LOG_PAGE_SIZE, RIG_PAGE);
	rig_set(0, VFDTEST_LOG_RANGES, VFDTEST_LOG_RANGES_MAX);
}

/* 64 pages are read and forgotten together, and only within one range. */
static void words_at_a_time(void)
{
	struct rig rig;

	rig_set(0, VFDTEST_LOG_QUIRKS, VFDTEST_LOG_ONE_RANGE | VFDTEST_LOG_WORDS);
	begin(&rig);
	for (uint64_t page = 3; page < 1900; page += 37)
		ok_code(rig_map(&rig, page, 37, RIG_RW), 0, &rig.err, "map");
	start(&rig);
	rig_write(0, 3, 1800, 9);
	ok_code(rig_unmap(&rig, 3 + 37 * 5, 37), 0, &rig.err, "unmap");
	ok_code(vfd_track_harvest_range(rig.container, RIG_IOVA + 400 * RIG_PAGE, RIG_IOVA + 800 * RIG_PAGE,
					NULL, &rig.err),
		0, &rig.err, "harvest a part");
	harvest(&rig, VFD_HARVEST_FINAL);
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, "64 pages at a time");
	rig_close(&rig);
	rig_set(0, VFDTEST_LOG_QUIRKS, 0);
}

static void report_fails(void)
{
	struct rig rig;

	begin(&rig);
	rig_map_all(&rig);
	start(&rig);
	rig_write(0, 100, 50, 3);
	rig_set(0, VFDTEST_LOG_FAIL_AFTER, 20);
	ok_code(vfd_track_harvest(rig.container, 0, NULL, &rig.err), -EIO, &rig.err, "REPORT fails");
	struct vfd_plan plan = plan_of(&rig);
	ok(!plan.exact && plan.deferred_bytes, "all that is mapped is owed at the end");
	harvest(&rig, 0);
	struct pages early = rig_deliver(&rig);
	ok(pages_count(&early) <= 20, "not before: %u pages", pages_count(&early));
	harvest(&rig, VFD_HARVEST_FINAL);
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_nothing_lost(&log, &truth, "a log that failed");
	rig_set(0, VFDTEST_LOG_FAIL_AFTER, VFDTEST_LOG_NEVER);
	ok_code(vfd_track_start(rig.container, NULL, NULL, &rig.err), 0, &rig.err, "start again");
	rig_close(&rig);
}

/* Its reset ends its log, and it has nothing else to be made silent by: all that it can write is owed. */
static void closed(void)
{
	struct rig rig;

	begin(&rig);
	rig_map_all(&rig);
	start(&rig);
	rig_run(0, 0, 512, 4);
	usleep(50000);
	ok_code(vfd_device_close(&rig.devices[0], VFD_COLLECT, &rig.err), 0, &rig.err,
		"closed while it writes");
	harvest(&rig, VFD_HARVEST_FINAL);
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_nothing_lost(&log, &truth, "closed while it writes");
	rig_close(&rig);
}

/* One in the container that neither logs nor pins: nothing can be said of any. */
static void beside_a_silent_one(void)
{
	struct rig rig;

	begin(&rig);
	rig_map_all(&rig);
	ok_code(rig_attach(&rig, 1), 0, &rig.err, "attach vfdtest.1");
	ok_code(rig_open_device(&rig, 1), 0, &rig.err, "open vfdtest.1");
	ok_code(vfd_track_start(rig.container, NULL, NULL, &rig.err), 0, &rig.err, "start");
	struct vfd_plan plan = plan_of(&rig);
	ok(!plan.exact && plan.deferred_bytes, "deferred");
	rig_write(0, 1, 5, 3);
	rig_write(1, 900, 5, 3);
	harvest(&rig, VFD_HARVEST_FINAL);
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_nothing_lost(&log, &truth, "beside one that neither logs nor pins");
	rig_close(&rig);
}

/* ---- every combination of three kinds ---- */

enum { LOGGING = 1, PLAIN = 2, SILENT = 4 };

static void add_kinds(struct rig *rig, unsigned kinds)
{
	if (kinds & SILENT) {
		ok_code(vfd_group_attach(rig->container, edu.number, &edu.group, &rig->err), 0, &rig->err,
			"attach edu");
		edu_open(rig, &edu);
	}
	for (unsigned i = 0; i < 2; i++)
		if (kinds >> i & 1)
			ok(!rig_attach(rig, i) && !rig_open_device(rig, i), "attach and open vfdtest.%u", i);
	rig_map_all(rig);
}

/* In words: who tells of each, and what is deferred. */
static bool is_told(const struct vfd_plan *plan, unsigned kinds)
{
	char text[2048];

	vfd_plan_text(plan, text, sizeof text, NULL, NULL);
	bool told = !(kinds & SILENT) || (strstr(text, edu.name) && strstr(text, "deferred to the last"));
	told &= !(kinds & LOGGING) || strstr(text, "vfdtest.0");
	told &= !(kinds & PLAIN) || strstr(text, "vfdtest.1");
	told &= kinds != (LOGGING | SILENT) || strstr(text, "device log, 4096 bytes a bit");
	return told && (kinds & SILENT || (strstr(text, "type1 record") && !strstr(text, "deferred")));
}

static void combination(unsigned kinds)
{
	struct rig rig;
	char what[80];

	snprintf(what, sizeof what, "together:%s%s%s", kinds & LOGGING ? " one that logs" : "",
		 kinds & PLAIN ? " a plain one" : "", kinds & SILENT ? " edu" : "");
	rig_open(&rig);
	add_kinds(&rig, kinds);
	ok_code(vfd_track_start(rig.container, NULL, NULL, &rig.err), 0, &rig.err, "%s: start", what);
	struct vfd_plan plan = plan_of(&rig);
	ok(is_told(&plan, kinds) && !plan.exact == !!(kinds & SILENT), "%s: the plan says so", what);
	rig_write(0, 100, 30, 3); /* who is not there does not write */
	rig_write(1, 900, 30, 3);
	if (kinds & SILENT)
		edu_copy(&edu, 0, 1600);
	harvest(&rig, VFD_HARVEST_FINAL);
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	if (kinds & SILENT)
		truth.words[1600 / 64] |= UINT64_C(1) << 1600 % 64;
	if (plan.exact)
		ok_exact(&log, &truth, what);
	else
		ok_nothing_lost(&log, &truth, what);
	rig_close(&rig);
}

/* Until the instant it is closed, and nothing can make it silent before: all that it may write is assumed. */
static void closed_at_work(void)
{
	struct rig rig;

	rig_set(0, VFDTEST_RESET, 0);
	begin(&rig);
	rig_map_all(&rig);
	start(&rig);
	rig_run(0, 0, 512, 4);
	usleep(50000);
	ok_code(vfd_device_quiesce(rig.devices[0], &rig.err), VFD_EUNSUPPORTED, &rig.err, "it has no reset");
	ok_code(vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err), 0, &rig.err, "detached at work");
	harvest(&rig, VFD_HARVEST_FINAL);
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_nothing_lost(&log, &truth, "detached at work");
	ok(pages_count(&log) == 512 + 512 + 451 + 509, "all that it may write: %u pages", pages_count(&log));
	rig_close(&rig);
	rig_set(0, VFDTEST_RESET, 1);
}

/* Kernels without the helper start a log that they cannot report. */
static bool can_report(void)
{
	struct rig rig;
	struct vfd_plan plan = { .struct_size = sizeof plan };
	bool can = false;

	begin(&rig);
	rig_map_all(&rig);
	vfd_track_start(rig.container, NULL, &plan, &rig.err);
	for (unsigned i = 0; i < plan.entry_count; i++)
		can |= plan.entries[i].source == VFD_SOURCE_DEVLOG;
	if (!can)
		ok(plan.deferred_bytes > 0, "what cannot be read is deferred");
	rig_close(&rig);
	return can;
}

int main(void)
{
	if (!ok(edu_find(&edu), "an edu device is bound to vfio-pci"))
		return done();
	ok(!rig_set(0, VFDTEST_LOG, 1), "vfdtest.0 keeps a log");
	if (!can_report()) {
		skip("device logs", "this kernel starts them, but cannot report: VFD_KERNEL=own can");
		return done();
	}
	exact();
	churn();
	coarse();
	words_at_a_time();
	report_fails();
	closed();
	beside_a_silent_one();
	closed_at_work();
	for (unsigned kinds = 1; kinds < 8; kinds++)
		combination(kinds);
	return done();
}
