/* SPDX-License-Identifier: MIT */

/* The engine's small parts, and the whole of it with several channels while memory is being written. */

#include "converge.h"
#include "crc32c.h"
#include "pace.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- sums ----------------------------------------------------------------------------------------------------------- */

START_TEST(test_crc)
{
	static uint8_t zeros[32];

	ck_assert_uint_eq(crc32c("123456789", 9), 0xe3069283);
	ck_assert_uint_eq(crc32c(zeros, 32), 0x8a9136aa); /* RFC 3720, B.4 */
	ck_assert_uint_eq(crc32c("", 0), 0);
}
END_TEST

/* Four blocks at a time, or one by one, or as the format has it. */
START_TEST(test_sum)
{
	static uint8_t data[11 * SUM_BLOCK], crcs[4 * 11];
	size_t size = sizeof data - 100 * (size_t)_i, blocks = (size + SUM_BLOCK - 1) / SUM_BLOCK;
	struct sum whole, pieces;

	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)(i * 31 + i / 7);
	sum_start(&whole);
	sum_add(&whole, data, size);
	sum_start(&pieces);
	for (size_t i = 0, rest = size; i < blocks; i++, rest -= SUM_BLOCK) {
		size_t part = rest < SUM_BLOCK ? rest : SUM_BLOCK;
		uint32_t crc = crc32c(data + i * SUM_BLOCK, part);
		sum_add(&pieces, data + i * SUM_BLOCK, part);
		for (size_t b = 0; b < 4; b++)
			crcs[4 * i + b] = (uint8_t)(crc >> 8 * b);
	}
	ck_assert_uint_eq(sum_end(&whole), sum_end(&pieces));
	ck_assert_uint_eq(sum_end(&whole), crc32c(crcs, 4 * blocks));
}
END_TEST

/* ---- another round? ------------------------------------------------------------------------------------------------- */

START_TEST(test_converge)
{
	struct mig_options options = { .downtime_ms = 100 };
	struct outlook o = { .round = 1, .left = 11000, .rate = 100000 }; /* 110 ms */
	struct converge c = { 0 };
	struct mig_error why = { "" };

	ck_assert_int_eq(converge(&c, &options, &o, &why), GO_ON);
	o.left = 9900;
	ck_assert_int_eq(converge(&c, &options, &o, &why), STOP_NOW);
	o.deferred = 200; /* comes at the end in any case */
	ck_assert_int_eq(converge(&c, &options, &o, &why), GO_ON);
	o.deferred = 0;
	o.state = 200;
	ck_assert_int_eq(converge(&c, &options, &o, &why), GO_ON);
	o.state = 0;
	o.harvest_ms = 2;
	ck_assert_int_eq(converge(&c, &options, &o, &why), GO_ON);
}
END_TEST

START_TEST(test_give_up)
{
	struct mig_options options = { .downtime_ms = 100, .max_rounds = 20, .max_seconds = 50 };
	struct outlook o = { .round = 1, .left = 100000, .rate = 100000, .seconds = 1 };
	struct converge c = { 0 };
	struct mig_error why = { "" };
	unsigned rounds = 1;

	for (; rounds < 10; rounds++, o.left -= o.left / 5) /* slow, but it gets on */
		ck_assert_int_eq(converge(&c, &options, &o, &why), GO_ON);
	o.left = 50000;
	for (rounds = 1; converge(&c, &options, &o, &why) == GO_ON; rounds++)
		ck_assert_uint_lt(rounds, 10);
	ck_assert(strstr(why.message, "in vain"));
	options.force = true;
	ck_assert_int_eq(converge(&c, &options, &o, &why), STOP_NOW);
	options.force = false;
	c = (struct converge){ 0 };
	o.round = 20;
	ck_assert_int_eq(converge(&c, &options, &o, &why), GIVE_UP);
	c = (struct converge){ 0 };
	o.round = 2;
	o.seconds = 50;
	ck_assert_int_eq(converge(&c, &options, &o, &why), GIVE_UP);
}
END_TEST

START_TEST(test_pace)
{
	struct pace p = { .mutex = PTHREAD_MUTEX_INITIALIZER, .bandwidth = 1000000 };
	struct io io = { .stall_ms = 0 };
	struct mig_error err;
	atomic_bool stop = false;
	uint64_t begin = now_ns();

	for (int i = 0; i < 6; i++)
		ck_assert_int_eq(pace_wait(&p, &io, 20000, &err), 0);
	ck_assert(ms_since(begin) >= 100); /* the sixth waits until five have had their time */
	io.stop[0] = &stop;
	stop = true;
	pace_wait(&p, &io, 100000000, &err);
	ck_assert_int_eq(pace_wait(&p, &io, 1, &err), MIG_CANCELLED);
}
END_TEST

/* ---- URIs ----------------------------------------------------------------------------------------------------------- */

static const char *const bad_uris[] = { "",	     "unix:", "tcp:",	"tcp:host",
					"tcp:host:", "fd:",   "fd:-1",	"fd:1,",
					"fd:1,2,3",  "fd:1x", "file:x", "unix:/no/such/directory/socket" };

START_TEST(test_bad_uri)
{
	struct mig_listener listener;
	struct mig_link links[2];
	struct mig_error err = { "" };

	ck_assert_int_eq(mig_connect(bad_uris[_i], links, 1, &err), MIG_FAILED);
	ck_assert_str_ne(err.message, "");
	err.message[0] = 0;
	ck_assert_int_eq(mig_listen(bad_uris[_i], &listener, &err), MIG_FAILED);
	ck_assert_str_ne(err.message, "");
	ck_assert_int_eq(mig_connect("stdio:", links, 2, &err), MIG_FAILED);
	ck_assert_int_eq(mig_listen("exec:true", &listener, &err), MIG_FAILED);
}
END_TEST

/* ---- the whole ------------------------------------------------------------------------------------------------------ */

enum { PAGE = 4096, PAGES = 4096 };

struct world {
	uint8_t *from, *to;
	struct vfd_log *log;
	atomic_bool running;
	pthread_t writer, receiver;
	struct mig_listener listener;
	struct mig_control control;
	bool cancel; /* in the second round */
	int received, ran, resumed;
};

static void *write_memory(void *opaque)
{
	struct world *w = opaque;
	uint64_t random = 88172645463325252;

	while (atomic_load(&w->running)) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		uint64_t at = random % 256 * PAGE;
		/* the engine may be reading it: that is what the log is for, and no race that matters */
		__atomic_store_n((uint64_t *)(w->from + at), random, __ATOMIC_RELAXED);
		ck_assert_int_eq(vfd_log_mark(w->log, at, PAGE, NULL), 0);
		if (random % 64 == 0)
			usleep(100);
	}
	return NULL;
}

static int harvest(void *opaque, bool final, struct vfd_harvest *sum, struct mig_error *err)
{
	struct world *w = opaque;

	(void) final, (void)sum, (void)err;
	if (w->cancel)
		mig_cancel(&w->control);
	return 0;
}

static int pause_guest(void *opaque, struct mig_error *err)
{
	struct world *w = opaque;

	(void)err;
	if (atomic_exchange(&w->running, false))
		pthread_join(w->writer, NULL);
	return 0;
}

static void resume(void *opaque)
{
	((struct world *)opaque)->resumed++;
}

static int run(void *opaque, struct mig_error *err)
{
	(void)err;
	((struct world *)opaque)->ran++;
	return 0;
}

static void *receive(void *opaque)
{
	struct world *w = opaque;
	struct mig_region regions[] = { { 0, PAGES / 2 * PAGE, w->to },
					{ 1ull << 32, PAGES / 2 * PAGE, w->to + PAGES / 2 * PAGE } };
	struct mig_destination d = { .guest = { .regions = regions, .region_count = 2 },
				     .opaque = w,
				     .run = run };
	struct mig_report report;
	struct mig_error err;

	w->received = mig_receive(&d, &w->listener, &report, &err);
	return NULL;
}

static void add_region(struct world *w, uint64_t address, uint8_t *memory)
{
	struct vfd_region region = {
		.struct_size = sizeof region, .address = address, .size = PAGES / 2 * PAGE, .memory = memory
	};

	ck_assert_int_eq(vfd_region_add(w->log, &region, NULL), 0);
}

static void open_world(struct world *w)
{
	struct mig_error err;
	char uri[64];

	w->from = aligned_alloc(PAGE, PAGES * PAGE);
	w->to = aligned_alloc(PAGE, PAGES * PAGE);
	memset(w->to, 0xee, PAGES * PAGE);
	for (int i = 0; i < PAGES; i++)
		memset(w->from + i * PAGE, i % 3 ? i : 0, PAGE);
	ck_assert_int_eq(vfd_log_create(NULL, &w->log, NULL), 0);
	add_region(w, 0, w->from);
	add_region(w, 1ull << 32, w->from + PAGES / 2 * PAGE);
	snprintf(uri, sizeof uri, "unix:/tmp/migrate-%d", (int)getpid());
	ck_assert_int_eq(mig_listen(uri, &w->listener, &err), 0);
	w->running = true;
	ck_assert_int_eq(pthread_create(&w->writer, NULL, write_memory, w), 0);
	ck_assert_int_eq(pthread_create(&w->receiver, NULL, receive, w), 0);
}

static int send_world(struct world *w, unsigned channels, struct mig_report *report)
{
	struct mig_region regions[] = { { 0, PAGES / 2 * PAGE, w->from },
					{ 1ull << 32, PAGES / 2 * PAGE, w->from + PAGES / 2 * PAGE } };
	struct mig_source source = { .guest = { .regions = regions, .region_count = 2 },
				     .log = w->log,
				     .consumer = vfd_log_consumer(w->log),
				     .options = { .force = true, .max_rounds = 3 },
				     .control = &w->control,
				     .opaque = w,
				     .harvest = harvest,
				     .pause = pause_guest,
				     .resume = resume };
	struct mig_link links[MIG_CHANNELS];
	struct mig_error err;
	char uri[128];

	snprintf(uri, sizeof uri, "unix:%s", w->listener.path);
	ck_assert_int_eq(mig_connect(uri, links, channels, &err), 0);
	int rc = mig_send(&source, links, channels, report, &err);
	pthread_join(w->receiver, NULL);
	mig_unlisten(&w->listener);
	pause_guest(w, &err);
	return rc;
}

static void close_world(struct world *w)
{
	ck_assert_int_eq(vfd_log_destroy(&w->log, VFD_DISCARD, NULL), 0);
	free(w->from);
	free(w->to);
}

static const unsigned channel_counts[] = { 1, 2, 4, MIG_CHANNELS };

START_TEST(test_channels)
{
	static struct world w;
	struct mig_report report;

	open_world(&w);
	ck_assert_int_eq(send_world(&w, channel_counts[_i], &report), MIG_DONE);
	ck_assert_int_eq(w.received, MIG_DONE);
	ck_assert_int_eq(w.ran, 1);
	ck_assert_int_eq(w.resumed, 0);
	ck_assert(!memcmp(w.from, w.to, PAGES * PAGE));
	ck_assert_uint_ge(report.pages_sent, PAGES);
	ck_assert_uint_ge(report.pages_zero, PAGES / 3 - 256); /* some were written */
	ck_assert_int_eq(vfd_log_destroy(&w.log, 0, NULL), 0); /* nothing is owed: all was acknowledged */
	free(w.from);
	free(w.to);
}
END_TEST

START_TEST(test_cancel)
{
	static struct world w = { .cancel = true };
	struct mig_report report;

	open_world(&w);
	ck_assert_int_eq(send_world(&w, channel_counts[_i], &report), MIG_CANCELLED);
	ck_assert_int_lt(w.received, 0);
	ck_assert_int_eq(w.ran, 0);
	ck_assert_int_eq(w.resumed, report.downtime_ms > 0);
	close_world(&w);
}
END_TEST

static void add_parts(Suite *suite)
{
	TCase *tcase = tcase_create("parts");

	tcase_add_test(tcase, test_crc);
	tcase_add_loop_test(tcase, test_sum, 0, 42);
	tcase_add_test(tcase, test_converge);
	tcase_add_test(tcase, test_give_up);
	tcase_add_test(tcase, test_pace);
	tcase_add_loop_test(tcase, test_bad_uri, 0, (int)(sizeof bad_uris / sizeof *bad_uris));
	suite_add_tcase(suite, tcase);
}

static void add_whole(Suite *suite)
{
	TCase *tcase = tcase_create("whole");
	int counts = (int)(sizeof channel_counts / sizeof *channel_counts);

	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, test_channels, 0, counts);
	tcase_add_loop_test(tcase, test_cancel, 0, counts);
	suite_add_tcase(suite, tcase);
}

int main(void)
{
	Suite *suite = suite_create("migrate_parts");

	add_parts(suite);
	add_whole(suite);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
