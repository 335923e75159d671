/* SPDX-License-Identifier: MIT */

/* The audit on a real kernel: real DMA to a page that nobody pinned is found, with its address; DMA to pinned pages, and stores of CPUs
 * by whatever way, are not. */

#include "rig_edu.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SOURCE = 1, STORES = 10000, MAPPED = 512 + 512 + 451 + 509 };

/* Of another kind than the rig's memory, which is private and anonymous */
#define OTHER_IOVA UINT64_C(0x4000000)
#define OTHER_LOG  UINT64_C(0x100000000)
#define OTHER_SIZE UINT64_C(0x400000)
enum { OTHER_PAGE = (OTHER_IOVA - RIG_IOVA) / RIG_PAGE };

struct bench {
	struct rig rig;
	struct edu edu;
	struct vfd_pinset *pins;
	struct vfd_audit *audit;
	struct vfd_audit_finding found[8];
	struct vfd_audit_result result;
	uint64_t changes;
};

static struct bench bench, *b = &bench;

/* ---- what happens to memory ---- */

/* The device writes what was not there before. */
static void dma(uint64_t page)
{
	b->changes++;
	memcpy(b->rig.memory + SOURCE * RIG_PAGE, &b->changes, sizeof b->changes);
	edu_copy(&b->edu, SOURCE, page);
}

static void pinned_dma(uint64_t page)
{
	struct vfd_pin pin;

	ok_code(vfd_pin_iova(b->pins, RIG_IOVA + page * RIG_PAGE, RIG_PAGE, VFD_PIN_WRITE, &pin, &b->rig.err),
		0, &b->rig.err, "pin page %" PRIu64, page);
	dma(page);
	ok_code(vfd_unpin(b->pins, &pin, 1, &b->rig.err), 0, &b->rig.err, "unpin");
}

static void look(unsigned flags)
{
	b->result = (struct vfd_audit_result){ .struct_size = sizeof b->result };
	if (vfd_audit_check(b->audit, flags, b->found, 8, &b->result, &b->rig.err))
		ok(false, "a check: %s", b->rig.err.message);
}

static void ok_quiet(const char *what)
{
	uint64_t reports = 0;

	for (int i = 0; i < 3; i++) {
		look(0);
		reports += b->result.count;
	}
	ok(!reports, "%s: %" PRIu64 " reports", what, reports);
	ok(b->result.judged_bytes == b->result.audited_bytes, "and then all is judged: %" PRIu64 " pages",
	   (uint64_t)(b->result.judged_bytes / RIG_PAGE));
}

static void ok_found(const void *memory, uint64_t iova, uint64_t log_address, const char *what)
{
	look(VFD_AUDIT_FINAL);
	const struct vfd_audit_finding *first = &b->found[0];
	ok(b->result.count == 1 && first->iova == iova && first->memory == memory &&
		   first->log_address == log_address && first->size == RIG_PAGE,
	   "%s: %" PRIu32 " report: IOVA %#" PRIx64 ", memory %p, log %#" PRIx64, what, b->result.count,
	   first->iova, first->memory, first->log_address);
}

static void ok_found_page(uint64_t page, const char *what)
{
	ok_found(b->rig.memory + page * RIG_PAGE, RIG_IOVA + page * RIG_PAGE, RIG_LOG + page * RIG_PAGE,
		 what);
}

/* ---- stores ---- */

static uint64_t mapped_page(uint64_t i)
{
	uint64_t page = i * 2654435761u % MAPPED;

	return page < 1475 ? page : page + 64;
}

static void store(uint64_t i)
{
	((volatile uint64_t *)(void *)(b->rig.memory + mapped_page(i) * RIG_PAGE))[i % 512] = i;
}

static void ten_thousand_stores(void)
{
	uint64_t reports = 0, changed = 0;

	for (uint64_t i = 1; i <= STORES; i++) {
		store(i);
		if (i % 500)
			continue;
		look(i % 1000 ? 0 : VFD_AUDIT_FINAL);
		reports += b->result.count;
		changed += b->result.changed_bytes / RIG_PAGE;
	}
	ok(!reports && changed > STORES / 2,
	   "%d stores, a check after each 500: %" PRIu64 " changed pages seen, %" PRIu64 " reports", STORES,
	   changed, reports);
	ok_quiet("and after them");
}

static atomic_ulong stored;
static atomic_bool stop;

static void *storer(void *arg)
{
	(void)arg;
	for (uint64_t i = 1; !atomic_load(&stop); i++) {
		store(i);
		atomic_fetch_add(&stored, 1);
		if (!(i % 64))
			usleep(100);
	}
	return NULL;
}

static void stores_during_checks(void)
{
	uint64_t reports = 0, checks = 0;
	pthread_t thread;

	pthread_create(&thread, NULL, storer, NULL);
	for (; atomic_load(&stored) < STORES || checks < 20; checks++) {
		look(VFD_AUDIT_FINAL);
		reports += b->result.count;
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	ok(!reports, "%lu stores of another thread during %" PRIu64 " checks: %" PRIu64 " reports", stored,
	   checks, reports);
	ok_quiet("and after them");
}

/* The kernel's own stores into a buffer are stores, too, although the userfaultfd is for user mode only. */
static void stores_by_system_calls(void)
{
	int zero = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	ssize_t got = read(zero, b->rig.memory + 20 * RIG_PAGE, 5 * RIG_PAGE);

	close(zero);
	ok(got == 5 * RIG_PAGE, "read() into watched memory: %zd bytes", got);
	ok_quiet("read() into it");
}

/* After a fork memory is copied when it is written, unless it is pinned. */
static void stores_after_fork(void)
{
	int status;
	pid_t child = fork();

	if (!child) {
		b->rig.memory[30 * RIG_PAGE]++;
		_exit(vfd_audit_destroy(&b->audit, NULL) != VFD_EFORKED);
	}
	b->rig.memory[31 * RIG_PAGE]++;
	waitpid(child, &status, 0);
	ok(!status, "a child may not end it");
	ok_quiet("stores after a fork, and in the child");
	dma(32);
	ok_found_page(32, "DMA after a fork");
}

/* ---- other memory ---- */

static void *memory_of(const char *kind)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS, fd = -1;

	if (!strcmp(kind, "memfd")) {
		fd = memfd_create(kind, MFD_CLOEXEC);
		flags = ftruncate(fd, OTHER_SIZE) ? 0 : MAP_SHARED;
	} else if (!strcmp(kind, "hugetlb")) {
		int pool = open("/proc/sys/vm/nr_hugepages", O_WRONLY | O_CLOEXEC);
		if (write(pool, "2", 1) == 1)
			flags |= MAP_HUGETLB;
		close(pool);
	}
	char *memory = mmap(NULL, OTHER_SIZE, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (fd >= 0)
		close(fd);
	if (!strcmp(kind, "transparent huge pages"))
		madvise(memory, OTHER_SIZE, MADV_HUGEPAGE);
	return memory == MAP_FAILED ? NULL : memory;
}

static void other_memory(const char *kind)
{
	unsigned char *memory = memory_of(kind);
	struct vfd_region region = {
		.struct_size = sizeof region, .address = OTHER_LOG, .size = OTHER_SIZE, .memory = memory
	};
	struct vfd_mapping mapping = { .struct_size = sizeof mapping,
				       .flags = RIG_RW,
				       .iova = OTHER_IOVA,
				       .size = OTHER_SIZE,
				       .memory = memory };
	struct rig *rig = &b->rig;

	if (!memory) {
		skip(kind, "the guest has none");
		return;
	}
	memset(memory, 1, OTHER_SIZE);
	ok_code(vfd_region_add(rig->log, &region, &rig->err), 0, &rig->err, "%s: a region", kind);
	ok_code(vfd_map(rig->container, &mapping, &rig->err), 0, &rig->err, "map it");
	ok_quiet("just mapped");
	ok(b->result.audited_bytes == MAPPED * RIG_PAGE + OTHER_SIZE, "it is audited");
	for (uint64_t i = 0; i < STORES; i++)
		memory[i * 2654435761u % OTHER_SIZE] = (unsigned char)i;
	ok_quiet("stores");
	pinned_dma(OTHER_PAGE + 7);
	ok_quiet("DMA to a pinned page");
	memory[600 * RIG_PAGE]++;
	ok_quiet("a store");
	dma(OTHER_PAGE + 9);
	ok_found(memory + 9 * RIG_PAGE, OTHER_IOVA + 9 * RIG_PAGE, OTHER_LOG + 9 * RIG_PAGE,
		 "DMA to a page that is not");
	ok_code(vfd_unmap(rig->container, OTHER_IOVA, OTHER_SIZE, &rig->err), 0, &rig->err, "unmap it");
	ok_code(vfd_region_remove(rig->log, OTHER_LOG, VFD_DISCARD, &rig->err), 0, &rig->err,
		"remove the region");
	munmap(memory, OTHER_SIZE);
}

/* ---- what it is built on ---- */

static bool soft_dirty(const void *memory)
{
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	ssize_t got = pread(fd, &entry, 8, (off_t)((uintptr_t)memory / RIG_PAGE * 8));

	close(fd);
	return got == 8 && entry >> 55 & 1;
}

/* Why soft-dirty bits are no help: those of pinned private memory stay set, unless it is of large pages. */
static void soft_dirty_is_blind(void)
{
	unsigned char *free_page = mmap(NULL, RIG_PAGE, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	ssize_t done = write(fd, "4", 1);

	close(fd);
	if (done != 1 || soft_dirty(free_page))
		skip("soft-dirty bits", "this kernel has none");
	else
		ok(soft_dirty(b->rig.memory + 100 * RIG_PAGE),
		   "clearing soft-dirty bits clears those of other memory, but not of mapped private memory");
	munmap(free_page, RIG_PAGE);
}

/* Memory can be registered by one userfaultfd at a time. */
static bool can_register(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register r = { .range = { (uintptr_t)b->rig.memory, RIG_PAGE },
				     .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	bool done = !ioctl(fd, UFFDIO_API, &api) && !ioctl(fd, UFFDIO_REGISTER, &r);

	close(fd);
	return done;
}

/* ---- the whole ---- */

static void begin(void)
{
	struct rig *rig = &b->rig;

	rig_open(rig);
	madvise(rig->memory, RIG_PAGES * RIG_PAGE, MADV_NOHUGEPAGE);
	memset(rig->memory, 0x5a, RIG_PAGES * RIG_PAGE);
	ok_code(vfd_group_attach_device(rig->container, b->edu.name, &b->edu.group, &rig->err), 0, &rig->err,
		"attach the group of %s", b->edu.name);
	rig_map_all(rig);
	edu_open(rig, &b->edu);
	ok_code(vfd_device_pins_all(b->edu.device, &rig->err), 0, &rig->err, "its driver pins all");
	ok_code(vfd_track_start(rig->container, NULL, NULL, &rig->err), 0, &rig->err, "start tracking");
	ok_code(vfd_pinset_create(rig->container, NULL, &b->pins, &rig->err), 0, &rig->err, "a pin set");
}

static void end(void)
{
	struct rig *rig = &b->rig;

	ok(!can_register(), "meanwhile nobody else can register the memory");
	ok_code(vfd_audit_destroy(&b->audit, &rig->err), 0, &rig->err, "end the audit");
	ok(can_register(), "then everybody can");
	ok_code(vfd_pinset_destroy(&b->pins, 0, &rig->err), 0, &rig->err, "end the pin set");
	rig_close(rig);
}

static void emulated_beside_it(void)
{
	struct rig *rig = &b->rig;

	ok_code(rig_attach(rig, 0), 0, &rig->err, "an emulated device beside it");
	ok_code(vfd_audit_check(b->audit, 0, NULL, 0, &b->result, &rig->err), VFD_EUNSUPPORTED, &rig->err,
		"no audit any more");
	ok_code(vfd_group_detach(&rig->groups[0], VFD_COLLECT, &rig->err), 0, &rig->err, "it leaves");
}

static void run(void)
{
	ok_quiet("nothing happened");
	dma(600);
	ok_found_page(600, "DMA to a page that nobody pinned");
	pinned_dma(601);
	ok_quiet("DMA to a pinned page");
	ten_thousand_stores();
	stores_during_checks();
	dma(600);
	look(0);
	ok(!b->result.count && b->result.changed_bytes, "a check sees a change, and waits for marks");
	ok_found_page(600, "the next finds it");
	stores_by_system_calls();
	stores_after_fork();
	other_memory("memfd");
	other_memory("transparent huge pages");
	other_memory("hugetlb");
	emulated_beside_it();
}

int main(void)
{
	if (!edu_find(&b->edu)) {
		ok(false, "no edu device is bound to vfio-pci: run with --device edu --bind 1234:11e8");
		return done();
	}
	begin();
	soft_dirty_is_blind();
	int rc = vfd_audit_create(b->rig.container, 0, &b->audit, &b->rig.err);
	if (rc == VFD_EUNSUPPORTED) {
		skip("audit", b->rig.err.message);
		vfd_pinset_destroy(&b->pins, 0, &b->rig.err);
		rig_close(&b->rig);
		return done();
	}
	if (ok_code(rc, 0, &b->rig.err, "begin an audit")) {
		run();
		end();
	}
	return done();
}
