/* SPDX-License-Identifier: MIT */

/* QEMU's edu device behind the emulated VT-d: real DMA that type1 knows nothing about. What it may have written is deferred to the
 * final harvest, so the rounds before it send only what the CPU dirtied. */

#include "rig.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAPPED_PAGES = 512 + 512 + 451 + 509 };

/* The device reads the first half of a page of RAM and writes it to another. */
static void copy_page(struct edu *edu, uint64_t from, uint64_t to)
{
	edu_load(edu, RIG_IOVA + from * RIG_PAGE, EDU_MOST);
	edu_store(edu, RIG_IOVA + to * RIG_PAGE, EDU_MOST);
}

static void begin(struct rig *rig, struct edu *edu, struct vfd_plan *plan)
{
	rig_open(rig);
	ok_code(vfd_group_attach_device(rig->container, edu->name, &edu->group, &rig->err), 0, &rig->err,
		"attach the group of %s", edu->name);
	ok(vfd_group_number(edu->group) == edu->number, "it is group %d", edu->number);
	rig_map_all(rig);
	edu_open(edu, rig);
	ok_code(vfd_track_start(rig->container, NULL, plan, &rig->err), 0, &rig->err, "start tracking");
}

static struct pages mapped_pages(void)
{
	struct pages pages = { 0 };

	for (unsigned page = 0; page < RIG_PAGES; page++)
		if (page < 1475 || page >= 1539)
			pages.words[page / 64] |= UINT64_C(1) << page % 64;
	return pages;
}

static void ok_same(const struct pages *got, const struct pages *want, const char *what)
{
	unsigned lacking = pages_missing(want, got), more = pages_missing(got, want);

	ok(!lacking && !more, "%s: %u pages, %u lacking, %u too many", what, pages_count(got), lacking, more);
}

static void check_plan(const struct vfd_plan *plan, const struct edu *edu)
{
	char text[4096];
	size_t needed;

	ok(!plan->exact && plan->entry_count == 1 && plan->entries[0].source == VFD_SOURCE_DEFERRED,
	   "the plan: not exact, deferred");
	ok(plan->deferred_bytes == MAPPED_PAGES * RIG_PAGE, "%" PRIu64 " bytes deferred",
	   plan->deferred_bytes);
	ok(!vfd_plan_text(plan, text, sizeof text, &needed, NULL) && strstr(text, edu->name),
	   "its text names the device: %s", plan->entries[0].why);
}

static void deferred_until_the_end(struct edu *edu)
{
	struct vfd_plan plan = { .struct_size = sizeof plan };
	struct vfd_harvest harvest = { .struct_size = sizeof harvest };
	struct pages all = mapped_pages();
	struct rig rig;

	begin(&rig, edu, &plan);
	check_plan(&plan, edu);
	memset(rig.memory, 0x5a, RIG_PAGE);
	copy_page(edu, 0, 600);
	ok(rig.memory[600 * RIG_PAGE] == 0x5a && rig.memory[600 * RIG_PAGE + EDU_MOST - 1] == 0x5a,
	   "the device wrote RAM");
	ok_code(vfd_track_harvest(rig.container, 0, &harvest, &rig.err), 0, &rig.err, "a harvest");
	ok(!harvest.pages_new && harvest.deferred_bytes == MAPPED_PAGES * RIG_PAGE,
	   "it brings nothing, %" PRIu64 " bytes are deferred", harvest.deferred_bytes);
	uint64_t before = rig_calls();
	ok_code(vfd_group_detach(&edu->group, 0, &rig.err), VFD_EDIRTY, &rig.err, "detach now");
	ok(rig_calls() == before, "without a system call");
	ok_code(vfd_device_quiesce(edu->device, &rig.err), 0, &rig.err, "quiesce: bus mastering off");
	copy_page(edu, 0, 700);
	ok(rig.memory[700 * RIG_PAGE] == 0, "then it cannot write");
	ok_code(vfd_track_harvest(rig.container, VFD_HARVEST_FINAL, &harvest, &rig.err), 0, &rig.err,
		"the final harvest");
	ok(harvest.drained, "which drains");
	ok(harvest.assumed[VFD_WHY_NO_TRACKING] == MAPPED_PAGES,
	   "%" PRIu64 " pages assumed for want of tracking", harvest.assumed[VFD_WHY_NO_TRACKING]);
	struct pages log = rig_deliver(&rig);
	ok_same(&log, &all, "all that is mapped");
	ok_code(vfd_device_close(&edu->device, 0, &rig.err), 0, &rig.err, "close it");
	ok_code(vfd_group_detach(&edu->group, VFD_COLLECT, &rig.err), 0, &rig.err, "detach it");
	log = rig_deliver(&rig);
	ok(!pages_count(&log), "all-dirty is owed once (%u)", pages_count(&log));
	rig_close(&rig);
}

/* An emulated device beside it: exact again as soon as edu has left. */
static void leaves_before_the_other(struct edu *edu)
{
	struct pages all = mapped_pages(), want = { 0 };
	struct rig rig;

	begin(&rig, edu, NULL);
	ok_code(rig_attach(&rig, 0), 0, &rig.err, "a vfdtest device beside it");
	rig_open_device(&rig, 0);
	rig_write(0, 10, 1, 1);
	copy_page(edu, 0, 600);
	ok_code(vfd_group_detach(&edu->group, VFD_COLLECT, &rig.err), 0, &rig.err, "edu leaves");
	ok_code(vfd_track_harvest(rig.container, VFD_HARVEST_FINAL, NULL, &rig.err), 0, &rig.err,
		"what it left behind");
	struct pages log = rig_deliver(&rig);
	ok_same(&log, &all, "all that is mapped");
	rig_write(0, 64, 64, 2);
	want.words[1] = ~UINT64_C(0);
	ok_code(vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err), 0, &rig.err, "the last one leaves");
	log = rig_deliver(&rig);
	ok_same(&log, &want, "exact again");
	rig_close(&rig);
}

/* ---- a migration ---- */

struct sending {
	struct rig *rig;
	unsigned char *other_end;
	struct pages cpu; /* dirtied by the CPU in this round */
};

static void cpu_writes(struct sending *s, uint64_t page, uint64_t count, unsigned char value)
{
	memset(s->rig->memory + page * RIG_PAGE, value, (size_t)(count * RIG_PAGE));
	for (uint64_t i = page; i < page + count; i++)
		s->cpu.words[i / 64] |= UINT64_C(1) << i % 64;
}

/* Half of them by a bitmap, as KVM would give it, half by name. */
static void cpu_reports(struct sending *s)
{
	struct vfd_bitmap bitmap = {
		.struct_size = sizeof bitmap,
		.provenance = VFD_REPORTED,
		.address = RIG_LOG,
		.page_size = RIG_PAGE,
		.bits = RIG_PAGES / 2,
		.words = s->cpu.words,
		.who = "cpu",
	};

	ok_code(vfd_log_merge(s->rig->log, &bitmap, NULL, &s->rig->err), 0, &s->rig->err,
		"merge the CPU's pages");
	for (uint64_t page = RIG_PAGES / 2; page < RIG_PAGES; page++)
		if (s->cpu.words[page / 64] >> page % 64 & 1)
			vfd_log_mark(s->rig->log, RIG_LOG + page * RIG_PAGE, RIG_PAGE, &s->rig->err);
}

static struct pages send(struct sending *s)
{
	struct pages pages = rig_deliver(s->rig);

	for (uint64_t page = 0; page < RIG_PAGES; page++)
		if (pages.words[page / 64] >> page % 64 & 1)
			memcpy(s->other_end + page * RIG_PAGE, s->rig->memory + page * RIG_PAGE, RIG_PAGE);
	return pages;
}

static void round_of(struct sending *s, struct edu *edu, unsigned number)
{
	s->cpu = (struct pages){ 0 };
	cpu_writes(s, number * 50, 20, (unsigned char)(number + 1));
	cpu_writes(s, 1600 + number * 30, 7, (unsigned char)(number + 2));
	copy_page(edu, number * 50, 1000 + number);
	cpu_reports(s);
	ok_code(vfd_track_harvest(s->rig->container, 0, NULL, &s->rig->err), 0, &s->rig->err, "round %u",
		number);
	struct pages sent = send(s);
	ok_same(&sent, &s->cpu, "only what the CPU dirtied");
}

static void migration(struct edu *edu)
{
	struct rig rig;
	struct sending s = { .rig = &rig, .other_end = calloc(RIG_PAGES, RIG_PAGE) };
	struct pages all = mapped_pages();

	begin(&rig, edu, NULL);
	ok_code(vfd_mark_initial(vfd_log_consumer(rig.log), &rig.err), 0, &rig.err, "the first full copy");
	struct pages sent = send(&s);
	ok(pages_count(&sent) == RIG_PAGES, "all of the region");
	for (unsigned i = 1; i <= 4; i++)
		round_of(&s, edu, i);
	ok(memcmp(rig.memory, s.other_end, RIG_PAGES * RIG_PAGE) != 0, "what edu wrote is not there yet");
	ok_code(vfd_device_quiesce(edu->device, &rig.err), 0, &rig.err, "pause edu");
	ok_code(vfd_track_harvest(rig.container, VFD_HARVEST_FINAL, NULL, &rig.err), 0, &rig.err,
		"the last round");
	sent = send(&s);
	ok_same(&sent, &all, "all that is mapped, once");
	ok_code(vfd_container_close(&rig.container, VFD_COLLECT, &rig.err), 0, &rig.err, "close");
	sent = send(&s);
	ok(!pages_count(&sent), "and nothing after it");
	ok(!memcmp(rig.memory, s.other_end, RIG_PAGES * RIG_PAGE), "memory is identical at the other end");
	free(s.other_end);
	rig_close(&rig);
}

int main(void)
{
	struct edu edu = { 0 };

	if (!edu_find(&edu)) {
		ok(false, "no edu device is bound to vfio-pci: run with --device edu --bind 1234:11e8");
		return done();
	}
	deferred_until_the_end(&edu);
	leaves_before_the_other(&edu);
	migration(&edu);
	return done();
}
