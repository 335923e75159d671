/* SPDX-License-Identifier: MIT */

/* Devices' logs and mappings that come after them: placed where the logs look, or the logs are started anew, paused or not. Nothing is
 * lost at any step, and nothing is assumed but what was written into no record. */

#include "fixture.h"

#include <endian.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <string.h>

#include "uapi.h"

#define OTHER	"0000:00:02.0"
#define STARTS	(UAPI_FEATURE_SET | UAPI_FEATURE_LOG_START)
#define REPORTS (UAPI_FEATURE_GET | UAPI_FEATURE_LOG_REPORT)
#define STOPS	(UAPI_FEATURE_SET | UAPI_FEATURE_LOG_STOP)

enum { MAPPED = 512, NEW = 4096, NEW_PAGES = 16, NEW_MEMORY = 600 }; /* pages */

static struct fixture fixture, *f = &fixture;
static struct model_log how, other_how;

static const struct model_config logging = {
	.group_count = 2,
	.groups = { { .number = 20,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = PCI_NAME, .pci = true, .log = &how } } },
		    { .number = 21,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = OTHER, .pci = true, .log = &other_how } } } },
};

/* Not all that may be mapped, as with most devices: what is mapped. */
static void reset_how(void)
{
	how = (struct model_log){ .total_limit = 1024 * PAGE };
	other_how = (struct model_log){ 0 };
}

static void master_on(struct vfd_device *device)
{
	uint16_t command = htole16(PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);

	OK(vfd_device_write(device, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2, &f->err));
}

static void open_one(uint64_t iova)
{
	fixture_begin(f, &logging);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	OK(map_pages(f, iova, 0, MAPPED / 2, RW));
	OK(map_pages(f, iova + MAPPED / 2, MAPPED / 2, MAPPED / 2, RW));
	master_on(f->device);
}

static void track_one(uint64_t iova)
{
	open_one(iova);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
}

static void track_two(void)
{
	open_one(0);
	OK(vfd_group_attach(f->container, 21, &f->group2, &f->err));
	OK(vfd_device_open(f->group2, OTHER, &f->device2, &f->err));
	master_on(f->device2);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
}

static void map_new(void)
{
	OK(map_pages(f, NEW, NEW_MEMORY, NEW_PAGES, RW));
}

static void writes(const char *device, uint64_t page)
{
	ck_assert_int_eq(model_dma_write(f->model, device, page * PAGE, PAGE, page), 0);
}

static struct vfd_count count_of(void)
{
	struct vfd_count count;

	OK(vfd_consumer_count(vfd_log_consumer(f->log), 0, UINT64_MAX, &count, &f->err));
	return count;
}

static uint64_t owed_pages(void)
{
	return count_of().owed;
}

static struct vfd_rearm rearm(uint32_t flags, uint64_t least, uint64_t budget, int rc)
{
	struct vfd_rearm_options options = {
		.struct_size = sizeof options, .flags = flags, .unarmed_bytes = least, .budget = budget
	};
	struct vfd_rearm result = { .struct_size = sizeof result };
	int got = vfd_track_rearm(f->container, &options, &result, &f->err);

	ck_assert_msg(got == rc, "%s, not %s: %s", vfd_strcode(got), vfd_strcode(rc), f->err.message);
	return result;
}

/* All is in the log at the end: nothing is held, and nothing owed. */
static void end(void)
{
	check_device_law(f, PCI_NAME);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_device_logged(f, PCI_NAME);
	fixture_end(f);
}

static void fault(uint32_t feature, int error, uint64_t nth, uint64_t times)
{
	model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
						    .request = VFIO_DEVICE_FEATURE,
						    .file = MODEL_FILE_DEVICE,
						    .flags = feature,
						    .nth = nth,
						    .times = times,
						    .error = error });
}

/* ---- where the logs look ---- */

static uint64_t placed_at(uint64_t memory, uint64_t count)
{
	struct vfd_mapping mapping = { .struct_size = sizeof mapping,
				       .flags = RW,
				       .size = count * PAGE,
				       .memory = f->memory + memory * PAGE };

	OK(vfd_map_anywhere(f->container, &mapping, NULL, &f->err));
	return mapping.iova / PAGE;
}

/* Lower addresses are free, but no log looks there. */
START_TEST(placed_where_it_looks)
{
	track_one(1024);
	OK(unmap_pages(f, 1024 + MAPPED / 2, MAPPED / 2));
	ck_assert_uint_eq(placed_at(MAPPED, 16), 1024 + MAPPED / 2);
	ck_assert_uint_eq(plan_of(f).unarmed_bytes, 0);
	writes(PCI_NAME, 1024 + MAPPED / 2);
	OK(harvest(f, 0));
	ck_assert_uint_eq(owed_pages(), 1);
	ck_assert_uint_lt(placed_at(600, 300), 1024); /* no room there */
	ck_assert_uint_eq(plan_of(f).unarmed_bytes, 300 * PAGE);
	end();
}
END_TEST

/* What its log watches lies above all that is wished for. */
START_TEST(placed_below_what_it_looks_at)
{
	const struct vfd_placement low = { .struct_size = sizeof low,
					   .first = 16 * PAGE,
					   .last = 100 * PAGE - 1 };
	struct vfd_mapping mapping = { .struct_size = sizeof mapping, .flags = RW, .size = 16 * PAGE };

	track_one(1024);
	mapping.memory = f->memory + MAPPED * PAGE;
	OK(unmap_pages(f, 1024 + MAPPED / 2, MAPPED / 2));
	OK(vfd_map_anywhere(f->container, &mapping, &low, &f->err));
	ck_assert_uint_lt(mapping.iova / PAGE, 100);
	ck_assert_uint_eq(plan_of(f).unarmed_bytes, 16 * PAGE);
	end();
}
END_TEST

/* One looks everywhere, one where something is mapped: what both have. */
START_TEST(placed_where_both_look)
{
	open_one(1024);
	OK(vfd_group_attach(f->container, 21, &f->group2, &f->err));
	OK(vfd_device_open(f->group2, OTHER, &f->device2, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(unmap_pages(f, 1024, MAPPED / 2));
	ck_assert_uint_eq(placed_at(0, 16), 1024);
	ck_assert_uint_eq(plan_of(f).unarmed_bytes, 0);
	end();
}
END_TEST

/* ---- paused ---- */

static void pause_and_map(void)
{
	OK(vfd_device_quiesce(f->device, &f->err));
	map_new();
	ck_assert_uint_eq(plan_of(f).unarmed_bytes, 0); /* it cannot be written */
}

static void write_and_count(uint64_t pages)
{
	writes(PCI_NAME, NEW + 3);
	writes(PCI_NAME, 7);
	check_device_law(f, PCI_NAME);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(owed_pages(), pages);
	ck_assert_uint_eq(reported(f), pages);
}

START_TEST(resumed)
{
	track_one(0);
	writes(PCI_NAME, 3); /* not read before it is paused */
	pause_and_map();
	OK(vfd_device_resume(f->device, &f->err));
	ck_assert_uint_eq(plan_of(f).rearms, 1);
	ck_assert_uint_eq(plan_of(f).deferred_bytes, 0);
	write_and_count(3);
	end();
}
END_TEST

/* Its log looks there already. */
START_TEST(nothing_to_do)
{
	track_one(0);
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(unmap_pages(f, 0, MAPPED / 2));
	OK(map_pages(f, 8, NEW_MEMORY, 8, RW));
	model_trace_start(f->model);
	OK(vfd_device_resume(f->device, &f->err));
	size_t calls, starts = 0;
	const struct model_trace *trace = model_trace(f->model, &calls);
	for (size_t i = 0; i < calls; i++)
		starts += trace[i].request == VFIO_DEVICE_FEATURE;
	ck_assert_uint_eq(starts, 0);
	ck_assert_uint_eq(rearm(VFD_REARM_RUNNING, 0, 0, 0).rearmed, 0);
	ck_assert_uint_eq(plan_of(f).rearms, 0);
	end();
}
END_TEST

START_TEST(asked_for)
{
	track_one(0);
	pause_and_map();
	struct vfd_rearm did = rearm(0, 0, 0, 0);
	ck_assert_uint_eq(did.rearmed, 1);
	ck_assert_uint_eq(did.running, 0);
	ck_assert_uint_eq(did.assumed_bytes, 0);
	ck_assert_uint_eq(did.unarmed_bytes, 0);
	master_on(f->device);
	write_and_count(2);
	end();
}
END_TEST

/* Woken by a write to its registers: from then on the mapping is unarmed. */
START_TEST(woken_without)
{
	char text[1024];

	track_one(0);
	pause_and_map();
	master_on(f->device);
	struct vfd_plan plan = plan_of(f);
	ck_assert_uint_eq(plan.unarmed_bytes, NEW_PAGES * PAGE);
	ck_assert_uint_eq(plan.deferred_bytes, NEW_PAGES * PAGE);
	OK(vfd_plan_text(&plan, text, sizeof text, NULL, &f->err));
	ck_assert_msg(strstr(text, "64 KiB unarmed"), "%s", text);
	writes(PCI_NAME, NEW + 3);
	check_device_law(f, PCI_NAME);
	OK(harvest(f, 0));
	ck_assert_uint_eq(owed_pages(), 0);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(owed_pages(), NEW_PAGES);
	end();
}
END_TEST

/* It was written to while no log looked: that stays owed, once. */
START_TEST(written_before)
{
	track_one(0);
	map_new();
	writes(PCI_NAME, NEW + 5);
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(vfd_device_resume(f->device, &f->err));
	struct vfd_plan plan = plan_of(f);
	ck_assert_uint_eq(plan.rearms, 1);
	ck_assert_uint_eq(plan.unarmed_bytes, 0);
	ck_assert_uint_eq(plan.deferred_bytes, NEW_PAGES * PAGE);
	check_device_law(f, PCI_NAME);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(owed_pages(), NEW_PAGES);
	forget_log(f);
	write_and_count(2);
	end();
}
END_TEST

/* One is paused and armed anew; the other writes on, in what its own log sees. */
START_TEST(beside_a_running_one)
{
	track_two();
	writes(OTHER, 9);
	pause_and_map();
	writes(OTHER, NEW + 1);
	OK(vfd_device_resume(f->device, &f->err));
	ck_assert_uint_eq(plan_of(f).rearms, 1);
	ck_assert_uint_eq(plan_of(f).deferred_bytes, 0);
	check_device_law(f, OTHER);
	write_and_count(4);
	end();
}
END_TEST

/* Paid at a final harvest while it is silent; it is not owed again before it wakes. */
START_TEST(paid_while_silent)
{
	track_two();
	map_new();
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(owed_pages(), NEW_PAGES);
	ck_assert_uint_eq(plan_of(f).deferred_bytes, 0);
	OK(vfd_device_resume(f->device, &f->err));
	ck_assert_uint_eq(plan_of(f).deferred_bytes, 0);
	end();
}
END_TEST

/* While a map is on its way, mapped for the kernel and in no table yet: it was written to, and its writer is silent before the table has it. */
static void silenced_during_map(struct model *model, const struct model_trace *call, uint64_t number,
				bool after, void *argument)
{
	(void)number, (void)argument;
	if (!after || call->call != MODEL_IOCTL || call->request != VFIO_IOMMU_MAP_DMA)
		return;
	model_on_call(model, NULL, NULL);
	writes(PCI_NAME, NEW + 3);
	OK(vfd_device_quiesce(f->device, &f->err));
}

START_TEST(silenced_before_it_is_known)
{
	track_one(0);
	model_on_call(f->model, silenced_during_map, NULL);
	map_new();
	ck_assert_uint_eq(plan_of(f).deferred_bytes, NEW_PAGES * PAGE);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_msg(is_logged(f, NEW_MEMORY + 3), "page %d LOST", NEW_MEMORY + 3);
	ck_assert_uint_eq(owed_pages(), NEW_PAGES);
	end();
}
END_TEST

/* The same where its log looks: what it wrote is said there, at the next harvest, and no more than that. */
static void silenced_during_map_again(struct model *model, const struct model_trace *call, uint64_t number,
				      bool after, void *argument)
{
	(void)number, (void)argument;
	if (!after || call->call != MODEL_IOCTL || call->request != VFIO_IOMMU_MAP_DMA)
		return;
	model_on_call(model, NULL, NULL);
	writes(PCI_NAME, MAPPED / 2 + 3);
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(harvest(f, 0));
}

START_TEST(silenced_but_looked_at)
{
	track_one(0);
	OK(unmap_pages(f, MAPPED / 2, MAPPED / 2));
	model_on_call(f->model, silenced_during_map_again, NULL);
	OK(map_pages(f, MAPPED / 2, MAPPED / 2, MAPPED / 2, RW));
	ck_assert_uint_eq(plan_of(f).deferred_bytes, 0);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_msg(is_logged(f, MAPPED / 2 + 3), "page %d LOST", MAPPED / 2 + 3);
	ck_assert_uint_eq(owed_pages(), 1);
	end();
}
END_TEST

/* ---- running ---- */

static void check_assumed(uint64_t pages, uint64_t said)
{
	struct vfd_cause causes[8];
	size_t count;
	uint64_t assumed = 0;

	OK(vfd_consumer_causes(vfd_log_consumer(f->log), causes, 8, &count, &f->err));
	for (size_t i = 0; i < count; i++) {
		if (causes[i].provenance != VFD_ASSUMED)
			continue;
		ck_assert_uint_eq(causes[i].reason, VFD_WHY_REARMED);
		ck_assert_str_eq(causes[i].who, PCI_NAME);
		assumed += causes[i].pages;
	}
	ck_assert_uint_gt(assumed, 0);
	ck_assert_uint_eq(owed_pages(), pages);
	ck_assert_uint_eq(count_of().reported, said);
}

/* What is assumed is all that is mapped, before and since; nothing else, and once. */
START_TEST(running)
{
	track_one(0);
	map_new();
	OK(map_pages(f, NEW + 100, 700, 8, VFD_MAP_READ));
	OK(unmap_pages(f, MAPPED / 2, MAPPED / 2));
	writes(PCI_NAME, 3);
	writes(PCI_NAME, NEW + 2);
	struct vfd_rearm did = rearm(VFD_REARM_RUNNING, 0, 0, 0);
	ck_assert_uint_eq(did.rearmed, 1);
	ck_assert_uint_eq(did.running, 1);
	ck_assert_uint_eq(did.assumed_bytes, (MAPPED / 2 + NEW_PAGES) * PAGE);
	ck_assert_uint_eq(did.pages_new, MAPPED / 2 + NEW_PAGES);
	ck_assert_uint_eq(did.unarmed_bytes, 0);
	check_device_law(f, PCI_NAME);
	for (uint64_t page = 0; page < PAGES; page++)
		ck_assert_int_eq(is_logged(f, page),
				 page < MAPPED / 2 || (page >= NEW_MEMORY && page < NEW_MEMORY + NEW_PAGES));
	check_assumed(MAPPED / 2 + NEW_PAGES, 1);
	ck_assert_uint_eq(plan_of(f).deferred_bytes, 0);
	ck_assert_uint_eq(plan_of(f).rearms, 1);
	forget_log(f);
	write_and_count(2); /* and then it is exact */
	end();
}
END_TEST

START_TEST(within_a_budget)
{
	const uint64_t all = (MAPPED + NEW_PAGES) * PAGE, few = NEW_PAGES * PAGE;

	track_one(0);
	map_new();
	ck_assert_uint_eq(rearm(0, 0, 0, 0).rearmed, 0); /* it can write */
	ck_assert_uint_eq(rearm(VFD_REARM_RUNNING, few, 0, 0).rearmed, 0);
	struct vfd_rearm left = rearm(VFD_REARM_RUNNING, 0, all - 1, 0);
	ck_assert_uint_eq(left.rearmed, 0);
	ck_assert_uint_eq(left.unarmed_bytes, few);
	ck_assert_uint_eq(owed_pages(), 0);
	ck_assert_uint_eq(rearm(VFD_REARM_RUNNING, few - 1, all, 0).rearmed, 1);
	OK(map_pages(f, 2 * NEW, 700, 1, RW));
	ck_assert_uint_eq(rearm(VFD_REARM_RUNNING, 0, 2 * all, 0).rearmed, 0); /* the first counts */
	ck_assert_uint_eq(rearm(VFD_REARM_RUNNING, 0, 2 * all + PAGE, 0).rearmed, 1);
	ck_assert_uint_eq(plan_of(f).rearms, 2);
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(vfd_track_stop(f->container, VFD_COLLECT, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(plan_of(f).rearms, 0);
	end();
}
END_TEST

/* Both at once: all is assumed once. */
START_TEST(two_at_once)
{
	other_how = how;
	track_two();
	map_new();
	writes(OTHER, 300);
	struct vfd_rearm did = rearm(VFD_REARM_RUNNING, 0, 0, 0);
	ck_assert_uint_eq(did.running, 2);
	ck_assert_uint_eq(did.assumed_bytes, (MAPPED + NEW_PAGES) * PAGE);
	check_device_law(f, OTHER);
	forget_log(f);
	writes(OTHER, NEW);
	write_and_count(3);
	end();
}
END_TEST

static unsigned looks;

/* Before and after each call: it writes, and the law holds. Once what is owed was sent in between. */
static void look(struct model *model, const struct model_trace *call, uint64_t number, bool after, void *arg)
{
	bool feature = call->request == VFIO_DEVICE_FEATURE;
	bool stop = feature && (call->flags & STOPS) == STOPS;
	bool on_its_way = after && feature && (call->flags & REPORTS) == REPORTS;

	(void)number, (void)arg;
	if (after && stop)
		forget_log(f);
	model_dma_write(model, PCI_NAME, looks % MAPPED * PAGE, 8, looks);
	model_dma_write(model, PCI_NAME, (NEW + looks % NEW_PAGES) * PAGE, 8, looks);
	looks++;
	if (!on_its_way) /* from the kernel to the log */
		check_device_law(f, PCI_NAME);
}

START_TEST(at_each_moment)
{
	track_one(0);
	map_new();
	looks = 0;
	model_on_call(f->model, look, NULL);
	ck_assert_uint_eq(rearm(VFD_REARM_RUNNING, 0, 0, 0).rearmed, 1);
	check_device_law(f, PCI_NAME);
	model_on_call(f->model, NULL, NULL);
	ck_assert_uint_gt(looks, 8);
	end();
}
END_TEST

/* ---- failures ---- */

START_TEST(start_fails)
{
	for (int paused = 0; paused < 2; paused++) {
		track_one(0);
		writes(PCI_NAME, 3);
		if (paused)
			OK(vfd_device_quiesce(f->device, &f->err));
		map_new();
		fault(STARTS, EIO, 1, 1000);
		struct vfd_rearm did = rearm(VFD_REARM_RUNNING, 0, 0, -EIO);
		ck_assert_msg(strstr(f->err.message, PCI_NAME), "%s", f->err.message);
		model_fault_clear(f->model);
		ck_assert_uint_eq(did.failed, 1);
		ck_assert_uint_eq(did.rearmed, 0);
		ck_assert_uint_eq(plan_of(f).rearms, 0);
		ck_assert_uint_eq(plan_of(f).exact, 0);
		check_device_law(f, PCI_NAME);
		OK(vfd_device_resume(f->device, &f->err));
		writes(PCI_NAME, NEW + 4);
		writes(PCI_NAME, 5);
		check_device_law(f, PCI_NAME);
		OK(harvest(f, VFD_HARVEST_FINAL));
		ck_assert_uint_eq(owed_pages(), MAPPED + NEW_PAGES);
		writes(PCI_NAME, 6);
		OK(vfd_track_start(f->container, NULL, NULL, &f->err)); /* once more */
		ck_assert_uint_eq(plan_of(f).exact, 1);
		check_device_law(f, PCI_NAME);
		end();
	}
}
END_TEST

/* More than it can log: it goes on as before. */
START_TEST(too_much)
{
	track_one(0);
	writes(PCI_NAME, 3);
	how.total_limit = (MAPPED + 2) * PAGE;
	model_set_log(f->model, PCI_NAME, &how);
	pause_and_map();
	ck_assert_uint_eq(rearm(0, 0, 0, 0).failed, 0);
	OK(vfd_device_resume(f->device, &f->err));
	ck_assert_uint_eq(plan_of(f).unarmed_bytes, NEW_PAGES * PAGE);
	ck_assert_uint_eq(plan_of(f).exact, 1);
	writes(PCI_NAME, 4);
	writes(PCI_NAME, NEW);
	check_device_law(f, PCI_NAME);
	OK(harvest(f, 0));
	ck_assert_uint_eq(owed_pages(), 2);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(owed_pages(), 2 + NEW_PAGES);
	end();
}
END_TEST

/* The old ranges are not aligned to what it then wants. */
START_TEST(pages_grow)
{
	track_one(0);
	writes(PCI_NAME, 3);
	how = (struct model_log){ .total_limit = (MAPPED + 2) * PAGE, .page_min = 16 * PAGE };
	model_set_log(f->model, PCI_NAME, &how);
	pause_and_map();
	ck_assert_uint_eq(rearm(0, 0, 0, -EPROTO).failed, 1);
	ck_assert_uint_eq(model_log_page_size(f->model, PCI_NAME), 0);
	OK(vfd_device_resume(f->device, &f->err));
	writes(PCI_NAME, NEW);
	check_device_law(f, PCI_NAME);
	end();
}
END_TEST

/* The old log may still run, and a device that takes a second START says that it is the new one. */
START_TEST(stop_fails)
{
	how.again = true;
	track_one(0);
	map_new();
	writes(PCI_NAME, 3);
	fault(STOPS, EIO, 1, 1);
	ck_assert_uint_eq(rearm(VFD_REARM_RUNNING, 0, 0, -EIO).failed, 1);
	writes(PCI_NAME, NEW + 1);
	writes(PCI_NAME, 5);
	check_device_law(f, PCI_NAME);
	OK(harvest(f, VFD_HARVEST_FINAL));
	check_device_law(f, PCI_NAME);
	ck_assert_uint_eq(owed_pages(), MAPPED + NEW_PAGES);
	end();
}
END_TEST

START_TEST(report_fails)
{
	track_one(0);
	writes(PCI_NAME, 3);
	pause_and_map();
	fault(REPORTS, EIO, 1, 1);
	ck_assert_uint_eq(rearm(0, 0, 0, -EIO).rearmed, 0);
	check_device_law(f, PCI_NAME);
	OK(vfd_device_resume(f->device, &f->err));
	writes(PCI_NAME, 9);
	check_device_law(f, PCI_NAME);
	end();
}
END_TEST

/* What cannot be read is not stopped. */
START_TEST(no_memory_to_read_into)
{
	track_one(0);
	writes(PCI_NAME, 3);
	pause_and_map();
	model_fault(f->model, (struct model_fault){ .call = MODEL_POPULATE, .error = ENOMEM });
	ck_assert_uint_eq(rearm(0, 0, 0, -ENOMEM).rearmed, 0);
	check_device_law(f, PCI_NAME);
	ck_assert_uint_eq(plan_of(f).exact, 1);
	ck_assert_uint_eq(rearm(0, 0, 0, 0).rearmed, 1);
	OK(vfd_device_resume(f->device, &f->err));
	write_and_count(3);
	end();
}
END_TEST

/* One fails; the others are armed all the same. */
START_TEST(one_of_two_fails)
{
	other_how = how;
	track_two();
	map_new();
	writes(PCI_NAME, 3);
	writes(OTHER, 4);
	fault(STOPS, EIO, 1, 1);
	struct vfd_rearm did = rearm(VFD_REARM_RUNNING, 0, 0, -EIO);
	ck_assert_uint_eq(did.failed, 1);
	ck_assert_uint_eq(did.running, 1);
	writes(PCI_NAME, NEW);
	writes(OTHER, NEW + 1);
	check_device_law(f, PCI_NAME);
	check_device_law(f, OTHER);
	end();
}
END_TEST

START_TEST(refused)
{
	struct vfd_rearm_options options = { .struct_size = sizeof options, .flags = 2 };

	open_one(0);
	REFUSED(VFD_ESTATE, vfd_track_rearm(f->container, NULL, NULL, &f->err));
	REFUSED(VFD_EINVALID, vfd_track_rearm(f->container, &options, NULL, &f->err));
	REFUSED(VFD_EINVALID, vfd_track_rearm(NULL, NULL, NULL, &f->err));
	struct vfd_rearm short_one = { .struct_size = 3 };
	REFUSED(VFD_EINVALID, vfd_track_rearm(f->container, NULL, &short_one, &f->err));
	REFUSED(VFD_EINVALID, vfd_device_resume(NULL, &f->err));
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rearm");
	TCase *tcase = tcase_create("rearm");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, reset_how, NULL);
	tcase_add_test(tcase, placed_where_it_looks);
	tcase_add_test(tcase, placed_below_what_it_looks_at);
	tcase_add_test(tcase, placed_where_both_look);
	tcase_add_test(tcase, resumed);
	tcase_add_test(tcase, nothing_to_do);
	tcase_add_test(tcase, asked_for);
	tcase_add_test(tcase, woken_without);
	tcase_add_test(tcase, written_before);
	tcase_add_test(tcase, beside_a_running_one);
	tcase_add_test(tcase, paid_while_silent);
	tcase_add_test(tcase, silenced_before_it_is_known);
	tcase_add_test(tcase, silenced_but_looked_at);
	tcase_add_test(tcase, running);
	tcase_add_test(tcase, within_a_budget);
	tcase_add_test(tcase, two_at_once);
	tcase_add_test(tcase, at_each_moment);
	tcase_add_test(tcase, start_fails);
	tcase_add_test(tcase, too_much);
	tcase_add_test(tcase, pages_grow);
	tcase_add_test(tcase, stop_fails);
	tcase_add_test(tcase, report_fails);
	tcase_add_test(tcase, no_memory_to_read_into);
	tcase_add_test(tcase, one_of_two_fails);
	tcase_add_test(tcase, refused);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
