/* SPDX-License-Identifier: MIT */

/* Who makes everything dirty?  why-dirty GROUP DEVICE
 * Five rounds of a migration, and after each what a migration tool should print: how much, how surely, and who. */

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include <vfiodirty.h>

enum { CAUSES = 64 };

static struct vfd_error err;

static void check(int rc)
{
	if (!rc)
		return;
	fprintf(stderr, "why-dirty: %s: %s\n", err.operation, err.message);
	exit(1);
}

static const char *provenance(uint32_t of)
{
	return of == VFD_REPORTED ? "reported" : of == VFD_SOFTWARE ? "written by software" : "assumed";
}

/* One line for each cause that a consumer's pages have. */
static void print_causes(struct vfd_consumer *consumer)
{
	struct vfd_cause causes[CAUSES];
	size_t count;

	check(vfd_consumer_causes(consumer, causes, CAUSES, &count, &err));
	for (size_t i = 0; i < count && i < CAUSES; i++)
		printf("  %-20s %8llu pages %s, reason %u, in %#llx..%#llx, %llu bytes a bit\n",
		       causes[i].who, (unsigned long long)causes[i].pages, provenance(causes[i].provenance),
		       causes[i].reason, (unsigned long long)causes[i].first,
		       (unsigned long long)causes[i].last, (unsigned long long)causes[i].granularity);
}

/* What will never become less, however many rounds there are. */
static void print_plan(struct vfd_container *container)
{
	struct vfd_plan plan = { .struct_size = sizeof plan };
	char text[4096];

	check(vfd_track_plan(container, &plan, &err));
	check(vfd_plan_text(&plan, text, sizeof text, NULL, &err));
	printf("%s", text);
	if (plan.deferred_bytes)
		printf("%llu MiB will be sent while the guest stands still, whatever the rounds before "
		       "sent\n",
		       (unsigned long long)plan.deferred_bytes >> 20);
}

/* Sends nothing: what is taken is committed at once. */
static void round_of(struct vfd_container *container, struct vfd_consumer *consumer, int number)
{
	struct vfd_harvest got = { .struct_size = sizeof got };
	struct vfd_batch batch;

	check(vfd_track_harvest(container, 0, &got, &err));
	printf("round %d: %llu pages new, %llu of them assumed, in %llu us\n", number,
	       (unsigned long long)got.pages_new, (unsigned long long)got.pages_assumed,
	       (unsigned long long)got.nanoseconds / 1000);
	print_causes(consumer);
	check(vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, &err));
	if (batch.id)
		check(vfd_commit(consumer, &batch, 0, UINT64_MAX, &err));
}

int main(int argc, char **argv)
{
	struct vfd_region region = { .struct_size = sizeof region, .size = 16 << 20 };
	struct vfd_mapping map = { .struct_size = sizeof map,
				   .flags = VFD_MAP_READ | VFD_MAP_WRITE,
				   .iova = 1 << 20,
				   .size = region.size };
	struct vfd_container_options options = { .struct_size = sizeof options };
	struct vfd_container *container;
	struct vfd_device *device;
	struct vfd_group *group;

	region.memory = map.memory =
		mmap(NULL, region.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (argc != 3 || map.memory == MAP_FAILED) {
		fprintf(stderr, "usage: why-dirty GROUP DEVICE, e.g. why-dirty 12 0000:3b:00.0 (vfd-info "
				"lists them)\n");
		return 2;
	}
	check(vfd_log_create(NULL, &options.log, &err));
	check(vfd_region_add(options.log, &region, &err));
	check(vfd_container_open(&options, &container, &err));
	check(vfd_group_attach(container, atoi(argv[1]), &group, &err));
	check(vfd_map(container, &map, &err));
	check(vfd_device_open(group, argv[2], &device, &err));
	check(vfd_track_start(container, NULL, NULL, &err));
	print_plan(container);
	for (int i = 1; i <= 5; i++) {
		nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
		round_of(container, vfd_log_consumer(options.log), i);
	}
	check(vfd_group_detach(&group, VFD_COLLECT, &err));
	printf("the end:\n");
	print_causes(vfd_log_consumer(options.log));
	check(vfd_container_close(&container, 0, &err));
	check(vfd_log_destroy(&options.log, VFD_DISCARD, &err));
	return 0;
}
