/* SPDX-License-Identifier: MIT */
#include "copy.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct vfd_error failure;

void die(const char *format, ...)
{
	va_list arguments;

	fflush(stdout);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(1);
}

void check(int rc)
{
	if (rc)
		die("%s: %s (%s)", failure.operation, failure.message, vfd_strcode(rc));
}

int verdict(bool good, const char *format, ...)
{
	va_list arguments;

	fputs(good ? "ok: " : "FAILED: ", stdout);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
	return !good;
}

void copy_begin(struct copy *c, void *memory, uint64_t size)
{
	struct vfd_region region = { .struct_size = sizeof region, .size = size, .memory = memory };

	*c = (struct copy){ .memory = memory, .copy = calloc(1, size), .size = size };
	if (!c->copy)
		die("no memory");
	check(vfd_log_create(NULL, &c->log, &failure));
	check(vfd_region_add(c->log, &region, &failure));
}

/* Content is read after the take: what the device writes from then on is owed again. */
uint64_t copy_owed(struct copy *c)
{
	struct vfd_consumer *consumer = vfd_log_consumer(c->log);
	struct vfd_batch batch;
	struct vfd_run run;
	size_t count;

	check(vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, &failure));
	if (!batch.id)
		return 0;
	for (;;) {
		check(vfd_batch_runs(consumer, &batch, &run, 1, &count, &failure));
		if (!count)
			break;
		memcpy(c->copy + run.address, run.memory, run.size);
	}
	check(vfd_commit(consumer, &batch, 0, UINT64_MAX, &failure));
	return batch.pages;
}

void copy_initial(struct copy *c)
{
	check(vfd_mark_initial(vfd_log_consumer(c->log), &failure));
	printf("first copy: %llu pages\n", (unsigned long long)copy_owed(c));
}

int copy_end(struct copy *c)
{
	uint64_t differ = 0;

	for (uint64_t at = 0; at < c->size; at += PAGE)
		differ += !!memcmp(c->memory + at, c->copy + at, PAGE);
	check(vfd_log_destroy(&c->log, 0, &failure)); /* would refuse if a page were still owed */
	free(c->copy);
	return verdict(!differ, "the copy is identical (%llu of %llu pages differ)",
		       (unsigned long long)differ, (unsigned long long)(c->size / PAGE));
}

int check_plan(struct vfd_container *container, enum vfd_source_kind expected)
{
	struct vfd_plan plan = { .struct_size = sizeof plan };
	bool good = true;
	char text[4096];

	check(vfd_track_plan(container, &plan, &failure));
	check(vfd_plan_text(&plan, text, sizeof text, NULL, &failure));
	fputs(text, stdout);
	for (uint32_t i = 0; i < plan.entry_count; i++)
		good &= plan.entries[i].source == expected;
	return verdict(good && plan.entry_count, "the plan says %s",
		       expected == VFD_SOURCE_PINS    ? "pins"
		       : expected == VFD_SOURCE_TYPE1 ? "the type1 record"
						      : "deferred");
}
