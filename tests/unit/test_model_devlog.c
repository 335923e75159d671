/* SPDX-License-Identifier: MIT */
/* Devices' own logs in the model kernel, against what was read in Linux 6.12 and its drivers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <linux/pci_regs.h>

#include "fixture.h"
#include "kernel/vfdtest.h"
#include "uapi.h"

#define START (UAPI_FEATURE_SET | UAPI_FEATURE_LOG_START)
#define STOP  (UAPI_FEATURE_SET | UAPI_FEATURE_LOG_STOP)
#define LOG   (UAPI_FEATURE_GET | UAPI_FEATURE_LOG_REPORT)

enum { MEMORY_PAGES = 1024 };

/* ---- a machine: a physical group whose device keeps a log, and an emulated one that does as well ---- */

static struct model *m;
static int container, groups[2], device, vfdtest;
static char *memory;
static uint64_t *words; /* three pages */

static const struct model_log plain;

static const struct model_config machine = {
	.group_count = 2,
	.groups = { { .number = 20,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = PCI_NAME, .pci = true, .log = &plain } } },
		    { .number = 7,
		      .kind = MODEL_EMULATED,
		      .devices = { { .name = NAME(0), .log = &plain } } } },
};

static int sys_ioctl(int fd, unsigned long request, const void *argument)
{
	return m->sys.ioctl(&m->sys, fd, request, (void *)(uintptr_t)argument);
}

static int attach(const char *path)
{
	int fd = m->sys.open(&m->sys, path, 2);

	ck_assert_int_eq(sys_ioctl(fd, VFIO_GROUP_SET_CONTAINER, &container), 0);
	return fd;
}

static int map(uint64_t iova, uint64_t page, uint64_t count)
{
	struct vfio_iommu_type1_dma_map ask = { .argsz = sizeof ask,
						.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
						.iova = iova * PAGE,
						.vaddr = (uintptr_t)memory + page * PAGE,
						.size = count * PAGE };

	return sys_ioctl(container, VFIO_IOMMU_MAP_DMA, &ask);
}

static int unmap(uint64_t iova, uint64_t count)
{
	struct uapi_unmap ask = { .argsz = UAPI_UNMAP_PLAIN_SIZE, .iova = iova * PAGE, .size = count * PAGE };

	return sys_ioctl(container, VFIO_IOMMU_UNMAP_DMA, &ask);
}

static void master(bool on)
{
	uint8_t command = on ? PCI_COMMAND_MASTER : 0;

	m->sys.pwrite(&m->sys, device, &command, 1,
		      ((uint64_t)VFIO_PCI_CONFIG_REGION_INDEX << 40) + PCI_COMMAND);
}

static void up(const struct model_log *log)
{
	m = model_new(&machine);
	memory = mmap(NULL, MEMORY_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	words = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert(memory != MAP_FAILED && words != MAP_FAILED);
	container = m->sys.open(&m->sys, "/dev/vfio/vfio", 2);
	groups[0] = attach("/dev/vfio/20");
	groups[1] = attach("/dev/vfio/7");
	ck_assert_int_eq(sys_ioctl(container, VFIO_SET_IOMMU, (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU), 0);
	device = sys_ioctl(groups[0], VFIO_GROUP_GET_DEVICE_FD, PCI_NAME);
	vfdtest = sys_ioctl(groups[1], VFIO_GROUP_GET_DEVICE_FD, NAME(0));
	ck_assert_int_ge(device, MODEL_FIRST_FD);
	ck_assert_int_ge(vfdtest, MODEL_FIRST_FD);
	if (log)
		model_set_log(m, PCI_NAME, log);
	ck_assert_int_eq(map(0, 0, 256), 0);
	master(true);
}

static void down(void)
{
	ck_assert_msg(!model_crashed(m), "%s", model_crashed(m));
	model_free(m);
	munmap(memory, MEMORY_PAGES * PAGE);
	munmap(words, 3 * PAGE);
}

/* ---- calls ---- */

static int feature(int fd, uint32_t flags, uint32_t argsz, void *data, size_t size)
{
	struct {
		struct uapi_feature head;
		char data[64];
	} ask = { .head = { argsz, flags } };
	int result;

	memcpy(ask.data, data, size);
	result = sys_ioctl(fd, VFIO_DEVICE_FEATURE, &ask);
	memcpy(data, ask.data, size);
	return result;
}

static uint64_t answered; /* START's page size */

static int start_with(int fd, uint64_t page_size, const struct uapi_log_range *ranges, uint32_t count)
{
	struct uapi_log_control control = { page_size, count, 0, (uintptr_t)ranges };
	int result =
		feature(fd, START, sizeof(struct uapi_feature) + sizeof control, &control, sizeof control);

	answered = control.page_size;
	return result;
}

/* One range of pages. */
static int start(int fd, uint64_t first, uint64_t count)
{
	struct uapi_log_range range = { first * PAGE, count * PAGE };

	return start_with(fd, PAGE, &range, 1);
}

static int stop(int fd)
{
	char none = 0;

	return feature(fd, STOP, sizeof(struct uapi_feature), &none, 0);
}

static int report_of(int fd, uint64_t iova, uint64_t length, uint64_t page_size, const void *bitmap)
{
	struct uapi_log_report report = { iova, length, page_size, (uintptr_t)bitmap };

	return feature(fd, LOG, sizeof(struct uapi_feature) + sizeof report, &report, sizeof report);
}

static int report(uint64_t first, uint64_t count)
{
	return report_of(device, first * PAGE, count * PAGE, PAGE, words);
}

static int dma(uint64_t page)
{
	return model_dma_write(m, PCI_NAME, page * PAGE, 8, page + 1);
}

/* The bits of the first two pages, as text, and they are zero again: "4,32,42". */
static const char *bits(void)
{
	static char text[512];
	size_t used = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < 2 * PAGE * 8 && used < sizeof text - 8; i++)
		if (words[i / 64] >> (i % 64) & 1)
			used += (size_t)snprintf(text + used, sizeof text - used, used ? ",%u" : "%u", i);
	memset(words, 0, 2 * PAGE);
	return text;
}

static uint64_t pages(enum model_set set)
{
	return model_device_pages(m, PCI_NAME, set, memory, MEMORY_PAGES * PAGE, NULL);
}

static bool has(enum model_set set, uint64_t page)
{
	return model_device_pages(m, PCI_NAME, set, memory + page * PAGE, PAGE, NULL) &&
	       model_pages(m, set, memory + page * PAGE, PAGE, NULL);
}

/* ---- the frame ---- */

START_TEST(feature_checks)
{
	struct uapi_log_control control = { .page_size = PAGE };
	const uint32_t whole = sizeof(struct uapi_feature) + sizeof control;

	up(NULL);
	ck_assert_int_eq(sys_ioctl(device, VFIO_DEVICE_FEATURE, NULL), -EFAULT);
	ck_assert_int_eq(feature(device, START, 7, &control, sizeof control), -EINVAL);
	ck_assert_int_eq(feature(device, START | 1u << 19, whole, &control, sizeof control), -EINVAL);
	ck_assert_int_eq(feature(device, START | UAPI_FEATURE_GET, whole, &control, sizeof control), -EINVAL);
	ck_assert_int_eq(feature(device, START, whole - 1, &control, sizeof control), -EINVAL);
	ck_assert_int_eq(feature(device, UAPI_FEATURE_LOG_START, whole, &control, sizeof control), -EINVAL);
	ck_assert_int_eq(
		feature(device, UAPI_FEATURE_GET | UAPI_FEATURE_LOG_START, whole, &control, sizeof control),
		-EINVAL);
	ck_assert_int_eq(feature(device, UAPI_FEATURE_SET | 99, whole, &control, sizeof control), -ENOTTY);
	down();
}
END_TEST

START_TEST(probes)
{
	const uint32_t probe = UAPI_FEATURE_PROBE;
	char none = 0;

	up(NULL);
	ck_assert_int_eq(feature(device, START | probe, 8, &none, 0), 0);
	ck_assert_int_eq(feature(device, UAPI_FEATURE_LOG_REPORT | probe, 8, &none, 0), 0);
	ck_assert_int_eq(feature(device, LOG | probe, 8, &none, 0), 0);
	ck_assert_int_eq(feature(device, LOG | UAPI_FEATURE_SET | probe, 8, &none, 0), -EINVAL);
	ck_assert_uint_eq(model_log_page_size(m, PCI_NAME), 0);
	down();
	m = model_new(NULL); /* a device that keeps none */
	container = m->sys.open(&m->sys, "/dev/vfio/vfio", 2);
	int group = attach("/dev/vfio/7");
	ck_assert_int_eq(sys_ioctl(container, VFIO_SET_IOMMU, (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU), 0);
	int fd = sys_ioctl(group, VFIO_GROUP_GET_DEVICE_FD, NAME(0));
	ck_assert_int_eq(feature(fd, START | probe, 8, &none, 0), -ENOTTY);
	ck_assert_int_eq(start(fd, 0, 16), -ENOTTY);
	ck_assert_int_eq(stop(fd), -ENOTTY);
	model_free(m);
}
END_TEST

/* ---- START ---- */

START_TEST(start_checks)
{
	struct uapi_log_range two[2] = { { 0, 16 * PAGE }, { 8 * PAGE, 16 * PAGE } };
	struct uapi_log_range high = { UINT64_MAX - PAGE + 1, PAGE },
			      wrap = { UINT64_MAX - PAGE + 1, 2 * PAGE };
	struct uapi_log_range odd = { PAGE / 2, PAGE };

	up(NULL);
	ck_assert_int_eq(start_with(device, PAGE, two, 0), -EINVAL);
	ck_assert_int_eq(start_with(device, PAGE, two, 257), -E2BIG);
	ck_assert_int_eq(start_with(device, PAGE, NULL, 1), -EFAULT);
	ck_assert_int_eq(start_with(device, PAGE, &odd, 1), -EINVAL);
	ck_assert_int_eq(start_with(device, 1 << 20, two, 1), -EINVAL);
	ck_assert_int_eq(start_with(device, PAGE, two, 2), -EINVAL);
	ck_assert_int_eq(start_with(device, PAGE, &high, 1), -EOVERFLOW);
	ck_assert_int_eq(start_with(device, PAGE, &wrap, 1), -EOVERFLOW);
	ck_assert_uint_eq(model_log_page_size(m, PCI_NAME), 0);
	two[1].iova = 16 * PAGE;
	ck_assert_int_eq(start_with(device, PAGE, two, 2), 0);
	ck_assert_uint_eq(answered, PAGE);
	ck_assert_int_eq(start_with(device, PAGE, two, 2), -EINVAL);
	ck_assert_int_eq(dma(20), 0);
	ck_assert_int_eq(report(0, 64), 0);
	ck_assert_str_eq(bits(), "20");
	down();
}
END_TEST

START_TEST(start_256_ranges)
{
	struct uapi_log_range ranges[256];

	up(NULL);
	for (uint64_t i = 0; i < 256; i++)
		ranges[i] = (struct uapi_log_range){ 2 * i * PAGE, PAGE };
	ck_assert_int_eq(start_with(device, PAGE, ranges, 256), 0);
	ck_assert_int_eq(dma(1), 0);
	ck_assert_int_eq(dma(2), 0);
	ck_assert_int_eq(report(0, 256), 0);
	ck_assert_str_eq(bits(), "2"); /* 1 was written where nothing was armed */
	ck_assert(has(MODEL_TRUTH, 1));
	down();
}
END_TEST

START_TEST(start_limits)
{
	struct model_log log = { .range_limit = 2, .length_limit = 32 * PAGE, .total_limit = 40 * PAGE };
	struct uapi_log_range ranges[3] = { { 0, PAGE }, { 2 * PAGE, PAGE }, { 4 * PAGE, PAGE } };

	up(&log);
	ck_assert_int_eq(start_with(device, PAGE, ranges, 3), -E2BIG);
	ck_assert_int_eq(start(device, 0, 33), -EOPNOTSUPP);
	ranges[0].length = ranges[1].length = 24 * PAGE;
	ranges[1].iova = 64 * PAGE;
	ck_assert_int_eq(start_with(device, PAGE, ranges, 2), -EOPNOTSUPP);
	log.range_error = EOPNOTSUPP;
	log.length_error = EINVAL;
	model_set_log(m, PCI_NAME, &log);
	ck_assert_int_eq(start(device, 0, 33), -EINVAL);
	ranges[0].length = ranges[1].length = PAGE;
	ck_assert_int_eq(start_with(device, PAGE, ranges, 3), -EOPNOTSUPP);
	ck_assert_int_eq(start_with(device, PAGE, ranges, 2), 0);
	down();
}
END_TEST

/* Trap 44. */
START_TEST(start_answers_another_page_size)
{
	const struct model_log log = { .page_min = 65536, .page_max = 1 << 20 };
	struct uapi_log_range range = { 0, 2 << 20 };

	up(&log);
	ck_assert_int_eq(start(device, 1, 16), 0);
	ck_assert_uint_eq(answered, 65536);
	ck_assert_uint_eq(model_log_page_size(m, PCI_NAME), 65536);
	ck_assert_int_eq(stop(device), 0);
	ck_assert_int_eq(start_with(device, 2 << 20, &range, 1), 0);
	ck_assert_uint_eq(answered, 1 << 20);
	down();
}
END_TEST

START_TEST(start_that_cannot_answer)
{
	struct {
		struct uapi_feature head;
		struct uapi_log_control control;
		struct uapi_log_range range;
	} *ask = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	up(NULL);
	ask->head = (struct uapi_feature){ sizeof ask->head + sizeof ask->control, START };
	ask->control = (struct uapi_log_control){ PAGE, 1, 0, (uintptr_t)&ask->range };
	ask->range.length = 16 * PAGE;
	mprotect(ask, PAGE, PROT_READ);
	ck_assert_int_eq(sys_ioctl(device, VFIO_DEVICE_FEATURE, ask), -EFAULT);
	ck_assert_uint_eq(model_log_page_size(m, PCI_NAME), 0);
	munmap(ask, PAGE);
	down();
}
END_TEST

START_TEST(second_start_that_does_nothing)
{
	const struct model_log log = { .again = true };

	up(&log);
	ck_assert_int_eq(start(device, 0, 16), 0);
	ck_assert_int_eq(start(device, 64, 16), 0);
	ck_assert_int_eq(dma(64), 0);
	ck_assert_int_eq(dma(3), 0);
	ck_assert_int_eq(report(0, 128), 0);
	ck_assert_str_eq(bits(), "3");
	down();
}
END_TEST

/* ---- STOP, and other ends ---- */

START_TEST(stop_discards)
{
	up(NULL);
	ck_assert_int_eq(stop(device), 0);
	ck_assert_int_eq(start(device, 0, 64), 0);
	ck_assert_int_eq(dma(5), 0);
	ck_assert(has(MODEL_HELD, 5));
	ck_assert_int_eq(stop(device), 0);
	ck_assert(!pages(MODEL_HELD));
	ck_assert(has(MODEL_DROPPED, 5));
	ck_assert_uint_eq(pages(MODEL_DROPPED), 1);
	ck_assert_int_eq(report(0, 64), -EINVAL);
	ck_assert_int_eq(start(device, 0, 64), 0);
	ck_assert_int_eq(report(0, 64), 0);
	ck_assert_str_eq(bits(), "");
	down();
}
END_TEST

/* Whoever stops while the device can write, or starts again after that, must assume all that it can write. */
START_TEST(stop_spoils_unless_quiet)
{
	up(NULL);
	ck_assert_int_eq(start(device, 0, 64), 0);
	ck_assert_uint_eq(pages(MODEL_SPOILED), 0);
	master(false);
	ck_assert_int_eq(stop(device), 0);
	master(true);
	ck_assert_int_eq(start(device, 0, 64), 0);
	ck_assert_uint_eq(pages(MODEL_SPOILED), 0);
	ck_assert_int_eq(stop(device), 0);
	ck_assert_uint_eq(pages(MODEL_SPOILED), 64);
	ck_assert_int_eq(map(300, 300, 16), 0);
	ck_assert_int_eq(start(device, 32, 512), 0);
	ck_assert_uint_eq(pages(MODEL_SPOILED), 256 + 16); /* old and new */
	down();
}
END_TEST

/* Trap 47: before the bus master bit is cleared. */
START_TEST(close_ends_it)
{
	up(NULL);
	int other = m->sys.dup(&m->sys, device);
	ck_assert_int_eq(start(device, 0, 64), 0);
	ck_assert_int_eq(dma(9), 0);
	m->sys.close(&m->sys, other);
	ck_assert_uint_eq(model_log_page_size(m, PCI_NAME), PAGE);
	m->sys.close(&m->sys, device);
	ck_assert_uint_eq(model_log_page_size(m, PCI_NAME), 0);
	ck_assert(has(MODEL_DROPPED, 9));
	ck_assert_uint_eq(pages(MODEL_SPOILED), 64);
	device = sys_ioctl(groups[0], VFIO_GROUP_GET_DEVICE_FD, PCI_NAME);
	ck_assert_int_eq(report(0, 64), -EINVAL);
	down();
}
END_TEST

/* ---- REPORT ---- */

START_TEST(report_checks)
{
	up(NULL);
	ck_assert_int_eq(report(0, 64), -EINVAL);
	ck_assert_int_eq(start(device, 0, 64), 0);
	ck_assert_int_eq(report_of(device, 0, 64 * PAGE, 2048, words), -EINVAL);
	ck_assert_int_eq(report_of(device, 0, 64 * PAGE, 3 * PAGE, words), -EINVAL);
	ck_assert_int_eq(report_of(device, UINT64_MAX - PAGE + 1, PAGE, PAGE, words), -EOVERFLOW);
	ck_assert_int_eq(report_of(device, 0, 0, PAGE, words), 0);
	down();
}
END_TEST

START_TEST(report_ors_and_clears)
{
	up(NULL);
	ck_assert_int_eq(start(device, 0, 256), 0);
	ck_assert_int_eq(dma(4), 0);
	ck_assert_int_eq(dma(70), 0);
	words[0] = 1;
	words[1] = 1;
	ck_assert_int_eq(report(0, 64), 0);
	ck_assert_str_eq(bits(), "0,4,64");
	ck_assert(has(MODEL_RETURNED, 4) && !has(MODEL_RETURNED, 0) && has(MODEL_HELD, 70));
	ck_assert_int_eq(report(0, 256), 0);
	ck_assert_str_eq(bits(), "70");
	ck_assert_int_eq(report(0, 256), 0);
	ck_assert_str_eq(bits(), "");
	ck_assert_uint_eq(pages(MODEL_RETURNED), 2);
	ck_assert_uint_eq(pages(MODEL_TRUTH), 2);
	ck_assert_uint_eq(pages(MODEL_DROPPED), 0);
	down();
}
END_TEST

/* A bit stands for a page of the size that REPORT asked with, whatever is tracked. */
START_TEST(report_of_other_page_sizes)
{
	const struct model_log log = { .page_min = 4 * PAGE };

	up(&log);
	ck_assert_int_eq(start(device, 0, 256), 0);
	ck_assert_int_eq(dma(9), 0);
	ck_assert_int_eq(report(0, 64), 0);
	ck_assert_str_eq(bits(), "8,9,10,11");
	ck_assert_uint_eq(pages(MODEL_RETURNED), 4);
	ck_assert_int_eq(dma(9), 0);
	ck_assert_int_eq(dma(130), 0);
	ck_assert_int_eq(report_of(device, 0, 256 * PAGE, 64 * PAGE, words), 0);
	ck_assert_str_eq(bits(), "0,2");
	ck_assert_uint_eq(pages(MODEL_RETURNED), 128);
	down();
}
END_TEST

/* A tracked page that begins below the range is dropped; one that ends behind it is written behind it (trap 34). */
START_TEST(report_of_parts_of_a_page)
{
	const struct model_log log = { .page_min = 16 * PAGE };

	up(&log);
	ck_assert_int_eq(start(device, 0, 256), 0);
	ck_assert_int_eq(dma(17), 0);
	ck_assert_int_eq(report(17, 64), 0);
	ck_assert_str_eq(bits(), "");
	ck_assert_uint_eq(pages(MODEL_DROPPED), 16);
	ck_assert_int_eq(dma(100), 0);
	ck_assert_int_eq(report(96, 8), 0);
	ck_assert_str_eq(bits(), "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15");
	ck_assert_uint_eq(pages(MODEL_RETURNED), 8);
	ck_assert_uint_eq(pages(MODEL_DROPPED), 24);
	ck_assert_int_eq(report(96, 64), 0);
	ck_assert_str_eq(bits(), "");
	down();
}
END_TEST

/* Only as far as pages of the bitmap are pinned. */
START_TEST(report_past_the_bitmap_ends_with_its_page)
{
	const struct model_log log = { .page_min = (uint64_t)PAGE << 16 };

	up(&log);
	ck_assert_int_eq(start(device, 0, 1 << 16), 0);
	ck_assert_int_eq(dma(100), 0);
	ck_assert_int_eq(report(0, 64), 0);
	ck_assert(words[0] == UINT64_MAX && words[PAGE / 8 - 1] == UINT64_MAX && !words[PAGE / 8]);
	memset(words, 0, 2 * PAGE);
	ck_assert_int_eq(dma(100), 0);
	ck_assert_int_eq(report_of(device, 0, 64 * PAGE, PAGE, words + 1), 0); /* one page more */
	ck_assert(!words[0] && words[1] == UINT64_MAX && words[2 * PAGE / 8 - 1] == UINT64_MAX);
	ck_assert(!words[2 * PAGE / 8]);
	ck_assert_uint_eq(pages(MODEL_RETURNED), 64);
	down();
}
END_TEST

/* Trap 33. */
START_TEST(report_into_a_bad_bitmap)
{
	up(NULL);
	ck_assert_int_eq(start(device, 0, 256), 0);
	ck_assert_int_eq(dma(4), 0);
	ck_assert_int_eq(report_of(device, 0, 64 * PAGE, PAGE, NULL), 0);
	ck_assert(has(MODEL_DROPPED, 4) && !has(MODEL_RETURNED, 4) && !has(MODEL_HELD, 4));
	ck_assert_int_eq(dma(5), 0);
	mprotect(words, PAGE, PROT_READ);
	ck_assert_int_eq(report(0, 64), 0);
	mprotect(words, PAGE, PROT_READ | PROT_WRITE);
	ck_assert(has(MODEL_DROPPED, 5));
	ck_assert_int_eq(report(0, 64), 0);
	ck_assert_str_eq(bits(), "");
	ck_assert_uint_eq(pages(MODEL_SPOILED), 0);
	down();
}
END_TEST

START_TEST(report_into_a_bad_bitmap_before_6_12)
{
	const struct model_log log = { .pins_bitmap = true };

	up(&log);
	ck_assert_int_eq(start(device, 0, 256), 0);
	ck_assert_int_eq(dma(4), 0);
	ck_assert_int_eq(report_of(device, 0, 64 * PAGE, PAGE, NULL), -EFAULT);
	ck_assert(has(MODEL_HELD, 4) && !has(MODEL_DROPPED, 4));
	ck_assert_uint_eq(pages(MODEL_SPOILED), 256);
	ck_assert_int_eq(report(0, 64), 0);
	ck_assert_str_eq(bits(), "4");
	down();
}
END_TEST

START_TEST(report_that_the_kernel_lacks)
{
	const struct model_log log = { .no_report = true };

	up(&log);
	ck_assert_int_eq(start(device, 0, 64), 0);
	ck_assert_int_eq(report(0, 64), -EOPNOTSUPP);
	down();
}
END_TEST

START_TEST(report_that_breaks)
{
	struct model_log log = { .report_error = EIO, .report_after = 2 };

	up(&log);
	ck_assert_int_eq(start(device, 0, 64), 0);
	ck_assert_uint_eq(pages(MODEL_SPOILED), 0);
	for (uint64_t page = 10; page < 14; page++)
		ck_assert_int_eq(dma(page), 0);
	ck_assert_int_eq(report(0, 64), -EIO);
	ck_assert_str_eq(bits(), "10,11");
	ck_assert_uint_eq(pages(MODEL_RETURNED), 2);
	ck_assert_uint_eq(pages(MODEL_SPOILED), 64); /* of 256 that it can write, those that are armed */
	log.report_after = 0;
	model_set_log(m, PCI_NAME, &log);
	ck_assert_int_eq(report(0, 64), -EIO);
	ck_assert_str_eq(bits(), "");
	log.report_error = 0;
	model_set_log(m, PCI_NAME, &log);
	ck_assert_int_eq(report(0, 64), 0);
	ck_assert_str_eq(bits(), "12,13");
	down();
}
END_TEST

/* Trap 45. */
START_TEST(report_of_pds)
{
	const struct model_log log = { .pds = true };
	const struct uapi_log_range ranges[2] = { { 0, 100 * PAGE }, { 100 * PAGE, 100 * PAGE } };

	up(&log);
	ck_assert_int_eq(start_with(device, PAGE, ranges, 2), 0);
	ck_assert_int_eq(report(0, 200), -EINVAL);
	ck_assert_int_eq(report(0, 0), -EINVAL);
	ck_assert_int_eq(dma(20), 0);
	ck_assert_int_eq(dma(40), 0);
	ck_assert_int_eq(dma(70), 0);
	ck_assert_int_eq(report(16, 8), 0);
	ck_assert_str_eq(bits(), "4");
	ck_assert(has(MODEL_DROPPED, 40) && has(MODEL_DROPPED, 70)); /* of 64 pages from 16 on */
	ck_assert_int_eq(dma(90), 0);
	ck_assert_int_eq(dma(110), 0);
	ck_assert_int_eq(report(0, 100), 0);
	ck_assert_str_eq(bits(), "90");
	ck_assert_int_eq(report(100, 100), 0);
	ck_assert_str_eq(bits(), "10");
	down();
}
END_TEST

/* ---- which memory is meant ---- */

START_TEST(unmap_then_report)
{
	up(NULL);
	ck_assert_int_eq(start(device, 0, 1024), 0);
	ck_assert_int_eq(map(512, 512, 16), 0);
	ck_assert_int_eq(dma(515), 0);
	ck_assert_int_eq(unmap(512, 16), 0);
	ck_assert(has(MODEL_HELD, 515));
	ck_assert_int_eq(dma(515), -EFAULT);
	ck_assert_int_eq(report(512, 16), 0);
	ck_assert_str_eq(bits(), "3");
	ck_assert(has(MODEL_RETURNED, 515));
	down();
}
END_TEST

/* An IOVA that means another page by now: what was written before is lost, and the oracle says so. */
START_TEST(remap_then_report)
{
	up(NULL);
	ck_assert_int_eq(start(device, 0, 1024), 0);
	ck_assert_int_eq(map(512, 512, 16), 0);
	ck_assert_int_eq(dma(515), 0);
	ck_assert_int_eq(unmap(512, 16), 0);
	ck_assert_int_eq(map(512, 600, 16), 0);
	ck_assert_int_eq(report(512, 16), 0);
	ck_assert_str_eq(bits(), "3");
	ck_assert(has(MODEL_TRUTH, 515) && !has(MODEL_RETURNED, 515) && has(MODEL_RETURNED, 603));
	down();
}
END_TEST

START_TEST(failed_report_after_unmap)
{
	const struct model_log log = { .report_error = EIO };

	up(&log);
	ck_assert_int_eq(start(device, 0, 1024), 0);
	ck_assert_int_eq(map(512, 512, 16), 0);
	ck_assert_int_eq(unmap(512, 16), 0);
	ck_assert_int_eq(report(0, 64), -EIO);
	ck_assert_uint_eq(pages(MODEL_SPOILED), 256);
	ck_assert_int_eq(report(512, 16), -EIO);
	ck_assert_uint_eq(pages(MODEL_SPOILED), 256 + 16);
	down();
}
END_TEST

/* ---- emulated devices: copies and writes through pins, but no pin that is not written ---- */

static int command(unsigned long request, uint32_t flags, uint64_t page, uint64_t count)
{
	struct vfdtest_range range = {
		.flags = flags, .iova = page * PAGE, .size = count * PAGE, .value = 3
	};

	return model_vfdtest(m, request, &range);
}

START_TEST(log_of_an_emulated_device)
{
	up(NULL);
	ck_assert_int_eq(start(vfdtest, 0, 64), 0);
	ck_assert_int_eq(command(VFDTEST_WRITE, 0, 3, 2), 0);
	ck_assert_int_eq(command(VFDTEST_PIN, VFDTEST_PIN_WRITE, 20, 8), 0);
	ck_assert_int_eq(command(VFDTEST_WRITE, VFDTEST_WRITE_PINNED, 21, 1), 0);
	ck_assert_int_eq(dma(30), 0); /* of the other device */
	ck_assert_int_eq(report_of(vfdtest, 0, 64 * PAGE, PAGE, words), 0);
	ck_assert_str_eq(bits(), "3,4,21");
	ck_assert_uint_eq(model_device_pages(m, NAME(0), MODEL_TRUTH, memory, 64 * PAGE, NULL), 3);
	ck_assert_uint_eq(model_pages(m, MODEL_TRUTH, memory, 64 * PAGE, NULL), 4);
	ck_assert_int_eq(command(VFDTEST_PIN, VFDTEST_PIN_WRITE, 70, 2), 0); /* not armed there */
	ck_assert_uint_eq(model_device_pages(m, NAME(0), MODEL_TRUTH, memory, 256 * PAGE, NULL), 5);
	down();
}
END_TEST

/* ---- faults ---- */

static void arm(uint32_t flags, int error, unsigned step)
{
	model_fault(m, (struct model_fault){ .call = MODEL_IOCTL,
					     .request = VFIO_DEVICE_FEATURE,
					     .file = MODEL_FILE_DEVICE,
					     .flags = flags,
					     .error = error,
					     .step = step });
}

START_TEST(faults_hit_their_feature)
{
	up(NULL);
	arm(START, ENOMEM, 0);
	ck_assert_int_eq(stop(device), 0);
	ck_assert_int_eq(start(device, 0, 64), -ENOMEM);
	ck_assert_int_eq(start(device, 0, 64), 0);
	arm(STOP, EIO, 0);
	ck_assert_int_eq(report(0, 64), 0);
	ck_assert_int_eq(stop(device), -EIO);
	ck_assert_uint_eq(model_log_page_size(m, PCI_NAME), PAGE);
	ck_assert_uint_eq(pages(MODEL_SPOILED), 64);
	/* DIRTY_PAGES has the same number, and its flags are features'. */
	model_fault(m, (struct model_fault){
			       .call = MODEL_IOCTL, .request = VFIO_IOMMU_DIRTY_PAGES, .error = EINVAL });
	ck_assert_int_eq(report(0, 64), 0);
	ck_assert_uint_eq(model_fault_fired(m), 2);
	down();
}
END_TEST

START_TEST(fault_half_way_in_report)
{
	up(NULL);
	ck_assert_int_eq(start(device, 0, 64), 0);
	for (uint64_t page = 10; page < 14; page++)
		ck_assert_int_eq(dma(page), 0);
	arm(LOG, ENOTCONN, 3);
	ck_assert_int_eq(report(0, 64), -ENOTCONN);
	ck_assert_str_eq(bits(), "10,11,12");
	arm(LOG, EIO, 99);
	ck_assert_int_eq(report(0, 64), -EIO);
	ck_assert_str_eq(bits(), "13");
	ck_assert_uint_eq(pages(MODEL_SPOILED), 64);
	down();
}
END_TEST

START_TEST(fault_after_start)
{
	const struct model_log log = { .again = true };

	up(&log);
	ck_assert_int_eq(start(device, 0, 64), 0);
	arm(START, EFAULT, 1);
	ck_assert_int_eq(start(device, 0, 64), -EFAULT);
	ck_assert_uint_eq(model_log_page_size(m, PCI_NAME), 0);
	down();
}
END_TEST

/* Each errno of the contract, and for REPORT the steps: nothing, one page, all of them. */
START_TEST(faults_of_a_recorded_run)
{
	struct model_fault *faults;
	unsigned steps = 0, partial = 0;
	char text[80];

	up(NULL);
	model_trace_start(m);
	ck_assert_int_eq(start(device, 0, 64), 0);
	for (uint64_t page = 10; page < 14; page++)
		ck_assert_int_eq(dma(page), 0);
	ck_assert_int_eq(report(0, 64), 0);
	ck_assert_int_eq(stop(device), 0);
	size_t count = model_single_faults(m, &faults);
	for (size_t i = 0; i < count; i++) {
		steps += faults[i].nth == 2 && faults[i].error == EIO;
		partial += faults[i].nth == 2 && faults[i].error == EIO && faults[i].step == 4;
	}
	ck_assert_uint_eq(steps, 3);
	ck_assert_uint_eq(partial, 1);
	ck_assert_uint_eq(count, 9 + 1 + 7 + 2 + 2 + 3);
	model_fault_text(m, &faults[0], text, sizeof text);
	ck_assert_str_eq(text, "LOG_START (call 1): EFAULT at step 0");
	free(faults);
	down();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("model_devlog");

	add_case(suite, "feature: checks", feature_checks);
	add_case(suite, "feature: probes", probes);
	add_case(suite, "start: checks", start_checks);
	add_case(suite, "start: 256 ranges", start_256_ranges);
	add_case(suite, "start: limits of the device", start_limits);
	add_case(suite, "start: another page size", start_answers_another_page_size);
	add_case(suite, "start: the answer faults", start_that_cannot_answer);
	add_case(suite, "start: a second one", second_start_that_does_nothing);
	add_case(suite, "stop: discards", stop_discards);
	add_case(suite, "stop: spoils unless quiet", stop_spoils_unless_quiet);
	add_case(suite, "close", close_ends_it);
	add_case(suite, "report: checks", report_checks);
	add_case(suite, "report: ors and clears", report_ors_and_clears);
	add_case(suite, "report: other page sizes", report_of_other_page_sizes);
	add_case(suite, "report: parts of a page", report_of_parts_of_a_page);
	add_case(suite, "report: past the bitmap", report_past_the_bitmap_ends_with_its_page);
	add_case(suite, "report: bad bitmap", report_into_a_bad_bitmap);
	add_case(suite, "report: bad bitmap before 6.12", report_into_a_bad_bitmap_before_6_12);
	add_case(suite, "report: not in this kernel", report_that_the_kernel_lacks);
	add_case(suite, "report: breaks", report_that_breaks);
	add_case(suite, "report: pds", report_of_pds);
	add_case(suite, "unmap, then report", unmap_then_report);
	add_case(suite, "remap, then report", remap_then_report);
	add_case(suite, "unmap, then a report that fails", failed_report_after_unmap);
	add_case(suite, "an emulated device", log_of_an_emulated_device);
	add_case(suite, "faults: hit their feature", faults_hit_their_feature);
	add_case(suite, "faults: half-way in report", fault_half_way_in_report);
	add_case(suite, "faults: after start", fault_after_start);
	add_case(suite, "faults: of a recorded run", faults_of_a_recorded_run);
	return run_suite(suite);
}
