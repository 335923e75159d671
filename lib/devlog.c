/* SPDX-License-Identifier: MIT */
#include "devlog.h"

#include <errno.h>

#include "uapi.h"

/* The argument of VFIO_DEVICE_FEATURE: the head, and what the feature needs behind it. */
struct control {
	struct uapi_feature head;
	struct uapi_log_control body;
};

struct report {
	struct uapi_feature head;
	struct uapi_log_report body;
};

static struct uapi_feature head_of(size_t size, uint32_t flags)
{
	return (struct uapi_feature){ .argsz = (uint32_t)size, .flags = flags };
}

static int feature(const struct sys *sys, int fd, void *arg)
{
	int rc = sys->ioctl(sys, fd, VFIO_DEVICE_FEATURE, arg);

	return rc < 0 ? rc : 0;
}

static bool offered(const struct sys *sys, int fd, uint32_t flags)
{
	struct uapi_feature probe = head_of(sizeof probe, flags | UAPI_FEATURE_PROBE);

	return !feature(sys, fd, &probe);
}

bool devlog_offered(const struct sys *sys, int fd)
{
	return offered(sys, fd, UAPI_FEATURE_SET | UAPI_FEATURE_LOG_START) &&
	       offered(sys, fd, UAPI_FEATURE_SET | UAPI_FEATURE_LOG_STOP) &&
	       offered(sys, fd, UAPI_FEATURE_GET | UAPI_FEATURE_LOG_REPORT);
}

/* A page size smaller than asked would leave bits without pages; one far larger could only be read together with all that is armed around. */
static int check_answer(struct devlog *log, uint64_t answer, uint64_t page_size)
{
	log->page_size = answer;
	if (is_power_of_two(answer) && answer >= page_size && answer / page_size <= DEVLOG_COARSEST)
		return 0;
	devlog_quit(log);
	return -EPROTO;
}

int devlog_begin(struct devlog *log, const struct range *ranges, size_t count, uint64_t page_size)
{
	struct uapi_log_range list[DEVLOG_RANGES];
	struct control arg = {
		.head = head_of(sizeof arg, UAPI_FEATURE_SET | UAPI_FEATURE_LOG_START),
		.body = { .page_size = page_size, .num_ranges = (uint32_t)count, .ranges = (uintptr_t)list },
	};

	if (!count || count > DEVLOG_RANGES)
		return count ? -E2BIG : -EINVAL;
	for (size_t i = 0; i < count; i++)
		list[i] = (struct uapi_log_range){ ranges[i].first, range_size(ranges[i]) };
	int rc = log->runs_on ? devlog_quit(log) : 0;
	rc = rc ? rc : feature(log->sys, log->fd, &arg);
	return rc ? rc : check_answer(log, arg.body.page_size, page_size);
}

int devlog_read(const struct devlog *log, struct range where, uint64_t page, uint64_t *words)
{
	struct report arg = {
		.head = head_of(sizeof arg, UAPI_FEATURE_GET | UAPI_FEATURE_LOG_REPORT),
		.body = { .iova = where.first,
			  .length = range_size(where),
			  .page_size = page,
			  .bitmap = (uintptr_t)words },
	};

	return feature(log->sys, log->fd, &arg);
}

int devlog_quit(struct devlog *log)
{
	struct uapi_feature stop = head_of(sizeof stop, UAPI_FEATURE_SET | UAPI_FEATURE_LOG_STOP);
	int rc = feature(log->sys, log->fd, &stop);

	log->runs_on = rc;
	return rc;
}
