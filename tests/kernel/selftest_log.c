// SPDX-License-Identifier: MIT
/*
 * selftest_log - the devices' own logs (DMA logging)
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "selftest.h"

typedef struct vfio_device_feature_dma_logging_range range;

static int log_start(struct session *s, const range *ranges, uint32_t n, uint64_t *page_size)
{
	struct vfio_device_feature_dma_logging_control c = {
		.page_size = *page_size, .num_ranges = n, .ranges = (uintptr_t)ranges,
	};
	int ret = feature(s->device[0],
			  VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START, &c, sizeof(c));

	*page_size = c.page_size;
	return ret;
}

/* One range, pages first..first + count - 1 from IOVA. */
static int log_pages(struct session *s, uint64_t first, uint64_t count)
{
	range r = { .iova = IOVA + first * PAGE, .length = count * PAGE };
	uint64_t page_size = PAGE;

	return log_start(s, &r, 1, &page_size);
}

static int log_stop(struct session *s)
{
	return feature(s->device[0],
		       VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, NULL, 0);
}

static int report(struct session *s, uint64_t first, uint64_t count, uint64_t page_size, void *bits)
{
	struct vfio_device_feature_dma_logging_report r = {
		.iova = IOVA + first * PAGE, .length = count * PAGE, .page_size = page_size,
		.bitmap = (uintptr_t)bits,
	};

	return feature(s->device[0],
		       VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, &r, sizeof(r));
}

/* All pages, as one word; ~0xdead... on error. */
static uint64_t report_word(struct session *s)
{
	uint64_t bits = 0;

	return report(s, 0, PAGES, PAGE, &bits) ? 0xdeaddeaddeaddeadULL : bits;
}

static void write_page(uint64_t page)
{
	need(!dev_write(0, IOVA + page * PAGE, 8), "WRITE");
}

static struct session begin_logging(void)
{
	struct session s;

	need(!set(0, VFDTEST_LOG, 1), "SET LOG");
	s = begin();
	need(!log_pages(&s, 0, PAGES), "START");
	return s;
}

static void end_logging(struct session *s)
{
	end(s);
	need(!set(0, VFDTEST_LOG, 0), "SET LOG");
}

static void test_offer(void)
{
	uint64_t page_size = PAGE;
	range two[2] = { { IOVA, 2 * PAGE }, { IOVA + PAGE, PAGE } };
	static range many[257];
	struct session s = begin();

	check_errno(log_pages(&s, 0, PAGES), ENOTTY, "a device without a log");
	check_errno(set(0, VFDTEST_LOG, 1), EBUSY, "it cannot get one while it is open");
	end(&s);
	s = begin_logging();
	check_errno(log_start(&s, two, 2, &page_size), EINVAL, "START with ranges that overlap");
	check_errno(log_start(&s, two, 0, &page_size), EINVAL, "with none");
	check_errno(log_start(&s, many, 257, &page_size), E2BIG, "with more than the kernel takes");
	end_logging(&s);
}

static void test_report(void)
{
	struct session s = begin_logging();

	check(status_of(0).logging == 1, "a log is started");
	write_page(2);
	write_page(9);
	check_bits(report_word(&s), 1 << 2 | 1 << 9, "REPORT gives what was written");
	check_bits(truth_word(0, IOVA), 1 << 2 | 1 << 9, "which is the truth");
	check_bits(report_word(&s), 0, "once");
	check_errno(log_pages(&s, 0, PAGES), EINVAL, "START again");
	write_page(3);
	check(!log_stop(&s) && status_of(0).log_lost == 1, "STOP forgets what was not read");
	check_errno(report(&s, 0, PAGES, PAGE, &(uint64_t){ 0 }), EINVAL, "REPORT then");
	need(!log_pages(&s, 8, 8), "START");
	write_page(4);
	write_page(8);
	check_bits(report_word(&s), 1 << 8, "only armed ranges are watched");
	set(0, VFDTEST_LOG_QUIRKS, VFDTEST_LOG_RESTARTS);
	write_page(8);
	check(!log_pages(&s, 0, PAGES) && !report_word(&s), "a device that starts again forgets");
	set(0, VFDTEST_LOG_QUIRKS, 0);
	end_logging(&s);
}

/* What a physical device looks like: the container sees all, the log what was. */
static void test_still_pins(void)
{
	struct session s = begin_logging();
	uint64_t bits;

	check_errno(command(VFDTEST_PIN, 0, IOVA, PAGE, VFDTEST_PIN_STILL), EINVAL, "a still pin for reading");
	check(!command(VFDTEST_PIN, 0, IOVA, PAGES * PAGE, VFDTEST_PIN_WRITE | VFDTEST_PIN_STILL) &&
	      !truth_word(0, IOVA) && !report_word(&s), "still pins write nothing");
	check(!command(VFDTEST_WRITE, 0, IOVA + 5 * PAGE, 8, VFDTEST_WRITE_PINNED) &&
	      report_word(&s) == 1 << 5, "a write through one is in the log");
	check_bits(get_word(&s, IOVA), ~0ULL, "the container sees every page");
	check_bits(get_word(&s, IOVA), ~0ULL, "at every look");
	clear_truth();
	need(!run_pinned(0, IOVA, 32 * PAGE), "RUN");
	usleep(20000);
	bits = report_word(&s);
	check(halt(0).writes && !halt(0).failures, "a writer through pins");
	check_bits(bits | report_word(&s), truth_word(0, IOVA), "is in the log, to the page");
	need(!command(VFDTEST_UNPIN, 0, IOVA, PAGES * PAGE, 0), "UNPIN");
	need(!command(VFDTEST_PIN, 0, IOVA, PAGE, VFDTEST_PIN_WRITE), "PIN");
	check(report_word(&s) == 1 && report_word(&s) == 1, "other pins show at each REPORT");
	end_logging(&s);
}

static void test_page_size(void)
{
	range all = { IOVA, PAGES * PAGE };
	uint64_t page_size = PAGE, bits = 0;
	struct session s;

	need(!set(0, VFDTEST_LOG_PAGE_SIZE, 16 * PAGE), "SET");
	s = begin_logging();
	need(!log_stop(&s), "STOP");
	check(!log_start(&s, &all, 1, &page_size) && page_size == 16 * PAGE, "START returns a larger page");
	write_page(17);
	check_bits(report_word(&s), 0xffffULL << 16, "REPORT in small ones gives all of it");
	write_page(17);
	check(!report(&s, 0, PAGES, 16 * PAGE, &bits) && bits == 2, "in its own, one bit");
	write_page(17);
	bits = 0;
	check(!report(&s, 20, 1, PAGE, &bits) && bits == 1 && !report_word(&s),
	      "REPORT of a part clears all of it");
	set(0, VFDTEST_LOG_PAGE_SIZE, PAGE);
	end_logging(&s);
}

static void test_ranges(void)
{
	range three[3] = { { IOVA, PAGE }, { IOVA + 2 * PAGE, PAGE }, { IOVA + 9 * PAGE, PAGE } };
	uint64_t page_size = PAGE;
	struct session s = begin_logging();

	need(!log_stop(&s) && !set(0, VFDTEST_LOG_RANGES, 2), "SET");
	check_errno(log_start(&s, three, 3, &page_size), E2BIG, "more ranges than it takes");
	set(0, VFDTEST_LOG_RANGES_ERRNO, EOPNOTSUPP);
	check_errno(log_start(&s, three, 3, &page_size), EOPNOTSUPP, "said otherwise");
	check(!log_start(&s, three, 2, &page_size), "as many as it takes");
	need(!log_stop(&s), "STOP");
	if (set(0, VFDTEST_LOG_RANGES_ERRNO, 0)) {
		skip("a device that joins ranges", "this kernel cannot");
	} else {
		need(!log_start(&s, three, 3, &page_size), "START");
		write_page(1);
		write_page(5);
		check_bits(report_word(&s), 2, "a device that joins ranges watches the gap");
	}
	set(0, VFDTEST_LOG_RANGES, VFDTEST_LOG_RANGES_MAX);
	set(0, VFDTEST_LOG_RANGES_ERRNO, E2BIG);
	end_logging(&s);
}

static void test_failure(void)
{
	struct session s = begin_logging();
	uint64_t bits = 0;

	need(!set(0, VFDTEST_LOG_FAIL_AFTER, 2), "SET");
	need(!dev_write(0, IOVA + 4 * PAGE, 5 * PAGE), "WRITE");
	check_errno(report(&s, 0, PAGES, PAGE, &bits), EIO, "REPORT fails half way");
	check_bits(bits, 3 << 4, "after two pages");
	check_errno(report(&s, 0, PAGES, PAGE, &bits), EIO, "and for good");
	need(!log_stop(&s) && !log_pages(&s, 0, PAGES), "STOP, START");
	check(!report(&s, 0, PAGES, PAGE, &bits), "until the next START");
	set(0, VFDTEST_LOG_FAIL_AFTER, VFDTEST_LOG_NEVER);
	end_logging(&s);
}

static void test_confined(void)
{
	range two[2] = { { IOVA, 8 * PAGE }, { IOVA + 8 * PAGE, 56 * PAGE } };
	uint64_t page_size = PAGE, bits = 0;
	struct session s = begin_logging();

	need(!set(0, VFDTEST_LOG_QUIRKS, VFDTEST_LOG_ONE_RANGE), "SET");
	need(!log_stop(&s) && !log_start(&s, two, 2, &page_size), "START");
	write_page(7);
	check_errno(report(&s, 0, PAGES, PAGE, &bits), EINVAL, "REPORT over two ranges");
	check(!report(&s, 0, 8, PAGE, &bits) && bits == 1 << 7, "over one");
	need(!set(0, VFDTEST_LOG_QUIRKS, VFDTEST_LOG_WORDS), "SET");
	need(!log_stop(&s) && !log_pages(&s, 0, PAGES), "START");
	write_page(3);
	write_page(40);
	bits = 0;
	check(!report(&s, 32, 32, PAGE, &bits) && bits == 1 << 8 && !report_word(&s),
	      "where whole words are read, REPORT of half a word loses the other half");
	set(0, VFDTEST_LOG_QUIRKS, 0);
	end_logging(&s);
}

static void test_loss(void)
{
	void *hole = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct session s = begin_logging();
	uint64_t lost;
	int ret;

	write_page(3);
	ret = report(&s, 0, PAGES, PAGE, hole);
	if (ret)	/* older kernels take hold of the buffer before they ask the device */
		check(errno == EFAULT && report_word(&s) == 1 << 3, "REPORT into a bad buffer: the bits stay");
	else
		check(!report_word(&s), "REPORT into a bad buffer: 0, and the bits are gone");
	lost = status_of(0).log_lost;
	write_page(3);
	check(!ioctl(s.device[0], VFIO_DEVICE_RESET) && !status_of(0).logging &&
	      status_of(0).log_lost == lost + 1, "a reset ends the log and forgets");
	need(!log_pages(&s, 0, PAGES), "START");
	write_page(3);
	end_logging(&s);
	check(status_of(0).log_lost == lost + 2, "so does closing");
	munmap(hole, PAGE);
}

/* In some rounds the writer has no turn: as many as it takes, within reason. */
static void test_log_race(void)
{
	struct session s = begin_logging();
	uint64_t bits = 0, rounds = 0, writes = 0;

	clear_truth();
	for (; rounds < 300 || (writes <= 300 && rounds < 10000); rounds++) {
		need(!run(0, IOVA + rounds % 8 * 8 * PAGE, 8 * PAGE, 0), "RUN");
		bits |= report_word(&s);
		writes += halt(0).writes;
	}
	bits |= report_word(&s);
	check(bits == truth_word(0, IOVA) && writes > 300, "a writer against REPORTs: %llu writes, 0 lost",
	      (unsigned long long)writes);
	end_logging(&s);
}

/* A kernel without IOVA bitmaps lets START pass, and cannot report. */
static bool can_report(void)
{
	struct session s = begin_logging();
	uint64_t bits = 0;
	int ret = report(&s, 0, PAGES, PAGE, &bits), err = errno;

	end_logging(&s);
	if (ret)
		check(err == EOPNOTSUPP, "START passes here, and REPORT cannot");
	return !ret;
}

void test_log(void)
{
	test_offer();
	if (!can_report()) {
		skip("device logs", "this kernel has no IOVA bitmaps; --kernel own has");
		return;
	}
	test_report();
	test_still_pins();
	test_page_size();
	test_ranges();
	test_failure();
	test_confined();
	test_loss();
	test_log_race();
}
