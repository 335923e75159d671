/* SPDX-License-Identifier: MIT */

/* Devices whose data lets one wait, on the model kernel: for a moment, or until somebody cancels. */

#include "unit/migration_world.h"

#include "crc32c.h"
#include "yes_man.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

enum { FOR_EVER = 1 << 30, SOME = 7 };

static struct mig_control control;
static struct mig_region region;
static struct mig_error error;
static uint64_t stall_ms;
static int resumed;

static struct mig_guest guest(void)
{
	region = (struct mig_region){ LOG_ADDRESS, PAGES * PAGE, f->memory };
	return (struct mig_guest){
		.regions = &region, .region_count = 1, .devices = devices, .device_count = DEVICES
	};
}

static void let_wait(enum model_call call, uint64_t times)
{
	model_fault(f->model,
		    (struct model_fault){
			    .call = call, .file = MODEL_FILE_STREAM, .error = EAGAIN, .times = times });
}

/* Once somebody waits for a device. */
static void *cancel_then(void *unused)
{
	(void)unused;
	while (model_fault_fired(f->model) < 2)
		poll(NULL, 0, 1);
	mig_cancel(&control);
	return NULL;
}

/* ---- a descriptor that is to be made nonblocking --------------------------------------------------------------------- */

static atomic_int nonblocking; /* descriptors of the model's devices */

int __real_fcntl(int fd, int command, ...);
int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);

static int look(int fd, int command, long argument, int (*real)(int fd, int command, ...))
{
	if (fd < MODEL_FIRST_FD)
		return real(fd, command, argument);
	nonblocking += command == F_SETFL && argument & O_NONBLOCK;
	return 0;
}

#define WRAP(name)                                                                                           \
	int __wrap_##name(int fd, int command, ...)                                                          \
	{                                                                                                    \
		va_list list;                                                                                \
		va_start(list, command);                                                                     \
		long argument = va_arg(list, long);                                                          \
		va_end(list);                                                                                \
		return look(fd, command, argument, __real_##name);                                           \
	}

#ifdef __GLIBC__
WRAP(fcntl64)
#else
WRAP(fcntl)
#endif

/* ---- the source ----------------------------------------------------------------------------------------------------- */

static int on_harvest(void *opaque, bool final, struct vfd_harvest *sum, struct mig_error *err)
{
	(void)opaque;
	return mig_harvest(f->container, final, sum, err);
}

static int on_pause(void *opaque, struct mig_error *err)
{
	(void)opaque, (void)err;
	return 0;
}

/* Reads get EAGAIN only from here on: from STOP_COPY. */
static int on_pause_wait(void *opaque, struct mig_error *err)
{
	(void)opaque, (void)err;
	let_wait(MODEL_READ, FOR_EVER);
	return 0;
}

static void on_resume(void *opaque)
{
	(void)opaque;
	resumed++;
}

static int send_all(int (*pause)(void *opaque, struct mig_error *err), struct yes_man *y)
{
	struct mig_source s = { .guest = guest(),
				.log = f->log,
				.consumer = vfd_log_consumer(f->log),
				.options = { .stall_ms = stall_ms,
					     .force = true }, /* however slow this machine is */
				.control = &control,
				.harvest = on_harvest,
				.pause = pause,
				.resume = on_resume };
	struct mig_report report;
	struct mig_link link = yes_man_start(y);
	int rc = mig_send(&s, &link, 1, &report, &error);

	yes_man_end(y);
	return rc;
}

static void check_all_run(void)
{
	for (unsigned i = 0; i < DEVICES; i++)
		ck_assert_uint_eq(state_of(i), VFD_MIG_RUNNING);
}

static void send_cancelled(int (*pause)(void *opaque, struct mig_error *err))
{
	struct yes_man y = { .state = 0 };
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, cancel_then, NULL), 0);
	ck_assert_int_eq(send_all(pause, &y), MIG_CANCELLED);
	pthread_join(thread, NULL);
	model_fault_clear(f->model);
	check_all_run();
}

/* The device has been stopped, and its data never comes. */
START_TEST(stopped_and_silent)
{
	migration_begin(NULL);
	send_cancelled(on_pause_wait);
	ck_assert_int_eq(resumed, 1);
	migration_end();
}
END_TEST

/* It still runs. */
START_TEST(running_and_silent)
{
	migration_begin(NULL);
	let_wait(MODEL_READ, FOR_EVER);
	send_cancelled(on_pause);
	ck_assert_int_eq(resumed, 0);
	migration_end();
}
END_TEST

/* And nobody cancels: the guest does not stand still for ever. */
START_TEST(stopped_and_silent_too_long)
{
	struct yes_man y = { .state = 0 };

	migration_begin(NULL);
	stall_ms = 200;
	ck_assert_int_eq(send_all(on_pause_wait, &y), MIG_FAILED);
	ck_assert_msg(strstr(error.message, FIRST " gave nothing for 200 ms"), "%s", error.message);
	model_fault_clear(f->model);
	check_all_run();
	ck_assert_int_eq(resumed, 1);
	migration_end();
}
END_TEST

/* A device that takes its time is waited for, and what it then has arrives. */
START_TEST(slow)
{
	struct yes_man y = { .state = 0 };

	migration_begin(NULL);
	let_wait(MODEL_READ, SOME);
	ck_assert_int_eq(send_all(on_pause, &y), MIG_DONE);
	ck_assert_uint_eq(model_fault_fired(f->model), SOME);
	ck_assert_uint_ge(y.state, DEVICES * MODEL_RECORD_SIZE);
	ck_assert_int_eq(nonblocking,
			 2 * DEVICES); /* to precopy, and to stop: it is the same one, but may not be */
	ck_assert_int_eq(resumed, 0);
	migration_end();
}
END_TEST

/* ---- the destination ------------------------------------------------------------------------------------------------- */

static int never(void *opaque, struct mig_error *err)
{
	(void)opaque, (void)err;
	ck_abort_msg("it runs");
}

static void send_frame(struct wire *w, enum frame_type type, const uint8_t *meta, size_t size)
{
	struct mig_error err;

	ck_assert_msg(!wire_send(w, type, meta, size, NULL, &err), "%s", err.message);
}

static const struct hello hello = {
	.channels = 1, .regions = 1, .devices = DEVICES, .region = { { LOG_ADDRESS, PAGES *PAGE } }
};

/* A source that gives the first device four bytes. */
static void give_state(struct wire *w, struct mig_link *link)
{
	struct cargo cargo = { "state", 4, 0 };
	uint8_t meta[FRAME_META];
	struct mig_error err;
	struct sum sum;

	io_open(&w->io, link, 10000);
	sum_start(&sum);
	sum_add(&sum, cargo.data, cargo.size);
	cargo.sum = sum_end(&sum);
	send_frame(w, FRAME_HELLO, meta, hello_encode(&hello, meta));
	send_frame(w, FRAME_ROUND, meta, u32s_encode(meta, 1, 0));
	ck_assert_int_eq(wire_send(w, FRAME_STATE, meta, u32s_encode(meta, 0, 0), &cargo, &err), 0);
}

static void *give_and_listen(void *link)
{
	struct wire w = { .broken = false };
	uint8_t meta[FRAME_META];
	struct mig_error err;
	struct frame frame;

	give_state(&w, link);
	while (!wire_receive(&w, &frame, meta, &err) && frame.type != FRAME_REFUSE)
		;
	ck_assert_int_eq(frame.type, FRAME_REFUSE);
	mig_close(&w.io.link);
	return NULL;
}

/* It is killed while the destination waits for its device. */
static void *give_and_go(void *link)
{
	struct wire w = { .broken = false };

	give_state(&w, link);
	while (model_fault_fired(f->model) < 2)
		poll(NULL, 0, 1);
	mig_close(&w.io.link);
	return NULL;
}

/* From this source. Returns what it returned. */
static int receive_from(void *(*main)(void *link), const struct mig_destination *d, void **last)
{
	struct mig_report report;
	pthread_t source;
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	struct mig_link there = { ends[0], ends[0] };
	struct mig_listener listener = { .fd = -1, .link = { ends[1], ends[1] } };
	ck_assert_int_eq(pthread_create(&source, NULL, main, &there), 0);
	int rc = mig_receive(d, &listener, &report, &error);
	pthread_join(source, last);
	return rc;
}

/* The device takes nothing, for ever. */
START_TEST(takes_nothing)
{
	struct mig_destination d = { .control = &control, .run = never };
	pthread_t canceller;

	migration_begin(NULL);
	d.guest = guest();
	let_wait(MODEL_WRITE, FOR_EVER);
	ck_assert_int_eq(pthread_create(&canceller, NULL, cancel_then, NULL), 0);
	ck_assert_int_eq(receive_from(give_and_listen, &d, NULL), MIG_CANCELLED);
	ck_assert_int_eq(nonblocking, DEVICES);
	pthread_join(canceller, NULL);
	migration_end();
}
END_TEST

/* And nobody can cancel. */
START_TEST(takes_nothing_and_source_gone)
{
	struct mig_destination d = { .run = never };

	migration_begin(NULL);
	d.guest = guest();
	let_wait(MODEL_WRITE, FOR_EVER);
	ck_assert_int_eq(receive_from(give_and_go, &d, NULL), MIG_FAILED);
	ck_assert_str_eq(error.message, "the other side has closed the connection");
	migration_end();
}
END_TEST

/* ---- several containers ------------------------------------------------------------------------------------------------ */

/* The same one twice: as long as its devices can write, and when they cannot. The first answer counts. */
START_TEST(harvests_add_up)
{
	struct vfd_harvest sum = { .struct_size = sizeof sum, .drained = 1 };
	struct mig_error err;

	migration_begin(NULL);
	ck_assert_int_eq(dma(0, 3), 0);
	ck_assert_int_eq(mig_harvest(f->container, true, &sum, &err), 0);
	ck_assert_uint_eq(sum.drained, 0);
	uint64_t pages = sum.pages_new, reported = sum.pages_reported, ioctls = sum.ioctls;
	ck_assert_uint_ge(pages, 1);
	ck_assert_int_eq(dma(1, 5), 0);
	OK(vfd_migration_set(devices, DEVICES, VFD_MIG_STOP, &f->err));
	ck_assert_int_eq(mig_harvest(f->container, true, &sum, &err), 0);
	ck_assert_uint_eq(sum.drained, 0);
	ck_assert_uint_eq(sum.pages_new, pages + 1);
	ck_assert_uint_eq(sum.pages_reported, reported + 1);
	ck_assert_uint_ge(sum.ioctls, ioctls);
	sum.drained = 1;
	ck_assert_int_eq(mig_harvest(f->container, true, &sum, &err), 0);
	ck_assert_uint_eq(sum.drained, 1);
	migration_end();
}
END_TEST

/* Nothing is known of one that could not be harvested. */
START_TEST(harvest_that_fails)
{
	struct vfd_harvest sum = { .struct_size = sizeof sum, .drained = 1 };
	struct mig_error err = { "" };

	migration_begin(NULL);
	OK(vfd_migration_set(devices, DEVICES, VFD_MIG_STOP, &f->err));
	OK(vfd_track_stop(f->container, VFD_COLLECT, &f->err));
	ck_assert_int_eq(mig_harvest(f->container, true, &sum, &err), MIG_FAILED);
	ck_assert_uint_eq(sum.drained, 0);
	ck_assert_str_ne(err.message, "");
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	migration_end();
}
END_TEST

/* ---- a destination that cannot run it --------------------------------------------------------------------------------- */

static struct {
	char bytes[4096];
	size_t size;
} states[DEVICES];

static void send_state(struct wire *w, unsigned device)
{
	struct cargo cargo = { states[device].bytes, states[device].size, 0 };
	uint8_t meta[8];
	struct mig_error err;
	struct sum sum;

	sum_start(&sum);
	sum_add(&sum, cargo.data, cargo.size);
	cargo.sum = sum_end(&sum);
	ck_assert_int_eq(wire_send(w, FRAME_STATE, meta, u32s_encode(meta, device, 0), &cargo, &err), 0);
	send_frame(w, FRAME_STATE, meta, u32s_encode(meta, device, 1));
}

/* A whole guest, which is told to run. */
static void tell_to_run(struct wire *w, const struct mig_link *link)
{
	uint8_t meta[FRAME_META];
	struct mig_error err;
	struct frame frame = { .type = 0 };

	io_open(&w->io, link, 10000);
	send_frame(w, FRAME_HELLO, meta, hello_encode(&hello, meta));
	send_frame(w, FRAME_ROUND, meta, u32s_encode(meta, 1, 1));
	run_encode(&(struct run){ LOG_ADDRESS, PAGES, 1 }, meta);
	send_frame(w, FRAME_PAGES, meta, RUN_SIZE);
	for (unsigned i = 0; i < DEVICES; i++)
		send_state(w, i);
	send_frame(w, FRAME_END, meta, 0);
	while (frame.type != FRAME_READY)
		ck_assert_msg(!wire_receive(w, &frame, meta, &err), "%s", err.message);
	send_frame(w, FRAME_RUN, meta, 0);
}

/* Returns what is answered to that; 0: nothing. */
static void *give_guest(void *link)
{
	static int last;
	uint8_t meta[FRAME_META];
	struct wire w = { .broken = false };
	struct mig_error err;
	struct frame frame;

	tell_to_run(&w, link);
	last = wire_receive(&w, &frame, meta, &err) ? 0 : frame.type;
	mig_close(&w.io.link);
	return &last;
}

static void let_fail(unsigned long request, uint32_t flags)
{
	model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
						    .request = request,
						    .file = MODEL_FILE_DEVICE,
						    .flags = flags,
						    .error = EIO,
						    .times = FOR_EVER });
}

enum trouble { NONE, NO_STOP, NO_RESET };

/* It fails, and the devices that run already do not stop. */
static int fail_to_run(void *opaque, struct mig_error *err)
{
	const int *trouble = opaque;

	check_all_run();
	if (*trouble >= NO_STOP)
		let_fail(VFIO_DEVICE_FEATURE, SET_STATE);
	if (*trouble >= NO_RESET)
		let_fail(VFIO_DEVICE_RESET, 0);
	return mig_fail(err, "it cannot run");
}

static void make_states(void)
{
	OK(vfd_migration_set(devices, DEVICES, VFD_MIG_STOP_COPY, &f->err));
	for (unsigned i = 0; i < DEVICES; i++)
		OK(read_all(i, states[i].bytes, sizeof states[i].bytes, &states[i].size));
	OK(vfd_migration_set(devices, DEVICES, VFD_MIG_RUNNING, &f->err));
}

/* The source hears that nothing runs there only if that is so. A reset will do. */
START_TEST(cannot_run)
{
	struct mig_destination d = { .opaque = &_i, .run = fail_to_run };
	void *last;

	migration_begin(NULL);
	make_states();
	d.guest = guest();
	ck_assert_int_eq(receive_from(give_guest, &d, &last), MIG_FAILED);
	for (unsigned i = 0; i < DEVICES; i++)
		ck_assert_msg(!dma(i, i) == (_i == NO_RESET), "device %u", i);
	ck_assert_int_eq(*(int *)last, _i == NO_RESET ? 0 : FRAME_REFUSE);
	ck_assert_msg(strstr(error.message, "it cannot run"), "%s", error.message);
	ck_assert_msg(!strstr(error.message, "not stop") == (_i != NO_RESET), "%s", error.message);
	migration_end();
}
END_TEST

/* ---- a source that hears nothing any more ------------------------------------------------------------------------------ */

static atomic_bool ran;

/* By then the way back is full. */
static int run_unheard(void *opaque, struct mig_error *err)
{
	const struct mig_link *back = opaque;
	static const char noise[4096];

	(void)err;
	while (send(back->out, noise, sizeof noise, MSG_DONTWAIT) > 0)
		;
	while (send(back->out, noise, 1, MSG_DONTWAIT) > 0)
		;
	atomic_store(&ran, true);
	return 0;
}

static void *give_guest_and_sleep(void *link)
{
	struct wire w = { .broken = false };

	tell_to_run(&w, link);
	return NULL;
}

/* It runs here, and that is over soon; who runs it may need the thread. */
START_TEST(runs_unheard)
{
	struct mig_link back;
	struct mig_destination d = { .opaque = &back, .run = run_unheard };
	struct mig_report report;
	pthread_t source;
	int ends[2];

	migration_begin(NULL);
	make_states();
	d.guest = guest();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	struct mig_link there = { ends[0], ends[0] };
	struct mig_listener listener = { .fd = -1, .link = { ends[1], ends[1] } };
	back = listener.link;
	ck_assert_int_eq(pthread_create(&source, NULL, give_guest_and_sleep, &there), 0);
	ck_assert_int_eq(mig_receive(&d, &listener, &report, &error), MIG_DONE);
	ck_assert(atomic_load(&ran));
	pthread_join(source, NULL);
	mig_close(&there);
	check_all_run();
	migration_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("migrate_devices");
	TCase *tcase = tcase_create("a destination that cannot run it");

	add_case(suite, "stopped, and its data never comes", stopped_and_silent);
	add_case(suite, "running, and its data never comes", running_and_silent);
	add_case(suite, "stopped, and silent for too long", stopped_and_silent_too_long);
	add_case(suite, "slow", slow);
	add_case(suite, "it takes nothing", takes_nothing);
	add_case(suite, "it takes nothing, and the source is gone", takes_nothing_and_source_gone);
	add_case(suite, "harvests add up", harvests_add_up);
	add_case(suite, "a harvest that fails", harvest_that_fails);
	add_case(suite, "it runs, and the source does not hear it", runs_unheard);
	tcase_add_loop_test(tcase, cannot_run, 0, NO_RESET + 1);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
