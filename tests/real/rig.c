/* SPDX-License-Identifier: MIT */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static void die(const char *what, const char *why)
{
	printf("not ok 1 - %s: %s\n", what, why);
	exit(1);
}

/* ---- sets of pages ---- */

unsigned pages_count(const struct pages *pages)
{
	static const struct pages none;

	return pages_missing(pages, &none);
}

unsigned pages_missing(const struct pages *a, const struct pages *b)
{
	unsigned count = 0;

	for (int i = 0; i < RIG_WORDS; i++)
		count += (unsigned)__builtin_popcountll(a->words[i] & ~b->words[i]);
	return count;
}

void ok_nothing_lost(const struct pages *log, const struct pages *truth, const char *what)
{
	unsigned lost = pages_missing(truth, log);

	ok(!lost && pages_count(truth), "%s: %u pages written, %u lost", what, pages_count(truth), lost);
}

void ok_exact(const struct pages *log, const struct pages *truth, const char *what)
{
	unsigned lost = pages_missing(truth, log), added = pages_missing(log, truth);

	ok(!lost && !added && pages_count(truth), "%s: %u pages written, %u lost, %u added", what,
	   pages_count(truth), lost, added);
}

/* ---- devices ---- */

int rig_command(unsigned long request, void *arg)
{
	static int fd = -1;

	if (fd < 0)
		fd = open(VFDTEST_PATH, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die("open " VFDTEST_PATH, strerror(errno));
	return ioctl(fd, request, arg) < 0 ? -errno : 0;
}

static struct vfdtest_range range_of(unsigned index, uint64_t page, uint64_t count)
{
	return (struct vfdtest_range){ .device = index,
				       .iova = RIG_IOVA + page * RIG_PAGE,
				       .size = count * RIG_PAGE };
}

int rig_write(unsigned index, uint64_t page, uint64_t count, uint64_t value)
{
	struct vfdtest_range range = range_of(index, page, count);

	range.value = value;
	return rig_command(VFDTEST_WRITE, &range);
}

int rig_pin(unsigned index, uint64_t page, uint64_t count)
{
	struct vfdtest_range range = range_of(index, page, count);

	range.flags = VFDTEST_PIN_WRITE;
	return rig_command(VFDTEST_PIN, &range);
}

int rig_unpin(unsigned index, uint64_t page, uint64_t count)
{
	struct vfdtest_range range = range_of(index, page, count);

	return rig_command(VFDTEST_UNPIN, &range);
}

int rig_run(unsigned index, uint64_t page, uint64_t count, uint64_t seed)
{
	struct vfdtest_run run = {
		.device = index,
		.iova = RIG_IOVA + page * RIG_PAGE,
		.size = count * RIG_PAGE,
		.seed = seed,
		.period_ns = 20000,
		.burst = 2,
	};

	return rig_command(VFDTEST_RUN, &run);
}

uint64_t rig_halt(unsigned index)
{
	struct vfdtest_halt halt = { .device = index };

	rig_command(VFDTEST_HALT, &halt);
	return halt.writes;
}

int rig_set(unsigned index, uint32_t knob, uint64_t value)
{
	struct vfdtest_set set = { .device = index, .knob = knob, .value = value };

	return rig_command(VFDTEST_SET, &set);
}

struct vfdtest_status rig_status(unsigned index)
{
	struct vfdtest_status status = { .device = index };

	if (rig_command(VFDTEST_STATUS, &status))
		status.group = -1;
	return status;
}

static uint64_t all_writes(void)
{
	uint64_t writes = 0;

	for (unsigned i = 0; i < RIG_GROUPS; i++)
		writes += rig_status(i).writes;
	return writes;
}

void rig_await_writes(uint64_t count)
{
	uint64_t before = all_writes();

	usleep(5000);
	for (int i = 0; i < 5000 && all_writes() - before < count; i++)
		usleep(5000);
}

int rig_group_number(unsigned index)
{
	return rig_status(index).group;
}

static void add_truth(struct rig *rig, unsigned index)
{
	struct pages bits = { 0 };
	struct vfdtest_truth truth = {
		.device = index,
		.flags = VFDTEST_TRUTH_CLEAR,
		.iova = RIG_IOVA,
		.size = RIG_PAGES * RIG_PAGE,
		.bitmap = (uintptr_t)bits.words,
	};

	if (rig_command(VFDTEST_TRUTH, &truth))
		return; /* fewer devices than RIG_GROUPS */
	for (int i = 0; i < RIG_WORDS; i++)
		rig->truth.words[i] |= bits.words[i];
}

struct pages rig_truth(struct rig *rig)
{
	for (unsigned i = 0; i < RIG_GROUPS; i++)
		add_truth(rig, i);
	struct pages truth = rig->truth;
	rig->truth = (struct pages){ 0 };
	return truth;
}

void rig_forget(struct rig *rig)
{
	rig_truth(rig);
}

/* ---- the log ---- */

static void add_run(struct pages *pages, const struct vfd_run *run)
{
	uint64_t first = (run->address - RIG_LOG) / RIG_PAGE;

	for (uint64_t page = first; page < first + run->size / RIG_PAGE; page++)
		pages->words[page / 64] |= UINT64_C(1) << page % 64;
}

typedef int resolve(struct vfd_consumer *consumer, const struct vfd_batch *batch, uint64_t first,
		    uint64_t last, struct vfd_error *err);

static struct pages take_all(struct rig *rig, resolve *end)
{
	struct vfd_consumer *consumer = vfd_log_consumer(rig->log);
	struct pages pages = { 0 };
	struct vfd_batch batch;
	struct vfd_run runs[32];
	size_t count;

	if (vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, &rig->err))
		die("take", rig->err.message);
	if (!batch.id)
		return pages;
	while (!vfd_batch_runs(consumer, &batch, runs, 32, &count, &rig->err) && count)
		for (size_t i = 0; i < count; i++)
			add_run(&pages, &runs[i]);
	if (end(consumer, &batch, 0, UINT64_MAX, &rig->err))
		die("resolve", rig->err.message);
	return pages;
}

struct pages rig_owed(struct rig *rig)
{
	return take_all(rig, vfd_rollback);
}

struct pages rig_deliver(struct rig *rig)
{
	return take_all(rig, vfd_commit);
}

/* ---- the rig ---- */

void rig_open(struct rig *rig)
{
	rig_open_with(rig, 0);
}

static void *own_memory(void)
{
	void *memory =
		mmap(NULL, RIG_PAGES * RIG_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		die("memory", strerror(errno));
	return memory;
}

void rig_open_with(struct rig *rig, uint32_t flags)
{
	rig_open_on(rig, own_memory(), flags);
}

static void open_all(struct rig *rig, unsigned char *memory, const struct sys *sys,
		     struct vfd_container_options *options)
{
	struct vfd_region region = { .struct_size = sizeof region,
				     .address = RIG_LOG,
				     .size = RIG_PAGES * RIG_PAGE };

	*rig = (struct rig){ .memory = memory };
	region.memory = memory;
	if (vfd_log_create(NULL, &rig->log, &rig->err) || vfd_region_add(rig->log, &region, &rig->err))
		die("log", rig->err.message);
	options->log = rig->log;
	if (container_open_on(sys, options, &rig->container, &rig->err))
		die("open", rig->err.message);
	rig_forget(rig);
}

void rig_open_native_on(struct rig *rig, unsigned char *memory, const struct sys *sys, uint32_t flags)
{
	struct vfd_container_options options = { .struct_size = sizeof options,
						 .flags = flags,
						 .backend = VFD_BACKEND_IOMMUFD };

	open_all(rig, memory ? memory : own_memory(), sys, &options);
}

void rig_open_native(struct rig *rig, unsigned char *memory, const struct sys *sys)
{
	rig_open_native_on(rig, memory, sys, 0);
}

void rig_open_on(struct rig *rig, unsigned char *memory, uint32_t flags)
{
	struct vfd_container_options options = { .struct_size = sizeof options, .flags = flags };

	open_all(rig, memory, &rig_sys, &options);
}

int rig_map(struct rig *rig, uint64_t page, uint64_t count, uint32_t flags)
{
	struct vfd_mapping mapping = {
		.struct_size = sizeof mapping,
		.flags = flags,
		.iova = RIG_IOVA + page * RIG_PAGE,
		.size = count * RIG_PAGE,
		.memory = rig->memory + page * RIG_PAGE,
	};

	return vfd_map(rig->container, &mapping, &rig->err);
}

int rig_unmap(struct rig *rig, uint64_t page, uint64_t count)
{
	return vfd_unmap(rig->container, RIG_IOVA + page * RIG_PAGE, count * RIG_PAGE, &rig->err);
}

static void must(struct rig *rig, int rc, const char *what)
{
	if (rc)
		die(what, rig->err.message);
}

void rig_map_all(struct rig *rig)
{
	must(rig, rig_map(rig, 0, 512, RIG_RW), "map");
	must(rig, rig_map(rig, 512, 512, RIG_RW), "map");
	must(rig, rig_map(rig, 1024, 451, RIG_RW), "map");
	must(rig, rig_map(rig, 1539, 509, RIG_RW), "map");
}

int rig_attach(struct rig *rig, unsigned index)
{
	return vfd_group_attach(rig->container, rig_group_number(index), &rig->groups[index], &rig->err);
}

int rig_open_device(struct rig *rig, unsigned index)
{
	char name[32];

	snprintf(name, sizeof name, "vfdtest.%u", index);
	return vfd_device_open(rig->groups[index], name, &rig->devices[index], &rig->err);
}

void rig_begin(struct rig *rig)
{
	rig_open(rig);
	must(rig, rig_attach(rig, 0), "attach");
	must(rig, vfd_track_start(rig->container, NULL, NULL, &rig->err), "start");
	rig_map_all(rig);
	must(rig, rig_open_device(rig, 0), "open device");
}

void rig_close(struct rig *rig)
{
	if (rig->container)
		ok_code(vfd_container_close(&rig->container, VFD_COLLECT, &rig->err), 0, &rig->err,
			"closing the container");
	must(rig, vfd_log_destroy(&rig->log, VFD_DISCARD, &rig->err), "destroy log");
	munmap(rig->memory, RIG_PAGES * RIG_PAGE);
	rig_forget(rig);
}
