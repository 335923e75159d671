/* SPDX-License-Identifier: MIT */

/* Devices that log their own DMA: exact behind an IOMMU that cannot tell, and never "clean" when the log fails. */

#include "fixture.h"

#include <endian.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <string.h>

#include "backend.h"
#include "uapi.h"

#define OTHER	"0000:00:02.0"
#define MAPPED	512 /* pages */
#define REPORTS (UAPI_FEATURE_GET | UAPI_FEATURE_LOG_REPORT)

static struct fixture fixture, *f = &fixture;
static struct model_log how, other_how;
static struct vfd_group *group;

/* 20 and 21: physical, each with a device that keeps a log; 7: emulated, with one that does too */
static const struct model_config logging = {
	.group_count = 3,
	.groups = { { .number = 20,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = PCI_NAME, .pci = true, .log = &how } } },
		    { .number = 21,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = OTHER, .pci = true, .log = &other_how } } },
		    { .number = 7,
		      .kind = MODEL_EMULATED,
		      .devices = { { .name = NAME(0), .log = &other_how } } } },
};

static void master_on(struct vfd_device *device)
{
	uint16_t command = htole16(PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);

	OK(vfd_device_write(device, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2, &f->err));
}

static void open_one(void)
{
	fixture_begin(f, &logging);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	OK(map_pages(f, 0, 0, MAPPED, RW));
	master_on(f->device);
}

static void track_one(void)
{
	open_one();
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
}

static void track_two(void)
{
	open_one();
	OK(vfd_group_attach(f->container, 21, &f->group2, &f->err));
	OK(vfd_device_open(f->group2, OTHER, &f->device2, &f->err));
	master_on(f->device2);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
}

static void writes(const char *device, uint64_t page, uint64_t count)
{
	ck_assert_int_eq(model_dma_write(f->model, device, page * PAGE, count * PAGE, page), 0);
}

static uint64_t owed_pages(void)
{
	struct vfd_count count;

	OK(vfd_consumer_count(vfd_log_consumer(f->log), 0, UINT64_MAX, &count, &f->err));
	return count.owed;
}

static uint32_t source_of(unsigned entry)
{
	return plan_of(f).entries[entry].source;
}

static void end_one(void)
{
	check_device_law(f, PCI_NAME);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	check_device_law(f, PCI_NAME);
	fixture_end(f);
}

static void end_two(void)
{
	OK(vfd_group_detach(&f->group2, VFD_COLLECT, &f->err));
	end_one();
}

static void fail_report(int error, unsigned step, uint64_t nth)
{
	model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
						    .request = VFIO_DEVICE_FEATURE,
						    .file = MODEL_FILE_DEVICE,
						    .flags = REPORTS,
						    .nth = nth,
						    .error = error,
						    .step = step });
}

static void reset_how(void)
{
	how = other_how = (struct model_log){ 0 };
}

/* ---- all is well ---- */

START_TEST(exact)
{
	char text[512];

	track_one();
	struct vfd_plan plan = plan_of(f);
	ck_assert_uint_eq(plan.exact, 1);
	ck_assert_uint_eq(plan.deferred_bytes, 0);
	ck_assert_uint_eq(plan.entries[0].source, VFD_SOURCE_DEVLOG);
	ck_assert_uint_eq(plan.entries[0].granularity, PAGE);
	OK(vfd_plan_text(&plan, text, sizeof text, NULL, &f->err));
	ck_assert_msg(strstr(text, "device log"), "%s", text);
	for (uint64_t page = 3; page < 500; page += 50)
		writes(PCI_NAME, page, 2);
	OK(harvest(f, 0));
	ck_assert_uint_eq(owed_pages(), 20);
	ck_assert_uint_eq(reported(f), 20);
	writes(PCI_NAME, 511, 1);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(owed_pages(), 21);
	end_one();
}
END_TEST

START_TEST(the_plan_before)
{
	open_one();
	ck_assert_uint_eq(source_of(0), VFD_SOURCE_DEVLOG);
	ck_assert_uint_eq(model_log_page_size(f->model, PCI_NAME), 0);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(model_log_page_size(f->model, PCI_NAME), PAGE);
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(harvest(f, VFD_HARVEST_FINAL));
	OK(vfd_track_stop(f->container, 0, &f->err));
	ck_assert_uint_eq(model_log_page_size(f->model, PCI_NAME), 0);
	ck_assert_uint_eq(owed_pages(), 0);
	end_one();
}
END_TEST

/* Which device makes everything dirty? */
START_TEST(causes_name_the_device)
{
	struct vfd_cause causes[4];
	size_t count;

	track_two();
	writes(PCI_NAME, 3, 1);
	writes(OTHER, 300, 7);
	OK(harvest(f, 0));
	OK(vfd_consumer_causes(vfd_log_consumer(f->log), causes, 4, &count, &f->err));
	ck_assert_uint_eq(count, 2);
	for (size_t i = 0; i < 2; i++) {
		bool other = !strcmp(causes[i].who, OTHER);
		ck_assert_msg(other || !strcmp(causes[i].who, PCI_NAME), "%s", causes[i].who);
		ck_assert_uint_eq(causes[i].pages, other ? 7 : 1);
		ck_assert_uint_eq(causes[i].granularity, PAGE);
	}
	end_two();
}
END_TEST

/* It has been opened and written since tracking began: what came before the log began is owed. */
START_TEST(opened_later)
{
	fixture_begin(f, &logging);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(map_pages(f, 0, 0, MAPPED, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(plan_of(f).exact, 0);
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	master_on(f->device);
	ck_assert_uint_eq(source_of(0), VFD_SOURCE_DEVLOG);
	ck_assert_uint_eq(plan_of(f).deferred_bytes, 0); /* nobody could write before */
	writes(PCI_NAME, 9, 1);
	OK(harvest(f, 0));
	ck_assert_uint_eq(owed_pages(), 1);
	end_one();
}
END_TEST

/* Type1 answers "everything" for all devices of the container; an emulated one needs a log too, then. */
START_TEST(in_company)
{
	open_one();
	OK(vfd_group_attach(f->container, 7, &group, &f->err));
	OK(vfd_device_open(group, NAME(0), &f->device2, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(plan_of(f).exact, 1);
	device_writes(f, 0, 77, 1);
	writes(PCI_NAME, 78, 1);
	OK(harvest(f, 0));
	ck_assert_uint_eq(owed_pages(), 2);
	check_device_law(f, NAME(0));
	OK(vfd_group_detach(&group, VFD_COLLECT, &f->err));
	check_device_law(f, NAME(0));
	end_one();
}
END_TEST

START_TEST(alone_type1_is_enough)
{
	fixture_begin(f, &logging);
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
	OK(map_pages(f, 0, 0, MAPPED, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(source_of(0), VFD_SOURCE_TYPE1);
	ck_assert_uint_eq(model_log_page_size(f->model, NAME(0)), 0);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	fixture_end(f);
}
END_TEST

/* ---- mappings come and go ---- */

START_TEST(unmapped)
{
	track_one();
	OK(map_pages(f, 600, 600, 8, RW));
	OK(map_pages(f, 608, 700, 8, RW));
	writes(PCI_NAME, 601, 2);
	writes(PCI_NAME, 610, 1); /* its neighbour, read along */
	OK(unmap_pages(f, 600, 8));
	ck_assert(is_logged(f, 601) && is_logged(f, 602));
	ck_assert(is_logged(f, 702));
	ck_assert_uint_eq(owed_pages(), 3);
	OK(map_pages(f, 600, 800, 8, RW)); /* the IOVA means other memory now */
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(owed_pages(), 3);
	end_one();
}
END_TEST

/* The device cannot log all that may be mapped, only what is. What comes later is owed as a whole. */
START_TEST(mapped_outside)
{
	how.total_limit = 1024 * PAGE;
	track_one();
	ck_assert_uint_eq(source_of(0), VFD_SOURCE_DEVLOG);
	ck_assert_uint_eq(plan_of(f).deferred_bytes, 0);
	OK(map_pages(f, 4096, 600, 16, RW));
	ck_assert_uint_eq(plan_of(f).deferred_bytes, 16 * PAGE);
	writes(PCI_NAME, 4100, 1);
	writes(PCI_NAME, 5, 1);
	OK(harvest(f, 0));
	ck_assert_uint_eq(owed_pages(), 1);
	check_device_law(f, PCI_NAME);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(owed_pages(), 17);
	writes(PCI_NAME, 4101, 1); /* and it stays so: the harvest was not the last */
	forget_log(f);
	writes(PCI_NAME, 4102, 1);
	OK(unmap_pages(f, 4096, 16));
	ck_assert_uint_eq(owed_pages(), 16);
	ck_assert_uint_eq(plan_of(f).deferred_bytes, 0);
	end_one();
}
END_TEST

/* Many mappings, few ranges. */
START_TEST(few_ranges)
{
	how.range_limit = 4;
	how.total_limit = 700 * PAGE; /* not all that may be mapped, nor all from the first to the last */
	fixture_begin(f, &logging);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	master_on(f->device);
	for (uint64_t i = 0; i < 16; i++)
		OK(map_pages(f, i * 24 + i / 4 * 4096, i * 8, 8, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(source_of(0), VFD_SOURCE_DEVLOG);
	ck_assert_uint_eq(plan_of(f).deferred_bytes, 0);
	for (uint64_t i = 0; i < 16; i++)
		writes(PCI_NAME, i * 24 + i / 4 * 4096 + i % 8, 1);
	OK(harvest(f, 0));
	ck_assert_uint_eq(owed_pages(), 16);
	end_one();
}
END_TEST

/* Who was exact stays so when no device is open any more: by its log, or by its driver's word. */
START_TEST(the_plan_of_a_closed_one)
{
	for (int pins = 0; pins < 2; pins++) {
		track_one();
		if (pins)
			OK(vfd_device_pins_all(f->device, &f->err));
		OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err));
		struct vfd_plan plan = plan_of(f);
		ck_assert_uint_eq(plan.entry_count, 1);
		ck_assert_str_eq(plan.entries[0].device, "");
		ck_assert_uint_eq(plan.entries[0].source, pins ? VFD_SOURCE_PINS : VFD_SOURCE_DEVLOG);
		ck_assert_uint_eq(plan.exact, 1);
		end_one();
	}
}
END_TEST

/* Read in two questions, for nobody wants the bits of all that is not mapped between. */
START_TEST(far_apart)
{
	const uint64_t far = UINT64_C(1) << 19; /* pages; in the same range of the IOMMU */

	track_one();
	OK(map_pages(f, far, MAPPED, 32, RW));
	ck_assert_uint_eq(plan_of(f).unarmed_bytes, 0);
	writes(PCI_NAME, 3, 1);
	writes(PCI_NAME, far + 5, 2);
	OK(harvest(f, 0));
	ck_assert_uint_eq(owed_pages(), 3);
	ck_assert(is_logged(f, MAPPED + 5));
	end_one();
}
END_TEST

/* More mappings than one look at the table takes; many of the same memory. */
START_TEST(more_mappings_than_in_a_window)
{
	enum { MORE = 4200 };

	track_one();
	for (uint64_t i = 0; i < MORE; i++)
		OK(map_pages(f, 1000 + 2 * i, MAPPED + i % MAPPED, 1, RW));
	writes(PCI_NAME, 1000, 1);
	writes(PCI_NAME, 1000 + 2 * (MORE - 1), 1);
	OK(harvest(f, 0));
	ck_assert_uint_eq(owed_pages(), 2);
	ck_assert(is_logged(f, MAPPED) && is_logged(f, MAPPED + (MORE - 1) % MAPPED));
	end_one();
}
END_TEST

/* ---- what devices do differently ---- */

/* Ranges that are apart in the kernel's list touch when they are rounded to pages so large. */
START_TEST(pages_larger_than_a_hole)
{
	how.page_min = UINT64_C(2) << 20;
	open_one();
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(plan_of(f).entries[0].granularity, UINT64_C(2) << 20);
	ck_assert_uint_eq(f->container->space.recorders->count, 1);
	writes(PCI_NAME, 3, 1);
	OK(harvest(f, 0));
	ck_assert_uint_eq(owed_pages(), MAPPED);
	end_one();
}
END_TEST

/* A tracked page that starts below the range would not be logged. */
START_TEST(larger_pages)
{
	how.page_min = 16 * PAGE;
	how.total_limit = 1024 * PAGE; /* not all that may be mapped */
	fixture_begin(f, &logging);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	master_on(f->device);
	OK(map_pages(f, 5, 0, 100, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(plan_of(f).entries[0].granularity, 16 * PAGE);
	writes(PCI_NAME, 6, 1);
	writes(PCI_NAME, 33, 1);
	OK(harvest(f, 0));
	ck_assert_uint_eq(owed_pages(), 11 + 16); /* 5..15 and 32..47 */
	end_one();
}
END_TEST

/* 64 pages are acknowledged together, asked for or not. */
START_TEST(pages_by_64)
{
	how.pds = true;
	fixture_begin(f, &logging);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	master_on(f->device);
	for (uint64_t i = 0; i < 32; i++)
		OK(map_pages(f, i * 7 + 5, i * 7, 7, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	for (uint64_t page = 0; page < 32 * 7; page += 3)
		writes(PCI_NAME, page + 5, 1);
	OK(unmap_pages(f, 3 * 7 + 5, 7));
	OK(vfd_track_harvest_range(f->container, 0, 100 * PAGE, NULL, &f->err));
	OK(harvest(f, 0));
	check_device_law(f, PCI_NAME);
	ck_assert_uint_eq(owed_pages(), 75);
	end_one();
}
END_TEST

START_TEST(started_but_not_read)
{
	char text[1024];

	how.no_report = true;
	track_one();
	struct vfd_plan plan = plan_of(f);
	ck_assert_uint_eq(plan.entries[0].source, VFD_SOURCE_DEFERRED);
	ck_assert_uint_eq(plan.deferred_bytes, MAPPED * PAGE);
	OK(vfd_plan_text(&plan, text, sizeof text, NULL, &f->err));
	ck_assert_msg(strstr(text, "not read"), "%s", text);
	ck_assert_uint_eq(model_log_page_size(f->model, PCI_NAME), 0);
	writes(PCI_NAME, 3, 1);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(owed_pages(), MAPPED);
	end_one();
}
END_TEST

START_TEST(exact_or_not_at_all)
{
	struct vfd_track_options options = { .struct_size = sizeof options, .flags = VFD_TRACK_EXACT };

	how.no_report = true;
	open_one();
	REFUSED(VFD_EUNSUPPORTED, vfd_track_start(f->container, &options, NULL, &f->err));
	ck_assert_uint_eq(info_of(f).tracking, 0);
	how.no_report = false;
	model_set_log(f->model, PCI_NAME, &how);
	OK(vfd_track_start(f->container, &options, NULL, &f->err));
	ck_assert_uint_eq(plan_of(f).exact, 1);
	end_one();
}
END_TEST

/* ---- failures ---- */

START_TEST(report_fails)
{
	static const int errors[] = { EIO, ENOMEM, EINVAL, ENOTCONN, EFAULT, ENODEV };

	for (size_t e = 0; e < sizeof errors / sizeof errors[0]; e++) {
		track_two();
		writes(PCI_NAME, 10, 20);
		writes(OTHER, 100, 5);
		fail_report(errors[e], 7, 1);
		int rc = vfd_track_harvest(f->container, 0, NULL, &f->err);
		ck_assert_int_eq(rc, -errors[e]);
		ck_assert_msg(strstr(f->err.message, f->container->groups->devices->name) ||
				      strstr(f->err.message, "0000:"),
			      "%s", f->err.message);
		check_device_law(f, PCI_NAME);
		check_device_law(f, OTHER);
		ck_assert(is_logged(f, 10) &&
			  is_logged(f, 100)); /* the one that failed, as far as it came; the other */
		ck_assert_uint_eq(plan_of(f).deferred_bytes, MAPPED * PAGE);
		OK(harvest(f, 0)); /* the others go on, and what failed is owed once */
		writes(PCI_NAME, 200, 1);
		writes(OTHER, 201, 1);
		OK(harvest(f, VFD_HARVEST_FINAL));
		check_device_law(f, PCI_NAME);
		check_device_law(f, OTHER);
		ck_assert_uint_eq(owed_pages(), MAPPED);
		end_two();
	}
}
END_TEST

/* The kernel says 0 when it cannot write the bits, and they are gone. So it is not asked without memory that is there. */
START_TEST(no_memory_to_read_into)
{
	track_one();
	writes(PCI_NAME, 3, 1);
	model_fault(f->model, (struct model_fault){ .call = MODEL_POPULATE, .error = ENOMEM });
	ck_assert_int_eq(vfd_track_harvest(f->container, 0, NULL, &f->err), -ENOMEM);
	ck_assert_uint_eq(plan_of(f).deferred_bytes, 0);
	ck_assert_uint_eq(owed_pages(), 0);
	check_device_law(f, PCI_NAME);
	OK(harvest(f, 0));
	ck_assert_uint_eq(owed_pages(), 1);
	end_one();
}
END_TEST

/* Tracking is on and started once more: what the log missed is owed, from then on it is exact again. */
START_TEST(begun_anew)
{
	track_one();
	fail_report(EIO, 0, 1);
	ck_assert_int_eq(vfd_track_harvest(f->container, 0, NULL, &f->err), -EIO);
	ck_assert_uint_eq(source_of(0), VFD_SOURCE_DEFERRED);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(source_of(0), VFD_SOURCE_DEVLOG);
	ck_assert_uint_eq(plan_of(f).deferred_bytes, MAPPED * PAGE);
	OK(map_pages(f, 600, 600, 8, RW));
	writes(PCI_NAME, 601, 1);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(owed_pages(), MAPPED + 1);
	end_one();
}
END_TEST

START_TEST(report_fails_at_unmap)
{
	track_one();
	OK(map_pages(f, 600, 600, 8, RW));
	writes(PCI_NAME, 601, 3);
	writes(PCI_NAME, 7, 1);
	fail_report(EIO, 1, 1);
	OK(unmap_pages(f, 600, 8));
	ck_assert(is_logged(f, 601) && is_logged(f, 602) && is_logged(f, 603));
	check_device_law(f, PCI_NAME);
	ck_assert_uint_eq(plan_of(f).deferred_bytes, MAPPED * PAGE);
	end_one();
}
END_TEST

/* Its last writes go with the log: all that is mapped is owed. */
START_TEST(closed_while_writing)
{
	track_one();
	writes(PCI_NAME, 3, 1);
	OK(harvest(f, 0));
	writes(PCI_NAME, 4, 1);
	REFUSED(VFD_EDIRTY, vfd_device_close(&f->device, 0, &f->err));
	ck_assert_uint_eq(model_log_page_size(f->model, PCI_NAME), PAGE);
	OK(vfd_device_close(&f->device, VFD_DISCARD, &f->err));
	check_device_law(f, PCI_NAME);
	ck_assert_uint_eq(plan_of(f).deferred_bytes, MAPPED * PAGE);
	OK(harvest(f, VFD_HARVEST_FINAL));
	check_device_law(f, PCI_NAME);
	end_one();
}
END_TEST

/* It was silent, then not any more: what was read in between does not count. */
START_TEST(read_and_woken)
{
	track_one();
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(harvest(f, 0));
	OK(vfd_device_resume(f->device, &f->err));
	writes(PCI_NAME, 4, 1);
	OK(vfd_device_close(&f->device, VFD_DISCARD, &f->err));
	check_device_law(f, PCI_NAME);
	end_one();
}
END_TEST

/* Silent and read, another one writes on: nothing is owed for it. */
START_TEST(closed_in_order)
{
	track_two();
	writes(PCI_NAME, 3, 1);
	writes(OTHER, 30, 1);
	OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err));
	ck_assert_uint_eq(owed_pages(), 2);
	ck_assert_uint_eq(plan_of(f).deferred_bytes, 0);
	writes(OTHER, 31, 1);
	OK(harvest(f, 0));
	ck_assert_uint_eq(owed_pages(), 3);
	end_two();
}
END_TEST

START_TEST(reset)
{
	track_one();
	writes(PCI_NAME, 3, 1);
	OK(vfd_device_reset(f->device, &f->err));
	check_device_law(f, PCI_NAME);
	ck_assert_uint_eq(source_of(0), VFD_SOURCE_DEFERRED);
	ck_assert_uint_eq(plan_of(f).deferred_bytes, MAPPED * PAGE);
	end_one();
}
END_TEST

/* Another thread unmaps between the reset and its return: the log that it reads may be a new one. */
static void unmap_behind_reset(struct model *model, const struct model_trace *call, uint64_t number,
			       bool after, void *argument)
{
	(void)model, (void)number, (void)argument;
	if (after && call->call == MODEL_IOCTL && call->request == VFIO_DEVICE_RESET)
		OK(unmap_pages(f, 0, MAPPED));
}

START_TEST(reset_and_unmapped)
{
	how.reset_clears = true;
	track_one();
	OK(map_pages(f, 600, 600, 8, RW));
	writes(PCI_NAME, 3, 1);
	writes(PCI_NAME, 601, 1);
	model_on_call(f->model, unmap_behind_reset, NULL);
	OK(vfd_device_reset(f->device, &f->err));
	model_on_call(f->model, NULL, NULL);
	ck_assert_msg(is_logged(f, 3), "page 3 LOST");
	end_one();
}
END_TEST

/* The model's capabilities: power management at 0x40, PCI Express at 0x50, Advanced Features at 0x60. */
static void write_config(uint64_t at, uint8_t value)
{
	OK(vfd_device_write(f->device, VFIO_PCI_CONFIG_REGION_INDEX, at, &value, 1, &f->err));
}

static void function_level_reset(void)
{
	write_config(0x50 + 9, 0x80);
}

static void advanced_reset(void)
{
	write_config(0x60 + 4, 1);
}

/* The byte of the reset is in the middle of a longer write. */
static void reset_within(void)
{
	uint8_t bytes[4] = { 0, 0x80 };

	OK(vfd_device_write(f->device, VFIO_PCI_CONFIG_REGION_INDEX, 0x50 + 8, bytes, 4, &f->err));
}

/* What its capabilities are is not told: it may be one of those. */
static void unreadable(void)
{
	model_fault(f->model, (struct model_fault){ .call = MODEL_PREAD, .times = 1, .error = EIO });
	function_level_reset();
	ck_assert_uint_eq(model_fault_fired(f->model), 1);
}

/* Nor where its configuration space is. */
static void untold(void)
{
	model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
						    .request = VFIO_DEVICE_GET_REGION_INFO,
						    .nth = 2,
						    .error = EIO });
	function_level_reset();
	ck_assert_uint_eq(model_fault_fired(f->model), 1);
}

static void out_of_d3hot(void)
{
	write_config(0x40 + 4, 3);
	write_config(0x40 + 4, 0);
}

/* Its guest resets the device, and the log is another one. */
START_TEST(reset_by_its_guest)
{
	static void (*const ways[])(void) = { function_level_reset, advanced_reset, reset_within,
					      unreadable,	    untold,	    out_of_d3hot };

	for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
		how.reset_clears = true;
		track_one();
		writes(PCI_NAME, 3, 1);
		ways[i]();
		OK(harvest(f, VFD_HARVEST_FINAL));
		ck_assert_msg(is_logged(f, 3), "page 3 LOST");
		end_one();
	}
}
END_TEST

static void other_bits(void)
{
	static const uint8_t behind[12] = { 0 };

	write_config(0x40 + 4, 0);
	write_config(0x50 + 8, 0x1f);
	write_config(0x50 + 9, 0x7f);
	write_config(0x60, 0x80);
	OK(vfd_device_write(f->device, VFIO_PCI_CONFIG_REGION_INDEX, 0x50 + 4, behind, 4, &f->err));
	OK(vfd_device_write(f->device, VFIO_PCI_CONFIG_REGION_INDEX, 0x3c, behind, 8, &f->err));
}

static void awake_as_before(void)
{
	model_set_config(f->model, PCI_NAME, 0x40 + 4, 8); /* No_Soft_Reset */
	out_of_d3hot();
}

/* Bytes that would be capabilities, if there were a list */
static void no_list(void)
{
	model_set_config(f->model, PCI_NAME, PCI_STATUS, 0);
	write_config(0x50 + 9, 0x80);
}

/* A list without an end, of a device that means no good */
static void endless_list(void)
{
	model_set_config(f->model, PCI_NAME, 0x60, PCI_CAP_ID_EA);
	model_set_config(f->model, PCI_NAME, 0x60 + 1, 0x40);
	write_config(0x50 + 8, 0x1f);
}

/* Other writes to capabilities cost nothing. */
START_TEST(configured_by_its_guest)
{
	static void (*const ways[])(void) = { other_bits, awake_as_before, no_list, endless_list };

	for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
		open_one();
		ways[i](); /* before anything is tracked */
		OK(vfd_track_start(f->container, NULL, NULL, &f->err));
		ways[i]();
		writes(PCI_NAME, 3, 1);
		ck_assert_uint_eq(source_of(0), VFD_SOURCE_DEVLOG);
		OK(harvest(f, 0));
		ck_assert_uint_eq(owed_pages(), 1);
		end_one();
	}
}
END_TEST

/* The kernel may accept no range at all, or answer nonsense. */
START_TEST(start_fails)
{
	static const int errors[] = { E2BIG, EINVAL, EOPNOTSUPP, ENOMEM, EFAULT, ENOTTY };

	for (size_t e = 0; e < sizeof errors / sizeof errors[0]; e++) {
		open_one();
		model_fault(f->model,
			    (struct model_fault){ .call = MODEL_IOCTL,
						  .request = VFIO_DEVICE_FEATURE,
						  .file = MODEL_FILE_DEVICE,
						  .flags = UAPI_FEATURE_SET | UAPI_FEATURE_LOG_START,
						  .times = 1000,
						  .error = errors[e] });
		OK(vfd_track_start(f->container, NULL, NULL, &f->err));
		model_fault_clear(f->model);
		ck_assert_uint_eq(source_of(0), VFD_SOURCE_DEFERRED);
		writes(PCI_NAME, 3, 1);
		OK(harvest(f, VFD_HARVEST_FINAL));
		ck_assert_uint_eq(owed_pages(), MAPPED);
		end_one();
	}
}
END_TEST

/* ---- what a review found ---- */

/* Paid once, written again, begun anew: what was written is owed. */
START_TEST(paid_then_anew)
{
	track_one();
	fail_report(EIO, 0, 1);
	ck_assert_int_eq(vfd_track_harvest(f->container, 0, NULL, &f->err), -EIO);
	OK(harvest(f, VFD_HARVEST_FINAL));
	forget_log(f);
	writes(PCI_NAME, 200, 1);
	check_device_law(f, PCI_NAME);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_msg(is_logged(f, 200), "page 200 LOST");
	end_one();
}
END_TEST

/* Failed, then mapped, then begun anew */
START_TEST(mapped_then_anew)
{
	track_one();
	fail_report(EIO, 0, 1);
	ck_assert_int_eq(vfd_track_harvest(f->container, 0, NULL, &f->err), -EIO);
	OK(map_pages(f, 600, 600, 8, RW));
	writes(PCI_NAME, 601, 1);
	check_device_law(f, PCI_NAME);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_msg(is_logged(f, 601), "page 601 LOST");
	end_one();
}
END_TEST

/* The one that could not see the mapping leaves; what it wrote there stays owed. */
START_TEST(unarmed_then_closed)
{
	how.total_limit = 1024 * PAGE;
	track_one();
	OK(map_pages(f, 4096, 600, 16, RW));
	writes(PCI_NAME, 4100, 1);
	check_device_law(f, PCI_NAME);
	OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err));
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_msg(is_logged(f, 604), "page 604 LOST");
	end_one();
}
END_TEST

START_TEST(unarmed_then_detached)
{
	how.total_limit = 1024 * PAGE;
	track_two();
	OK(map_pages(f, 4096, 600, 16, RW));
	writes(PCI_NAME, 4100, 1);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_msg(is_logged(f, 604), "page 604 LOST");
	OK(vfd_group_detach(&f->group2, VFD_COLLECT, &f->err));
	fixture_end(f);
}
END_TEST

/* Its log was stopped with our handle, but the owner has it open, and it writes on. */
START_TEST(closed_but_borrowed)
{
	fixture_begin(f, &logging);
	OK(vfd_container_close(&f->container, 0, &f->err));
	const struct sys *s = &f->model->sys;
	int cfd = s->open(s, "/dev/vfio/vfio", 0), gfd = s->open(s, "/dev/vfio/20", 0);
	ck_assert_int_eq(raw_ioctl(f, gfd, VFIO_GROUP_SET_CONTAINER, &cfd), 0);
	ck_assert_int_eq(raw_ioctl(f, cfd, VFIO_SET_IOMMU, (void *)(unsigned long)VFIO_TYPE1v2_IOMMU), 0);
	int dfd = raw_ioctl(f, gfd, VFIO_GROUP_GET_DEVICE_FD, (char[]){ PCI_NAME });
	ck_assert_int_ge(dfd, 0);
	struct vfio_iommu_type1_dma_map map = { .argsz = sizeof map,
						.flags = 3,
						.vaddr = (uintptr_t)f->memory,
						.iova = 0,
						.size = MAPPED * PAGE };
	ck_assert_int_eq(raw_ioctl(f, cfd, VFIO_IOMMU_MAP_DMA, &map), 0);
	struct vfd_adopt_group ag = { 20, gfd };
	struct vfd_adopt_device ad = { 20, dfd, PCI_NAME };
	struct vfd_mapping am = {
		.struct_size = sizeof am, .flags = RW, .iova = 0, .size = MAPPED * PAGE, .memory = f->memory
	};
	struct vfd_adoption ado = { .struct_size = sizeof ado,
				    .flags = VFD_ADOPT_DUP,
				    .container_fd = cfd,
				    .group_count = 1,
				    .groups = &ag,
				    .device_count = 1,
				    .devices = &ad,
				    .mapping_count = 1,
				    .mappings = &am,
				    .log = f->log };
	OK(container_adopt_on(s, &ado, &f->container, &f->err));
	f->group = f->container->groups;
	f->device = f->group->devices;
	master_on(f->device);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(source_of(0), VFD_SOURCE_DEVLOG);
	writes(PCI_NAME, 3, 1);
	/* the owner keeps the device open and lets it write */
	OK(vfd_device_close(&f->device, VFD_DISCARD, &f->err));
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert(is_logged(f, 3));
	forget_log(f);
	writes(PCI_NAME, 200, 1);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_msg(is_logged(f, 200), "page 200 LOST");
	OK(vfd_container_close(&f->container, VFD_DISCARD, &f->err));
	s->close(s, dfd);
	s->close(s, gfd);
	s->close(s, cfd);
	fixture_end(f);
}
END_TEST

/* A duplicate of its descriptor is open: EBUSY, and it writes on. */
START_TEST(closed_but_held)
{
	track_one();
	const struct sys *s = &f->model->sys;
	int other = s->dup(s, vfd_device_fd(f->device));
	uint16_t command = htole16(PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
	ck_assert_int_eq(vfd_group_detach(&f->group, VFD_COLLECT, &f->err), -EBUSY);
	forget_log(f);
	struct vfio_region_info info = { .argsz = sizeof info, .index = VFIO_PCI_CONFIG_REGION_INDEX };
	ck_assert_int_eq(raw_ioctl(f, other, VFIO_DEVICE_GET_REGION_INFO, &info), 0);
	ck_assert_int_eq(s->pwrite(s, other, &command, 2, info.offset + PCI_COMMAND), 2);
	writes(PCI_NAME, 200, 1);
	s->close(s, other);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	ck_assert_msg(is_logged(f, 200), "page 200 LOST");
	fixture_end(f);
}
END_TEST

/* The kernel is told where the bits go, and not how much room is there: it takes what the window needs. Here that is more than a page. */
START_TEST(room_for_all_bits)
{
	open_one();
	for (uint64_t i = 1; i < 80; i++)
		OK(map_pages(f, i * MAPPED, 0, MAPPED, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	writes(PCI_NAME, 80 * MAPPED - 1, 1);
	OK(harvest(f, 0));
	ck_assert_uint_eq(owed_pages(), 1);
	ck_assert(is_logged(f, MAPPED - 1));
	end_one();
}
END_TEST

/* More small mappings in one question than are merged at once, and one so far off that it is asked for by itself; some are not to be logged. */
START_TEST(many_in_a_question)
{
	enum { COUNT = 150 };

	fixture_begin(f, &logging);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	for (uint64_t i = 0; i < COUNT; i++)
		OK(map_pages(f, 3 * i, i, 2, i % 10 == 9 ? VFD_MAP_READ : RW));
	OK(map_pages(f, UINT64_C(3) << 18, 500, 1, RW));
	master_on(f->device);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	for (uint64_t i = 0; i < COUNT; i += 4)
		writes(PCI_NAME, 3 * i, 1);
	writes(PCI_NAME, UINT64_C(3) << 18, 1);
	OK(harvest(f, 0));
	for (uint64_t i = 0; i < COUNT; i++)
		ck_assert_msg(is_logged(f, i) == !(i % 4), "page %d: %s", (int)i,
			      i % 4 ? "nobody wrote it" : "LOST");
	ck_assert(is_logged(f, 500));
	end_one();
}
END_TEST

static const struct model_config high = {
	.group_count = 1,
	.groups = { { .number = 20,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = PCI_NAME, .pci = true, .log = &how } },
		      .ranges = { { 0x100000, UINT64_MAX } } } },
};

/* Just below what is left out at the top of the address space */
START_TEST(at_the_top)
{
	how.page_min = 65536;
	fixture_begin(f, &high);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	uint64_t at = IOVA_TOP / PAGE - 64;
	OK(map_pages(f, at, 0, 64, RW));
	master_on(f->device);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(source_of(0), VFD_SOURCE_DEVLOG);
	writes(PCI_NAME, at + 3, 1);
	OK(harvest(f, 0));
	ck_assert_uint_eq(owed_pages(), 16);
	OK(unmap_pages(f, at, 64));
	end_one();
}
END_TEST

static const struct model_config growing = {
	.group_count = 2,
	.groups = { { .number = 20,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = PCI_NAME, .pci = true, .log = &how } },
		      .page_sizes = 0x11000 },
		    { .number = 21,
		      .kind = MODEL_PHYSICAL,
		      .page_sizes = 0x10000 | 0x200000,
		      .devices = { { .name = OTHER, .pci = true, .log = &other_how } } } },
};

/* A group comes with which the container's pages become larger. */
START_TEST(pages_grow)
{
	how.total_limit = 64 * PAGE;
	fixture_begin(f, &growing);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	master_on(f->device);
	OK(map_pages(f, 40, 8, 40, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(unmap_pages(f, 40, 40));
	OK(vfd_group_attach(f->container, 21, &f->group2, &f->err));
	OK(vfd_device_open(f->group2, OTHER, &f->device2, &f->err));
	OK(map_pages(f, 48, 16, 16, RW));
	OK(harvest(f, VFD_HARVEST_FINAL));
	forget_log(f);
	writes(PCI_NAME, 60, 1);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_msg(is_logged(f, 28), "page 28 LOST");
	end_two();
}
END_TEST

START_TEST(refused_without_a_trace)
{
	struct vfd_track_options options = { .struct_size = sizeof options, .flags = VFD_TRACK_EXACT };

	how.no_report = true;
	open_one();
	REFUSED(VFD_EUNSUPPORTED, vfd_track_start(f->container, &options, NULL, &f->err));
	how.no_report = false;
	model_set_log(f->model, PCI_NAME, &how);
	OK(vfd_track_start(f->container, &options, NULL, &f->err));
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(owed_pages(), 0);
	end_one();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("devlog");
	TCase *tcase = tcase_create("devlog");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, reset_how, NULL);
	tcase_add_test(tcase, exact);
	tcase_add_test(tcase, the_plan_before);
	tcase_add_test(tcase, causes_name_the_device);
	tcase_add_test(tcase, opened_later);
	tcase_add_test(tcase, in_company);
	tcase_add_test(tcase, alone_type1_is_enough);
	tcase_add_test(tcase, unmapped);
	tcase_add_test(tcase, mapped_outside);
	tcase_add_test(tcase, few_ranges);
	tcase_add_test(tcase, started_but_not_read);
	tcase_add_test(tcase, exact_or_not_at_all);
	tcase_add_test(tcase, begun_anew);
	tcase_add_test(tcase, report_fails_at_unmap);
	tcase_add_test(tcase, read_and_woken);
	tcase_add_test(tcase, closed_in_order);
	tcase_add_test(tcase, reset);
	tcase_add_test(tcase, reset_and_unmapped);
	tcase_add_test(tcase, reset_by_its_guest);
	tcase_add_test(tcase, configured_by_its_guest);
	tcase_add_test(tcase, start_fails);
	tcase_add_test(tcase, paid_then_anew);
	tcase_add_test(tcase, mapped_then_anew);
	tcase_add_test(tcase, unarmed_then_closed);
	tcase_add_test(tcase, unarmed_then_detached);
	tcase_add_test(tcase, closed_but_borrowed);
	tcase_add_test(tcase, closed_but_held);
	tcase_add_test(tcase, at_the_top);
	tcase_add_test(tcase, pages_grow);
	tcase_add_test(tcase, refused_without_a_trace);
	suite_add_tcase(suite, tcase);
	add_trap(suite, 33, "a bitmap that is not there", no_memory_to_read_into);
	add_trap(suite, 34, "room for all bits", room_for_all_bits);
	add_case(suite, "many in a question", many_in_a_question);
	add_case(suite, "the plan of a closed one", the_plan_of_a_closed_one);
	add_case(suite, "far apart", far_apart);
	add_case(suite, "more mappings than in a window", more_mappings_than_in_a_window);
	add_case(suite, "pages larger than a hole", pages_larger_than_a_hole);
	add_trap(suite, 44, "larger pages", larger_pages);
	add_trap(suite, 45, "pages by 64", pages_by_64);
	add_trap(suite, 46, "REPORT fails", report_fails);
	add_trap(suite, 47, "closed while writing", closed_while_writing);
	return run_suite(suite);
}
