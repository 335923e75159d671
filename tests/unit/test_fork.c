/* SPDX-License-Identifier: MIT */

/* After fork(): the child may do one thing, release, without an ioctl; the parent notices nothing. */

#include "fixture.h"

#include <semaphore.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct fixture fixture, *f = &fixture;
static struct vfd_pinset *set;
static struct vfd_pin held;

/* In the child a failed check is its exit status. */
#define CHECK(what)                                                                                          \
	do {                                                                                                 \
		if (!(what)) {                                                                               \
			fprintf(stderr, "%s:%d: in the child: %s\n", __FILE__, __LINE__, #what);             \
			_exit(1);                                                                            \
		}                                                                                            \
	} while (0)

static void in_child(void (*work)(void))
{
	int status;
	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (!child) {
		alarm(10); /* a deadlock is a failure */
		work();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "the child failed (status %#x)", status);
}

#define EFORKED(call) CHECK((call) == VFD_EFORKED && f->err.code == VFD_EFORKED && f->err.message[0])

/* A pin is held of the parent's: the child sees it in its memory, and must leave it alone. */
static void pins_are_refused(void)
{
	struct vfd_pin pin = { 0 };
	struct vfd_translation t;
	struct vfd_pinset *other;
	struct vfd_placement placement = { .struct_size = sizeof placement };
	struct vfd_mapping mapping = {
		.struct_size = sizeof mapping, .flags = RW, .size = PAGE, .memory = f->memory
	};

	EFORKED(vfd_pin(set, f->memory, PAGE, VFD_PIN_WRITE, &pin, &f->err));
	EFORKED(vfd_pin_iova(set, 0, PAGE, VFD_PIN_WRITE, &pin, &f->err));
	EFORKED(vfd_unpin(set, &held, 1, &f->err));
	EFORKED(vfd_translate(set, f->memory, &t, &f->err));
	EFORKED(vfd_pinset_create(f->container, NULL, &other, &f->err));
	EFORKED(vfd_pinset_destroy(&set, VFD_PIN_ABANDON, &f->err));
	EFORKED(vfd_device_pins_all(f->device, &f->err));
	EFORKED(vfd_device_find(f->container, NAME(0), &f->device2, &f->err));
	EFORKED(vfd_group_find(f->container, 7, &f->group2, &f->err));
	EFORKED(vfd_map_anywhere(f->container, &mapping, &placement, &f->err));
	EFORKED(vfd_map_check(f->container, &mapping, NULL, &f->err));
	EFORKED(vfd_unmap_wait(f->container, 0, PAGE, 1, &f->err));
	CHECK(vfd_pinset_held(set) == 1);
}

static void everything_is_refused(void)
{
	struct vfd_container_info info = { .struct_size = sizeof info };
	struct vfd_device_info device_info = { .struct_size = sizeof device_info };
	struct vfd_device_region region = { .struct_size = sizeof region };
	struct vfd_plan plan = { .struct_size = sizeof plan };
	uint64_t calls = model_counts(f->model).calls;
	void *memory;
	int fd = 0;

	EFORKED(vfd_container_info(f->container, &info, &f->err));
	EFORKED(vfd_container_close(&f->container, VFD_DISCARD, &f->err));
	EFORKED(vfd_group_attach(f->container, 8, &f->group2, &f->err));
	EFORKED(vfd_group_attach_device(f->container, NAME(1), &f->group2, &f->err));
	EFORKED(vfd_group_detach(&f->group, VFD_DISCARD, &f->err));
	EFORKED(map_pages(f, 5000, 0, 1, RW));
	EFORKED(unmap_pages(f, 0, PAGES));
	EFORKED(vfd_unmap_all(f->container, &f->err));
	EFORKED(vfd_device_open(f->group, NAME(0), &f->device2, &f->err));
	EFORKED(vfd_device_close(&f->device, VFD_DISCARD, &f->err));
	EFORKED(vfd_device_info(f->device, &device_info, &f->err));
	EFORKED(vfd_device_region_info(f->device, 0, &region, &f->err));
	EFORKED(vfd_device_map(f->device, 0, 0, PAGE, &memory, &f->err));
	EFORKED(vfd_device_unmap(f->device, &info, &f->err));
	EFORKED(vfd_device_read(f->device, 0, 0, &info, 1, &f->err));
	EFORKED(vfd_device_write(f->device, 0, 0, &info, 1, &f->err));
	EFORKED(vfd_device_irq_enable(f->device, 0, 0, &fd, 1, &f->err));
	EFORKED(vfd_device_irq_unmask(f->device, 0, 0, 1, &f->err));
	EFORKED(vfd_device_irq_disable(f->device, 0, &f->err));
	EFORKED(vfd_device_reset(f->device, &f->err));
	EFORKED(vfd_device_quiesce(f->device, &f->err));
	EFORKED(vfd_device_resume(f->device, &f->err));
	EFORKED(vfd_track_start(f->container, NULL, NULL, &f->err));
	EFORKED(vfd_track_harvest(f->container, 0, NULL, &f->err));
	EFORKED(vfd_track_stop(f->container, VFD_DISCARD, &f->err));
	EFORKED(vfd_track_plan(f->container, &plan, &f->err));
	if (set)
		pins_are_refused();
	CHECK(f->container && f->group && f->device);
	CHECK(model_counts(f->model).calls == calls);
}

/* Everything that keeps a device open is let go of, and nothing else is done: memory stays, its records may be half-written. */
static void release_all(void)
{
	uint64_t ioctls = model_counts(f->model).ioctls;

	CHECK(!vfd_container_release(&f->container, &f->err));
	CHECK(!f->container);
	CHECK(vfd_container_release(&f->container, &f->err) == VFD_EINVALID);
	CHECK(!vfd_log_release(&f->log, &f->err));
	CHECK(model_counts(f->model).ioctls == ioctls);
	CHECK(!model_counts(f->model).descriptors);
	CHECK(!model_counts(f->model).areas);
}

static void refused_then_released(void)
{
	everything_is_refused();
	release_all();
}

static void track_with_area(void)
{
	void *area;

	fixture_track(f, &two_emulated);
	OK(vfd_device_map(f->device, 0, 0, PAGE, &area, &f->err));
	device_writes(f, 0, 3, 1);
	OK(harvest(f, 0));
	device_writes(f, 0, 4, 1);
}

static void check_parent(void)
{
	check_law(f);
	REFUSED(VFD_ESTATE, vfd_container_release(&f->container, &f->err));
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	check_precise(f);
	ck_assert_uint_eq(reported(f), 2);
	fixture_end(f);
}

START_TEST(child_of_one_thread)
{
	track_with_area();
	in_child(refused_then_released);
	check_parent();
}
END_TEST

START_TEST(child_while_pinned)
{
	track_with_area();
	OK(vfd_pinset_create(f->container, NULL, &set, &f->err));
	OK(vfd_pin(set, f->memory, PAGE, VFD_PIN_WRITE, &held, &f->err));
	in_child(everything_is_refused);
	OK(vfd_unpin(set, &held, 1, &f->err));
	OK(vfd_pinset_destroy(&set, 0, &f->err));
	fixture_end(f);
}
END_TEST

/* The guard is about the process that opened it: a grandchild is no parent either. */
static void fork_again(void)
{
	in_child(refused_then_released);
	refused_then_released();
}

START_TEST(grandchild)
{
	track_with_area();
	in_child(fork_again);
	check_parent();
}
END_TEST

/* A container that a child opens for itself is its own. */
static void child_opens_its_own(void)
{
	release_all();
	struct model *inherited = f->model;
	memset(f, 0, sizeof *f);
	fixture_track(f, NULL);
	device_writes(f, 0, 9, 1);
	CHECK(!vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	CHECK(is_logged(f, 9));
	CHECK(!vfd_container_close(&f->container, 0, &f->err));
	CHECK(!vfd_log_destroy(&f->log, VFD_DISCARD, &f->err));
	model_free(f->model);
	model_free(inherited);
}

START_TEST(child_starts_anew)
{
	track_with_area();
	in_child(child_opens_its_own);
	check_parent();
}
END_TEST

/* ---- at the worst moment: another thread is inside, and holds what it holds ---- */

static sem_t inside, go_on;

static void wait_inside(struct model *model, const struct model_trace *call, uint64_t number, bool after,
			void *argument)
{
	(void)model;
	(void)number;
	if (after || call->call != MODEL_IOCTL || call->request != *(unsigned long *)argument)
		return;
	*(unsigned long *)argument = 0; /* once */
	sem_post(&inside);
	sem_wait(&go_on);
}

static void *do_harvest(void *argument)
{
	(void)argument;
	return (void *)(intptr_t)harvest(f, 0);
}

static void *do_stop(void *argument)
{
	(void)argument;
	return (void *)(intptr_t)vfd_track_stop(f->container, VFD_COLLECT, NULL);
}

START_TEST(while_another_thread_is_inside)
{
	void *(*const works[])(void *) = { do_harvest, do_stop };
	pthread_t thread;
	void *rc;

	for (int i = 0; i < 2; i++) {
		unsigned long request = VFIO_IOMMU_DIRTY_PAGES;
		track_with_area();
		if (i)
			OK(vfd_device_quiesce(f->device, &f->err));
		sem_init(&inside, 0, 0);
		sem_init(&go_on, 0, 0);
		model_on_call(f->model, wait_inside, &request);
		ck_assert_int_eq(pthread_create(&thread, NULL, works[i], NULL), 0);
		sem_wait(&inside);
		in_child(refused_then_released);
		sem_post(&go_on);
		pthread_join(thread, &rc);
		model_on_call(f->model, NULL, NULL);
		ck_assert_int_eq((intptr_t)rc, 0);
		if (i)
			OK(vfd_device_resume(f->device, &f->err));
		check_parent();
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("fork");

	add_tagged(suite, TAG_FORK, "a child", child_while_pinned);
	add_tagged(suite, TAG_FORK, "a child", child_of_one_thread);
	add_tagged(suite, TAG_FORK, "a grandchild", grandchild);
	add_tagged(suite, TAG_FORK, "a child opens its own", child_starts_anew);
	add_tagged(suite, TAG_FORK, "while another thread is inside", while_another_thread_is_inside);
	return run_suite(suite);
}
