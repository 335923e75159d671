/* SPDX-License-Identifier: MIT */

/* Taking over a container that a program opened by itself: by descriptor or by duplicate, whatever it is. */

#include "fixture.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>

#include "kernel/vfdtest.h"
#include "uapi.h"

static struct fixture fixture, *f = &fixture;

/* What the other program has. */
static struct {
	int container, group, device;
	struct vfd_adopt_group declared_group;
	struct vfd_adopt_device declared_device;
	struct vfd_mapping mappings[4];
	struct vfd_adoption adoption;
} owner;

static const struct sys *sys(void)
{
	return &f->model->sys;
}

static void owner_maps(unsigned index, uint64_t iova, uint64_t memory, uint64_t count)
{
	struct vfio_iommu_type1_dma_map arg = {
		.argsz = sizeof arg,
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)(f->memory + memory * PAGE),
		.iova = iova * PAGE,
		.size = count * PAGE,
	};

	ck_assert_int_eq(raw_ioctl(f, owner.container, VFIO_IOMMU_MAP_DMA, &arg), 0);
	if (index >= 4)
		return; /* and says nothing of it */
	owner.mappings[index] = (struct vfd_mapping){
		.struct_size = sizeof(struct vfd_mapping),
		.flags = RW,
		.iova = arg.iova,
		.size = arg.size,
		.memory = f->memory + memory * PAGE,
	};
	owner.adoption.mapping_count = index + 1;
}

static void owner_starts(void)
{
	struct vfio_iommu_type1_dirty_bitmap arg = { .argsz = sizeof arg,
						     .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_START };

	ck_assert_int_eq(raw_ioctl(f, owner.container, VFIO_IOMMU_DIRTY_PAGES, &arg), 0);
}

static void owner_opens(const struct model_config *config, unsigned long type, uint32_t flags)
{
	memset(&owner, 0, sizeof owner);
	fixture_begin(f, config && config->container ? NULL : config);
	OK(vfd_container_close(&f->container, 0, &f->err));
	if (config && config->container) { /* the fixture cannot open that one itself */
		model_free(f->model);
		f->model = model_new(config);
	}
	owner.container = sys()->open(sys(), "/dev/vfio/vfio", 0);
	owner.group =
		sys()->open(sys(), type == VFIO_NOIOMMU_IOMMU ? "/dev/vfio/noiommu-7" : "/dev/vfio/7", 0);
	ck_assert_int_ge(owner.group, 0);
	ck_assert_int_eq(raw_ioctl(f, owner.group, VFIO_GROUP_SET_CONTAINER, &owner.container), 0);
	if (type)
		ck_assert_int_eq(raw_ioctl(f, owner.container, VFIO_SET_IOMMU, (void *)type), 0);
	owner.declared_group = (struct vfd_adopt_group){ 7, owner.group };
	owner.adoption = (struct vfd_adoption){
		.struct_size = sizeof owner.adoption,
		.flags = flags,
		.container_fd = owner.container,
		.group_count = 1,
		.groups = &owner.declared_group,
		.devices = &owner.declared_device,
		.mappings = owner.mappings,
		.log = f->log,
	};
}

static void owner_opens_device(void)
{
	owner.device = raw_ioctl(f, owner.group, VFIO_GROUP_GET_DEVICE_FD, (char[]){ NAME(0) });
	ck_assert_int_ge(owner.device, 0);
	owner.declared_device = (struct vfd_adopt_device){ 7, owner.device, NAME(0) };
	owner.adoption.device_count = 1;
}

static int adopt(void)
{
	return container_adopt_on(sys(), &owner.adoption, &f->container, &f->err);
}

static void owner_closes(void)
{
	if (owner.device)
		ck_assert_int_eq(sys()->close(sys(), owner.device), 0);
	ck_assert_int_eq(sys()->close(sys(), owner.group), 0);
	ck_assert_int_eq(sys()->close(sys(), owner.container), 0);
}

START_TEST(taken_while_tracking)
{
	owner_opens(NULL, VFIO_TYPE1v2_IOMMU, 0);
	owner_opens_device();
	owner_maps(0, 0, 0, 128);
	owner_maps(1, 500, 200, 128);
	owner_starts();
	device_writes(f, 0, 5, 1); /* before */
	OK(adopt());
	check_law(f);
	check_exact(f);
	ck_assert_uint_eq(info_of(f).tracking, 1);
	ck_assert_uint_eq(info_of(f).mappings, 2);
	ck_assert_uint_eq(info_of(f).writers, 1);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err)); /* kept, not restarted */
	device_writes(f, 0, 501, 1);
	OK(harvest(f, 0));
	check_precise(f);
	device_writes(f, 0, 502, 1);
	REFUSED(VFD_EDEVICES, vfd_container_close(&f->container, 0, &f->err));
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_precise(f);
	ck_assert_uint_eq(reported(f), 3);
	fixture_end(f);
}
END_TEST

/* Dirty before, quiet since: what the kernel holds is not drained. */
START_TEST(taken_without_device)
{
	owner_opens(NULL, VFIO_TYPE1v2_IOMMU, 0);
	owner_opens_device();
	owner_maps(0, 0, 0, 128);
	owner_starts();
	device_pins(f, 0, 5, 1);
	ck_assert_int_eq(sys()->close(sys(), owner.device), 0);
	owner.adoption.device_count = 0;
	OK(adopt());
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_precise(f);
	ck_assert_uint_eq(reported(f), 1);
	fixture_end(f);
}
END_TEST

START_TEST(duplicated)
{
	owner_opens(NULL, VFIO_TYPE1v2_IOMMU, VFD_ADOPT_DUP);
	owner_opens_device();
	owner_maps(0, 0, 0, 128);
	owner_starts();
	device_writes(f, 0, 5, 1);
	OK(adopt());
	ck_assert_int_ne(vfd_container_fd(f->container), owner.container);
	device_writes(f, 0, 6, 1);
	OK(harvest(f, 0));
	check_precise(f);
	device_writes(f, 0, 7, 1);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_precise(f);
	ck_assert_uint_eq(model_counts(f->model).descriptors, 3); /* the owner's */
	ck_assert(model_tracking(f->model, owner.container));
	ck_assert_uint_eq(model_mapping_count(f->model, owner.container), 1);
	owner_closes();
	fixture_end(f);
}
END_TEST

START_TEST(duplicated_detach_is_busy)
{
	owner_opens(NULL, VFIO_TYPE1v2_IOMMU, VFD_ADOPT_DUP);
	owner_opens_device();
	owner_maps(0, 0, 0, 128);
	owner_starts();
	OK(adopt());
	f->group = f->container->groups;
	device_writes(f, 0, 7, 1);
	REFUSED(-EBUSY, vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	ck_assert_ptr_nonnull(strstr(f->err.message, "open in this process: 1;"));
	check_law(f);
	device_writes(f, 0, 8, 1);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_precise(f);
	owner_closes();
	fixture_end(f);
}
END_TEST

START_TEST(not_tracking_yet)
{
	owner_opens(NULL, VFIO_TYPE1v2_IOMMU, 0);
	owner_opens_device();
	owner_maps(0, 0, 0, 128);
	OK(adopt());
	ck_assert_uint_eq(info_of(f).tracking, 0);
	ck_assert(!model_tracking(f->model, vfd_container_fd(f->container)));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	device_writes(f, 0, 5, 1);
	OK(unmap_pages(f, 0, 128));
	check_precise(f);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	fixture_end(f);
}
END_TEST

START_TEST(type1_v1)
{
	owner_opens(NULL, VFIO_TYPE1_IOMMU, 0);
	owner_opens_device();
	owner_maps(0, 0, 0, 128);
	OK(adopt());
	ck_assert_uint_eq(info_of(f).kind, VFD_KIND_TYPE1_V1);
	REFUSED(VFD_EUNSUPPORTED, vfd_track_start(f->container, NULL, NULL, &f->err));
	REFUSED(VFD_ESTATE, harvest(f, 0));
	OK(map_pages(f, 500, 500, 16, RW));
	REFUSED(VFD_ECUT, unmap_pages(f, 0, 64)); /* v1 would cut or swallow; the library does not */
	OK(unmap_pages(f, 0, 128));
	ck_assert_uint_eq(model_mapping_count(f->model, vfd_container_fd(f->container)), 1);
	ck_assert_uint_eq(plan_of(f).exact, 0);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	fixture_end(f);
}
END_TEST

/* A kernel that records nothing: what the driver pins is known all the same. */
START_TEST(type1_v1_by_pins)
{
	struct vfd_pinset *set;
	struct vfd_pin pin;

	owner_opens(NULL, VFIO_TYPE1_IOMMU, VFD_FIND_MEMORY);
	owner_opens_device();
	owner_maps(0, 0, 0, 128);
	OK(adopt());
	REFUSED(VFD_EINVALID, vfd_device_find(f->container, "nobody", &f->device, &f->err));
	OK(vfd_device_find(f->container, NAME(0), &f->device, &f->err));
	REFUSED(VFD_EINVALID, vfd_group_find(f->container, 8, &f->group, &f->err));
	OK(vfd_group_find(f->container, 7, &f->group, &f->err));
	ck_assert_int_eq(vfd_group_number(f->group), 7);
	OK(vfd_device_pins_all(f->device, &f->err));
	OK(vfd_pinset_create(f->container, NULL, &set, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err)); /* on already */
	ck_assert_uint_eq(plan_of(f).exact, 1);
	OK(vfd_pin(set, f->memory + 5 * PAGE, 2 * PAGE, VFD_PIN_WRITE, &pin, &f->err));
	device_writes(f, 0, 5, 2);
	OK(vfd_unpin(set, &pin, 1, &f->err));
	OK(harvest(f, VFD_HARVEST_FINAL));
	struct vfd_count count;
	OK(vfd_consumer_count(vfd_log_consumer(f->log), 0, UINT64_MAX, &count, &f->err));
	ck_assert_uint_eq(count.owed, 2);
	OK(unmap_pages(f, 0, 128));
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	OK(vfd_consumer_count(vfd_log_consumer(f->log), 0, UINT64_MAX, &count, &f->err));
	ck_assert_uint_eq(count.owed, 2);
	fixture_end(f);
}
END_TEST

/* The library closes its device, the driver that pins has its own: it is still its promise, and nothing more is owed than what it pinned. */
START_TEST(type1_v1_by_the_pins_of_its_owner)
{
	static const struct model_config config = {
		.group_count = 2,
		.groups = { { .number = 7, .kind = MODEL_PHYSICAL, .devices = { { .name = NAME(0) } } },
			    { .number = 20, .kind = MODEL_PHYSICAL, .devices = { { .name = NAME(1) } } } },
	};
	struct vfd_pinset *set;
	struct vfd_pin pin;
	struct vfd_count count;

	owner_opens(&config, VFIO_TYPE1_IOMMU, VFD_FIND_MEMORY | VFD_ADOPT_DUP);
	owner_opens_device();
	owner_maps(0, 0, 0, 128);
	OK(adopt());
	OK(vfd_device_find(f->container, NAME(0), &f->device, &f->err));
	OK(vfd_device_pins_all(f->device, &f->err));
	OK(vfd_group_attach(f->container, 20, &f->group2, &f->err));
	OK(vfd_device_open(f->group2, NAME(1), &f->device2, &f->err));
	OK(vfd_device_pins_all(f->device2, &f->err));
	OK(vfd_pinset_create(f->container, NULL, &set, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(vfd_pin(set, f->memory + 5 * PAGE, 2 * PAGE, VFD_PIN_WRITE, &pin, &f->err));
	OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err));
	OK(vfd_device_close(&f->device2, VFD_COLLECT, &f->err));
	OK(vfd_pinset_destroy(&set, VFD_PIN_ABANDON, &f->err));
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	OK(vfd_consumer_count(vfd_log_consumer(f->log), 0, UINT64_MAX, &count, &f->err));
	ck_assert_uint_eq(count.owed, 2);
	owner_closes();
	fixture_end(f);
}
END_TEST

/* A v2 container of which one answer says v1, or two: it has a record, and whoever believed that would leave it behind. */
START_TEST(looks_like_v1)
{
	static const struct {
		uint64_t nth, times;
		int rc;
	} lies[] = { { 1, 1, -EINVAL }, { 2, 1, -EACCES }, { 1, 2, -EINVAL } };

	owner_opens(NULL, VFIO_TYPE1v2_IOMMU, 0);
	owner_maps(0, 0, 0, 128);
	for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
		model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
							    .request = VFIO_IOMMU_DIRTY_PAGES,
							    .file = MODEL_FILE_CONTAINER,
							    .nth = lies[i].nth,
							    .times = lies[i].times,
							    .error = EACCES });
		REFUSED(lies[i].rc, adopt());
		ck_assert_ptr_null(f->container);
	}
	OK(adopt());
	ck_assert_uint_eq(info_of(f).kind, VFD_KIND_TYPE1_V2);
	OK(vfd_container_close(&f->container, 0, &f->err));
	fixture_end(f);
}
END_TEST

/* With the last group goes what a record could be of. */
START_TEST(type1_v1_left)
{
	owner_opens(NULL, VFIO_TYPE1_IOMMU, 0);
	OK(adopt());
	OK(vfd_group_find(f->container, 7, &f->group, &f->err));
	OK(vfd_group_detach(&f->group, 0, &f->err));
	REFUSED(VFD_EUNSUPPORTED, vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(vfd_container_close(&f->container, 0, &f->err));
	fixture_end(f);
}
END_TEST

/* There is no record to be paused while a group behind an IOMMU leaves. */
START_TEST(type1_v1_beside_an_iommu)
{
	owner_opens(&mixed, VFIO_TYPE1_IOMMU, 0);
	owner_maps(0, 0, 0, 128);
	OK(adopt());
	OK(vfd_group_attach(f->container, 20, &f->group2, &f->err));
	OK(vfd_group_detach(&f->group2, 0, &f->err));
	ck_assert_uint_eq(info_of(f).attached, 1);
	ck_assert_uint_eq(model_mapping_count(f->model, vfd_container_fd(f->container)), 1);
	OK(vfd_container_close(&f->container, 0, &f->err));
	fixture_end(f);
}
END_TEST

/* Who wants no dirty pages: its record is left to run, and goes with the container. */
START_TEST(without_a_log)
{
	owner_opens(NULL, VFIO_TYPE1v2_IOMMU, 0);
	owner_opens_device();
	owner_maps(0, 0, 0, 128);
	owner.mappings[0].flags |= VFD_MAP_UNLOGGED;
	owner_starts();
	owner.adoption.log = NULL;
	OK(adopt());
	ck_assert_uint_eq(info_of(f).tracking, 0);
	ck_assert(model_tracking(f->model, vfd_container_fd(f->container)));
	REFUSED(VFD_ESTATE, vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	fixture_end(f);
}
END_TEST

/* Who shares a container can unmap what the library was told of. */
START_TEST(unmapped_by_its_owner)
{
	owner_opens(NULL, VFIO_TYPE1v2_IOMMU, VFD_ADOPT_DUP);
	owner_opens_device();
	owner_maps(0, 0, 0, 128);
	OK(adopt());
	ck_assert_int_eq(raw_unmap(f, 0, 128), 0);
	REFUSED(VFD_ESHORT, unmap_pages(f, 0, 128));
	OK(unmap_pages(f, 0, 128));
	ck_assert_uint_eq(info_of(f).mappings, 0);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	owner_closes();
	fixture_end(f);
}
END_TEST

/* A record that its owner began is his: also when a physical group leaves, for which one of ours would be stopped. */
START_TEST(anothers_record)
{
	owner_opens(&mixed, VFIO_TYPE1v2_IOMMU, VFD_ADOPT_DUP);
	owner_opens_device();
	owner_maps(0, 0, 0, 128);
	owner.adoption.log = NULL;
	OK(adopt());
	OK(vfd_group_attach(f->container, 20, &f->group2, &f->err));
	owner_starts();
	device_writes(f, 0, 5, 1);
	OK(vfd_group_detach(&f->group2, 0, &f->err));
	ck_assert(model_tracking(f->model, owner.container));
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	owner_closes();
	fixture_end(f);
}
END_TEST

static const struct model_config without_iommu = {
	.group_count = 2,
	.groups = { { .number = 7,
		      .kind = MODEL_NOIOMMU,
		      .devices = { { .name = NAME(0), .pci = true }, { .name = PCI_NAME, .pci = true } } },
		    { .number = 20, .kind = MODEL_PHYSICAL, .devices = { { .name = NAME(1) } } } },
};

static uint64_t owed_pages(void)
{
	struct vfd_count count;

	OK(vfd_consumer_count(vfd_log_consumer(f->log), 0, UINT64_MAX, &count, &f->err));
	return count.owed;
}

START_TEST(no_iommu)
{
	struct vfd_map_cost cost = { .struct_size = sizeof cost };

	owner_opens(&without_iommu, VFIO_NOIOMMU_IOMMU, 0);
	const struct vfd_mapping want = mapping_of(f, 0, 0, 16);
	owner_opens_device();
	OK(adopt());
	ck_assert_uint_eq(info_of(f).kind, VFD_KIND_NOIOMMU);
	ck_assert_uint_eq(info_of(f).attached, 1);
	REFUSED(VFD_EUNSUPPORTED, vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(vfd_map_check(f->container, &want, &cost, &f->err));
	ck_assert_uint_eq(cost.locked_needed, 0);
	OK(vfd_map(f->container, &want, &f->err)); /* the library's table is all there is */
	ck_assert_uint_eq(info_of(f).mappings, 1);
	REFUSED(VFD_ECUT, unmap_pages(f, 0, 8));
	OK(unmap_pages(f, 0, 16));
	OK(vfd_group_find(f->container, 7, &f->group, &f->err));
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	REFUSED(-EOPNOTSUPP, vfd_group_attach(f->container, 20, &f->group2, &f->err));
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	fixture_end(f);
}
END_TEST

/* What its driver pins is known, and what a device does that nobody speaks for is owed as a whole. */
START_TEST(no_iommu_by_pins)
{
	struct vfd_pinset *set;
	struct vfd_pin pin;

	owner_opens(&without_iommu, VFIO_NOIOMMU_IOMMU, VFD_FIND_MEMORY);
	owner_opens_device();
	OK(adopt());
	OK(map_pages(f, 0, 0, 128, RW));
	OK(vfd_device_find(f->container, NAME(0), &f->device, &f->err));
	OK(vfd_device_pins_all(f->device, &f->err));
	OK(vfd_pinset_create(f->container, NULL, &set, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(plan_of(f).exact, 1);
	OK(vfd_pin(set, f->memory + 5 * PAGE, 2 * PAGE, VFD_PIN_WRITE, &pin, &f->err));
	OK(vfd_unpin(set, &pin, 1, &f->err));
	REFUSED(VFD_EDIRTY, vfd_track_stop(f->container, 0, &f->err));
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(owed_pages(), 2);
	OK(vfd_group_find(f->container, 7, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device2, &f->err));
	ck_assert_uint_eq(plan_of(f).deferred_bytes, 128 * PAGE);
	OK(unmap_pages(f, 0, 128));
	ck_assert_uint_eq(owed_pages(), 128);
	OK(vfd_pinset_destroy(&set, 0, &f->err));
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	fixture_end(f);
}
END_TEST

/* Two groups, and a device of each: all theirs are the library's from then on. */
START_TEST(adopt_two_groups)
{
	struct vfd_adopt_device devices[2];
	struct vfd_adopt_group groups[2];

	owner_opens(&two_emulated, VFIO_TYPE1v2_IOMMU, 0);
	owner_opens_device();
	owner_maps(0, 0, 0, 128);
	groups[0] = owner.declared_group;
	devices[0] = owner.declared_device;
	groups[1] = (struct vfd_adopt_group){ 8, sys()->open(sys(), "/dev/vfio/8", 0) };
	ck_assert_int_eq(raw_ioctl(f, groups[1].fd, VFIO_GROUP_SET_CONTAINER, &owner.container), 0);
	devices[1] = (struct vfd_adopt_device){
		8, raw_ioctl(f, groups[1].fd, VFIO_GROUP_GET_DEVICE_FD, (char[]){ NAME(1) }), NAME(1)
	};
	owner.adoption.groups = groups;
	owner.adoption.devices = devices;
	owner.adoption.group_count = owner.adoption.device_count = 2;
	OK(adopt());
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	device_writes(f, 0, 5, 1);
	device_writes(f, 1, 7, 2);
	check_law(f);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_precise(f);
	ck_assert(is_logged(f, 5) && is_logged(f, 8));
	fixture_end(f);
}
END_TEST

/* Somebody else gets the number of the descriptor that was just closed: as in a program with threads. */
static int reused;

static void reuse(struct model *m, const struct model_trace *call, uint64_t number, bool after,
		  void *argument)
{
	(void)m, (void)number, (void)argument;
	if (!after || call->call != MODEL_CLOSE || reused == owner.device)
		return;
	int fd = sys()->open(sys(), "/dev/vfio/vfio", 0);
	if (fd == owner.device)
		reused = fd;
	else
		sys()->close(sys(), fd);
}

/* One descriptor for two devices, or two groups: closed twice when it was taken over, the second time it would be somebody else's. */
START_TEST(one_descriptor_for_two)
{
	struct vfd_adopt_device two_devices[2];
	struct vfd_adopt_group two_groups[2];

	owner_opens(NULL, VFIO_TYPE1v2_IOMMU, 0);
	owner_opens_device();
	two_devices[0] = two_devices[1] = owner.declared_device;
	two_devices[1].name = NAME(1);
	two_groups[0] = two_groups[1] = owner.declared_group;
	two_groups[1].number = 8;
	const struct vfd_adoption good = owner.adoption;
	owner.adoption.groups = two_groups;
	owner.adoption.group_count = 2;
	REFUSED(VFD_EINVALID, adopt());
	owner.adoption = good;
	owner.adoption.devices = two_devices;
	owner.adoption.device_count = 2;
	reused = -1;
	model_on_call(f->model, reuse, NULL);
	int rc = adopt();
	model_on_call(f->model, NULL, NULL);
	ck_assert_msg(reused < 0 || !sys()->close(sys(), reused), "somebody else's descriptor was closed");
	ck_assert_int_eq(rc, VFD_EINVALID);
	owner_closes();
	fixture_end(f);
}
END_TEST

/* Those of a newer library may be longer, by what this one does not know: the next one begins where its own size says, wherever that is. */
START_TEST(longer_structs)
{
	enum { SIZE = sizeof(struct vfd_mapping) + 2 };
	uint64_t room[2 * sizeof(struct vfd_mapping)] = { 0 };

	owner_opens(NULL, VFIO_TYPE1v2_IOMMU, 0);
	owner_maps(0, 0, 0, 128);
	owner_maps(1, 200, 200, 128);
	for (unsigned i = 0; i < 2; i++) {
		owner.mappings[i].struct_size = SIZE;
		memcpy((char *)room + i * SIZE, &owner.mappings[i], sizeof(struct vfd_mapping));
	}
	owner.adoption.mappings = (const struct vfd_mapping *)room;
	OK(adopt());
	ck_assert_uint_eq(info_of(f).mapped_bytes, 256 * PAGE);
	OK(vfd_container_close(&f->container, 0, &f->err));
	fixture_end(f);
}
END_TEST

/* Their descriptors are as they were: open, attached, and tracking. */
static void check_untouched(uint64_t mappings, bool tracking)
{
	ck_assert_ptr_null(f->container);
	ck_assert_uint_eq(model_counts(f->model).descriptors, owner.device ? 3 : 2);
	ck_assert_uint_eq(model_mapping_count(f->model, owner.container), mappings);
	ck_assert(model_tracking(f->model, owner.container) == tracking);
}

START_TEST(other_kinds_are_refused)
{
	for (int dup = 0; dup < 2; dup++) {
		struct model_config config = {
			.container = MODEL_COMPAT,
			.group_count = 1,
			.groups = { { .number = 7,
				      .kind = MODEL_EMULATED,
				      .devices = { { .name = NAME(0) } } } },
		};
		owner_opens(&config, VFIO_TYPE1v2_IOMMU, dup ? VFD_ADOPT_DUP : 0);
		REFUSED(VFD_EUNSUPPORTED, adopt());
		ck_assert_ptr_nonnull(strstr(f->err.message, "iommufd"));
		ck_assert_uint_eq(model_counts(f->model).descriptors, 2);
		owner_closes();
		fixture_end(f);
	}
}
END_TEST

START_TEST(no_iommu_set)
{
	owner_opens(NULL, 0, 0);
	REFUSED(-EINVAL, adopt());
	ck_assert_ptr_nonnull(strstr(f->err.message, "IOMMU set"));
	check_untouched(0, false);
	owner_closes();
	fixture_end(f);
}
END_TEST

START_TEST(undeclared_mapping)
{
	for (int dup = 0; dup < 2; dup++) {
		owner_opens(NULL, VFIO_TYPE1v2_IOMMU, dup ? VFD_ADOPT_DUP : 0);
		owner_opens_device();
		owner_maps(0, 0, 0, 128);
		owner_maps(1, 200, 200, 128);
		owner_starts();
		device_writes(f, 0, 210, 1);
		owner.mappings[1].size -= 64 * PAGE; /* it is longer in truth */
		REFUSED(VFD_ECUT, adopt());
		ck_assert_uint_eq(f->err.first, 200 * PAGE);
		ck_assert_uint_eq(f->err.last, 264 * PAGE - 1);
		check_untouched(2, true);
		check_law(f);
		owner_closes();
		fixture_end(f);
	}
}
END_TEST

/* One that is not declared, beside those that are: its bits stay with the kernel. */
START_TEST(bits_of_others_are_not_read)
{
	owner_opens(NULL, VFIO_TYPE1v2_IOMMU, VFD_ADOPT_DUP);
	owner_opens_device();
	owner_maps(0, 64, 0, 64);
	owner_maps(4, 0, 512, 64);
	owner_maps(4, 128, 600, 64);
	owner_maps(1, 192, 64, 64);
	owner_starts();
	device_writes(f, 0, 3, 1);
	device_writes(f, 0, 70, 1);
	device_writes(f, 0, 130, 1);
	OK(adopt());
	OK(harvest(f, 0));
	ck_assert_uint_eq(reported(f), 1);
	ck_assert_uint_eq(model_page_count(f->model, MODEL_HELD), 2);
	check_law(f);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	owner_closes();
	fixture_end(f);
}
END_TEST

static void refused_declaration(int code)
{
	REFUSED(code, adopt());
	check_untouched(1, true);
}

START_TEST(bad_declarations)
{
	for (int dup = 0; dup < 2; dup++) {
		owner_opens(NULL, VFIO_TYPE1v2_IOMMU, dup ? VFD_ADOPT_DUP : 0);
		owner_opens_device();
		owner_maps(0, 0, 0, 128);
		owner_starts();
		const struct vfd_adoption good = owner.adoption;
		const struct vfd_mapping mapping = owner.mappings[0];
		const struct vfd_adopt_device device = owner.declared_device;

		owner.adoption.group_count = 0;
		refused_declaration(VFD_EINVALID);
		owner.adoption = good;
		owner.adoption.groups = NULL;
		refused_declaration(VFD_EINVALID);
		owner.adoption = good;
		owner.adoption.devices = NULL;
		refused_declaration(VFD_EINVALID);
		owner.adoption = good;
		owner.adoption.mappings = NULL;
		refused_declaration(VFD_EINVALID);
		owner.adoption = good;
		owner.adoption.flags |= 2;
		refused_declaration(VFD_EINVALID);
		owner.adoption = good;
		owner.adoption.struct_size = 0;
		refused_declaration(VFD_EINVALID);
		owner.adoption = good;
		REFUSED(VFD_EINVALID, container_adopt_on(sys(), &good, NULL, &f->err));
		owner.adoption.container_fd = -1;
		refused_declaration(-EBADF);
		owner.adoption.container_fd = 77;
		refused_declaration(-EBADF);
		owner.adoption = good;
		owner.declared_device.group = 8;
		refused_declaration(VFD_EINVALID);
		owner.declared_device = device;
		owner.declared_device.name = NULL;
		refused_declaration(VFD_EINVALID);
		owner.declared_device = device;
		owner.declared_device.fd = 77;
		refused_declaration(-EBADF);
		owner.declared_device = device;
		const struct vfd_adopt_device twice[] = { device, device };
		owner.adoption.devices = twice;
		owner.adoption.device_count = 2;
		refused_declaration(VFD_EINVALID);
		owner.adoption = good;
		const struct vfd_adopt_group groups[] = { good.groups[0], good.groups[0] };
		owner.adoption.groups = groups;
		owner.adoption.group_count = 2;
		refused_declaration(VFD_EINVALID);
		owner.adoption = good;
		owner.mappings[1] = mapping;
		owner.adoption.mapping_count = 2;
		refused_declaration(VFD_EOVERLAP);
		owner.adoption = good;
		owner.mappings[0].memory = f->memory + PAGES * PAGE;
		refused_declaration(VFD_ENOREGION);
		owner.mappings[0] = mapping;
		owner.mappings[0].flags |= VFD_MAP_LOG_ADDRESS;
		refused_declaration(VFD_EALIAS);
		owner.mappings[0] = mapping;
		owner.mappings[0].struct_size = 0;
		refused_declaration(VFD_EINVALID);
		owner.mappings[0] = mapping;
		OK(adopt()); /* and now all is well */
		OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
		if (dup)
			owner_closes();
		fixture_end(f);
	}
}
END_TEST

/* What the owner has, and what else there is, each in another's place. */
START_TEST(descriptors_in_the_wrong_place)
{
	owner_opens(&two_emulated, VFIO_TYPE1v2_IOMMU, 0);
	owner_opens_device();
	owner_maps(0, 0, 0, 128);
	owner_starts();
	device_writes(f, 0, 100, 1);
	const int pagemap = sys()->open(sys(), "/proc/self/pagemap", 0);
	const int empty = sys()->open(sys(), "/dev/vfio/vfio", 0);
	const int alone = sys()->open(sys(), "/dev/vfio/8", 0);
	const int right[] = { owner.container, owner.group, owner.device };
	const int wrong[] = { owner.container, owner.group, owner.device, pagemap, empty, alone, 77, -1 };

	for (int place = 0; place < 3; place++)
		for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
			if (wrong[i] == right[place])
				continue;
			owner.adoption.container_fd = place == 0 ? wrong[i] : right[0];
			owner.declared_group.fd = place == 1 ? wrong[i] : right[1];
			owner.declared_device.fd = place == 2 ? wrong[i] : right[2];
			int rc = adopt();
			ck_assert_msg(rc < 0, "descriptor %d in place %d is adopted", wrong[i], place);
			ck_assert(rc == f->err.code && f->err.message[0]);
			ck_assert_uint_eq(model_counts(f->model).descriptors, 6);
			ck_assert(model_tracking(f->model, owner.container));
			check_law(f);
		}
	owner.declared_device.fd = owner.device;
	owner.declared_group.fd = alone;
	REFUSED(VFD_EINVALID, adopt());
	ck_assert_ptr_nonnull(strstr(f->err.message, "in no container"));
	owner.declared_group.fd = owner.group;
	sys()->close(sys(), pagemap);
	sys()->close(sys(), empty);
	sys()->close(sys(), alone);
	OK(adopt()); /* and now all is well */
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_precise(f);
	ck_assert_uint_eq(reported(f), 1);
	fixture_end(f);
}
END_TEST

/* Any call of the adoption fails: the owner goes on as before. */
START_TEST(every_call_fails_once)
{
	uint64_t fired = 1;

	for (uint64_t nth = 1; fired; nth++) {
		owner_opens(NULL, VFIO_TYPE1v2_IOMMU, VFD_ADOPT_DUP);
		owner_opens_device();
		owner_maps(0, 0, 0, 128);
		owner_starts();
		device_writes(f, 0, 100, 1);
		model_trace_start(f->model);
		model_fault(f->model, (struct model_fault){ .nth = nth, .error = EFAULT });
		int rc = adopt();
		fired = model_fault_fired(f->model);
		model_fault_clear(f->model);
		if (rc)
			check_untouched(1, true);
		else
			OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
		check_law(f);
		owner_closes();
		fixture_end(f);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("adopt");

	add_case(suite, "taken while tracking", taken_while_tracking);
	add_case(suite, "taken with its device closed", taken_without_device);
	add_case(suite, "by duplicates", duplicated);
	add_case(suite, "by duplicates: a detach is EBUSY", duplicated_detach_is_busy);
	add_case(suite, "not tracking yet", not_tracking_yet);
	add_case(suite, "type1 v1", type1_v1);
	add_case(suite, "type1 v1, pins", type1_v1_by_pins);
	add_case(suite, "type1 v1, pins of its owner", type1_v1_by_the_pins_of_its_owner);
	add_case(suite, "type1 v1, left", type1_v1_left);
	add_case(suite, "looks like v1", looks_like_v1);
	add_case(suite, "type1 v1, beside an IOMMU", type1_v1_beside_an_iommu);
	add_case(suite, "without a log", without_a_log);
	add_case(suite, "unmapped by its owner", unmapped_by_its_owner);
	add_case(suite, "another's record", anothers_record);
	add_case(suite, "two groups", adopt_two_groups);
	add_case(suite, "no IOMMU", no_iommu);
	add_case(suite, "no IOMMU, pins", no_iommu_by_pins);
	add_case(suite, "iommufd's container", other_kinds_are_refused);
	add_case(suite, "IOMMU not set", no_iommu_set);
	add_case(suite, "an undeclared mapping", undeclared_mapping);
	add_case(suite, "bits of undeclared mappings", bits_of_others_are_not_read);
	add_case(suite, "bad declarations", bad_declarations);
	add_case(suite, "one descriptor for two", one_descriptor_for_two);
	add_case(suite, "longer structs", longer_structs);
	add_case(suite, "descriptors in the wrong place", descriptors_in_the_wrong_place);
	add_case(suite, "every call fails once", every_call_fails_once);
	return run_suite(suite);
}
