/* SPDX-License-Identifier: MIT */
#include "logs.h"

#include "bench.h"

struct vfd_log *log_of(uint64_t bytes)
{
	struct vfd_log_options how = { .struct_size = sizeof how, .flags = VFD_LOG_IDENTITY };
	struct vfd_region region = { .struct_size = sizeof region, .size = bytes };
	struct vfd_log *log;

	must("vfd_log_create", vfd_log_create(&how, &log, NULL));
	must("vfd_region_add", vfd_region_add(log, &region, NULL));
	return log;
}

void log_drop(struct vfd_log *log)
{
	must("vfd_log_destroy", vfd_log_destroy(&log, VFD_DISCARD, NULL));
}

uint64_t log_give(struct vfd_log *log, uint64_t address, const uint64_t *words, size_t n)
{
	static const struct log_source source = { .provenance = VFD_REPORTED,
						  .granularity = PAGE,
						  .who = "bench" };
	struct log_bits bits = { .address = address, .granularity = PAGE, .words = words, .bits = n * 64 };

	return log_merge(log, &bits, &source);
}

void log_empty(struct vfd_log *log)
{
	struct vfd_consumer *consumer = vfd_log_consumer(log);
	struct vfd_batch batch;

	must("vfd_take", vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, NULL));
	if (batch.id)
		must("vfd_commit", vfd_commit(consumer, &batch, 0, UINT64_MAX, NULL));
}
