/* SPDX-License-Identifier: MIT */

/* A guest behind a vIOMMU maps and unmaps single pages while it is migrated:  viommu GROUP DEVICE
 * What its device wrote in a page is owed before the page's IOVA means another one. */

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <vfiodirty.h>

enum { PAGE = 4096, PAGES = 4096, WINDOW = 64, TURNS = 2000 };

static struct vfd_error err;
static char *ram;
static uint64_t mapped[WINDOW]; /* what the guest has at each IOVA: guest-physical address, 0: nothing */

static void check(int rc)
{
	if (!rc)
		return;
	fprintf(stderr, "viommu: %s: %s\n", err.operation, err.message);
	exit(1);
}

/* The guest's IOMMU driver wrote a page table entry, or took one away and waits until that is done. */
static void guest_maps(struct vfd_container *container, uint64_t iova, uint64_t physical)
{
	struct vfd_mapping map = { .struct_size = sizeof map,
				   .flags = VFD_MAP_READ | VFD_MAP_WRITE,
				   .iova = iova,
				   .size = PAGE,
				   .memory = ram + physical };

	check(vfd_map(container, &map, &err));
}

static void guest_invalidates(struct vfd_container *container, uint64_t iova)
{
	check(vfd_unmap(container, iova, PAGE, &err)); /* with its dirty bit */
}

static void turn(struct vfd_container *container)
{
	unsigned at = (unsigned)random() % WINDOW;
	uint64_t iova = (uint64_t)(at + 16) * PAGE, physical = (1 + (uint64_t)random() % (PAGES - 1)) * PAGE;

	if (mapped[at])
		guest_invalidates(container, iova);
	mapped[at] = mapped[at] ? 0 : physical;
	if (mapped[at])
		guest_maps(container, iova, physical);
}

/* The IOVAs that the guest was told it may choose from: a device that cannot reach all of them is refused. Type1 has no such list. */
static void promise(struct vfd_container *container)
{
	struct vfd_iova_range guests = { 16 * PAGE, (16 + WINDOW) * PAGE - 1 };
	int rc = vfd_iova_allow(container, &guests, 1, &err);

	check(rc == VFD_EUNSUPPORTED ? 0 : rc);
}

static void report(struct vfd_container *container, struct vfd_log *log)
{
	struct vfd_plan plan = { .struct_size = sizeof plan };
	struct vfd_count count;
	char text[4096];

	check(vfd_track_plan(container, &plan, &err));
	check(vfd_plan_text(&plan, text, sizeof text, NULL, &err));
	check(vfd_consumer_count(vfd_log_consumer(log), 0, UINT64_MAX, &count, &err));
	printf("%s%llu pages owed, %llu of them reported; %llu KiB to come at the end; logs begun anew: "
	       "%llu\n",
	       text, (unsigned long long)count.owed, (unsigned long long)count.reported,
	       (unsigned long long)plan.deferred_bytes >> 10, (unsigned long long)plan.rearms);
}

int main(int argc, char **argv)
{
	struct vfd_region region = { .struct_size = sizeof region, .size = (uint64_t)PAGES * PAGE };
	struct vfd_container_options options = { .struct_size = sizeof options };
	struct vfd_container *container;
	struct vfd_device *device;
	struct vfd_group *group;

	ram = mmap(NULL, region.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (argc != 3 || ram == MAP_FAILED) {
		fprintf(stderr,
			"usage: viommu GROUP DEVICE, e.g. viommu 12 0000:3b:00.0 (vfd-info lists them)\n");
		return 2;
	}
	region.memory = ram;
	check(vfd_log_create(NULL, &options.log, &err));
	check(vfd_region_add(options.log, &region, &err)); /* guest-physical addresses, whatever the IOVAs */
	check(vfd_container_open(&options, &container, &err));
	promise(container);
	check(vfd_group_attach(container, atoi(argv[1]), &group, &err));
	check(vfd_device_open(group, argv[2], &device, &err));
	check(vfd_track_start(container, NULL, NULL, &err));
	for (int i = 0; i < TURNS; i++) {
		turn(container);
		if (i % 100 == 0)
			check(vfd_track_harvest(container, 0, NULL, &err)); /* a round of the migration */
		if (i % 1000 == 0)
			check(vfd_track_rearm(container, NULL, NULL,
					      &err)); /* costs nothing: of paused devices only */
	}
	report(container, options.log);
	check(vfd_group_detach(&group, VFD_COLLECT, &err));
	check(vfd_unmap_all(container, &err));
	check(vfd_container_close(&container, 0, &err));
	check(vfd_log_destroy(&options.log, VFD_DISCARD, &err));
	puts("nothing was lost");
	return 0;
}
