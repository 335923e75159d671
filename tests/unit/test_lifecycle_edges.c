/* SPDX-License-Identifier: MIT */

/* Corners of a container's life that a review found: each of these once lost a page, or owed one twice. */

#include "fixture.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct fixture fixture, *f = &fixture;

/* Closed by the library and drained; but another process holds the device, and it writes. */
START_TEST(stop_looks_once_more)
{
	fixture_track(f, NULL);
	ck_assert_int_eq(model_hold(f->model, NAME(0)), 0);
	OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err));
	device_writes(f, 0, 9, 2);
	OK(vfd_track_stop(f->container, 0, &f->err));
	check_all_logged(f);
	ck_assert(is_logged(f, 9) && is_logged(f, 10));
	model_release(f->model, NAME(0));
	fixture_end(f);
}
END_TEST

/* The kernel took the other group away: what the library holds for one of two is the last. */
START_TEST(last_without_knowing)
{
	fixture_track(f, &two_emulated);
	OK(vfd_group_attach(f->container, 8, &f->group2, &f->err));
	device_writes(f, 0, 20, 1);
	model_unplug(f->model, 8);
	OK(vfd_device_close(&f->device, VFD_DISCARD, &f->err));
	OK(vfd_group_detach(&f->group, 0, &f->err));
	check_all_logged(f);
	ck_assert(is_logged(f, 20));
	fixture_end(f);
}
END_TEST

static uint64_t owed(void)
{
	uint64_t bitmap[WORDS];

	return logged(f, bitmap);
}

static void deliver_all(void)
{
	struct vfd_consumer *consumer = vfd_log_consumer(f->log);
	struct vfd_batch batch;

	OK(vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, &f->err));
	OK(vfd_commit(consumer, &batch, 0, UINT64_MAX, &f->err));
}

/* All-dirty is owed once: after the final harvest nothing was written, so the unmap owes nothing. */
START_TEST(drained_physical_unmaps_clean)
{
	fixture_begin(f, &one_physical);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(map_pages(f, 0, 0, PAGES, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(owed(), PAGES);
	deliver_all();
	OK(unmap_pages(f, 0, PAGES));
	ck_assert_uint_eq(owed(), 0);
	fixture_end(f);
}
END_TEST

/* While a map is on its way: mapped for the kernel, not in the table yet. */
static void last_harvest_during_map(struct model *model, const struct model_trace *call, uint64_t number,
				    bool after, void *argument)
{
	(void)number, (void)argument;
	if (!after || call->call != MODEL_IOCTL || call->request != VFIO_IOMMU_MAP_DMA)
		return;
	model_on_call(model, NULL, NULL);
	ck_assert_int_eq(model_dma_write(model, PCI_NAME, 40 * PAGE, 8, 1), 0);
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert(info_of(f).drained); /* as far as the table goes */
}

/* What was written between the kernel's "mapped" and the table's is owed, though the last harvest fell in between. */
START_TEST(drained_while_mapping)
{
	fixture_begin(f, &one_physical);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(map_pages(f, 0, 0, 32, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	OK(vfd_device_resume(f->device, &f->err)); /* bus mastering on */
	model_on_call(f->model, last_harvest_during_map, NULL);
	OK(map_pages(f, 32, 32, 32, RW));
	ck_assert(!info_of(f).drained);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert(is_logged(f, 40));
	ck_assert(info_of(f).drained);
	OK(map_pages(f, 64, 64, 32, RW)); /* nobody can write to that one */
	ck_assert(info_of(f).drained);
	fixture_end(f);
}
END_TEST

/* The plan says what will be deferred before any device is open. */
START_TEST(plan_before_the_device)
{
	struct vfd_plan plan = { .struct_size = sizeof plan };

	fixture_begin(f, &one_physical);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(map_pages(f, 0, 0, PAGES, RW));
	OK(vfd_track_start(f->container, NULL, &plan, &f->err));
	ck_assert_uint_eq(plan.deferred_bytes, PAGES * PAGE);
	ck_assert_uint_eq(plan.exact, 0);
	fixture_end(f);
}
END_TEST

/* And while it can write, it does. */
START_TEST(running_physical_unmaps_dirty)
{
	fixture_begin(f, &one_physical);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(map_pages(f, 0, 0, PAGES, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	OK(harvest(f, VFD_HARVEST_FINAL));
	deliver_all();
	OK(unmap_pages(f, 0, PAGES));
	ck_assert_uint_eq(owed(), PAGES);
	ck_assert_uint_eq(reported(f), 0); /* the kernel's "everything" is no report */
	fixture_end(f);
}
END_TEST

/* The device was open for a moment, so it may have written. */
START_TEST(half_opened_is_dirty)
{
	struct model_fault fault = { .call = MODEL_IOCTL, .request = VFIO_DEVICE_GET_INFO, .error = EFAULT };

	fixture_track(f, NULL);
	OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err));
	ck_assert_uint_eq(info_of(f).drained, 1);
	model_fault(f->model, fault);
	REFUSED(-EFAULT, vfd_device_open(f->group, NAME(0), &f->device, &f->err));
	ck_assert_uint_eq(info_of(f).drained, 0);
	REFUSED(VFD_EDIRTY, vfd_group_detach(&f->group, 0, &f->err));
	fixture_end(f);
}
END_TEST

/* A plain unmap that succeeded behind an EFAULT: the second call finds it gone. */
START_TEST(plain_unmap_half_failed)
{
	struct model_fault fault = {
		.call = MODEL_IOCTL, .request = VFIO_IOMMU_UNMAP_DMA, .error = EFAULT, .step = 1
	};

	fixture_begin(f, NULL);
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	OK(map_pages(f, 0, 0, PAGES, RW));
	model_fault(f->model, fault);
	REFUSED(-EFAULT, unmap_pages(f, 0, PAGES));
	OK(unmap_pages(f, 0, PAGES));
	ck_assert_uint_eq(owed(), 0); /* nothing was tracked */
	fixture_end(f);
}
END_TEST

/* A parent's log would swallow the child's pages. */
START_TEST(log_through_a_fork)
{
	struct vfd_container_options options = { .struct_size = sizeof options };
	struct vfd_container *container;
	int status;

	fixture_begin(f, NULL);
	options.log = f->log;
	pid_t child = fork();
	if (!child)
		_exit(container_open_on(&f->model->sys, &options, &container, &f->err) == VFD_EFORKED ? 0
												      : 1);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status) && !WEXITSTATUS(status));
	fixture_end(f);
}
END_TEST

/* Taken away by the kernel, and nobody harvested since: stopping is not refused for ever. */
START_TEST(stop_after_unplug)
{
	fixture_track(f, NULL);
	device_writes(f, 0, 5, 1);
	model_unplug(f->model, 7);
	OK(vfd_device_close(&f->device, VFD_DISCARD, &f->err));
	OK(vfd_track_stop(f->container, VFD_DISCARD, &f->err));
	ck_assert_uint_eq(info_of(f).tracking, 0);
	fixture_end(f);
}
END_TEST

/* A fork in the middle of a change of the table: release frees nothing of what may be half-written. */
START_TEST(release_with_a_broken_table)
{
	int status;

	fixture_track(f, NULL);
	pid_t child = fork();
	if (!child) {
		memset(&f->container->space.table, 0x55, sizeof f->container->space.table);
		_exit(vfd_container_release(&f->container, &f->err) || f->container);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status) && !WEXITSTATUS(status));
	fixture_end(f);
}
END_TEST

/* Its device writes to what is mapped already, and then the record is lost, which a harvest of other memory finds. */
static void lose_during_map(struct model *model, const struct model_trace *call, uint64_t number, bool after,
			    void *argument)
{
	(void)number, (void)argument;
	if (!after || call->call != MODEL_IOCTL || call->request != VFIO_IOMMU_MAP_DMA)
		return;
	model_on_call(model, NULL, NULL);
	device_writes(f, 0, 40, 1);
	ck_assert_int_eq(raw_switch(f, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP), 0);
	REFUSED(VFD_ELOST, vfd_track_harvest_range(f->container, 0, 32 * PAGE - 1, NULL, &f->err));
}

/* What was being mapped when the record was lost is assumed too: the table did not have it when the others were. Not what can only be
 * read. */
START_TEST(lost_while_mapping)
{
	for (int read_only = 0; read_only < 2; read_only++) {
		fixture_begin(f, NULL);
		OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
		OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
		OK(map_pages(f, 0, 0, 32, RW));
		OK(map_pages(f, 40, 40, 1, RW));
		OK(vfd_track_start(f->container, NULL, NULL, &f->err));
		model_on_call(f->model, lose_during_map, NULL);
		OK(map_pages(f, 41, 41, 32, read_only ? VFD_MAP_READ : RW));
		ck_assert_msg(is_logged(f, 40), "page 40 LOST");
		ck_assert_msg(is_logged(f, 42) != read_only, "page 42 %s", read_only ? "assumed" : "LOST");
		check_law(f);
		fixture_end(f);
	}
}
END_TEST

/* Somebody else holds its device: the container stays whole, and what is written meanwhile is collected when it can be closed. */
START_TEST(close_is_busy)
{
	fixture_track(f, NULL);
	device_writes(f, 0, 3, 1);
	ck_assert_int_eq(model_hold(f->model, NAME(0)), 0);
	REFUSED(-EBUSY, vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	ck_assert(f->container && is_logged(f, 3));
	device_writes(f, 0, 9, 1);
	check_law(f);
	model_release(f->model, NAME(0));
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	f->group = NULL, f->device = NULL;
	ck_assert_msg(is_logged(f, 9), "page 9 LOST");
	fixture_end(f);

	fixture_track(f, NULL);
	ck_assert_int_eq(model_hold(f->model, NAME(0)), 0);
	OK(vfd_container_close(&f->container, VFD_DISCARD,
			       &f->err)); /* what is dropped need not be waited for */
	f->group = NULL, f->device = NULL;
	model_release(f->model, NAME(0));
	fixture_end(f);
}
END_TEST

/* Nothing makes it quiet but its last close. */
static const struct model_config blind = {
	.group_count = 1,
	.groups = { { .number = 20,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = "blind.0", .no_reset = true } } } },
};

static void begin_held(void)
{
	fixture_begin(f, &blind);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(map_pages(f, 0, 0, PAGES, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(vfd_device_open(f->group, "blind.0", &f->device, &f->err));
	ck_assert_int_eq(model_hold(f->model, "blind.0"), 0);
	OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err));
	REFUSED(-EBUSY, vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	OK(harvest(f, VFD_HARVEST_FINAL));
	deliver_all();
	ck_assert_int_eq(model_dma_write(f->model, "blind.0", 9 * PAGE, 8, 1), 0);
}

static void end_held(void)
{
	ck_assert_msg(is_logged(f, 9), "page 9 LOST");
	fixture_end(f);
}

/* Nobody records what its holder writes: the last harvest is not the last before the group is gone. */
START_TEST(held_and_deferred)
{
	begin_held();
	ck_assert_uint_eq(info_of(f).drained, 0);
	REFUSED(VFD_EDIRTY, vfd_track_stop(f->container, 0, &f->err));
	model_release(f->model, "blind.0");
	OK(vfd_group_detach(&f->group, 0, &f->err));
	end_held();

	begin_held();
	OK(unmap_pages(f, 0, PAGES));
	model_release(f->model, "blind.0");
	end_held();

	begin_held();
	model_release(f->model, "blind.0");
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	f->group = NULL;
	end_held();
}
END_TEST

/* Configuration space may be written while bus mastering is off: it is drained until that is turned on. */
START_TEST(configured_while_gated)
{
	const uint8_t line = 7;
	const uint16_t command = htole16(PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);

	fixture_track(f, &emulated_pci);
	OK(vfd_device_resume(f->device, &f->err));
	device_writes(f, 0, 4, 1);
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(harvest(f, VFD_HARVEST_FINAL));
	OK(vfd_device_write(f->device, VFIO_PCI_CONFIG_REGION_INDEX, PCI_INTERRUPT_LINE, &line, 1, &f->err));
	ck_assert_uint_eq(info_of(f).drained, 1);
	OK(vfd_device_write(f->device, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2, &f->err));
	ck_assert_uint_eq(info_of(f).drained, 0);
	device_writes(f, 0, 5, 1);
	REFUSED(VFD_EDIRTY, vfd_track_stop(f->container, 0, &f->err));
	OK(harvest(f, 0));
	ck_assert(is_logged(f, 4) && is_logged(f, 5));
	fixture_end(f);
}
END_TEST

int main(void)
{
	static const char detached[] = "a closed device is detached: it reaches nothing, whoever holds it";
	static const char recorded[] =
		"a physical group is not deferred but recorded, or blind: test_iommufd";
	static const char waits[] =
		"a harvest that asks the kernel waits for the map, so it cannot fall into it";
	static const char asked_again[] = "an unmap that was not told is asked again at once: test_iommufd";
	Suite *suite = suite_create("lifecycle edges");

	add_modes_but(suite, "stop looks once more", detached, stop_looks_once_more);
	add_modes(suite, "last without knowing", last_without_knowing);
	add_modes_but(suite, "drained physical", recorded, drained_physical_unmaps_clean);
	add_modes_but(suite, "drained while mapping", waits, drained_while_mapping);
	add_modes_but(suite, "plan before the device", recorded, plan_before_the_device);
	add_modes_but(suite, "running physical", recorded, running_physical_unmaps_dirty);
	add_modes(suite, "half opened", half_opened_is_dirty);
	add_modes_but(suite, "plain unmap half failed", asked_again, plain_unmap_half_failed);
	add_tagged(suite, TAG_FORK, "log through a fork", log_through_a_fork);
	add_modes(suite, "stop after unplug", stop_after_unplug);
	add_tagged(suite, TAG_FORK, "release with a broken table", release_with_a_broken_table);
	add_case(suite, "lost while mapping", lost_while_mapping);
	add_case(suite, "close is busy", close_is_busy);
	add_case(suite, "held and deferred", held_and_deferred);
	add_case(suite, "configured while gated", configured_while_gated);
	return run_suite(suite);
}
