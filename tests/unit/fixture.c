/* SPDX-License-Identifier: MIT */
#include "fixture.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernel/vfdtest.h"
#include "uapi.h"

#define EMULATED(number_, name_)                                                                             \
	{                                                                                                    \
		.number = number_, .kind = MODEL_EMULATED, .devices = { { .name = name_ } }                  \
	}
#define PHYSICAL(...)                                                                                        \
	{                                                                                                    \
		.number = 20, .kind = MODEL_PHYSICAL, .devices = { { .name = PCI_NAME, .pci = true } },      \
		__VA_ARGS__                                                                                  \
	}

const struct model_config two_emulated = {
	.group_count = 2,
	.groups = { EMULATED(7, NAME(0)), EMULATED(8, NAME(1)) },
};
const struct model_config mixed = { .group_count = 2, .groups = { EMULATED(7, NAME(0)), PHYSICAL() } };
const struct model_config mixed_64k = {
	.group_count = 2,
	.groups = { EMULATED(7, NAME(0)), PHYSICAL(.page_sizes = 1 << 16 | 1 << 21) },
};
const struct model_config one_physical = { .group_count = 1, .groups = { PHYSICAL() } };
const struct model_config emulated_pci = {
	.group_count = 1,
	.groups = { { .number = 7,
		      .kind = MODEL_EMULATED,
		      .devices = { { .name = PCI_NAME, .pci = true } } } },
};
const struct model_config stubborn = {
	.group_count = 1,
	.groups = { { .number = 7,
		      .kind = MODEL_EMULATED,
		      .devices = { { .name = NAME(0), .no_reset = true } } } },
};

/* ---- begin and end ---- */

/* At a multiple of what the largest page size in the tests wants, wherever the system puts mappings. */
static char *aligned_memory(void)
{
	const size_t size = PAGES * PAGE, most = 65536;
	char *m = mmap(NULL, size + most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert(m != MAP_FAILED);
	size_t before = -(uintptr_t)m % most;
	if (before)
		munmap(m, before);
	munmap(m + before + size, most - before);
	return m + before;
}

static void (*on_model)(struct model *model);

void fixture_on_model(void (*visit)(struct model *model))
{
	on_model = visit;
}

static struct vfd_log_options log_options = { .struct_size = sizeof log_options };

void fixture_arena(void *arena, uint64_t size)
{
	log_options.arena = arena;
	log_options.arena_size = size;
}

static void make_log(struct fixture *f)
{
	f->memory = aligned_memory();
	struct vfd_region region = {
		.struct_size = sizeof region,
		.address = LOG_ADDRESS,
		.size = PAGES * PAGE,
		.memory = f->memory,
	};
	OK(vfd_log_create(&log_options, &f->log, &f->err));
	OK(vfd_region_add(f->log, &region, &f->err));
}

void fixture_begin(struct fixture *f, const struct model_config *config)
{
	fixture_begin_flags(f, config, VFD_FIND_MEMORY | VFD_FIND_LOG);
}

void fixture_begin_flags(struct fixture *f, const struct model_config *config, uint32_t flags)
{
	if (mode == MODE_COMPAT)
		fixture_refused(f, config);
	fixture_begin_on(f, mode_config(config), flags, mode_backend());
	ck_assert(mode != MODE_IOMMUFD || info_of(f).kind == VFD_KIND_IOMMUFD);
}

static void begin(struct fixture *f, const struct model_config *config)
{
	memset(f, 0, sizeof *f);
	f->model = model_new(config);
	if (on_model)
		on_model(f->model);
	make_log(f);
}

/* Every test hears what there is to tell, though few look at it: none is empty, and telling disturbs nothing. Check asks for memory, also for
 * what holds. */
static void hear(const struct vfd_message *message, void *opaque)
{
	(void)opaque;
	if (strlen(message->text) < 10)
		ck_abort_msg("a message says \"%s\"", message->text);
}

void fixture_begin_on(struct fixture *f, const struct model_config *config, uint32_t flags,
		      enum vfd_backend backend)
{
	begin(f, config);
	struct vfd_container_options options = {
		.struct_size = sizeof options,
		.flags = flags,
		.log = f->log,
		.backend = backend,
	};
	OK(container_open_on(&f->model->sys, &options, &f->container, &f->err));
	OK(vfd_container_messages(f->container, VFD_LEVEL_DEBUG, hear, f, &f->err));
}

void fixture_refused(struct fixture *f, const struct model_config *config)
{
	struct vfd_container_options options = { .struct_size = sizeof options };
	struct model_config compat = { .group_count = 1, .groups = { EMULATED(7, NAME(0)) } };

	if (config)
		compat = *config;
	compat.container = MODEL_COMPAT;
	begin(f, &compat);
	options.log = f->log;
	REFUSED(VFD_EUNSUPPORTED, container_open_on(&f->model->sys, &options, &f->container, &f->err));
	ck_assert_ptr_null(f->container);
	fixture_end(f);
	exit(EXIT_SUCCESS);
}

void fixture_pieces(struct fixture *f, const struct model_config *config, uint64_t count, uint64_t size,
		    uint64_t stride)
{
	fixture_begin(f, config);
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	OK(vfd_device_open(f->group, config == &emulated_pci ? PCI_NAME : NAME(0), &f->device, &f->err));
	for (uint64_t i = 0; i < count; i++)
		OK(map_pages(f, i * stride, i * stride, size, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
}

void fixture_track(struct fixture *f, const struct model_config *config)
{
	fixture_pieces(f, config, 1, PAGES, PAGES);
}

static void check_leaks(struct model *m)
{
	struct model_counts left = model_counts(m);

	ck_assert_uint_eq(left.descriptors, 0);
	ck_assert_uint_eq(left.areas, 0);
	ck_assert_uint_eq(left.scratch, 0);
	ck_assert_uint_eq(left.triggers, 0);
	ck_assert_uint_eq(left.containers, 0);
	ck_assert_uint_eq(left.iommus, 0);
}

void fixture_club(struct fixture *f)
{
	f->container->space.alone = false;
}

void fixture_end(struct fixture *f)
{
	ck_assert_msg(!model_crashed(f->model), "%s", model_crashed(f->model));
	if (f->container)
		OK(vfd_container_close(&f->container, VFD_DISCARD, &f->err));
	if (f->log)
		OK(vfd_log_destroy(&f->log, VFD_DISCARD, &f->err));
	ck_assert_msg(!model_crashed(f->model), "%s", model_crashed(f->model));
	check_leaks(f->model);
	model_free(f->model);
	munmap(f->memory, PAGES * PAGE);
	for (int i = 0; i < 2; i++)
		free(f->runners[i].name);
}

/* ---- commands ---- */

struct vfd_mapping mapping_of(const struct fixture *f, uint64_t iova, uint64_t memory, uint64_t count)
{
	return (struct vfd_mapping){
		.struct_size = sizeof(struct vfd_mapping),
		.flags = RW,
		.iova = iova * PAGE,
		.size = count * PAGE,
		.memory = f->memory + memory * PAGE,
	};
}

int map_pages(struct fixture *f, uint64_t iova, uint64_t memory, uint64_t count, uint32_t flags)
{
	struct vfd_mapping mapping = mapping_of(f, iova, memory, count);

	mapping.flags = flags;
	return vfd_map(f->container, &mapping, &f->err);
}

int unmap_pages(struct fixture *f, uint64_t iova, uint64_t count)
{
	return vfd_unmap(f->container, iova * PAGE, count * PAGE, &f->err);
}

static void command(struct fixture *f, unsigned long request, struct vfdtest_range range)
{
	range.iova *= PAGE;
	range.size *= PAGE;
	int rc = model_vfdtest(f->model, request, &range);
	ck_assert_msg(!rc, "device command %#lx at page %#llx: %s", request, range.iova / PAGE,
		      strerror(-rc));
}

/* One that was reset writes when its driver has set it to work. */
static int dma(struct fixture *f, unsigned index, uint64_t iova, uint64_t count, uint64_t value)
{
	const struct vfd_device *device = index ? f->device2 : f->device;
	const char *name = device ? device->name : index ? NAME(1) : NAME(0);
	const struct sys *sys = &f->model->sys;
	int rc = model_dma_write(f->model, name, iova * PAGE, count * PAGE, value);

	if (rc != -EACCES || !device)
		return rc;
	sys->pwrite(sys, device->fd, &value, 4, 0);
	return model_dma_write(f->model, name, iova * PAGE, count * PAGE, value);
}

void device_writes(struct fixture *f, unsigned index, uint64_t iova, uint64_t count)
{
	static uint64_t value;

	if (mode == MODE_IOMMUFD) {
		ck_assert_int_eq(dma(f, index, iova, count, ++value), 0);
		return;
	}
	command(f, VFDTEST_WRITE,
		(struct vfdtest_range){ .device = index, .iova = iova, .size = count, .value = ++value });
}

void device_pins(struct fixture *f, unsigned index, uint64_t iova, uint64_t count)
{
	if (mode == MODE_IOMMUFD) {
		device_writes(f, index, iova, count);
		return;
	}
	command(f, VFDTEST_PIN,
		(struct vfdtest_range){
			.device = index, .flags = VFDTEST_PIN_WRITE, .iova = iova, .size = count });
}

void device_unpins(struct fixture *f, unsigned index, uint64_t iova, uint64_t count)
{
	if (mode == MODE_IOMMUFD)
		return;
	command(f, VFDTEST_UNPIN, (struct vfdtest_range){ .device = index, .iova = iova, .size = count });
}

/* The second time it runs as before: a thread may be giving it steps. */
static void dma_runs(struct fixture *f, unsigned index, uint64_t iova, uint64_t count)
{
	const struct vfd_device *device = index ? f->device2 : f->device;

	if (!f->runners[index].name)
		f->runners[index] = (struct runner){ strdup(device->name), iova, count, index + 1 };
}

static uint64_t dma_steps(struct fixture *f, unsigned index, uint64_t count)
{
	struct runner *r = &f->runners[index];
	uint64_t done = 0;

	for (uint64_t i = 0; i < count; i++) {
		r->state = r->state * UINT64_C(6364136223846793005) + 1442695040888963407u;
		uint64_t page = r->first + (r->state >> 33) % r->count;
		done += !model_dma_write(f->model, r->name, page * PAGE, 8, r->state);
	}
	return done;
}

void device_runs(struct fixture *f, unsigned index, uint64_t iova, uint64_t count)
{
	struct vfdtest_run run = { .device = index, .iova = iova * PAGE, .size = count * PAGE, .seed = 7 };

	if (mode == MODE_IOMMUFD) {
		dma_runs(f, index, iova, count);
		return;
	}
	int rc = model_vfdtest(f->model, VFDTEST_RUN, &run);
	ck_assert(!rc || rc == -EBUSY); /* it runs already */
}

uint64_t device_steps(struct fixture *f, unsigned index, uint64_t count)
{
	return mode == MODE_IOMMUFD ? dma_steps(f, index, count) : model_step(f->model, index, count);
}

void device_knob(struct fixture *f, unsigned index, uint32_t knob, uint64_t value)
{
	struct vfdtest_set set = { .device = index, .knob = knob, .value = value };

	ck_assert_int_eq(model_vfdtest(f->model, VFDTEST_SET, &set), 0);
}

int harvest(struct fixture *f, unsigned flags)
{
	return vfd_track_harvest(f->container, flags, NULL, &f->err);
}

/* ---- behind the library's back ---- */

int raw_ioctl(struct fixture *f, int fd, unsigned long request, void *arg)
{
	return f->model->sys.ioctl(&f->model->sys, fd, request, arg);
}

int raw_switch(struct fixture *f, uint32_t flag)
{
	struct vfio_iommu_type1_dirty_bitmap arg = { .argsz = sizeof arg, .flags = flag };

	return raw_ioctl(f, vfd_container_fd(f->container), VFIO_IOMMU_DIRTY_PAGES, &arg);
}

int raw_get(struct fixture *f, uint64_t iova, uint64_t count, uint64_t *words)
{
	struct uapi_dirty_get arg = {
		.argsz = sizeof arg,
		.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
		.iova = iova * PAGE,
		.size = count * PAGE,
		.bitmap = { .pgsize = PAGE, .size = (count + 63) / 64 * 8, .data = (uintptr_t)words },
	};

	return raw_ioctl(f, vfd_container_fd(f->container), VFIO_IOMMU_DIRTY_PAGES, &arg);
}

int raw_map(struct fixture *f, uint64_t iova, uint64_t memory, uint64_t count)
{
	struct vfio_iommu_type1_dma_map arg = {
		.argsz = sizeof arg,
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)(f->memory + memory * PAGE),
		.iova = iova * PAGE,
		.size = count * PAGE,
	};

	return raw_ioctl(f, vfd_container_fd(f->container), VFIO_IOMMU_MAP_DMA, &arg);
}

int raw_unmap(struct fixture *f, uint64_t iova, uint64_t count)
{
	struct uapi_unmap arg = { .argsz = UAPI_UNMAP_PLAIN_SIZE, .iova = iova * PAGE, .size = count * PAGE };

	return raw_ioctl(f, vfd_container_fd(f->container), VFIO_IOMMU_UNMAP_DMA, &arg);
}

/* ---- the oracle ---- */

static void add_runs(struct fixture *f, struct vfd_batch *batch, uint64_t *bitmap)
{
	struct vfd_consumer *consumer = vfd_log_consumer(f->log);
	struct vfd_run run;
	size_t count;

	for (;;) {
		OK(vfd_batch_runs(consumer, batch, &run, 1, &count, &f->err));
		if (!count)
			return;
		uint64_t first = (run.address - LOG_ADDRESS) / PAGE;
		ck_assert_ptr_eq(run.memory, f->memory + first * PAGE);
		for (uint64_t i = first; i < first + run.size / PAGE; i++)
			bitmap[i / 64] |= UINT64_C(1) << i % 64;
	}
}

uint64_t logged(struct fixture *f, uint64_t *bitmap)
{
	struct vfd_consumer *consumer = vfd_log_consumer(f->log);
	struct vfd_batch batch;

	memset(bitmap, 0, WORDS * 8);
	OK(vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, &f->err));
	if (!batch.id)
		return 0;
	add_runs(f, &batch, bitmap);
	OK(vfd_rollback(consumer, &batch, 0, UINT64_MAX, &f->err));
	return batch.pages;
}

bool is_logged(struct fixture *f, uint64_t page)
{
	uint64_t bitmap[WORDS];

	logged(f, bitmap);
	return bitmap[page / 64] >> page % 64 & 1;
}

uint64_t reported(struct fixture *f)
{
	struct vfd_count count;

	OK(vfd_consumer_count(vfd_log_consumer(f->log), 0, UINT64_MAX, &count, &f->err));
	return count.reported;
}

void forget_log(struct fixture *f)
{
	struct vfd_consumer *consumer = vfd_log_consumer(f->log);
	struct vfd_batch batch;

	OK(vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, &f->err));
	if (batch.id)
		OK(vfd_commit(consumer, &batch, 0, UINT64_MAX, &f->err));
	model_forget(f->model);
}

/* device: NULL for all that there is */
static void add_set(struct fixture *f, const char *device, enum model_set set, uint64_t *bitmap)
{
	if (device)
		model_device_pages(f->model, device, set, f->memory, PAGES * PAGE, bitmap);
	else
		model_pages(f->model, set, f->memory, PAGES * PAGE, bitmap);
}

/* What the library says that it owes at the end: its own word, believed here because the end is checked without it. */
static void add_deferred(struct fixture *f, uint64_t *bitmap)
{
	struct space *space = f->container ? &f->container->space : NULL;
	struct index_cursor at;

	if (!space || !space->tracking)
		return;
	for (bool more = index_seek(&space->table.iova, 0, &at); more; more = index_next(&at)) {
		const struct mapping *m = at.item;
		if (!mapping_tracked(m) || !space_owes_all(space, m))
			continue;
		uint64_t first = (m->log_address - LOG_ADDRESS) / PAGE;
		for (uint64_t p = first; p < first + range_size(m->where) / PAGE; p++)
			bitmap[p / 64] |= UINT64_C(1) << p % 64;
	}
}

static void check_subset(const uint64_t *small, const uint64_t *large, const char *what)
{
	for (uint64_t p = 0; p < PAGES; p++)
		ck_assert_msg(!(small[p / 64] & ~large[p / 64] & UINT64_C(1) << p % 64), "page %d: %s",
			      (int)p, what);
}

void check_device_law(struct fixture *f, const char *device)
{
	uint64_t truth[WORDS] = { 0 }, known[WORDS];

	logged(f, known);
	add_set(f, device, MODEL_TRUTH, truth);
	add_set(f, device, MODEL_HELD, known);
	add_deferred(f, known);
	check_subset(truth, known, "written, but neither in the log nor to come: LOST");
}

void check_law(struct fixture *f)
{
	check_device_law(f, NULL);
}

void check_device_logged(struct fixture *f, const char *device)
{
	uint64_t truth[WORDS] = { 0 }, known[WORDS];

	logged(f, known);
	add_set(f, device, MODEL_TRUTH, truth);
	check_subset(truth, known, "written, but not in the log: LOST");
}

void check_all_logged(struct fixture *f)
{
	check_device_logged(f, NULL);
}

void check_exact(struct fixture *f)
{
	uint64_t returned[WORDS] = { 0 }, log[WORDS];

	logged(f, log);
	add_set(f, NULL, MODEL_RETURNED, returned);
	check_subset(returned, log, "returned by the kernel, but not in the log: LOST");
	add_set(f, NULL, MODEL_SPOILED, returned);
	check_subset(log, returned, "in the log, but neither returned by the kernel nor spoiled by a fault");
}

void check_precise(struct fixture *f)
{
	uint64_t truth[WORDS] = { 0 }, returned[WORDS] = { 0 }, log[WORDS];

	logged(f, log);
	add_set(f, NULL, MODEL_TRUTH, truth);
	add_set(f, NULL, MODEL_RETURNED, returned);
	check_subset(truth, log, "written, but not in the log: LOST");
	check_subset(log, returned, "in the log, but not returned by the kernel");
	check_subset(returned, truth, "returned by the kernel, but never written");
}

void check_unmapped(struct fixture *f)
{
	if (mode == MODE_TYPE1) {
		check_precise(f);
		return;
	}
	check_all_logged(f);
	check_exact(f);
}

/* ---- frame ---- */

struct vfd_container_info info_of(struct fixture *f)
{
	struct vfd_container_info info = { .struct_size = sizeof info };

	OK(vfd_container_info(f->container, &info, &f->err));
	return info;
}

struct vfd_plan plan_of(struct fixture *f)
{
	struct vfd_plan plan = { .struct_size = sizeof plan };

	OK(vfd_track_plan(f->container, &plan, &f->err));
	return plan;
}

void add_trap(Suite *suite, int trap, const char *what, const TTest *test)
{
	add_tagged_trap(suite, trap, "", what, test);
}

void add_tagged_trap(Suite *suite, int trap, const char *needs, const char *what, const TTest *test)
{
	char tag[32];
	TCase *tcase = tcase_create(what);

	snprintf(tag, sizeof tag, "trap%d %s", trap, needs);
	tcase_set_tags(tcase, tag);
	tcase_set_timeout(tcase, 30);
	tcase_add_test(tcase, test);
	suite_add_tcase(suite, tcase);
}

void add_case(Suite *suite, const char *name, const TTest *test)
{
	add_tagged(suite, "", name, test);
}

void add_tagged(Suite *suite, const char *tag, const char *name, const TTest *test)
{
	TCase *tcase = tcase_create(name);

	tcase_set_tags(tcase, tag);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, test);
	suite_add_tcase(suite, tcase);
}

int run_suite(Suite *suite)
{
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_NORMAL);
	modes_print(runner);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
