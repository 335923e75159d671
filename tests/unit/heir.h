/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_HEIR_H
#define TESTS_UNIT_HEIR_H

/* The log that outlives another, and what it owes. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

#include <vfiodirty.h>

#include <check.h>

#define HEIR_PAGE UINT64_C(4096)
#define HEIR_OK(call)                                                                                        \
	do {                                                                                                 \
		int heir_rc = (call);                                                                        \
		ck_assert_msg(!heir_rc, "%s: %s", #call, heir_err.message);                                  \
	} while (0)

static struct vfd_error heir_err;
static struct vfd_log *heir;
static struct vfd_salvage found;
static char *heir_memory;

static void heir_begin(uint64_t address, uint64_t size)
{
	struct vfd_region region = { .struct_size = sizeof region, .address = address, .size = size };

	heir_memory =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	region.memory = heir_memory;
	ck_assert(heir_memory != MAP_FAILED);
	HEIR_OK(vfd_log_create(NULL, &heir, &heir_err));
	HEIR_OK(vfd_region_add(heir, &region, &heir_err));
	found = (struct vfd_salvage){ .struct_size = sizeof found };
}

static void heir_end(uint64_t size)
{
	HEIR_OK(vfd_log_destroy(&heir, VFD_DISCARD, &heir_err));
	munmap(heir_memory, size);
}

static void set_bit(uint64_t *bitmap, uint64_t i)
{
	bitmap[i / 64] |= UINT64_C(1) << i % 64;
}

static bool has_bit(const uint64_t *bitmap, uint64_t i)
{
	return bitmap[i / 64] >> i % 64 & 1;
}

/* Everything that the heir owes, from log address `base` on */
static void heir_owes(uint64_t base, uint64_t *bitmap)
{
	struct vfd_consumer *consumer = vfd_log_consumer(heir);
	struct vfd_batch batch;
	struct vfd_run runs[64];
	size_t n = 1;

	HEIR_OK(vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, &heir_err));
	while (batch.id && n) {
		HEIR_OK(vfd_batch_runs(consumer, &batch, runs, 64, &n, &heir_err));
		for (size_t i = 0; i < n; i++)
			for (uint64_t at = 0; at < runs[i].size; at += HEIR_PAGE)
				set_bit(bitmap, (runs[i].address - base + at) / HEIR_PAGE);
	}
	if (batch.id)
		HEIR_OK(vfd_rollback(consumer, &batch, 0, UINT64_MAX, &heir_err));
}

/* One page, by a source, to a log that will be inherited */
static inline void report_page(struct vfd_log *log, uint64_t address)
{
	const uint64_t one = 1;
	const struct vfd_bitmap bitmap = { .struct_size = sizeof bitmap,
					   .provenance = VFD_REPORTED,
					   .address = address,
					   .page_size = HEIR_PAGE,
					   .bits = 1,
					   .words = &one,
					   .who = "kvm" };

	HEIR_OK(vfd_log_merge(log, &bitmap, NULL, &heir_err));
}

static void *shared(size_t size)
{
	void *m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert(m != MAP_FAILED);
	return m;
}

#endif
