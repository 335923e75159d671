/* SPDX-License-Identifier: MIT */

/* The destination answers nothing, and goes when the source has as much on its way as it may: all of it is owed again, and no batch is left
 * open, or its pages could never be sent again. */

#include "channel.h"

#include <check.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "../suite.h"

#define MEMORY ((FLIGHTS + 4ull) * BATCH_BYTES)

/* Memory that is zero has no data: a frame each batch. */
static void *listen_only(void *opaque)
{
	struct wire w = { .broken = false };
	const struct mig_link *link = opaque;
	uint8_t meta[FRAME_META];
	struct mig_error err;
	struct frame f;
	int batches = 0;

	io_open(&w.io, link, 10000);
	ck_assert_int_eq(wire_receive(&w, &f, meta, &err), 0);
	ck_assert_int_eq(wire_send(&w, FRAME_WELCOME, NULL, 0, NULL, &err), 0);
	while (batches < FLIGHTS && !wire_receive(&w, &f, meta, &err))
		batches += f.type == FRAME_PAGES;
	ck_assert_int_eq(batches, FLIGHTS);
	shutdown(link->in, SHUT_RDWR);
	return NULL;
}

static int harvest_nothing(void *opaque, bool final, struct vfd_harvest *sum, struct mig_error *err)
{
	(void)opaque, (void) final, (void)sum, (void)err;
	return 0;
}

static int pause_nothing(void *opaque, struct mig_error *err)
{
	(void)opaque, (void)err;
	return 0;
}

static void resume_nothing(void *opaque)
{
	(void)opaque;
}

static struct vfd_log *make_log(void *memory)
{
	struct vfd_region region = { .struct_size = sizeof region, .size = MEMORY, .memory = memory };
	struct vfd_log *log;

	ck_assert_int_eq(vfd_log_create(NULL, &log, NULL), 0);
	ck_assert_int_eq(vfd_region_add(log, &region, NULL), 0);
	return log;
}

static int send_all(struct vfd_log *log, void *memory, struct mig_link *link)
{
	struct mig_region region = { 0, MEMORY, memory };
	struct mig_source source = { .guest = { .regions = &region, .region_count = 1 },
				     .log = log,
				     .consumer = vfd_log_consumer(log),
				     .harvest = harvest_nothing,
				     .pause = pause_nothing,
				     .resume = resume_nothing };
	struct mig_report report;
	struct mig_error err;

	return mig_send(&source, link, 1, &report, &err);
}

START_TEST(all_is_owed_again)
{
	void *memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct vfd_count count;
	pthread_t listener;
	int ends[2];

	ck_assert(memory != MAP_FAILED);
	struct vfd_log *log = make_log(memory);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	struct mig_link here = { ends[0], ends[0] }, there = { ends[1], ends[1] };
	ck_assert_int_eq(pthread_create(&listener, NULL, listen_only, &there), 0);
	ck_assert_int_eq(send_all(log, memory, &here), MIG_FAILED);
	pthread_join(listener, NULL);
	mig_close(&there);
	ck_assert_int_eq(vfd_consumer_count(vfd_log_consumer(log), 0, UINT64_MAX, &count, NULL), 0);
	ck_assert_uint_eq(count.taken, 0);
	ck_assert_uint_eq(count.owed, MEMORY / PAGE_BLOCK);
	ck_assert_int_eq(vfd_log_destroy(&log, VFD_DISCARD, NULL), 0);
	munmap(memory, MEMORY);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("migrate_flights");
	TCase *tcase = tcase_create("flights");

	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, all_is_owed_again);
	suite_add_tcase(suite, tcase);
	return run_all(suite);
}
