/* SPDX-License-Identifier: MIT */

/* Answers that no kernel gives: of a container or a device that somebody else made, and handed over. About its own pages it can say what it
 * likes; but nothing is written where it must not be, nothing goes on for ever, and what an honest device has written is not lost by it. */

#include "fixture.h"

#include <endian.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/mman.h>

#include "uapi.h"
#include "uapi_iommufd.h"

static struct fixture fixture, *const f = &fixture;
static struct model_log how;

static const struct model_config logging = {
	.group_count = 1,
	.groups = { { .number = 20,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = PCI_NAME, .pci = true, .log = &how } } } },
};

/* ---- a page size of one's choice ---- */

static int (*real_ioctl)(const struct sys *sys, int fd, unsigned long request, void *arg);
static uint64_t said; /* 0: the truth */

static void forge_info(struct vfio_iommu_type1_info *info)
{
	struct uapi_cap_migration *migration;
	size_t available;
	const void *cap = caps_find(info, info->argsz, info->cap_offset, VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION,
				    sizeof *migration, &available);

	info->iova_pgsizes = said;
	if (!cap)
		return;
	migration = (void *)((char *)info + ((const char *)cap - (const char *)info));
	migration->pgsize_bitmap = said;
}

static int forging_ioctl(const struct sys *sys, int fd, unsigned long request, void *arg)
{
	int rc = real_ioctl(sys, fd, request, arg);

	if (!rc && said && request == VFIO_IOMMU_GET_INFO)
		forge_info(arg);
	if (!rc && said && request == UAPI_IOAS_IOVA_RANGES)
		((struct uapi_ioas_iova_ranges *)arg)->out_iova_alignment = said;
	return rc;
}

static void forge(uint64_t page_size)
{
	if (f->model->sys.ioctl != forging_ioctl)
		real_ioctl = f->model->sys.ioctl;
	f->model->sys.ioctl = forging_ioctl;
	said = page_size;
}

static void attach(int number)
{
	OK(vfd_group_attach(f->container, number, &f->group, &f->err));
}

/* Larger than what is mapped: no bit is a mapping's own. */
START_TEST(pages_larger_than_mappings)
{
	fixture_begin(f, NULL);
	attach(7);
	OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
	OK(map_pages(f, 3, 3, 1, RW));
	OK(map_pages(f, 4, 9, 1, RW));
	for (unsigned shift = 13; shift <= 30; shift++) {
		forge(UINT64_C(1) << shift);
		REFUSED(VFD_EALIGN, vfd_track_start(f->container, NULL, NULL, &f->err));
	}
	forge(0);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	device_writes(f, 0, 4, 1);
	OK(harvest(f, 0));
	check_precise(f);
	OK(unmap_pages(f, 3, 2));
	fixture_end(f);
}
END_TEST

/* The record runs, and goes on by the pages that it has. */
START_TEST(larger_with_a_group)
{
	fixture_begin(f, &two_emulated);
	attach(7);
	OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
	OK(map_pages(f, 3, 3, 1, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	device_writes(f, 0, 3, 1);
	forge(UINT64_C(1) << 16);
	REFUSED(VFD_EALIGN, vfd_group_attach(f->container, 8, &f->group2, &f->err));
	forge(0);
	OK(harvest(f, 0));
	check_precise(f);
	ck_assert(is_logged(f, 3));
	OK(vfd_group_attach(f->container, 8, &f->group2, &f->err));
	fixture_end(f);
}
END_TEST

/* So small that the bits of one mapping cannot be counted */
START_TEST(more_bits_than_can_be)
{
	struct vfd_mapping huge = { .struct_size = sizeof huge,
				    .flags = RW | VFD_MAP_UNLOGGED,
				    .iova = UINT64_C(1) << 32,
				    .size = UINT64_C(1) << 32 };

	if (sizeof(void *) < 8)
		return;
	huge.memory =
		mmap(NULL, (size_t)huge.size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ck_assert(huge.memory != MAP_FAILED);
	fixture_begin(f, NULL);
	attach(7);
	OK(vfd_map(f->container, &huge, &f->err));
	forge(1);
	REFUSED(VFD_EALIGN, vfd_track_start(f->container, NULL, NULL, &f->err));
	forge(0);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(harvest(f, 0));
	OK(vfd_unmap(f->container, huge.iova, huge.size, &f->err));
	munmap(huge.memory, (size_t)huge.size);
	fixture_end(f);
}
END_TEST

/* Nothing was mapped by it yet. */
START_TEST(pages_of_no_iommu)
{
	fixture_begin(f, NULL);
	for (unsigned shift = 31; shift < 64; shift++) {
		forge(UINT64_C(1) << shift);
		REFUSED(-EPROTO, vfd_group_attach(f->container, 7, &f->group, &f->err));
	}
	forge(0);
	attach(7);
	fixture_end(f);
}
END_TEST

START_TEST(pages_of_no_iommu_native)
{
	static const struct model_config native = {
		.iommufd = true,
		.group_count = 1,
		.groups = { { .number = 20,
			      .kind = MODEL_PHYSICAL,
			      .dirty_bits = true,
			      .devices = { { .name = PCI_NAME, .pci = true } } } },
	};
	static const uint64_t sizes[] = { 3 * PAGE, PAGE + 1, UINT64_C(1) << 31, UINT64_C(1) << 63,
					  UINT64_MAX };

	fixture_begin_on(f, &native, 0, VFD_BACKEND_IOMMUFD);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		forge(sizes[i]);
		REFUSED(-EPROTO, vfd_group_attach(f->container, 20, &f->group, &f->err));
	}
	forge(0);
	attach(20);
	fixture_end(f);
}
END_TEST

/* ---- an answer that has never enough room ---- */

static unsigned asked;

static int greedy_ioctl(const struct sys *sys, int fd, unsigned long request, void *arg)
{
	int rc = real_ioctl(sys, fd, request, arg);

	if (request == VFIO_IOMMU_GET_INFO || request == VFIO_DEVICE_GET_REGION_INFO) {
		++*(uint32_t *)arg; /* argsz */
		asked++;
	}
	return rc;
}

START_TEST(a_byte_more)
{
	struct vfd_container_info info = { .struct_size = sizeof info };
	struct vfd_device_region region = { .struct_size = sizeof region };

	fixture_begin(f, NULL);
	attach(7);
	OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
	asked = 0;
	real_ioctl = f->model->sys.ioctl;
	f->model->sys.ioctl = greedy_ioctl;
	REFUSED(-E2BIG, vfd_container_info(f->container, &info, &f->err));
	REFUSED(-E2BIG, vfd_device_region_info(f->device, 0, &region, &f->err));
	f->model->sys.ioctl = real_ioctl;
	ck_assert_uint_lt(asked, 64);
	fixture_end(f);
}
END_TEST

/* ---- a device that keeps its log, behind it ---- */

static void open_logging(void)
{
	uint16_t command = htole16(PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);

	fixture_begin(f, &logging);
	attach(20);
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	OK(vfd_device_write(f->device, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2, &f->err));
}

/* What the device wrote stands in its log, and would be read by a bit that is no mapping's. */
START_TEST(an_honest_log)
{
	how = (struct model_log){ 0 };
	open_logging();
	OK(map_pages(f, 3, 3, 1, RW));
	forge(UINT64_C(1) << 16);
	int rc = vfd_track_start(f->container, NULL, NULL, &f->err);
	if (rc)
		forge(0);
	if (rc)
		OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_int_eq(model_dma_write(f->model, PCI_NAME, 3 * PAGE, 8, 1), 0);
	OK(harvest(f, 0));
	check_device_law(f, PCI_NAME);
	REFUSED(VFD_EALIGN, rc);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	check_device_logged(f, PCI_NAME);
	fixture_end(f);
}
END_TEST

static int (*real_scratch)(const struct sys *sys, size_t size, void **memory);
static size_t largest_scratch;

static int watched_scratch(const struct sys *sys, size_t size, void **memory)
{
	largest_scratch = size > largest_scratch ? size : largest_scratch;
	return real_scratch(sys, size, memory);
}

/* It can only be read in units of 64 of its pages, and all of the bitmap has to be there: of what it chose, and not in vain. */
START_TEST(a_log_of_huge_pages)
{
	how = (struct model_log){ .page_min = UINT64_C(1) << 34 };
	open_logging();
	OK(map_pages(f, 0, 0, 64, RW));
	real_scratch = f->model->sys.map_scratch;
	f->model->sys.map_scratch = watched_scratch;
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(plan_of(f).entries[0].source, VFD_SOURCE_DEFERRED);
	ck_assert_uint_eq(model_log_page_size(f->model, PCI_NAME), 0);
	ck_assert_int_eq(model_dma_write(f->model, PCI_NAME, 3 * PAGE, 8, 1), 0);
	OK(harvest(f, 0));
	check_device_law(f, PCI_NAME);
	ck_assert_uint_lt(largest_scratch, UINT64_C(16) << 20);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	check_device_logged(f, PCI_NAME);
	fixture_end(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hostile");

	add_case(suite, "pages larger than mappings", pages_larger_than_mappings);
	add_case(suite, "larger with a group", larger_with_a_group);
	add_case(suite, "more bits than can be", more_bits_than_can_be);
	add_case(suite, "pages of no IOMMU", pages_of_no_iommu);
	add_case(suite, "pages of no IOMMU, native", pages_of_no_iommu_native);
	add_case(suite, "a byte more", a_byte_more);
	add_case(suite, "an honest log", an_honest_log);
	add_case(suite, "a log of huge pages", a_log_of_huge_pages);
	return run_suite(suite);
}
