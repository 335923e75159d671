/* SPDX-License-Identifier: MIT */

/* The smallest complete use of libvfiodirty:  hello GROUP DEVICE, e.g.  hello 12 0000:3b:00.0
 * Copies 16 MiB of memory that a device may write, twice: all of it, then what became dirty meanwhile. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <vfiodirty.h>

static struct vfd_error err;
static char copy[16 << 20];

static void check(int rc)
{
	if (!rc)
		return;
	fprintf(stderr, "hello: %s: %s\n", err.operation, err.message);
	exit(1);
}

/* Send what is owed. Here: into an array. */
static void send_owed(struct vfd_consumer *consumer)
{
	struct vfd_batch batch;
	struct vfd_run run;
	size_t count;

	check(vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, &err));
	if (!batch.id)
		return;
	for (;;) {
		check(vfd_batch_runs(consumer, &batch, &run, 1, &count, &err));
		if (!count)
			break;
		memcpy(copy + run.address, run.memory, run.size);
	}
	printf("sent %llu pages\n", (unsigned long long)batch.pages);
	check(vfd_commit(consumer, &batch, 0, UINT64_MAX, &err));
}

int main(int argc, char **argv)
{
	void *ram = mmap(NULL, sizeof copy, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct vfd_region region = { .struct_size = sizeof region, .size = sizeof copy, .memory = ram };
	struct vfd_mapping map = { .struct_size = sizeof map,
				   .flags = VFD_MAP_READ | VFD_MAP_WRITE,
				   .iova = 1 << 20,
				   .size = sizeof copy,
				   .memory = ram };
	struct vfd_container_options options = { .struct_size = sizeof options };
	struct vfd_container *container;
	struct vfd_device *device;
	struct vfd_group *group;

	if (argc != 3 || ram == MAP_FAILED) {
		fprintf(stderr,
			"usage: hello GROUP DEVICE, e.g. hello 12 0000:3b:00.0 (vfd-info lists them)\n");
		return 2;
	}
	check(vfd_log_create(NULL, &options.log, &err));
	check(vfd_region_add(options.log, &region, &err));
	check(vfd_container_open(&options, &container, &err));
	check(vfd_group_attach(container, atoi(argv[1]), &group, &err));
	check(vfd_map(container, &map, &err));
	check(vfd_track_start(container, NULL, NULL, &err));
	check(vfd_device_open(group, argv[2], &device, &err));
	check(vfd_mark_initial(vfd_log_consumer(options.log), &err));
	send_owed(vfd_log_consumer(options.log)); /* everything, while the device may write */
	check(vfd_track_harvest(container, 0, NULL, &err));
	send_owed(vfd_log_consumer(options.log)); /* what it wrote meanwhile; as often as you like */
	check(vfd_group_detach(&group, VFD_COLLECT, &err));
	send_owed(vfd_log_consumer(options.log)); /* and the rest: nothing was lost by closing the device */
	check(vfd_container_close(&container, 0, &err));
	check(vfd_log_destroy(&options.log, 0, &err));
	puts(memcmp(copy, ram, sizeof copy) ? "the copy differs" : "the copy is identical");
	return memcmp(copy, ram, sizeof copy) != 0;
}
