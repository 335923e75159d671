/* SPDX-License-Identifier: MIT */

/* Kinds of memory, on an emulated device whose pages are known one by one and on a physical one behind the IOMMU: mapped in granules,
 * written by the device, harvested, unmapped in part. And memory that a device may not have: what the library says of it. */

#include "memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { GRANULE = 512, GRANULES = RIG_PAGES / GRANULE }; /* pages: 2 MiB */

static struct pages pages_from(uint64_t first, uint64_t count)
{
	struct pages pages = { 0 };

	for (uint64_t page = first; page < first + count; page++)
		pages.words[page / 64] |= UINT64_C(1) << page % 64;
	return pages;
}

static void ok_pages(const struct pages *got, uint64_t first, uint64_t count, const char *what)
{
	struct pages want = pages_from(first, count);
	unsigned lacking = pages_missing(&want, got), more = pages_missing(got, &want);

	ok(!lacking && !more, "%s: %u pages, %u lacking, %u too many", what, pages_count(got), lacking, more);
}

static int map_cut(struct rig *rig, uint64_t page, uint64_t count, uint32_t flags)
{
	struct vfd_mapping mapping = {
		.struct_size = sizeof mapping,
		.flags = flags,
		.iova = RIG_IOVA + page * RIG_PAGE,
		.size = count * RIG_PAGE,
		.memory = rig->memory + page * RIG_PAGE,
		.granule = GRANULE * RIG_PAGE,
	};
	struct vfd_map_cost cost = { .struct_size = sizeof cost };

	vfd_map_check(rig->container, &mapping, &cost, NULL);
	ok(cost.entries_needed == (count + GRANULE - 1) / GRANULE, "it takes %u entries",
	   cost.entries_needed);
	return vfd_map(rig->container, &mapping, &rig->err);
}

static uint64_t mappings(struct rig *rig)
{
	struct vfd_container_info info = { .struct_size = sizeof info };

	vfd_container_info(rig->container, &info, NULL);
	return info.mappings;
}

/* ---- each kind ---- */

static void emulated(struct rig *rig, const char *name)
{
	uint64_t word = 0;

	rig_attach(rig, 0);
	ok_code(vfd_track_start(rig->container, NULL, NULL, &rig->err), 0, &rig->err, "%s: start", name);
	ok_code(map_cut(rig, 0, RIG_PAGES, RIG_RW), 0, &rig->err, "%s: map in granules", name);
	ok(mappings(rig) == GRANULES, "%s: %d of them", name, GRANULES);
	rig_open_device(rig, 0);
	rig_write(0, 500, 30, 7);
	memcpy(&word, rig->memory + 505 * RIG_PAGE, sizeof word);
	ok(word == vfdtest_word(7, RIG_IOVA + 505 * RIG_PAGE), "%s: what the device writes arrives", name);
	rig_run(0, 0, RIG_PAGES, 5);
	ok_code(vfd_track_harvest(rig->container, 0, NULL, &rig->err), 0, &rig->err, "%s: harvest", name);
	ok_code(rig_unmap(rig, GRANULE, 2 * GRANULE), 0, &rig->err, "%s: unmap two, under a writer", name);
	rig_halt(0);
	ok_code(vfd_track_harvest(rig->container, 0, NULL, &rig->err), 0, &rig->err, "%s: harvest", name);
	struct pages log = rig_deliver(rig), truth = rig_truth(rig);
	ok_exact(&log, &truth, name);
}

static void physical(struct rig *rig, struct edu *edu, const char *name)
{
	ok_code(vfd_group_attach_device(rig->container, edu->name, &edu->group, &rig->err), 0, &rig->err,
		"%s: behind the IOMMU", name);
	ok_code(map_cut(rig, 0, RIG_PAGES, RIG_RW), 0, &rig->err, "%s: map in granules", name);
	edu_open(rig, edu);
	ok_code(vfd_track_start(rig->container, NULL, NULL, &rig->err), 0, &rig->err, "%s: start", name);
	memset(rig->memory, 0x5a, RIG_PAGE);
	edu_copy(edu, 0, 600);
	ok(!memcmp(rig->memory, rig->memory + 600 * RIG_PAGE, EDU_MOST), "%s: the device reads and writes it",
	   name);
	ok_code(rig_unmap(rig, GRANULE, GRANULE), 0, &rig->err, "%s: unmap one", name);
	struct pages log = rig_deliver(rig);
	ok_pages(&log, GRANULE, GRANULE, name);
}

static const char no_disk[] = "this kernel has neither brd nor ext4: stock kernels have";

static void each_kind(struct edu *edu, bool disk)
{
	for (const struct memory_kind *kind = memory_kinds; kind->name; kind++) {
		if (kind->on_disk && !disk) {
			skip(kind->name, no_disk);
			continue;
		}
		unsigned char *memory = kind->make();
		struct rig rig;
		if (!ok(memory != MAP_FAILED, "%s: there is some", kind->name))
			continue;
		rig_open_on(&rig, memory, 0);
		emulated(&rig, kind->name);
		rig_close(&rig);
		rig_open_on(&rig, kind->make(), 0);
		physical(&rig, edu, kind->name);
		rig_close(&rig);
	}
}

/* ---- where the library puts it ---- */

/* Memory that begins in the middle of a large page, as a buffer inside of a larger one does */
static void large_pages_meet(void)
{
	const uint64_t large = 512 * RIG_PAGE, odd = 64 * RIG_PAGE;
	struct rig rig;

	rig_open_on(&rig, memory_huge(), 0);
	rig_attach(&rig, 0);
	struct vfd_mapping mapping = { .struct_size = sizeof mapping,
				       .flags = RIG_RW,
				       .size = RIG_PAGES * RIG_PAGE - 2 * odd,
				       .memory = rig.memory + odd };
	ok_code(vfd_map_anywhere(rig.container, &mapping, NULL, &rig.err), 0, &rig.err, "map anywhere");
	ok(mapping.iova % large == odd, "IOVA %#llx and memory meet at large pages",
	   (unsigned long long)mapping.iova);
	struct vfd_plan plan = { .struct_size = sizeof plan };
	ok_code(vfd_track_start(rig.container, NULL, &plan, &rig.err), 0, &rig.err, "start");
	ok(plan.exact, "and harvests are exact");
	rig_close(&rig);
}

/* ---- what a device may not have ---- */

static void begin_physical(struct rig *rig, struct edu *edu, unsigned char *memory)
{
	rig_open_on(rig, memory, 0);
	ok_code(vfd_group_attach_device(rig->container, edu->name, &edu->group, &rig->err), 0, &rig->err,
		"behind the IOMMU");
	ok_code(vfd_track_start(rig->container, NULL, NULL, &rig->err), 0, &rig->err, "start");
}

static void ok_fault(struct rig *rig, int rc, const char *says, const char *what)
{
	ok_code(rc, -EFAULT, &rig->err, "%s", what);
	ok(strstr(rig->err.message, says) != NULL, "and it says why: %s", rig->err.message);
}

static void read_only(struct edu *edu)
{
	struct rig rig;

	begin_physical(&rig, edu, memory_anonymous());
	memset(rig.memory, 0x33, GRANULE * RIG_PAGE);
	mprotect(rig.memory, GRANULE * RIG_PAGE, PROT_READ);
	ok_fault(&rig, rig_map(&rig, 0, GRANULE, RIG_RW), "may not be written by this process",
		 "memory that the process may only read, for writing");
	ok_code(rig_map(&rig, 0, GRANULE, VFD_MAP_READ), 0, &rig.err, "for reading");
	ok_code(rig_map(&rig, GRANULE, GRANULE, RIG_RW), 0, &rig.err, "memory beside it for writing");
	edu_open(&rig, edu);
	edu_copy(edu, 0, 600);
	ok(rig.memory[600 * RIG_PAGE] == 0x33 && rig.memory[600 * RIG_PAGE + EDU_MOST - 1] == 0x33,
	   "the device read it");
	ok_code(vfd_group_detach(&edu->group, VFD_COLLECT, &rig.err), 0, &rig.err, "detach");
	struct pages log = rig_deliver(&rig);
	ok_pages(&log, GRANULE, GRANULE, "only the other is dirty");
	rig_close(&rig);
}

/* The third granule fails: the two before it were in the IOMMU for a moment, and its first pages too. */
static void half_way(struct edu *edu)
{
	struct rig rig;

	begin_physical(&rig, edu, memory_anonymous());
	edu_open(&rig, edu);
	munmap(rig.memory + (2 * GRANULE + 5) * RIG_PAGE, RIG_PAGE);
	ok_fault(&rig, map_cut(&rig, 0, RIG_PAGES, RIG_RW), "is not mapped in this process",
		 "memory with a hole");
	ok(!mappings(&rig), "nothing is mapped");
	struct pages log = rig_deliver(&rig);
	ok_pages(&log, 0, 3 * GRANULE, "what was is assumed dirty");
	rig_close(&rig);
}

static bool newer_than(int major, int minor)
{
	int has[2] = { 0 };
	struct utsname name;

	return !uname(&name) && sscanf(name.release, "%d.%d", &has[0], &has[1]) == 2 &&
	       (has[0] > major || (has[0] == major && has[1] >= minor));
}

static void disk_file(struct edu *edu)
{
	struct rig rig;

	begin_physical(&rig, edu, memory_disk_file());
	ok_code(rig_map(&rig, 0, GRANULE, VFD_MAP_READ), 0, &rig.err, "a file on ext4, shared, for reading");
	if (newer_than(6, 4))
		ok_fault(&rig, rig_map(&rig, GRANULE, GRANULE, RIG_RW), "/disk/", "for writing");
	else
		ok_code(rig_map(&rig, GRANULE, GRANULE, RIG_RW), 0, &rig.err, "for writing (before 6.4)");
	rig_close(&rig);
}

static void short_file(struct edu *edu)
{
	struct rig rig;

	begin_physical(&rig, edu, memory_short_file());
	ok_code(rig_map(&rig, 0, GRANULE, RIG_RW), 0, &rig.err, "a file of tmpfs");
	ok_fault(&rig, rig_map(&rig, GRANULE, GRANULE, RIG_RW), "beyond a file's end", "beyond its end");
	rig_close(&rig);
}

int main(void)
{
	struct edu edu = { 0 };

	if (!edu_find(&edu)) {
		ok(false, "no edu device is bound to vfio-pci: run with --device edu --bind 1234:11e8");
		return done();
	}
	bool disk = !access("/dev/ram0", F_OK);
	if (disk)
		ok(memory_mount_disk(), "ext4 on a RAM disk");
	each_kind(&edu, disk);
	large_pages_meet();
	read_only(&edu);
	half_way(&edu);
	if (disk)
		disk_file(&edu);
	else
		skip("a file on ext4, shared", no_disk);
	short_file(&edu);
	return done();
}
