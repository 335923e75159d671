/* SPDX-License-Identifier: MIT */

/* Merge the bitmap of a guest of 1 TiB into the log: 32 MiB, with nothing of it in the caches. What the machine can do with the
 * same bytes: dst |= src, and for an empty bitmap reading it. */

#include "bench.h"
#include "logs.h"
#include "machine.h"
#include "rows.h"

static uint64_t *source, *target;

static double gigabytes(double bytes, double ns)
{
	return bytes / ns;
}

static double merge_public(struct vfd_log *log)
{
	struct vfd_bitmap bitmap = { .struct_size = sizeof bitmap,
				     .provenance = VFD_REPORTED,
				     .page_size = PAGE,
				     .bits = TIB / PAGE,
				     .words = source };

	caches_flush();
	double began = cpu_ns();
	must("vfd_log_merge", vfd_log_merge(log, &bitmap, NULL, NULL));
	return (cpu_ns() - began) / 1e6;
}

static double merge_internal(struct vfd_log *log)
{
	caches_flush();
	double began = cpu_ns();
	sink += log_give(log, 0, source, TIB_WORDS);
	return (cpu_ns() - began) / 1e6;
}

/* As in a migration: every page that the log gets was clean, its memory has been used before. */
static double merge_harvest(void *log)
{
	double took = merge_internal(log);

	log_empty(log);
	return took;
}

static double merge_call(void *log)
{
	double took = merge_public(log);

	log_empty(log);
	return took;
}

/* The same pages again. */
static double merge_again(void *log)
{
	return merge_internal(log);
}

static double plain_or(void *arg)
{
	(void)arg;
	caches_flush();
	double began = cpu_ns();
	machine_or(target, source, TIB_WORDS);
	return (cpu_ns() - began) / 1e6;
}

static double plain_read(void *arg)
{
	(void)arg;
	caches_flush();
	double began = cpu_ns();
	sink += machine_read(source, TIB_WORDS);
	return (cpu_ns() - began) / 1e6;
}

static double plain_copy(void *arg)
{
	(void)arg;
	caches_flush();
	double began = cpu_ns();
	machine_copy(target, source, TIB_WORDS);
	return (cpu_ns() - began) / 1e6;
}

static void begin(unsigned per_1024)
{
	source = memory_new(TIB_WORDS * 8);
	target = memory_new(TIB_WORDS * 8);
	fill_random(source, TIB_WORDS, per_1024, 11);
}

static void end(void)
{
	memory_free(source, TIB_WORDS * 8);
	memory_free(target, TIB_WORDS * 8);
}

static void density(const char *name, unsigned per_1024, double (*how)(void *), double limit)
{
	struct row row = { .name = name, .unit = "ms", .peer = "dst |= src", .at_least_times = limit };
	struct vfd_log *log = log_of(TIB);
	struct contender two[] = { { .once = how, .arg = log }, { .once = plain_or } };

	begin(per_1024);
	if (!per_1024) {
		row.peer = "read src";
		two[1].once = plain_read;
	}
	row_race(&row, two, 21);
	end();
	log_drop(log);
}

void rows_merge(void)
{
	density("merge-1TiB-all", 1024, merge_harvest, 0.8);
	density("merge-1TiB-half", 512, merge_harvest, 0.8);
	density("merge-1TiB-1%", 10, merge_harvest, 0.8);
	density("merge-1TiB-none", 0, merge_harvest, 0.8);
	density("merge-1TiB-1%-again", 10, merge_again, 0);
	density("merge-1TiB-1%-vfd_log_merge", 10, merge_call, 0);
	density("merge-1TiB-none-vfd_log_merge", 0, merge_call, 0);
}

/* ---- the machine itself ---- */

static void bandwidth(const char *name, double (*once)(void *), double bytes)
{
	struct contender one = { .once = once };

	race(&one, 1, repetitions(21));
	for (size_t i = 0; i < one.took.count; i++)
		one.took.values[i] = gigabytes(bytes, one.took.values[i] * 1e6);
	row_print(&(struct row){ .name = name, .unit = "GB/s" }, &one.took, NULL);
}

void rows_machine(void)
{
	begin(512);
	bandwidth("one-core-read", plain_read, TIB_WORDS * 8.0);
	bandwidth("one-core-copy", plain_copy, TIB_WORDS * 8.0 * 2);
	bandwidth("one-core-read-modify-write", plain_or, TIB_WORDS * 8.0 * 3);
	end();
}
