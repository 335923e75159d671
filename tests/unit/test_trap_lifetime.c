/* SPDX-License-Identifier: MIT */

/* Traps 1 to 6, 29, 30, 50: the kernel's record dies with the last group, in silence. Each test loses a page, or crashes the
 * kernel, when the library's counter-measure is taken away (tests/mutants). */

#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernel/vfdtest.h"

static struct fixture fixture, *f = &fixture;

/* Nothing may have reached the kernel since `calls`. */
static void check_no_call_since(uint64_t calls)
{
	ck_assert_uint_eq(model_counts(f->model).calls, calls);
}

/* ---- 1 ---- */

START_TEST(last_unset)
{
	fixture_track(f, NULL);
	device_pins(f, 0, 42, 1);
	OK(vfd_device_close(&f->device, VFD_DISCARD, &f->err)); /* type1 keeps the bit until the detach */
	uint64_t calls = model_counts(f->model).calls;
	REFUSED(VFD_EDIRTY, vfd_group_detach(&f->group, 0, &f->err));
	check_no_call_since(calls);
	ck_assert(model_tracking(f->model, vfd_container_fd(f->container)));
	check_law(f);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	ck_assert(is_logged(f, 42));
	check_precise(f);
	fixture_end(f);
}
END_TEST

/* ---- 2 ---- */

static void close_all_at_once(void)
{
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
}

static void close_device_first(void)
{
	OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err));
	OK(vfd_container_close(&f->container, 0, &f->err));
}

static void close_group_first(void)
{
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	OK(vfd_container_close(&f->container, 0, &f->err));
}

static void close_one_by_one(void)
{
	OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err));
	OK(vfd_group_detach(&f->group, 0, &f->err));
	OK(vfd_container_close(&f->container, 0, &f->err));
}

START_TEST(close_orders)
{
	void (*const orders[])(void) = { close_all_at_once, close_device_first, close_group_first,
					 close_one_by_one };

	for (int i = 0; i < 4; i++) {
		fixture_track(f, NULL);
		device_writes(f, 0, 7, 2);
		device_pins(f, 0, 300, 1);
		orders[i]();
		check_precise(f);
		ck_assert_uint_eq(reported(f), 3);
		fixture_end(f);
	}
}
END_TEST

/* ---- 3 ---- */

START_TEST(group_before_device)
{
	fixture_track(f, NULL);
	device_pins(f, 0, 42, 1);
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(harvest(f, 0));
	REFUSED(VFD_EDEVICES, vfd_group_detach(&f->group, 0, &f->err));
	REFUSED(VFD_EDEVICES, vfd_container_close(&f->container, 0, &f->err));
	ck_assert_ptr_nonnull(strstr(f->err.message, NAME(0)));

	device_writes(f, 0, 50, 1);
	OK(vfd_device_resume(f->device, &f->err));
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	check_precise(f);
	fixture_end(f);
}
END_TEST

/* ---- 4 ---- */

START_TEST(container_while_attached)
{
	fixture_track(f, NULL);
	device_writes(f, 0, 11, 1);
	OK(vfd_device_close(&f->device, VFD_DISCARD, &f->err));
	uint64_t calls = model_counts(f->model).calls;
	REFUSED(VFD_EDIRTY, vfd_container_close(&f->container, 0, &f->err));
	check_no_call_since(calls);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_precise(f);
	ck_assert(is_logged(f, 11));
	fixture_end(f);
}
END_TEST

/* ---- 5 ---- */

/* The last thing that an unstoppable device does. */
static void write_before_close(struct model *model, const struct model_trace *call, uint64_t number,
			       bool after, void *argument)
{
	(void)model;
	(void)number;
	(void)argument;
	if (!after && call->call == MODEL_CLOSE && call->file == MODEL_FILE_DEVICE)
		device_writes(f, 0, 20, 1);
}

START_TEST(unplugged_in_the_gap)
{
	fixture_track(f, &stubborn);
	device_writes(f, 0, 10, 1);
	model_unplug(f->model, 7); /* as soon as the device is closed */
	model_on_call(f->model, write_before_close, NULL);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	model_on_call(f->model, NULL, NULL);
	ck_assert(is_logged(f, 20)); /* nobody reported it, nobody could */
	check_all_logged(f);
	check_exact(f);
	ck_assert_msg(reported(f) == 1, "page 10 was there to be had while the device was open");
	fixture_end(f);
}
END_TEST

START_TEST(written_at_the_last_moment)
{
	fixture_track(f, &stubborn);
	device_writes(f, 0, 10, 1);
	model_on_call(f->model, write_before_close, NULL);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	model_on_call(f->model, NULL, NULL);
	check_precise(f);
	ck_assert_uint_eq(reported(f), 2);
	fixture_end(f);
}
END_TEST

/* ---- 6 ---- */

static bool racing;

static void *race(void *argument)
{
	struct vfd_container_info info = { .struct_size = sizeof info };
	struct vfd_plan plan = { .struct_size = sizeof plan };

	(void)argument;
	while (__atomic_load_n(&racing, __ATOMIC_RELAXED)) {
		vfd_track_harvest(f->container, 0, NULL, NULL);
		vfd_container_info(f->container, &info, NULL);
		vfd_unmap(f->container, 512 * PAGE, 512 * PAGE, NULL);
		vfd_track_plan(f->container, &plan, NULL);
	}
	return NULL;
}

START_TEST(calls_against_last_detach)
{
	pthread_t threads[2];

	fixture_track(f, NULL);
	f->model->ioctl_delay = 2000;
	f->model->teardown_delay = 2000;
	racing = true;
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, race, NULL), 0);
	for (int i = 0; i < 100; i++) { /* discarding, the UNSET comes at once */
		OK(vfd_group_detach(&f->group, i % 2 ? VFD_COLLECT : VFD_DISCARD, &f->err));
		OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
		map_pages(f, 512, 512, 512, RW);
	}
	__atomic_store_n(&racing, false, __ATOMIC_RELAXED);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	fixture_end(f);
}
END_TEST

/* ---- 29 ---- */

START_TEST(descriptors_are_private)
{
	int fd = sys_linux.open(&sys_linux, "/dev/null", O_RDWR);
	int copy = sys_linux.dup(&sys_linux, fd);

	ck_assert_int_ge(copy, 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	ck_assert_int_eq(fcntl(copy, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	close(copy);
	close(fd);
}
END_TEST

START_TEST(stopped_by_another_holder)
{
	fixture_track(f, NULL);
	device_writes(f, 0, 33, 1);
	ck_assert_int_eq(raw_switch(f, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP), 0);
	REFUSED(VFD_ELOST, harvest(f, 0));
	check_all_logged(f);
	ck_assert_uint_eq(reported(f), 0);
	device_writes(f, 0, 34, 1); /* recorded by nobody */
	check_law(f);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	check_all_logged(f);
	forget_log(f);
	device_writes(f, 0, 35, 1);
	OK(harvest(f, 0));
	check_precise(f);
	fixture_end(f);
}
END_TEST

/* ---- 30 ---- */

START_TEST(held_by_another)
{
	fixture_track(f, NULL);
	device_writes(f, 0, 10, 1);
	ck_assert_int_eq(model_hold(f->model, NAME(0)), 0);
	REFUSED(-EBUSY, vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	ck_assert_ptr_nonnull(strstr(f->err.message, "another process"));
	ck_assert(model_tracking(f->model, vfd_container_fd(f->container)));
	ck_assert_uint_eq(info_of(f).tracking, 1);
	ck_assert_uint_eq(info_of(f).attached, 1);

	device_writes(f, 0, 20, 1); /* who holds it can use it */
	check_law(f);
	REFUSED(-EBUSY, vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	device_writes(f, 0, 21, 1);
	model_release(f->model, NAME(0));
	REFUSED(VFD_EDIRTY, vfd_group_detach(&f->group, 0, &f->err));
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	check_precise(f);
	ck_assert_uint_eq(reported(f), 3);
	fixture_end(f);
}
END_TEST

/* Closed here, open there: it goes on writing, and nothing says so. */
START_TEST(closed_but_held)
{
	for (int i = 0; i < 2; i++) {
		fixture_track(f, &stubborn);
		ck_assert_int_eq(model_hold(f->model, NAME(0)), 0);
		OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err));
		device_writes(f, 0, 20, 1);
		model_release(f->model, NAME(0));
		OK(i ? vfd_group_detach(&f->group, 0, &f->err)
		     : vfd_container_close(&f->container, 0, &f->err));
		check_precise(f);
		fixture_end(f);
	}
}
END_TEST

START_TEST(held_by_own_mapping)
{
	void *own, *foreign;

	fixture_track(f, NULL);
	OK(vfd_device_map(f->device, 0, 0, PAGE, &own, &f->err)); /* the device undoes this one by itself */
	const struct sys *sys = &f->model->sys;
	ck_assert_int_eq(sys->map_file(sys, vfd_device_fd(f->device), 0, PAGE, PROT_READ, &foreign), 0);
	device_writes(f, 0, 10, 1);
	REFUSED(-EBUSY, vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	ck_assert_ptr_nonnull(strstr(f->err.message, "left in this process: 1;"));
	REFUSED(VFD_ESTATE, vfd_device_quiesce(f->device, &f->err));
	sys->unmap(sys, foreign, PAGE);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	check_precise(f);
	fixture_end(f);
}
END_TEST

START_TEST(own_mapping_is_undone)
{
	void *own;

	fixture_track(f, NULL);
	OK(vfd_device_map(f->device, 0, 0, PAGE, &own, &f->err));
	device_writes(f, 0, 10, 1);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	check_precise(f);
	fixture_end(f);
}
END_TEST

/* ---- 50 ---- */

static int (*real_ioctl)(const struct sys *sys, int fd, unsigned long request, void *arg);

/* Linux 5.8 forgets to mark everything when a physical group leaves. */
static int ioctl_58(const struct sys *sys, int fd, unsigned long request, void *arg)
{
	uint64_t swallowed[WORDS] = { 0 };
	int rc = real_ioctl(sys, fd, request, arg);

	if (request == VFIO_GROUP_UNSET_CONTAINER && !rc)
		raw_get(f, 0, PAGES, swallowed);
	return rc;
}

START_TEST(physical_leaves_linux_58)
{
	fixture_track(f, &mixed);
	OK(vfd_group_attach(f->container, 20, &f->group2, &f->err));
	OK(vfd_device_open(f->group2, PCI_NAME, &f->device2, &f->err));
	OK(vfd_device_resume(f->device2, &f->err));
	ck_assert_int_eq(model_dma_write(f->model, PCI_NAME, 30 * PAGE, PAGE, 1), 0);
	device_writes(f, 0, 40, 1);
	OK(harvest(f, 0));
	check_law(f);

	real_ioctl = f->model->sys.ioctl;
	f->model->sys.ioctl = ioctl_58;
	OK(vfd_group_detach(&f->group2, VFD_COLLECT, &f->err));
	f->model->sys.ioctl = real_ioctl;
	check_law(f);
	OK(harvest(f, VFD_HARVEST_FINAL));
	check_all_logged(f);

	forget_log(f); /* from here on it is exact again */
	device_writes(f, 0, 50, 1);
	OK(harvest(f, 0));
	check_precise(f);
	fixture_end(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("traps: lifetime");

	add_trap(suite, 1, "the last UNSET destroys the bits", last_unset);
	add_trap(suite, 2, "close(group) is a silent UNSET", close_orders);
	add_trap(suite, 3, "group closed before its device", group_before_device);
	add_trap(suite, 4, "container closed while attached", container_while_attached);
	add_trap(suite, 5, "unplugged between close and UNSET", unplugged_in_the_gap);
	add_trap(suite, 5, "written at the last moment", written_at_the_last_moment);
	add_trap(suite, 6, "container calls against the last detach", calls_against_last_detach);
	add_trap(suite, 29, "descriptors are close-on-exec", descriptors_are_private);
	add_trap(suite, 29, "another holder of the fd stops tracking", stopped_by_another_holder);
	add_trap(suite, 30, "another process holds the device", held_by_another);
	add_trap(suite, 30, "closed here, held elsewhere", closed_but_held);
	add_trap(suite, 30, "a mapping of this process holds the device", held_by_own_mapping);
	add_trap(suite, 30, "the device's own mappings are undone", own_mapping_is_undone);
	add_trap(suite, 50, "a physical group leaves Linux 5.8", physical_leaves_linux_58);
	return run_suite(suite);
}
