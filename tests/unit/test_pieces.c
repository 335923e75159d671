/* SPDX-License-Identifier: MIT */

/* Several entries of the kernel in one call: granules, and lists whose neighbours are joined. All of them or none, and no bit lost. */

#include "fixture.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static struct fixture fixture, *f = &fixture;

static int map_cut(uint64_t iova, uint64_t memory, uint64_t count, uint64_t granule)
{
	struct vfd_mapping mapping = mapping_of(f, iova, memory, count);

	mapping.granule = granule * PAGE;
	return vfd_map(f->container, &mapping, &f->err);
}

static void check_count(uint64_t count)
{
	ck_assert_uint_eq(info_of(f).mappings, count);
	ck_assert_uint_eq(model_mapping_count(f->model, vfd_container_fd(f->container)), count);
}

static void fail_map(uint64_t nth, int error)
{
	model_fault(f->model,
		    (struct model_fault){
			    .call = MODEL_IOCTL, .request = VFIO_IOMMU_MAP_DMA, .nth = nth, .error = error });
}

static void fail_unmaps(uint64_t nth, uint64_t times)
{
	model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
						    .request = VFIO_IOMMU_UNMAP_DMA,
						    .nth = nth,
						    .times = times,
						    .error = ENOMEM });
}

/* ---- granules ---- */

START_TEST(cut_at_multiples)
{
	struct vfd_mapping found = { .struct_size = sizeof found };

	fixture_pieces(f, NULL, 0, 0, 0);
	OK(map_cut(100, 10, 200, 64)); /* 100..127, 128..191, 192..255, 256..299 */
	check_count(4);
	OK(vfd_mapping_find(f->container, VFD_FIND_IOVA, 130 * PAGE, &found, &f->err));
	ck_assert_uint_eq(found.iova, 128 * PAGE);
	ck_assert_uint_eq(found.size, 64 * PAGE);
	ck_assert_ptr_eq(found.memory, f->memory + 38 * PAGE);
	ck_assert_uint_eq(found.log_address, LOG_ADDRESS + 38 * PAGE);
	device_writes(f, 0, 120, 20); /* across the first border */
	device_writes(f, 0, 250, 10);
	REFUSED(VFD_ECUT, unmap_pages(f, 100, 30));
	OK(unmap_pages(f, 128, 128));
	check_count(2);
	OK(harvest(f, 0));
	check_precise(f);
	OK(map_cut(128, 500, 128, 128));
	OK(vfd_unmap(f->container, 100 * PAGE, 200 * PAGE, &f->err));
	check_count(0);
	fixture_end(f);
}
END_TEST

/* A region may end where a granule does. */
START_TEST(across_regions)
{
	struct vfd_mapping mapping = mapping_of(f, 64, 0, 128);
	struct vfd_region region = { .struct_size = sizeof region,
				     .address = 3 * LOG_ADDRESS,
				     .size = 64 * PAGE };

	fixture_begin(f, NULL);
	OK(vfd_region_remove(f->log, LOG_ADDRESS, 0, &f->err));
	for (int i = 0; i < 2; i++) {
		region.memory = f->memory + (uint64_t)i * 64 * PAGE;
		region.address -= LOG_ADDRESS / 2;
		OK(vfd_region_add(f->log, &region, &f->err));
	}
	mapping.memory = f->memory;
	REFUSED(VFD_ENOREGION, vfd_map_check(f->container, &mapping, NULL, &f->err));
	mapping.granule = 64 * PAGE;
	OK(vfd_map_check(f->container, &mapping, NULL, &f->err));
	OK(vfd_map(f->container, &mapping, &f->err));
	mapping.iova += 32 * PAGE + 256 * PAGE;
	REFUSED(VFD_ENOREGION, vfd_map_check(f->container, &mapping, NULL, &f->err));
	REFUSED(VFD_ENOREGION, vfd_map(f->container, &mapping, &f->err));
	ck_assert_uint_eq(info_of(f).mappings, 2);
	fixture_end(f);
}
END_TEST

START_TEST(bad_granules)
{
	struct vfd_mapping mapping;

	fixture_begin(f, NULL);
	REFUSED(VFD_EALIGN, map_cut(0, 0, 10, 3));
	mapping = mapping_of(f, 0, 0, 10);
	mapping.granule = PAGE / 2;
	REFUSED(VFD_EALIGN, vfd_map(f->container, &mapping, &f->err));
	mapping = mapping_of(f, 0, 0, 10); /* more than a container has room for, whatever its parameter */
	mapping.flags |= VFD_MAP_UNLOGGED;
	mapping.size = (UINT64_C(1) << 32) * PAGE;
	mapping.granule = PAGE;
	const int wanted =
		sizeof(void *) < 8 ? VFD_EWRAP : VFD_ELIMIT; /* by 32 bits there is no such memory */
	REFUSED(wanted, vfd_map(f->container, &mapping, &f->err));
	REFUSED(wanted, vfd_map_check(f->container, &mapping, NULL, &f->err));
	mapping = mapping_of(f, 1, 0, 10);
	mapping.granule = UINT64_C(1) << 63;
	OK(vfd_map(f->container, &mapping, &f->err));
	mapping.iova += 20 * PAGE;
	mapping.struct_size =
		offsetof(struct vfd_mapping, granule); /* of a program that is older than granules */
	mapping.granule = 3;
	OK(vfd_map(f->container, &mapping, &f->err));
	ck_assert_uint_eq(info_of(f).mappings, 2);
	fixture_end(f);
}
END_TEST

/* What the check says is what happens: entries, and locked memory. */
START_TEST(foretold)
{
	struct model_config config = one_physical;
	struct vfd_map_cost cost = { .struct_size = sizeof cost };
	struct vfd_mapping mapping;
	char message[VFD_ERROR_TEXT];

	config.dma_entry_limit = 5;
	config.locked_limit = 100 * PAGE;
	fixture_begin(f, &config);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	mapping = mapping_of(f, 4, 0, 48);
	mapping.granule = 8 * PAGE; /* 4..7, 8..15, ... 48..51 */
	REFUSED(-ENOSPC, vfd_map_check(f->container, &mapping, &cost, &f->err));
	ck_assert_uint_eq(cost.entries_needed, 7);
	ck_assert_uint_eq(cost.entries_available, 5);
	ck_assert_uint_eq(cost.locked_needed, 48 * PAGE);
	ck_assert(strstr(f->err.message, "mapping entries: 7 needed, 5 left"));
	ck_assert(strstr(f->err.message, "dma_entry_limit by 2 "));
	memcpy(message, f->err.message, sizeof message);
	REFUSED(-ENOSPC, vfd_map(f->container, &mapping, &f->err));
	ck_assert_str_eq(message, f->err.message);
	mapping.size = 104 * PAGE;
	mapping.granule = 32 * PAGE;
	REFUSED(-ENOMEM, vfd_map_check(f->container, &mapping, &cost, &f->err));
	ck_assert(strstr(f->err.message, "only 400 KiB are left: raise it by 16 KiB"));
	memcpy(message, f->err.message, sizeof message);
	REFUSED(-ENOMEM, vfd_map(f->container, &mapping, &f->err));
	ck_assert_str_eq(message, f->err.message);
	check_count(0);
	mapping.size = 100 * PAGE;
	OK(vfd_map_check(f->container, &mapping, &cost, &f->err));
	ck_assert_uint_eq(cost.entries_needed, 4);
	OK(vfd_map(f->container, &mapping, &f->err));
	check_count(4);
	fixture_end(f);
}
END_TEST

/* ---- half-way ---- */

/* The device writes to what is there already, at every call. */
static void write_to_the_first(struct model *model, const struct model_trace *call, uint64_t number,
			       bool after, void *arg)
{
	(void)call;
	(void)number;
	(void)arg;
	if (!after && model_mapping_count(model, vfd_container_fd(f->container)))
		device_writes(f, 0, 100, 3);
}

START_TEST(each_failure_at_each_piece)
{
	const int errnos[] = { EFAULT, EINVAL, EEXIST, ENOSPC, ENOMEM };

	for (uint64_t nth = 1; nth <= 4; nth++)
		for (int i = 0; i < 5; i++) {
			fixture_pieces(f, NULL, 0, 0, 0);
			model_on_call(f->model, write_to_the_first, NULL);
			fail_map(nth, errnos[i]);
			REFUSED(-errnos[i], map_cut(100, 10, 200, 64));
			model_on_call(f->model, NULL, NULL);
			check_count(0);
			check_all_logged(f);
			check_exact(f);
			ck_assert_uint_eq(reported(f), nth > 1 ? 3 : 0);
			OK(map_cut(100, 10, 200, 64)); /* nothing stands in the way */
			check_count(4);
			fixture_end(f);
		}
}
END_TEST

/* A physical device may have written all of it: nobody knows. */
START_TEST(half_way_behind_an_iommu)
{
	fixture_begin(f, &one_physical);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	fail_map(4, EFAULT);
	REFUSED(-EFAULT, map_cut(100, 10, 200, 64));
	check_count(0);
	/* the three that were there, and the fourth, which may have been for a moment */
	ck_assert(is_logged(f, 10) && is_logged(f, 209));
	ck_assert(!is_logged(f, 9) && !is_logged(f, 210));
	fixture_end(f);
}
END_TEST

/* The kernel does not take it back either: it says so, and it is there to be unmapped. */
START_TEST(left_over)
{
	fixture_pieces(f, NULL, 0, 0, 0);
	model_on_call(f->model, write_to_the_first, NULL);
	fail_map(4, EFAULT);
	fail_unmaps(2, 4); /* the third piece goes; the second and the first do not, each asked twice */
	REFUSED(VFD_EPARTIAL, map_cut(100, 10, 200, 64));
	model_on_call(f->model, NULL, NULL);
	ck_assert_uint_eq(f->err.first, 100 * PAGE);
	ck_assert_uint_eq(f->err.last, 192 * PAGE - 1);
	ck_assert(strstr(f->err.message, "0x64000..0xbffff holds mappings"));
	ck_assert(strstr(f->err.message, "cannot be pinned"));
	check_count(2);
	check_law(f);
	device_writes(f, 0, 150, 1);
	OK(vfd_unmap(f->container, f->err.first, f->err.last - f->err.first + 1, &f->err));
	check_count(0);
	check_all_logged(f);
	fail_map(2, EFAULT);
	fail_unmaps(1, 1); /* once: it is asked again */
	REFUSED(-EFAULT, map_cut(100, 10, 200, 64));
	check_count(0);
	fixture_end(f);
}
END_TEST

#define FAR (UINT64_C(1) << 32) /* pages: in no window of a harvest with what lies at 0 */

/* The group is taken away between the kernel's yes and the table's: who finds out knows nothing of the new mapping yet. */
static void lose_the_group(struct model *model, const struct model_trace *call, uint64_t number, bool after,
			   void *arg)
{
	struct vfd_error err;

	(void)number;
	(void)arg;
	if (!after || call->request != VFIO_IOMMU_MAP_DMA || call->call != MODEL_IOCTL)
		return;
	model_on_call(model, NULL, NULL);
	device_writes(f, 0, FAR, 3);
	model_unplug(model, 7);
	model->sys.close(&model->sys, f->device->fd); /* its last close: the group goes */
	ck_assert_int_eq(vfd_track_harvest(f->container, 0, NULL, &err), VFD_ELOST);
}

START_TEST(lost_in_between)
{
	fixture_pieces(f, NULL, 1, 8, 8);
	model_on_call(f->model, lose_the_group, NULL);
	OK(map_pages(f, FAR, 100, 8, RW));
	ck_assert(is_logged(f, 100) && is_logged(f, 107));
	check_all_logged(f);
	f->device->fd = -1;
	fixture_end(f);
}
END_TEST

/* ---- lists ---- */

static int map_list(struct vfd_mapping *list, size_t count, uint64_t *entries)
{
	*entries = 12345;
	return vfd_map_list(f->container, list, count, entries, &f->err);
}

START_TEST(neighbours_are_joined)
{
	struct vfd_mapping list[8];
	uint64_t entries;

	fixture_pieces(f, NULL, 0, 0, 0);
	for (unsigned i = 0; i < 8; i++) /* in no order: 0, 5, 2, 7, 4, 1, 6, 3 */
		list[i] = mapping_of(f, 100 + i * 5 % 8 * 10, 50 + i * 5 % 8 * 10, 10);
	OK(map_list(list, 8, &entries));
	ck_assert_uint_eq(entries, 1);
	check_count(1);
	device_writes(f, 0, 105, 70);
	REFUSED(VFD_ECUT, unmap_pages(f, 100, 10));
	OK(unmap_pages(f, 100, 80));
	check_precise(f);
	for (unsigned i = 0; i < 8; i++)
		list[i].granule = 32 * PAGE; /* 100..127, 128..159, 160..179 */
	OK(map_list(list, 8, &entries));
	ck_assert_uint_eq(entries, 3);
	check_count(3);
	OK(unmap_pages(f, 128, 32));
	OK(vfd_unmap_all(f->container, &f->err));
	OK(map_list(list, 1, &entries));
	ck_assert_uint_eq(entries, 1);
	fixture_end(f);
}
END_TEST

/* Each of them in turn does not follow the other. */
START_TEST(not_neighbours)
{
	const uint64_t expected[] = { 1, 2, 2, 2, 3, 12345 };
	uint64_t entries;

	fixture_begin(f, NULL);
	for (int i = 0; i < 6; i++) {
		struct vfd_mapping list[2] = { mapping_of(f, 0, 0, 10), mapping_of(f, 10, 10, 10) };
		list[0].flags |= VFD_MAP_LOG_ADDRESS;
		list[0].log_address = LOG_ADDRESS;
		list[1].flags |= VFD_MAP_LOG_ADDRESS;
		list[1].log_address = LOG_ADDRESS + 10 * PAGE;
		switch (i) {
		case 1:
			list[1].iova += PAGE;
			break;
		case 2:
			list[1].memory = f->memory + 20 * PAGE;
			list[1].log_address += 10 * PAGE;
			break;
		case 3:
			list[1].flags &= ~(uint32_t)VFD_MAP_WRITE;
			break;
		case 4:
			list[1].granule = 16 * PAGE;
			break;
		case 5:
			list[1].log_address += PAGE;
			break;
		}
		if (i == 5)
			REFUSED(VFD_EALIAS, map_list(list, 2, &entries));
		else
			OK(map_list(list, 2, &entries));
		ck_assert_uint_eq(entries, expected[i]);
		OK(vfd_unmap_all(f->container, &f->err));
	}
	fixture_end(f);
}
END_TEST

/* The kernel's most pages; no process of 32 bits has so many. */
static void most_pages(void)
{
	const uint64_t half = UINT64_C(1) << 30; /* pages; a mapping has at most 2^31 - 1 */
	struct vfd_mapping list[2] = { { .struct_size = sizeof list[0], .flags = RW | VFD_MAP_UNLOGGED } };
	uint64_t entries;

	fixture_begin(f, NULL);
	list[0].size = half * PAGE;
	list[0].memory = f->memory; /* without a group nobody looks at it */
	list[1] = list[0];
	list[1].iova = half * PAGE;
	list[1].memory = f->memory + (ptrdiff_t)list[1].iova;
	OK(map_list(list, 2, &entries));
	ck_assert_uint_eq(entries, 2);
	OK(vfd_unmap_all(f->container, &f->err));
	list[1].size -= PAGE;
	OK(map_list(list, 2, &entries));
	ck_assert_uint_eq(entries, 1);
	fixture_end(f);
}

/* Those, the IOMMU's windows, the log's regions: a list goes up to them. */
START_TEST(as_far_as_the_limits_allow)
{
	uint64_t entries;

	if (sizeof(void *) > 4)
		most_pages();
	struct model_config config = one_physical;
	config.groups[0].ranges[0].last = 512 * PAGE - 1;
	config.groups[0].ranges[1].first = 512 * PAGE;
	config.groups[0].ranges[1].last = 2048 * PAGE - 1;
	fixture_begin(f, &config);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	struct vfd_mapping windows[2] = { mapping_of(f, 500, 0, 12), mapping_of(f, 512, 12, 12) };
	OK(map_list(windows, 2, &entries));
	ck_assert_uint_eq(entries, 2);
	check_count(2);
	fixture_end(f);
}
END_TEST

START_TEST(all_or_none)
{
	struct vfd_mapping list[3] = { { 0 } };
	uint64_t entries;

	fixture_pieces(f, NULL, 0, 0, 0);
	list[0] = mapping_of(f, 100, 0, 10);
	list[1] = mapping_of(f, 200, 100, 10);
	list[2] = mapping_of(f, 300, 200, 10);
	model_on_call(f->model, write_to_the_first, NULL);
	fail_map(3, EFAULT);
	REFUSED(-EFAULT, map_list(list, 3, &entries));
	model_on_call(f->model, NULL, NULL);
	ck_assert_uint_eq(entries, 12345);
	check_count(0);
	check_all_logged(f);
	ck_assert_uint_eq(reported(f), 3);
	OK(map_pages(f, 205, 500, 1, RW));
	REFUSED(VFD_EOVERLAP, map_list(list, 3, &entries));
	ck_assert_uint_eq(f->err.first, 205 * PAGE);
	OK(unmap_pages(f, 205, 1));
	list[2] = mapping_of(f, 105, 200, 10);
	REFUSED(VFD_EOVERLAP, map_list(list, 3, &entries));
	ck_assert(strstr(f->err.message, "of the list meets"));
	list[2] = mapping_of(f, 300, PAGES, 10);
	REFUSED(VFD_ENOREGION, map_list(list, 3, &entries));
	list[2] = mapping_of(f, 300, 200, 0);
	REFUSED(VFD_EINVALID, map_list(list, 3, &entries));
	list[2].struct_size = 0;
	REFUSED(VFD_EINVALID, map_list(list, 3, &entries));
	REFUSED(VFD_EINVALID, map_list(list, 0, &entries));
	REFUSED(VFD_EINVALID, map_list(NULL, 3, &entries));
	check_count(0);
	OK(vfd_map_list(f->container, list, 2, NULL, &f->err));
	check_count(2);
	fixture_end(f);
}
END_TEST

/* A program that is older than granules has shorter structs. */
START_TEST(shorter_structs)
{
	const uint32_t size = offsetof(struct vfd_mapping, granule);
	uint64_t entries, room[2 * sizeof(struct vfd_mapping) / 8];

	fixture_begin(f, NULL);
	for (unsigned i = 0; i < 2; i++) {
		struct vfd_mapping mapping = mapping_of(f, i * 10, i * 10, 10);
		mapping.struct_size = size;
		memcpy((char *)room + i * size, &mapping, size);
	}
	OK(map_list((struct vfd_mapping *)room, 2, &entries));
	ck_assert_uint_eq(entries, 1);
	ck_assert_uint_eq(info_of(f).mapped_bytes, 20 * PAGE);
	fixture_end(f);
}
END_TEST

/* ---- why memory cannot be pinned ---- */

START_TEST(what_is_wrong_with_memory)
{
	enum { LARGE = 1 << 20 };
	const char *const texts[] = { "is not mapped in this process", "may not be written by this process" };

	for (int i = 0; i < 2; i++) {
		void *above = mmap(NULL, LARGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		fixture_begin(f, &one_physical);
		OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
		ck_assert(!munmap(
			above, LARGE)); /* whoever allocates takes the highest hole: musl even for little */
		if (i)
			ck_assert(!mprotect(f->memory + 512 * PAGE, PAGE, PROT_READ));
		else
			ck_assert(!munmap(f->memory + 512 * PAGE, PAGE));
		fail_map(1, EFAULT);
		REFUSED(-EFAULT, map_pages(f, 0, 0, PAGES, RW));
		ck_assert_msg(strstr(f->err.message, texts[i]), "%s", f->err.message);
		char address[32];
		snprintf(address, sizeof address, "%#llx",
			 (unsigned long long)(uintptr_t)(f->memory + 512 * PAGE));
		ck_assert_msg(strstr(f->err.message, address), "%s", f->err.message);
		fail_map(1, EFAULT);
		REFUSED(-EFAULT, map_pages(f, 0, 0, 512, RW)); /* nothing wrong in that half */
		ck_assert(strstr(f->err.message, "cannot be pinned"));
		fixture_end(f);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pieces");

	add_case(suite, "cut at multiples", cut_at_multiples);
	add_case(suite, "across regions", across_regions);
	add_case(suite, "bad granules", bad_granules);
	add_case(suite, "foretold", foretold);
	add_case(suite, "each failure at each piece", each_failure_at_each_piece);
	add_case(suite, "half-way behind an IOMMU", half_way_behind_an_iommu);
	add_case(suite, "left over", left_over);
	add_case(suite, "lost in between", lost_in_between);
	add_case(suite, "neighbours are joined", neighbours_are_joined);
	add_case(suite, "not neighbours", not_neighbours);
	add_case(suite, "as far as the limits allow", as_far_as_the_limits_allow);
	add_case(suite, "all or none", all_or_none);
	add_case(suite, "shorter structs", shorter_structs);
	add_case(suite, "what is wrong with memory", what_is_wrong_with_memory);
	return run_suite(suite);
}
