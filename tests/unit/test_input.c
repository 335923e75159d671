/* SPDX-License-Identifier: MIT */

/* Bad input to every call on containers, groups, devices, mappings and tracking: a refusal that says what to do, with no system
 * call, nothing changed and nothing leaked. (The log's calls: test_log.) */

#include "fixture.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>

static struct fixture fixture, *f = &fixture;

/* As REFUSED, and the kernel has not heard of it. Without room for a text it is the same. */
#define QUIETLY(wanted, call)                                                                                \
	do {                                                                                                 \
		uint64_t calls_before = model_counts(f->model).calls;                                        \
		memset(&f->err, 0, sizeof f->err);                                                           \
		REFUSED(wanted, call);                                                                       \
		ck_assert_uint_eq(model_counts(f->model).calls, calls_before);                               \
		ck_assert_ptr_nonnull(f->err.operation);                                                     \
		ck_assert_str_ne(vfd_strcode(wanted), "?");                                                  \
	} while (0)

/* The fixture's state is what it was: all handles work, and no page is lost. */
static void check_alive(void)
{
	device_writes(f, 0, 77, 1);
	OK(harvest(f, 0));
	check_precise(f);
	ck_assert_uint_eq(info_of(f).mappings, 1);
	ck_assert_uint_eq(info_of(f).tracking, 1);
}

START_TEST(null_handles)
{
	struct vfd_container *none = NULL;
	struct vfd_group *group = NULL;
	struct vfd_device *device = NULL;
	struct vfd_container_info info = { .struct_size = sizeof info };
	struct vfd_device_info device_info = { .struct_size = sizeof device_info };
	struct vfd_device_region region = { .struct_size = sizeof region };
	struct vfd_plan plan = { .struct_size = sizeof plan };
	struct vfd_mapping mapping = {
		.struct_size = sizeof mapping, .flags = RW, .size = PAGE, .memory = &info
	};
	void *memory;
	int fd = 0;

	fixture_track(f, NULL);
	QUIETLY(VFD_EINVALID, vfd_container_close(NULL, 0, &f->err));
	QUIETLY(VFD_EINVALID, vfd_container_close(&none, 0, &f->err));
	QUIETLY(VFD_EINVALID, vfd_container_release(NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_container_release(&none, &f->err));
	QUIETLY(VFD_EINVALID, vfd_container_info(NULL, &info, &f->err));
	QUIETLY(VFD_EINVALID, vfd_container_open(NULL, NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_container_adopt(NULL, &none, &f->err));
	QUIETLY(VFD_EINVALID, vfd_group_attach(NULL, 7, &group, &f->err));
	QUIETLY(VFD_EINVALID, vfd_group_attach_device(NULL, "x", &group, &f->err));
	QUIETLY(VFD_EINVALID, vfd_group_detach(NULL, 0, &f->err));
	QUIETLY(VFD_EINVALID, vfd_group_detach(&group, 0, &f->err));
	QUIETLY(VFD_EINVALID, vfd_map(NULL, &mapping, &f->err));
	QUIETLY(VFD_EINVALID, vfd_unmap(NULL, 0, PAGE, &f->err));
	QUIETLY(VFD_EINVALID, vfd_unmap_all(NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_open(NULL, NAME(0), &device, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_close(NULL, 0, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_close(&device, 0, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_info(NULL, &device_info, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_region_info(NULL, 0, &region, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_map(NULL, 0, 0, PAGE, &memory, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_unmap(NULL, &info, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_read(NULL, 0, 0, &info, 1, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_write(NULL, 0, 0, &info, 1, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_irq_enable(NULL, 0, 0, &fd, 1, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_irq_unmask(NULL, 0, 0, 1, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_irq_disable(NULL, 0, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_reset(NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_quiesce(NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_resume(NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_track_start(NULL, NULL, NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_track_harvest(NULL, 0, NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_track_stop(NULL, 0, &f->err));
	QUIETLY(VFD_EINVALID, vfd_track_plan(NULL, &plan, &f->err));
	QUIETLY(VFD_EINVALID, vfd_plan_text(NULL, NULL, 0, NULL, &f->err));
	ck_assert_int_eq(vfd_container_fd(NULL), -1);
	ck_assert_int_eq(vfd_group_fd(NULL), -1);
	ck_assert_int_eq(vfd_group_number(NULL), -1);
	ck_assert_int_eq(vfd_device_fd(NULL), -1);
	ck_assert_ptr_null(vfd_device_name(NULL));
	check_alive();
	fixture_end(f);
}
END_TEST

/* A NULL where something is to be written or read. */
START_TEST(null_pointers)
{
	fixture_track(f, NULL);
	QUIETLY(VFD_EINVALID, container_open_on(&f->model->sys, NULL, NULL, &f->err));
	QUIETLY(VFD_EINVALID, container_adopt_on(&f->model->sys, NULL, NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_container_info(f->container, NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_group_attach(f->container, 7, NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_group_attach_device(f->container, NULL, &f->group2, &f->err));
	REFUSED(VFD_EINVALID, vfd_group_attach_device(f->container, NAME(0), NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_group_attach_device(NULL, NAME(0), &f->group2, &f->err));
	QUIETLY(VFD_EINVALID, vfd_group_attach_device(f->container, "", &f->group2, &f->err));
	QUIETLY(VFD_EINVALID, vfd_group_attach_device(f->container, "../7", &f->group2, &f->err));
	char name[128] = { 0 };
	memset(name, 'x', sizeof name - 1);
	QUIETLY(VFD_EINVALID, vfd_group_attach_device(f->container, name, &f->group2, &f->err));
	QUIETLY(VFD_EINVALID, vfd_map(f->container, NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_open(f->group, NULL, &f->device2, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_open(f->group, "", &f->device2, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_open(f->group, NAME(0), NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_info(f->device, NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_region_info(f->device, 0, NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_map(f->device, 0, 0, PAGE, NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_unmap(f->device, NULL, &f->err));
	REFUSED(VFD_EINVALID, vfd_device_read(f->device, 0, 0, NULL, 1, &f->err));
	REFUSED(VFD_EINVALID, vfd_device_write(f->device, 0, 0, NULL, 1, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_irq_enable(f->device, 0, 0, NULL, 1, &f->err));
	QUIETLY(VFD_EINVALID, vfd_track_plan(f->container, NULL, &f->err));
	check_alive();
	fixture_end(f);
}
END_TEST

/* The text is optional everywhere. */
START_TEST(no_room_for_the_error)
{
	fixture_track(f, NULL);
	ck_assert_int_eq(vfd_unmap(f->container, 1, 1, NULL), VFD_EALIGN);
	ck_assert_int_eq(vfd_map(f->container, NULL, NULL), VFD_EINVALID);
	ck_assert_int_eq(vfd_group_detach(&f->group, 0, NULL), VFD_EDIRTY);
	ck_assert_int_eq(vfd_device_open(f->group, "nobody", &f->device2, NULL), -ENODEV);
	model_hold(f->model, NAME(0));
	ck_assert_int_eq(vfd_group_detach(&f->group, VFD_COLLECT, NULL), -EBUSY);
	model_release(f->model, NAME(0));
	fixture_end(f);
}
END_TEST

START_TEST(unknown_flags)
{
	struct vfd_container_options options = { .struct_size = sizeof options, .flags = VFD_OPEN_FINE << 1 };
	struct vfd_track_options track = { .struct_size = sizeof track, .flags = 1u << 31 };
	const unsigned both = VFD_COLLECT | VFD_DISCARD;
	struct vfd_container *other;

	fixture_track(f, NULL);
	QUIETLY(VFD_EINVALID, container_open_on(&f->model->sys, &options, &other, &f->err));
	QUIETLY(VFD_EINVALID, vfd_track_start(f->container, &track, NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_track_harvest(f->container, 2, NULL, &f->err));
	for (int i = 0; i < 2; i++) {
		unsigned flags = i ? both : 4;
		QUIETLY(VFD_EINVALID, vfd_track_stop(f->container, flags, &f->err));
		QUIETLY(VFD_EINVALID, vfd_device_close(&f->device, flags, &f->err));
		QUIETLY(VFD_EINVALID, vfd_group_detach(&f->group, flags, &f->err));
		QUIETLY(VFD_EINVALID, vfd_container_close(&f->container, flags, &f->err));
	}
	QUIETLY(VFD_EINVALID, map_pages(f, 5000, 0, 1, RW | 16));
	QUIETLY(VFD_EINVALID, map_pages(f, 5000, 0, 1, 0));
	QUIETLY(VFD_EINVALID, map_pages(f, 5000, 0, 1, VFD_MAP_UNLOGGED));
	QUIETLY(VFD_ESTATE, vfd_log_destroy(&f->log, 0, &f->err));
	QUIETLY(VFD_EINVALID, vfd_log_destroy(&f->log, 64, &f->err));
	check_alive();
	fixture_end(f);
}
END_TEST

/* struct_size 0, too small, absurd; and a newer program's struct, whose unknown part must be zero. */
START_TEST(struct_sizes)
{
	const uint32_t wrong[] = { 0, 4, 100 * 1024, UINT32_MAX };
	union {
		struct vfd_container_info info;
		struct vfd_plan plan;
		struct vfd_harvest harvest;
		struct vfd_device_info device;
		struct vfd_device_region region;
		unsigned char bytes[16384]; /* more than any of them */
	} answer;
	struct {
		struct vfd_mapping known;
		uint64_t later;
	} mapping = { .known = { .flags = RW, .iova = 5000 * PAGE, .size = PAGE } };

	fixture_track(f, NULL);
	mapping.known.memory = f->memory;
	for (unsigned i = 0; i < 4; i++) {
		answer.info.struct_size = wrong[i]; /* the first member of each */
		mapping.known.struct_size = wrong[i];
		QUIETLY(VFD_EINVALID, vfd_container_info(f->container, &answer.info, &f->err));
		QUIETLY(VFD_EINVALID, vfd_track_plan(f->container, &answer.plan, &f->err));
		QUIETLY(VFD_EINVALID, vfd_track_start(f->container, NULL, &answer.plan, &f->err));
		QUIETLY(VFD_EINVALID, vfd_track_harvest(f->container, 0, &answer.harvest, &f->err));
		QUIETLY(VFD_EINVALID, vfd_device_info(f->device, &answer.device, &f->err));
		QUIETLY(VFD_EINVALID, vfd_device_region_info(f->device, 0, &answer.region, &f->err));
		QUIETLY(VFD_EINVALID, vfd_map(f->container, &mapping.known, &f->err));
	}
	struct vfd_map_cost cost = { .struct_size = 4 };
	mapping.known.struct_size = 4;
	QUIETLY(VFD_EINVALID, vfd_map_list(f->container, &mapping.known, 1, NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_map_anywhere(f->container, &mapping.known, NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_map_check(f->container, &mapping.known, NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_map_check(f->container, &mapping.known, &cost, &f->err));
	mapping.known.struct_size = sizeof mapping.known;
	QUIETLY(VFD_EINVALID, vfd_map_check(f->container, &mapping.known, &cost, &f->err));
	QUIETLY(VFD_EINVALID, vfd_map_check(NULL, &mapping.known, NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_map_list(NULL, &mapping.known, 1, NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_map_anywhere(NULL, &mapping.known, NULL, &f->err));
	struct vfd_track_options track = { .struct_size = 4 };
	QUIETLY(VFD_EINVALID, vfd_track_start(f->container, &track, NULL, &f->err));
	struct vfd_container_options options = { .struct_size = 4 };
	struct vfd_container *other;
	QUIETLY(VFD_EINVALID, container_open_on(&f->model->sys, &options, &other, &f->err));
	mapping.known.struct_size = sizeof mapping;
	mapping.later = 1;
	QUIETLY(VFD_EINVALID, vfd_map(f->container, &mapping.known, &f->err));
	mapping.later = 0;
	OK(vfd_map(f->container, &mapping.known, &f->err));
	OK(unmap_pages(f, 5000, 1));

	memset(&answer, 0xff, sizeof answer); /* a newer program's answer is zero where we know nothing */
	answer.info.struct_size = sizeof answer;
	OK(vfd_container_info(f->container, &answer.info, &f->err));
	ck_assert_uint_eq(answer.bytes[sizeof answer.info], 0);
	ck_assert_uint_eq(answer.bytes[sizeof answer - 1], 0);
	memset(&answer, 0xff, sizeof answer); /* and an older one gets no more than it has room for */
	answer.info.struct_size = 32;
	OK(vfd_container_info(f->container, &answer.info, &f->err));
	ck_assert_uint_eq(answer.info.attached, 1);
	ck_assert_uint_eq(answer.bytes[32], 0xff);
	check_alive();
	fixture_end(f);
}
END_TEST

/* Pin sets, and finding what is there already */
START_TEST(pins_and_finding)
{
	struct vfd_pinset_options options = { .struct_size = sizeof options };
	struct vfd_pinset *set = NULL, *other = NULL;
	struct vfd_pin_part part = { .memory = f->memory, .size = 1 };
	struct vfd_device *device = NULL;
	struct vfd_group *group = NULL;
	struct vfd_pin pin;
	size_t filled;

	fixture_track(f, NULL);
	QUIETLY(VFD_EINVALID, vfd_pinset_create(NULL, NULL, &set, &f->err));
	QUIETLY(VFD_EINVALID, vfd_pinset_create(f->container, NULL, NULL, &f->err));
	options.flags = 1;
	QUIETLY(VFD_EINVALID, vfd_pinset_create(f->container, &options, &set, &f->err));
	options = (struct vfd_pinset_options){ .struct_size = sizeof options, .pad = 1 };
	QUIETLY(VFD_EINVALID, vfd_pinset_create(f->container, &options, &set, &f->err));
	options = (struct vfd_pinset_options){ .struct_size = sizeof options, .capacity = (1 << 20) + 1 };
	QUIETLY(VFD_EINVALID, vfd_pinset_create(f->container, &options, &set, &f->err));
	ck_assert_ptr_null(set);
	OK(vfd_pinset_create(f->container, NULL, &set, &f->err));
	QUIETLY(VFD_EINVALID, vfd_pin_list(set, NULL, 1, VFD_PIN_READ, &pin, 1, &filled, &f->err));
	QUIETLY(VFD_EINVALID, vfd_pin_list(set, &part, 1, VFD_PIN_READ, NULL, 1, &filled, &f->err));
	QUIETLY(VFD_EINVALID, vfd_pin_list(set, &part, 1, VFD_PIN_READ, &pin, 1, NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_pin_list(set, &part, 0, VFD_PIN_READ, &pin, 1, &filled, &f->err));
	QUIETLY(VFD_EINVALID, vfd_pin_list(NULL, &part, 1, VFD_PIN_READ, &pin, 1, &filled, &f->err));
	QUIETLY(VFD_EINVALID, vfd_unpin(set, NULL, 1, &f->err));
	QUIETLY(VFD_EINVALID, vfd_translate(set, f->memory, NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_pinset_destroy(NULL, 0, &f->err));
	QUIETLY(VFD_EINVALID, vfd_pinset_destroy(&other, 0, &f->err));
	QUIETLY(VFD_EINVALID, vfd_pinset_destroy(&set, 1, &f->err));
	OK(vfd_unpin(set, NULL, 0, &f->err)); /* none of nothing */
	OK(vfd_pinset_destroy(&set, 0, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_pins_all(NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_group_find(f->container, 7, NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_group_find(NULL, 7, &group, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_find(f->container, NULL, &device, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_find(f->container, NAME(0), NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_device_find(NULL, NAME(0), &device, &f->err));
	ck_assert(!group && !device);
	check_alive();
	fixture_end(f);
}
END_TEST

START_TEST(bad_ranges)
{
	fixture_track(f, NULL);
	QUIETLY(VFD_EINVALID, vfd_unmap(f->container, 0, 0, &f->err));
	QUIETLY(VFD_EWRAP, vfd_unmap(f->container, PAGE, UINT64_MAX, &f->err));
	QUIETLY(VFD_EALIGN, vfd_unmap(f->container, 1, PAGE, &f->err));
	QUIETLY(VFD_EALIGN, vfd_unmap(f->container, 0, PAGE + 1, &f->err));
	QUIETLY(VFD_ENOTMAPPED, vfd_unmap(f->container, PAGES * PAGE, PAGE, &f->err));
	QUIETLY(VFD_ECUT, vfd_unmap(f->container, 0, PAGE, &f->err));
	ck_assert_uint_eq(f->err.first, 0);
	ck_assert_uint_eq(f->err.last, PAGES * PAGE - 1);
	QUIETLY(VFD_EINVALID, map_pages(f, 5000, 0, 0, RW));
	QUIETLY(VFD_EWRAP, map_pages(f, UINT64_MAX / PAGE, 0, 3, RW));
	QUIETLY(VFD_EOVERLAP, map_pages(f, PAGES - 1, 0, 2, RW));
	QUIETLY(VFD_ENOREGION, map_pages(f, 5000, PAGES, 1, RW));
	QUIETLY(VFD_ENOREGION, map_pages(f, 5000, PAGES - 1, 2, RW));
	struct vfd_mapping odd = {
		.struct_size = sizeof odd, .flags = RW, .size = PAGE, .memory = f->memory
	};
	odd.iova = 5000 * PAGE + 8;
	QUIETLY(VFD_EALIGN, vfd_map(f->container, &odd, &f->err));
	odd.iova = 5000 * PAGE;
	odd.memory = f->memory + 8;
	QUIETLY(VFD_EALIGN, vfd_map(f->container, &odd, &f->err));
	odd.memory = NULL;
	QUIETLY(VFD_EINVALID, vfd_map(f->container, &odd, &f->err));
	odd.memory =
		(void *)(uintptr_t)-PAGE; /* its second page would be at 0; of no region, which would refuse it */
	odd.flags |= VFD_MAP_UNLOGGED;
	odd.size = 2 * PAGE;
	odd.granule = PAGE;
	QUIETLY(VFD_EWRAP, vfd_map(f->container, &odd, &f->err));
	QUIETLY(VFD_EWRAP, vfd_map_check(f->container, &odd, NULL, &f->err));
	QUIETLY(VFD_EWRAP, vfd_map_anywhere(f->container, &odd, NULL, &f->err));
	QUIETLY(VFD_EINVALID, vfd_group_attach(f->container, -1, &f->group2, &f->err));
	check_alive();
	fixture_end(f);
}
END_TEST

START_TEST(wrong_order)
{
	struct vfd_group *twice;

	fixture_begin(f, NULL);
	QUIETLY(VFD_ESTATE, harvest(f, 0)); /* tracking is off */
	OK(vfd_track_stop(f->container, 0, &f->err));
	OK(vfd_unmap_all(f->container, &f->err));
	QUIETLY(VFD_ESTATE, vfd_container_release(&f->container, &f->err)); /* for children only */
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	QUIETLY(VFD_ESTATE, vfd_group_attach(f->container, 7, &twice, &f->err));
	OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
	REFUSED(VFD_EDEVICES, vfd_group_detach(&f->group, 0, &f->err));
	REFUSED(VFD_EDEVICES, vfd_container_close(&f->container, 0, &f->err));
	ck_assert_ptr_nonnull(f->device);
	OK(vfd_device_close(&f->device, 0, &f->err));
	ck_assert_ptr_null(f->device);
	REFUSED(VFD_EINVALID, vfd_device_close(&f->device, 0, &f->err)); /* double close */
	OK(vfd_group_detach(&f->group, 0, &f->err));
	ck_assert_ptr_null(f->group);
	REFUSED(VFD_EINVALID, vfd_group_detach(&f->group, 0, &f->err));
	OK(vfd_container_close(&f->container, 0, &f->err));
	ck_assert_ptr_null(f->container);
	REFUSED(VFD_EINVALID, vfd_container_close(&f->container, 0, &f->err));
	fixture_end(f);
}
END_TEST

/* Someone closed the descriptor under the library: every call says so, none loses a page. */
START_TEST(dead_descriptor)
{
	struct vfd_container_info info = { .struct_size = sizeof info };
	const struct sys *sys;

	fixture_track(f, NULL);
	sys = &f->model->sys;
	device_writes(f, 0, 3, 1);
	OK(harvest(f, 0));
	ck_assert_int_eq(sys->close(sys, vfd_container_fd(f->container)), 0);
	ck_assert_int_lt(harvest(f, 0), 0);
	ck_assert_msg(f->err.message[0], "no message");
	REFUSED(-EBADF, vfd_container_info(f->container, &info, &f->err));
	REFUSED(-EBADF, map_pages(f, 5000, 0, 1, RW));
	ck_assert_int_lt(unmap_pages(f, 0, PAGES), 0);
	check_all_logged(f);
	ck_assert_int_lt(vfd_group_detach(&f->group, VFD_COLLECT, &f->err), 0);
	check_all_logged(f);
	OK(vfd_container_close(&f->container, VFD_DISCARD, &f->err));
	fixture_end(f);
}
END_TEST

/* A descriptor that is no container, and containers of other kinds. */
START_TEST(foreign_descriptor)
{
	struct vfd_container_options options = { .struct_size = sizeof options, .path = "/dev/vfio/7" };
	struct model_config config = { .container = MODEL_COMPAT };
	struct vfd_container *container = NULL;

	fixture_begin(f, NULL);
	REFUSED(VFD_EUNSUPPORTED, container_open_on(&f->model->sys, &options, &container, &f->err));
	ck_assert_uint_eq(model_counts(f->model).descriptors, 1);
	OK(vfd_container_close(&f->container, 0, &f->err));
	for (; config.container <= MODEL_NO_TYPE1; config.container++) {
		model_free(f->model);
		f->model = model_new(&config);
		REFUSED(VFD_EUNSUPPORTED, container_open_on(&f->model->sys, NULL, &container, &f->err));
		ck_assert_uint_eq(model_counts(f->model).descriptors, 0);
		ck_assert_ptr_null(container);
	}
	options.path = "/dev/null"; /* the real kernel */
	REFUSED(VFD_EUNSUPPORTED, vfd_container_open(&options, &container, &f->err));
	ck_assert_ptr_null(container);
	fixture_end(f);
}
END_TEST

START_TEST(missing_nodes)
{
	struct vfd_container_options options = { .struct_size = sizeof options, .path = "/nonexistent/vfio" };
	struct vfd_container *container = NULL;

	fixture_begin(f, NULL);
	REFUSED(-ENOENT, container_open_on(&f->model->sys, &options, &container, &f->err));
	ck_assert_ptr_nonnull(strstr(f->err.message, "modprobe"));
	REFUSED(-ENOENT, vfd_container_open(&options, &container, &f->err));
	ck_assert_ptr_nonnull(strstr(f->err.message, "modprobe"));
	ck_assert_int_eq(f->err.sys_errno, ENOENT);
	REFUSED(-ENOENT, vfd_group_attach(f->container, 99, &f->group, &f->err));
	ck_assert_ptr_nonnull(strstr(f->err.message, "vfio-pci"));
	REFUSED(-ENOENT, vfd_group_attach_device(f->container, "nobody", &f->group, &f->err));
	ck_assert_uint_eq(model_counts(f->model).descriptors, 1);
	fixture_end(f);
}
END_TEST

static const int permissions[] = { EACCES, EPERM, EBUSY, EMFILE };

START_TEST(no_permission)
{
	struct vfd_container *container = NULL;

	for (unsigned i = 0; i < 4; i++) {
		fixture_begin(f, NULL);
		model_fault(f->model, (struct model_fault){ .call = MODEL_OPEN, .error = permissions[i] });
		REFUSED(-permissions[i], container_open_on(&f->model->sys, NULL, &container, &f->err));
		model_fault(f->model, (struct model_fault){ .call = MODEL_OPEN, .error = permissions[i] });
		REFUSED(-permissions[i], vfd_group_attach(f->container, 7, &f->group, &f->err));
		ck_assert_ptr_null(container);
		ck_assert_ptr_null(f->group);
		ck_assert_uint_eq(model_counts(f->model).descriptors, 1);
		OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
		model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
							    .request = VFIO_GROUP_GET_DEVICE_FD,
							    .error = permissions[i] });
		REFUSED(-permissions[i], vfd_device_open(f->group, NAME(0), &f->device, &f->err));
		ck_assert_ptr_null(f->device);
		fixture_end(f);
	}
}
END_TEST

START_TEST(group_is_elsewhere)
{
	struct vfd_container *other;
	struct vfd_group *group = NULL;

	fixture_track(f, NULL);
	OK(container_open_on(&f->model->sys, NULL, &other, &f->err));
	REFUSED(-EBUSY, vfd_group_attach(other, 7, &group, &f->err));
	ck_assert_ptr_null(group);
	OK(vfd_container_close(&other, 0, &f->err));
	check_alive();
	fixture_end(f);
}
END_TEST

START_TEST(no_iommu_group)
{
	const struct model_config config = {
		.group_count = 1,
		.groups = { { .number = 7,
			      .kind = MODEL_NOIOMMU,
			      .devices = { { .name = PCI_NAME, .pci = true } } } },
	};

	fixture_begin(f, &config);
	REFUSED(VFD_EUNSUPPORTED, vfd_group_attach(f->container, 7, &f->group, &f->err));
	ck_assert_ptr_nonnull(strstr(f->err.message, "no IOMMU"));
	fixture_end(f);
}
END_TEST

START_TEST(plan_text)
{
	char text[64], exact[4096];
	size_t needed, again;
	struct vfd_plan plan;

	fixture_track(f, &mixed);
	OK(vfd_group_attach(f->container, 20, &f->group2, &f->err));
	plan = plan_of(f);
	OK(vfd_plan_text(&plan, NULL, 0, &needed, &f->err));
	ck_assert_uint_gt(needed, 100);
	ck_assert_uint_le(needed, sizeof exact);
	OK(vfd_plan_text(&plan, exact, needed, &again, &f->err));
	ck_assert_uint_eq(again, needed);
	ck_assert_uint_eq(strlen(exact), needed - 1);
	ck_assert_ptr_nonnull(strstr(exact, NAME(0)));
	ck_assert_ptr_nonnull(strstr(exact, "20"));
	OK(vfd_plan_text(&plan, text, sizeof text, NULL, &f->err));
	ck_assert_uint_eq(strlen(text), sizeof text - 1);
	ck_assert_int_eq(strncmp(text, exact, sizeof text - 1), 0);
	REFUSED(VFD_EINVALID, vfd_plan_text(&plan, NULL, 5, NULL, &f->err));
	plan.unarmed_bytes = 4096;
	OK(vfd_plan_text(&plan, exact, sizeof exact, NULL, &f->err));
	ck_assert_ptr_nonnull(strstr(exact, "4 KiB unarmed"));
	plan.struct_size =
		offsetof(struct vfd_plan, unarmed_bytes); /* of a program that knows no such thing */
	OK(vfd_plan_text(&plan, exact, sizeof exact, NULL, &f->err));
	ck_assert_ptr_null(strstr(exact, "unarmed"));
	fixture_end(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("input");

	add_case(suite, "NULL handles", null_handles);
	add_case(suite, "NULL pointers", null_pointers);
	add_case(suite, "no room for the error", no_room_for_the_error);
	add_case(suite, "unknown flags", unknown_flags);
	add_case(suite, "sizes of structs", struct_sizes);
	add_case(suite, "pins and finding", pins_and_finding);
	add_case(suite, "bad ranges", bad_ranges);
	add_case(suite, "wrong order, double close", wrong_order);
	add_case(suite, "a dead descriptor", dead_descriptor);
	add_case(suite, "a foreign descriptor", foreign_descriptor);
	add_case(suite, "missing nodes", missing_nodes);
	add_case(suite, "no permission", no_permission);
	add_case(suite, "a group that is elsewhere", group_is_elsewhere);
	add_case(suite, "a group without IOMMU", no_iommu_group);
	add_case(suite, "the plan in words", plan_text);
	return run_suite(suite);
}
