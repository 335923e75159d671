/* SPDX-License-Identifier: MIT */

/* The life of a container: refuse or collect, never drop; and a log that is exact all the way. */

#include "fixture.h"

#include <errno.h>
#include <string.h>

static struct fixture fixture, *f = &fixture;

/* After every step. */
static void check(void)
{
	check_law(f);
	check_exact(f);
}

static void check_no_call_since(uint64_t calls)
{
	ck_assert_uint_eq(model_counts(f->model).calls, calls);
	check();
}

START_TEST(write_and_harvest)
{
	fixture_track(f, NULL);
	device_writes(f, 0, 5, 3);
	device_pins(f, 0, 100, 2);
	check();
	OK(harvest(f, 0));
	check_precise(f);
	device_unpins(f, 0, 100, 2);
	device_writes(f, 0, 1023, 1);
	check();
	OK(harvest(f, 0));
	check_precise(f);
	ck_assert_uint_eq(reported(f), 6);
	fixture_end(f);
}
END_TEST

/* A device that runs, but wrote nothing since: who knows. */
START_TEST(idle_is_dirty)
{
	fixture_track(f, NULL);
	device_writes(f, 0, 5, 3);
	OK(harvest(f, 0));
	uint64_t calls = model_counts(f->model).calls;
	REFUSED(VFD_EDIRTY, vfd_group_detach(&f->group, 0, &f->err));
	REFUSED(VFD_EDIRTY, vfd_device_close(&f->device, 0, &f->err));
	REFUSED(VFD_EDIRTY, vfd_track_stop(f->container, 0, &f->err));
	REFUSED(VFD_EDEVICES, vfd_container_close(&f->container, 0, &f->err));
	check_no_call_since(calls);
	ck_assert_uint_eq(info_of(f).tracking, 1);
	ck_assert_uint_eq(info_of(f).drained, 0);
	ck_assert(model_tracking(f->model, vfd_container_fd(f->container)));
	fixture_end(f);
}
END_TEST

START_TEST(drained_is_accepted)
{
	struct vfd_harvest result = { .struct_size = sizeof result };

	fixture_track(f, NULL);
	device_writes(f, 0, 5, 3);
	OK(vfd_device_quiesce(f->device, &f->err));
	REFUSED(VFD_EDIRTY, vfd_device_close(&f->device, 0, &f->err)); /* quiet, but not collected */
	OK(vfd_track_harvest(f->container, 0, &result, &f->err));
	ck_assert_uint_eq(result.drained, 1);
	ck_assert_uint_eq(result.pages_new, 3);
	ck_assert_uint_eq(result.pages_reported, 3);
	ck_assert_uint_eq(info_of(f).drained, 1);
	OK(vfd_device_close(&f->device, 0, &f->err));
	OK(vfd_group_detach(&f->group, 0, &f->err));
	check_precise(f);
	OK(vfd_container_close(&f->container, 0, &f->err));
	check_precise(f);
	fixture_end(f);
}
END_TEST

/* Able to write again is not drained any more, without a write. */
START_TEST(resumed_is_not_drained)
{
	fixture_track(f, NULL);
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(harvest(f, 0));
	ck_assert_uint_eq(info_of(f).drained, 1);
	OK(vfd_device_resume(f->device, &f->err));
	ck_assert_uint_eq(info_of(f).drained, 0);
	REFUSED(VFD_EDIRTY, vfd_device_close(&f->device, 0, &f->err));
	OK(harvest(f, 0)); /* while it can write: not the last one */
	ck_assert_uint_eq(info_of(f).drained, 0);
	OK(vfd_device_quiesce(f->device, &f->err));
	ck_assert_uint_eq(info_of(f).drained, 0);
	REFUSED(VFD_EDIRTY, vfd_track_stop(f->container, 0, &f->err));
	OK(harvest(f, 0));
	OK(vfd_track_stop(f->container, 0, &f->err));
	fixture_end(f);
}
END_TEST

START_TEST(collect_or_discard)
{
	for (int discard = 0; discard < 2; discard++) {
		fixture_track(f, NULL);
		device_writes(f, 0, 5, 3);
		device_pins(f, 0, 700, 5);
		OK(vfd_group_detach(&f->group, discard ? VFD_DISCARD : VFD_COLLECT, &f->err));
		OK(vfd_container_close(&f->container, 0, &f->err));
		if (discard) {
			ck_assert_uint_eq(reported(f), 0);
			ck_assert_uint_eq(model_page_count(f->model, MODEL_DROPPED), 8);
		} else {
			check_precise(f);
			ck_assert_uint_eq(reported(f), 8);
		}
		fixture_end(f);
	}
}
END_TEST

START_TEST(hundred_cycles)
{
	fixture_pieces(f, NULL, 8, 128, 128);
	for (unsigned i = 0; i < 100; i++) {
		device_writes(f, 0, (i * 37) % PAGES, 1);
		if (i % 3)
			OK(harvest(f, 0));
		device_pins(f, 0, (i * 91) % PAGES, 1);
		OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
		check_precise(f);
		ck_assert_uint_eq(info_of(f).mappings, 8);
		OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
		ck_assert_uint_eq(model_mapping_count(f->model, vfd_container_fd(f->container)), 8);
		OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
		check_precise(f);
	}
	fixture_end(f);
}
END_TEST

START_TEST(mappings_change_between)
{
	fixture_pieces(f, NULL, 4, 64, 64);
	device_writes(f, 0, 130, 1);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	OK(unmap_pages(f, 64, 64)); /* without a kernel behind it */
	OK(map_pages(f, 512, 512, 64, RW));
	REFUSED(VFD_EOVERLAP, map_pages(f, 0, 512, 64, RW));
	check_precise(f);
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	ck_assert_uint_eq(model_mapping_count(f->model, vfd_container_fd(f->container)), 4);
	OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
	device_writes(f, 0, 512, 2);
	OK(harvest(f, 0));
	check_precise(f);
	fixture_end(f);
}
END_TEST

/* A failed attach leaves nothing behind, and can be repeated. */
START_TEST(attach_rolls_back)
{
	fixture_pieces(f, NULL, 4, 64, 64);
	device_writes(f, 0, 1, 1);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	unsigned descriptors = model_counts(f->model).descriptors;
	for (uint64_t nth = 1; nth <= 4; nth++) {
		model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
							    .request = mode_request(VFIO_IOMMU_MAP_DMA),
							    .nth = nth,
							    .error = ENOMEM });
		REFUSED(-ENOMEM, vfd_group_attach(f->container, 7, &f->group, &f->err));
		ck_assert_ptr_nonnull(strstr(f->err.message, "mapping 256 KiB: the kernel is out of memory"));
		ck_assert_uint_eq(model_counts(f->model).descriptors, descriptors);
		ck_assert_uint_eq(info_of(f).attached, 0);
	}
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
	device_writes(f, 0, 2, 1);
	OK(harvest(f, 0));
	check_precise(f);
	fixture_end(f);
}
END_TEST

/* ---- two groups ---- */

static void track_two(const struct model_config *config, int number, const char *name)
{
	fixture_track(f, config);
	OK(vfd_group_attach(f->container, number, &f->group2, &f->err));
	OK(vfd_device_open(f->group2, name, &f->device2, &f->err));
}

static void names_the_other(bool second)
{
	track_two(&two_emulated, 8, NAME(1));
	REFUSED(VFD_EDEVICES, vfd_container_close(&f->container, 0, &f->err));
	ck_assert_ptr_nonnull(strstr(f->err.message, "open devices: 2 (vfdtest."));
	ck_assert_ptr_nonnull(strstr(f->err.message, ", ..."));
	OK(vfd_device_close(second ? &f->device2 : &f->device, VFD_COLLECT, &f->err));
	REFUSED(VFD_EDEVICES, vfd_container_close(&f->container, 0, &f->err));
	ck_assert_ptr_nonnull(strstr(f->err.message, second ? NAME(0) : NAME(1)));
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	fixture_end(f);
}

START_TEST(close_names_what_is_open)
{
	names_the_other(false);
	names_the_other(true);
}
END_TEST

START_TEST(first_of_two_leaves)
{
	track_two(&two_emulated, 8, NAME(1));
	device_writes(f, 0, 10, 2);
	device_writes(f, 1, 20, 2);
	REFUSED(VFD_EDEVICES, vfd_group_detach(&f->group, 0, &f->err)); /* not the last: only its devices */
	ck_assert_ptr_nonnull(strstr(f->err.message, NAME(0)));
	device_pins(f, 0, 30, 1);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	check();
	ck_assert(is_logged(f, 30));
	device_writes(f, 1, 40, 1);
	check();
	REFUSED(VFD_EDIRTY, vfd_group_detach(&f->group2, 0, &f->err));
	OK(vfd_group_detach(&f->group2, VFD_COLLECT, &f->err));
	check_precise(f);
	ck_assert_uint_eq(reported(f), 6);
	fixture_end(f);
}
END_TEST

/* Discarding one group keeps what the container's record holds: the other one is there still. */
START_TEST(discarded_first_of_two)
{
	track_two(&two_emulated, 8, NAME(1));
	device_writes(f, 0, 10, 2);
	OK(vfd_group_detach(&f->group, VFD_DISCARD, &f->err));
	check();
	OK(vfd_group_detach(&f->group2, VFD_COLLECT, &f->err));
	check_precise(f);
	fixture_end(f);
}
END_TEST

START_TEST(container_of_two)
{
	for (int order = 0; order < 4; order++) {
		track_two(&two_emulated, 8, NAME(1));
		device_writes(f, 0, 10, 2);
		device_pins(f, 1, 20, 2);
		if (order == 1)
			OK(vfd_device_close(&f->device2, VFD_COLLECT, &f->err));
		if (order == 2)
			OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
		if (order == 3)
			OK(vfd_group_detach(&f->group2, VFD_DISCARD, &f->err));
		check();
		OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
		check_precise(f);
		ck_assert_uint_eq(reported(f), 4);
		fixture_end(f);
	}
}
END_TEST

START_TEST(physical_is_deferred)
{
	track_two(&mixed, 20, PCI_NAME);
	OK(vfd_device_resume(f->device2, &f->err));
	device_writes(f, 0, 10, 1);
	ck_assert_int_eq(model_dma_write(f->model, PCI_NAME, 20 * PAGE, PAGE, 1), 0);
	for (int i = 0; i < 3; i++)
		OK(harvest(f, 0));
	check_law(f);
	ck_assert_uint_eq(reported(f), 0);
	struct vfd_plan plan = plan_of(f);
	ck_assert_uint_eq(plan.exact, 0);
	ck_assert_uint_eq(plan.entry_total, 2);
	ck_assert_uint_eq(plan.deferred_bytes, PAGES * PAGE);

	/* What leaves the address space is owed at once: nobody could say later. */
	REFUSED(VFD_EDIRTY, vfd_device_close(&f->device2, 0, &f->err));
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_all_logged(f);
	ck_assert_uint_eq(reported(f), 0); /* all of it is assumed, and says so */
	fixture_end(f);
}
END_TEST

START_TEST(physical_unmap)
{
	fixture_pieces(f, &mixed, 2, 512, 512);
	OK(vfd_group_attach(f->container, 20, &f->group2, &f->err));
	OK(vfd_device_open(f->group2, PCI_NAME, &f->device2, &f->err));
	OK(vfd_device_resume(f->device2, &f->err));
	ck_assert_int_eq(model_dma_write(f->model, PCI_NAME, 20 * PAGE, PAGE, 1), 0);
	OK(unmap_pages(f, 0, 512));
	check_all_logged(f);
	ck_assert(!is_logged(f, 512)); /* the other one is still deferred */
	ck_assert_uint_eq(plan_of(f).deferred_bytes, 512 * PAGE);
	fixture_end(f);
}
END_TEST

/* ---- hot-unplug ---- */

START_TEST(unplugged_half_way)
{
	fixture_track(f, NULL);
	device_writes(f, 0, 10, 1);
	OK(harvest(f, 0));
	device_writes(f, 0, 11, 1);
	OK(vfd_device_close(&f->device, VFD_DISCARD, &f->err));
	model_unplug(f->model, 7); /* the kernel detaches: page 11 is nowhere */
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	check_all_logged(f);
	check_exact(f);
	ck_assert_int_eq(model_plug(f->model, 7), 0);
	forget_log(f);
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
	device_writes(f, 0, 12, 1);
	OK(harvest(f, 0));
	check_precise(f);
	fixture_end(f);
}
END_TEST

START_TEST(unplugged_one_of_two)
{
	track_two(&two_emulated, 8, NAME(1));
	device_writes(f, 0, 10, 1);
	device_writes(f, 1, 20, 1);
	model_unplug(f->model, 8);
	OK(vfd_device_close(&f->device2, VFD_COLLECT, &f->err));
	OK(vfd_group_detach(&f->group2, VFD_COLLECT, &f->err)); /* gone before us */
	check();
	device_writes(f, 0, 11, 1);
	OK(harvest(f, 0));
	check_precise(f);
	ck_assert_uint_eq(info_of(f).attached, 1);
	fixture_end(f);
}
END_TEST

START_TEST(unplugged_unnoticed)
{
	fixture_track(f, NULL);
	device_writes(f, 0, 10, 1);
	OK(vfd_device_close(&f->device, VFD_DISCARD, &f->err));
	model_unplug(f->model, 7);
	ck_assert_int_eq(model_plug(f->model, 7), 0);
	REFUSED(VFD_ESTATE, vfd_group_attach(f->container, 7, &f->group2, &f->err));
	REFUSED(VFD_EDIRTY, vfd_group_detach(&f->group, 0, &f->err));
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_all_logged(f);
	fixture_end(f);
}
END_TEST

/* ---- the log ---- */

START_TEST(log_refuses)
{
	struct vfd_batch batch;

	fixture_track(f, NULL);
	device_writes(f, 0, 10, 4);
	OK(harvest(f, 0));
	REFUSED(VFD_ESTATE, vfd_region_remove(f->log, LOG_ADDRESS, VFD_DISCARD, &f->err));
	REFUSED(VFD_ESTATE, vfd_log_destroy(&f->log, VFD_DISCARD, &f->err));
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	REFUSED(VFD_EDIRTY, vfd_log_destroy(&f->log, 0, &f->err));
	REFUSED(VFD_EDIRTY, vfd_region_remove(f->log, LOG_ADDRESS, 0, &f->err));

	OK(vfd_take(vfd_log_consumer(f->log), 0, UINT64_MAX, 3, &batch, &f->err));
	REFUSED(VFD_EDIRTY, vfd_log_destroy(&f->log, 0, &f->err));
	OK(vfd_rollback(vfd_log_consumer(f->log), &batch, 0, UINT64_MAX, &f->err));
	check_precise(f); /* not delivered: owed as before */
	OK(vfd_take(vfd_log_consumer(f->log), 0, UINT64_MAX, UINT64_MAX, &batch, &f->err));
	ck_assert_uint_eq(batch.pages, 4);
	REFUSED(VFD_EDIRTY, vfd_log_destroy(&f->log, 0, &f->err)); /* nothing owed, but a batch is open */
	OK(vfd_commit(vfd_log_consumer(f->log), &batch, 0, UINT64_MAX, &f->err));
	OK(vfd_log_destroy(&f->log, 0, &f->err));
	fixture_end(f);
}
END_TEST

/* Bits outlive their mapping, and find the memory whatever IOVA it had. */
START_TEST(aliases_and_reuse)
{
	fixture_pieces(f, NULL, 1, 64, 64);
	OK(map_pages(f, 5000, 0, 64, RW)); /* the same memory again */
	OK(map_pages(f, 6000, 64, 64, VFD_MAP_READ));
	device_writes(f, 0, 3, 1);
	device_writes(f, 0, 5004, 1);
	OK(harvest(f, 0));
	check_precise(f);
	ck_assert(is_logged(f, 3) && is_logged(f, 4));
	OK(unmap_pages(f, 0, 64));
	OK(map_pages(f, 0, 512, 64, RW)); /* the IOVA means other memory now */
	device_writes(f, 0, 3, 1);
	OK(harvest(f, 0));
	check_unmapped(f);
	ck_assert(is_logged(f, 515));
	fixture_end(f);
}
END_TEST

/* Two containers, one log. */
START_TEST(two_containers)
{
	struct vfd_container_options options = { .struct_size = sizeof options, .backend = mode_backend() };
	struct vfd_container *other;

	fixture_track(f, &two_emulated);
	options.log = f->log;
	OK(container_open_on(&f->model->sys, &options, &other, &f->err));
	OK(vfd_group_attach(other, 8, &f->group2, &f->err));
	OK(vfd_device_open(f->group2, NAME(1), &f->device2, &f->err));
	struct vfd_container *first = f->container;
	f->container = other;
	OK(map_pages(f, 9000, 0, PAGES, RW));
	OK(vfd_track_start(other, NULL, NULL, &f->err));
	device_writes(f, 0, 7, 1);
	device_writes(f, 1, 9008, 1);
	OK(harvest(f, 0));
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	REFUSED(VFD_ESTATE, vfd_log_destroy(&f->log, VFD_DISCARD, &f->err));
	f->container = first;
	OK(harvest(f, 0));
	check_precise(f);
	ck_assert_uint_eq(reported(f), 2);
	fixture_end(f);
}
END_TEST

/* ---- stop and start ---- */

START_TEST(stop_and_start)
{
	fixture_track(f, NULL);
	device_writes(f, 0, 1, 1);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err)); /* on already: nothing is lost by it */
	check();
	REFUSED(VFD_EDIRTY,
		vfd_track_stop(f->container, VFD_COLLECT, &f->err)); /* it could write in between */
	check_precise(f);
	ck_assert(model_tracking(f->model, vfd_container_fd(f->container)));
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(vfd_track_stop(f->container, VFD_COLLECT, &f->err));
	check_precise(f);
	OK(vfd_track_stop(f->container, 0, &f->err)); /* off already */
	REFUSED(VFD_ESTATE, harvest(f, 0));
	OK(vfd_device_resume(f->device, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	forget_log(f);
	device_writes(f, 0, 2, 1);
	OK(vfd_track_stop(f->container, VFD_DISCARD, &f->err));
	ck_assert_uint_eq(reported(f), 0);
	OK(vfd_group_detach(&f->group, VFD_DISCARD, &f->err)); /* not tracking: nothing to lose */
	fixture_end(f);
}
END_TEST

START_TEST(failed_stop)
{
	fixture_track(f, NULL);
	device_writes(f, 0, 1, 1);
	model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
						    .request = VFIO_IOMMU_DIRTY_PAGES,
						    .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP,
						    .error = EFAULT });
	REFUSED(VFD_EDIRTY, vfd_track_stop(f->container, 0, &f->err));
	OK(vfd_device_quiesce(f->device, &f->err));
	REFUSED(-EFAULT, vfd_track_stop(f->container, VFD_COLLECT, &f->err));
	ck_assert_uint_eq(info_of(f).tracking, 1);
	ck_assert(model_tracking(f->model, vfd_container_fd(f->container)));
	OK(vfd_device_resume(f->device, &f->err));
	device_writes(f, 0, 2, 1);
	OK(harvest(f, 0));
	check_precise(f);
	fixture_end(f);
}
END_TEST

START_TEST(nothing_tracks_without_log)
{
	struct vfd_container_options options = { .struct_size = sizeof options, .backend = mode_backend() };

	fixture_begin(f, NULL);
	OK(vfd_container_close(&f->container, 0, &f->err));
	OK(container_open_on(&f->model->sys, &options, &f->container, &f->err));
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
	REFUSED(VFD_ESTATE, vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(vfd_device_close(&f->device, 0, &f->err));
	OK(vfd_group_detach(&f->group, 0, &f->err));
	OK(vfd_container_close(&f->container, 0, &f->err));
	fixture_end(f);
}
END_TEST

int main(void)
{
	static const char on_type1_only[] =
		"a physical group is not deferred but recorded, or blind: test_iommufd";
	Suite *suite = suite_create("lifecycle");

	add_modes(suite, "write, pin, harvest", write_and_harvest);
	add_modes(suite, "an idle device is dirty", idle_is_dirty);
	add_modes(suite, "drained is accepted", drained_is_accepted);
	add_modes(suite, "resumed is not drained", resumed_is_not_drained);
	add_modes(suite, "collect, or discard", collect_or_discard);
	add_modes(suite, "100 times detached and attached", hundred_cycles);
	add_modes(suite, "mappings change in between", mappings_change_between);
	add_modes(suite, "a failed attach", attach_rolls_back);
	add_modes(suite, "a close names what is open", close_names_what_is_open);
	add_modes(suite, "the first of two groups leaves", first_of_two_leaves);
	add_modes(suite, "the first of two is discarded", discarded_first_of_two);
	add_modes(suite, "a container of two", container_of_two);
	add_modes_but(suite, "physical and emulated", on_type1_only, physical_is_deferred);
	add_modes_but(suite, "unmap with a physical group", on_type1_only, physical_unmap);
	add_modes(suite, "unplugged half-way", unplugged_half_way);
	add_modes(suite, "one of two unplugged", unplugged_one_of_two);
	add_modes(suite, "unplugged and back, unnoticed", unplugged_unnoticed);
	add_modes(suite, "the log refuses", log_refuses);
	add_modes(suite, "aliases, reused IOVA", aliases_and_reuse);
	add_modes(suite, "two containers, one log", two_containers);
	add_modes(suite, "stop and start", stop_and_start);
	add_modes_but(suite, "STOP fails", "a table that cannot be switched off records for nobody",
		      failed_stop);
	add_modes(suite, "no log, no tracking", nothing_tracks_without_log);
	return run_suite(suite);
}
