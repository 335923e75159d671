/* SPDX-License-Identifier: MIT */

/* Your first program with libvfiodirty, on the test device of tests/kernel: it writes when it is told to, so one sees which pages come.
 * See docs/first-program.md. */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <vfdtest.h>
#include <vfiodirty.h>

#define SIZE (1UL << 20)
#define IOVA (16UL << 20)
#define PAGE 4096UL

static struct vfd_error err;
static char copy[SIZE];

static void check(int rc)
{
	if (!rc)
		return;
	fprintf(stderr, "%s: %s: %s\n", vfd_strcode(rc), err.operation, err.message);
	exit(1);
}

/* What a migration would send; here into an array. */
static void send_owed(const char *when, struct vfd_consumer *consumer)
{
	struct vfd_batch batch;
	struct vfd_run run;
	size_t count;

	check(vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, &err));
	printf("%s: %llu pages\n", when, (unsigned long long)batch.pages);
	if (!batch.id)
		return;
	for (;;) {
		check(vfd_batch_runs(consumer, &batch, &run, 1, &count, &err));
		if (!count)
			break;
		memcpy(copy + run.address, run.memory, run.size);
		printf("  0x%llx, %llu bytes\n", (unsigned long long)run.address,
		       (unsigned long long)run.size);
	}
	check(vfd_commit(consumer, &batch, 0, UINT64_MAX, &err));
}

static void device_writes(int bench, unsigned long page, unsigned long pages)
{
	struct vfdtest_range w = { .iova = IOVA + page * PAGE, .size = pages * PAGE, .value = 1 };

	if (ioctl(bench, VFDTEST_WRITE, &w)) {
		perror(VFDTEST_PATH);
		exit(1);
	}
}

int main(void)
{
	void *ram = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct vfd_region region = { .struct_size = sizeof region, .size = SIZE, .memory = ram };
	struct vfd_mapping map = { .struct_size = sizeof map,
				   .flags = VFD_MAP_READ | VFD_MAP_WRITE,
				   .iova = IOVA,
				   .size = SIZE,
				   .memory = ram };
	struct vfd_container_options options = { .struct_size = sizeof options };
	struct vfd_container *container;
	struct vfd_device *device;
	struct vfd_group *group;
	struct vfd_consumer *consumer;
	int number, bench = open(VFDTEST_PATH, O_RDWR | O_CLOEXEC);
	FILE *devices = fopen("/run/vfdtest", "r");
	char name[64];

	if (ram == MAP_FAILED || bench < 0 || !devices ||
	    fscanf(devices, "%*d %d %63s", &number, name) != 2) {
		fprintf(stderr, "there is no test device: run it by tests/kernel/run.sh\n");
		return 2;
	}
	fclose(devices);
	check(vfd_log_create(NULL, &options.log, &err)); /* what is owed, and to whom */
	check(vfd_region_add(options.log, &region, &err));
	consumer = vfd_log_consumer(options.log);

	check(vfd_container_open(&options, &container, &err));
	check(vfd_group_attach(container, number, &group, &err));
	check(vfd_device_open(group, name, &device, &err));
	check(vfd_map(container, &map, &err));

	check(vfd_track_start(container, NULL, NULL, &err));
	check(vfd_mark_initial(consumer, &err));
	send_owed("first copy", consumer);

	device_writes(bench, 3, 1);
	device_writes(bench, 7, 2);
	check(vfd_track_harvest(container, 0, NULL, &err));
	send_owed("written meanwhile", consumer);

	device_writes(bench, 42, 1); /* and nobody harvests */
	printf("detach: %s\n", vfd_strcode(vfd_group_detach(&group, 0, &err)));
	check(vfd_group_detach(&group, VFD_COLLECT, &err));
	send_owed("found by the detach", consumer);

	check(vfd_container_close(&container, 0, &err));
	check(vfd_log_destroy(&options.log, 0, &err));
	puts(memcmp(copy, ram, SIZE) ? "the copy differs" : "the copy is identical");
	return memcmp(copy, ram, SIZE) != 0;
}
