/* SPDX-License-Identifier: MIT */

/* iommufd on a real kernel of our own (tests/kernel/README.md): its mock domains are devices whose IOMMU sets dirty bits. */

#include "iommufd_mock.h"
#include "rig.h"
#include "uapi_iommufd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct pages truth;

/* Device `index` writes a page of the rig's memory, if it is mapped for it. */
static void mock_write(unsigned index, uint64_t page)
{
	if (!mock_dirty(index, RIG_IOVA + page * RIG_PAGE))
		truth.words[page / 64] |= UINT64_C(1) << page % 64;
}

/* What they wrote since they were asked last. */
static struct pages mock_truth(void)
{
	struct pages now = truth;

	truth = (struct pages){ 0 };
	return now;
}

static int attach(struct rig *rig, unsigned index)
{
	return vfd_group_attach(rig->container, MOCK_GROUP + (int)index, &rig->groups[index], &rig->err);
}

static int open_device(struct rig *rig, unsigned index)
{
	char name[16];

	snprintf(name, sizeof name, "mock%u", index);
	return vfd_device_open(rig->groups[index], name, &rig->devices[index], &rig->err);
}

static void must(struct rig *rig, int rc, const char *what)
{
	if (rc)
		ok_code(rc, 0, &rig->err, "%s", what);
}

static void come(struct rig *rig, unsigned index)
{
	must(rig, attach(rig, index), "attach");
	must(rig, open_device(rig, index), "open");
}

static void begin_with(struct rig *rig, unsigned char *memory, uint32_t flags)
{
	rig_open_native_on(rig, memory, &mock_sys, flags);
	come(rig, 0);
	rig_map_all(rig);
	must(rig, vfd_track_start(rig->container, NULL, NULL, &rig->err), "start");
}

static void begin_on(struct rig *rig, unsigned char *memory)
{
	begin_with(rig, memory, 0);
}

static void begin(struct rig *rig)
{
	begin_on(rig, NULL);
}

static void harvest(struct rig *rig, unsigned flags)
{
	must(rig, vfd_track_harvest(rig->container, flags, NULL, &rig->err), "harvest");
}

static void write_some(unsigned index, uint64_t first, uint64_t step)
{
	for (uint64_t page = first; page < RIG_PAGES; page += step)
		mock_write(index, page);
}

static void check_exact(struct rig *rig, const char *what)
{
	struct pages written = mock_truth(), log = rig_deliver(rig);

	ok_exact(&log, &written, what);
}

static void finish(struct rig *rig)
{
	rig_close(rig);
	mock_truth();
}

/* ---- a life ---- */

static void lifecycle(void)
{
	struct rig rig;

	begin(&rig);
	write_some(0, 3, 7);
	harvest(&rig, 0);
	check_exact(&rig, "a round");
	write_some(0, 0, 100);
	must(&rig, vfd_device_quiesce(rig.devices[0], &rig.err), "quiesce");
	must(&rig, rig_unmap(&rig, 512, 512), "unmap");
	harvest(&rig, VFD_HARVEST_FINAL);
	check_exact(&rig, "an unmap of a quiet device, and the last round");
	struct vfd_container_info info = { .struct_size = sizeof info };
	must(&rig, vfd_container_info(rig.container, &info, &rig.err), "info");
	ok(info.drained && info.kind == VFD_KIND_IOMMUFD && info.range_total == 1,
	   "drained; the kernel says what may be mapped");
	must(&rig, vfd_device_resume(rig.devices[0], &rig.err), "resume");
	write_some(0, 5, 50);
	must(&rig, vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err), "detach");
	check_exact(&rig, "the detach");
	come(&rig, 0);
	write_some(0, 6, 60);
	harvest(&rig, 0);
	check_exact(&rig, "attached again: mapped and tracked as before");
	finish(&rig);
}

static void two_devices(void)
{
	struct rig rig;

	begin(&rig);
	write_some(0, 1, 30);
	come(&rig, 1);
	ok(rig.container->iommufd.count == 1, "a second device shares the table");
	write_some(1, 2, 30);
	must(&rig, vfd_device_close(&rig.devices[0], VFD_DISCARD, &rig.err), "close");
	harvest(&rig, 0);
	check_exact(&rig, "a device came, and one went");
	finish(&rig);
}

/* A device whose IOMMU cannot: owed, once. */
static void a_blind_one(void)
{
	struct rig rig;

	begin(&rig);
	write_some(0, 9, 90);
	come(&rig, MOCK_BLIND);
	struct vfd_plan plan = { .struct_size = sizeof plan };
	must(&rig, vfd_track_plan(rig.container, &plan, &rig.err), "plan");
	ok(!plan.exact && plan.deferred_bytes == UINT64_C(1984) * RIG_PAGE,
	   "one device cannot tell: %llu bytes are deferred", (unsigned long long)plan.deferred_bytes);
	bool told = false;
	for (uint32_t i = 0; i < plan.entry_count; i++)
		told |= strstr(plan.entries[i].why, "sets no dirty bits (IOMMU_GET_HW_INFO)") != NULL;
	ok(told, "the kernel was asked before, and the plan says what it said");
	harvest(&rig, 0);
	check_exact(&rig, "the other is known exactly all the same");
	must(&rig, vfd_container_close(&rig.container, VFD_COLLECT, &rig.err), "close");
	struct pages log = rig_deliver(&rig);
	ok(pages_count(&log) == 1984, "at the end all that is mapped is owed");
	finish(&rig);
}

/* ---- traps ---- */

/* An entry can be large where the memory is of large pages too. */
static unsigned char *large_pages(void)
{
	void *m = mmap(NULL, RIG_PAGES * RIG_PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	return m == MAP_FAILED ? NULL : m;
}

/* Page tables with entries of 1 MiB: more than was written may be told, never less, also where mappings meet. */
static void large_entries(void)
{
	struct rig rig;
	unsigned char *memory = large_pages();

	if (!memory) {
		skip("large entries", "no large pages of memory");
		return;
	}
	mock_huge(true);
	begin_on(&rig, memory);
	write_some(0, 17, 333);
	mock_write(0, 511);
	mock_write(0, 512);
	must(&rig,
	     vfd_track_harvest_range(rig.container, RIG_IOVA + 300 * RIG_PAGE, RIG_IOVA + 600 * RIG_PAGE,
				     NULL, &rig.err),
	     "harvest a part");
	harvest(&rig, 0);
	struct pages written = mock_truth(), log = rig_deliver(&rig);
	ok_nothing_lost(&log, &written, "large entries");
	ok(pages_count(&log) > pages_count(&written), "%u pages told for them", pages_count(&log));
	finish(&rig);
	memory = large_pages();
	ok(memory, "large pages once more");
	begin_with(&rig, memory, VFD_OPEN_FINE);
	write_some(0, 17, 333);
	harvest(&rig, 0);
	check_exact(&rig, "small entries on request, in large pages of memory");
	finish(&rig);
	mock_huge(false);
}

static void raw_demonstration(struct rig *rig)
{
	const struct backend *b = &rig->container->space.backend;
	struct range all = { RIG_IOVA, RIG_IOVA + 2048 * RIG_PAGE - 1 };
	static struct pages words;

	words = (struct pages){ 0 };
	mock_write(0, 1600);
	ok(!b->ops->get(b, all, words.words) && !pages_count(&words),
	   "the kernel says 0 over a hole, and tells nothing behind it");
	harvest(rig, 0);
	check_exact(rig, "the library asks on both sides");
	int nowhere = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	mock_write(0, 3);
	struct range first = { RIG_IOVA, RIG_IOVA + 512 * RIG_PAGE - 1 };
	ok(!b->ops->get(b, first, (uint64_t *)(uintptr_t)4096),
	   "into memory that is not there it says 0 too");
	harvest(rig, 0);
	struct pages written = mock_truth(), log = rig_deliver(rig);
	ok(pages_missing(&written, &log) == 1, "and the bit is gone");
	close(nowhere);
	mock_write(0, 4);
	must(rig, vfd_track_start(rig->container, NULL, NULL, &rig->err), "start again");
	harvest(rig, 0);
	check_exact(rig, "started again: nothing is erased");
}

static int raw_switch(const struct rig *rig, bool on)
{
	struct uapi_hwpt_set_dirty arg = { .size = sizeof arg,
					   .flags = on ? UAPI_HWPT_DIRTY_ENABLE : 0,
					   .hwpt_id = rig->container->iommufd.tables[0].id };

	return mock_sys.ioctl(&mock_sys, vfd_container_fd(rig->container), UAPI_HWPT_SET_DIRTY, &arg);
}

/* Whether the kernel refuses to tell, or says that there is nothing, its bits are out of reach. */
static void switched_off(struct rig *rig)
{
	const struct backend *b = &rig->container->space.backend;
	struct range first = { RIG_IOVA, RIG_IOVA + 512 * RIG_PAGE - 1 };
	static struct pages words;

	words = (struct pages){ 0 };
	mock_write(0, 5);
	ok(!raw_switch(rig, false), "switched off behind the library");
	int rc = b->ops->get(b, first, words.words);
	ok(!pages_count(&words), "the bits of a table that is off are not to be had: %d", rc);
	ok(!raw_switch(rig, true), "and on again");
	mock_truth();
	mock_write(0, 6);
	must(rig, vfd_device_quiesce(rig->devices[0], &rig->err), "quiesce");
	must(rig, vfd_track_stop(rig->container, VFD_COLLECT, &rig->err), "stop");
	check_exact(rig, "read before it is switched off");
	must(rig, vfd_track_start(rig->container, NULL, NULL, &rig->err), "start");
	must(rig, vfd_device_resume(rig->devices[0], &rig->err), "resume");
}

static void traps(void)
{
	struct rig rig;

	begin(&rig);
	raw_demonstration(&rig);
	switched_off(&rig);
	mock_write(0, 700);
	must(&rig, rig_unmap(&rig, 512, 512), "unmap");
	struct pages log = rig_deliver(&rig);
	mock_truth();
	ok(pages_count(&log) == 512, "unmapped under a running device: all of it is owed");
	finish(&rig);
}

/* The mock's IOMMU reaches nothing below RIG_IOVA. */
static void usable(void)
{
	static const struct vfd_iova_range low = { 0, RIG_PAGE - 1 }, high = { RIG_IOVA, 2 * RIG_IOVA - 1 };
	struct rig rig;

	rig_open_native_on(&rig, NULL, &mock_sys, 0);
	must(&rig, vfd_iova_allow(rig.container, &low, 1, &rig.err), "allow before anyone is there");
	must(&rig, attach(&rig, 0), "attach");
	ok_code(open_device(&rig, 0), -EADDRINUSE, &rig.err,
		"a device that cannot reach what must stay usable");
	must(&rig, vfd_iova_allow(rig.container, &high, 1, &rig.err), "allow something else");
	ok_code(open_device(&rig, 0), 0, &rig.err, "one that can");
	ok_code(vfd_iova_allow(rig.container, &low, 1, &rig.err), -EADDRINUSE, &rig.err,
		"nor can it be named when such a device is there");
	finish(&rig);
}

/* ---- emulated devices of VFIO's own, by their own nodes ---- */

static void emulated(void)
{
	struct rig rig;

	rig_open_native(&rig, NULL, &rig_sys);
	ok_code(rig_attach(&rig, 0), 0, &rig.err, "vfdtest.0: attach");
	ok_code(rig_open_device(&rig, 0), 0, &rig.err, "open by its own node");
	rig_map_all(&rig);
	must(&rig, vfd_track_start(rig.container, NULL, NULL, &rig.err), "start");
	ok(!rig_write(0, 5, 3, 1) && !rig_write(0, 600, 2, 2), "it writes");
	harvest(&rig, 0);
	struct pages log = rig_deliver(&rig);
	ok(!pages_count(&log), "which is in no table");
	ok_code(vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err), 0, &rig.err, "detach");
	struct pages written = rig_truth(&rig);
	log = rig_deliver(&rig);
	ok_nothing_lost(&log, &written, "but owed at the end");
	finish(&rig);
}

/* ---- chance ---- */

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	return *seed ^= *seed << 17;
}

enum { SLOTS = 16, SLOT = RIG_PAGES / SLOTS };

/* One step. What is unmapped is quiet, so that all of it is exact. */
static void play(struct rig *rig, uint64_t *seed, bool mapped[])
{
	uint64_t what = next(seed) % 16, slot = next(seed) % SLOTS;

	if (what < 9) {
		mock_write(0, slot * SLOT + next(seed) % SLOT);
	} else if (what < 12 && !mapped[slot]) {
		must(rig, rig_map(rig, slot * SLOT, SLOT, RIG_RW), "map");
		mapped[slot] = true;
	} else if (what < 14 && mapped[slot]) {
		must(rig, vfd_device_quiesce(rig->devices[0], &rig->err), "quiesce");
		must(rig, rig_unmap(rig, slot * SLOT, SLOT), "unmap");
		must(rig, vfd_device_resume(rig->devices[0], &rig->err), "resume");
		mapped[slot] = false;
	} else if (what == 14) {
		harvest(rig, 0);
	} else if (next(seed) % 8 == 0) {
		must(rig, vfd_device_close(&rig->devices[0], VFD_COLLECT, &rig->err), "close");
		must(rig, open_device(rig, 0), "open");
	}
}

static void at_random(void)
{
	struct rig rig;
	bool mapped[SLOTS] = { false };
	uint64_t seed = 88172645463325252u;
	unsigned lost = 0, added = 0, rounds = 0;

	rig_open_native(&rig, NULL, &mock_sys);
	come(&rig, 0);
	must(&rig, vfd_track_start(rig.container, NULL, NULL, &rig.err), "start");
	for (int i = 0; i < 20000; i++) {
		play(&rig, &seed, mapped);
		if (i % 200)
			continue;
		harvest(&rig, 0);
		struct pages written = mock_truth(), log = rig_deliver(&rig);
		lost += pages_missing(&written, &log);
		added += pages_missing(&log, &written);
		rounds++;
	}
	ok(!lost && !added, "20000 random steps, %u looks: %u pages lost, %u added", rounds, lost, added);
	finish(&rig);
}

/* ---- faults in the kernel ---- */

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, text, strlen(text)) < 0)
		printf("# %s: %s\n", path, strerror(errno));
	close(fd);
}

/* Each call twice, as a program would try. */
#define TWICE(call) ((call) && (call))

static void live(struct rig *rig)
{
	if (TWICE(attach(rig, 0)) || TWICE(open_device(rig, 0)))
		return;
	if (TWICE(rig_map(rig, 0, 100, RIG_RW)) ||
	    TWICE(vfd_track_start(rig->container, NULL, NULL, &rig->err)))
		return;
	mock_write(0, 7);
	if (TWICE(rig_map(rig, 200, 64, RIG_RW)) ||
	    TWICE(vfd_track_harvest(rig->container, 0, NULL, &rig->err)))
		return;
	mock_write(0, 210);
	mock_write(0, 8);
	if (TWICE(rig_unmap(rig, 200, 64)))
		return;
	mock_write(0, 9);
	(void)TWICE(vfd_group_detach(&rig->groups[0], VFD_COLLECT, &rig->err));
}

static void prepare_faults(void)
{
	put("/sys/kernel/debug/failslab/ignore-gfp-wait", "N");
	put("/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "N");
	put("/sys/kernel/debug/failslab/verbose", "0");
	put("/sys/kernel/debug/fail_usercopy/verbose", "0");
	put("/sys/kernel/debug/fail_page_alloc/verbose", "0");
}

/* Memory of the process is outside; what the library itself allocates too. */
static void fail_everywhere(void)
{
	unsigned faults = 0, lost = 0;
	int left = 0;

	for (int nth = 1; nth < 3000 && !left; nth++) {
		struct rig rig;
		rig_open_native(&rig, NULL, &mock_sys);
		mock_fail_nth(nth);
		live(&rig);
		left = mock_fail_nth(0);
		faults += !left;
		must(&rig, vfd_container_close(&rig.container, VFD_COLLECT, &rig.err), "close");
		struct pages written = mock_truth(), log = rig_deliver(&rig);
		lost += pages_missing(&written, &log);
		finish(&rig);
	}
	ok(left && faults > 100 && !lost,
	   "%u faults, one in each life, at every allocation and copy: %u pages lost", faults, lost);
}

/* BIND, ATTACH and DETACH are imitated for mock domains; those of an emulated device are the kernel's. One of them is to fail. */
static struct {
	unsigned long request;
	int nth;	 /* where in it; 0: nowhere */
	bool again;	 /* each time, not once */
	unsigned faults; /* so far */
} trap;

static int ioctl_trapped(const struct sys *sys, int fd, unsigned long request, void *arg)
{
	if (request != trap.request || !trap.nth)
		return rig_sys.ioctl(sys, fd, request, arg);
	mock_fail_nth(trap.nth);
	int rc = rig_sys.ioctl(sys, fd, request, arg);
	bool reached = !mock_fail_nth(0);
	trap.faults += reached;
	trap.nth = reached && trap.again ? trap.nth : 0;
	return rc;
}

static void live_emulated(struct rig *rig)
{
	if (TWICE(rig_attach(rig, 0)) || TWICE(rig_map(rig, 0, 100, RIG_RW)) ||
	    TWICE(vfd_track_start(rig->container, NULL, NULL, &rig->err)) || TWICE(rig_open_device(rig, 0)))
		return;
	rig_write(0, 5, 3, 1);
	if (TWICE(vfd_track_harvest(rig->container, 0, NULL, &rig->err)))
		return;
	rig_write(0, 60, 2, 2);
	if (TWICE(vfd_device_close(&rig->devices[0], VFD_COLLECT, &rig->err)) ||
	    TWICE(rig_open_device(rig, 0)))
		return;
	rig_write(0, 70, 4, 3);
	(void)TWICE(vfd_group_detach(&rig->groups[0], VFD_COLLECT, &rig->err));
}

static unsigned open_files(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* Returns how many pages were lost. */
static unsigned trapped_life(const struct sys *sys, unsigned *written)
{
	struct rig rig;

	rig_open_native(&rig, NULL, sys);
	live_emulated(&rig);
	trap.nth = 0;
	must(&rig, vfd_container_close(&rig.container, VFD_COLLECT, &rig.err), "close");
	struct pages wrote = rig_truth(&rig), log = rig_deliver(&rig);
	rig_close(&rig);
	*written = pages_count(&wrote);
	return pages_missing(&wrote, &log);
}

/* At each place in turn, until there is none. A device or a descriptor that leaked would be seen by the last life, which is whole. */
static void fail_request(unsigned long request, const char *name, bool again)
{
	struct sys sys = rig_sys;
	unsigned before, lost = 0, written, lives = 0, faults;
	int nth = 1;

	sys.ioctl = ioctl_trapped;
	mock_fail_nth(0); /* keeps a file of its own */
	trapped_life(&sys, &written);
	before = open_files();
	trap.faults = 0;
	do {
		faults = trap.faults;
		trap.request = request;
		trap.nth = nth++;
		trap.again = again;
		lost += trapped_life(&sys, &written);
		lives++;
	} while (trap.faults > faults && lives < 1000);
	ok(trap.faults && !lost && written == 9 && open_files() == before,
	   "%s, %s: %u faults in %u lives, %u pages lost, %u files left open", name,
	   again ? "each time" : "once", trap.faults, lives, lost, open_files() - before);
}

static void fail_each_request(void)
{
	for (int again = 0; again < 2; again++) {
		fail_request(UAPI_DEVICE_BIND, "BIND", again);
		fail_request(UAPI_DEVICE_ATTACH, "ATTACH", again);
		fail_request(UAPI_DEVICE_DETACH, "DETACH", again);
	}
}

int main(void)
{
	if (access("/dev/iommu", F_OK)) {
		skip("iommufd", "not in this kernel; a kernel of our own has it (tests/kernel/README.md)");
		return done();
	}
	emulated();
	prepare_faults();
	if (access("/proc/thread-self/fail-nth", F_OK))
		skip("faults in BIND, ATTACH and DETACH", "this kernel injects none");
	else
		fail_each_request();
	if (!mock_there()) {
		skip("mock domains", "this kernel has none, or a real IOMMU is there");
		return done();
	}
	lifecycle();
	two_devices();
	a_blind_one();
	large_entries();
	traps();
	usable();
	at_random();
	fail_everywhere();
	return done();
}
