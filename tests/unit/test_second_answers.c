/* SPDX-License-Identifier: MIT */

/* One answer that is false, where the library gives something up for it: a filter of system calls, a signal, no memory in disguise. What follows is
 * the truth, and nothing may be lost by then. */

#include "fixture.h"

#include <endian.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "kernel/vfdtest.h"
#include "uapi.h"
#include "uapi_iommufd.h"

#define OTHER "0000:00:02.0"
#define BLIND "blind.0" /* no PCI device: it can write as soon as it is open */

static struct fixture fixture, *const f = &fixture;

static void lie(enum model_file file, unsigned long request, int error, uint64_t nth)
{
	model_fault(
		f->model,
		(struct model_fault){
			.call = MODEL_IOCTL, .request = request, .file = file, .nth = nth, .error = error });
}

static void lied(uint64_t times)
{
	ck_assert_uint_eq(model_fault_fired(f->model), times);
}

static void master_on(struct vfd_device *device)
{
	uint16_t command = htole16(PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);

	OK(vfd_device_write(device, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2, &f->err));
}

/* Of a device behind an IOMMU */
static void writes(const char *device, uint64_t page)
{
	ck_assert_int_eq(model_dma_write(f->model, device, page * PAGE, 8, page), 0);
}

/* ---- type1 ---- */

/* Somebody stopped it, which is true; that the container is gone is not. */
START_TEST(stopped_and_gone)
{
	fixture_track(f, NULL);
	device_writes(f, 0, 33, 1);
	ck_assert_int_eq(raw_switch(f, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP), 0);
	lie(MODEL_FILE_CONTAINER, VFIO_IOMMU_GET_INFO, EINVAL, 2);
	REFUSED(VFD_ELOST, harvest(f, 0));
	lied(1);
	ck_assert_uint_eq(info_of(f).attached, 1);
	check_all_logged(f);
	forget_log(f);
	device_writes(f, 0, 34, 1);
	check_law(f);
	OK(unmap_pages(f, 0, PAGES));
	ck_assert_uint_eq(model_mapping_count(f->model, vfd_container_fd(f->container)), 0);
	check_all_logged(f);
	fixture_end(f);
}
END_TEST

/* The kernel would have said that it is busy. */
static void detach_held(int answer)
{
	fixture_track(f, NULL);
	device_writes(f, 0, 10, 1);
	ck_assert_int_eq(model_hold(f->model, NAME(0)), 0);
	lie(MODEL_FILE_GROUP, VFIO_GROUP_UNSET_CONTAINER, answer, 1);
	REFUSED(-EBUSY, vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	lied(1);
	device_writes(f, 0, 20, 1);
	check_law(f);
	model_release(f->model, NAME(0));
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	check_precise(f);
	fixture_end(f);
}

START_TEST(detached_but_held)
{
	detach_held(EINVAL);
	detach_held(ENODEV);
}
END_TEST

/* It is to be taken away, but someone has it open still. */
START_TEST(taken_away_but_held)
{
	fixture_track(f, NULL);
	device_writes(f, 0, 10, 3);
	model_unplug(f->model, 7);
	ck_assert_int_eq(model_hold(f->model, NAME(0)), 0);
	lie(MODEL_FILE_GROUP, VFIO_GROUP_GET_STATUS, ENODEV, 1);
	OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err));
	lied(1);
	ck_assert_uint_eq(info_of(f).attached, 1);
	device_writes(f, 0, 20, 1);
	check_law(f);
	OK(harvest(f, VFD_HARVEST_FINAL));
	check_all_logged(f);
	model_release(f->model, NAME(0));
	fixture_end(f);
}
END_TEST

/* Linux 5.8: the bits of all go with a physical group, also if it came for a moment only. */
static int (*real_ioctl)(const struct sys *sys, int fd, unsigned long request, void *arg);

static int ioctl_58(const struct sys *sys, int fd, unsigned long request, void *arg)
{
	uint64_t swallowed[WORDS] = { 0 };
	int rc = real_ioctl(sys, fd, request, arg);

	if (request == VFIO_GROUP_UNSET_CONTAINER && !rc)
		raw_get(f, 0, PAGES, swallowed);
	return rc;
}

START_TEST(joined_in_vain)
{
	fixture_track(f, &mixed);
	device_writes(f, 0, 40, 1);
	lie(MODEL_FILE_CONTAINER, VFIO_IOMMU_GET_INFO, ENOMEM, 2);
	real_ioctl = f->model->sys.ioctl;
	f->model->sys.ioctl = ioctl_58;
	REFUSED(-ENOMEM, vfd_group_attach(f->container, 20, &f->group2, &f->err));
	f->model->sys.ioctl = real_ioctl;
	lied(1);
	check_law(f);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	check_all_logged(f);
	fixture_end(f);
}
END_TEST

/* While nobody tracks nothing is owed for it. */
START_TEST(joined_in_vain_before)
{
	fixture_begin(f, &mixed);
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	lie(MODEL_FILE_CONTAINER, VFIO_IOMMU_GET_INFO, ENOMEM, 2);
	REFUSED(-ENOMEM, vfd_group_attach(f->container, 20, &f->group2, &f->err));
	lied(1);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(plan_of(f).deferred_bytes, 0);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	fixture_end(f);
}
END_TEST

/* ---- who answers changes after the record was lost ---- */

static void lose_record(void)
{
	ck_assert_int_eq(raw_switch(f, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP), 0);
	REFUSED(VFD_ELOST, harvest(f, 0));
	forget_log(f);
	device_writes(f, 0, 34, 1); /* recorded by nobody */
	check_law(f);
}

START_TEST(lost_and_declared)
{
	fixture_track(f, NULL);
	lose_record();
	OK(vfd_device_pins_all(f->device, &f->err));
	check_law(f);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_all_logged(f);
	fixture_end(f);
}
END_TEST

/* The others pin all that they write. */
START_TEST(lost_and_left)
{
	fixture_track(f, &two_emulated);
	OK(vfd_group_attach(f->container, 8, &f->group2, &f->err));
	OK(vfd_device_open(f->group2, NAME(1), &f->device2, &f->err));
	OK(vfd_device_pins_all(f->device2, &f->err));
	lose_record();
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	f->device = NULL;
	check_law(f);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_all_logged(f);
	fixture_end(f);
}
END_TEST

/* ---- logs of devices ---- */

static struct model_log how;
/* In 20 two devices: one that pins, or logs, what it writes, and one of which nobody knows. */
static const struct model_config with_blind = {
	.group_count = 1,
	.groups = { { .number = 20,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = PCI_NAME, .pci = true, .log = &how }, { .name = BLIND } } } },
};

static void open_first(const struct model_config *config)
{
	fixture_begin(f, config);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	OK(map_pages(f, 0, 0, 64, RW));
	master_on(f->device);
}

/* START then says 0, and the old log runs on, for the old ranges. */
static void runs_on(unsigned times)
{
	how = (struct model_log){ .again = true, .total_limit = 200 * PAGE };
	open_first(&with_blind);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(plan_of(f).deferred_bytes, 0);
	model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
						    .request = VFIO_DEVICE_FEATURE,
						    .file = MODEL_FILE_DEVICE,
						    .flags = UAPI_FEATURE_SET | UAPI_FEATURE_LOG_STOP,
						    .times = times,
						    .error = EIO });
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(vfd_track_stop(f->container, VFD_COLLECT, &f->err));
	lied(1);
	OK(map_pages(f, 64, 64, 64, RW));
	forget_log(f);
	OK(vfd_device_resume(f->device, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	lied(times);
	model_forget(f->model);
	writes(PCI_NAME, 100);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_device_logged(f, PCI_NAME);
	fixture_end(f);
}

START_TEST(log_runs_on)
{
	runs_on(1);
	runs_on(2);
}
END_TEST

/* That all is pinned was promised until it is closed; who has it open still pins nothing here. */
START_TEST(pinned_but_held)
{
	how = (struct model_log){ 0 };
	open_first(&with_blind);
	OK(vfd_device_pins_all(f->device, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	const struct sys *s = &f->model->sys;
	int other = s->dup(s, vfd_device_fd(f->device));
	struct vfio_region_info info = { .argsz = sizeof info, .index = VFIO_PCI_CONFIG_REGION_INDEX };
	uint16_t command = htole16(PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
	ck_assert_int_eq(raw_ioctl(f, other, VFIO_DEVICE_GET_REGION_INFO, &info), 0);
	REFUSED(-EBUSY, vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	forget_log(f);
	ck_assert_int_eq(s->pwrite(s, other, &command, 2, info.offset + PCI_COMMAND), 2);
	writes(PCI_NAME, 20);
	check_device_law(f, PCI_NAME);
	s->close(s, other);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	check_device_logged(f, PCI_NAME);
	fixture_end(f);
}
END_TEST

static void writes_when_open(struct model *model, const struct model_trace *call, uint64_t number, bool after,
			     void *argument)
{
	(void)number, (void)argument;
	if (after && call->call == MODEL_IOCTL && call->request == VFIO_GROUP_GET_DEVICE_FD)
		model_dma_write(model, BLIND, 5 * PAGE, 8, 1);
}

/* A group that was answered for, and a device that was open for a moment. */
START_TEST(open_for_a_moment)
{
	how = (struct model_log){ 0 };
	for (int pins = 0; pins < 2; pins++) {
		open_first(&with_blind);
		if (pins)
			OK(vfd_device_pins_all(f->device, &f->err));
		OK(vfd_track_start(f->container, NULL, NULL, &f->err));
		ck_assert_uint_eq(plan_of(f).deferred_bytes, 0);
		model_on_call(f->model, writes_when_open, NULL);
		lie(MODEL_FILE_DEVICE, VFIO_DEVICE_GET_INFO, EFAULT, 1);
		REFUSED(-EFAULT, vfd_device_open(f->group, BLIND, &f->device2, &f->err));
		model_on_call(f->model, NULL, NULL);
		ck_assert_uint_eq(
			model_device_pages(f->model, BLIND, MODEL_TRUTH, f->memory, PAGES * PAGE, NULL), 1);
		check_device_law(f, BLIND);
		OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
		check_device_logged(f, BLIND);
		fixture_end(f);
	}
}
END_TEST

/* The kernel had opened it when the table of all files was full. */
static int ioctl_no_file(const struct sys *sys, int fd, unsigned long request, void *arg)
{
	int rc = real_ioctl(sys, fd, request, arg);

	if (request != VFIO_GROUP_GET_DEVICE_FD || rc < 0)
		return rc;
	model_dma_write(f->model, BLIND, 5 * PAGE, 8, 1);
	sys->close(sys, rc);
	return -ENFILE;
}

START_TEST(open_but_no_file)
{
	how = (struct model_log){ 0 };
	open_first(&with_blind);
	OK(vfd_device_pins_all(f->device, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	real_ioctl = f->model->sys.ioctl;
	f->model->sys.ioctl = ioctl_no_file;
	REFUSED(-ENFILE, vfd_device_open(f->group, BLIND, &f->device2, &f->err));
	f->model->sys.ioctl = real_ioctl;
	check_device_law(f, BLIND);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_device_logged(f, BLIND);
	fixture_end(f);
}
END_TEST

/* Of no such device nothing is owed. */
START_TEST(open_it_was_not)
{
	how = (struct model_log){ 0 };
	open_first(&with_blind);
	OK(vfd_device_pins_all(f->device, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	REFUSED(-ENODEV, vfd_device_open(f->group, "nobody.0", &f->device2, &f->err));
	ck_assert_uint_eq(plan_of(f).deferred_bytes, 0);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	fixture_end(f);
}
END_TEST

/* Its log begins when it has been open for a while. */
static const struct model_config both_log = {
	.group_count = 1,
	.groups = { { .number = 20,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = PCI_NAME, .pci = true, .log = &how },
				   { .name = BLIND, .log = &how } } } },
};

START_TEST(open_before_its_log)
{
	how = (struct model_log){ 0 };
	for (int alone = 0; alone < 2; alone++) {
		open_first(&both_log);
		if (alone)
			OK(vfd_device_close(&f->device, 0, &f->err));
		OK(vfd_track_start(f->container, NULL, NULL, &f->err));
		model_on_call(f->model, writes_when_open, NULL);
		OK(vfd_device_open(f->group, BLIND, &f->device2, &f->err));
		model_on_call(f->model, NULL, NULL);
		ck_assert_uint_eq(
			model_device_pages(f->model, BLIND, MODEL_TRUTH, f->memory, PAGES * PAGE, NULL), 1);
		check_device_law(f, BLIND);
		OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
		check_device_logged(f, BLIND);
		fixture_end(f);
	}
}
END_TEST

/* ---- iommufd ---- */

static const struct model_config native = {
	.iommufd = true,
	.group_count = 1,
	.groups = { { .number = 20,
		      .kind = MODEL_PHYSICAL,
		      .dirty_bits = true,
		      .devices = { { .name = PCI_NAME, .pci = true } } } },
};

static void track_native(void)
{
	fixture_begin_on(f, &native, VFD_FIND_MEMORY | VFD_FIND_LOG, VFD_BACKEND_IOMMUFD);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	OK(map_pages(f, 0, 0, 64, RW));
	OK(map_pages(f, 64, 64, 64, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	master_on(f->device);
}

static void end_native(void)
{
	check_law(f);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_all_logged(f);
	fixture_end(f);
}

/* It failed before it began, and is not gone. */
START_TEST(unmapped_it_was_not)
{
	track_native();
	lie(MODEL_FILE_IOMMU, UAPI_IOAS_UNMAP, EFAULT, 1);
	lie(MODEL_FILE_IOMMU, UAPI_IOAS_UNMAP, ENOENT, 2);
	int rc = unmap_pages(f, 0, 64);
	lied(2);
	ck_assert_uint_eq(model_mapping_count(f->model, vfd_container_fd(f->container)), info_of(f).mappings);
	if (rc)
		OK(unmap_pages(f, 0, 64));
	ck_assert_uint_eq(model_mapping_count(f->model, vfd_container_fd(f->container)), 1);
	end_native();
}
END_TEST

/* Mapped and not told, refused when asked again, and not taken out at once. */
START_TEST(taken_out_at_last)
{
	track_native();
	model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
						    .request = UAPI_IOAS_MAP,
						    .file = MODEL_FILE_IOMMU,
						    .error = EFAULT,
						    .step = 1 });
	lie(MODEL_FILE_IOMMU, UAPI_IOAS_MAP, ENOMEM, 2);
	lie(MODEL_FILE_IOMMU, UAPI_IOAS_UNMAP, EBUSY, 1);
	REFUSED(-EFAULT, map_pages(f, 300, 300, 20, RW));
	lied(3);
	ck_assert_int_ne(model_dma_write(f->model, PCI_NAME, 310 * PAGE, 8, 1), 0);
	end_native();
}
END_TEST

/* A table that is said to be gone, and is there: then the address space could never go. */
START_TEST(destroyed_it_was_not)
{
	for (uint64_t nth = 1; nth <= 2; nth++) {
		track_native();
		writes(PCI_NAME, 12);
		lie(MODEL_FILE_IOMMU, UAPI_IOMMU_DESTROY, ENOENT, nth);
		OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
		lied(1);
		ck_assert_uint_eq(model_counts(f->model).containers, 0);
		end_native();
	}
}
END_TEST

/* What it had begun and could not undo is undone when it begins anew, or it does not begin. */
START_TEST(begun_in_vain)
{
	fixture_begin_on(f, &native, VFD_FIND_MEMORY | VFD_FIND_LOG, VFD_BACKEND_IOMMUFD);
	OK(map_pages(f, 0, 0, 64, RW));
	lie(MODEL_FILE_IOMMU, UAPI_IOAS_MAP, ENOMEM, 1);
	lie(MODEL_FILE_IOMMU, UAPI_IOMMU_DESTROY, EBUSY, 1);
	lie(MODEL_FILE_IOMMU, UAPI_IOMMU_DESTROY, EBUSY, 2);
	REFUSED(-ENOMEM, vfd_group_attach(f->container, 20, &f->group, &f->err));
	REFUSED(-EBUSY, vfd_group_attach(f->container, 20, &f->group, &f->err));
	lied(3);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	ck_assert_uint_eq(model_counts(f->model).containers, 1);
	end_native();
}
END_TEST

/* Taken over with half of a mapping declared, which the kernel cannot cut: ENOENT, as if nothing were there. */
START_TEST(half_of_it_declared)
{
	struct uapi_ioas_alloc ioas = { .size = sizeof ioas };
	struct vfd_mapping half;

	fixture_begin_on(f, &native, 0, VFD_BACKEND_IOMMUFD);
	OK(vfd_container_close(&f->container, 0, &f->err));
	half = mapping_of(f, 0, 0, 32);
	int fd = f->model->sys.open(&f->model->sys, "/dev/iommu", 0);
	ck_assert_int_eq(raw_ioctl(f, fd, UAPI_IOAS_ALLOC, &ioas), 0);
	struct uapi_ioas_map map = { .size = sizeof map,
				     .flags = UAPI_IOAS_MAP_FIXED | UAPI_IOAS_MAP_READ | UAPI_IOAS_MAP_WRITE,
				     .ioas_id = ioas.out_ioas_id,
				     .user_va = (uintptr_t)f->memory,
				     .length = 64 * PAGE };
	ck_assert_int_eq(raw_ioctl(f, fd, UAPI_IOAS_MAP, &map), 0);
	struct vfd_adoption what = { .struct_size = sizeof what,
				     .container_fd = fd,
				     .mapping_count = 1,
				     .mappings = &half,
				     .log = f->log,
				     .backend = VFD_BACKEND_IOMMUFD,
				     .ioas = ioas.out_ioas_id };
	OK(container_adopt_on(&f->model->sys, &what, &f->container, &f->err));
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	master_on(f->device);
	for (int i = 0; i < 3; i++)
		REFUSED(VFD_ECUT, unmap_pages(f, 0, 32));
	lie(MODEL_FILE_IOMMU, UAPI_IOAS_UNMAP, EFAULT, 1);
	REFUSED(VFD_ECUT, unmap_pages(f, 0, 32)); /* asked again, of which nothing is told but ENOENT */
	lied(1);
	forget_log(f);
	writes(PCI_NAME, 7);
	check_law(f);
	end_native();
}
END_TEST

/* Between GET and UNMAP */
static void writes_before_unmap(struct model *model, const struct model_trace *call, uint64_t number,
				bool after, void *argument)
{
	(void)number, (void)argument;
	if (!after && call->call == MODEL_IOCTL && call->request == UAPI_IOAS_UNMAP)
		model_dma_write(model, PCI_NAME, 7 * PAGE, 8, 1);
}

/* Who has a duplicate could go on, were the device not taken out. */
START_TEST(taken_out_it_was_not)
{
	track_native();
	const struct sys *s = &f->model->sys;
	int other = s->dup(s, vfd_device_fd(f->device));
	struct vfio_region_info info = { .argsz = sizeof info, .index = VFIO_PCI_CONFIG_REGION_INDEX };
	uint16_t command = htole16(PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);

	lie(MODEL_FILE_DEVICE, UAPI_DEVICE_DETACH, EFAULT, 1);
	OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err));
	lied(1);
	ck_assert_int_eq(raw_ioctl(f, other, VFIO_DEVICE_GET_REGION_INFO, &info), 0);
	ck_assert_int_eq(s->pwrite(s, other, &command, 2, info.offset + PCI_COMMAND), 2);
	model_on_call(f->model, writes_before_unmap, NULL);
	OK(unmap_pages(f, 0, 64));
	model_on_call(f->model, NULL, NULL);
	check_law(f);
	s->close(s, other);
	end_native();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("second answers");

	add_case(suite, "stopped, and gone once", stopped_and_gone);
	add_case(suite, "detached, but held", detached_but_held);
	add_case(suite, "taken away, but held", taken_away_but_held);
	add_case(suite, "joined in vain, on Linux 5.8", joined_in_vain);
	add_case(suite, "joined in vain, not tracking", joined_in_vain_before);
	add_case(suite, "lost, and declared", lost_and_declared);
	add_case(suite, "lost, and left", lost_and_left);
	add_case(suite, "a log runs on", log_runs_on);
	add_case(suite, "pinned, but held", pinned_but_held);
	add_case(suite, "open for a moment", open_for_a_moment);
	add_case(suite, "open, but no file", open_but_no_file);
	add_case(suite, "open it was not", open_it_was_not);
	add_case(suite, "open before its log", open_before_its_log);
	add_case(suite, "unmapped it was not", unmapped_it_was_not);
	add_case(suite, "taken out at last", taken_out_at_last);
	add_case(suite, "destroyed it was not", destroyed_it_was_not);
	add_case(suite, "begun in vain", begun_in_vain);
	add_case(suite, "half of it declared", half_of_it_declared);
	add_case(suite, "taken out it was not", taken_out_it_was_not);
	return run_suite(suite);
}
