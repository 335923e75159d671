/* SPDX-License-Identifier: MIT */
/* A device's log of its own writes: DMA_LOGGING_START and STOP as in vfio_main.c, and what drivers make of them. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "uapi.h"

#define RANGES_MAX (MODEL_PAGE_SIZE / sizeof(struct uapi_log_range))

/* ---- START ---- */

/* As in the kernel: a length of 0 is let pass, and then ends before it begins. */
static int check_range(const struct log_range *ranges, uint32_t count, const struct uapi_log_range *range,
		       uint64_t page_size)
{
	uint64_t last = range->iova + range->length - 1;

	if ((range->iova | range->length) & (page_size - 1))
		return -EINVAL;
	if (range->iova + range->length < range->iova)
		return -EOVERFLOW;
	for (uint32_t i = 0; i < count; i++)
		if (ranges[i].first <= last && range->iova <= ranges[i].last)
			return -EINVAL;
	return 0;
}

static int read_ranges(const struct uapi_log_control *ask, struct log_range *ranges)
{
	const struct uapi_log_range *from = (const struct uapi_log_range *)(uintptr_t)ask->ranges;

	for (uint32_t i = 0; i < ask->num_ranges; i++) {
		struct uapi_log_range range;
		int error = copy_in(&range, from + i, sizeof(range));

		if (!error)
			error = check_range(ranges, i, &range, ask->page_size);
		if (error)
			return error;
		ranges[i] = (struct log_range){ range.iova, range.iova + range.length - 1 };
	}
	return 0;
}

/* What the driver, or the device, has against the ranges. */
static int check_limits(const struct model_log *limits, const struct log_range *ranges, uint32_t count)
{
	uint64_t total = 0, longest = 0;

	for (uint32_t i = 0; i < count; i++) {
		uint64_t length = ranges[i].last - ranges[i].first + 1;

		total += length;
		longest = length > longest ? length : longest;
	}
	if (limits->range_limit && count > limits->range_limit)
		return limits->range_error ? -limits->range_error : -E2BIG;
	if ((limits->length_limit && longest > limits->length_limit) ||
	    (limits->total_limit && total > limits->total_limit))
		return limits->length_error ? -limits->length_error : -EOPNOTSUPP;
	return 0;
}

/* The nearest that the device has. Nobody checked what was asked: it may be 0, or no power of two. */
static uint64_t pick_page_size(const struct model_log *limits, uint64_t asked)
{
	uint64_t least = limits->page_min ? limits->page_min : MODEL_PAGE_SIZE;
	uint64_t size = asked ? 1ull << (63 - __builtin_clzll(asked)) : 0;

	if (limits->page_max && size > limits->page_max)
		size = limits->page_max;
	return size < least ? least : size;
}

static int driver_start(struct model *m, struct device *d, const struct log_range *ranges, uint32_t count,
			uint64_t *page_size)
{
	struct devlog *log = &d->log;
	int error;

	if (log->active)
		return log->config.again ? 0 : -EINVAL;
	error = check_limits(&log->config, ranges, count);
	if (error)
		return error;
	log->ranges = realloc(log->ranges, count * sizeof(*ranges));
	if (!log->ranges)
		abort();
	memcpy(log->ranges, ranges, count * sizeof(*ranges));
	log->range_count = count;
	*page_size = log->page_size = pick_page_size(&log->config, *page_size);
	log->active = true;
	m->state->logging++;
	m->state->recording = true;
	if (log->gap)
		truth_log_spoiled(m, d, 1, 0);
	log->gap = false;
	return 0;
}

int devlog_start(struct call *call, struct device *d, void *argument)
{
	struct log_range ranges[RANGES_MAX];
	struct uapi_log_control ask;
	int error;

	if (copy_in(&ask, argument, sizeof(ask)))
		return -EFAULT;
	if (!ask.num_ranges)
		return -EINVAL;
	if (ask.num_ranges > RANGES_MAX)
		return -E2BIG;
	error = read_ranges(&ask, ranges);
	if (!error)
		error = driver_start(call->model, d, ranges, ask.num_ranges, &ask.page_size);
	if (!error && (call->fails || copy_out(argument, &ask, sizeof(ask)))) {
		devlog_end(call->model, d);
		error = -EFAULT;
	}
	return error;
}

/* ---- the end ---- */

/* What it holds is lost, and so is what the device writes from now on. */
void devlog_end(struct model *m, struct device *d)
{
	if (!d->log.active)
		return;
	if (device_can_write(d)) {
		d->log.gap = true;
		truth_log_spoiled(m, d, 1, 0);
	}
	truth_log_dropped_all(m, d);
	pageset_empty(&d->log.pages);
	d->log.active = false;
	m->state->logging--;
}

/* It is the device's memory, and goes with it. */
void devlog_reset(struct model *m, struct device *d)
{
	if (!d->log.active || !d->log.config.reset_clears)
		return;
	truth_log_spoiled(m, d, 1, 0);
	truth_log_dropped_all(m, d);
	pageset_empty(&d->log.pages);
}

int devlog_stop(struct call *call, struct device *d)
{
	devlog_end(call->model, d);
	return 0;
}

void devlog_close(struct model *m, struct device *d)
{
	devlog_end(m, d);
	free(d->log.ranges);
	d->log.ranges = NULL;
	d->log.range_count = 0;
	d->log.gap = false;
}

/* ---- writes ---- */

bool devlog_covers(const struct device *d, uint64_t iova)
{
	for (unsigned i = 0; d->log.active && i < d->log.range_count; i++)
		if (iova >= d->log.ranges[i].first && iova <= d->log.ranges[i].last)
			return true;
	return false;
}

void devlog_mark(struct device *d, uint64_t iova, uint64_t size)
{
	struct devlog *log = &d->log;

	for (unsigned i = 0; log->active && size && i < log->range_count; i++) {
		uint64_t first = iova, last = iova + (size - 1);

		if (first < log->ranges[i].first)
			first = log->ranges[i].first;
		if (last > log->ranges[i].last)
			last = log->ranges[i].last;
		if (first <= last)
			pageset_add(&log->pages, first / log->page_size,
				    last / log->page_size - first / log->page_size + 1);
	}
}

/* ---- knobs ---- */

void model_set_log(struct model *m, const char *name, const struct model_log *config)
{
	struct device *d;

	model_lock(m);
	d = device_by_name(m, name);
	if (d && d->config->log)
		d->log.config = *config;
	else
		model_crash(m, "the test gave a log to %s, which keeps none", name);
	model_unlock(m);
}

uint64_t model_log_page_size(struct model *m, const char *name)
{
	const struct device *d;
	uint64_t size;

	model_lock(m);
	d = device_by_name(m, name);
	size = d && d->log.active ? d->log.page_size : 0;
	model_unlock(m);
	return size;
}
