/* SPDX-License-Identifier: MIT */

/* Several devices go from state to state together, or all go back. */

#include "migration_world.h"

#include <errno.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char data[8192];

static bool is_set(const struct model_trace *call)
{
	return call->call == MODEL_IOCTL && call->request == VFIO_DEVICE_FEATURE &&
	       (call->flags & 0xfffff) == SET_STATE;
}

static bool runs_freely(uint32_t state)
{
	return state == VFD_MIG_RUNNING || state == VFD_MIG_PRE_COPY;
}

static bool is_stopped(uint32_t state)
{
	return state == VFD_MIG_STOP || state == VFD_MIG_STOP_COPY || state == VFD_MIG_RESUMING;
}

/* ---- nobody sends to one that is stopped ---- */

static unsigned sets;

static void nobody_sends(struct model *m, const struct model_trace *call, uint64_t number, bool after,
			 void *argument)
{
	unsigned stopped = 0, free = 0;

	(void)number;
	(void)argument;
	if (!is_set(call) || !after)
		return;
	for (unsigned i = 0; i < DEVICES; i++) {
		uint32_t state = model_migration_state(m, names[i]);
		stopped += is_stopped(state);
		free += runs_freely(state);
	}
	ck_assert_msg(!stopped || !free, "%u are stopped while %u run freely", stopped, free);
	sets++;
}

static void all_to(uint32_t state)
{
	OK(vfd_migration_set(devices, DEVICES, state, &f->err));
	for (unsigned i = 0; i < DEVICES; i++)
		ck_assert_uint_eq(state_of(i), state);
	ck_assert_uint_eq(writers(), is_stopped(state) ? 0 : DEVICES);
}

START_TEST(in_step)
{
	static const uint32_t tour[] = { VFD_MIG_STOP,	      VFD_MIG_RUNNING,	VFD_MIG_STOP_COPY,
					 VFD_MIG_RUNNING,     VFD_MIG_PRE_COPY, VFD_MIG_STOP_COPY,
					 VFD_MIG_STOP,	      VFD_MIG_PRE_COPY, VFD_MIG_STOP,
					 VFD_MIG_RUNNING_P2P, VFD_MIG_RUNNING };

	migration_begin(NULL);
	model_on_call(f->model, nobody_sends, NULL);
	for (size_t i = 0; i < sizeof tour / sizeof tour[0]; i++)
		all_to(tour[i]);
	ck_assert_uint_ge(sets, 2 * DEVICES * 8);
	model_on_call(f->model, NULL, NULL);
	migration_end();
}
END_TEST

/* All take in their data before any runs. */
START_TEST(resumed_in_step)
{
	size_t size;

	migration_begin(NULL);
	set_registers(0, 5);
	OK(set_one(0, VFD_MIG_STOP_COPY));
	OK(read_all(0, data, sizeof data, &size));
	all_to(VFD_MIG_RESUMING);
	for (unsigned i = 0; i < DEVICES; i++)
		OK(write_all(i, data, i < 2 ? size : size - 1));
	model_on_call(f->model, nobody_sends, NULL);
	REFUSED(-EINVAL, vfd_migration_set(devices, DEVICES, VFD_MIG_RUNNING, &f->err));
	ck_assert_uint_eq(state_of(0), VFD_MIG_STOP);
	ck_assert_uint_eq(state_of(1), VFD_MIG_STOP);
	ck_assert_uint_eq(state_of(2), VFD_MIG_RESUMING);
	ck_assert_uint_eq(writers(), 0); /* none has run */
	model_on_call(f->model, NULL, NULL);
	REFUSED(-EINVAL, vfd_migration_cancel(devices, DEVICES, 0, &f->err));
	ck_assert_uint_eq(state_of(0), VFD_MIG_RUNNING);
	ck_assert(has_registers(0, 5) && has_registers(1, 5));
	OK(vfd_migration_cancel(devices, DEVICES, VFD_MIG_RESET, &f->err));
	ck_assert_uint_eq(state_of(2), VFD_MIG_RUNNING);
	migration_end();
}
END_TEST

/* Some are able to less: each does what it can. */
START_TEST(unlike_devices)
{
	const struct model_migration plain = { .flags = UAPI_MIGRATION_STOP_COPY };

	migration_begin(NULL);
	model_set_migration(f->model, SECOND, &plain);
	OK(vfd_device_close(&devices[1], VFD_COLLECT, &f->err)); /* it is asked when it is opened */
	OK(vfd_device_open(f->group, SECOND, &devices[1], &f->err));
	ck_assert_uint_eq(about(1).flags, VFD_MIG_CAN_STOP_COPY);
	REFUSED(VFD_EUNSUPPORTED, vfd_migration_set(devices, DEVICES, VFD_MIG_PRE_COPY, &f->err));
	for (unsigned i = 0; i < DEVICES; i++)
		ck_assert_uint_eq(state_of(i), VFD_MIG_RUNNING);
	all_to(VFD_MIG_STOP_COPY);
	all_to(VFD_MIG_RUNNING);
	migration_end();
}
END_TEST

/* ---- and back ---- */

static void fail_set(uint64_t nth, unsigned step)
{
	model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
						    .request = VFIO_DEVICE_FEATURE,
						    .file = MODEL_FILE_DEVICE,
						    .flags = SET_STATE,
						    .nth = nth,
						    .error = EIO,
						    .step = step });
}

/* Where they are after a failure: all where they were, or on. */
static uint32_t back_from(uint32_t origin)
{
	uint32_t state = state_of(0);

	if (origin == VFD_MIG_PRE_COPY && state == VFD_MIG_RUNNING)
		origin = VFD_MIG_RUNNING;
	if (origin == VFD_MIG_STOP_COPY)
		return state;
	for (unsigned i = 0; i < DEVICES; i++)
		ck_assert_uint_eq(state_of(i), origin);
	return origin;
}

/* Each of the calls fails, after each of its arcs. True: none was left to fail. */
static bool fail_one(uint32_t from, uint32_t to, uint64_t nth, unsigned step)
{
	uint64_t fired = model_fault_fired(f->model);
	unsigned descriptors;

	all_to(from);
	descriptors = model_counts(f->model).descriptors;
	fail_set(nth, step);
	int rc = vfd_migration_set(devices, DEVICES, to, &f->err);
	model_fault_clear(f->model);
	if (model_fault_fired(f->model) == fired) {
		ck_assert_int_eq(rc, 0);
		OK(vfd_migration_cancel(devices, DEVICES, 0, &f->err));
		return true;
	}
	ck_assert_msg(rc == -EIO, "%u to %u, call %u, step %u: %s", from, to, (unsigned)nth, step,
		      f->err.message);
	if (back_from(from) == from && from != VFD_MIG_STOP_COPY)
		ck_assert_uint_eq(model_counts(f->model).descriptors, descriptors);
	for (unsigned i = 0; i < DEVICES && runs_freely(state_of(0)); i++)
		ck_assert_int_eq(dma(i, 20 + i), 0); /* the source is at work */
	check_law(f);
	OK(vfd_migration_cancel(devices, DEVICES, VFD_MIG_RESET, &f->err));
	return false;
}

START_TEST(each_failure)
{
	static const struct {
		uint32_t from, to;
	} moves[] = { { VFD_MIG_RUNNING, VFD_MIG_STOP },       { VFD_MIG_RUNNING, VFD_MIG_STOP_COPY },
		      { VFD_MIG_RUNNING, VFD_MIG_PRE_COPY },   { VFD_MIG_PRE_COPY, VFD_MIG_STOP_COPY },
		      { VFD_MIG_STOP, VFD_MIG_RUNNING },       { VFD_MIG_STOP_COPY, VFD_MIG_RUNNING },
		      { VFD_MIG_RUNNING, VFD_MIG_RUNNING_P2P } };

	migration_begin(NULL);
	for (unsigned step = 0; step <= 3; step++) {
		uint64_t nth = 1;
		while (!fail_one(moves[_i].from, moves[_i].to, nth, step))
			nth++;
		ck_assert_uint_gt(nth, DEVICES);
	}
	migration_end();
}
END_TEST

/* One is beyond bringing back: the others are, and the message says which and where. */
START_TEST(one_breaks)
{
	struct model_migration breaks = { .flags = CAN_ALL,
					  .breaks = true,
					  .fail_from = VFD_MIG_STOP,
					  .fail_to = VFD_MIG_STOP_COPY,
					  .fail_error = EIO };

	migration_begin(NULL);
	model_set_migration(f->model, SECOND, &breaks);
	all_to(VFD_MIG_RUNNING);
	REFUSED(VFD_EPARTIAL, vfd_migration_set(devices, DEVICES, VFD_MIG_STOP_COPY, &f->err));
	ck_assert_msg(strstr(f->err.message, SECOND) && strstr(f->err.message, "ERROR"), "%s",
		      f->err.message);
	ck_assert_uint_eq(state_of(0), VFD_MIG_RUNNING);
	ck_assert_uint_eq(state_of(1), VFD_MIG_ERROR);
	ck_assert_uint_eq(state_of(2), VFD_MIG_RUNNING);
	ck_assert_uint_eq(writers(), DEVICES);
	REFUSED(VFD_ESTATE, vfd_migration_set(devices, DEVICES, VFD_MIG_STOP, &f->err));
	ck_assert_uint_eq(state_of(0), VFD_MIG_RUNNING); /* nothing was done */
	OK(vfd_migration_cancel(devices, DEVICES, VFD_MIG_RESET, &f->err));
	breaks.fail_error = 0;
	model_set_migration(f->model, SECOND, &breaks);
	all_to(VFD_MIG_STOP_COPY);
	migration_end();
}
END_TEST

/* Data that one has lost makes that of the others useless: all run. */
START_TEST(precopy_is_given_up_together)
{
	struct model_migration fails = { .flags = CAN_ALL,
					 .fail_from = VFD_MIG_PRE_COPY_P2P,
					 .fail_to = VFD_MIG_STOP_COPY,
					 .fail_error = EIO };

	migration_begin(NULL);
	model_set_migration(f->model, THIRD, &fails);
	all_to(VFD_MIG_PRE_COPY);
	REFUSED(-EIO, vfd_migration_set(devices, DEVICES, VFD_MIG_STOP_COPY, &f->err));
	for (unsigned i = 0; i < DEVICES; i++) {
		ck_assert_uint_eq(state_of(i), VFD_MIG_RUNNING);
		ck_assert_uint_eq(about(i).data, VFD_MIG_NO_DATA);
	}
	model_set_migration(f->model, FIRST, &fails); /* before anyone has lost it, it is kept */
	all_to(VFD_MIG_PRE_COPY);
	REFUSED(-EIO, vfd_migration_set(devices, DEVICES, VFD_MIG_STOP_COPY, &f->err));
	for (unsigned i = 0; i < DEVICES; i++) {
		ck_assert_uint_eq(state_of(i), VFD_MIG_PRE_COPY);
		ck_assert_uint_eq(about(i).data, VFD_MIG_SAVING);
	}
	migration_end();
}
END_TEST

/* Each to where it was, or, if its data is of no use, to what it did before. */
START_TEST(given_up_from_where_each_was)
{
	struct model_migration fails = { .flags = CAN_ALL,
					 .fail_from = VFD_MIG_PRE_COPY_P2P,
					 .fail_to = VFD_MIG_STOP_COPY,
					 .fail_error = EIO };

	migration_begin(NULL);
	model_set_migration(f->model, THIRD, &fails);
	OK(vfd_migration_set(&devices[0], 1, VFD_MIG_PRE_COPY_P2P, &f->err));
	OK(vfd_migration_set(&devices[2], 1, VFD_MIG_PRE_COPY, &f->err));
	REFUSED(-EIO, vfd_migration_set(devices, DEVICES, VFD_MIG_STOP_COPY, &f->err));
	ck_assert_uint_eq(state_of(0), VFD_MIG_RUNNING_P2P);
	ck_assert_uint_eq(state_of(1), VFD_MIG_RUNNING);
	ck_assert_uint_eq(state_of(2), VFD_MIG_RUNNING);
	ck_assert_uint_eq(about(2).data, VFD_MIG_NO_DATA);
	ck_assert_int_eq(dma(1, 50), 0); /* its log may have ended unread: owed at the end */
	OK(harvest(f, 0));
	migration_end();
}
END_TEST

/* ---- cancelled ---- */

START_TEST(cancelled_anywhere)
{
	migration_begin(NULL);
	for (uint32_t state = 1; state < STATES; state++) {
		if (state == VFD_MIG_RESUMING)
			continue; /* not without data */
		all_to(state);
		OK(vfd_migration_cancel(devices, DEVICES, 0, &f->err));
		for (unsigned i = 0; i < DEVICES; i++)
			ck_assert_uint_eq(state_of(i), VFD_MIG_RUNNING);
		ck_assert_uint_eq(writers(), DEVICES);
	}
	migration_end();
}
END_TEST

/* Whatever becomes of the others. */
START_TEST(cancelled_as_far_as_it_goes)
{
	migration_begin(NULL);
	all_to(VFD_MIG_PRE_COPY);
	fail_set(2, 0);
	REFUSED(-EIO, vfd_migration_cancel(devices, DEVICES, 0, &f->err));
	ck_assert_uint_eq(state_of(0), VFD_MIG_RUNNING);
	ck_assert_uint_eq(state_of(1), VFD_MIG_PRE_COPY);
	ck_assert_uint_eq(state_of(2), VFD_MIG_RUNNING);
	OK(vfd_migration_cancel(devices, DEVICES, 0, &f->err));
	ck_assert_uint_eq(state_of(1), VFD_MIG_RUNNING);
	migration_end();
}
END_TEST

/* ---- a whole one, with everything that devices wrote ---- */

START_TEST(end_to_end)
{
	migration_begin(NULL);
	for (unsigned i = 0; i < DEVICES; i++)
		ck_assert_int_eq(dma(i, 30 + 2 * i), 0);
	all_to(VFD_MIG_PRE_COPY);
	OK(harvest(f, 0));
	for (unsigned i = 0; i < DEVICES; i++)
		ck_assert_int_eq(dma(i, 60 + 2 * i), 0);
	all_to(VFD_MIG_STOP_COPY);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(info_of(f).drained, 1);
	ck_assert_uint_eq(reported(f), 2 * DEVICES);
	check_all_logged(f);
	for (unsigned i = 0; i < DEVICES; i++) {
		size_t size;
		OK(read_all(i, data, sizeof data, &size));
		ck_assert_uint_eq(size, 2 * MODEL_RECORD_SIZE);
		OK(vfd_device_close(&devices[i], 0, &f->err));
	}
	OK(vfd_group_detach(&f->group, 0, &f->err));
	OK(vfd_group_detach(&f->group2, 0, &f->err));
	OK(vfd_container_close(&f->container, 0, &f->err));
	fixture_end(f);
}
END_TEST

/* ---- a child, and other threads ---- */

static int in_child(void)
{
	struct vfd_migration_info info = { .struct_size = sizeof info };
	struct vfd_migration_precopy left = { .struct_size = sizeof left };
	unsigned before = model_counts(f->model).descriptors;
	size_t done;

	if (vfd_migration_set(devices, DEVICES, VFD_MIG_RUNNING, &f->err) != VFD_EFORKED ||
	    vfd_migration_cancel(devices, DEVICES, VFD_MIG_RESET, &f->err) != VFD_EFORKED ||
	    vfd_migration_info(devices[0], &info, &f->err) != VFD_EFORKED ||
	    vfd_migration_read(devices[0], data, 1, &done, &f->err) != VFD_EFORKED ||
	    vfd_migration_write(devices[0], data, 1, &done, &f->err) != VFD_EFORKED ||
	    vfd_migration_precopy(devices[0], &left, &f->err) != VFD_EFORKED)
		return 1;
	if (vfd_container_release(&f->container, &f->err))
		return 2;
	return model_counts(f->model).descriptors ? (int)before : 0; /* the data's too */
}

START_TEST(a_child)
{
	int status;

	migration_begin(NULL);
	all_to(VFD_MIG_STOP_COPY);
	pid_t child = fork();
	if (!child)
		_exit(in_child());
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "the child failed (status %#x)", status);
	for (unsigned i = 0; i < DEVICES; i++)
		ck_assert_uint_eq(state_of(i), VFD_MIG_STOP_COPY);
	migration_end();
}
END_TEST

static void *read_on(void *argument)
{
	static char into[4096];
	struct vfd_error err;
	size_t done;

	(void)argument;
	for (unsigned i = 0; i < 3000; i++) {
		vfd_migration_fd(devices[0]); /* who waits for data polls it */
		vfd_migration_read(devices[0], into, sizeof into, &done, &err);
	}
	return NULL;
}

static void *harvest_on(void *argument)
{
	struct vfd_error err;

	(void)argument;
	for (unsigned i = 0; i < 300; i++)
		vfd_track_harvest(f->container, 0, NULL, &err);
	return NULL;
}

/* Who reads meets a session, its end, or none. */
START_TEST(read_beside_changes)
{
	pthread_t reader, harvester;

	migration_begin(NULL);
	pthread_create(&reader, NULL, read_on, NULL);
	pthread_create(&harvester, NULL, harvest_on, NULL);
	for (unsigned i = 0; i < 100; i++) {
		OK(vfd_migration_set(devices, DEVICES, VFD_MIG_PRE_COPY, &f->err));
		OK(vfd_migration_set(devices, DEVICES, VFD_MIG_STOP_COPY, &f->err));
		OK(vfd_migration_cancel(devices, DEVICES, 0, &f->err));
	}
	pthread_join(reader, NULL);
	pthread_join(harvester, NULL);
	migration_end();
}
END_TEST

/* ---- a read that waits ---- */

static struct {
	atomic_bool waits, changed, in_vain;
} patience;

/* A driver that has nothing to say until the state is left: a second at most, then nobody ended the wait. */
static void wait_for_change(struct model *m, const struct model_trace *call, uint64_t number, bool after,
			    void *argument)
{
	const struct timespec moment = { .tv_nsec = 1000000 };

	(void)m, (void)number, (void)argument;
	if (is_set(call) && after)
		patience.changed = true;
	if (call->call != MODEL_READ || after)
		return;
	patience.waits = true;
	for (unsigned i = 0; i < 1000 && !patience.changed; i++)
		nanosleep(&moment, NULL);
	patience.in_vain = !patience.changed;
}

static void *read_once(void *argument)
{
	struct vfd_error err;
	size_t done;

	(void)argument;
	vfd_migration_read(devices[0], data, sizeof data, &done, &err);
	return NULL;
}

/* Logs that do not see all: what is mapped later none of them is armed for. */
static void begin_narrow(void)
{
	static const struct model_log narrow = { .total_limit = PAGES * PAGE };

	migration_begin(NULL);
	OK(vfd_track_stop(f->container, VFD_DISCARD, &f->err));
	for (unsigned i = 0; i < DEVICES; i++)
		model_set_log(f->model, names[i], &narrow);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	patience.waits = patience.changed = patience.in_vain = false;
}

static void end_the_wait(bool resume)
{
	pthread_t reader;

	OK(map_pages(f, 4 * PAGES, 0, 16, RW));
	model_on_call(f->model, wait_for_change, NULL);
	pthread_create(&reader, NULL, read_once, NULL);
	while (!patience.waits)
		sched_yield();
	if (resume)
		OK(vfd_device_resume(devices[0], &f->err));
	else
		all_to(VFD_MIG_RUNNING);
	pthread_join(reader, NULL);
	model_on_call(f->model, NULL, NULL);
	ck_assert_msg(!patience.in_vain,
		      "the change of state waited for the read, and not the other way round");
}

/* Before devices run their logs are begun anew, for which no call may run: not before what waits for their data was told. */
START_TEST(a_change_ends_a_read)
{
	begin_narrow();
	all_to(VFD_MIG_STOP_COPY);
	end_the_wait(false);
	migration_end();
}
END_TEST

/* Nor for a device that waits for nobody's data, but runs together with one of which it is read. */
START_TEST(a_change_of_others_ends_a_read)
{
	begin_narrow();
	OK(vfd_migration_set(&devices[1], DEVICES - 1, VFD_MIG_STOP, &f->err));
	OK(set_one(0, VFD_MIG_STOP_COPY));
	end_the_wait(false);
	migration_end();
}
END_TEST

START_TEST(resuming_ends_a_read)
{
	begin_narrow();
	OK(set_one(0, VFD_MIG_STOP_COPY));
	end_the_wait(true);
	migration_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("migration together");
	TCase *back = tcase_create("and back");

	add_case(suite, "in step", in_step);
	add_case(suite, "resumed in step", resumed_in_step);
	add_case(suite, "unlike devices", unlike_devices);
	tcase_set_timeout(back, 60);
	tcase_add_loop_test(back, each_failure, 0, 7);
	suite_add_tcase(suite, back);
	add_case(suite, "one breaks", one_breaks);
	add_case(suite, "precopy is given up together", precopy_is_given_up_together);
	add_case(suite, "given up from where each was", given_up_from_where_each_was);
	add_case(suite, "cancelled anywhere", cancelled_anywhere);
	add_case(suite, "cancelled as far as it goes", cancelled_as_far_as_it_goes);
	add_case(suite, "end to end", end_to_end);
	add_tagged(suite, TAG_FORK, "a child", a_child);
	add_case(suite, "read beside changes", read_beside_changes);
	add_case(suite, "a change ends a read", a_change_ends_a_read);
	add_case(suite, "a change of others ends a read", a_change_of_others_ends_a_read);
	add_case(suite, "resuming ends a read", resuming_ends_a_read);
	return run_suite(suite);
}
