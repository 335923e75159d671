/* SPDX-License-Identifier: MIT */

/* real_handover [KILLS]: a process that harvests and sends is killed, again and again, while a device writes; another one has its log's arena
 * and the descriptors, and goes on. At the end of each round what was sent is what the memory holds. Half of the kills are aimed between
 * GET_BITMAP's return and the merge. */

#include "rig.h"

#include <fcntl.h>
#include <linux/vfio.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAPPED = 512, ARENA = 1 << 20 };

/* What both processes see */
struct common {
	unsigned char sent[MAPPED * RIG_PAGE];
	_Atomic uint64_t rounds; /* of the child's */
	uint64_t gets_left;	 /* then it kills itself */
};

static struct rig rig;
static struct common *common;
static void *arena;
static int container_fd, group_fd, device_fd;

static void *shared(size_t size)
{
	void *m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (m == MAP_FAILED)
		abort();
	return m;
}

/* By plain calls: it is nobody's, and outlives each that adopts it. The mapping is this process'. */
static bool open_container(void)
{
	struct vfio_iommu_type1_dma_map map = { .argsz = sizeof map,
						.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
						.vaddr = (uintptr_t)rig.memory,
						.iova = RIG_IOVA,
						.size = MAPPED * RIG_PAGE };
	struct vfio_iommu_type1_dirty_bitmap start = { .argsz = sizeof start,
						       .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_START };
	char path[32];

	snprintf(path, sizeof path, "/dev/vfio/%d", rig_group_number(0));
	container_fd = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	group_fd = open(path, O_RDWR | O_CLOEXEC);
	if (ioctl(group_fd, VFIO_GROUP_SET_CONTAINER, &container_fd) ||
	    ioctl(container_fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) ||
	    ioctl(container_fd, VFIO_IOMMU_MAP_DMA, &map) ||
	    ioctl(container_fd, VFIO_IOMMU_DIRTY_PAGES, &start))
		return false;
	device_fd = ioctl(group_fd, VFIO_GROUP_GET_DEVICE_FD, "vfdtest.0");
	return device_fd >= 0;
}

/* ---- what either does ---- */

static int adopt(struct vfd_log *log, struct vfd_container **container, struct vfd_error *err)
{
	struct vfd_adopt_group group = { rig_group_number(0), group_fd };
	struct vfd_adopt_device device = { group.number, device_fd, "vfdtest.0" };
	struct vfd_mapping mapping = { .struct_size = sizeof mapping,
				       .flags = RIG_RW,
				       .iova = RIG_IOVA,
				       .size = MAPPED * RIG_PAGE,
				       .memory = rig.memory };
	struct vfd_adoption what = { .struct_size = sizeof what,
				     .flags = VFD_ADOPT_DUP,
				     .container_fd = container_fd,
				     .group_count = 1,
				     .device_count = 1,
				     .mapping_count = 1,
				     .groups = &group,
				     .devices = &device,
				     .mappings = &mapping,
				     .log = log };

	return container_adopt_on(&rig_sys, &what, container, err);
}

static int create_log(void *where, struct vfd_log **log, struct vfd_error *err)
{
	struct vfd_log_options options = { .struct_size = sizeof options,
					   .arena = where,
					   .arena_size = where ? ARENA : 0 };
	struct vfd_region region = { .struct_size = sizeof region,
				     .address = RIG_LOG,
				     .size = MAPPED * RIG_PAGE,
				     .memory = rig.memory };
	int rc = vfd_log_create(&options, log, err);

	return rc ? rc : vfd_region_add(*log, &region, err);
}

static int send_owed(struct vfd_log *log, struct vfd_error *err)
{
	struct vfd_consumer *consumer = vfd_log_consumer(log);
	struct vfd_batch batch;
	struct vfd_run runs[16];
	size_t n = 1;
	int rc = vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, err);

	while (!rc && batch.id && n) {
		rc = vfd_batch_runs(consumer, &batch, runs, 16, &n, err);
		for (size_t i = 0; !rc && i < n; i++)
			memcpy(common->sent + (runs[i].address - RIG_LOG), runs[i].memory,
			       (size_t)runs[i].size);
	}
	return rc || !batch.id ? rc : vfd_commit(consumer, &batch, 0, UINT64_MAX, err);
}

/* ---- who is killed ---- */

static void die_behind_get(void *bitmap, uint64_t bytes, bool after)
{
	(void)bitmap;
	(void)bytes;
	if (after && common->gets_left && !--common->gets_left)
		raise(SIGKILL);
}

static void harvest_for_ever(void)
{
	struct vfd_container *container;
	struct vfd_error err;
	struct vfd_log *log;
	int rc = create_log(arena, &log, &err);

	rig_around_get = die_behind_get;
	if (!rc)
		rc = adopt(log, &container, &err);
	while (!rc) {
		rc = vfd_track_harvest(container, 0, NULL, &err);
		if (!rc)
			rc = send_owed(log, &err);
		common->rounds++;
	}
	printf("# the child: %s\n", err.message);
	fflush(stdout);
	_exit(1);
}

/* ---- who goes on ---- */

struct totals {
	unsigned kills, busy, interrupted, lost;
	uint64_t rounds, salvaged, kernel;
};

static bool go_on(struct totals *t)
{
	struct vfd_salvage found = { .struct_size = sizeof found };
	struct vfd_container *container;
	struct vfd_error err;
	struct vfd_log *log;
	struct vfd_count salvaged = { 0 }, all = { 0 };
	bool made = *(const uint64_t *)arena; /* killed before that it had harvested nothing */
	int rc = create_log(NULL, &log, &err);

	if (!rc && made)
		rc = vfd_log_salvage(log, arena, ARENA, NULL, &found, &err);
	if (!rc)
		rc = vfd_consumer_count(vfd_log_consumer(log), 0, UINT64_MAX, &salvaged, &err);
	if (!rc)
		rc = adopt(log, &container, &err); /* and what the kernel held is in the log */
	if (!rc)
		rc = vfd_track_harvest(container, VFD_HARVEST_FINAL, NULL, &err);
	if (!rc)
		rc = vfd_consumer_count(vfd_log_consumer(log), 0, UINT64_MAX, &all, &err);
	if (!rc)
		rc = send_owed(log, &err);
	if (!rc)
		rc = vfd_container_close(&container, VFD_COLLECT, &err);
	if (!rc)
		rc = vfd_log_destroy(&log, 0, &err);
	t->salvaged += found.pages;
	t->interrupted += found.interrupted > 0;
	t->kernel += all.owed - salvaged.owed;
	t->busy += found.pages > 0;
	return ok_code(rc, 0, &err, "kill %u: someone else goes on", t->kills);
}

static bool one_kill(struct totals *t, bool aimed, unsigned *seed)
{
	unsigned long nap = 1000000ul * (1 + (unsigned)rand_r(seed) % 20);
	int status;

	memset(arena, 0, ARENA);
	common->rounds = 0;
	common->gets_left = aimed ? 2 + (unsigned)rand_r(seed) % 20 : 0; /* the adoption asks first */
	rig_run(0, 0, MAPPED, (unsigned)rand_r(seed));
	pid_t child = fork();
	if (!child)
		harvest_for_ever();
	if (!aimed) {
		nanosleep(&(struct timespec){ .tv_nsec = (long)nap }, NULL);
		kill(child, SIGKILL);
	}
	waitpid(child, &status, 0);
	t->kills++;
	t->rounds += common->rounds;
	rig_halt(0);
	if (!WIFSIGNALED(status))
		return ok(false, "the child ended with %#x", status);
	if (!go_on(t))
		return false;
	for (unsigned p = 0; p < MAPPED; p++)
		t->lost += memcmp(common->sent + p * RIG_PAGE, rig.memory + p * RIG_PAGE, RIG_PAGE) != 0;
	return t->lost ? ok(false, "kill %u: %u pages lost", t->kills, t->lost) : true;
}

int main(int argc, char **argv)
{
	unsigned kills = argc > 1 ? (unsigned)atoi(argv[1]) : 60, seed = 1;
	struct totals t = { 0 };

	rig_open_on(&rig, shared(RIG_PAGES * RIG_PAGE), 0);
	vfd_container_close(&rig.container, 0, &rig.err);
	common = shared(sizeof *common);
	arena = shared(ARENA);
	bool good = ok(open_container(), "a container by plain calls");
	while (good && t.kills < kills)
		good = one_kill(&t, t.kills % 2, &seed);
	printf("# %u kills: %u with pages to salvage, %u while a question was on its way; %lu rounds, %lu "
	       "pages salvaged, %lu from the kernel\n",
	       t.kills, t.busy, t.interrupted, (unsigned long)t.rounds, (unsigned long)t.salvaged,
	       (unsigned long)t.kernel);
	ok(t.kills == kills && !t.lost, "%u kills, 0 pages lost", t.kills);
	ok(t.interrupted >= kills / 3, "aimed kills hit: %u", t.interrupted);
	ok(t.kernel > 0 && t.rounds > 0, "the kernel held pages for whoever came next");
	close(device_fd);
	close(group_fd);
	close(container_fd);
	rig_close(&rig);
	return done();
}
