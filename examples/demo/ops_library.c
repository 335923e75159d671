/* SPDX-License-Identifier: MIT */

/* The same through libvfiodirty. */

#include "demo.h"

#include <stdio.h>

#include <vfiodirty.h>

static struct {
	struct vfd_log *log;
	struct vfd_consumer *consumer;
	struct vfd_container *container;
	struct vfd_group *group;
	struct vfd_device *device;
	struct vfd_batch batch;
	struct vfd_error err;
} lib;

static void check(int rc)
{
	if (rc)
		die("%s: %s (%s)", lib.err.operation, lib.err.message, vfd_strcode(rc));
}

static void open_log(const struct source *s)
{
	struct vfd_region ram = { .struct_size = sizeof ram, .size = s->size, .memory = s->memory };

	check(vfd_log_create(NULL, &lib.log, &lib.err));
	check(vfd_region_add(lib.log, &ram, &lib.err));
	lib.consumer = vfd_log_consumer(lib.log);
	lib.batch = (struct vfd_batch){ 0 };
}

static void open_container(const struct source *s)
{
	const char *name = s->device->name;
	struct vfd_container_options options = { .struct_size = sizeof options,
						 .log = lib.log,
						 .backend = s->backend,
						 .device_count = 1,
						 .devices = &name };

	check(vfd_container_open(&options, &lib.container, &lib.err));
	check(vfd_group_attach(lib.container, s->device->group, &lib.group, &lib.err));
}

/* All slots at once, all or none. They follow each other and would become one mapping, which could only be unmapped as a whole: so the
 * granule is the largest that cuts no slot. */
static void map_all(const struct source *s)
{
	struct vfd_mapping slots[SLOTS];
	uint64_t size = s->size / SLOTS;

	for (unsigned i = 0; i < SLOTS; i++)
		slots[i] = (struct vfd_mapping){
			.struct_size = sizeof slots[i],
			.flags = VFD_MAP_READ | VFD_MAP_WRITE,
			.iova = s->iova + i * size,
			.size = size,
			.memory = s->memory + i * size,
			.granule = size & -size,
		};
	check(vfd_map_list(lib.container, slots, SLOTS, NULL, &lib.err));
}

static void open_all(const struct source *s)
{
	open_log(s);
	open_container(s);
	map_all(s);
}

static void library_plug(struct source *s)
{
	open_all(s);
	check(vfd_track_start(lib.container, NULL, NULL, &lib.err));
	check(vfd_device_open(lib.group, s->device->name, &lib.device, &lib.err));
	check(vfd_mark_initial(lib.consumer, &lib.err));
}

static void library_harvest(struct source *s)
{
	(void)s;
	check(vfd_track_harvest(lib.container, 0, NULL, &lib.err));
}

static size_t library_take(struct source *s, struct chunk window, struct chunk *chunks, size_t room)
{
	struct vfd_run runs[WIRE_CHUNKS];
	size_t count;

	(void)s;
	if (!lib.batch.id)
		check(vfd_take(lib.consumer, window.offset, window.offset + window.size - 1, UINT64_MAX,
			       &lib.batch, &lib.err));
	if (!lib.batch.id)
		return 0;
	check(vfd_batch_runs(lib.consumer, &lib.batch, runs, room < WIRE_CHUNKS ? room : WIRE_CHUNKS, &count,
			     &lib.err));
	for (size_t i = 0; i < count; i++)
		chunks[i] = (struct chunk){ runs[i].address, runs[i].size };
	return count;
}

static void library_arrived(struct source *s, struct chunk window)
{
	(void)s;
	(void)window;
	if (lib.batch.id)
		check(vfd_commit(lib.consumer, &lib.batch, 0, UINT64_MAX, &lib.err));
	lib.batch.id = 0;
}

/* Collects before, between and after everything that could destroy the record; or fails, with nothing destroyed. */
static void library_unplug(struct source *s)
{
	(void)s;
	check(vfd_group_detach(&lib.group, VFD_COLLECT, &lib.err));
	lib.device = NULL;
}

static void library_end(struct source *s)
{
	(void)s;
	check(vfd_container_close(&lib.container, 0, &lib.err));
	check(vfd_log_destroy(&lib.log, 0, &lib.err));
}

const struct ops library_ops = {
	.name = "libvfiodirty",
	.plug = library_plug,
	.harvest = library_harvest,
	.take = library_take,
	.arrived = library_arrived,
	.unplug = library_unplug,
	.end = library_end,
};

void library_print_plan(const struct source *s)
{
	struct vfd_plan plan = { .struct_size = sizeof plan };
	char text[1024];

	open_all(s);
	check(vfd_device_open(lib.group, s->device->name, &lib.device, &lib.err));
	check(vfd_track_plan(lib.container, &plan, &lib.err));
	check(vfd_plan_text(&plan, text, sizeof text, NULL, &lib.err));
	fputs(text, stdout);
	check(vfd_device_close(&lib.device, 0, &lib.err));
	check(vfd_group_detach(&lib.group, 0, &lib.err));
	check(vfd_container_close(&lib.container, 0, &lib.err));
	check(vfd_log_destroy(&lib.log, 0, &lib.err));
}
