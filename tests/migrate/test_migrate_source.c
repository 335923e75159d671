/* SPDX-License-Identifier: MIT */

/* What goes wrong in the source's own program: no page is lost by it, and the result says who has the guest. */

#include "channel.h"
#include "yes_man.h"

#include <check.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../suite.h"

enum { BLOCKS = 64, SIZE = BLOCKS * PAGE_BLOCK, SOON_MS = 20000 };

static struct vfd_log *log_;
static struct vfd_consumer *consumer;
static struct mig_region region;
static struct mig_section section;
static struct mig_control control;
static struct mig_source source;
static struct mig_report report;
static struct mig_error err;
static struct yes_man destination;
static int resumed;

static int save_nothing(void *opaque, void *data, size_t size, size_t *done, struct mig_error *e)
{
	(void)opaque, (void)data, (void)size, (void)e;
	*done = 0;
	return 0;
}

static int harvest_nothing(void *opaque, bool final, struct vfd_harvest *sum, struct mig_error *e)
{
	(void)opaque, (void) final, (void)sum, (void)e;
	return 0;
}

static int nothing(void *opaque, struct mig_error *e)
{
	(void)opaque, (void)e;
	return 0;
}

static void resume(void *opaque)
{
	(void)opaque;
	resumed++;
}

static void begin_with(const struct vfd_log_options *options)
{
	struct vfd_region r = { .struct_size = sizeof r, .size = SIZE };

	region = (struct mig_region){
		0, SIZE, mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
	};
	ck_assert(region.memory != MAP_FAILED);
	r.memory = options ? NULL : region.memory;
	ck_assert_int_eq(vfd_log_create(options, &log_, NULL), 0);
	ck_assert_int_eq(vfd_region_add(log_, &r, NULL), 0);
	ck_assert_int_eq(vfd_consumer_add(log_, "migration", &consumer, NULL), 0);
	section = (struct mig_section){ .name = "cpu", .save = save_nothing };
	source = (struct mig_source){ .guest = { &region, 1, &section, 1, NULL, 0 },
				      .log = log_,
				      .consumer = consumer,
				      .options = { .force = true }, /* a slow machine gives nothing up */
				      .control = &control,
				      .harvest = harvest_nothing,
				      .prepare = nothing,
				      .pause = nothing,
				      .resume = resume };
}

static void setup(void)
{
	begin_with(NULL);
}

static void teardown(void)
{
	ck_assert_int_eq(vfd_log_destroy(&log_, VFD_DISCARD, NULL), 0);
	munmap(region.memory, SIZE);
}

static int move(void)
{
	struct mig_link link = yes_man_start(&destination);
	int rc = mig_send(&source, &link, 1, &report, &err);

	yes_man_end(&destination);
	ck_assert_int_eq(report.result, rc);
	return rc;
}

static void goes_on_here(void)
{
	ck_assert(!destination.ran);
	ck_assert_int_eq(resumed, 1);
}

START_TEST(test_good)
{
	ck_assert_msg(move() == MIG_DONE, "%s", err.message);
	ck_assert(destination.ran);
	ck_assert_int_eq(resumed, 0);
}
END_TEST

/* ---- what becomes dirty when nothing should any more -------------------------------------------------------------------- */

/* As KVM writes to memory when a vCPU's state is asked for. */
static int save_and_mark(void *opaque, void *data, size_t size, size_t *done, struct mig_error *e)
{
	ck_assert_int_eq(vfd_log_mark(log_, 3 * PAGE_BLOCK, PAGE_BLOCK, NULL), 0);
	return save_nothing(opaque, data, size, done, e);
}

START_TEST(marked_while_saved)
{
	struct vfd_count count;

	section.save = save_and_mark;
	ck_assert_int_eq(move(), MIG_FAILED);
	goes_on_here();
	ck_assert_msg(strstr(err.message, "1 pages became dirty"), "%s", err.message);
	ck_assert_int_eq(vfd_consumer_count(consumer, 0, UINT64_MAX, &count, NULL), 0);
	ck_assert_uint_eq(count.owed, 1);
}
END_TEST

static int save_and_forget(void *opaque, void *data, size_t size, size_t *done, struct mig_error *e)
{
	ck_assert_int_eq(vfd_consumer_remove(&consumer, VFD_DISCARD, NULL), 0);
	return save_nothing(opaque, data, size, done, e);
}

/* Somebody else takes it. */
static int save_and_take(void *opaque, void *data, size_t size, size_t *done, struct mig_error *e)
{
	struct vfd_batch batch;

	ck_assert_int_eq(vfd_log_mark(log_, 3 * PAGE_BLOCK, PAGE_BLOCK, NULL), 0);
	ck_assert_int_eq(vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, NULL), 0);
	return save_nothing(opaque, data, size, done, e);
}

START_TEST(taken_while_saved)
{
	section.save = save_and_take;
	ck_assert_int_eq(move(), MIG_FAILED);
	goes_on_here();
	ck_assert_msg(strstr(err.message, "1 pages are in a batch"), "%s", err.message);
}
END_TEST

/* Nobody knows whether a page is owed: that is not none. */
START_TEST(count_unknown)
{
	section.save = save_and_forget;
	ck_assert_int_eq(move(), MIG_FAILED);
	goes_on_here();
	ck_assert_str_ne(err.message, "");
}
END_TEST

/* ---- callbacks -------------------------------------------------------------------------------------------------------- */

/* They return what they like, and some of it is in enum mig_result: -EIO would be MIG_UNCONFIRMED, "it may be running there". */
static int answer_of_callback;

static int says(void *opaque, struct mig_error *e)
{
	(void)opaque;
	mig_fail(e, "says %d", answer_of_callback);
	return answer_of_callback;
}

static int harvest_says(void *opaque, bool final, struct vfd_harvest *sum, struct mig_error *e)
{
	(void)sum;
	return final ? says(opaque, e) : 0;
}

static int save_says(void *opaque, void *data, size_t size, size_t *done, struct mig_error *e)
{
	(void)data, (void)size, (void)done;
	return says(opaque, e);
}

enum callback { HARVEST, PREPARE, PAUSE, SAVE, CALLBACKS };

static void let_fail(enum callback which)
{
	if (which == HARVEST)
		source.harvest = harvest_says;
	else if (which == PREPARE)
		source.prepare = says;
	else if (which == PAUSE)
		source.pause = says;
	else
		section.save = save_says;
}

static const int failures[] = { -EPERM, -ENOENT, -ESRCH, -EINTR, -EIO, -ENXIO, 7 };

START_TEST(whatever_callbacks_say)
{
	let_fail((enum callback)(_i % CALLBACKS));
	answer_of_callback = failures[_i / CALLBACKS];
	ck_assert_int_eq(move(), MIG_FAILED);
	goes_on_here();
	ck_assert_msg(strstr(err.message, "says"), "%s", err.message);
}
END_TEST

/* More than it had room for: whatever it is, it is not sent. */
static int save_too_much(void *opaque, void *data, size_t size, size_t *done, struct mig_error *e)
{
	(void)opaque, (void)data, (void)e;
	*done = size + 1;
	return 0;
}

START_TEST(saved_too_much)
{
	section.save = save_too_much;
	ck_assert_int_eq(move(), MIG_FAILED);
	goes_on_here();
	ck_assert_msg(strstr(err.message, "\"cpu\""), "%s", err.message);
}
END_TEST

/* One that asks mig_cancelled() may say so. */
static int cancelled(void *opaque, struct mig_error *e)
{
	(void)opaque;
	ck_assert_int_eq(mig_cancelled(&control, e), 0);
	mig_cancel(&control);
	return mig_cancelled(&control, e);
}

START_TEST(cancelled_in_callback)
{
	source.prepare = cancelled;
	ck_assert_int_eq(move(), MIG_CANCELLED);
	goes_on_here();
}
END_TEST

/* ---- the call ----------------------------------------------------------------------------------------------------------- */

/* The links are closed, and the report says so, whatever was wrong. */
START_TEST(wrong_number_of_channels)
{
	struct mig_link links[MIG_CHANNELS + 1];
	int ends[MIG_CHANNELS + 1][2];
	char byte;

	for (int i = 0; i <= MIG_CHANNELS; i++) {
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends[i]), 0);
		links[i] = (struct mig_link){ ends[i][0], ends[i][0] };
	}
	memset(&report, 7, sizeof report);
	ck_assert_int_eq(mig_send(&source, links, MIG_CHANNELS + 1, &report, &err), MIG_FAILED);
	ck_assert_int_eq(report.result, MIG_FAILED);
	ck_assert_uint_eq(report.rounds, 0);
	for (int i = 0; i <= MIG_CHANNELS; i++) {
		ck_assert_int_eq(links[i].in, -1);
		ck_assert_int_eq(recv(ends[i][1], &byte, 1, MSG_DONTWAIT), 0);
		close(ends[i][1]);
	}
	ck_assert_int_eq(mig_send(&source, links, 0, &report, &err), MIG_FAILED);
}
END_TEST

/* A log by identity knows no memory that could be sent. */
START_TEST(log_without_memory)
{
	struct vfd_log_options options = { .struct_size = sizeof options, .flags = VFD_LOG_IDENTITY };

	teardown();
	begin_with(&options);
	ck_assert_int_eq(move(), MIG_FAILED);
	ck_assert(!destination.ran);
	ck_assert_msg(strstr(err.message, "VFD_LOG_IDENTITY"), "%s", err.message);
}
END_TEST

/* ---- half an answer ----------------------------------------------------------------------------------------------------- */

static int half_an_answer(void *opaque, struct mig_error *e)
{
	(void)opaque, (void)e;
	ck_assert_int_eq(write(destination.link.out, "VFDM", 4), 4);
	mig_cancel(&control);
	return 0;
}

/* Of a migration that has failed, the rest of it is not waited for as long as for a destination that is silent. */
START_TEST(cancelled_in_half_an_answer)
{
	uint64_t begin = now_ns();

	source.options.stall_ms = 60000;
	source.pause = half_an_answer;
	ck_assert_int_eq(move(), MIG_CANCELLED);
	goes_on_here();
	ck_assert(ms_since(begin) < SOON_MS);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("migrate_source");
	TCase *tcase = tcase_create("source");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, test_good);
	tcase_add_test(tcase, marked_while_saved);
	tcase_add_test(tcase, taken_while_saved);
	tcase_add_test(tcase, count_unknown);
	tcase_add_loop_test(tcase, whatever_callbacks_say, 0,
			    CALLBACKS * (int)(sizeof failures / sizeof *failures));
	tcase_add_test(tcase, saved_too_much);
	tcase_add_test(tcase, cancelled_in_callback);
	tcase_add_test(tcase, wrong_number_of_channels);
	tcase_add_test(tcase, log_without_memory);
	tcase_add_test(tcase, cancelled_in_half_an_answer);
	suite_add_tcase(suite, tcase);
	return run_all(suite);
}
