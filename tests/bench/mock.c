/* SPDX-License-Identifier: MIT */

/* The rows of iommufd: in a guest with a kernel of our own. A mock domain whose whole aperture is mapped is harvested by the library, and by
 * one bare ioctl into memory that is ready. */

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "bench.h"
#include "container.h"
#include "real/iommufd_mock.h"
#include "uapi_iommufd.h"

#include <vfiodirty.h>

#define PAGE	    UINT64_C(4096)
#define MIB	    (UINT64_C(1) << 20)
#define FIRST	    (16 * MIB) /* the mock's aperture */
#define END	    (2048 * MIB)
#define SIZE	    (8 * MIB) /* of the memory, which is mapped again and again */
#define LOG_ADDRESS (UINT64_C(1) << 44)

enum { WRITES = 512, WORDS = (END - FIRST) / PAGE / 64 };

static struct vfd_log *dirty_log;
static struct vfd_container *container;
static struct vfd_group *group;
static struct vfd_device *device;
static void *memory;
static uint64_t *scratch;

/* All in different pages of the memory, so that the log can be counted. */
static void device_writes(void)
{
	uint64_t seed = 3;

	for (uint64_t i = 0; i < WRITES; i++) {
		uint64_t mapping = random_next(&seed) % ((END - FIRST) / SIZE);
		must("dirty", mock_dirty(0, FIRST + mapping * SIZE + i * (SIZE / WRITES)));
	}
}

static double harvest(void *arg)
{
	struct vfd_consumer *consumer = vfd_log_consumer(dirty_log);
	struct vfd_count count;
	struct vfd_batch batch;

	(void)arg;
	device_writes();
	double began = wall_ns();
	must("vfd_track_harvest", vfd_track_harvest(container, 0, NULL, NULL));
	double took = wall_ns() - began;
	must("count", vfd_consumer_count(consumer, 0, UINT64_MAX, &count, NULL));
	must("pages are missing in the log", count.owed < WRITES ? -1 : 0);
	must("vfd_take", vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, NULL));
	must("vfd_commit", vfd_commit(consumer, &batch, 0, UINT64_MAX, NULL));
	return took / 1e6;
}

static double bare(void *arg)
{
	struct uapi_hwpt_get_dirty question = { .size = sizeof question,
						.hwpt_id = container->iommufd.tables[0].id,
						.iova = FIRST,
						.length = END - FIRST,
						.page_size = PAGE,
						.data = (uintptr_t)scratch };

	(void)arg;
	device_writes();
	double began = wall_ns();
	int rc = mock_sys.ioctl(&mock_sys, vfd_container_fd(container), UAPI_HWPT_GET_DIRTY, &question);
	double took = wall_ns() - began;
	must("GET_DIRTY_BITMAP", rc);
	return took / 1e6;
}

static void open_log(void)
{
	struct vfd_region region = {
		.struct_size = sizeof region, .address = LOG_ADDRESS, .size = SIZE, .memory = memory
	};

	must("vfd_log_create", vfd_log_create(NULL, &dirty_log, NULL));
	must("vfd_region_add", vfd_region_add(dirty_log, &region, NULL));
}

static void map_all(void)
{
	struct vfd_mapping mapping = { .struct_size = sizeof mapping,
				       .flags = VFD_MAP_READ | VFD_MAP_WRITE,
				       .size = SIZE,
				       .memory = memory };

	for (mapping.iova = FIRST; mapping.iova < END; mapping.iova += SIZE)
		must("vfd_map", vfd_map(container, &mapping, NULL));
}

static void open_container(void)
{
	struct vfd_container_options how = { .struct_size = sizeof how,
					     .log = dirty_log,
					     .backend = VFD_BACKEND_IOMMUFD };

	must("vfd_container_open", container_open_on(&mock_sys, &how, &container, NULL));
	must("vfd_group_attach", vfd_group_attach(container, MOCK_GROUP, &group, NULL));
	must("vfd_device_open", vfd_device_open(group, "mock0", &device, NULL));
	map_all();
	must("vfd_track_start", vfd_track_start(container, NULL, NULL, NULL));
}

static void *reserve(uint64_t bytes, int flags)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | flags, -1, 0);

	must("memory", at == MAP_FAILED ? -errno : 0);
	return at;
}

static void row(const char *name, int pages)
{
	struct contender all[] = { { .once = harvest }, { .once = bare } };

	memory = reserve(SIZE, pages);
	scratch = reserve(WORDS * sizeof *scratch, 0);
	open_log();
	open_container();
	race(all, 2, repetitions(15));
	row_print(&(struct row){ .name = name,
				 .unit = "ms",
				 .peer = "one bare GET_DIRTY_BITMAP",
				 .at_most_times = 1.1 },
		  &all[0].took, &all[1].took);
	must("vfd_container_close", vfd_container_close(&container, VFD_DISCARD, NULL));
	must("vfd_log_destroy", vfd_log_destroy(&dirty_log, VFD_DISCARD, NULL));
	munmap(memory, SIZE);
	munmap(scratch, WORDS * sizeof *scratch);
}

static void rows_iommufd(void)
{
	row("harvest-mock-4KiB-entries", 0);
	mock_huge(true);
	row("harvest-mock-1MiB-entries", MAP_HUGETLB);
}

int main(int argc, char **argv)
{
	static const struct group groups[] = { { "iommufd", rows_iommufd } };

	options_parse(argc, argv);
	if (!mock_there())
		return 2;
	return groups_run(groups, sizeof groups / sizeof *groups);
}
