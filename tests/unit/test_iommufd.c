/* SPDX-License-Identifier: MIT */

/* The same promises on /dev/iommu, and its traps, which are worse. */

#include "fixture.h"

#include <endian.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>

#include "model/sys_model.h"
#include "uapi.h"
#include "uapi_iommufd.h"

#include "../suite.h"

#define NAME2 "0000:00:02.0"

#define TRACKED(number_, name_, which_)                                                                      \
	{                                                                                                    \
		.number = number_, .kind = MODEL_PHYSICAL, .devices = { { .name = name_, .pci = true } },    \
		.dirty_bits = true, .iommu = which_                                                          \
	}
#define GROUPS(...) .group_count = 2, .groups = { __VA_ARGS__ }

static const struct model_config two_iommus = { .iommufd = true,
						GROUPS(TRACKED(20, PCI_NAME, 0), TRACKED(21, NAME2, 1)) };
static const struct model_config one_iommu = { .iommufd = true,
					       GROUPS(TRACKED(20, PCI_NAME, 0), TRACKED(21, NAME2, 0)) };
static const struct model_config large = { .iommufd = true,
					   .iommu_entry = 16 * PAGE,
					   GROUPS(TRACKED(20, PCI_NAME, 0), TRACKED(21, NAME2, 0)) };
static const struct model_config with_emulated = {
	.iommufd = true,
	GROUPS(TRACKED(20, PCI_NAME, 0),
	       { .number = 7, .kind = MODEL_EMULATED, .devices = { { .name = NAME(0) } } })
};
static const struct model_config blind = { .iommufd = true,
					   .group_count = 1,
					   .groups = {
						   { .number = 20,
						     .kind = MODEL_PHYSICAL,
						     .devices = { { .name = PCI_NAME, .pci = true } } } } };
static const struct model_log its_log;
static const struct model_config logging = {
	.iommufd = true,
	.group_count = 1,
	.groups = { { .number = 20,
		      .kind = MODEL_PHYSICAL,
		      .dirty_bits = true,
		      .devices = { { .name = PCI_NAME, .pci = true, .log = &its_log } } } },
};
static const struct model_config compat = { .container = MODEL_COMPAT,
					    .iommufd = true,
					    GROUPS(TRACKED(20, PCI_NAME, 0), TRACKED(21, NAME2, 0)) };
static const struct model_config only_native = { .no_container = true,
						 .iommufd = true,
						 GROUPS(TRACKED(20, PCI_NAME, 0), TRACKED(21, NAME2, 0)) };

static struct fixture fixture, *const f = &fixture;

static void wake(struct vfd_device *device)
{
	uint16_t command = htole16(PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);

	OK(vfd_device_write(device, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2, &f->err));
}

static void writes(const char *device, uint64_t page, uint64_t count)
{
	static uint64_t value;

	ck_assert_int_eq(model_dma_write(f->model, device, page * PAGE, count * PAGE, ++value), 0);
}

static void open_both(void)
{
	OK(vfd_group_attach(f->container, 21, &f->group2, &f->err));
	OK(vfd_device_open(f->group2, NAME2, &f->device2, &f->err));
	wake(f->device2);
}

/* Three mappings: neighbours, whose border is in the middle of a word of bits, and one behind a hole. */
static void track_begun(void)
{
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	OK(map_pages(f, 0, 0, 40, RW));
	OK(map_pages(f, 40, 40, 88, RW));
	OK(map_pages(f, 200, 200, 56, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	wake(f->device);
}

static void track(const struct model_config *config)
{
	fixture_begin_on(f, config, VFD_FIND_MEMORY | VFD_FIND_LOG, VFD_BACKEND_IOMMUFD);
	track_begun();
}

static void end(void)
{
	check_law(f);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_all_logged(f);
	check_exact(f);
	fixture_end(f);
}

static uint64_t calls_of(unsigned long request)
{
	size_t count;
	uint64_t found = 0;
	const struct model_trace *trace = model_trace(f->model, &count);

	for (size_t i = 0; i < count; i++)
		found += trace[i].call == MODEL_IOCTL && trace[i].file == MODEL_FILE_IOMMU &&
			 trace[i].request == request;
	return found;
}

static void arm(enum model_file file, unsigned long request, int error, unsigned step)
{
	model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
						    .request = request,
						    .file = file,
						    .error = error,
						    .step = step });
}

/* ---- all is well ---- */

START_TEST(lifecycle)
{
	track(&one_iommu);
	writes(PCI_NAME, 3, 2);
	writes(PCI_NAME, 38, 4);
	writes(PCI_NAME, 255, 1);
	check_law(f);
	OK(harvest(f, 0));
	check_precise(f);
	ck_assert_uint_eq(reported(f), 7);
	OK(harvest(f, 0));
	check_precise(f);
	writes(PCI_NAME, 100, 3);
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(unmap_pages(f, 40, 88));
	check_precise(f);
	ck_assert(!info_of(f).drained);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert(info_of(f).drained);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	check_precise(f);
	end();
}
END_TEST

/* Mappings are remembered, and nothing is ever mapped untracked. */
START_TEST(attached_again)
{
	track(&one_iommu);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	ck_assert_uint_eq(model_counts(f->model).containers, 0);
	OK(map_pages(f, 300, 300, 10, RW));
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	wake(f->device);
	writes(PCI_NAME, 5, 1);
	writes(PCI_NAME, 305, 2);
	OK(harvest(f, 0));
	check_precise(f);
	end();
}
END_TEST

START_TEST(before_any_group)
{
	fixture_begin_on(f, &one_iommu, 0, VFD_BACKEND_IOMMUFD);
	ck_assert_uint_eq(info_of(f).kind, VFD_KIND_IOMMUFD);
	OK(map_pages(f, 0, 0, 64, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(harvest(f, 0));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	wake(f->device);
	writes(PCI_NAME, 63, 1);
	ck_assert(!info_of(f).drained);
	end();
}
END_TEST

/* One call for neighbours, one more for each hole. */
START_TEST(few_calls)
{
	track(&one_iommu);
	model_trace_start(f->model);
	OK(harvest(f, 0));
	ck_assert_uint_eq(calls_of(UAPI_HWPT_GET_DIRTY), 2);
	end();
}
END_TEST

START_TEST(shared_table)
{
	track(&one_iommu);
	open_both();
	ck_assert_uint_eq(f->container->iommufd.count, 1);
	writes(NAME2, 7, 2);
	OK(harvest(f, 0));
	check_precise(f);
	end();
}
END_TEST

START_TEST(the_plan)
{
	char text[1024];

	track(&with_emulated);
	struct vfd_plan plan = plan_of(f);
	ck_assert_uint_eq(plan.exact, 1);
	ck_assert_uint_eq(plan.entries[0].source, VFD_SOURCE_IOMMUFD);
	OK(vfd_plan_text(&plan, text, sizeof text, NULL, &f->err));
	ck_assert_msg(strstr(text, "iommufd"), "%s", text);
	OK(vfd_group_attach(f->container, 7, &f->group2, &f->err));
	ck_assert_uint_eq(plan_of(f).exact, 1);
	OK(vfd_device_open(f->group2, NAME(0), &f->device2, &f->err));
	plan = plan_of(f);
	ck_assert_uint_eq(plan.exact, 0);
	ck_assert_uint_eq(plan.deferred_bytes, 184 * PAGE);
	OK(vfd_device_pins_all(f->device2, &f->err));
	ck_assert_uint_eq(plan_of(f).exact, 1);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_all_logged(f); /* and what was owed before the promise */
	fixture_end(f);
}
END_TEST

/* What counted for a device that is closed still counts; its driver's word is more than the record. */
START_TEST(the_plan_of_closed_ones)
{
	track(&one_iommu);
	OK(vfd_device_pins_all(f->device, &f->err));
	ck_assert_uint_eq(plan_of(f).entries[0].source, VFD_SOURCE_PINS);
	end();
	track(&logging);
	OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err));
	ck_assert_uint_eq(plan_of(f).entries[0].source, VFD_SOURCE_DEVLOG);
	end();
	track(&blind);
	OK(vfd_device_close(&f->device, VFD_DISCARD, &f->err));
	struct vfd_plan plan = plan_of(f);
	ck_assert_uint_eq(plan.entries[0].source, VFD_SOURCE_DEFERRED);
	ck_assert_msg(strstr(plan.entries[0].why, "was open"), "%s", plan.entries[0].why);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	fixture_end(f);
}
END_TEST

/* A device whose IOMMU sets no bits is owed for, once. */
START_TEST(no_dirty_bits)
{
	track(&blind);
	ck_assert_uint_eq(plan_of(f).entries[0].source, VFD_SOURCE_DEFERRED);
	writes(PCI_NAME, 9, 1);
	check_law(f);
	OK(harvest(f, 0));
	ck_assert(!is_logged(f, 9));
	check_law(f);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_all_logged(f);
	fixture_end(f);
}
END_TEST

/* One that logs its own DMA is exact also when it is running at an unmap. */
START_TEST(its_own_log)
{
	track(&logging);
	ck_assert_uint_eq(plan_of(f).entries[0].source, VFD_SOURCE_DEVLOG);
	writes(PCI_NAME, 50, 2);
	OK(unmap_pages(f, 40, 88));
	ck_assert(is_logged(f, 50));
	ck_assert(!is_logged(f, 60));
	end();
}
END_TEST

static uint64_t next_page, first_recorded;

static void writes_at_each_call(struct model *model, const struct model_trace *call, uint64_t number,
				bool after, void *argument)
{
	(void)number;
	(void)argument;
	if (!after && next_page < 40)
		model_dma_write(model, PCI_NAME, next_page++ * PAGE, 8, 1);
	if (after && call->request == UAPI_HWPT_SET_DIRTY && !call->result)
		first_recorded = next_page;
}

/* Its log fails after it had begun, when its page table is not on yet. What is written until that is belongs to nobody, for tracking began
 * only when the call returned; of what comes behind it nothing is missing. */
START_TEST(its_log_begins_by_half)
{
	track(&logging);
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(vfd_track_stop(f->container, VFD_COLLECT, &f->err));
	forget_log(f);
	OK(vfd_device_resume(f->device, &f->err));
	wake(f->device);
	next_page = first_recorded = 0;
	model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
						    .file = MODEL_FILE_DEVICE,
						    .request = VFIO_DEVICE_FEATURE,
						    .flags = UAPI_FEATURE_SET | UAPI_FEATURE_LOG_START,
						    .error = EFAULT,
						    .step = 1 });
	model_on_call(f->model, writes_at_each_call, NULL);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	uint64_t returned = next_page;
	ck_assert_uint_eq(model_fault_fired(f->model), 1);
	ck_assert(first_recorded > 0 && first_recorded <= returned);
	OK(harvest(f, 0));
	OK(harvest(f, 0));
	model_on_call(f->model, NULL, NULL);
	OK(harvest(f, 0));
	ck_assert_uint_gt(next_page, returned);
	for (uint64_t page = 0; page < next_page; page++)
		ck_assert_int_eq(is_logged(f, page), page >= first_recorded);
	model_forget_written(f->model); /* those before */
	end();
}
END_TEST

/* Asked first: nothing is tried that cannot be, and the plan says who said so. */
START_TEST(asked_before_tried)
{
	fixture_begin_on(f, &blind, 0, VFD_BACKEND_IOMMUFD);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	model_trace_start(f->model);
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	ck_assert_uint_eq(calls_of(UAPI_GET_HW_INFO), 1);
	ck_assert_uint_eq(calls_of(UAPI_HWPT_ALLOC), 0);
	ck_assert(strstr(plan_of(f).entries[0].why, "its IOMMU sets no dirty bits (IOMMU_GET_HW_INFO)"));
	end();
}
END_TEST

/* What fails to answer is no "no". */
START_TEST(no_answer_is_no_no)
{
	fixture_begin_on(f, &one_iommu, 0, VFD_BACKEND_IOMMUFD);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	arm(MODEL_FILE_IOMMU, UAPI_GET_HW_INFO, ENOMEM, 0);
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	ck_assert_uint_eq(plan_of(f).entries[0].source, VFD_SOURCE_IOMMUFD);
	end();
}
END_TEST

/* An older iommufd maps and attaches, and its devices are owed for. */
START_TEST(older_kernels)
{
	for (int age = MODEL_NO_DIRTY; age <= MODEL_NO_HWPT; age++) {
		struct model_config config = one_iommu;
		config.age = (enum model_iommufd_age)age;
		track(&config);
		struct vfd_plan plan = plan_of(f);
		ck_assert_uint_eq(plan.entries[0].source, VFD_SOURCE_DEFERRED);
		ck_assert_msg(strstr(plan.entries[0].why,
				     age == MODEL_NO_DIRTY ? "sets no dirty bits" : "Linux 6.7"),
			      "%s", plan.entries[0].why);
		writes(PCI_NAME, 9, 1);
		OK(harvest(f, 0));
		check_law(f);
		OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
		check_all_logged(f);
		fixture_end(f);
	}
}
END_TEST

/* Nor does a call that is too long for it stop anything. */
START_TEST(too_long_for_the_kernel)
{
	static const unsigned long calls[] = { UAPI_GET_HW_INFO, UAPI_HWPT_ALLOC };

	for (size_t i = 0; i < 2; i++) {
		fixture_begin_on(f, &one_iommu, 0, VFD_BACKEND_IOMMUFD);
		OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
		arm(MODEL_FILE_IOMMU, calls[i], E2BIG, 0);
		OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
		ck_assert_uint_eq(plan_of(f).entries[0].source, VFD_SOURCE_DEFERRED);
		end();
	}
}
END_TEST

START_TEST(a_bit_is_an_entry)
{
	struct vfd_cause cause = { 0 };
	size_t count;

	track(&one_iommu);
	writes(PCI_NAME, 3, 2);
	OK(harvest(f, 0));
	OK(vfd_consumer_causes(vfd_log_consumer(f->log), &cause, 1, &count, &f->err));
	ck_assert_str_eq(cause.who, "iommufd (per page-table entry)");
	ck_assert_msg(strstr(plan_of(f).entries[0].why, "one per page-table entry"), "%s",
		      plan_of(f).entries[0].why);
	end();
}
END_TEST

/* Pages that one write of one page is worth, with entries of 16; and what the plan says of it. */
static uint64_t pages_told(uint32_t flags, bool refused, const char *said)
{
	fixture_begin_on(f, &large, flags, VFD_BACKEND_IOMMUFD);
	if (refused)
		arm(MODEL_FILE_IOMMU, UAPI_IOMMU_OPTION, EOPNOTSUPP, 0);
	track_begun();
	writes(PCI_NAME, 17, 1);
	OK(harvest(f, 0));
	check_law(f);
	uint64_t told = reported(f);
	ck_assert_msg(strstr(plan_of(f).entries[0].why, said), "%s", plan_of(f).entries[0].why);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err)); /* each address space is asked for it anew */
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	ck_assert(f->container->iommufd.small == (bool)flags);
	end();
	return told;
}

START_TEST(small_entries)
{
	ck_assert_uint_eq(pages_told(0, false, "stands for all of it"), 16);
	ck_assert_uint_eq(pages_told(VFD_OPEN_FINE, false, "none is larger than a page"), 1);
	ck_assert_uint_eq(pages_told(VFD_OPEN_FINE, true, "refused to have none"), 16);
}
END_TEST

START_TEST(stop_and_start)
{
	track(&one_iommu);
	writes(PCI_NAME, 1, 1);
	REFUSED(VFD_EDIRTY, vfd_track_stop(f->container, 0, &f->err));
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(vfd_track_stop(f->container, VFD_COLLECT, &f->err));
	check_precise(f);
	forget_log(f);
	OK(vfd_device_resume(f->device, &f->err));
	writes(PCI_NAME, 2, 1); /* nobody tracks */
	model_forget(f->model);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	writes(PCI_NAME, 4, 1);
	OK(harvest(f, 0));
	check_precise(f);
	end();
}
END_TEST

/* ---- traps ---- */

/* A bitmap that is not there is no error to the kernel: it is not asked. */
START_TEST(never_a_bad_buffer)
{
	track(&one_iommu);
	writes(PCI_NAME, 3, 2);
	model_trace_start(f->model);
	model_fault(f->model, (struct model_fault){ .call = MODEL_POPULATE, .error = ENOMEM });
	REFUSED(-ENOMEM, harvest(f, 0));
	ck_assert_uint_eq(calls_of(UAPI_HWPT_GET_DIRTY), 1); /* of the other span */
	check_law(f);
	OK(harvest(f, 0));
	check_precise(f);
	end();
}
END_TEST

/* Large entries, also across the middle of a mapping, and at both ends of one. */
START_TEST(whole_mappings)
{
	track(&large);
	OK(map_pages(f, 308, 308, 128, RW)); /* its middle is inside an entry */
	writes(PCI_NAME, 370, 1);
	writes(PCI_NAME, 17, 1);
	writes(PCI_NAME, 95, 1);
	writes(PCI_NAME, 39, 2);
	writes(PCI_NAME, 90, 1);
	f->container->space.backend.caps.dirty_bitmap_limit = 8; /* the least that a span can be */
	OK(vfd_track_harvest_range(f->container, 40 * PAGE, 60 * PAGE - 1, NULL, &f->err));
	check_law(f);
	OK(harvest(f, 0));
	check_all_logged(f);
	check_exact(f);
	ck_assert_uint_eq(model_page_count(f->model, MODEL_DROPPED), 0);
	end();
}
END_TEST

START_TEST(never_over_holes)
{
	track(&one_iommu);
	writes(PCI_NAME, 10, 1);
	writes(PCI_NAME, 210, 1);
	OK(harvest(f, 0));
	ck_assert(is_logged(f, 210));
	check_precise(f);
	end();
}
END_TEST

/* A device with an IOMMU of its own comes: its table is switched on, and no other once more. */
START_TEST(on_only_once)
{
	track(&two_iommus);
	writes(PCI_NAME, 11, 2);
	open_both();
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(harvest(f, 0));
	ck_assert_uint_eq(reported(f), 2);
	check_precise(f);
	end();
}
END_TEST

/* The start fails at the second table. The first is not asked for twice, and nothing that was on is lost. */
/* A new table can neither be switched on nor given back: it is still given back at the end. */
START_TEST(table_stays)
{
	track(&two_iommus);
	OK(vfd_group_attach(f->container, 21, &f->group2, &f->err));
	arm(MODEL_FILE_IOMMU, UAPI_HWPT_SET_DIRTY, EFAULT, 0);
	arm(MODEL_FILE_IOMMU, UAPI_IOMMU_DESTROY, EFAULT, 0);
	REFUSED(-EFAULT, vfd_device_open(f->group2, NAME2, &f->device2, &f->err));
	arm(MODEL_FILE_IOMMU, UAPI_HWPT_SET_DIRTY, ENOMEM,
	    0); /* it is still off: nobody gets into it before it is on */
	REFUSED(-ENOMEM, vfd_device_open(f->group2, NAME2, &f->device2, &f->err));
	OK(vfd_device_open(f->group2, NAME2, &f->device2, &f->err));
	wake(f->device2);
	writes(NAME2, 8, 1);
	OK(harvest(f, 0));
	end();
}
END_TEST

START_TEST(start_fails_halfway)
{
	track(&two_iommus);
	open_both();
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(vfd_device_quiesce(f->device2, &f->err));
	OK(vfd_track_stop(f->container, VFD_COLLECT, &f->err));
	model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
						    .request = UAPI_HWPT_SET_DIRTY,
						    .file = MODEL_FILE_IOMMU,
						    .nth = 2,
						    .error = ENOMEM });
	REFUSED(-ENOMEM, vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert(!f->container->iommufd.tables[0].on);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	model_forget(f->model);
	wake(f->device);
	writes(PCI_NAME, 8, 1);
	OK(harvest(f, 0));
	check_law(f);
	end();
}
END_TEST

/* A device goes, its table stays until the bits are read. */
START_TEST(tables_outlive_devices)
{
	track(&two_iommus);
	open_both();
	writes(PCI_NAME, 20, 2);
	writes(NAME2, 30, 2);
	OK(vfd_device_close(&f->device, VFD_DISCARD, &f->err)); /* the bits are in the table */
	check_law(f);
	OK(harvest(f, 0));
	check_precise(f);
	ck_assert_uint_eq(reported(f), 4);
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	ck_assert_uint_eq(f->container->iommufd.count, 2);
	end();
}
END_TEST

START_TEST(tables_are_united)
{
	track(&two_iommus);
	open_both();
	ck_assert_uint_eq(f->container->iommufd.count, 2);
	writes(PCI_NAME, 20, 2);
	writes(NAME2, 21, 3);
	OK(harvest(f, 0));
	ck_assert_uint_eq(reported(f), 4);
	check_precise(f);
	end();
}
END_TEST

static void write_at_unmap(struct model *model, const struct model_trace *call, uint64_t number, bool after,
			   void *arg)
{
	(void)number;
	(void)arg;
	if (!after && call->file == MODEL_FILE_IOMMU && call->request == UAPI_IOAS_UNMAP)
		model_dma_write(model, PCI_NAME, 60 * PAGE, PAGE, 77);
}

/* Between the reading and the unmapping a running device writes. */
START_TEST(unmap_tears)
{
	track(&one_iommu);
	writes(PCI_NAME, 50, 1);
	model_on_call(f->model, write_at_unmap, NULL);
	OK(unmap_pages(f, 40, 88));
	model_on_call(f->model, NULL, NULL);
	ck_assert(is_logged(f, 60));
	check_all_logged(f);
	check_exact(f);
	ck_assert_uint_eq(reported(f), 1);
	end();
}
END_TEST

/* The first UNMAP that comes removes the mapping and does not tell, the second is refused. */
static void unmap_not_told(uint64_t page, uint64_t count)
{
	struct model_fault fault = { .call = MODEL_IOCTL,
				     .file = MODEL_FILE_IOMMU,
				     .request = UAPI_IOAS_UNMAP,
				     .error = EFAULT,
				     .step = 1 };

	model_fault(f->model, fault);
	fault.error = EINVAL;
	fault.step = 0;
	fault.nth = 2;
	model_fault(f->model, fault);
	REFUSED(-EINVAL, unmap_pages(f, page, count));
}

/* Where one may be gone its neighbours are not asked for together with it: behind a hole the kernel tells nothing. */
START_TEST(beside_a_doubtful_one)
{
	track(&one_iommu);
	OK(harvest(f, 0)); /* which plans both together */
	writes(PCI_NAME, 50, 2);
	unmap_not_told(0, 40);
	OK(harvest(f, 0));
	ck_assert(is_logged(f, 50));
	check_all_logged(f);
	unmap_not_told(200, 56);
	OK(unmap_pages(f, 200, 56));
	OK(unmap_pages(f, 0, 40));
	ck_assert_uint_eq(info_of(f).mappings, 1);
	end();
}
END_TEST

/* As unmap_tears, but the mapping stays in the table. */
START_TEST(doubtful_tears)
{
	track(&one_iommu);
	model_on_call(f->model, write_at_unmap, NULL);
	unmap_not_told(40, 88);
	model_on_call(f->model, NULL, NULL);
	ck_assert(is_logged(f, 60));
	check_all_logged(f);
	end();
}
END_TEST

/* ---- a device that logs its own DMA, beside its page table ---- */

static void fail_report(void)
{
	model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
						    .request = VFIO_DEVICE_FEATURE,
						    .file = MODEL_FILE_DEVICE,
						    .flags = UAPI_FEATURE_GET | UAPI_FEATURE_LOG_REPORT,
						    .error = EIO });
}

/* The table has what the log failed to say, and goes on. */
START_TEST(its_log_fails)
{
	track(&logging);
	writes(PCI_NAME, 50, 2);
	fail_report();
	REFUSED(-EIO, harvest(f, 0));
	ck_assert_uint_eq(plan_of(f).entries[0].source, VFD_SOURCE_IOMMUFD);
	ck_assert_uint_eq(plan_of(f).deferred_bytes, 0);
	writes(PCI_NAME, 210, 1);
	OK(harvest(f, VFD_HARVEST_FINAL));
	check_precise(f);
	ck_assert_uint_eq(reported(f), 3);
	end();
}
END_TEST

/* But not what is written into a mapping while that goes: of one that goes later, and of the one at which the log failed. */
START_TEST(its_log_fails_and_tears)
{
	for (int early = 0; early <= 1; early++) {
		track(&logging);
		fail_report();
		if (early)
			REFUSED(-EIO, harvest(f, 0));
		model_on_call(f->model, write_at_unmap, NULL);
		OK(unmap_pages(f, 40, 88));
		model_on_call(f->model, NULL, NULL);
		ck_assert_uint_eq(model_fault_fired(f->model), 1);
		ck_assert(is_logged(f, 60));
		end();
	}
}
END_TEST

static void destroy_table(unsigned which)
{
	struct uapi_iommu_destroy destroy = { .size = sizeof destroy,
					      .id = f->container->iommufd.tables[which].id };

	ck_assert_int_eq(raw_ioctl(f, vfd_container_fd(f->container), UAPI_IOMMU_DESTROY, &destroy), 0);
	REFUSED(VFD_ELOST, harvest(f, 0));
}

/* Once a table is lost none is read any more. */
START_TEST(its_log_fails_without_tables)
{
	struct model_config two = two_iommus;

	two.groups[0].devices[0].log = &its_log;
	track(&two);
	open_both();
	OK(vfd_device_close(&f->device2, VFD_DISCARD, &f->err));
	destroy_table(1);
	OK(vfd_group_detach(&f->group2, VFD_COLLECT, &f->err));
	forget_log(f);
	writes(PCI_NAME, 70, 1);
	fail_report();
	REFUSED(-EIO, harvest(f, 0));
	ck_assert_uint_gt(plan_of(f).deferred_bytes, 0);
	struct vfd_harvest result = { .struct_size = sizeof result };
	OK(vfd_track_harvest(f->container, VFD_HARVEST_FINAL, &result, &f->err));
	ck_assert(is_logged(f, 70));
	ck_assert_uint_eq(result.assumed[VFD_WHY_NO_TRACKING], result.pages_assumed); /* nobody has it */
	end();
}
END_TEST

/* What emulated devices do is in no table. */
START_TEST(emulated_marks_nothing)
{
	track(&with_emulated);
	OK(vfd_group_attach(f->container, 7, &f->group2, &f->err));
	OK(vfd_device_open(f->group2, NAME(0), &f->device2, &f->err));
	writes(PCI_NAME, 3, 1);
	device_writes(f, 0, 30, 2);
	check_law(f);
	OK(harvest(f, 0));
	check_law(f);
	ck_assert(is_logged(f, 3));
	ck_assert(!is_logged(f, 30));
	OK(vfd_group_detach(&f->group2, VFD_COLLECT, &f->err));
	check_law(f);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_all_logged(f);
	fixture_end(f);
}
END_TEST

/* Nobody could say that it is emulated: it is found out when it fits into no table. */
START_TEST(a_doubtful_kind)
{
	track(&with_emulated);
	model_fault(f->model, (struct model_fault){ .call = MODEL_READ_FILE, .error = EACCES });
	OK(vfd_group_attach(f->container, 7, &f->group2, &f->err));
	OK(vfd_device_open(f->group2, NAME(0), &f->device2, &f->err));
	ck_assert_uint_eq(plan_of(f).exact, 0);
	device_writes(f, 0, 30, 2);
	check_law(f);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_all_logged(f);
	fixture_end(f);
}
END_TEST

/* iommufd in a container's clothes is recognised; natively it is used, when anything will do. */
START_TEST(compat_is_not_trusted)
{
	struct vfd_container *other = NULL;
	struct vfd_container_options options = { .struct_size = sizeof options,
						 .backend = VFD_BACKEND_TYPE1 };

	fixture_begin_on(f, &compat, 0, VFD_BACKEND_AUTO);
	ck_assert_uint_eq(info_of(f).kind, VFD_KIND_IOMMUFD);
	REFUSED(VFD_EUNSUPPORTED, container_open_on(&f->model->sys, &options, &other, &f->err));
	end();
}
END_TEST

/* ---- which backend ---- */

START_TEST(choice)
{
	struct vfd_container *other = NULL;
	struct vfd_container_options options = { .struct_size = sizeof options,
						 .backend = VFD_BACKEND_TYPE1 };

	fixture_begin_on(f, &only_native, 0, VFD_BACKEND_AUTO);
	ck_assert_uint_eq(info_of(f).kind, VFD_KIND_IOMMUFD);
	REFUSED(-ENOENT, container_open_on(&f->model->sys, &options, &other, &f->err));
	options.backend = 3;
	REFUSED(VFD_EINVALID, container_open_on(&f->model->sys, &options, &other, &f->err));
	end();
	fixture_begin_on(f, &one_iommu, 0, VFD_BACKEND_AUTO);
	ck_assert_uint_eq(info_of(f).kind, VFD_KIND_TYPE1_V2);
	end();
	fixture_begin_on(f, NULL, 0, VFD_BACKEND_AUTO);
	options.backend = VFD_BACKEND_IOMMUFD;
	REFUSED(-ENOENT, container_open_on(&f->model->sys, &options, &other, &f->err));
	ck_assert(strstr(f->err.message, "CONFIG_IOMMUFD"));
	end();
}
END_TEST

/* ---- taken over ---- */

/* An address space of somebody else, with two mappings. */
static struct vfd_adoption owned(struct vfd_mapping mappings[2], const struct model_config *config)
{
	struct uapi_ioas_alloc ioas = { .size = sizeof ioas };

	fixture_begin_on(f, config, 0, VFD_BACKEND_IOMMUFD);
	OK(vfd_container_close(&f->container, 0, &f->err));
	int fd = f->model->sys.open(&f->model->sys, "/dev/iommu", 0);
	ck_assert_int_eq(raw_ioctl(f, fd, UAPI_IOAS_ALLOC, &ioas), 0);
	for (uint64_t i = 0; i < 2; i++) {
		struct uapi_ioas_map map = { .size = sizeof map,
					     .flags = UAPI_IOAS_MAP_FIXED | UAPI_IOAS_MAP_READ |
						      UAPI_IOAS_MAP_WRITE,
					     .ioas_id = ioas.out_ioas_id,
					     .user_va = (uintptr_t)(f->memory + 200 * i * PAGE),
					     .length = 64 * PAGE,
					     .iova = 200 * i * PAGE };
		ck_assert_int_eq(raw_ioctl(f, fd, UAPI_IOAS_MAP, &map), 0);
		mappings[i] = (struct vfd_mapping){ .struct_size = sizeof mappings[i],
						    .flags = RW,
						    .iova = map.iova,
						    .size = map.length,
						    .memory = f->memory + 200 * i * PAGE };
	}
	return (struct vfd_adoption){ .struct_size = sizeof(struct vfd_adoption),
				      .container_fd = fd,
				      .mapping_count = 2,
				      .mappings = mappings,
				      .log = f->log,
				      .backend = VFD_BACKEND_IOMMUFD,
				      .ioas = ioas.out_ioas_id };
}

static int adopt(const struct vfd_adoption *what)
{
	return container_adopt_on(&f->model->sys, what, &f->container, &f->err);
}

START_TEST(adopted)
{
	struct vfd_mapping mappings[2];
	struct vfd_adoption what = owned(mappings, &one_iommu);

	OK(adopt(&what));
	ck_assert_uint_eq(info_of(f).kind, VFD_KIND_IOMMUFD);
	ck_assert_uint_eq(info_of(f).mappings, 2);
	ck_assert_uint_eq(info_of(f).tracking, 0);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	model_trace_start(f->model);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	ck_assert_uint_eq(calls_of(UAPI_IOAS_MAP), 0); /* where it was */
	wake(f->device);
	writes(PCI_NAME, 3, 2);
	writes(PCI_NAME, 201, 1);
	OK(harvest(f, 0));
	check_precise(f);
	ck_assert_uint_eq(reported(f), 3);
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(unmap_pages(f, 200, 64));
	check_precise(f);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err)); /* in an address space of our own */
	ck_assert_uint_eq(info_of(f).mappings, 1);
	end();
}
END_TEST

/* Its owner has nothing mapped; what is mapped later is the library's. */
START_TEST(adopted_empty)
{
	struct vfd_mapping mappings[2];
	struct vfd_adoption what = owned(mappings, &one_iommu);

	what.mapping_count = 0;
	what.mappings = NULL;
	OK(adopt(&what));
	ck_assert_uint_eq(info_of(f).mappings, 0);
	OK(map_pages(f, 500, 500, 10, RW));
	ck_assert_uint_eq(info_of(f).mappings, 1);
	end();
}
END_TEST

/* Declared longer than it is: of what is unmapped as a whole nothing is left. */
START_TEST(adopted_too_long)
{
	struct vfd_mapping mappings[2];
	struct vfd_adoption what = owned(mappings, &one_iommu);

	mappings[1].size = 100 * PAGE;
	OK(adopt(&what));
	REFUSED(VFD_ESHORT, unmap_pages(f, 200, 100));
	OK(unmap_pages(f, 200, 100));
	ck_assert_uint_eq(info_of(f).mappings, 1);
	end();
}
END_TEST

START_TEST(adopted_wrongly)
{
	struct vfd_mapping mappings[2];
	struct vfd_adopt_group group = { .number = 20 };
	struct vfd_adoption what = owned(mappings, &one_iommu), wrong = what;

	wrong.flags = VFD_ADOPT_DUP;
	REFUSED(VFD_EUNSUPPORTED, adopt(&wrong));
	wrong = what, wrong.groups = &group, wrong.group_count = 1;
	REFUSED(VFD_EUNSUPPORTED, adopt(&wrong));
	wrong = what, wrong.device_count = 1;
	REFUSED(VFD_EUNSUPPORTED, adopt(&wrong));
	wrong = what, wrong.ioas++;
	REFUSED(-EINVAL, adopt(&wrong));
	wrong = what, wrong.backend = 3;
	REFUSED(VFD_EINVALID, adopt(&wrong));
	wrong = what, wrong.mappings = NULL;
	REFUSED(VFD_EINVALID, adopt(&wrong));
	wrong = what, wrong.container_fd = f->model->sys.open(&f->model->sys, "/dev/vfio/vfio", 0);
	ck_assert_int_lt(adopt(&wrong), 0);
	ck_assert(strstr(f->err.message, "not one of /dev/iommu"));
	ck_assert_int_eq(f->model->sys.close(&f->model->sys, wrong.container_fd), 0);
	OK(adopt(&what)); /* the descriptor was left as it was */
	end();
}
END_TEST

static const char *const two_names[] = { PCI_NAME, NAME2 };

/* Of which kind, and that the reason says so. */
static void chosen(const struct model_config *config, const char *const *devices, uint32_t count,
		   enum vfd_container_kind kind, const char *why)
{
	struct vfd_container_options options = { .struct_size = sizeof options,
						 .devices = devices,
						 .device_count = count };
	struct vfd_container *other = NULL;

	fixture_begin_on(f, config, 0, VFD_BACKEND_AUTO);
	unsigned before = model_counts(f->model).descriptors;
	OK(container_open_on(&f->model->sys, &options, &other, &f->err));
	ck_assert_uint_eq(model_counts(f->model).descriptors, before + 1);
	struct vfd_container_info info = { .struct_size = sizeof info };
	OK(vfd_container_info(other, &info, &f->err));
	ck_assert_uint_eq(info.kind, kind);
	ck_assert_msg(strstr(info.why, why), "%s, not %s", info.why, why);
	OK(vfd_container_close(&other, 0, &f->err));
	end();
}

START_TEST(chosen_by_devices)
{
	chosen(&two_iommus, two_names, 2, VFD_KIND_IOMMUFD, "the IOMMU of each device named sets dirty bits");
	chosen(&two_iommus, NULL, 0, VFD_KIND_TYPE1_V2, "no devices were named");
	chosen(&blind, two_names, 1, VFD_KIND_TYPE1_V2, PCI_NAME ": its IOMMU sets no dirty bits");
	chosen(&only_native, NULL, 0, VFD_KIND_IOMMUFD, "/dev/vfio/vfio");
	chosen(&compat, NULL, 0, VFD_KIND_IOMMUFD, "compatibility container");
	static const char *const strange[] = { PCI_NAME, "0000:00:0f.0" };
	chosen(&two_iommus, strange, 2, VFD_KIND_TYPE1_V2, "0000:00:0f.0 has no IOMMU group");
	chosen(NULL, two_names, 2, VFD_KIND_TYPE1_V2, "/dev/iommu");
}
END_TEST

/* One that cannot is enough, the last too. */
START_TEST(chosen_if_all_can)
{
	struct model_config config = two_iommus;

	config.groups[1].dirty_bits = false;
	chosen(&config, two_names, 2, VFD_KIND_TYPE1_V2, NAME2 ": its IOMMU sets no dirty bits");
	config = two_iommus;
	config.no_nodes = true;
	chosen(&config, two_names, 2, VFD_KIND_TYPE1_V2, "CONFIG_VFIO_DEVICE_CDEV");
	config = two_iommus;
	config.age = MODEL_NO_HWPT;
	chosen(&config, two_names, 2, VFD_KIND_TYPE1_V2, "older than dirty bits");
	static const char *const none[] = { PCI_NAME, NULL };
	struct vfd_container_options options = { .struct_size = sizeof options,
						 .devices = none,
						 .device_count = 2 };
	struct vfd_container *other = NULL;
	fixture_begin_on(f, &two_iommus, 0, VFD_BACKEND_AUTO);
	REFUSED(VFD_EINVALID, container_open_on(&f->model->sys, &options, &other, &f->err));
	end();
}
END_TEST

/* A device that cannot be asked is no reason to fail, and whatever fails leaves nothing behind. */
static void choose_with_fault(struct model_fault fault)
{
	struct vfd_container_options options = { .struct_size = sizeof options,
						 .devices = two_names,
						 .device_count = 2 };
	struct vfd_container_info info = { .struct_size = sizeof info };
	struct vfd_container *other = NULL;

	fixture_begin_on(f, &two_iommus, 0, VFD_BACKEND_AUTO);
	model_fault(f->model, fault);
	OK(container_open_on(&f->model->sys, &options, &other, &f->err));
	bool failed = model_fault_fired(f->model);
	model_fault_clear(f->model);
	OK(vfd_container_info(other, &info, &f->err));
	ck_assert_uint_eq(info.kind, failed ? VFD_KIND_TYPE1_V2 : VFD_KIND_IOMMUFD);
	OK(vfd_container_close(&other, 0, &f->err));
	end();
}

START_TEST(chosen_in_doubt)
{
	for (uint64_t nth = 1; nth < 6; nth++) {
		choose_with_fault((struct model_fault){ .call = MODEL_OPEN, .nth = nth, .error = ENOMEM });
		choose_with_fault((struct model_fault){ .call = MODEL_IOCTL, .nth = nth, .error = ENOMEM });
	}
}
END_TEST

/* A program that was built with the options of before. */
START_TEST(older_options)
{
	struct vfd_container *other = NULL;
	struct vfd_container_options options = { .struct_size =
							 offsetof(struct vfd_container_options, backend),
						 .backend = 77 };

	fixture_begin_on(f, &one_iommu, 0, VFD_BACKEND_IOMMUFD);
	OK(container_open_on(&f->model->sys, &options, &other, &f->err));
	OK(vfd_container_close(&other, 0, &f->err));
	end();
}
END_TEST

/* ---- what half succeeds ---- */

START_TEST(mapped_but_not_told)
{
	track(&one_iommu);
	arm(MODEL_FILE_IOMMU, UAPI_IOAS_MAP, EFAULT, 1);
	OK(map_pages(f, 300, 300, 20, RW));
	ck_assert_uint_eq(model_fault_fired(f->model), 1);
	writes(PCI_NAME, 310, 1);
	OK(harvest(f, 0));
	check_precise(f);
	end();
}
END_TEST

/* And refused when it is asked again: it must not stay where no table has it. */
START_TEST(mapped_and_not_to_be_asked)
{
	static const int errors[] = { ENOMEM, EFAULT, ENOSPC };

	track(&one_iommu);
	for (size_t i = 0; i < 3; i++) {
		arm(MODEL_FILE_IOMMU, UAPI_IOAS_MAP, EFAULT, 1);
		model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
							    .request = UAPI_IOAS_MAP,
							    .file = MODEL_FILE_IOMMU,
							    .nth = 2,
							    .error = errors[i] });
		REFUSED(-EFAULT, map_pages(f, 300, 300, 20, RW));
		ck_assert_uint_eq(model_fault_fired(f->model), 2 * (i + 1));
		ck_assert_int_ne(model_dma_write(f->model, PCI_NAME, 310 * PAGE, 8, 1), 0);
	}
	OK(map_pages(f, 300, 300, 20, RW));
	writes(PCI_NAME, 310, 1);
	check_law(f);
	end();
}
END_TEST

START_TEST(unmapped_but_not_told)
{
	track(&one_iommu);
	writes(PCI_NAME, 210, 1);
	OK(vfd_device_quiesce(f->device, &f->err));
	arm(MODEL_FILE_IOMMU, UAPI_IOAS_UNMAP, EFAULT, 1);
	OK(unmap_pages(f, 200, 56));
	ck_assert_uint_eq(info_of(f).mappings, 2);
	check_precise(f);
	end();
}
END_TEST

START_TEST(attached_but_not_told)
{
	track(&two_iommus);
	OK(vfd_group_attach(f->container, 21, &f->group2, &f->err));
	model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
						    .request = UAPI_DEVICE_ATTACH,
						    .file = MODEL_FILE_DEVICE,
						    .nth = 2, /* the other IOMMU's table does not fit */
						    .error = EFAULT,
						    .step = 1 });
	REFUSED(-EFAULT, vfd_device_open(f->group2, NAME2, &f->device2, &f->err));
	ck_assert_int_eq(model_dma_write(f->model, NAME2, 0, 8, 1), -EACCES);
	OK(vfd_device_open(f->group2, NAME2, &f->device2, &f->err));
	wake(f->device2);
	writes(NAME2, 1, 1);
	OK(harvest(f, 0));
	check_precise(f);
	end();
}
END_TEST

/* 21 is in no table, and no bus mastering holds it back: it may write as soon as it is attached. */
static const struct model_config beside_blind = {
	.iommufd = true,
	GROUPS(TRACKED(20, PCI_NAME, 0),
	       { .number = 21, .kind = MODEL_PHYSICAL, .devices = { { .name = NAME2 } } })
};

static void writes_when_attached(struct model *model, const struct model_trace *call, uint64_t number,
				 bool after, void *argument)
{
	(void)number, (void)argument;
	if (after && call->call == MODEL_IOCTL && call->request == UAPI_DEVICE_ATTACH)
		model_dma_write(model, NAME2, 5 * PAGE, 8, 1);
}

/* It was in the address space for a moment, and then could not be opened. */
START_TEST(attached_in_vain)
{
	track(&beside_blind);
	OK(vfd_group_attach(f->container, 21, &f->group2, &f->err));
	model_on_call(f->model, writes_when_attached, NULL);
	arm(MODEL_FILE_IOMMU, UAPI_IOAS_IOVA_RANGES, ENOMEM, 0);
	REFUSED(-ENOMEM, vfd_device_open(f->group2, NAME2, &f->device2, &f->err));
	model_on_call(f->model, NULL, NULL);
	ck_assert_uint_eq(model_device_pages(f->model, NAME2, MODEL_TRUTH, f->memory, PAGES * PAGE, NULL), 1);
	check_law(f);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_all_logged(f);
	fixture_end(f);
}
END_TEST

/* The first try comes to its end, a device writes, and then it is taken back: once. */
static int map_in_two_tries(const struct sys *sys, int fd, unsigned long request, void *arg)
{
	const struct uapi_ioas_map *map = arg;
	int rc = sys_model.ioctl(sys, fd, request, arg);

	if (request != UAPI_IOAS_MAP || rc)
		return rc;
	struct uapi_ioas_unmap unmap = {
		.size = sizeof unmap, .ioas_id = map->ioas_id, .iova = map->iova, .length = map->length
	};
	f->model->sys.ioctl = sys_model.ioctl;
	writes(PCI_NAME, map->iova / PAGE, 1);
	ck_assert_int_eq(sys_model.ioctl(sys, fd, UAPI_IOAS_UNMAP, &unmap), 0);
	return -EFAULT;
}

START_TEST(mapped_at_the_second_try)
{
	track(&one_iommu);
	OK(vfd_unmap_all(f->container, &f->err));
	forget_log(f);
	f->model->sys.ioctl = map_in_two_tries;
	OK(map_pages(f, 8, 8, 4, RW));
	ck_assert_ptr_eq(f->model->sys.ioctl, sys_model.ioctl);
	check_device_logged(f, PCI_NAME);
	ck_assert_uint_eq(info_of(f).mappings, 1);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	fixture_end(f);
}
END_TEST

/* A table cannot go: nothing was lost, and it can be tried again. */
START_TEST(busy_at_the_end)
{
	track(&one_iommu);
	writes(PCI_NAME, 12, 1);
	arm(MODEL_FILE_IOMMU, UAPI_IOMMU_DESTROY, EBUSY, 0);
	REFUSED(-EBUSY, vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	check_law(f);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	check_precise(f);
	end();
}
END_TEST

/* ---- IOVAs that must stay usable ---- */

static const struct model_config narrow = {
	.iommufd = true,
	.group_count = 1,
	.groups = { { .number = 20,
		      .kind = MODEL_PHYSICAL,
		      .dirty_bits = true,
		      .ranges = { { 0, 0xfedfffff }, { 0xfef00000, (UINT64_C(1) << 48) - 1 } },
		      .devices = { { .name = PCI_NAME, .pci = true } } } },
};
static const struct vfd_iova_range below_4g = { 0, UINT64_C(0xffffffff) };
static const struct vfd_iova_range around[] = { { 0, 0xfedfffff },
						{ UINT64_C(1) << 32, UINT64_C(0xfffffffff) } };

/* Said before the device comes, and in an address space that is made later. */
START_TEST(usable_or_not_opened)
{
	fixture_begin_on(f, &narrow, 0, VFD_BACKEND_IOMMUFD);
	OK(vfd_iova_allow(f->container, &below_4g, 1, &f->err));
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	REFUSED(-EADDRINUSE, vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	ck_assert_msg(strstr(f->err.message, "vfd_iova_allow"), "%s", f->err.message);
	OK(vfd_iova_allow(f->container, around, 2, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	REFUSED(-EADDRINUSE, vfd_iova_allow(f->container, &below_4g, 1, &f->err));
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	OK(vfd_iova_allow(f->container, &below_4g, 1, &f->err)); /* nobody is there */
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	REFUSED(-EADDRINUSE, vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	OK(vfd_iova_allow(f->container, NULL, 0, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	fixture_end(f);
}
END_TEST

/* One that cannot be told fails the attach, and not the law. */
START_TEST(usable_cannot_be_told)
{
	fixture_begin_on(f, &narrow, 0, VFD_BACKEND_IOMMUFD);
	OK(vfd_iova_allow(f->container, around, 2, &f->err));
	arm(MODEL_FILE_IOMMU, UAPI_IOAS_ALLOW_IOVAS, ENOMEM, 0);
	REFUSED(-ENOMEM, vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	fixture_end(f);
}
END_TEST

START_TEST(usable_wrongly)
{
	static const struct vfd_iova_range backwards = { 4096, 4095 };
	static const struct vfd_iova_range meet[] = { { 0, 4096 }, { 4096, 8191 } };

	fixture_begin_on(f, &narrow, 0, VFD_BACKEND_IOMMUFD);
	REFUSED(VFD_EINVALID, vfd_iova_allow(NULL, around, 2, &f->err));
	REFUSED(VFD_EINVALID, vfd_iova_allow(f->container, NULL, 1, &f->err));
	REFUSED(VFD_EINVALID, vfd_iova_allow(f->container, around, (size_t)-1, &f->err));
	REFUSED(VFD_EINVALID, vfd_iova_allow(f->container, &backwards, 1, &f->err));
	REFUSED(VFD_EINVALID, vfd_iova_allow(f->container, meet, 2, &f->err));
	ck_assert_msg(strstr(f->err.message, "range 1, 0x1000..0x1fff"), "%s", f->err.message);
	fixture_end(f);
	fixture_begin_on(f, NULL, 0, VFD_BACKEND_TYPE1);
	REFUSED(VFD_EUNSUPPORTED, vfd_iova_allow(f->container, around, 2, &f->err));
	fixture_end(f);
}
END_TEST

/* Someone else destroyed the table: no device was in it any more, but its bits are gone. */
START_TEST(table_destroyed_elsewhere)
{
	track(&one_iommu);
	writes(PCI_NAME, 13, 1);
	OK(vfd_device_close(&f->device, VFD_DISCARD, &f->err));
	destroy_table(0);
	check_all_logged(f);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_all_logged(f);
	fixture_end(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("iommufd");

	add_case(suite, "lifecycle", lifecycle);
	add_case(suite, "attached again", attached_again);
	add_case(suite, "before any group", before_any_group);
	add_case(suite, "few calls", few_calls);
	add_case(suite, "shared table", shared_table);
	add_case(suite, "the plan", the_plan);
	add_case(suite, "the plan of closed ones", the_plan_of_closed_ones);
	add_case(suite, "no dirty bits", no_dirty_bits);
	add_case(suite, "its own log", its_own_log);
	add_case(suite, "its log begins by half", its_log_begins_by_half);
	add_case(suite, "its log fails", its_log_fails);
	add_trap(suite, 41, "its log fails, and tears", its_log_fails_and_tears);
	add_case(suite, "its log fails without tables", its_log_fails_without_tables);
	add_case(suite, "asked before tried", asked_before_tried);
	add_case(suite, "no answer is no no", no_answer_is_no_no);
	add_case(suite, "older kernels", older_kernels);
	add_case(suite, "too long for the kernel", too_long_for_the_kernel);
	add_case(suite, "a bit is an entry", a_bit_is_an_entry);
	add_case(suite, "small entries", small_entries);
	add_trap(suite, 38, "stop and start", stop_and_start);
	add_trap(suite, 33, "never a bad buffer", never_a_bad_buffer);
	add_trap(suite, 35, "whole mappings", whole_mappings);
	add_trap(suite, 36, "never over holes", never_over_holes);
	add_trap(suite, 36, "beside a doubtful one", beside_a_doubtful_one);
	add_trap(suite, 37, "on only once", on_only_once);
	add_trap(suite, 37, "start fails halfway", start_fails_halfway);
	add_case(suite, "a table stays", table_stays);
	add_trap(suite, 39, "tables outlive devices", tables_outlive_devices);
	add_trap(suite, 40, "tables are united", tables_are_united);
	add_trap(suite, 41, "unmap tears", unmap_tears);
	add_trap(suite, 41, "tears, and stays", doubtful_tears);
	add_trap(suite, 42, "emulated marks nothing", emulated_marks_nothing);
	add_trap(suite, 42, "a doubtful kind", a_doubtful_kind);
	add_trap(suite, 43, "compat is not trusted", compat_is_not_trusted);
	add_case(suite, "choice", choice);
	add_case(suite, "chosen by devices", chosen_by_devices);
	add_case(suite, "chosen if all can", chosen_if_all_can);
	add_case(suite, "chosen in doubt", chosen_in_doubt);
	add_case(suite, "older options", older_options);
	add_case(suite, "adopted", adopted);
	add_case(suite, "adopted, with nothing mapped", adopted_empty);
	add_case(suite, "adopted, too long", adopted_too_long);
	add_case(suite, "adopted wrongly", adopted_wrongly);
	add_case(suite, "mapped but not told", mapped_but_not_told);
	add_case(suite, "mapped, and not to be asked", mapped_and_not_to_be_asked);
	add_case(suite, "unmapped but not told", unmapped_but_not_told);
	add_case(suite, "attached but not told", attached_but_not_told);
	add_case(suite, "attached in vain", attached_in_vain);
	add_case(suite, "mapped at the second try", mapped_at_the_second_try);
	add_case(suite, "busy at the end", busy_at_the_end);
	add_case(suite, "usable or not opened", usable_or_not_opened);
	add_case(suite, "usable cannot be told", usable_cannot_be_told);
	add_case(suite, "usable wrongly", usable_wrongly);
	add_case(suite, "table destroyed elsewhere", table_destroyed_elsewhere);
	return run_all(suite);
}
