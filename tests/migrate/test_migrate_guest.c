/* SPDX-License-Identifier: MIT */

/* A guest that its own program describes wrongly: each side says so before it reads or writes a byte. */

#include "channel.h"

#include <check.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../suite.h"

enum { SIZE = 16 * PAGE_BLOCK, MANY = 2 * MIG_SECTIONS };

static struct mig_region regions[MANY];
static struct mig_section sections[MANY];
static struct vfd_device *devices[MANY];
static struct mig_guest guest;
static uint8_t *memory;

static int save(void *opaque, void *data, size_t size, size_t *done, struct mig_error *err)
{
	(void)opaque, (void)data, (void)size, (void)err;
	*done = 0;
	return 0;
}

static int load(void *opaque, const void *data, size_t size, struct mig_error *err)
{
	(void)opaque, (void)data, (void)size, (void)err;
	return 0;
}

static void setup(void)
{
	memory = aligned_alloc(PAGE_BLOCK, SIZE);
	for (int i = 0; i < MANY; i++) {
		regions[i] = (struct mig_region){ (uint64_t)i << 20, PAGE_BLOCK, memory };
		sections[i] = (struct mig_section){ .name = "cpu", .save = save, .load = load };
	}
	guest = (struct mig_guest){ .regions = regions,
				    .region_count = 3,
				    .sections = sections,
				    .section_count = 1,
				    .devices = devices };
}

static void teardown(void)
{
	free(memory);
}

/* ---- flaws ---------------------------------------------------------------------------------------------------------- */

static void no_region(void)
{
	guest.region_count = 0;
}

static void too_many_regions(void)
{
	guest.region_count = MIG_REGIONS + 1;
}

static void no_list_of_regions(void)
{
	guest.regions = NULL;
}

static void too_many_sections(void)
{
	guest.section_count = MIG_SECTIONS + 1;
}

static void too_many_devices(void)
{
	guest.device_count = MIG_SECTIONS + 1;
}

static void no_device(void)
{
	guest.device_count = 1;
}

static void crooked_address(void)
{
	regions[1].address += 512;
}

static void crooked_size(void)
{
	regions[1].size += 1;
}

static void empty(void)
{
	regions[1].size = 0;
}

static void wrapped(void)
{
	regions[1].address = UINT64_MAX - PAGE_BLOCK + 1;
	regions[1].size = 2 * PAGE_BLOCK;
}

static void same_twice(void)
{
	regions[2] = regions[0];
}

static void end_meets_beginning(void)
{
	regions[0].size = (1 << 20) + PAGE_BLOCK;
}

static void nameless_end(void)
{
	memset(sections[0].name, 'x', MIG_NAME);
}

static void no_memory(void)
{
	regions[2].memory = NULL;
}

static void memory_wrapped(void)
{
	regions[2].memory = (void *)(UINTPTR_MAX - PAGE_BLOCK / 2);
}

static void cannot_load(void)
{
	sections[0].load = NULL;
}

static void cannot_save(void)
{
	sections[0].save = NULL;
}

enum side { BOTH, SOURCE, DESTINATION };

static const struct {
	void (*spoil)(void);
	enum side side; /* that minds */
	const char *message;
} flaws[] = {
	{ no_region, BOTH, "0 regions" },
	{ too_many_regions, BOTH, "65 regions" },
	{ no_list_of_regions, BOTH, "NULL" },
	{ too_many_sections, BOTH, "65 sections" },
	{ too_many_devices, BOTH, "65 devices" },
	{ no_device, BOTH, "device 0 is NULL" },
	{ crooked_address, BOTH, "region 1: 4096 bytes at 0x100200" },
	{ crooked_size, BOTH, "region 1: 4097 bytes at 0x100000" },
	{ empty, BOTH, "region 1: 0 bytes" },
	{ wrapped, BOTH, "region 1: 8192 bytes at 0xfffffffffffff000" },
	{ same_twice, BOTH, "regions 0 and 2" },
	{ end_meets_beginning, BOTH, "regions 0 and 1" },
	{ nameless_end, BOTH, "section 0" },
	{ no_memory, DESTINATION, "region 2: memory" },
	{ memory_wrapped, DESTINATION, "region 2: memory" },
	{ cannot_load, DESTINATION, "load" },
	{ cannot_save, SOURCE, "save" },
};

/* ---- the two sides -------------------------------------------------------------------------------------------------- */

static int run(void *opaque, struct mig_error *err)
{
	(void)opaque, (void)err;
	ck_abort_msg("it runs");
}

/* Bytes are there to be read; they stay. */
static int receive(struct mig_error *err)
{
	struct mig_destination d = { .guest = guest, .options = { .stall_ms = 100 }, .run = run };
	struct mig_report report;
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	ck_assert_int_eq(write(ends[0], "VFDM", 4), 4);
	struct mig_listener listener = { .fd = -1, .link = { ends[1], ends[1] } };
	int rc = mig_receive(&d, &listener, &report, err);
	ck_assert_int_eq(report.result, rc);
	ck_assert_msg(listener.link.in == ends[1], "it was accepted");
	mig_unlisten(&listener);
	close(ends[0]);
	return rc;
}

static int harvest(void *opaque, bool final, struct vfd_harvest *sum, struct mig_error *err)
{
	(void)opaque, (void) final, (void)sum, (void)err;
	ck_abort_msg("it was asked");
}

static int pause_guest(void *opaque, struct mig_error *err)
{
	(void)opaque, (void)err;
	ck_abort_msg("it was paused");
}

static int type_of_first_frame(int fd)
{
	uint8_t header[FRAME_HEADER];

	return read(fd, header, sizeof header) == sizeof header ? header[5] : -1;
}

static int send_guest(struct mig_error *err)
{
	struct mig_source s = {
		.guest = guest, .options = { .stall_ms = 100 }, .harvest = harvest, .pause = pause_guest
	};
	struct mig_report report;
	int ends[2];

	ck_assert_int_eq(vfd_log_create(NULL, &s.log, NULL), 0);
	s.consumer = vfd_log_consumer(s.log);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	struct mig_link link = { ends[1], ends[1] };
	int rc = mig_send(&s, &link, 1, &report, err);
	ck_assert_int_eq(report.result, rc);
	ck_assert_int_eq(type_of_first_frame(ends[0]), FRAME_CANCEL);
	close(ends[0]);
	ck_assert_int_eq(vfd_log_destroy(&s.log, VFD_DISCARD, NULL), 0);
	return rc;
}

START_TEST(test_destination)
{
	struct mig_error err;

	flaws[_i].spoil();
	if (flaws[_i].side == SOURCE)
		return;
	ck_assert_int_eq(receive(&err), MIG_FAILED);
	ck_assert_msg(strstr(err.message, flaws[_i].message), "%s, not %s", err.message, flaws[_i].message);
}
END_TEST

START_TEST(test_source)
{
	struct mig_error err;

	flaws[_i].spoil();
	if (flaws[_i].side == DESTINATION)
		return;
	ck_assert_int_eq(send_guest(&err), MIG_FAILED);
	ck_assert_msg(strstr(err.message, flaws[_i].message), "%s, not %s", err.message, flaws[_i].message);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("migrate_guest");
	TCase *tcase = tcase_create("guest");
	int count = (int)(sizeof flaws / sizeof *flaws);

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, test_destination, 0, count);
	tcase_add_loop_test(tcase, test_source, 0, count);
	suite_add_tcase(suite, tcase);
	return run_all(suite);
}
