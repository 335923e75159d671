/* SPDX-License-Identifier: MIT */
/* DMA_LOGGING_REPORT: as vfio_main.c checks it, drivers read and clear, and iova_bitmap.c delivers or quietly does not. */
#include "internal.h"
#include "uapi.h"

#define REPORT_PAGE_MIN 4096

/* ---- iova_bitmap_set ---- */

/* The kernel knows no size of the bitmap. It stops at the end of the pages that it would pin from this byte on: one more than needed
 * where the bitmap does not begin with a page (trap 34). */
static uint64_t bits_end(const struct uapi_log_report *ask, uint64_t byte)
{
	uint64_t bytes = (ask->length - 1) / ask->page_size / 8 + 1;
	uint64_t address = ask->bitmap + byte, inside = address % MODEL_PAGE_SIZE;
	uint64_t pages = (bytes - byte + MODEL_PAGE_SIZE - 1) / MODEL_PAGE_SIZE + (inside != 0);

	return (byte - inside + pages * MODEL_PAGE_SIZE) * 8;
}

static bool set_word(const struct uapi_log_report *ask, uint64_t word, uint64_t bits)
{
	uint64_t address = ask->bitmap + word * 8, value;

	if (user_read(&value, address, 8) != 8)
		return false;
	value |= bits;
	return user_write(address, &value, 8) == 8;
}

/* The oracle: of these bits only what was asked for is an answer. */
static void returned(struct model *m, struct device *d, const struct uapi_log_report *ask, uint64_t first,
		     uint64_t last)
{
	uint64_t from = ask->iova + first * ask->page_size, end = ask->iova + (ask->length - 1);
	uint64_t to = ask->iova + last * ask->page_size + (ask->page_size - 1);

	if (from <= end)
		truth_log_returned(m, d, from, to < end ? to : end);
}

/* False: some of it could not be written, and is lost (trap 33). */
static bool set_bits(struct model *m, struct device *d, const struct uapi_log_report *ask, uint64_t first,
		     uint64_t last)
{
	bool all = true;

	for (uint64_t word = first / 64; word <= last / 64; word++) {
		uint64_t from = word == first / 64 ? first % 64 : 0, to = word == last / 64 ? last % 64 : 63;

		if (set_word(ask, word, (~0ull << from) & (~0ull >> (63 - to))))
			returned(m, d, ask, word * 64 + from, word * 64 + to);
		else
			all = false;
	}
	return all;
}

/* What begins below the range, or behind its last byte of bits, is dropped; what reaches out of it is written. */
static bool set_range(struct model *m, struct device *d, const struct uapi_log_report *ask, uint64_t iova,
		      uint64_t end)
{
	uint64_t first, last, limit;

	if (iova < ask->iova)
		return false;
	first = (iova - ask->iova) / ask->page_size;
	last = (end - ask->iova) / ask->page_size;
	if (first / 8 > (ask->length - 1) / ask->page_size / 8)
		return false;
	limit = bits_end(ask, first / 8);
	return set_bits(m, d, ask, first, last < limit ? last : limit - 1);
}

/* One tracked page: the log forgets it, whether it arrives or not. */
static bool deliver(struct model *m, struct device *d, const struct uapi_log_report *ask, uint64_t page)
{
	uint64_t iova = page * d->log.page_size, end = iova + (d->log.page_size - 1);
	uint64_t asked_end = ask->iova + (ask->length - 1);
	bool arrived = set_range(m, d, ask, iova, end);

	pageset_clear_range(&d->log.pages, page, 1);
	if (!arrived)
		truth_log_dropped(m, d, iova, end);
	else if (end > asked_end)
		truth_log_dropped(m, d, asked_end + 1, end);
	return arrived;
}

/* ---- the driver ---- */

/* Where reading and clearing begins and ends: tracked pages. pds takes bytes and words of its own bitmap, which begins with a range;
 * what lies in them and not in what was asked is cleared all the same (trap 45). */
static int pages_of(const struct devlog *log, const struct uapi_log_report *ask, struct log_range *pages)
{
	uint64_t size = log->page_size, last = ask->iova + (ask->length - 1);

	*pages = (struct log_range){ ask->iova / size, last / size };
	if (!log->config.pds)
		return 0;
	for (unsigned i = 0; ask->length && i < log->range_count; i++) {
		const struct log_range *range = &log->ranges[i];
		uint64_t skip = (ask->iova - range->first) / size, count = (ask->length - 1) / size + 1;

		if (ask->iova < range->first || last > range->last)
			continue;
		pages->first = range->first / size + (skip + 7) / 8 * 8;
		pages->last = pages->first + (count + 63) / 64 * 64 - 1;
		if (pages->last > range->last / size)
			pages->last = range->last / size;
		return 0;
	}
	return -EINVAL;
}

struct failing {
	int error;	/* not 0: fail so */
	uint64_t after; /* so many pages */
};

static struct failing failing_of(const struct call *call, const struct devlog *log)
{
	if (call->fails)
		return (struct failing){ call->error, call->step };
	return (struct failing){ log->config.report_error, log->config.report_after };
}

static int read_and_clear(struct call *call, struct device *d, const struct uapi_log_report *ask,
			  const struct log_range *pages)
{
	struct failing failing = failing_of(call, &d->log);
	bool all = true;

	for (uint64_t page = pages->first; pageset_next(&d->log.pages, &page, pages->last); page++) {
		if (failing.error && failing.after == call->trace.mappings)
			break;
		all &= deliver(call->model, d, ask, page);
		call->trace.mappings++;
	}
	if (failing.error)
		return -failing.error;
	return all || !d->log.config.pins_bitmap ? 0 : -EFAULT;
}

/* Before 6.12 the first pages were pinned first of all. */
static bool pin_fails(const struct devlog *log, const struct uapi_log_report *ask)
{
	return log->config.pins_bitmap && !set_word(ask, 0, 0);
}

static int report(struct call *call, struct device *d, const struct uapi_log_report *ask)
{
	const struct devlog *log = &d->log;
	struct log_range pages;
	int error;

	if (ask->page_size < REPORT_PAGE_MIN || ask->page_size & (ask->page_size - 1))
		return -EINVAL;
	if (ask->iova + ask->length < ask->iova)
		return -EOVERFLOW;
	if (log->config.no_report)
		return -EOPNOTSUPP;
	if (pin_fails(log, ask))
		return -EFAULT;
	if (!log->active)
		return -EINVAL;
	error = pages_of(log, ask, &pages);
	return error || !ask->length ? error : read_and_clear(call, d, ask, &pages);
}

int devlog_report(struct call *call, struct device *d, void *argument)
{
	struct uapi_log_report ask = { 0 };
	int error = copy_in(&ask, argument, sizeof(ask));

	if (!error)
		error = report(call, d, &ask);
	if (error)
		truth_log_spoiled(call->model, d, ask.iova, ask.iova + ask.length - 1);
	return error;
}

void devlog_refused(struct call *call, struct device *d, const void *argument)
{
	const struct uapi_feature *head = argument;
	struct uapi_log_report ask = { 0 };

	if (trace_is_feature(&call->trace, UAPI_FEATURE_LOG_REPORT) && !copy_in(&ask, head + 1, sizeof(ask)))
		truth_log_spoiled(call->model, d, ask.iova, ask.iova + ask.length - 1);
	else if (trace_is_feature(&call->trace, UAPI_FEATURE_LOG_STOP))
		truth_log_spoiled(call->model, d, 1, 0);
}
