/* SPDX-License-Identifier: MIT */

/* Mappings whose IOVA the library chooses: free, allowed, as wanted, and never twice. */

#include "fixture.h"

#include <errno.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../suite.h"

#define HOLE_FIRST UINT64_C(0xfee00000) /* of the model's IOMMU */
#define HOLE_LAST  UINT64_C(0xfeefffff)
#define LOWEST	   UINT64_C(0x10000)

static struct fixture fixture, *f = &fixture;

static int place(uint64_t memory, uint64_t count, struct vfd_placement *wish, uint64_t *iova)
{
	struct vfd_mapping mapping = {
		.struct_size = sizeof mapping,
		.flags = RW,
		.iova = 0xdeadbeef,
		.size = count * PAGE,
		.memory = f->memory + memory * PAGE,
	};
	if (wish)
		wish->struct_size = sizeof *wish;
	int rc = vfd_map_anywhere(f->container, &mapping, wish, &f->err);

	*iova = mapping.iova;
	return rc;
}

static void attach(const struct model_config *config, int number)
{
	fixture_begin(f, config);
	OK(vfd_group_attach(f->container, number, &f->group, &f->err));
}

START_TEST(lowest_that_has_room)
{
	uint64_t a, b, c;

	attach(NULL, 7);
	OK(map_pages(f, 17, 0, 1, RW)); /* one page behind the lowest */
	OK(place(1, 1, NULL, &a));
	ck_assert_uint_eq(a, LOWEST);
	OK(place(2, 4, NULL, &b)); /* aligned to its size */
	ck_assert_uint_eq(b, 20 * PAGE);
	OK(unmap_pages(f, 17, 1));
	OK(place(6, 2, NULL, &c)); /* 18: what was unmapped is used again, as far as it is aligned */
	ck_assert_uint_eq(c, 18 * PAGE);
	OK(vfd_unmap(f->container, a, PAGE, &f->err));
	OK(place(1, 2, NULL, &a));
	ck_assert_uint_eq(a, LOWEST);
	ck_assert_uint_eq(model_mapping_count(f->model, vfd_container_fd(f->container)), 3);
	fixture_end(f);
}
END_TEST

START_TEST(best_fit)
{
	struct vfd_placement best = { .flags = VFD_PLACE_BEST_FIT,
				      .first = 16 * PAGE,
				      .last = 64 * PAGE - 1 };
	struct vfd_placement first = { .first = 16 * PAGE, .last = 64 * PAGE - 1 };
	uint64_t a, b;

	attach(NULL, 7);
	/* free: 16..23, 25..26, 28..63 */
	OK(map_pages(f, 24, 0, 1, RW));
	OK(map_pages(f, 27, 1, 1, RW));
	OK(place(2, 1, &best, &a));
	ck_assert_uint_eq(a, 25 * PAGE);
	OK(place(3, 1, &first, &b));
	ck_assert_uint_eq(b, 16 * PAGE);
	fixture_end(f);
}
END_TEST

START_TEST(the_kernels_hole)
{
	struct vfd_placement around = { .first = HOLE_FIRST - 2 * PAGE, .align = PAGE };
	uint64_t iova[3];

	attach(&one_physical, 20);
	OK(place(0, 1, &around, &iova[0]));
	ck_assert_uint_eq(iova[0], HOLE_FIRST - 2 * PAGE);
	OK(place(1, 2, &around, &iova[1]));
	ck_assert_uint_eq(iova[1], HOLE_LAST + 1);
	OK(place(3, 1, &around, &iova[2]));
	ck_assert_uint_eq(iova[2], HOLE_FIRST - PAGE);
	struct vfd_placement inside = { .first = HOLE_FIRST, .last = HOLE_LAST };
	REFUSED(VFD_ELIMIT, place(4, 1, &inside, &iova[0]));
	ck_assert_uint_eq(iova[0], 0xdeadbeef);
	fixture_end(f);
}
END_TEST

/* While only emulated groups are there the hole is unknown; then a physical one comes, and it is kept clear. */
START_TEST(windows_are_read_again)
{
	struct vfd_placement around = { .first = HOLE_FIRST - PAGE, .align = PAGE };
	uint64_t a, b;

	attach(&mixed, 7);
	OK(place(0, 1, &around, &a));
	ck_assert_uint_eq(a, HOLE_FIRST - PAGE);
	OK(vfd_group_attach(f->container, 20, &f->group2, &f->err));
	OK(place(1, 1, &around, &b));
	ck_assert_uint_eq(b, HOLE_LAST + 1);
	fixture_end(f);
}
END_TEST

/* No kernel lists such windows: they touch, and they meet. */
START_TEST(impossible_windows)
{
	static const struct model_config config = {
		.group_count = 1,
		.groups = { { .number = 20,
			      .kind = MODEL_PHYSICAL,
			      .devices = { { .name = PCI_NAME, .pci = true } },
			      .ranges = { { 16 * PAGE, 31 * PAGE + PAGE - 1 },
					  { 32 * PAGE, 47 * PAGE + PAGE - 1 },
					  { 40 * PAGE, 63 * PAGE + PAGE - 1 } } } },
	};
	struct vfd_placement across = { .first = 31 * PAGE, .last = 33 * PAGE - 1, .align = PAGE };
	struct vfd_placement within = { .last = 48 * PAGE - 1, .align = PAGE };
	uint64_t iova;

	attach(&config, 20);
	for (unsigned i = 0; i < 8; i++)
		REFUSED(VFD_ERESERVED, place(0, 2, &across, &iova));
	for (unsigned round = 0; round < 4; round++) {
		for (uint64_t i = 0; i < 32; i++)
			OK(place(i, 1, &within, &iova));
		REFUSED(VFD_ELIMIT, place(32, 1, &within, &iova));
		for (uint64_t i = 0; i < 32; i += 2)
			OK(unmap_pages(f, 16 + i, 1));
		for (uint64_t i = 1; i < 32; i += 2)
			OK(unmap_pages(f, 16 + i, 1));
	}
	fixture_end(f);
}
END_TEST

START_TEST(a_ceiling)
{
	struct vfd_placement low = { .last = UINT32_MAX, .first = UINT32_MAX - 3 * PAGE + 1, .align = PAGE };
	uint64_t iova;

	attach(NULL, 7);
	for (uint64_t i = 0; i < 3; i++) {
		OK(place(i, 1, &low, &iova));
		ck_assert_uint_eq(iova, low.first + i * PAGE);
	}
	REFUSED(VFD_ELIMIT, place(3, 1, &low, &iova));
	ck_assert(strstr(f->err.message, "0xffffd000..0xffffffff"));
	OK(place(3, 1, NULL, &iova)); /* elsewhere there is room */
	fixture_end(f);
}
END_TEST

START_TEST(bad_wishes)
{
	struct vfd_placement wish = { .align = 3 * PAGE };
	uint64_t iova;

	attach(NULL, 7);
	REFUSED(VFD_EINVALID, place(0, 1, &wish, &iova));
	wish = (struct vfd_placement){ .first = 2, .last = 1 };
	REFUSED(VFD_EINVALID, place(0, 1, &wish, &iova));
	wish = (struct vfd_placement){ .flags = 1u << 31 };
	REFUSED(VFD_EINVALID, place(0, 1, &wish, &iova));
	REFUSED(VFD_EINVALID, place(0, 0, NULL, &iova));
	REFUSED(VFD_EINVALID, vfd_map_anywhere(f->container, NULL, NULL, &f->err));
	struct vfd_mapping mapping = {
		.struct_size = sizeof mapping, .flags = RW, .memory = f->memory, .size = 5
	};
	REFUSED(VFD_EALIGN, vfd_map_anywhere(f->container, &mapping, NULL, &f->err));
	mapping.size = UINT64_MAX & ~(PAGE - 1);
	ck_assert_int_lt(vfd_map_anywhere(f->container, &mapping, NULL, &f->err), 0);
	ck_assert_uint_eq(info_of(f).mappings, 0);
	mapping.size = PAGES * PAGE;
	mapping.granule = 1; /* not one range for each byte */
	REFUSED(VFD_EALIGN, vfd_map_anywhere(f->container, &mapping, NULL, &f->err));
	struct vfd_placement aligned = { .align = PAGES * PAGE };
	OK(place(0, PAGES, &aligned, &iova)); /* nothing stayed taken */
	ck_assert_uint_eq(iova, PAGES * PAGE);
	fixture_end(f);
}
END_TEST

START_TEST(what_failed_is_free_again)
{
	const int errnos[] = { EFAULT, EINVAL, ENOSPC, ENOMEM };
	uint64_t iova;

	attach(NULL, 7);
	for (int i = 0; i < 4; i++) {
		model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
							    .request = VFIO_IOMMU_MAP_DMA,
							    .error = errnos[i] });
		REFUSED(-errnos[i], place(0, 1, NULL, &iova));
	}
	/* chosen by the caller, refused by the kernel: free too */
	model_fault(f->model, (struct model_fault){
				      .call = MODEL_IOCTL, .request = VFIO_IOMMU_MAP_DMA, .error = ENOMEM });
	REFUSED(-ENOMEM, map_pages(f, 16, 0, 1, RW));
	OK(place(0, 1, NULL, &iova));
	ck_assert_uint_eq(iova, LOWEST);
	/* a mapping that the table does not know: the next call tries another place */
	model_fault(f->model, (struct model_fault){
				      .call = MODEL_IOCTL, .request = VFIO_IOMMU_MAP_DMA, .error = EEXIST });
	REFUSED(-EEXIST, place(1, 1, NULL, &iova));
	OK(place(1, 1, NULL, &iova));
	ck_assert_uint_eq(iova, LOWEST + 2 * PAGE);
	fixture_end(f);
}
END_TEST

enum { LARGE = 512, MIB = 256 }; /* pages */

static uint64_t place_at(const char *memory, uint64_t pages, struct vfd_placement *wish)
{
	struct vfd_mapping mapping = { .struct_size = sizeof mapping,
				       .flags = RW | VFD_MAP_UNLOGGED,
				       .size = pages * PAGE,
				       .memory = (void *)(uintptr_t)memory };

	if (wish)
		wish->struct_size = sizeof *wish;
	OK(vfd_map_anywhere(f->container, &mapping, wish, &f->err));
	return mapping.iova;
}

/* Without a group memory is not looked at: any address will do. */
START_TEST(where_large_pages_can_be_used)
{
	const char *base = (const char *)((uintptr_t)1 << 30), *odd = base + MIB * PAGE;
	struct vfd_placement tight = { .first = 64 * LARGE * PAGE, .last = 65 * LARGE * PAGE - 1 };

	fixture_begin(f, NULL);
	ck_assert_uint_eq(place_at(base, LARGE, NULL), LARGE * PAGE);
	ck_assert_uint_eq(place_at(odd, LARGE, NULL), (2 * LARGE + MIB) * PAGE);
	/* 8 MiB of memory that begins 1 MiB behind a multiple of 8 MiB */
	ck_assert_uint_eq(place_at(odd, 4 * LARGE, NULL) % (4 * LARGE * PAGE), MIB * PAGE);
	/* half of a large page, and memory at an odd page: the bitmaps' alignment is all there is to win */
	ck_assert_uint_eq(place_at(odd, MIB, NULL) % (MIB * PAGE), 0);
	ck_assert_uint_eq(place_at(odd + PAGE, 2 * LARGE, NULL) % (2 * LARGE * PAGE), 0);
	ck_assert_uint_eq(place_at(odd + PAGE, 64, NULL) % (64 * PAGE), 0);
	/* room for an aligned mapping only */
	ck_assert_uint_eq(place_at(odd, LARGE, &tight), tight.first);
	/* what the caller says is what is done */
	struct vfd_placement wish = { .align = 4 * LARGE * PAGE };
	ck_assert_uint_eq(place_at(odd, LARGE, &wish) % wish.align, 0);
	fixture_end(f);
}
END_TEST

/* One range is taken, and given back piece by piece, in any order; so is what failed. */
START_TEST(granules)
{
	struct vfd_placement low = { .struct_size = sizeof low, .first = 100 * PAGE, .align = PAGE };
	struct vfd_mapping mapping = { .struct_size = sizeof mapping,
				       .flags = RW,
				       .size = 40 * PAGE,
				       .memory = f->memory,
				       .granule = 8 * PAGE };

	attach(NULL, 7);
	mapping.memory = f->memory;
	for (int round = 0; round < 3; round++) {
		model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
							    .request = VFIO_IOMMU_MAP_DMA,
							    .nth = 3,
							    .error = ENOMEM });
		REFUSED(-ENOMEM, vfd_map_anywhere(f->container, &mapping, &low, &f->err));
		mapping.memory = f->memory + PAGES * PAGE; /* beyond the region: no record is made */
		REFUSED(VFD_ENOREGION, vfd_map_anywhere(f->container, &mapping, &low, &f->err));
		mapping.memory = f->memory;
		OK(vfd_map_anywhere(f->container, &mapping, &low, &f->err));
		ck_assert_uint_eq(mapping.iova, 100 * PAGE);
		ck_assert_uint_eq(info_of(f).mappings, 6); /* 100..103, 104..111, ... 136..139 */
		OK(unmap_pages(f, 112, 8));
		OK(map_pages(f, 112, 500, 8, RW));
		OK(unmap_pages(f, 100, 12));
		OK(unmap_pages(f, 112, 28));
	}
	fixture_end(f);
}
END_TEST

enum { THREADS = 4, ROUNDS = 400 };

static void *place_and_unmap(void *arg)
{
	uint64_t page = *(uint64_t *)arg;

	for (uint64_t i = 0; i < ROUNDS; i++) {
		struct vfd_error err;
		struct vfd_mapping mapping = { .struct_size = sizeof mapping,
					       .flags = RW,
					       .size = (1 + i % 4) * PAGE,
					       .memory = f->memory + page * PAGE };
		int rc = vfd_map_anywhere(f->container, &mapping, NULL, &err);
		if (!rc && i % 8)
			rc = vfd_unmap(f->container, mapping.iova, mapping.size, &err);
		if (rc)
			return strdup(err.message);
	}
	return NULL;
}

START_TEST(never_twice)
{
	pthread_t threads[THREADS];
	uint64_t pages[THREADS];

	attach(NULL, 7);
	for (uint64_t i = 0; i < THREADS; i++) {
		pages[i] = i * 4;
		ck_assert(!pthread_create(&threads[i], NULL, place_and_unmap, &pages[i]));
	}
	for (int i = 0; i < THREADS; i++) {
		void *message;
		pthread_join(threads[i], &message);
		ck_assert_msg(!message, "%s", (char *)message);
	}
	ck_assert_uint_eq(info_of(f).mappings, THREADS * ROUNDS / 8);
	OK(vfd_unmap_all(f->container, &f->err));
	uint64_t iova;
	OK(place(0, 1, NULL, &iova));
	ck_assert_uint_eq(iova, LOWEST);
	fixture_end(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("place");
	TCase *tcase = tcase_create("place");

	tcase_add_test(tcase, lowest_that_has_room);
	tcase_add_test(tcase, best_fit);
	tcase_add_test(tcase, the_kernels_hole);
	tcase_add_test(tcase, windows_are_read_again);
	tcase_add_test(tcase, impossible_windows);
	tcase_add_test(tcase, a_ceiling);
	tcase_add_test(tcase, bad_wishes);
	tcase_add_test(tcase, what_failed_is_free_again);
	tcase_add_test(tcase, where_large_pages_can_be_used);
	tcase_add_test(tcase, granules);
	tcase_add_test(tcase, never_twice);
	suite_add_tcase(suite, tcase);
	return run_all(suite);
}
