/* SPDX-License-Identifier: MIT */

/* The rows of the real kernel: runs in the guest of tests/kernel/run.sh. A device writes some thousand pages, then the library
 * harvests; in turn the bare ioctl, one for everything, into memory that is ready; and one ioctl for each mapping. */

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <vfiodirty.h>

#include "bench.h"
#include "kernel/vfdtest.h"

#define PAGE	    VFDTEST_PAGE_SIZE
#define MIB	    (UINT64_C(1) << 20)
#define IOVA	    (UINT64_C(1) << 40)
#define LOG_ADDRESS (UINT64_C(1) << 44)
#define SAMPLE	    64 /* one mapping of so many is asked for alone: the kernel's cost depends on where it lies */

enum { WRITES = 4096 };

struct layout {
	uint64_t count, size, stride; /* mappings, bytes */
};

static struct layout layout;
static struct vfd_log *dirty_log;
static struct vfd_container *container;
static struct vfd_device *device;
static void *memory;
static uint64_t *scratch, *truth, *seen;
static int testdev = -1;

static uint64_t span_bytes(void)
{
	return (layout.count - 1) * layout.stride + layout.size;
}

static uint64_t bitmap_bytes(uint64_t bytes)
{
	return (bytes / PAGE + 63) / 64 * 8;
}

/* ---- the device ---- */

static void command(const char *what, unsigned long request, void *arg)
{
	must(what, ioctl(testdev, request, arg) < 0 ? -errno : 0);
}

/* The same pages in every round: memory is small here. */
static void device_writes(void)
{
	uint64_t seed = 3;

	for (unsigned i = 0; i < WRITES; i++) {
		uint64_t mapping = random_next(&seed) % layout.count;
		uint64_t page = random_next(&seed) % (layout.size / PAGE);
		struct vfdtest_range range = { .iova = IOVA + mapping * layout.stride + page * PAGE,
					       .size = 8,
					       .value = i };
		command("WRITE", VFDTEST_WRITE, &range);
	}
}

/* What the device wrote, and forget it. */
static void read_truth(void)
{
	struct vfdtest_truth question = {
		.flags = VFDTEST_TRUTH_CLEAR, .iova = IOVA, .size = span_bytes(), .bitmap = (uintptr_t)truth
	};

	command("TRUTH", VFDTEST_TRUTH, &question);
}

/* ---- the log against the truth ---- */

static void take_log(void)
{
	struct vfd_consumer *consumer = vfd_log_consumer(dirty_log);
	struct vfd_run runs[256];
	struct vfd_batch batch;
	size_t count;

	memset(seen, 0, bitmap_bytes(span_bytes()));
	must("vfd_take", vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, NULL));
	if (!batch.id)
		return;
	while (!vfd_batch_runs(consumer, &batch, runs, 256, &count, NULL) && count)
		for (size_t i = 0; i < count; i++)
			for (uint64_t at = 0; at < runs[i].size; at += PAGE) {
				uint64_t page = (runs[i].address - LOG_ADDRESS + at) / PAGE;
				seen[page / 64] |= UINT64_C(1) << page % 64;
			}
	must("vfd_commit", vfd_commit(consumer, &batch, 0, UINT64_MAX, NULL));
}

/* Bits that the kernel makes up where mappings are not aligned to 64 pages must be labelled. */
static bool said_unaligned(void)
{
	struct vfd_cause causes[64];
	size_t count;

	must("vfd_consumer_causes",
	     vfd_consumer_causes(vfd_log_consumer(dirty_log), causes, 64, &count, NULL));
	for (size_t i = 0; i < count && i < 64; i++)
		if (!strcmp(causes[i].who, "type1, unaligned"))
			return true;
	return false;
}

/* Nothing is lost; nothing is added without a label. Returns how many pages were. */
static uint64_t check_log(void)
{
	bool label = said_unaligned();
	uint64_t lost = 0, added = 0;

	read_truth();
	take_log();
	for (uint64_t w = 0; w < bitmap_bytes(span_bytes()) / 8; w++) {
		lost += (uint64_t)__builtin_popcountll(truth[w] & ~seen[w]);
		added += (uint64_t)__builtin_popcountll(seen[w] & ~truth[w]);
	}
	must_agree("pages lost", lost, 0);
	must("the log has pages that the device did not write, without a label", added && !label ? -1 : 0);
	return added;
}

/* ---- the contenders: milliseconds ---- */

static double harvest(void *arg)
{
	struct samples *added = arg;
	struct vfd_error err;

	device_writes();
	double began = wall_ns();
	int rc = vfd_track_harvest(container, 0, NULL, &err);
	double took = wall_ns() - began;
	if (rc)
		fprintf(stderr, "%s\n", err.message);
	must("vfd_track_harvest", rc);
	added->values[added->count++] = (double)check_log();
	return took / 1e6;
}

static void get(uint64_t iova, uint64_t bytes)
{
	struct vfio_iommu_type1_dirty_bitmap_get range = {
		.iova = iova,
		.size = bytes,
		.bitmap = { .pgsize = PAGE, .size = bitmap_bytes(bytes), .data = (void *)scratch },
	};
	struct vfio_iommu_type1_dirty_bitmap head = { .argsz = sizeof head + sizeof range,
						      .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP };
	_Alignas(8) char question[sizeof head + sizeof range];

	memcpy(question, &head, sizeof head);
	memcpy(question + sizeof head, &range, sizeof range);
	must("GET_BITMAP", ioctl(vfd_container_fd(container), VFIO_IOMMU_DIRTY_PAGES, question) ? -errno : 0);
}

static double bare(void *arg)
{
	(void)arg;
	device_writes();
	double began = wall_ns();
	get(IOVA, span_bytes());
	double took = wall_ns() - began;
	read_truth();
	return took / 1e6;
}

/* A sample of the mappings, another one each time, stands for all. */
static double one_by_one(void *arg)
{
	unsigned *first = arg;
	uint64_t asked = 0;

	device_writes();
	double began = wall_ns();
	for (uint64_t i = *first; i < layout.count; i += SAMPLE, asked++)
		get(IOVA + i * layout.stride, layout.size);
	double took = wall_ns() - began;
	*first = (*first + 7) % SAMPLE;
	get(IOVA, span_bytes()); /* what was not asked for */
	read_truth();
	return took / 1e6 * (double)layout.count / (double)asked;
}

/* ---- a container ---- */

static void *reserve(uint64_t bytes, int populate)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | populate, -1, 0);

	must("memory", at == MAP_FAILED ? -errno : 0);
	return at;
}

static void map_all(void)
{
	for (uint64_t i = 0; i < layout.count; i++) {
		struct vfd_mapping mapping = {
			.struct_size = sizeof mapping,
			.flags = VFD_MAP_READ | VFD_MAP_WRITE,
			.iova = IOVA + i * layout.stride,
			.size = layout.size,
			.memory = (char *)memory + i * layout.stride,
		};
		must("vfd_map", vfd_map(container, &mapping, NULL));
	}
}

static void open_log(void)
{
	struct vfd_region region = {
		.struct_size = sizeof region, .address = LOG_ADDRESS, .size = span_bytes(), .memory = memory
	};

	must("vfd_log_create", vfd_log_create(NULL, &dirty_log, NULL));
	must("vfd_region_add", vfd_region_add(dirty_log, &region, NULL));
}

static void open_container(void)
{
	struct vfd_container_options how = { .struct_size = sizeof how, .log = dirty_log };
	struct vfdtest_status status = { .device = 0 };
	struct vfd_group *group;

	testdev = testdev < 0 ? open(VFDTEST_PATH, O_RDWR | O_CLOEXEC) : testdev;
	command("STATUS", VFDTEST_STATUS, &status);
	must("vfd_container_open", vfd_container_open(&how, &container, NULL));
	must("vfd_group_attach", vfd_group_attach(container, status.group, &group, NULL));
	must("vfd_track_start", vfd_track_start(container, NULL, NULL, NULL));
	must("vfd_device_open", vfd_device_open(group, "vfdtest.0", &device, NULL));
}

static void begin(struct layout what)
{
	layout = what;
	memory = reserve(span_bytes(), 0);
	scratch = reserve(bitmap_bytes(span_bytes()), MAP_POPULATE);
	truth = reserve(bitmap_bytes(span_bytes()), MAP_POPULATE);
	seen = reserve(bitmap_bytes(span_bytes()), MAP_POPULATE);
	open_log();
	open_container();
	map_all();
}

static void end(void)
{
	must("vfd_container_close", vfd_container_close(&container, VFD_DISCARD, NULL));
	must("vfd_log_destroy", vfd_log_destroy(&dirty_log, VFD_DISCARD, NULL));
	munmap(memory, span_bytes());
	munmap(scratch, bitmap_bytes(span_bytes()));
	munmap(truth, bitmap_bytes(span_bytes()));
	munmap(seen, bitmap_bytes(span_bytes()));
}

/* ---- the rows ---- */

/* Of WRITES pages that were written: what the log has besides, labelled. */
static void print_added(const char *name, const struct samples *added)
{
	char text[64];

	snprintf(text, sizeof text, "%s-added", name);
	row_print(&(struct row){ .name = text, .unit = "pages" }, added, NULL);
}

static void rows(struct layout what, const char *name, double times, double faster)
{
	unsigned first = 0;
	struct samples added = { 0 };
	struct contender all[] = { { .once = harvest, .arg = &added },
				   { .once = bare },
				   { .once = one_by_one, .arg = &first } };

	begin(what);
	race(all, 3, repetitions(15));
	row_print(
		&(struct row){
			.name = name, .unit = "ms", .peer = "one bare GET_BITMAP", .at_most_times = times },
		&all[0].took, &all[1].took);
	row_print(&(struct row){ .name = name,
				 .unit = "ms",
				 .peer = "one GET_BITMAP per mapping",
				 .at_least_times = faster },
		  &all[0].took, &all[2].took);
	if (figure_of(&added).median > 0)
		print_added(name, &added);
	end();
}

static void rows_large(void)
{
	rows((struct layout){ 32768, 2 * MIB, 2 * MIB }, "harvest-32768-of-2MiB", 1.15, 400);
}

static void rows_small(void)
{
	rows((struct layout){ 65000, PAGE, PAGE }, "harvest-65000-of-4KiB", 1.25, 0);
}

static void rows_spread(void)
{
	rows((struct layout){ 65000, PAGE, 16 * MIB }, "harvest-65000-pages-in-1TiB", 2.5, 0);
}

int main(int argc, char **argv)
{
	static const struct group groups[] = { { "kernel-large", rows_large },
					       { "kernel-small", rows_small },
					       { "kernel-spread", rows_spread } };

	options_parse(argc, argv);
	return groups_run(groups, sizeof groups / sizeof *groups);
}
