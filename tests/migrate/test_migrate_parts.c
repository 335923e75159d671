/* SPDX-License-Identifier: MIT */

/* The engine's small parts, and the whole of it with several channels while memory is being written. */

#include "converge.h"
#include "crc32c.h"
#include "pace.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../suite.h"

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

enum { PAGE = 4096, PAGES = 4096, REGIONS = 3 };

struct world {
	uint8_t *from, *to;
	uint8_t *
		alias; /* `from` as the guest sees it: a device's or a vCPU's stores are seen by no sanitizer either */
	struct vfd_log *log;
	atomic_bool running;
	pthread_t writer, receiver;
	struct mig_listener listener;
	struct mig_control control;
	bool cancel;	     /* in the second round */
	uint64_t busy;	     /* bytes that are written between harvests, */
	uint64_t unreported; /* and that a device may have written which is unplugged on the way */
	bool unplug, prepared;
	bool writes_on; /* a device, after the last harvest */
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
		*(volatile uint64_t *)(w->alias + at) = random;
		ck_assert_int_eq(vfd_log_mark(w->log, at, PAGE, NULL), 0);
		if (random % 64 == 0)
			usleep(100);
	}
	return NULL;
}

static int harvest(void *opaque, bool final, struct vfd_harvest *sum, struct mig_error *err)
{
	struct world *w = opaque;

	(void) final, (void)err;
	if (w->cancel)
		mig_cancel(&w->control);
	if (w->busy && !final)
		ck_assert_int_eq(vfd_log_mark(w->log, 0, w->busy, NULL), 0);
	sum->deferred_bytes = w->unreported;
	sum->drained = !w->writes_on;
	return 0;
}

static int prepare(void *opaque, struct mig_error *err)
{
	struct world *w = opaque;

	(void)err;
	w->prepared = true;
	if (!w->unplug)
		return 0;
	ck_assert_int_eq(vfd_log_mark(w->log, 0, PAGES / 2 * PAGE, NULL), 0);
	w->unreported = 0;
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

/* Two are neighbours, with memory that is none; the pages where they meet are not zero, and in one batch. */
static void make_regions(struct mig_region *regions, uint8_t *memory)
{
	const uint64_t first = 2042 * PAGE, far = 1020 * PAGE;

	regions[0] = (struct mig_region){ 0, first, memory };
	regions[1] = (struct mig_region){ first, PAGES * PAGE - first - far, memory + first + far };
	regions[2] = (struct mig_region){ 1ull << 32, far, memory + first };
}

static void *receive(void *opaque)
{
	struct world *w = opaque;
	struct mig_region regions[REGIONS];
	struct mig_destination d = { .guest = { .regions = regions, .region_count = REGIONS },
				     .opaque = w,
				     .run = run };
	struct mig_report report;
	struct mig_error err;

	make_regions(regions, w->to);
	w->received = mig_receive(&d, &w->listener, &report, &err);
	return NULL;
}

static void add_regions(struct world *w)
{
	struct mig_region regions[REGIONS];

	make_regions(regions, w->from);
	for (int i = 0; i < REGIONS; i++) {
		struct vfd_region region = { .struct_size = sizeof region,
					     .address = regions[i].address,
					     .size = regions[i].size,
					     .memory = regions[i].memory };
		ck_assert_int_eq(vfd_region_add(w->log, &region, NULL), 0);
	}
}

static void open_world(struct world *w)
{
	struct mig_error err;
	char uri[64];

	int fd = memfd_create("guest", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(fd, PAGES * PAGE), 0);
	w->from = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	w->alias = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	ck_assert(w->from != MAP_FAILED && w->alias != MAP_FAILED);
	w->to = aligned_alloc(PAGE, PAGES * PAGE);
	memset(w->to, 0xee, PAGES * PAGE);
	for (int i = 0; i < PAGES; i++)
		memset(w->from + i * PAGE, i % 3 ? i | 1 : 0, PAGE);
	ck_assert_int_eq(vfd_log_create(NULL, &w->log, NULL), 0);
	add_regions(w);
	snprintf(uri, sizeof uri, "unix:/tmp/migrate-%d", (int)getpid());
	unlink(uri + strlen("unix:")); /* of one that was killed, and had this number */
	ck_assert_int_eq(mig_listen(uri, &w->listener, &err), 0);
	w->running = !w->busy;
	if (w->running)
		ck_assert_int_eq(pthread_create(&w->writer, NULL, write_memory, w), 0);
	ck_assert_int_eq(pthread_create(&w->receiver, NULL, receive, w), 0);
}

static int send_world(struct world *w, unsigned channels, struct mig_report *report)
{
	struct mig_region regions[REGIONS];
	struct mig_source source = {
		.guest = { .regions = regions, .region_count = REGIONS },
		.log = w->log,
		.consumer = vfd_log_consumer(w->log),
		.options = { .force = true, .max_rounds = w->busy ? 0 : 3, .downtime_ms = w->busy ? 1 : 0 },
		.control = &w->control,
		.opaque = w,
		.harvest = harvest,
		.prepare = w->busy || w->unplug ? prepare : NULL,
		.pause = pause_guest,
		.resume = resume
	};
	struct mig_link links[MIG_CHANNELS];
	struct mig_error err;
	char uri[128];

	make_regions(regions, w->from);
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

/* Five rounds: the first, and four in vain. If unplugging made much owed there are five more; the last one comes on top. */
START_TEST(test_rounds_in_vain)
{
	static struct world w = { .busy = PAGES / 4 * PAGE };
	struct mig_report report;

	w.unplug = _i;
	open_world(&w);
	ck_assert_int_eq(send_world(&w, 1, &report), MIG_DONE);
	ck_assert(w.prepared);
	ck_assert_uint_eq(report.rounds, w.unplug ? 11 : 6);
	ck_assert(!memcmp(w.from, w.to, PAGES * PAGE));
	close_world(&w);
}
END_TEST

/* A terabyte that cannot be reported is no reason to give up when the device that may write it is unplugged on the way. */
START_TEST(test_unreported)
{
	static struct world w = { .unreported = 1ull << 40 };
	struct mig_report report;

	w.unplug = _i;
	open_world(&w);
	ck_assert_int_eq(send_world(&w, 1, &report), MIG_DONE);
	ck_assert(w.prepared == w.unplug);
	ck_assert_uint_eq(report.deferred_bytes, w.unplug ? 0 : w.unreported);
	close_world(&w);
}
END_TEST

/* What it writes would be missed: the guest stays. */
START_TEST(test_not_drained)
{
	static struct world w = { .writes_on = true };
	struct mig_report report;

	open_world(&w);
	ck_assert_int_eq(send_world(&w, 1, &report), MIG_FAILED);
	ck_assert_int_lt(w.received, 0);
	ck_assert_int_eq(w.ran, 0);
	ck_assert_int_eq(w.resumed, 1);
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
	tcase_add_loop_test(tcase, test_rounds_in_vain, 0, 2);
	tcase_add_loop_test(tcase, test_unreported, 0, 2);
	tcase_add_test(tcase, test_not_drained);
	suite_add_tcase(suite, tcase);
}

int main(void)
{
	Suite *suite = suite_create("migrate_parts");

	add_parts(suite);
	add_whole(suite);
	return run_all(suite);
}
