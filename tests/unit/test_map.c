/* SPDX-License-Identifier: MIT */

/* Mappings: reserve, ioctl, publish; on every failure nothing is mapped, on either side. */

#include "fixture.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/vfdtest.h"
#include "model/sys_model.h"

static struct fixture fixture, *f = &fixture;

#define REFUSED_OR_OK(wanted, call)                                                                          \
	do {                                                                                                 \
		int wanted_rc = (wanted), rc = (call);                                                       \
		ck_assert_msg(rc == wanted_rc, "%s: %s, not %s", #call, vfd_strcode(rc),                     \
			      vfd_strcode(wanted_rc));                                                       \
	} while (0)

static void attach(const struct model_config *config)
{
	fixture_begin(f, config);
	OK(vfd_group_attach(f->container, config == &one_physical ? 20 : 7, &f->group, &f->err));
}

/* Table and kernel have the same number. */
static void check_count(uint64_t count)
{
	ck_assert_uint_eq(info_of(f).mappings, count);
	ck_assert_uint_eq(model_mapping_count(f->model, vfd_container_fd(f->container)), count);
}

START_TEST(every_errno_rolls_back)
{
	const int errnos[] = { EFAULT, EINVAL, EEXIST, ENOSPC, ENOMEM };
	char messages[5][VFD_ERROR_TEXT];

	attach(NULL);
	OK(map_pages(f, 0, 0, 16, RW));
	uint64_t bytes = info_of(f).mapped_bytes;
	for (int i = 0; i < 5; i++) {
		model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
							    .request = VFIO_IOMMU_MAP_DMA,
							    .error = errnos[i] });
		REFUSED(-errnos[i], map_pages(f, 100, 100, 16, RW));
		ck_assert_uint_eq(f->err.first, 100 * PAGE);
		memcpy(messages[i], f->err.message, sizeof messages[i]);
		for (int j = 0; j < i; j++)
			ck_assert_str_ne(messages[i], messages[j]);
		check_count(1);
		ck_assert_uint_eq(info_of(f).mapped_bytes, bytes);
	}
	OK(map_pages(f, 100, 100, 16, RW)); /* nothing stands in the way */
	check_count(2);
	OK(vfd_container_close(&f->container, 0, &f->err));
	OK(vfd_region_remove(f->log, LOG_ADDRESS, 0, &f->err)); /* no hold is left on it */
	fixture_end(f);
}
END_TEST

START_TEST(made_behind_the_back)
{
	attach(NULL);
	ck_assert_int_eq(raw_map(f, 50, 50, 16), 0);
	REFUSED(-EEXIST, map_pages(f, 60, 60, 16, RW));
	ck_assert_ptr_nonnull(strstr(f->err.message, "not made through this library"));
	REFUSED(VFD_ENOTMAPPED, unmap_pages(f, 50, 16)); /* not ours to unmap */
	ck_assert_uint_eq(model_mapping_count(f->model, vfd_container_fd(f->container)), 1);
	fixture_end(f);
}
END_TEST

START_TEST(entry_limit)
{
	struct model_config config = {
		.group_count = 1,
		.groups = { { .number = 7, .kind = MODEL_EMULATED, .devices = { { .name = NAME(0) } } } },
		.dma_entry_limit = 3,
	};

	attach(&config);
	ck_assert_uint_eq(info_of(f).entries_available, 3);
	for (unsigned i = 0; i < 3; i++)
		OK(map_pages(f, i * 10, i * 10, 5, RW));
	ck_assert_uint_eq(info_of(f).entries_available, 0);
	REFUSED(-ENOSPC, map_pages(f, 100, 100, 5, RW));
	ck_assert_ptr_nonnull(strstr(f->err.message, "dma_entry_limit"));
	check_count(3);
	OK(unmap_pages(f, 0, 5));
	OK(map_pages(f, 100, 100, 5, RW));
	fixture_end(f);
}
END_TEST

START_TEST(locked_memory)
{
	struct model_config config = one_physical;

	config.locked_limit = 64 * PAGE;
	fixture_begin(f, &config);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	REFUSED(-ENOMEM, map_pages(f, 0, 0, 65, RW));
	check_count(0);
	OK(map_pages(f, 0, 0, 64, RW));
	fixture_end(f);
}
END_TEST

/* Memory that cannot be pinned to its end is in the IOMMU up to there, until the kernel takes it out again. */
static int map_half_way(const struct sys *sys, int fd, unsigned long request, void *arg)
{
	const struct vfio_iommu_type1_dma_map *map = arg;
	int rc = sys_model.ioctl(sys, fd, request, arg);

	if (request != VFIO_IOMMU_MAP_DMA || rc)
		return rc;
	struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof unmap,
						    .iova = map->iova,
						    .size = map->size };
	ck_assert_int_eq(model_dma_write(f->model, PCI_NAME, map->iova, PAGE, 1), 0);
	ck_assert_int_eq(sys_model.ioctl(sys, fd, VFIO_IOMMU_UNMAP_DMA, &unmap), 0);
	return -ENOMEM;
}

START_TEST(there_for_a_moment)
{
	attach(&one_physical);
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(vfd_device_resume(f->device, &f->err));
	f->model->sys.ioctl = map_half_way;
	REFUSED(-ENOMEM, map_pages(f, 0, 8, 4, RW));
	f->model->sys.ioctl = sys_model.ioctl;
	check_device_logged(f, PCI_NAME);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	fixture_end(f);
}
END_TEST

START_TEST(reserved_ranges)
{
	const uint64_t hole = 0xfee00000 / PAGE;

	attach(&one_physical);
	ck_assert_uint_eq(info_of(f).range_count, 2);
	uint64_t calls = model_counts(f->model).calls;
	REFUSED(VFD_ERESERVED, map_pages(f, hole, 0, 1, RW));
	REFUSED(VFD_ERESERVED, map_pages(f, hole - 1, 0, 2, RW));
	ck_assert_ptr_nonnull(strstr(f->err.message, "0xfedfffff"));
	REFUSED(VFD_ERESERVED, map_pages(f, UINT64_C(1) << 36, 0, 1, RW));
	ck_assert_uint_eq(model_counts(f->model).calls, calls);
	OK(map_pages(f, hole - 2, 0, 2, RW));
	OK(map_pages(f, hole + 256, 2, 2, RW));
	check_count(2);
	fixture_end(f);
}
END_TEST

/* Remembered without a group, and checked when they come to life. */
START_TEST(replay_finds_reserved)
{
	fixture_begin(f, &one_physical);
	OK(map_pages(f, 0, 0, 8, RW));
	OK(map_pages(f, 0xfee00000 / PAGE, 8, 8, RW));
	REFUSED(VFD_ERESERVED, vfd_group_attach(f->container, 20, &f->group, &f->err));
	ck_assert_uint_eq(info_of(f).attached, 0);
	ck_assert_uint_eq(model_counts(f->model).descriptors, 1);
	OK(unmap_pages(f, 0xfee00000 / PAGE, 8));
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	check_count(1);
	fixture_end(f);
}
END_TEST

/* A physical group cannot join when a mapping lies where it cannot reach: all stays as it was. */
START_TEST(second_group_cannot_reach)
{
	fixture_track(f, &mixed);
	OK(map_pages(f, 0xfee00000 / PAGE, 0, 8, RW));
	device_writes(f, 0, 5, 1);
	REFUSED(-EINVAL, vfd_group_attach(f->container, 20, &f->group2, &f->err));
	ck_assert_uint_eq(info_of(f).attached, 1);
	OK(harvest(f, 0));
	check_precise(f);
	fixture_end(f);
}
END_TEST

START_TEST(log_addresses)
{
	struct vfd_mapping mapping = {
		.struct_size = sizeof mapping,
		.flags = RW | VFD_MAP_LOG_ADDRESS,
		.iova = 700 * PAGE,
		.size = PAGE,
	};

	attach(NULL);
	mapping.memory = f->memory + 5 * PAGE;
	mapping.log_address = LOG_ADDRESS + 6 * PAGE;
	REFUSED(VFD_EALIAS, vfd_map(f->container, &mapping, &f->err));
	ck_assert_ptr_nonnull(strstr(f->err.message, "0x40005000"));
	check_count(0);
	mapping.log_address = LOG_ADDRESS + 5 * PAGE;
	OK(vfd_map(f->container, &mapping, &f->err));
	check_count(1);
	fixture_end(f);
}
END_TEST

/* Memory that nobody migrates: mapped, tracked by the kernel, and not in the log. */
START_TEST(unlogged)
{
	static _Alignas(4096) char queue[4096];
	struct vfd_mapping mapping = {
		.struct_size = sizeof mapping,
		.flags = RW | VFD_MAP_UNLOGGED,
		.iova = 5000 * PAGE,
		.size = PAGE,
		.memory = queue,
	};

	fixture_track(f, NULL);
	mapping.flags = RW;
	REFUSED(VFD_ENOREGION, vfd_map(f->container, &mapping, &f->err)); /* not by mistake */
	mapping.flags = RW | VFD_MAP_UNLOGGED;
	OK(vfd_map(f->container, &mapping, &f->err));
	device_writes(f, 0, 5000, 1);
	device_writes(f, 0, 5, 1);
	OK(harvest(f, 0));
	ck_assert_uint_eq(reported(f), 1);
	device_writes(f, 0, 5000, 1);
	OK(unmap_pages(f, 5000, 1));
	ck_assert_uint_eq(reported(f), 1);
	fixture_end(f);
}
END_TEST

/* The kernel marks a pin for reading as dirty; a mapping that cannot be written is not. */
START_TEST(read_only)
{
	struct vfdtest_range pin = { .iova = 2048 * PAGE, .size = PAGE };

	fixture_pieces(f, NULL, 1, 64, 64);
	OK(map_pages(f, 2048, 128, 64, VFD_MAP_READ));
	ck_assert_int_eq(model_vfdtest(f->model, VFDTEST_PIN, &pin), 0);
	device_writes(f, 0, 1, 1);
	OK(harvest(f, 0));
	ck_assert_uint_eq(reported(f), 1);
	OK(unmap_pages(f, 2048, 64));
	ck_assert_uint_eq(reported(f), 1);
	check_precise(f);
	fixture_end(f);
}
END_TEST

/* 3000 random maps and unmaps against a byte per page. */
START_TEST(random_mappings)
{
	static uint16_t owner[PAGES]; /* by IOVA page: 1 + first page of its mapping */
	uint64_t count = 0;

	memset(owner, 0, sizeof owner);
	attach(NULL);
	srandom(1);
	for (int i = 0; i < 3000; i++) {
		uint64_t first = (uint64_t)random() % PAGES, size = 1 + (uint64_t)random() % 20;
		if (first + size > PAGES)
			size = PAGES - first;
		bool any = false, cut = false;
		for (uint64_t p = first; p < first + size; p++)
			any |= owner[p] != 0;
		cut = (owner[first] && owner[first] != first + 1) ||
		      (first + size < PAGES && owner[first + size] &&
		       owner[first + size] != first + size + 1);
		if (random() % 2) {
			REFUSED_OR_OK(any ? VFD_EOVERLAP : 0, map_pages(f, first, first, size, RW));
			for (uint64_t p = first; !any && p < first + size; p++)
				owner[p] = (uint16_t)(first + 1);
			count += !any;
		} else {
			REFUSED_OR_OK(cut ? VFD_ECUT : any ? 0 : VFD_ENOTMAPPED, unmap_pages(f, first, size));
			for (uint64_t p = first; !cut && p < first + size; p++) {
				count -= owner[p] == p + 1;
				owner[p] = 0;
			}
		}
		if (i % 100 == 0)
			check_count(count);
	}
	check_count(count);
	OK(vfd_unmap_all(f->container, &f->err));
	check_count(0);
	fixture_end(f);
}
END_TEST

/* What a harvest costs must not be quadratic: 20 000 mappings, and each is walked a handful of times. */
START_TEST(many_mappings)
{
	enum { MANY = 20000 };
	struct vfd_harvest result = { .struct_size = sizeof result };

	fixture_pieces(f, NULL, 0, 0, 0);
	fixture_club(f);
	for (uint64_t i = 0; i < MANY; i++)
		OK(map_pages(f, i * 64, i % PAGES, 1, RW));
	uint64_t walked = model_counts(f->model).walked;
	device_writes(f, 0, 64, 1);
	OK(vfd_track_harvest(f->container, 0, &result, &f->err));
	ck_assert_uint_le(result.ioctls, 100);
	ck_assert_uint_le(model_counts(f->model).walked - walked, 100 * MANY);
	ck_assert_uint_eq(result.pages_new, 1);
	OK(vfd_unmap_all(f->container, &f->err));
	fixture_end(f);
}
END_TEST

/* Unmap so many pages; returns how often memory for bits was populated. */
static size_t populated_by_unmap(uint64_t page, uint64_t count)
{
	size_t calls, times = 0;

	OK(map_pages(f, page, page, count, RW));
	device_writes(f, 0, page, 1);
	model_trace_start(f->model);
	OK(unmap_pages(f, page, count));
	const struct model_trace *trace = model_trace(f->model, &calls);
	for (size_t i = 0; i < calls; i++)
		times += trace[i].call == MODEL_POPULATE;
	ck_assert(is_logged(f, page));
	return times;
}

/* Pages that come and go all the time: what their bits are read into is there already. */
START_TEST(populated_once)
{
	attach(NULL);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
	ck_assert_uint_eq(populated_by_unmap(0, 1), 1);
	ck_assert_uint_eq(populated_by_unmap(3, 1), 0);
	ck_assert_uint_eq(populated_by_unmap(8, 200), 0); /* the same page of bits */
	ck_assert_uint_eq(populated_by_unmap(300, 200), 0);
	check_precise(f);
	fixture_end(f);
}
END_TEST

/* The kernel says EINVAL, and then not even what it allows: its word is passed on. */
START_TEST(nobody_says_why)
{
	attach(NULL);
	model_fault(f->model, (struct model_fault){
				      .call = MODEL_IOCTL, .request = VFIO_IOMMU_MAP_DMA, .error = EINVAL });
	model_fault(f->model, (struct model_fault){
				      .call = MODEL_IOCTL, .request = VFIO_IOMMU_GET_INFO, .error = EFAULT });
	REFUSED(-EINVAL, map_pages(f, 0, 0, 8, RW));
	ck_assert_uint_eq(model_fault_fired(f->model), 2);
	check_count(0);
	OK(map_pages(f, 0, 0, 8, RW));
	fixture_end(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("map");

	add_case(suite, "every errno rolls back", every_errno_rolls_back);
	add_case(suite, "made behind the library's back", made_behind_the_back);
	add_case(suite, "entry limit", entry_limit);
	add_case(suite, "locked memory", locked_memory);
	add_case(suite, "there for a moment", there_for_a_moment);
	add_case(suite, "reserved ranges", reserved_ranges);
	add_case(suite, "reserved ranges at the replay", replay_finds_reserved);
	add_case(suite, "a second group cannot reach", second_group_cannot_reach);
	add_case(suite, "log addresses", log_addresses);
	add_case(suite, "unlogged", unlogged);
	add_case(suite, "read-only", read_only);
	add_case(suite, "nobody says why", nobody_says_why);
	add_case(suite, "populated once", populated_once);
	add_case(suite, "random mappings", random_mappings);
	add_case(suite, "many mappings", many_mappings);
	return run_suite(suite);
}
