/* SPDX-License-Identifier: MIT */

/* Traps 20 to 25, 27, 28, 49: page sizes, versions, limits, orders, and one errno that means five things. */

#include "fixture.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/vfdtest.h"
#include "uapi.h"

#define LARGE (16 * PAGE)

static struct fixture fixture, *f = &fixture;

static int (*real_ioctl)(const struct sys *sys, int fd, unsigned long request, void *arg);

static void replace_ioctl(int (*by)(const struct sys *sys, int fd, unsigned long request, void *arg))
{
	real_ioctl = f->model->sys.ioctl;
	f->model->sys.ioctl = by;
}

static void restore_ioctl(void)
{
	f->model->sys.ioctl = real_ioctl;
}

static void *find_cap(struct vfio_iommu_type1_info *info, uint16_t id)
{
	size_t available;

	return (void *)(uintptr_t)caps_find(info, info->argsz, info->cap_offset, id,
					    sizeof(struct vfio_info_cap_header), &available);
}

/* ---- 20: a kernel whose dirty pages are 64 KiB, made of one with 4 KiB ---- */

static int large_info(const struct sys *sys, int fd, struct vfio_iommu_type1_info *info)
{
	int rc = real_ioctl(sys, fd, VFIO_IOMMU_GET_INFO, info);
	struct uapi_cap_migration *migration;

	if (rc || !info->cap_offset)
		return rc;
	info->iova_pgsizes &= -LARGE;
	migration = find_cap(info, VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION);
	migration->pgsize_bitmap = LARGE;
	return 0;
}

static void shrink_bitmap(const uint64_t *small, uint64_t pages, uint64_t *large)
{
	for (uint64_t i = 0; i < pages; i++)
		if (small[i / 64] >> i % 64 & 1)
			large[i / 16 / 64] |= UINT64_C(1) << i / 16 % 64;
}

static int large_bitmap(const struct sys *sys, int fd, unsigned long request, struct uapi_dirty_get *get)
{
	uint64_t small[WORDS] = { 0 }, pages = get->size / PAGE;
	struct uapi_dirty_get ask = *get;

	if (get->bitmap.pgsize != LARGE)
		return -EINVAL;
	ask.bitmap = (struct uapi_bitmap){ PAGE, (pages + 63) / 64 * 8, (uintptr_t)small };
	int rc = real_ioctl(sys, fd, request, &ask);
	shrink_bitmap(small, pages, (uint64_t *)(uintptr_t)get->bitmap.data);
	get->size = ask.size;
	return rc;
}

static int large_ioctl(const struct sys *sys, int fd, unsigned long request, void *arg)
{
	const struct uapi_dirty_get *get = arg;

	if (fd != vfd_container_fd(f->container))
		return real_ioctl(sys, fd, request, arg);
	if (request == VFIO_IOMMU_GET_INFO)
		return large_info(sys, fd, arg);
	if ((request == VFIO_IOMMU_DIRTY_PAGES && get->flags == VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP) ||
	    (request == VFIO_IOMMU_UNMAP_DMA && get->flags == VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP))
		return large_bitmap(sys, fd, request, arg);
	return real_ioctl(sys, fd, request, arg);
}

START_TEST(page_size_from_capability)
{
	fixture_begin(f, NULL);
	replace_ioctl(large_ioctl);
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
	ck_assert_uint_eq(info_of(f).page_size, LARGE);
	REFUSED(VFD_EALIGN, map_pages(f, 1, 1, 16, RW));
	OK(map_pages(f, 0, 0, 512, RW));
	OK(map_pages(f, 512, 512, 512, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	device_writes(f, 0, 17, 1);
	OK(harvest(f, 0));
	ck_assert(is_logged(f, 17));
	ck_assert_uint_eq(reported(f), 16); /* that is how precise it is */
	device_writes(f, 0, 1023, 1);
	OK(unmap_pages(f, 512, 512));
	ck_assert_uint_eq(reported(f), 32);
	check_all_logged(f);
	restore_ioctl();
	fixture_end(f);
}
END_TEST

/* ---- 21 ---- */

START_TEST(page_size_changes)
{
	fixture_pieces(f, &mixed_64k, 2, 512, 512);
	device_writes(f, 0, 40, 1);
	OK(vfd_group_attach(f->container, 20, &f->group2, &f->err));
	ck_assert_uint_eq(info_of(f).page_size, LARGE);
	check_all_logged(f); /* what the old record held is assumed */
	device_writes(f, 0, 41, 1);
	OK(unmap_pages(f, 0, 512)); /* refused with the page size of before */
	check_all_logged(f);
	device_writes(f, 0, 600, 1);
	OK(vfd_group_detach(&f->group2, VFD_COLLECT, &f->err));
	ck_assert_msg(!model_crashed(f->model), "%s", model_crashed(f->model));
	ck_assert_uint_eq(info_of(f).page_size, PAGE);
	check_law(f);
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(harvest(f, VFD_HARVEST_FINAL));
	check_all_logged(f);

	forget_log(f); /* and exact again, page by page */
	OK(vfd_device_resume(f->device, &f->err));
	device_writes(f, 0, 700, 1);
	OK(harvest(f, 0));
	check_precise(f);
	fixture_end(f);
}
END_TEST

/* Behind the library's back: found at the next harvest. */
static uint64_t info_page_sizes;

static int changed_ioctl(const struct sys *sys, int fd, unsigned long request, void *arg)
{
	struct uapi_dirty_get *get = arg;

	if (request == VFIO_IOMMU_DIRTY_PAGES && get->flags == VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP)
		return -EINVAL;
	int rc = real_ioctl(sys, fd, request, arg);
	if (request == VFIO_IOMMU_GET_INFO)
		((struct vfio_iommu_type1_info *)arg)->iova_pgsizes = info_page_sizes;
	return rc;
}

START_TEST(page_size_changed_by_another)
{
	struct vfd_harvest result = { .struct_size = sizeof result };

	fixture_track(f, NULL);
	device_writes(f, 0, 3, 1);
	info_page_sizes = -LARGE;
	replace_ioctl(changed_ioctl);
	REFUSED(VFD_ELOST, vfd_track_harvest(f->container, 0, &result, &f->err));
	restore_ioctl();
	ck_assert_uint_eq(result.assumed[VFD_WHY_PAGE_SIZE], PAGES);
	check_all_logged(f);
	fixture_end(f);
}
END_TEST

static int large_is_small_ioctl(const struct sys *sys, int fd, unsigned long request, void *arg)
{
	return request == VFIO_IOMMU_UNMAP_DMA ? -EINVAL : changed_ioctl(sys, fd, request, arg);
}

/* A record that is believed lost may run yet, with bitmaps for the page size of now. It must not when that size goes, nor be taken for a new one. */
START_TEST(page_size_leaves_a_lost_record)
{
	fixture_pieces(f, &mixed_64k, 2, 512, 512);
	OK(vfd_group_attach(f->container, 20, &f->group2, &f->err));
	device_pins(f, 0, 1000, 8);
	info_page_sizes = -PAGE;
	replace_ioctl(large_is_small_ioctl);
	REFUSED(VFD_ELOST, unmap_pages(f, 0, 512));
	restore_ioctl();
	OK(vfd_group_detach(&f->group2, VFD_COLLECT, &f->err));
	device_writes(f, 0, 700, 1);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	device_writes(f, 0, 1001, 1);
	ck_assert_msg(!model_crashed(f->model), "%s", model_crashed(f->model));
	OK(harvest(f, VFD_HARVEST_FINAL));
	check_all_logged(f);

	forget_log(f);
	device_writes(f, 0, 701, 1);
	OK(harvest(f, 0));
	ck_assert(is_logged(f, 701));
	ck_assert_uint_eq(reported(f), 1 + 8);
	fixture_end(f);
}
END_TEST

/* ---- 22 ---- */

/* What a program that knows nothing of tracking has set up: type1 v1. */
START_TEST(capability_without_tracking)
{
	struct vfd_adopt_group group = { .number = 7 };
	struct vfd_adoption adoption = { .struct_size = sizeof adoption, .groups = &group, .group_count = 1 };
	const struct sys *sys;

	fixture_begin(f, NULL);
	OK(vfd_container_close(&f->container, 0, &f->err));
	sys = &f->model->sys;
	adoption.log = f->log;
	adoption.container_fd = sys->open(sys, "/dev/vfio/vfio", 0);
	group.fd = sys->open(sys, "/dev/vfio/7", 0);
	ck_assert_int_eq(raw_ioctl(f, group.fd, VFIO_GROUP_SET_CONTAINER, &adoption.container_fd), 0);
	ck_assert_int_eq(raw_ioctl(f, adoption.container_fd, VFIO_SET_IOMMU, (void *)VFIO_TYPE1_IOMMU), 0);
	OK(container_adopt_on(sys, &adoption, &f->container, &f->err));
	ck_assert_uint_ne(info_of(f).dirty_page_sizes, 0); /* it says it could */
	ck_assert_uint_eq(info_of(f).kind, VFD_KIND_TYPE1_V1);
	uint64_t calls = model_counts(f->model).calls;
	REFUSED(VFD_EUNSUPPORTED, vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(model_counts(f->model).calls, calls);
	OK(map_pages(f, 0, 0, 16, RW));
	OK(unmap_pages(f, 0, 16));
	OK(vfd_container_close(&f->container, 0, &f->err));
	fixture_end(f);
}
END_TEST

/* And of its own accord the library asks for v2 only. */
START_TEST(only_v2_is_set)
{
	fixture_track(f, NULL);
	ck_assert_int_eq(raw_switch(f, 0), -EINVAL); /* v1 would say EACCES */
	fixture_end(f);
}
END_TEST

/* ---- 23 ---- */

START_TEST(einval_stopped)
{
	fixture_track(f, NULL);
	ck_assert_int_eq(raw_switch(f, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP), 0);
	REFUSED(VFD_ELOST, harvest(f, 0));
	ck_assert_ptr_nonnull(strstr(f->err.message, "another holder"));
	fixture_end(f);
}
END_TEST

START_TEST(einval_gone)
{
	fixture_track(f, NULL);
	device_writes(f, 0, 5, 1);
	OK(vfd_device_close(&f->device, VFD_DISCARD, &f->err));
	model_unplug(f->model, 7);
	REFUSED(VFD_ELOST, harvest(f, 0));
	ck_assert_ptr_nonnull(strstr(f->err.message, "took the last group away"));
	check_all_logged(f);
	check_exact(f);
	fixture_end(f);
}
END_TEST

START_TEST(einval_cut)
{
	fixture_pieces(f, NULL, 2, 64, 64);
	ck_assert_int_eq(raw_unmap(f, 64, 64), 0);
	ck_assert_int_eq(raw_map(f, 64, 64, 256), 0); /* longer than what was declared */
	device_writes(f, 0, 1, 1);
	device_writes(f, 0, 65, 1);
	REFUSED(VFD_ECUT, harvest(f, 0));
	ck_assert_uint_eq(f->err.first, 64 * PAGE);
	ck_assert_uint_eq(f->err.last, 128 * PAGE - 1);
	ck_assert_uint_eq(reported(f), 1); /* the good one is exact all the same */
	check_all_logged(f);
	ck_assert(model_tracking(f->model, vfd_container_fd(f->container)));
	fixture_end(f);
}
END_TEST

/* An EINVAL for no reason at all: asking again for each gets them. */
START_TEST(einval_once)
{
	fixture_pieces(f, NULL, 4, 64, 64);
	device_writes(f, 0, 1, 1);
	device_writes(f, 0, 200, 1);
	model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
						    .request = VFIO_IOMMU_DIRTY_PAGES,
						    .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
						    .error = EINVAL });
	OK(harvest(f, 0));
	check_precise(f);
	fixture_end(f);
}
END_TEST

/* What the second question meets by itself says nothing of the record. */
START_TEST(einval_then_efault)
{
	struct model_fault fault = { .call = MODEL_IOCTL,
				     .request = VFIO_IOMMU_DIRTY_PAGES,
				     .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
				     .error = EINVAL };

	fixture_pieces(f, NULL, 4, 64, 64);
	device_writes(f, 0, 1, 1);
	model_fault(f->model, fault);
	fault.error = EFAULT;
	fault.nth = 2;
	fault.times = 2; /* the question, and the first mapping alone */
	model_fault(f->model, fault);
	REFUSED(-EFAULT, harvest(f, 0));
	ck_assert(f->container->space.started);
	device_writes(f, 0, 65, 1);
	OK(harvest(f, 0));
	check_all_logged(f);
	fixture_end(f);
}
END_TEST

/* Twice for no reason: the container does not count as gone, so what is written later is still collected. */
START_TEST(einval_twice)
{
	fixture_pieces(f, NULL, 4, 64, 64);
	device_writes(f, 0, 1, 1);
	model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
						    .request = VFIO_IOMMU_DIRTY_PAGES,
						    .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
						    .error = EINVAL });
	model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
						    .file = MODEL_FILE_CONTAINER,
						    .request = VFIO_IOMMU_GET_INFO,
						    .error = EINVAL });
	OK(harvest(f, 0));
	device_writes(f, 0, 200, 1);
	OK(harvest(f, 0));
	check_all_logged(f);
	check_precise(f);
	fixture_end(f);
}
END_TEST

/* ---- 24 ---- */

START_TEST(too_many_pages)
{
	struct vfd_mapping mapping = {
		.struct_size = sizeof mapping,
		.flags = RW | VFD_MAP_UNLOGGED,
		.size = PAGE << 31,
		.memory = (void *)(uintptr_t)PAGE, /* an emulated group's container never looks at it */
	};

	fixture_begin(f, NULL);
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	if (sizeof(void *) < 8) { /* there is no such memory */
		REFUSED(VFD_EWRAP, vfd_map(f->container, &mapping, &f->err));
		fixture_end(f);
		return;
	}
	REFUSED(VFD_ELIMIT, vfd_map(f->container, &mapping, &f->err));
	mapping.size -= PAGE;
	OK(vfd_map(f->container, &mapping, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL,
			   &f->err)); /* one page more, and the kernel refuses this */
	fixture_end(f);
}
END_TEST

/* ---- 25 ---- */

START_TEST(top_of_address_space)
{
	const uint64_t top = UINT64_MAX / PAGE; /* the last page */

	fixture_track(f, NULL);
	REFUSED(VFD_EWRAP, map_pages(f, top, 0, 1, RW));
	REFUSED(VFD_EWRAP, map_pages(f, top, 0, 2, RW));
	REFUSED(VFD_EWRAP, map_pages(f, top - 511, 0, 512, RW));
	ck_assert_uint_eq(model_mapping_count(f->model, vfd_container_fd(f->container)), 1);
	OK(unmap_pages(f, 0, PAGES));
	OK(map_pages(f, top - 1023, 0, 512, RW)); /* ends 2 MiB below: fine */
	device_writes(f, 0, top - 1023, 512);
	OK(harvest(f, 0));
	check_precise(f);
	OK(vfd_unmap_all(f->container, &f->err));
	ck_assert_uint_eq(model_mapping_count(f->model, vfd_container_fd(f->container)), 0);
	fixture_end(f);
}
END_TEST

/* ---- 27 ---- */

/* The device is already there when the mappings come back: it writes as soon as it can. */
static void write_after_map(struct model *model, const struct model_trace *call, uint64_t number, bool after,
			    void *argument)
{
	(void)model;
	(void)number;
	if (after && call->call == MODEL_IOCTL && call->request == VFIO_IOMMU_MAP_DMA && !call->result) {
		int *fd = argument;
		*fd = raw_ioctl(f, f->container->groups ? f->container->groups->fd : MODEL_FIRST_FD + 1,
				VFIO_GROUP_GET_DEVICE_FD, (char[]){ NAME(0) });
		ck_assert_int_ge(*fd, 0);
		device_pins(f, 0, 77, 1);
		device_unpins(f, 0, 77, 1);
	}
}

START_TEST(start_before_map)
{
	const struct sys *sys;
	int fd = -1;

	fixture_track(f, NULL);
	device_writes(f, 0, 5, 1);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	forget_log(f);
	model_on_call(f->model, write_after_map, &fd);
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	model_on_call(f->model, NULL, NULL);
	sys = &f->model->sys;
	OK(harvest(f, 0));
	ck_assert(is_logged(f, 77));
	check_precise(f);
	ck_assert_int_eq(sys->close(sys, fd), 0);
	fixture_end(f);
}
END_TEST

/* Tracking starts before the first copy, and what was pinned and let go before is the copy's business. */
START_TEST(start_then_copy)
{
	fixture_begin(f, NULL);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err)); /* remembered: no group is there */
	OK(map_pages(f, 0, 0, PAGES, RW));
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	ck_assert(model_tracking(f->model, vfd_container_fd(f->container)));
	OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
	device_writes(f, 0, 8, 1);
	OK(harvest(f, 0));
	check_precise(f);
	fixture_end(f);
}
END_TEST

/* ---- 28 ---- */

START_TEST(physical_is_all_dirty_once)
{
	struct vfd_harvest result = { .struct_size = sizeof result };
	struct vfd_mapping read_only = { .struct_size = sizeof read_only, .flags = VFD_MAP_READ };

	fixture_begin(f, &one_physical);
	OK(vfd_group_attach_device(f->container, PCI_NAME, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	OK(map_pages(f, 0, 0, 512, RW));
	read_only.iova = 512 * PAGE;
	read_only.memory = f->memory + 512 * PAGE;
	read_only.size = 512 * PAGE;
	OK(vfd_map(f->container, &read_only, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(plan_of(f).exact, 0);
	ck_assert_uint_eq(plan_of(f).deferred_bytes, 512 * PAGE);
	OK(vfd_device_resume(f->device, &f->err));
	for (unsigned round = 0; round < 3; round++) {
		ck_assert_int_eq(model_dma_write(f->model, PCI_NAME, round * PAGE, PAGE, 1), 0);
		OK(vfd_track_harvest(f->container, 0, &result, &f->err));
		ck_assert_uint_eq(result.pages_new, 0);
		ck_assert_uint_eq(result.deferred_bytes, 512 * PAGE);
		ck_assert_uint_eq(result.drained, 0);
		check_law(f);
	}
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(vfd_track_harvest(f->container, VFD_HARVEST_FINAL, &result, &f->err));
	ck_assert_uint_eq(result.assumed[VFD_WHY_NO_TRACKING], 512);
	ck_assert_uint_eq(result.drained, 1);
	check_all_logged(f);
	ck_assert(!is_logged(f, 512)); /* read-only: never dirty, though the kernel says so */
	OK(vfd_track_harvest(f->container, VFD_HARVEST_FINAL, &result, &f->err));
	ck_assert_uint_eq(result.pages_new, 0);
	fixture_end(f);
}
END_TEST

/* ---- 49 ---- */

static uint32_t grows_to[4]; /* what the kernel wants, try by try; 0: what it wants really */
static unsigned tries;

/* Capabilities that grow between two calls: the short answer is a success without them. */
static int growing_ioctl(const struct sys *sys, int fd, unsigned long request, void *arg)
{
	struct vfio_iommu_type1_info *info = arg;

	if (request != VFIO_IOMMU_GET_INFO || tries >= 4 || !grows_to[tries])
		return real_ioctl(sys, fd, request, arg);
	ck_assert_uint_lt(info->argsz, grows_to[tries]);
	info->argsz = grows_to[tries++];
	info->flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;
	info->iova_pgsizes = -PAGE;
	info->cap_offset = 0;
	return 0;
}

START_TEST(growing_capabilities)
{
	fixture_begin(f, NULL);
	replace_ioctl(growing_ioctl);
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	OK(map_pages(f, 0, 0, PAGES, RW));
	tries = 0;
	memcpy(grows_to, (uint32_t[]){ 1500, 4000, 9000, 0 }, sizeof grows_to);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err)); /* needs the MIGRATION capability */
	ck_assert_uint_eq(tries, 3);
	ck_assert_uint_eq(info_of(f).dirty_page_sizes, PAGE);
	restore_ioctl();
	fixture_end(f);
}
END_TEST

/* A kernel that always wants more is not followed for ever. */
static int endless_ioctl(const struct sys *sys, int fd, unsigned long request, void *arg)
{
	struct vfio_iommu_type1_info *info = arg;

	if (request != VFIO_IOMMU_GET_INFO)
		return real_ioctl(sys, fd, request, arg);
	info->argsz = info->argsz < UINT32_MAX / 2 ? info->argsz * 2 : UINT32_MAX;
	return 0;
}

START_TEST(endless_capabilities)
{
	fixture_begin(f, NULL);
	replace_ioctl(endless_ioctl);
	REFUSED(-E2BIG, vfd_group_attach(f->container, 7, &f->group, &f->err));
	restore_ioctl();
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	fixture_end(f);
}
END_TEST

/* A chain that leads nowhere, backwards, or in a circle ends. */
START_TEST(broken_chains)
{
	_Alignas(8) unsigned char answer[256] = { 0 };
	struct vfio_iommu_type1_info *info = (void *)answer;
	struct vfio_info_cap_header *cap = (void *)(answer + 64);
	struct caps caps;

	info->flags = VFIO_IOMMU_INFO_CAPS;
	cap->id = 99;
	const uint32_t offsets[] = { 0, 64, 63, 10, 250, 256, 4096, UINT32_MAX };
	for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++)
		for (size_t j = 0; j < sizeof offsets / sizeof *offsets; j++) {
			info->cap_offset = offsets[i];
			cap->next = offsets[j];
			caps_parse(answer, sizeof answer, &caps);
			ck_assert_uint_eq(caps.dirty_page_sizes, 0);
		}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("traps: limits");

	add_trap(suite, 20, "dirty pages larger than the CPU's", page_size_from_capability);
	add_trap(suite, 21, "the page size changes with a group", page_size_changes);
	add_trap(suite, 21, "the page size changes behind one's back", page_size_changed_by_another);
	add_trap(suite, 21, "and again, under a record that is believed lost",
		 page_size_leaves_a_lost_record);
	add_trap(suite, 22, "MIGRATION capability on v1", capability_without_tracking);
	add_trap(suite, 22, "v2 only", only_v2_is_set);
	add_trap(suite, 23, "EINVAL: stopped", einval_stopped);
	add_trap(suite, 23, "EINVAL: no group left", einval_gone);
	add_trap(suite, 23, "EINVAL: a mapping is cut", einval_cut);
	add_trap(suite, 23, "EINVAL: none of these", einval_once);
	add_trap(suite, 23, "EINVAL: twice none of these", einval_twice);
	add_trap(suite, 23, "EINVAL, then EFAULT", einval_then_efault);
	add_trap(suite, 24, "a mapping of more than 2^31 - 1 pages", too_many_pages);
	add_trap(suite, 25, "a mapping that ends at 2^64", top_of_address_space);
	add_trap(suite, 27, "START before MAP", start_before_map);
	add_trap(suite, 27, "START before the first copy", start_then_copy);
	add_trap(suite, 28, "a physical group is always all dirty", physical_is_all_dirty_once);
	add_trap(suite, 49, "capabilities that grow", growing_capabilities);
	add_trap(suite, 49, "capabilities without end", endless_capabilities);
	add_trap(suite, 49, "broken chains", broken_chains);
	return run_suite(suite);
}
