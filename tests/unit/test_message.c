/* SPDX-License-Identifier: MIT */

/* Messages: each kind once, by the thread that called, behind all locks; and none that is dropped in silence. */

#include "fixture.h"

#include <endian.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "uapi.h"

static struct fixture fixture, *f = &fixture;

/* ---- what was told ---- */

enum { MOST = 1024 };
static struct vfd_message told[MOST];
static unsigned count;

static void keep(const struct vfd_message *message, void *opaque)
{
	ck_assert_ptr_eq(opaque, f);
	ck_assert_uint_eq(message->struct_size, sizeof *message);
	ck_assert_uint_ge(strlen(message->text), 10);
	ck_assert_uint_lt(count, MOST);
	told[count++] = *message;
}

static void listen(enum vfd_level level)
{
	count = 0;
	OK(vfd_container_messages(f->container, level, keep, f, &f->err));
}

static const struct vfd_message *find(uint32_t kind)
{
	for (unsigned i = 0; i < count; i++)
		if (told[i].kind == kind)
			return &told[i];
	ck_abort_msg("of kind %u nothing was told", kind);
	return NULL;
}

static unsigned how_many(uint32_t kind)
{
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++)
		n += told[i].kind == kind;
	return n;
}

static void begin(enum vfd_level level)
{
	fixture_track(f, NULL);
	listen(level);
}

/* ---- kinds ---- */

START_TEST(comings_and_goings)
{
	fixture_begin(f, NULL);
	listen(VFD_LEVEL_INFO);
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
	OK(map_pages(f, 0, 0, PAGES, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(count, 3);
	ck_assert_str_eq(find(VFD_MSG_DEVICE)->who, NAME(0));
	for (unsigned i = 0; i < count; i++) {
		ck_assert_uint_eq(told[i].level, VFD_LEVEL_INFO);
		ck_assert_uint_eq(told[i].count, 1);
		ck_assert_uint_gt(told[i].first, told[i].last);
		ck_assert_int_eq(told[i].sys_errno, 0);
	}
	listen(VFD_LEVEL_INFO);
	OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err));
	OK(vfd_track_stop(f->container, VFD_COLLECT, &f->err));
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	ck_assert_uint_eq(count, 3);
	ck_assert_uint_eq(
		find(VFD_MSG_DEVICE)->count + find(VFD_MSG_TRACKING)->count + find(VFD_MSG_GROUP)->count, 0);
	fixture_end(f);
}
END_TEST

START_TEST(maps_and_harvests)
{
	begin(VFD_LEVEL_DEBUG);
	device_writes(f, 0, 3, 5);
	OK(harvest(f, 0));
	ck_assert_uint_eq(find(VFD_MSG_HARVESTED)->count, 5);
	OK(unmap_pages(f, 0, PAGES));
	ck_assert_uint_eq(find(VFD_MSG_UNMAPPED)->last, PAGES * PAGE - 1);
	OK(map_pages(f, 16, 16, 2, RW));
	ck_assert_uint_eq(find(VFD_MSG_MAPPED)->first, 16 * PAGE);
	ck_assert_uint_eq(find(VFD_MSG_MAPPED)->count, 2 * PAGE);
	ck_assert_uint_eq(count, 3);
	listen(VFD_LEVEL_INFO);
	OK(harvest(f, 0));
	ck_assert_uint_eq(count, 0);
	fixture_end(f);
}
END_TEST

START_TEST(refusals)
{
	begin(VFD_LEVEL_WARNING);
	REFUSED(VFD_EDIRTY, vfd_group_detach(&f->group, 0, &f->err));
	REFUSED(VFD_EDIRTY, vfd_track_stop(f->container, 0, NULL) ? f->err.code : 0);
	ck_assert_int_eq(vfd_device_close(&f->device, 0, NULL),
			 VFD_EDIRTY); /* nobody wants the text, but he */
	ck_assert_uint_eq(how_many(VFD_MSG_REFUSED), 3);
	ck_assert_uint_eq(told[0].level, VFD_LEVEL_WARNING);
	ck_assert_ptr_nonnull(strstr(told[0].text, "group 7 is the last"));
	ck_assert_ptr_nonnull(strstr(told[2].text, NAME(0)));
	ck_assert_int_eq(model_hold(f->model, NAME(0)), 0);
	REFUSED(-EBUSY, vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	ck_assert_uint_eq(how_many(VFD_MSG_REFUSED), 4);
	ck_assert_int_eq(told[count - 1].sys_errno, EBUSY);
	model_release(f->model, NAME(0));
	fixture_end(f);
}
END_TEST

START_TEST(pins_refuse_too)
{
	struct vfd_pinset *set;
	struct vfd_pin pin = { 0 };

	begin(VFD_LEVEL_WARNING);
	OK(vfd_pinset_create(f->container, NULL, &set, &f->err));
	OK(vfd_pin(set, f->memory + 7 * PAGE, PAGE, VFD_PIN_WRITE, &pin, &f->err));
	REFUSED(VFD_EPINNED, vfd_track_stop(f->container, VFD_DISCARD, &f->err));
	ck_assert_uint_eq(find(VFD_MSG_REFUSED)->first, 7 * PAGE);
	OK(vfd_unpin(set, &pin, 1, &f->err));
	OK(vfd_pinset_destroy(&set, 0, &f->err));
	fixture_end(f);
}
END_TEST

START_TEST(record_lost)
{
	begin(VFD_LEVEL_ERROR);
	device_writes(f, 0, 0, 3);
	ck_assert_int_eq(raw_switch(f, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP), 0);
	REFUSED(VFD_ELOST, harvest(f, 0));
	ck_assert_uint_eq(count, 1);
	ck_assert_uint_eq(find(VFD_MSG_LOST)->count, PAGES);
	ck_assert_uint_eq(told[0].reason, VFD_WHY_STATE_LOST);
	fixture_end(f);
}
END_TEST

/* Whom nothing is told loses nothing by it. */
START_TEST(record_lost_in_silence)
{
	begin(VFD_LEVEL_ERROR);
	OK(vfd_container_messages(f->container, 0, NULL, NULL, &f->err));
	device_writes(f, 0, 0, 3);
	ck_assert_int_eq(raw_switch(f, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP), 0);
	REFUSED(VFD_ELOST, harvest(f, 0));
	ck_assert_uint_eq(count, 0);
	check_all_logged(f);
	fixture_end(f);
}
END_TEST

/* At an odd offset, so that what arrives is shifted. */
START_TEST(harvest_fails)
{
	fixture_pieces(f, NULL, 4, 3, 5);
	fixture_club(f);
	listen(VFD_LEVEL_WARNING);
	model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
						    .request = VFIO_IOMMU_DIRTY_PAGES,
						    .file = MODEL_FILE_CONTAINER,
						    .error = EIO });
	REFUSED(-EIO, harvest(f, 0));
	ck_assert_uint_gt(find(VFD_MSG_ASSUMED)->count, 0);
	ck_assert_uint_eq(told[0].reason, VFD_WHY_HARVEST_FAILED);
	ck_assert_uint_eq(told[0].level, VFD_LEVEL_WARNING);
	ck_assert_int_eq(told[0].sys_errno, EIO);
	ck_assert_uint_le(told[0].first, told[0].last);
	model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
						    .request = VFIO_IOMMU_DIRTY_PAGES,
						    .file = MODEL_FILE_CONTAINER,
						    .error = EINVAL });
	harvest(f, 0);
	ck_assert_uint_eq(how_many(VFD_MSG_FALLBACK), 1);
	ck_assert_int_eq(find(VFD_MSG_FALLBACK)->sys_errno, EINVAL);
	fixture_end(f);
}
END_TEST

START_TEST(unmap_fails)
{
	begin(VFD_LEVEL_WARNING);
	model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
						    .request = VFIO_IOMMU_UNMAP_DMA,
						    .error = EFAULT });
	OK(unmap_pages(f, 0, PAGES));
	ck_assert_uint_eq(count, 1);
	ck_assert_int_eq(find(VFD_MSG_RETRIED)->sys_errno, EFAULT);
	OK(map_pages(f, 0, 0, 8, RW));
	model_fault(f->model, (struct model_fault){
				      .call = MODEL_IOCTL, .request = VFIO_IOMMU_UNMAP_DMA, .error = EIO });
	REFUSED(-EIO, unmap_pages(f, 0, 8));
	ck_assert_uint_eq(find(VFD_MSG_ASSUMED)->reason, VFD_WHY_UNMAP_FAILED);
	ck_assert_uint_eq(find(VFD_MSG_ASSUMED)->count, 8);
	ck_assert_int_eq(find(VFD_MSG_ASSUMED)->sys_errno, EIO);
	fixture_end(f);
}
END_TEST

static struct model_log how;
static const struct model_config logging = {
	.group_count = 1,
	.groups = { { .number = 20,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = PCI_NAME, .pci = true, .log = &how } } } },
};

static void begin_logging(void)
{
	uint16_t command = htole16(PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);

	fixture_begin(f, &logging);
	listen(VFD_LEVEL_INFO);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	OK(map_pages(f, 0, 0, 8, RW));
	OK(vfd_device_write(f->device, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
}

START_TEST(device_log)
{
	struct vfd_rearm_options running = { .struct_size = sizeof running, .flags = VFD_REARM_RUNNING };

	how = (struct model_log){ .total_limit = 8 * PAGE }; /* just what is mapped now */
	begin_logging();
	ck_assert_str_eq(find(VFD_MSG_LOG_STARTED)->who, PCI_NAME);
	ck_assert_uint_eq(find(VFD_MSG_LOG_STARTED)->count, 1);
	how.total_limit = 0;
	model_set_log(f->model, PCI_NAME, &how);
	OK(map_pages(f, 512, 512, 8, RW));
	OK(vfd_track_rearm(f->container, &running, NULL, &f->err));
	ck_assert_uint_eq(find(VFD_MSG_REARMED)->count, 1);
	ck_assert_uint_eq(find(VFD_MSG_REARMED)->reason, VFD_WHY_REARMED);
	forget_log(f);
	how.report_error = EIO;
	model_set_log(f->model, PCI_NAME, &how);
	REFUSED(-EIO, harvest(f, 0));
	ck_assert_uint_eq(find(VFD_MSG_LOG_FAILED)->level, VFD_LEVEL_ERROR);
	ck_assert_str_eq(find(VFD_MSG_LOG_FAILED)->who, PCI_NAME);
	OK(harvest(f, VFD_HARVEST_FINAL)); /* what was to come is no warning */
	ck_assert_uint_eq(find(VFD_MSG_ASSUMED)->level, VFD_LEVEL_INFO);
	OK(vfd_container_close(&f->container, VFD_DISCARD, &f->err));
	fixture_end(f);
}
END_TEST

START_TEST(device_log_of_no_use)
{
	how = (struct model_log){ .no_report = true };
	begin_logging();
	ck_assert_uint_eq(how_many(VFD_MSG_LOG_STARTED), 0);
	ck_assert_str_eq(find(VFD_MSG_FALLBACK)->who, PCI_NAME);
	OK(vfd_container_close(&f->container, VFD_DISCARD, &f->err));
	fixture_end(f);
}
END_TEST

/* ---- from within ---- */

static unsigned depth, deepest, inside;

/* Each call that there is: shared, exclusive, of a device, and one that has more to say. A lock that is held would keep it waiting. */
static void call_again(const struct vfd_message *message, void *opaque)
{
	struct vfd_container_info info = { .struct_size = sizeof info };
	uint32_t word;

	deepest = ++depth > deepest ? depth : deepest;
	keep(message, opaque);
	if (inside++ == 0) {
		OK(vfd_container_info(f->container, &info, &f->err));
		OK(vfd_track_start(f->container, NULL, NULL, &f->err));
		OK(vfd_device_read(f->device, 0, 0, &word, sizeof word, &f->err));
		OK(map_pages(f, PAGES, 0, 1, RW));
		ck_assert_uint_eq(count, 1); /* what that has to say comes later */
		OK(unmap_pages(f, PAGES, 1));
	}
	depth--;
}

START_TEST(callbacks_call_again)
{
	alarm(10); /* a deadlock is a failure */
	begin(VFD_LEVEL_DEBUG);
	inside = depth = deepest = 0;
	OK(vfd_container_messages(f->container, VFD_LEVEL_DEBUG, call_again, f, &f->err));
	OK(harvest(f, 0));
	ck_assert_uint_eq(count, 3);
	ck_assert_uint_eq(told[0].kind, VFD_MSG_HARVESTED);
	ck_assert_uint_eq(told[1].kind, VFD_MSG_MAPPED);
	ck_assert_uint_eq(told[2].kind, VFD_MSG_UNMAPPED);
	ck_assert_uint_eq(deepest, 1);
	alarm(0);
	fixture_end(f);
}
END_TEST

/* The same where the gate was closed. */
START_TEST(callbacks_of_exclusive_calls)
{
	alarm(10); /* a deadlock is a failure */
	begin(VFD_LEVEL_INFO);
	OK(vfd_track_stop(f->container, VFD_DISCARD, &f->err));
	inside = depth = deepest = count = 0;
	OK(vfd_container_messages(f->container, VFD_LEVEL_INFO, call_again, f, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(count, 1);
	ck_assert_uint_eq(told[0].kind, VFD_MSG_TRACKING);
	alarm(0);
	fixture_end(f);
}
END_TEST

static void clear_it(const struct vfd_message *message, void *opaque)
{
	keep(message, opaque);
	OK(vfd_container_messages(f->container, 0, NULL, NULL, &f->err));
}

START_TEST(callbacks_clear_themselves)
{
	begin(VFD_LEVEL_DEBUG);
	OK(vfd_container_messages(f->container, VFD_LEVEL_DEBUG, clear_it, f, &f->err));
	OK(unmap_pages(f, 0, PAGES));
	OK(map_pages(f, 0, 0, 8, RW));
	ck_assert_uint_eq(count, 1);
	REFUSED(VFD_EINVALID, vfd_container_messages(f->container, 7, keep, f, &f->err));
	REFUSED(VFD_EINVALID, vfd_container_messages(f->container, 0, keep, f, &f->err));
	REFUSED(VFD_EINVALID, vfd_container_messages(NULL, VFD_LEVEL_INFO, keep, f, &f->err));
	fixture_end(f);
}
END_TEST

static void use_what_ends(const struct vfd_message *message, void *opaque)
{
	struct vfd_container_info info = { .struct_size = sizeof info };
	struct vfd_container *same = f->container;
	struct vfd_group *group;

	keep(message, opaque);
	ck_assert_int_eq(vfd_container_info(f->container, &info, NULL), VFD_ESTATE);
	ck_assert_int_eq(vfd_group_attach(f->container, 7, &group, NULL), VFD_ESTATE);
	ck_assert_int_eq(vfd_container_close(&same, VFD_DISCARD, NULL), VFD_ESTATE);
	ck_assert_int_eq(vfd_container_release(&same, NULL), VFD_ESTATE);
}

START_TEST(closing_tells_and_refuses)
{
	begin(VFD_LEVEL_INFO);
	OK(vfd_container_messages(f->container, VFD_LEVEL_INFO, use_what_ends, f, &f->err));
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	f->group = NULL;
	f->device = NULL;
	ck_assert_uint_eq(count, 2);
	ck_assert_ptr_null(f->container);
	fixture_end(f);
}
END_TEST

static pid_t child;

static void fork_once(const struct vfd_message *message, void *opaque)
{
	keep(message, opaque);
	if (count == 1)
		child = fork();
}

/* It returns from the function, and is told nothing. */
START_TEST(children_are_told_nothing)
{
	struct vfd_container_info info = { .struct_size = sizeof info };
	int status;

	begin(VFD_LEVEL_DEBUG);
	OK(map_pages(f, PAGES, 0, 1, RW));
	OK(vfd_container_messages(f->container, VFD_LEVEL_DEBUG, fork_once, f, &f->err));
	count = 0;
	OK(vfd_unmap_all(f->container, &f->err));
	if (!child)
		_exit(count == 1 && vfd_container_info(f->container, &info, NULL) == VFD_EFORKED &&
				      vfd_container_messages(f->container, 1, NULL, NULL, NULL) == VFD_EFORKED
			      ? 0
			      : 1);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(count, 2);
	fixture_end(f);
}
END_TEST

/* ---- no place ---- */

START_TEST(what_is_dropped_is_counted)
{
	begin(VFD_LEVEL_DEBUG);
	OK(unmap_pages(f, 0, PAGES));
	for (uint64_t i = 0; i < 100; i++)
		OK(map_pages(f, i, i, 1, RW));
	listen(VFD_LEVEL_DEBUG);
	OK(vfd_unmap_all(f->container, &f->err));
	ck_assert_uint_eq(told[0].kind, VFD_MSG_DROPPED);
	ck_assert_uint_eq(told[0].level, VFD_LEVEL_DEBUG);
	ck_assert_uint_eq(told[0].count, 100 - MESSAGE_SLOTS);
	ck_assert_uint_eq(how_many(VFD_MSG_UNMAPPED), MESSAGE_SLOTS);
	for (unsigned i = 1; i < count; i++)
		ck_assert_uint_eq(told[i].first, (i - 1) * PAGE); /* oldest first */
	OK(harvest(f, 0));
	ck_assert_uint_eq(how_many(VFD_MSG_DROPPED), 1);
	fixture_end(f);
}
END_TEST

START_TEST(what_matters_keeps_its_place)
{
	begin(VFD_LEVEL_DEBUG);
	OK(unmap_pages(f, 0, PAGES));
	for (uint64_t i = 0; i < 100; i++)
		OK(map_pages(f, i, i, 1, RW));
	listen(VFD_LEVEL_DEBUG);
	model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
						    .request = VFIO_IOMMU_UNMAP_DMA,
						    .nth = 90,
						    .error = EFAULT });
	OK(vfd_unmap_all(f->container, &f->err));
	ck_assert_uint_eq(told[0].count, 101 - MESSAGE_SLOTS);
	ck_assert_uint_eq(how_many(VFD_MSG_RETRIED), 1);
	ck_assert_uint_eq(how_many(VFD_MSG_UNMAPPED), MESSAGE_SLOTS - 1);
	fixture_end(f);
}
END_TEST

/* ---- threads ---- */

enum { THREADS = 4, TURNS = 200 };

static _Thread_local unsigned mine, dropped_here;
static _Thread_local uint64_t my_page = UINT64_MAX;
static atomic_uint dropped_total, told_total;

static void count_mine(const struct vfd_message *message, void *opaque)
{
	atomic_bool *alive = opaque;

	ck_assert_msg(atomic_load(alive), "told after the function was taken back");
	if (message->kind == VFD_MSG_DROPPED) {
		dropped_here++;
		atomic_fetch_add(&dropped_total, (unsigned)message->count);
		return;
	}
	ck_assert_msg(message->first == my_page * PAGE, "told by another thread");
	mine++;
}

static void *map_and_unmap(void *arg)
{
	my_page = (uint64_t)(uintptr_t)arg;
	for (unsigned i = 0; i < TURNS; i++) {
		if (map_pages(f, my_page, my_page, 1, RW) || unmap_pages(f, my_page, 1))
			ck_abort_msg("a map or unmap failed");
	}
	atomic_fetch_add(&told_total, mine);
	return NULL;
}

/* Two messages wait for another thread, which is in the function for the first. */
static sem_t entered, go_on;
static pthread_t other;
static atomic_bool left;

static void stand(const struct vfd_message *message, void *opaque)
{
	(void)opaque;
	if (pthread_equal(pthread_self(), other)) {
		ck_assert_uint_eq(message->kind, VFD_MSG_UNMAPPED);
		sem_post(&entered);
		sem_wait(&go_on);
		left = true;
	} else {
		ck_assert_uint_eq(message->kind, VFD_MSG_MAPPED);
		count++;
	}
}

static void *unmap_two(void *arg)
{
	other = pthread_self();
	return vfd_unmap_all(f->container, NULL) ? arg : NULL;
}

static void begin_standing(pthread_t *thread, vfd_message_fn fn)
{
	begin(VFD_LEVEL_DEBUG);
	OK(unmap_pages(f, 0, PAGES));
	OK(map_pages(f, 0, 0, 1, RW));
	OK(map_pages(f, 2, 2, 1, RW));
	sem_init(&entered, 0, 0);
	sem_init(&go_on, 0, 0);
	count = 0;
	left = false;
	OK(vfd_container_messages(f->container, VFD_LEVEL_DEBUG, fn, f, &f->err));
	ck_assert_int_eq(pthread_create(thread, NULL, unmap_two, f), 0);
	sem_wait(&entered);
}

START_TEST(what_waits_for_others_is_theirs)
{
	pthread_t thread;

	begin_standing(&thread, stand);
	OK(map_pages(f, 8, 8, 1, RW));
	ck_assert_uint_eq(count, 1);
	sem_post(&go_on);
	sem_post(&go_on);
	pthread_join(thread, NULL);
	ck_assert_int_eq(sem_trywait(&entered), 0);
	OK(vfd_container_messages(f->container, 0, NULL, NULL, &f->err));
	fixture_end(f);
}
END_TEST

static void *let_go(void *arg)
{
	usleep(50000);
	sem_post(&go_on);
	return arg;
}

START_TEST(taking_back_waits)
{
	pthread_t thread, later;

	begin_standing(&thread, stand);
	ck_assert_int_eq(pthread_create(&later, NULL, let_go, NULL), 0);
	OK(vfd_container_messages(f->container, 0, NULL, NULL, &f->err));
	ck_assert(left);
	pthread_join(thread, NULL);
	pthread_join(later, NULL);
	ck_assert_int_ne(sem_trywait(&entered), 0); /* the second was dropped */
	fixture_end(f);
}
END_TEST

static void stand_if_other(const struct vfd_message *message, void *opaque)
{
	if (pthread_equal(pthread_self(), other))
		stand(message, opaque);
}

/* What it stands in would be freed. */
START_TEST(closing_waits)
{
	pthread_t thread, later;

	begin_standing(&thread, stand_if_other);
	ck_assert_int_eq(pthread_create(&later, NULL, let_go, NULL), 0);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	ck_assert(left);
	f->group = NULL;
	f->device = NULL;
	pthread_join(thread, NULL);
	pthread_join(later, NULL);
	fixture_end(f);
}
END_TEST

static atomic_bool alive[2];

START_TEST(each_thread_is_told_its_own)
{
	pthread_t threads[THREADS];

	begin(VFD_LEVEL_DEBUG);
	OK(unmap_pages(f, 0, PAGES));
	alive[0] = true;
	dropped_total = told_total = 0;
	OK(vfd_container_messages(f->container, VFD_LEVEL_DEBUG, count_mine, &alive[0], &f->err));
	for (uintptr_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, map_and_unmap, (void *)i), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(told_total + dropped_total, 2 * THREADS * TURNS);
	listen(VFD_LEVEL_ERROR);
	fixture_end(f);
}
END_TEST

/* When it was taken back nobody is in it any more. */
START_TEST(taken_back_is_left)
{
	pthread_t threads[THREADS];

	begin(VFD_LEVEL_DEBUG);
	OK(unmap_pages(f, 0, PAGES));
	OK(vfd_container_messages(f->container, 0, NULL, NULL, &f->err));
	for (uintptr_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, map_and_unmap, (void *)i), 0);
	for (unsigned i = 0; i < TURNS; i++) {
		alive[i % 2] = true;
		OK(vfd_container_messages(f->container, VFD_LEVEL_DEBUG, count_mine, &alive[i % 2], &f->err));
		alive[(i + 1) % 2] = false;
	}
	OK(vfd_container_messages(f->container, 0, NULL, NULL, &f->err));
	alive[0] = alive[1] = false;
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	fixture_end(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("message");

	add_case(suite, "groups, devices, tracking", comings_and_goings);
	add_case(suite, "maps and harvests", maps_and_harvests);
	add_case(suite, "refusals", refusals);
	add_case(suite, "pins", pins_refuse_too);
	add_case(suite, "record lost", record_lost);
	add_case(suite, "record lost in silence", record_lost_in_silence);
	add_case(suite, "harvest fails", harvest_fails);
	add_case(suite, "unmap fails", unmap_fails);
	add_case(suite, "device log", device_log);
	add_case(suite, "device log of no use", device_log_of_no_use);
	add_case(suite, "calls from within", callbacks_call_again);
	add_case(suite, "calls from within an exclusive one", callbacks_of_exclusive_calls);
	add_case(suite, "cleared from within", callbacks_clear_themselves);
	add_case(suite, "closing", closing_tells_and_refuses);
	add_tagged(suite, TAG_FORK, "forked from within", children_are_told_nothing);
	add_case(suite, "dropped", what_is_dropped_is_counted);
	add_case(suite, "importance", what_matters_keeps_its_place);
	add_case(suite, "threads", each_thread_is_told_its_own);
	add_case(suite, "of other threads", what_waits_for_others_is_theirs);
	add_case(suite, "taking back waits", taking_back_waits);
	add_case(suite, "closing waits", closing_waits);
	add_case(suite, "taken back at any time", taken_back_is_left);
	return run_suite(suite);
}
