/* SPDX-License-Identifier: MIT */
/* VFIO_DEVICE_FEATURE: the frame, with the kernel's checks in the kernel's order. */
#include "internal.h"
#include "uapi.h"

#define METHODS (UAPI_FEATURE_GET | UAPI_FEATURE_SET)

int feature_check(uint32_t flags, size_t size, uint32_t supported, size_t wanted)
{
	if (flags & METHODS & ~supported)
		return -EINVAL;
	if (flags & UAPI_FEATURE_PROBE)
		return 0;
	return flags & METHODS && size >= wanted ? 1 : -EINVAL;
}

static int logging(struct call *call, struct device *d, uint32_t flags, size_t size, void *data)
{
	int go;

	if (!d->config->log)
		return -ENOTTY;
	switch (flags & UAPI_FEATURE_MASK) {
	case UAPI_FEATURE_LOG_START:
		go = feature_check(flags, size, UAPI_FEATURE_SET, sizeof(struct uapi_log_control));
		return go == 1 ? devlog_start(call, d, data) : go;
	case UAPI_FEATURE_LOG_STOP:
		go = feature_check(flags, size, UAPI_FEATURE_SET, 0);
		return go == 1 ? devlog_stop(call, d) : go;
	default:
		go = feature_check(flags, size, UAPI_FEATURE_GET, sizeof(struct uapi_log_report));
		return go == 1 ? devlog_report(call, d, data) : go;
	}
}

static int migrating(struct call *call, struct device *d, uint32_t flags, size_t size, void *data)
{
	int go;

	if (!d->config->migration)
		return -ENOTTY;
	switch (flags & UAPI_FEATURE_MASK) {
	case UAPI_FEATURE_MIGRATION:
		go = feature_check(flags, size, UAPI_FEATURE_GET, sizeof(struct uapi_migration));
		return go == 1 ? migration_get_flags(d, data) : go;
	case UAPI_FEATURE_MIG_DATA_SIZE:
		go = feature_check(flags, size, UAPI_FEATURE_GET, sizeof(struct uapi_mig_data_size));
		return go == 1 ? migration_get_size(d, data) : go;
	default:
		go = feature_check(flags, size, METHODS, sizeof(struct uapi_mig_state));
		return go == 1 ? migration_state(call, d, flags, data) : go;
	}
}

int feature_ioctl(struct call *call, struct device *d, void *argument)
{
	struct uapi_feature head;

	if (copy_in(&head, argument, sizeof(head)))
		return -EFAULT;
	if (head.argsz < sizeof(head) || head.flags & ~(UAPI_FEATURE_MASK | METHODS | UAPI_FEATURE_PROBE))
		return -EINVAL;
	if (!(head.flags & UAPI_FEATURE_PROBE) && (head.flags & METHODS) == METHODS)
		return -EINVAL;
	switch (head.flags & UAPI_FEATURE_MASK) {
	case UAPI_FEATURE_LOG_START:
	case UAPI_FEATURE_LOG_STOP:
	case UAPI_FEATURE_LOG_REPORT:
		return logging(call, d, head.flags, head.argsz - sizeof(head),
			       (char *)argument + sizeof(head));
	case UAPI_FEATURE_MIGRATION:
	case UAPI_FEATURE_MIG_STATE:
	case UAPI_FEATURE_MIG_DATA_SIZE:
		return migrating(call, d, head.flags, head.argsz - sizeof(head),
				 (char *)argument + sizeof(head));
	default:
		return -ENOTTY;
	}
}
