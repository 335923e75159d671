/* SPDX-License-Identifier: MIT */

/*
 * inject_life KIND POLICY DEVICE: one life, KIND of own (the library opens the container), adopted, physical (a device behind an IOMMU beside
 * it) or logs (the same, and the device logs its own DMA). What fails is tried again; or, with the POLICY "give-up", all is closed then. strace makes system calls fail between the two marks.
 *
 * Prints one line, and exits 0 only if the log gave all that the device wrote, memory is the same at the other end, and no descriptor is left.
 */

#include "life.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { TRIES = 3, RUNS = 16 };

/* ---- what the log gives ---- */

static void receive(struct life *l, const struct vfd_run *run)
{
	uint64_t first = (run->address - LIFE_LOG) / LIFE_PAGE;

	memcpy(l->copy + first * LIFE_PAGE, run->memory, (size_t)run->size);
	for (uint64_t page = first; page < first + run->size / LIFE_PAGE; page++)
		l->given.words[page / 64] |= UINT64_C(1) << page % 64;
}

static int receive_all(struct life *l, struct vfd_batch *batch, bool forgets, struct vfd_error *err)
{
	struct vfd_run runs[RUNS];
	size_t count;
	int rc;

	while (!(rc = vfd_batch_runs(vfd_log_consumer(l->log), batch, runs, RUNS, &count, err)) && count)
		for (size_t i = 0; i < count && !forgets; i++)
			receive(l, &runs[i]);
	return rc;
}

static int deliver(struct life *l, struct vfd_error *err)
{
	struct vfd_consumer *consumer = vfd_log_consumer(l->log);
	struct vfd_batch batch;
	int rc = vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, err);

	if (rc || !batch.id)
		return rc;
	l->deliveries++;
	rc = receive_all(l, &batch, l->deliveries == l->forget, err);
	if (rc)
		vfd_rollback(consumer, &batch, 0, UINT64_MAX, NULL);
	return rc ? rc : vfd_commit(consumer, &batch, 0, UINT64_MAX, err);
}

/* ---- the steps: each can be called again ---- */

static int make_log(struct life *l, struct vfd_error *err)
{
	struct vfd_region region = { .struct_size = sizeof region,
				     .address = LIFE_LOG,
				     .size = LIFE_PAGES * LIFE_PAGE,
				     .memory = l->memory };
	int rc = l->log ? 0 : vfd_log_create(NULL, &l->log, err);

	return rc ? rc : vfd_region_add(l->log, &region, err);
}

static int open_container(struct life *l, struct vfd_error *err)
{
	struct vfd_container_options options = { .struct_size = sizeof options, .log = l->log };

	return vfd_container_open(&options, &l->container, err);
}

static int map(struct life *l, uint64_t page, uint64_t count, uint64_t granule, struct vfd_error *err)
{
	struct vfd_mapping mapping = {
		.struct_size = sizeof mapping,
		.flags = LIFE_RW,
		.iova = LIFE_IOVA + page * LIFE_PAGE,
		.size = count * LIFE_PAGE,
		.memory = l->memory + page * LIFE_PAGE,
		.granule = granule * LIFE_PAGE,
	};
	int rc = vfd_map(l->container, &mapping, err);

	if (rc == VFD_EPARTIAL) /* as it says */
		vfd_unmap(l->container, err->first, err->last - err->first + 1, NULL);
	return rc;
}

static int unmap(struct life *l, uint64_t page, uint64_t count, struct vfd_error *err)
{
	int rc = vfd_unmap(l->container, LIFE_IOVA + page * LIFE_PAGE, count * LIFE_PAGE, err);

	return rc == VFD_ENOTMAPPED ? 0 : rc; /* a try before was better than it looked */
}

static int map_first(struct life *l, struct vfd_error *err)
{
	return map(l, 0, 90, 0, err);
}

static int map_second(struct life *l, struct vfd_error *err)
{
	return map(l, 90, 102, 0, err);
}

static int map_pieces(struct life *l, struct vfd_error *err)
{
	return map(l, 224, 128, 64, err);
}

static int map_last(struct life *l, struct vfd_error *err)
{
	return map(l, 384, 128, 0, err);
}

static int attach(struct life *l, struct vfd_error *err)
{
	return l->group ? 0 : vfd_group_attach(l->container, device_group(l), &l->group, err);
}

static int attach_physical(struct life *l, struct vfd_error *err)
{
	return l->pci[0] && !l->physical ? vfd_group_attach(l->container, l->pci_group, &l->physical, err)
					 : 0;
}

static int open_physical(struct life *l, struct vfd_error *err)
{
	return l->pci[0] && !l->other ? vfd_device_open(l->physical, l->pci, &l->other, err) : 0;
}

static int declare_physical(struct life *l, struct vfd_error *err)
{
	return vfd_device_pins_all(l->other, err);
}

static int start(struct life *l, struct vfd_error *err)
{
	struct vfd_plan plan = { .struct_size = sizeof plan };

	return vfd_track_start(l->container, NULL, &plan, err);
}

static int open_device(struct life *l, struct vfd_error *err)
{
	char name[32];

	snprintf(name, sizeof name, "vfdtest.%u", l->index);
	return l->device ? 0 : vfd_device_open(l->group, name, &l->device, err);
}

static int harvest(struct life *l, struct vfd_error *err)
{
	return vfd_track_harvest(l->container, 0, NULL, err);
}

static int harvest_half(struct life *l, struct vfd_error *err)
{
	return vfd_track_harvest_range(l->container, LIFE_IOVA, LIFE_IOVA + 256 * LIFE_PAGE - 1, NULL, err);
}

static int harvest_final(struct life *l, struct vfd_error *err)
{
	return vfd_track_harvest(l->container, VFD_HARVEST_FINAL, NULL, err);
}

static int unmap_piece(struct life *l, struct vfd_error *err)
{
	return unmap(l, 224, 32, err);
}

static int unmap_second(struct life *l, struct vfd_error *err)
{
	return unmap(l, 90, 102, err);
}

static int quiesce(struct life *l, struct vfd_error *err)
{
	return vfd_device_quiesce(l->device, err);
}

static int resume(struct life *l, struct vfd_error *err)
{
	return vfd_device_resume(l->device, err);
}

/* The handles of its devices end with the group's. */
static int detach(struct life *l, struct vfd_error *err)
{
	int rc = vfd_group_detach(&l->group, VFD_COLLECT, err);

	if (!rc)
		l->device = NULL;
	return rc;
}

static int detach_physical(struct life *l, struct vfd_error *err)
{
	int rc = l->physical ? vfd_group_detach(&l->physical, VFD_COLLECT, err) : 0;

	if (!rc)
		l->other = NULL;
	return rc;
}

static int close_container(struct life *l, struct vfd_error *err)
{
	return l->container ? vfd_container_close(&l->container, VFD_COLLECT, err) : 0;
}

static int destroy_log(struct life *l, struct vfd_error *err)
{
	return l->log ? vfd_log_destroy(&l->log, 0, err) : 0;
}

/* What devices do meanwhile cannot fail. */
static int writes_begin(struct life *l, struct vfd_error *err)
{
	(void)err;
	device_write(l, 3, 20);
	device_write(l, 80, 30);
	device_pin(l, 256, 10);
	device_run(l);
	return 0;
}

static int writes_go_on(struct life *l, struct vfd_error *err)
{
	(void)err;
	device_write(l, 50 + l->deliveries, 3);
	device_write(l, 230, 2);
	device_write(l, 290, 50);
	device_write(l, 500, 12);
	return 0;
}

struct step {
	const char *what;
	int (*call)(struct life *l, struct vfd_error *err);
};

static const struct step of_own[] = {
	{ "log", make_log },
	{ "open", open_container },
	{ "map", map_first },
	{ "map", map_second },
	{ "attach", attach },
	{ "attach the physical", attach_physical },
	{ "map in pieces", map_pieces },
	{ "start", start },
	{ "open the device", open_device },
	{ "open the physical", open_physical },
};

/* Declared before it tracks: else all that is mapped would be owed until the end. */
static const struct step of_logs[] = {
	{ "log", make_log },
	{ "open", open_container },
	{ "map", map_first },
	{ "map", map_second },
	{ "attach the physical", attach_physical },
	{ "open the physical", open_physical },
	{ "the physical pins all", declare_physical },
	{ "attach", attach },
	{ "open the device", open_device },
	{ "map in pieces", map_pieces },
	{ "start", start },
};

static const struct step of_all[] = {
	{ "", writes_begin },
	{ "map", map_last },
	{ "harvest", harvest },
	{ "deliver", deliver },
	{ "", writes_go_on },
	{ "unmap a piece", unmap_piece },
	{ "unmap", unmap_second },
	{ "map again", map_second },
	{ "", writes_go_on },
	{ "harvest a half", harvest_half },
	{ "deliver", deliver },
	{ "quiesce", quiesce },
	{ "resume", resume },
	{ "", writes_begin },
	{ "detach the physical", detach_physical },
	{ "detach", detach },
	{ "deliver", deliver },
	{ "attach again", attach },
	{ "open the device again", open_device },
	{ "", writes_begin },
	{ "harvest", harvest },
	{ "", writes_go_on },
	{ "quiesce", quiesce },
	{ "the final harvest", harvest_final },
	{ "deliver", deliver },
	{ "resume", resume },
	{ "", writes_go_on },
	{ "detach", detach },
};

static const struct step of_the_end[] = {
	{ "close", close_container },
	{ "deliver", deliver },
	{ "destroy the log", destroy_log },
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void note(struct life *l, const char *what, int rc, const struct vfd_error *err)
{
	if (!l->failed++)
		snprintf(l->said, sizeof l->said, "%s: %s: %s", what, vfd_strcode(rc), err->message);
}

static bool take_step(struct life *l, const struct step *step, bool again)
{
	struct vfd_error err;
	int rc = 0;

	for (int i = 0; i < TRIES; i++) {
		rc = step->call(l, &err);
		if (!rc)
			return true;
		note(l, step->what, rc, &err);
		if (!again)
			return false;
	}
	l->undone++;
	return false;
}

/* A program that tries again also goes on when that was in vain; but not before it tracks. */
static bool live(struct life *l, const struct step *steps, size_t count, bool all)
{
	for (size_t i = 0; i < count; i++)
		if (!take_step(l, &steps[i], !l->give_up) && (all || l->give_up))
			return false;
	return true;
}

static void end(struct life *l)
{
	for (size_t i = 0; i < COUNT(of_the_end); i++)
		take_step(l, &of_the_end[i], true);
}

/* ---- what someone else opened ---- */

struct raw {
	int container, group, device;
};

static void raw_map(const struct life *l, int container, uint64_t page, uint64_t count)
{
	struct vfio_iommu_type1_dma_map wanted = {
		.argsz = sizeof wanted,
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)(l->memory + page * LIFE_PAGE),
		.iova = LIFE_IOVA + page * LIFE_PAGE,
		.size = count * LIFE_PAGE,
	};

	if (ioctl(container, VFIO_IOMMU_MAP_DMA, &wanted))
		die("raw MAP_DMA");
}

static struct raw raw;

/* It tracks, and its device has written. */
static void raw_open(const struct life *l)
{
	struct vfio_iommu_type1_dirty_bitmap on = { .argsz = sizeof on,
						    .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_START };
	char name[32];

	snprintf(name, sizeof name, "/dev/vfio/%d", device_group(l));
	raw.container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	raw.group = open(name, O_RDWR | O_CLOEXEC);
	if (ioctl(raw.group, VFIO_GROUP_SET_CONTAINER, &raw.container) ||
	    ioctl(raw.container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) ||
	    ioctl(raw.container, VFIO_IOMMU_DIRTY_PAGES, &on))
		die("raw container");
	raw_map(l, raw.container, 0, 90);
	raw_map(l, raw.container, 90, 102);
	snprintf(name, sizeof name, "vfdtest.%u", l->index);
	raw.device = ioctl(raw.group, VFIO_GROUP_GET_DEVICE_FD, name);
	device_write(l, 7, 5);
}

static struct vfd_mapping declared(const struct life *l, uint64_t page, uint64_t count)
{
	return (struct vfd_mapping){ .struct_size = sizeof(struct vfd_mapping),
				     .flags = LIFE_RW,
				     .iova = LIFE_IOVA + page * LIFE_PAGE,
				     .size = count * LIFE_PAGE,
				     .memory = l->memory + page * LIFE_PAGE };
}

static int adopt(struct life *l, struct vfd_error *err)
{
	struct vfd_mapping mappings[] = { declared(l, 0, 90), declared(l, 90, 102) };
	struct vfd_adopt_group group = { device_group(l), raw.group };
	char name[32];
	struct vfd_adopt_device device = { group.number, raw.device, name };
	struct vfd_adoption what = {
		.struct_size = sizeof what,
		.container_fd = raw.container,
		.group_count = 1,
		.device_count = 1,
		.mapping_count = COUNT(mappings),
		.groups = &group,
		.devices = &device,
		.mappings = mappings,
		.log = l->log,
	};

	snprintf(name, sizeof name, "vfdtest.%u", l->index);
	return vfd_container_adopt(&what, &l->container, err);
}

/* Given up before it was adopted: whose it is closes it, and what was written is its business. */
static void raw_close(struct life *l)
{
	close(raw.device);
	close(raw.group);
	close(raw.container);
	device_truth(l);
	memcpy(l->copy, l->memory, LIFE_PAGES * LIFE_PAGE);
}

static int find_handles(struct life *l, struct vfd_error *err)
{
	char name[32];
	int rc = vfd_group_find(l->container, device_group(l), &l->group, err);

	snprintf(name, sizeof name, "vfdtest.%u", l->index);
	return rc ? rc : vfd_device_find(l->container, name, &l->device, err);
}

/* The fault may have hidden that it tracks: a program asks for it all the same. */
static const struct step of_adopted[] = {
	{ "log", make_log },
	{ "adopt", adopt },
	{ "its handles", find_handles },
	{ "map in pieces", map_pieces },
	{ "start", start },
};

/* ---- all of it ---- */

static unsigned descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

static unsigned missing(const struct pages *a, const struct pages *b)
{
	unsigned count = 0;

	for (int i = 0; i < LIFE_WORDS; i++)
		count += (unsigned)__builtin_popcountll(a->words[i] & ~b->words[i]);
	return count;
}

static unsigned stale(const struct life *l)
{
	unsigned count = 0;

	for (uint64_t page = 0; page < LIFE_PAGES; page++)
		count += !!memcmp(l->memory + page * LIFE_PAGE, l->copy + page * LIFE_PAGE, LIFE_PAGE);
	return count;
}

static unsigned char *get_memory(void)
{
	void *memory = mmap(NULL, LIFE_PAGES * LIFE_PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		die("memory");
	return memory;
}

/* strace shows it, and the call changes nothing. */
static void mark(const char *name)
{
	if (!access(name, F_OK))
		die(name);
}

static void live_all(struct life *l, bool adopted)
{
	bool going = adopted   ? live(l, of_adopted, COUNT(of_adopted), true)
		     : l->logs ? live(l, of_logs, COUNT(of_logs), true)
			       : live(l, of_own, COUNT(of_own), true);

	if (going)
		live(l, of_all, COUNT(of_all), false);
}

static int report(struct life *l, unsigned before, unsigned after)
{
	static const struct pages none;
	struct pages truth = device_truth(l);
	unsigned lost = missing(&truth, &l->given), differ = stale(l);

	printf("pages %u lost %u stale %u added %u left %d failed %u undone %u open %d said %s\n",
	       missing(&truth, &none), lost, differ, missing(&l->given, &truth), (int)(after - before),
	       l->failed, l->undone, !!l->container + !!l->log, l->said);
	return lost || differ || after != before || l->container || l->log;
}

int main(int argc, char **argv)
{
	struct life l = { .memory = get_memory(), .copy = get_memory() };
	const char *forget = getenv("VFD_FORGET");
	bool adopted = argc > 1 && !strcmp(argv[1], "adopted");

	if (argc != 4)
		return fprintf(stderr, "usage: inject_life own|adopted|physical|logs again|give-up DEVICE\n"),
		       2;
	l.give_up = !strcmp(argv[2], "give-up");
	l.index = (unsigned)atoi(argv[3]);
	l.forget = forget ? (unsigned)atoi(forget) : 0;
	alarm(60);
	l.logs = !strcmp(argv[1], "logs");
	device_begin(&l);
	if ((l.logs || !strcmp(argv[1], "physical")) && !find_pci(&l))
		die("no device is bound to vfio-pci");
	unsigned before = descriptors();
	if (adopted)
		raw_open(&l);
	mark("inject:begin");
	live_all(&l, adopted);
	bool never = adopted && !l.container;
	end(&l);
	mark("inject:end");
	if (never)
		raw_close(&l);
	return report(&l, before, descriptors());
}
