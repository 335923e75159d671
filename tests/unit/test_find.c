/* SPDX-License-Identifier: MIT */

/* vfd_mapping_find(): by IOVA, by process address, by log address. */

#include "fixture.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct fixture fixture, *f = &fixture;

#define MEMORY(page) ((uint64_t)(uintptr_t)(f->memory + (page)*PAGE))
#define LOG(page)    (LOG_ADDRESS + (page)*PAGE)

static struct vfd_mapping found;

static int find(enum vfd_find by, uint64_t address)
{
	memset(&found, 0x55, sizeof found);
	found.struct_size = sizeof found;
	return vfd_mapping_find(f->container, by, address, &found, &f->err);
}

/* It is found at both its ends and in its middle, by all three addresses. */
static void check_there(uint64_t iova, uint64_t memory, uint64_t count)
{
	const uint64_t offsets[] = { 0, count * PAGE / 2, count * PAGE - 1 };

	for (int i = 0; i < 3; i++) {
		const uint64_t addresses[] = { iova * PAGE, MEMORY(memory), LOG(memory) };
		const enum vfd_find by[] = { VFD_FIND_IOVA, VFD_FIND_MEMORY, VFD_FIND_LOG };
		for (int k = 0; k < 3; k++) {
			OK(find(by[k], addresses[k] + offsets[i]));
			ck_assert_uint_eq(found.iova, iova * PAGE);
			ck_assert_uint_eq(found.size, count * PAGE);
			ck_assert_ptr_eq(found.memory, f->memory + memory * PAGE);
			ck_assert_uint_eq(found.log_address, LOG(memory));
			ck_assert_uint_eq(found.flags, RW | VFD_MAP_LOG_ADDRESS);
		}
	}
}

static void check_nowhere(uint64_t iova, uint64_t memory)
{
	REFUSED(VFD_ENOTMAPPED, find(VFD_FIND_IOVA, iova * PAGE));
	REFUSED(VFD_ENOTMAPPED, find(VFD_FIND_MEMORY, MEMORY(memory)));
	REFUSED(VFD_ENOTMAPPED, find(VFD_FIND_LOG, LOG(memory)));
}

START_TEST(by_all_three)
{
	fixture_begin(f, NULL);
	check_nowhere(0, 0);
	OK(map_pages(f, 100, 7, 3, RW));
	OK(map_pages(f, 110, 1, 1, RW));
	check_there(100, 7, 3);
	check_there(110, 1, 1);
	check_nowhere(99, 0);
	check_nowhere(103, 6);
	check_nowhere(111, 10);
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	OK(vfd_group_detach(&f->group, 0, &f->err));
	check_there(100, 7, 3); /* remembered */
	OK(unmap_pages(f, 100, 3));
	check_nowhere(100, 7);
	check_there(110, 1, 1);
	OK(vfd_unmap_all(f->container, &f->err));
	check_nowhere(110, 1);
	fixture_end(f);
}
END_TEST

static void check_names(const char *what)
{
	ck_assert_msg(strstr(f->err.message, what) != NULL, "no \"%s\" in: %s", what, f->err.message);
}

START_TEST(names_the_nearest)
{
	fixture_begin(f, NULL);
	REFUSED(VFD_ENOTMAPPED, find(VFD_FIND_IOVA, 0x5000));
	check_names("below: none, above: none");
	OK(map_pages(f, 1, 0, 2, RW));
	OK(map_pages(f, 7, 2, 1, RW));
	REFUSED(VFD_ENOTMAPPED, find(VFD_FIND_IOVA, 0x5000));
	check_names("below: 0x1000..0x2fff, above: 0x7000..0x7fff");
	REFUSED(VFD_ENOTMAPPED, find(VFD_FIND_IOVA, 0));
	check_names("below: none, above: 0x1000..0x2fff");
	REFUSED(VFD_ENOTMAPPED, find(VFD_FIND_IOVA, UINT64_MAX));
	check_names("below: 0x7000..0x7fff, above: none");
	REFUSED(VFD_ENOTMAPPED, find(VFD_FIND_LOG, 0));
	check_names("log address");
	check_names("above: 0x40000000..0x40001fff");
	REFUSED(VFD_ENOTMAPPED, find(VFD_FIND_MEMORY, 0));
	check_names("process address");
	fixture_end(f);
}
END_TEST

/* The one that begins last; of those the one with the lowest IOVA. */
START_TEST(aliases)
{
	fixture_begin(f, NULL);
	OK(map_pages(f, 500, 10, 10, RW));
	OK(map_pages(f, 300, 10, 10, RW));
	OK(map_pages(f, 400, 10, 10, RW));
	for (int by = 0; by < 2; by++) {
		OK(find(by ? VFD_FIND_LOG : VFD_FIND_MEMORY, by ? LOG(19) : MEMORY(19)));
		ck_assert_uint_eq(found.iova, 300 * PAGE);
	}
	OK(map_pages(f, 900, 14, 2, RW)); /* inside */
	OK(find(VFD_FIND_MEMORY, MEMORY(14)));
	ck_assert_uint_eq(found.iova, 900 * PAGE);
	OK(find(VFD_FIND_LOG, LOG(15)));
	ck_assert_uint_eq(found.iova, 900 * PAGE);
	OK(find(VFD_FIND_MEMORY, MEMORY(16)));
	ck_assert_uint_eq(found.iova, 300 * PAGE);
	OK(unmap_pages(f, 300, 10));
	OK(find(VFD_FIND_MEMORY, MEMORY(16)));
	ck_assert_uint_eq(found.iova, 400 * PAGE);
	fixture_end(f);
}
END_TEST

START_TEST(unlogged)
{
	fixture_begin(f, NULL);
	OK(map_pages(f, 5, 3, 1, VFD_MAP_READ | VFD_MAP_UNLOGGED));
	OK(find(VFD_FIND_MEMORY, MEMORY(3)));
	ck_assert_uint_eq(found.flags, VFD_MAP_READ | VFD_MAP_UNLOGGED);
	ck_assert_uint_eq(found.log_address, 0);
	REFUSED(VFD_ENOTMAPPED, find(VFD_FIND_LOG, LOG(3)));
	OK(unmap_pages(f, 5, 1));
	REFUSED(VFD_ENOTMAPPED, find(VFD_FIND_MEMORY, MEMORY(3)));
	fixture_end(f);
}
END_TEST

/* What was found can be mapped again as it is. */
START_TEST(answer_is_a_question)
{
	fixture_begin(f, NULL);
	OK(map_pages(f, 5, 3, 2, RW));
	OK(find(VFD_FIND_LOG, LOG(4)));
	OK(unmap_pages(f, 5, 2));
	OK(vfd_map(f->container, &found, &f->err));
	check_there(5, 3, 2);
	fixture_end(f);
}
END_TEST

/* Neither a map that the kernel refused nor an unmap that it refused leaves half of an entry. */
START_TEST(failures_leave_all_or_nothing)
{
	fixture_track(f, NULL);
	OK(unmap_pages(f, 0, PAGES));
	model_fault(f->model, (struct model_fault){
				      .call = MODEL_IOCTL, .request = VFIO_IOMMU_MAP_DMA, .error = ENOMEM });
	REFUSED(-ENOMEM, map_pages(f, 5, 3, 2, RW));
	check_nowhere(5, 3);
	OK(map_pages(f, 5, 3, 2, RW));
	check_there(5, 3, 2);
	model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
						    .request = VFIO_IOMMU_UNMAP_DMA,
						    .error = ENOMEM });
	REFUSED(-ENOMEM, unmap_pages(f, 5, 2));
	check_there(5, 3, 2);
	REFUSED(VFD_EOVERLAP, map_pages(f, 6, 9, 1, RW));
	check_there(5, 3, 2);
	REFUSED(VFD_ENOTMAPPED, find(VFD_FIND_MEMORY, MEMORY(9)));
	OK(unmap_pages(f, 5, 2));
	check_nowhere(5, 3);
	fixture_end(f);
}
END_TEST

/* ---- what is asked for at open ---- */

static void reopen(unsigned flags, bool with_log)
{
	struct vfd_container_options options = {
		.struct_size = sizeof options,
		.flags = flags,
		.log = with_log ? f->log : NULL,
	};

	OK(vfd_container_close(&f->container, 0, &f->err));
	OK(container_open_on(&f->model->sys, &options, &f->container, &f->err));
}

START_TEST(orders_not_kept)
{
	fixture_begin(f, NULL);
	reopen(0, true);
	OK(map_pages(f, 5, 3, 1, RW));
	OK(find(VFD_FIND_IOVA, 5 * PAGE));
	REFUSED(VFD_ESTATE, find(VFD_FIND_MEMORY, MEMORY(3)));
	check_names("VFD_FIND_MEMORY");
	REFUSED(VFD_ESTATE, find(VFD_FIND_LOG, LOG(3)));
	check_names("VFD_FIND_LOG");
	reopen(VFD_FIND_LOG, true);
	OK(map_pages(f, 5, 3, 1, RW));
	OK(find(VFD_FIND_LOG, LOG(3)));
	REFUSED(VFD_ESTATE, find(VFD_FIND_MEMORY, MEMORY(3)));
	reopen(VFD_FIND_MEMORY, false);
	OK(map_pages(f, 5, 3, 1, RW));
	OK(find(VFD_FIND_MEMORY, MEMORY(3)));
	ck_assert_uint_eq(found.flags, RW);
	REFUSED(VFD_ESTATE, find(VFD_FIND_LOG, LOG(3)));
	fixture_end(f);
}
END_TEST

START_TEST(bad_flags_at_open)
{
	struct vfd_container *c = NULL;
	struct vfd_container_options options = { .struct_size = sizeof options, .flags = VFD_FIND_LOG };

	fixture_begin(f, NULL);
	REFUSED(VFD_EINVALID, container_open_on(&f->model->sys, &options, &c, &f->err));
	check_names("no log");
	options.log = f->log;
	options.flags = 1u << 10;
	REFUSED(VFD_EINVALID, container_open_on(&f->model->sys, &options, &c, &f->err));
	ck_assert_ptr_null(c);
	fixture_end(f);
}
END_TEST

/* ---- bad calls ---- */

static int find_in_child(void)
{
	return find(VFD_FIND_IOVA, 0) != VFD_EFORKED;
}

START_TEST(refusals)
{
	int status;

	fixture_begin(f, NULL);
	OK(map_pages(f, 0, 0, 1, RW));
	REFUSED(VFD_EINVALID, vfd_mapping_find(f->container, VFD_FIND_IOVA, 0, NULL, &f->err));
	found.struct_size = 0;
	REFUSED(VFD_EINVALID, vfd_mapping_find(f->container, VFD_FIND_IOVA, 0, &found, &f->err));
	found.struct_size = sizeof found;
	REFUSED(VFD_EINVALID, vfd_mapping_find(NULL, VFD_FIND_IOVA, 0, &found, &f->err));
	REFUSED(VFD_EINVALID, find((enum vfd_find)(VFD_FIND_MEMORY | VFD_FIND_LOG), 0));
	REFUSED(VFD_EINVALID, find((enum vfd_find)1, 0));
	ck_assert_int_eq(vfd_mapping_find(f->container, VFD_FIND_IOVA, PAGE, &found, NULL), VFD_ENOTMAPPED);
	pid_t child = fork();
	if (!child)
		_exit(find_in_child());
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status) && !WEXITSTATUS(status));
	fixture_end(f);
}
END_TEST

/* A program that knows only the first three fields. */
START_TEST(shorter_struct)
{
	fixture_begin(f, NULL);
	OK(map_pages(f, 3, 0, 1, RW));
	memset(&found, 0x55, sizeof found);
	found.struct_size = 16;
	OK(vfd_mapping_find(f->container, VFD_FIND_IOVA, 3 * PAGE, &found, &f->err));
	ck_assert_uint_eq(found.iova, 3 * PAGE);
	ck_assert_uint_eq(found.size, UINT64_C(0x5555555555555555));
	fixture_end(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("find");

	add_case(suite, "by all three", by_all_three);
	add_case(suite, "names the nearest", names_the_nearest);
	add_case(suite, "aliases", aliases);
	add_case(suite, "unlogged", unlogged);
	add_case(suite, "answer is a question", answer_is_a_question);
	add_case(suite, "failures", failures_leave_all_or_nothing);
	add_case(suite, "orders not kept", orders_not_kept);
	add_case(suite, "bad flags", bad_flags_at_open);
	add_tagged(suite, TAG_FORK, "refusals", refusals);
	add_case(suite, "shorter struct", shorter_struct);
	return run_suite(suite);
}
