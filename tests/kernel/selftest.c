// SPDX-License-Identifier: MIT
/*
 * selftest - do the test device and this kernel behave as the tests assume?
 *
 * Runs in the guest (see selftest.sh). Raw ioctls only, no library: when a test
 * of the library fails, this says whether the ground it stands on is sound.
 * One TAP line per check; exit code 0 if none failed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "selftest.h"

int bench;
static int passed, failed, skipped;

/* ---- results --------------------------------------------------------------- */

bool check(bool good, const char *what, ...)
{
	va_list ap;

	good ? passed++ : failed++;
	printf("%sok %d - ", good ? "" : "not ", passed + failed + skipped);
	va_start(ap, what);
	vprintf(what, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	return good;
}

void check_bits(uint64_t got, uint64_t want, const char *what)
{
	if (!check(got == want, "%s", what))
		printf("# got %016llx, want %016llx\n",
		       (unsigned long long)got, (unsigned long long)want);
}

/* ret is what a call returned: it must have failed with that errno. */
void check_errno(int ret, int want, const char *what)
{
	int err = errno;

	if (!check(ret == -1 && err == want, "%s: %s", what, strerror(want)))
		printf("# returned %d, errno %s\n", ret, ret ? strerror(err) : "-");
}

void skip(const char *what, const char *why)
{
	skipped++;
	printf("ok %d - %s # SKIP %s\n", passed + failed + skipped, what, why);
}

/* For what no test can go on without. */
void need(bool good, const char *what)
{
	if (good)
		return;
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- commands of the test device ------------------------------------------- */

int command(unsigned long cmd, uint32_t device, uint64_t iova, uint64_t size,
		   uint32_t flags)
{
	static uint64_t value = 0x5eed;
	struct vfdtest_range r = {
		.device = device, .flags = flags, .iova = iova, .size = size, .value = ++value,
	};

	return ioctl(bench, cmd, &r);
}

int dev_write(uint32_t device, uint64_t iova, uint64_t size)
{
	return command(VFDTEST_WRITE, device, iova, size, 0);
}

uint64_t truth(uint32_t device, uint64_t iova, uint64_t pages, uint64_t *bits,
		      uint32_t flags)
{
	struct vfdtest_truth t = {
		.device = device, .flags = flags, .iova = iova, .size = pages * PAGE,
		.bitmap = (uintptr_t)bits,
	};

	need(!ioctl(bench, VFDTEST_TRUTH, &t), "TRUTH");
	return t.pages;
}

uint64_t truth_word(uint32_t device, uint64_t iova)
{
	uint64_t bits = 0;

	truth(device, iova, 64, &bits, 0);
	return bits;
}

struct vfdtest_status status_of(uint32_t device)
{
	struct vfdtest_status s = { .device = device };

	need(!ioctl(bench, VFDTEST_STATUS, &s), "STATUS");
	return s;
}

int set(uint32_t device, uint32_t knob, uint64_t value)
{
	struct vfdtest_set s = { .device = device, .knob = knob, .value = value };

	return ioctl(bench, VFDTEST_SET, &s);
}

static int run_with(uint32_t device, uint64_t iova, uint64_t size, uint64_t period_ns, uint32_t flags)
{
	static uint64_t seed;
	struct vfdtest_run r = {
		.device = device, .flags = flags, .iova = iova, .size = size, .seed = ++seed,
		.period_ns = period_ns,
	};

	return ioctl(bench, VFDTEST_RUN, &r);
}

int run(uint32_t device, uint64_t iova, uint64_t size, uint64_t period_ns)
{
	return run_with(device, iova, size, period_ns, 0);
}

int run_pinned(uint32_t device, uint64_t iova, uint64_t size)
{
	return run_with(device, iova, size, 0, VFDTEST_RUN_PINNED);
}

struct vfdtest_halt halt(uint32_t device)
{
	struct vfdtest_halt h = { .device = device };

	need(!ioctl(bench, VFDTEST_HALT, &h), "HALT");
	return h;
}

/* ---- containers ---------------------------------------------------------------- */

static int open_group(int number)
{
	char path[64];

	snprintf(path, sizeof(path), "/dev/vfio/%d", number);
	return open(path, O_RDWR | O_CLOEXEC);
}

void attach(struct session *s, uint32_t index)
{
	s->group[index] = open_group(status_of(index).group);
	need(s->group[index] >= 0, "open group");
	need(!ioctl(s->group[index], VFIO_GROUP_SET_CONTAINER, &s->container), "SET_CONTAINER");
}

void open_device(struct session *s, uint32_t index)
{
	char name[32];

	snprintf(name, sizeof(name), "vfdtest.%u", index);
	s->device[index] = ioctl(s->group[index], VFIO_GROUP_GET_DEVICE_FD, name);
	need(s->device[index] >= 0, "GET_DEVICE_FD");
}

static int map_at(struct session *s, uint64_t iova, uint64_t size, void *memory, uint32_t flags)
{
	struct vfio_iommu_type1_dma_map m = {
		.argsz = sizeof(m), .flags = flags, .iova = iova, .size = size,
		.vaddr = (uintptr_t)memory,
	};

	return ioctl(s->container, VFIO_IOMMU_MAP_DMA, &m);
}

static int map(struct session *s, uint64_t iova, uint64_t size)
{
	return map_at(s, iova, size, s->memory, VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE);
}

static int tracking(struct session *s, uint32_t flag)
{
	struct vfio_iommu_type1_dirty_bitmap d = { .argsz = sizeof(d), .flags = flag };

	return ioctl(s->container, VFIO_IOMMU_DIRTY_PAGES, &d);
}

static int start(struct session *s)
{
	return tracking(s, VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
}

static int stop(struct session *s)
{
	return tracking(s, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP);
}

static int get(struct session *s, uint64_t iova, uint64_t pages, void *bits)
{
	struct {
		struct vfio_iommu_type1_dirty_bitmap d;
		struct vfio_iommu_type1_dirty_bitmap_get g;
	} a = {
		.d = { .argsz = sizeof(a), .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP },
		.g = { .iova = iova, .size = pages * PAGE,
		       .bitmap = { .pgsize = PAGE, .size = (pages + 63) / 64 * 8, .data = bits } },
	};

	return ioctl(s->container, VFIO_IOMMU_DIRTY_PAGES, &a);
}

/* One word of bits from iova on; ~0xdead... on error, which no test expects. */
uint64_t get_word(struct session *s, uint64_t iova)
{
	uint64_t bits = 0;

	return get(s, iova, 64, &bits) ? 0xdeaddeaddeaddeadULL : bits;
}

/* bits NULL: plain unmap. unmapped is the kernel's size field afterwards. */
static int unmap(struct session *s, uint64_t iova, uint64_t size, uint32_t flags, void *bits,
		 uint64_t *unmapped)
{
	struct {
		struct vfio_iommu_type1_dma_unmap u;
		struct vfio_bitmap b;
	} a = {
		.u = { .argsz = sizeof(a), .flags = flags, .iova = iova, .size = size },
		.b = { .pgsize = PAGE, .size = (size / PAGE + 63) / 64 * 8, .data = bits },
	};
	int ret;

	if (bits)
		a.u.flags |= VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP;
	ret = ioctl(s->container, VFIO_IOMMU_UNMAP_DMA, &a);
	if (unmapped)
		*unmapped = a.u.size;
	return ret;
}

void clear_truth(void)
{
	static uint64_t bits[1 << 14];	/* 4 GiB */
	uint32_t i;

	for (i = 0; i < 2; i++)
		truth(i, 0, 1 << 20, bits, VFDTEST_TRUTH_CLEAR);
}

/* A container with device 0 open, one mapping at IOVA, tracking on. */
static struct session begin_sized(uint64_t size)
{
	struct session s = { .group = { -1, -1, -1, -1 }, .device = { -1, -1, -1, -1 } };

	s.size = size;
	s.memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(s.memory != MAP_FAILED, "mmap");
	s.container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	need(s.container >= 0, "open container");
	attach(&s, 0);
	need(!ioctl(s.container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), "SET_IOMMU");
	open_device(&s, 0);
	need(!map(&s, IOVA, size), "MAP_DMA");
	need(!start(&s), "START");
	clear_truth();
	return s;
}

struct session begin(void)
{
	return begin_sized(PAGES * PAGE);
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void end(struct session *s)
{
	int i;

	for (i = 0; i < VFDTEST_MAX_DEVICES; i++)
		close_one(&s->device[i]);
	for (i = 0; i < VFDTEST_MAX_DEVICES; i++)
		close_one(&s->group[i]);
	close_one(&s->container);
	munmap(s->memory, s->size);
}

int feature(int device, uint32_t flags, void *data, uint32_t size)
{
	struct {
		struct vfio_device_feature f;
		uint8_t data[64];
	} __attribute__((aligned(8))) a = { .f = { .argsz = sizeof(a.f) + size, .flags = flags } };
	int ret, err;

	memcpy(a.f.data, data ? data : a.data, size);
	ret = ioctl(device, VFIO_DEVICE_FEATURE, &a);
	err = errno;
	if (size)
		memcpy(data, a.f.data, size);
	errno = err;
	return ret;
}

/* A buffer whose first len bytes can be written and the next byte cannot. */
static void *half_bad(size_t len)
{
	static uint8_t *area;

	if (!area) {
		area = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);
		need(area != MAP_FAILED && !mprotect(area + PAGE, PAGE, PROT_NONE), "buffer");
	}
	memset(area, 0, PAGE);
	return area + PAGE - len;
}

/* ---- the test device itself ------------------------------------------------------ */

static void test_info(void)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	struct vfio_region_info region = { .argsz = sizeof(region) };
	struct session s = begin();

	check(!ioctl(s.device[0], VFIO_DEVICE_GET_INFO, &info) &&
	      (info.flags & VFIO_DEVICE_FLAGS_RESET) && info.num_regions == VFDTEST_REGIONS &&
	      info.num_irqs == VFDTEST_IRQS, "device info: reset, two regions, two irqs");
	set(0, VFDTEST_RESET, 0);
	info.argsz = sizeof(info);
	check(!ioctl(s.device[0], VFIO_DEVICE_GET_INFO, &info) &&
	      !(info.flags & VFIO_DEVICE_FLAGS_RESET), "no reset flag when it cannot be reset");
	check_errno(ioctl(s.device[0], VFIO_DEVICE_RESET), EINVAL, "and a reset is refused");
	set(0, VFDTEST_RESET, 1);
	check(!ioctl(s.device[0], VFIO_DEVICE_GET_REGION_INFO, &region) &&
	      region.size == VFDTEST_REGION0_SIZE && (region.flags & VFIO_REGION_INFO_FLAG_MMAP),
	      "region 0 can be mapped");
	region.index = VFDTEST_REGIONS;
	check_errno(ioctl(s.device[0], VFIO_DEVICE_GET_REGION_INFO, &region), EINVAL,
		    "no region past the last");
	end(&s);
}

static void test_regions(void)
{
	struct {
		struct vfio_region_info i;
		struct vfio_region_info_cap_sparse_mmap c;
		struct vfio_region_sparse_mmap_area more[2];
	} r = { .i = { .argsz = sizeof(r), .index = 1 } };
	struct session s = begin();
	uint32_t in = 0x12345678, out = 0;
	uint32_t *p;

	check(!ioctl(s.device[0], VFIO_DEVICE_GET_REGION_INFO, &r) && r.i.cap_offset &&
	      r.c.header.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP && r.c.nr_areas == 2 &&
	      r.c.areas[1].offset == 2 * PAGE && r.c.areas[1].size == PAGE,
	      "region 1 has two areas and a hole");
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, s.device[0],
		 r.i.offset + 2 * PAGE);
	check(p != MAP_FAILED && pwrite(s.device[0], &in, 4, r.i.offset + 2 * PAGE + 8) == 4 &&
	      p[2] == in, "what is written shows in the mapped area");
	if (p != MAP_FAILED) {
		p[3] = ~in;
		check(pread(s.device[0], &out, 4, r.i.offset + 2 * PAGE + 12) == 4 && out == ~in,
		      "and the other way round");
		munmap(p, PAGE);
	}
	check(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, s.device[0], r.i.offset + PAGE) ==
	      MAP_FAILED, "the hole cannot be mapped");
	check(mmap(NULL, 3 * PAGE, PROT_READ, MAP_SHARED, s.device[0], 0) == MAP_FAILED,
	      "nor more than region 0 has");
	end(&s);
}

static int set_eventfd(int device, uint32_t index, int fd)
{
	struct {
		struct vfio_irq_set s;
		int32_t fd;
	} a = {
		.s = { .argsz = sizeof(a), .index = index, .count = 1,
		       .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER },
		.fd = fd,
	};

	return ioctl(device, VFIO_DEVICE_SET_IRQS, &a);
}

static void test_irq(void)
{
	struct session s = begin();
	uint64_t count = 0;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	check_errno(set(0, VFDTEST_IRQ, 1), ENOTCONN, "no eventfd set");
	check(!set_eventfd(s.device[0], 0, fd) && !set(0, VFDTEST_IRQ, 3) &&
	      read(fd, &count, 8) == 8 && count == 3, "an interrupt arrives in the eventfd");
	check(!set_eventfd(s.device[0], 0, -1) && set(0, VFDTEST_IRQ, 1) == -1,
	      "and is taken away with -1");
	end(&s);
	close(fd);
}

static void test_commands(void)
{
	struct vfdtest_set unknown = { .knob = 99 };
	struct session s = begin();
	uint64_t *word = s.memory;

	check_errno(dev_write(9, IOVA, 8), ENODEV, "no such device");
	check_errno(dev_write(1, IOVA, 8), ENOTCONN, "device not open");
	check_errno(dev_write(0, IOVA, 0), EINVAL, "nothing to write");
	check_errno(dev_write(0, ~0ULL, 2), EINVAL, "a range that wraps");
	check_errno(ioctl(bench, VFDTEST_SET, &unknown), EINVAL, "unknown knob");
	check_errno(ioctl(bench, _IO('v', 99)), ENOTTY, "unknown command");
	check_errno(command(VFDTEST_PIN, 0, IOVA + 1, PAGE, 0), EINVAL, "pin unaligned");

	check(!command(VFDTEST_WRITE, 0, IOVA + 16, 16, 0) && !word[1] && word[2] &&
	      (word[2] ^ word[3]) == ((IOVA + 16) ^ (IOVA + 24)) && !word[4],
	      "a write leaves its words, and nothing beside them");
	check_errno(dev_write(0, IOVA + (PAGES - 1) * PAGE, 2 * PAGE), EINVAL,
		    "a write past the mapping fails");
	check_bits(truth_word(0, IOVA), 1ULL | 1ULL << 63, "its first page is in the truth");
	check_bits(get_word(&s, IOVA), 1ULL | 1ULL << 63, "and in the kernel's bitmap");
	check(!command(VFDTEST_READ, 0, IOVA, 4 * PAGE, 0) && !get_word(&s, IOVA),
	      "a read marks nothing");
	check(map_at(&s, 0, PAGE, s.memory, VFIO_DMA_MAP_FLAG_READ) == 0, "map read-only");
	check_errno(dev_write(0, 0, 8), EPERM, "a write to it is refused");
	check_bits(truth_word(0, 0), 0, "and is not in the truth");
	end(&s);
}

static void test_other_process(void)
{
	struct session s = begin();
	int state = -1;
	pid_t pid = fork();

	if (!pid)
		_exit(dev_write(0, IOVA + 5 * PAGE, 8) ? 1 : 0);
	waitpid(pid, &state, 0);
	check(state == 0 && get_word(&s, IOVA) == 1 << 5,
	      "a command from another process writes all the same");
	end(&s);
}

static void test_truth(void)
{
	uint64_t high = 1ULL << 40, edge = (128ULL << 20) - 2 * PAGE, bits[2] = { ~0ULL, ~0ULL };
	struct vfdtest_truth t = { .iova = IOVA, .size = 64 * PAGE, .flags = VFDTEST_TRUTH_CLEAR,
				   .bitmap = (uintptr_t)half_bad(4) };
	struct vfdtest_status before;
	struct session s = begin();

	need(!map(&s, high, PAGES * PAGE) && !map(&s, edge, 8 * PAGE), "map");
	check(!dev_write(0, high + 3 * PAGE, 8) && truth_word(0, high) == 1 << 3,
	      "truth at 1 TiB");
	check(!dev_write(0, edge + PAGE, 2 * PAGE) && truth_word(0, edge) == 6,
	      "truth over the edge of a chunk");
	check(truth(0, edge + PAGE, 65, bits, 0) == 2 && bits[0] == 3 && !bits[1],
	      "truth of an odd range overwrites the buffer");

	before = status_of(0);
	dev_write(0, IOVA, 2 * PAGE);
	check(status_of(0).sequence == before.sequence + 2 &&
	      status_of(0).writes == before.writes + 2, "every write has its number");
	check_errno(ioctl(bench, VFDTEST_TRUTH, &t), EFAULT, "truth into a bad buffer");
	check_bits(truth_word(0, IOVA), 3, "clears nothing");
	truth(0, IOVA, 64, bits, VFDTEST_TRUTH_CLEAR);
	check(bits[0] == 3 && !truth_word(0, IOVA) && truth_word(0, high),
	      "clear clears what was asked for");
	end(&s);
	check_bits(truth_word(0, high), 1 << 3, "truth outlives the container");
	truth(0, high, 64, bits, VFDTEST_TRUTH_CLEAR);
}

static void test_reset(void)
{
	struct vfdtest_status st;
	struct session s = begin();
	uint64_t resets = status_of(0).resets, bits;

	need(!run(0, IOVA, PAGES * PAGE, 0), "RUN");
	check_errno(run(0, IOVA, PAGE, 0), EBUSY, "a second writer");
	need(!command(VFDTEST_PIN, 0, IOVA, PAGE, VFDTEST_PIN_WRITE), "PIN");
	usleep(20000);
	check(!ioctl(s.device[0], VFIO_DEVICE_RESET), "reset");
	st = status_of(0);
	check(!st.running && st.quiet && st.resets == resets + 1 && st.pins == 1,
	      "halts the writer, keeps the pin");
	truth(0, IOVA, 64, &bits, VFDTEST_TRUTH_CLEAR);
	check(bits & 1, "the pin was written until then");
	check_bits(truth_word(0, IOVA), 0, "and is not from then on");
	check(!dev_write(0, IOVA + PAGE, 8) && truth_word(0, IOVA) == 3,
	      "the next command wakes the device");
	end(&s);
}

static void test_close(void)
{
	struct session s = begin();
	struct vfdtest_halt h;
	uint64_t bits;

	need(!run(0, IOVA, PAGES * PAGE, 1000000), "RUN");
	need(!command(VFDTEST_PIN, 0, IOVA, PAGE, VFDTEST_PIN_WRITE), "PIN");
	usleep(20000);
	truth(0, IOVA, 64, &bits, VFDTEST_TRUTH_CLEAR);
	close_one(&s.device[0]);
	check(!status_of(0).running && !status_of(0).pins && !status_of(0).open,
	      "closing halts the writer and unpins");
	check(truth_word(0, IOVA) & 1, "the unpinned page is in the truth");
	h = halt(0);
	check(h.writes && !h.failures, "the writer's count outlives it (%llu writes)",
	      (unsigned long long)h.writes);
	end(&s);
}

static void test_unplug(void)
{
	struct vfdtest_plug plug = { .device = 1 };
	struct session s = begin();
	uint64_t requests, count = 0;
	int i, fd = eventfd(0, EFD_CLOEXEC);

	attach(&s, 1);
	open_device(&s, 1);
	requests = status_of(1).requests;
	need(!set_eventfd(s.device[1], 1, fd), "SET_IRQS");
	check(!ioctl(bench, VFDTEST_REMOVE, &plug), "remove returns at once");
	check(read(fd, &count, 8) == 8 && status_of(1).requests > requests &&
	      status_of(1).state == VFDTEST_REMOVING, "the kernel asks for the device back");
	check_errno(ioctl(bench, VFDTEST_ADD, &plug), EBUSY, "no new one before it is gone");
	check(!dev_write(1, IOVA, 8), "it works until it is closed");
	close_one(&s.device[1]);
	for (i = 0; i < 200 && status_of(1).state != VFDTEST_ABSENT; i++)
		usleep(10000);
	check(status_of(1).state == VFDTEST_ABSENT, "and is gone then");
	check_errno(dev_write(1, IOVA, 8), ENODEV, "a write by it");
	check_bits(get_word(&s, IOVA), 1, "what it wrote is still there");
	close_one(&s.group[1]);
	check(!ioctl(bench, VFDTEST_ADD, &plug) && status_of(1).state == VFDTEST_PRESENT,
	      "plugged in again");
	attach(&s, 1);
	open_device(&s, 1);
	check(!dev_write(1, IOVA + PAGE, 8) && get_word(&s, IOVA) == 2, "and works again");
	end(&s);
	close(fd);
}

/* ---- the kernel: what is reported --------------------------------------------- */

static void test_writes(void)
{
	struct session s = begin();

	dev_write(0, IOVA + 2 * PAGE + 100, 8);
	dev_write(0, IOVA + 10 * PAGE - 4, 8);
	check_bits(get_word(&s, IOVA), 1 << 2 | 3 << 9, "writes show, exactly");
	check_bits(truth_word(0, IOVA), 1 << 2 | 3 << 9, "and are the truth");
	check_bits(get_word(&s, IOVA), 0, "once");
	memset(s.memory, 1, PAGES * PAGE);
	check_bits(get_word(&s, IOVA), 0, "stores of the CPU never show");
	dev_write(0, IOVA + 7 * PAGE, 8);
	check(!start(&s), "START again");
	check_bits(get_word(&s, IOVA), 1 << 7, "keeps the bits");
	dev_write(0, IOVA + 8 * PAGE, 8);
	check(!stop(&s) && !stop(&s) && !start(&s), "STOP, STOP, START");
	check_bits(get_word(&s, IOVA), 0, "loses them");
	end(&s);
}

static void test_pins(void)
{
	struct session s = begin();

	check_errno(command(VFDTEST_UNPIN, 0, IOVA, PAGE, 0), EINVAL, "unpin what is not pinned");
	check(!command(VFDTEST_PIN, 0, IOVA + 4 * PAGE, 2 * PAGE, VFDTEST_PIN_WRITE) &&
	      status_of(0).pins == 2, "pin two pages");
	check_bits(get_word(&s, IOVA), 3 << 4, "pinned pages show");
	check_bits(get_word(&s, IOVA), 3 << 4, "and again at each GET");
	clear_truth();
	check_bits(truth_word(0, IOVA), 3 << 4, "and in the truth, however often it is cleared");
	check_errno(command(VFDTEST_UNPIN, 0, IOVA + 4 * PAGE, 3 * PAGE, 0), EINVAL,
		    "unpin one too many");
	check(status_of(0).pins == 2 && !command(VFDTEST_UNPIN, 0, IOVA + 4 * PAGE, 2 * PAGE, 0),
	      "does nothing; unpin both");
	check_bits(get_word(&s, IOVA), 3 << 4, "unpinned pages show once more");
	check_bits(get_word(&s, IOVA), 0, "and then no more");

	clear_truth();
	check_errno(command(VFDTEST_PIN, 0, IOVA + (PAGES - 2) * PAGE, 4 * PAGE,
			    VFDTEST_PIN_WRITE), EINVAL, "pin past the mapping");
	check(!status_of(0).pins && !truth_word(0, IOVA), "pins nothing");
	check_errno(command(VFDTEST_WRITE, 0, IOVA, 8, VFDTEST_WRITE_PINNED), EINVAL,
		    "write through no pin");
	get_word(&s, IOVA);
	need(!command(VFDTEST_PIN, 0, IOVA, PAGE, VFDTEST_PIN_WRITE), "PIN");
	get_word(&s, IOVA);
	check(!command(VFDTEST_WRITE, 0, IOVA, 8, VFDTEST_WRITE_PINNED) &&
	      *(uint64_t *)s.memory && get_word(&s, IOVA) == 1,
	      "a write through a pin shows because it is pinned");
	check(!command(VFDTEST_PIN, 0, IOVA, PAGE, 0) &&
	      !command(VFDTEST_UNPIN, 0, IOVA, PAGE, 0) && status_of(0).pins == 1,
	      "pins are counted");
	end(&s);
}

/* ---- the kernel: what destroys bits -------------------------------------------- */

static void test_unmap(void)
{
	uint64_t bits = 0, size = 0, unmaps = status_of(0).unmaps;
	struct session s = begin();

	dev_write(0, IOVA + PAGE, 8);
	need(!command(VFDTEST_PIN, 0, IOVA + 3 * PAGE, PAGE, VFDTEST_PIN_WRITE), "PIN");
	check(!unmap(&s, IOVA, PAGES * PAGE, 0, &bits, &size) && size == PAGES * PAGE,
	      "UNMAP with bitmap");
	check_bits(bits, 1 << 1 | 1 << 3, "returns the bits, pinned pages too");
	check(status_of(0).unmaps > unmaps && !status_of(0).pins, "the driver was made to unpin");

	need(!map(&s, IOVA, PAGES * PAGE), "map");
	dev_write(0, IOVA, 8);
	check(!unmap(&s, IOVA, PAGES * PAGE, 0, NULL, &size) && size == PAGES * PAGE &&
	      !map(&s, IOVA, PAGES * PAGE) && !get_word(&s, IOVA), "plain UNMAP loses them");
	dev_write(0, IOVA, 8);
	check(!unmap(&s, 0, 0, VFIO_DMA_UNMAP_FLAG_ALL, NULL, &size) && size == PAGES * PAGE &&
	      !map(&s, IOVA, PAGES * PAGE) && !get_word(&s, IOVA), "UNMAP ALL loses them");
	check(!unmap(&s, 0, PAGE, 0, NULL, &size) && !size, "UNMAP of nothing: 0, size 0");
	check_errno(unmap(&s, IOVA, PAGE, 0, NULL, NULL), EINVAL, "UNMAP cutting a mapping");
	end(&s);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void test_unmap_window(void)
{
	struct session s = begin();
	uint64_t bits = 0;
	double t0 = now();
	int state = 0, i;
	pid_t pid;

	need(!command(VFDTEST_PIN, 0, IOVA, PAGE, VFDTEST_PIN_WRITE), "PIN");
	need(!set(0, VFDTEST_UNMAP_DELAY_MS, 300), "SET");
	pid = fork();
	if (!pid) {
		i = unmap(&s, IOVA, PAGES * PAGE, 0, &bits, NULL);
		_exit(i || bits != (1 | 1 << 9));
	}
	for (i = 0; i < 200 && !status_of(0).unmapping; i++)
		usleep(1000);
	check(status_of(0).unmapping == 1, "an unmap waits for the driver");
	check(!dev_write(0, IOVA + 9 * PAGE, 8), "meanwhile others enter the container");
	waitpid(pid, &state, 0);
	check(now() - t0 >= 0.3 && !state, "and the unmap returns their bits too");
	set(0, VFDTEST_UNMAP_DELAY_MS, 0);
	end(&s);
}

static void test_unmap_efault(void)
{
	uint64_t *bits = half_bad(8), size = 0;
	struct session s = begin();

	need(!map(&s, IOVA + PAGES * PAGE, PAGES * PAGE), "map second");
	dev_write(0, IOVA + PAGE, 8);
	dev_write(0, IOVA + (PAGES + 2) * PAGE, 8);
	check_errno(unmap(&s, IOVA, 2 * PAGES * PAGE, 0, bits, &size), EFAULT,
		    "UNMAP of two mappings, buffer bad at the second");
	check_bits(*bits, 2, "the first mapping's bits are in the buffer");
	check(size == 2 * PAGES * PAGE, "the size is unchanged");
	check(!map(&s, IOVA, PAGES * PAGE), "the first mapping is gone");
	check_errno(map(&s, IOVA + PAGES * PAGE, PAGES * PAGE), EEXIST, "the second is not");
	check_bits(get_word(&s, IOVA + PAGES * PAGE), 4, "and has its bits");
	end(&s);
}

static void test_get_efault(void)
{
	uint64_t *bits = half_bad(8), two[2] = { 0 };
	struct session s = begin();

	need(!map(&s, IOVA + PAGES * PAGE, PAGES * PAGE), "map second");
	dev_write(0, IOVA + PAGE, 8);
	dev_write(0, IOVA + (PAGES + 2) * PAGE, 8);
	check_errno(get(&s, IOVA, 2 * PAGES, bits), EFAULT, "GET into a half-bad buffer");
	check_bits(*bits, 2, "delivers the mappings before");
	check(!get(&s, IOVA, 2 * PAGES, two) && !two[0] && two[1] == 4,
	      "has cleared them; the bad one is whole, at a multiple of 64 pages");
	end(&s);
}

/*
 * 32 pages, then 64 at an offset that is no multiple of 64: after the fault the
 * kernel's bitmap of the second mapping stays shifted by 32.
 */
static void test_get_efault_shifted(void)
{
	static const int dirty[] = { 4, 32, 42, 82 };
	uint64_t *bits = half_bad(8), two[2] = { 0 };
	struct session s = begin();
	size_t i;

	need(!unmap(&s, IOVA, PAGES * PAGE, 0, NULL, NULL) && !map(&s, IOVA, 32 * PAGE) &&
	     !map(&s, IOVA + 32 * PAGE, 64 * PAGE), "map");
	for (i = 0; i < 4; i++)
		dev_write(0, IOVA + dirty[i] * PAGE, 8);
	check_errno(get(&s, IOVA, 96, bits), EFAULT, "GET, bad at an unaligned mapping");
	check_bits(*bits, 1ULL << 4 | 1ULL << 32 | 1ULL << 42, "delivers half of it");
	check(!get(&s, IOVA, 96, two), "the retry succeeds");
	check_bits(two[0], 1ULL << 36, "reports pages nobody wrote");
	check_bits(two[1], 1ULL << 0 | 1ULL << 10 | 1ULL << 50, "and never the one still owed");
	memset(two, 0, sizeof(two));
	check(!get(&s, IOVA, 96, two), "a third GET");
	check_bits(two[1], 1ULL << 32 | 1ULL << 42, "shows ghosts");
	end(&s);
}

/* ---- the kernel: lifetime ------------------------------------------------------ */

static void test_detach(void)
{
	struct session s = begin();
	uint64_t bits = 0;
	int copy;

	dev_write(0, IOVA + PAGE, 8);
	need(!command(VFDTEST_PIN, 0, IOVA + 5 * PAGE, PAGE, VFDTEST_PIN_WRITE), "PIN");
	check_errno(ioctl(s.group[0], VFIO_GROUP_UNSET_CONTAINER), EBUSY,
		    "UNSET with the device open");
	copy = dup(s.device[0]);
	close_one(&s.device[0]);
	check_errno(ioctl(s.group[0], VFIO_GROUP_UNSET_CONTAINER), EBUSY,
		    "UNSET with a duplicate open");
	close(copy);
	check_bits(get_word(&s, IOVA), 1 << 1 | 1 << 5, "device closed: GET still gives the bits");
	check_bits(get_word(&s, IOVA), 0, "once");

	open_device(&s, 0);
	dev_write(0, IOVA + PAGE, 8);
	close_one(&s.device[0]);
	check(!ioctl(s.group[0], VFIO_GROUP_UNSET_CONTAINER), "UNSET of the last group: 0");
	check_errno(get(&s, IOVA, PAGES, &bits), EINVAL, "GET then");
	check(!ioctl(s.group[0], VFIO_GROUP_SET_CONTAINER, &s.container) &&
	      !ioctl(s.container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) &&
	      !map(&s, IOVA, PAGES * PAGE) && !start(&s) && !get_word(&s, IOVA),
	      "attached and mapped again: the bits are lost");
	check(truth_word(0, IOVA) & 2, "although the memory was written");
	end(&s);
}

static void test_group_close(void)
{
	struct session s = begin();
	uint64_t bits = 0;

	close_one(&s.group[0]);
	check(!dev_write(0, IOVA, 8) && get_word(&s, IOVA) == 1,
	      "group fd closed, device open: all lives");
	dev_write(0, IOVA, 8);
	close_one(&s.device[0]);
	check_errno(get(&s, IOVA, PAGES, &bits), EINVAL, "device closed too: all is gone");
	end(&s);
}

static void test_two_groups(void)
{
	struct session s = begin();

	attach(&s, 1);
	dev_write(0, IOVA + 6 * PAGE, 8);
	close_one(&s.device[0]);
	check(!ioctl(s.group[0], VFIO_GROUP_UNSET_CONTAINER), "UNSET, another group stays");
	check_bits(get_word(&s, IOVA), 1 << 6, "mappings and bits stay");
	open_device(&s, 1);
	check(!dev_write(1, IOVA, 8) && get_word(&s, IOVA) == 1 && truth_word(1, IOVA) == 1,
	      "the other device has its own truth");
	end(&s);
}

/* ---- a physical group ------------------------------------------------------------ */

static int physical_group(void)
{
	FILE *f = fopen("/run/vfio-pci", "r");
	int group = -1;

	if (f && fscanf(f, "%*s %d", &group) != 1)
		group = -1;
	if (f)
		fclose(f);
	return group;
}

static void test_physical(void)
{
	int number = physical_group(), group;
	struct session s;

	if (number < 0) {
		skip("a physical group", "no PCI device bound (want --device edu --bind 1234:11e8)");
		return;
	}
	s = begin();
	group = open_group(number);
	need(group >= 0, "open physical group");
	check(!ioctl(group, VFIO_GROUP_SET_CONTAINER, &s.container), "a physical group joins");
	check_bits(get_word(&s, IOVA), ~0ULL, "every page is dirty, its device not even open");
	check_bits(get_word(&s, IOVA), ~0ULL, "at every GET");
	check(!ioctl(group, VFIO_GROUP_UNSET_CONTAINER), "it leaves");
	check_bits(get_word(&s, IOVA), ~0ULL, "one full report");
	dev_write(0, IOVA + PAGE, 8);
	check_bits(get_word(&s, IOVA), 2, "then exact again");
	close(group);
	end(&s);
}

/* ---- the race ---------------------------------------------------------------------- */

enum { RACE_PAGES = 16384, RACE_WORDS = RACE_PAGES / 64 };

static void harvest(struct session *s, uint64_t *sum, uint64_t *want)
{
	static uint64_t bits[RACE_WORDS], taken[RACE_WORDS];
	uint64_t i;

	memset(bits, 0, sizeof(bits));
	need(!get(s, IOVA, RACE_PAGES, bits), "GET");
	truth(0, IOVA, RACE_PAGES, taken, VFDTEST_TRUTH_CLEAR);
	for (i = 0; i < RACE_WORDS; i++) {
		sum[i] |= bits[i];
		want[i] |= taken[i];
	}
}

/* Short, so that about half of the pages are written and a lost one shows. */
static void race_once(struct session *s, uint32_t flags, uint64_t *writes, uint64_t *rounds, uint64_t *differ)
{
	uint64_t sum[RACE_WORDS] = { 0 }, want[RACE_WORDS] = { 0 }, i;
	struct vfdtest_halt h = { 0 };
	double t0 = now();

	need(!run_with(0, IOVA, RACE_PAGES * PAGE, 0, flags), "RUN");
	do {
		harvest(s, sum, want);
		++*rounds;
	} while (now() - t0 < 0.03);
	h = halt(0);
	harvest(s, sum, want);
	*writes += h.writes;
	for (i = 0; i < RACE_WORDS; i++)
		*differ += __builtin_popcountll(sum[i] ^ want[i]);
}

static void test_race(uint32_t flags, const char *what)
{
	struct session s = begin_sized(RACE_PAGES * PAGE);
	uint64_t writes = 0, rounds = 0, differ = 0;
	int i;

	for (i = 0; i < 30 || (writes <= 1000 && i < 1000); i++)	/* some kernels are slow */
		race_once(&s, flags, &writes, &rounds, &differ);
	check(writes > 1000 && rounds > 60 && !differ,
	      "%s against harvests: %llu writes, %llu rounds, %llu pages differ",
	      what, (unsigned long long)writes, (unsigned long long)rounds,
	      (unsigned long long)differ);
	end(&s);
}

/*
 * The same, judged by content: a copy of each page, taken after the bitmap that
 * reported it, must end up equal to memory. Copied before the bitmap it must
 * not: that shows the check can fail.
 */
static uint64_t stale_pages(bool copy_first)
{
	enum { pages = 1024, words = pages / 64 };
	static uint8_t copy[pages * PAGE];
	struct session s = begin_sized(pages * PAGE);
	uint64_t bits[words], i, stale = 0;
	int round;

	memset(copy, 0, sizeof(copy));
	need(!run(0, IOVA, pages * PAGE, 2000), "RUN");
	for (round = 0; round <= 100; round++) {
		static uint8_t early[pages * PAGE];

		if (round == 100)
			halt(0);
		if (copy_first && round < 100)
			memcpy(early, s.memory, sizeof(early));
		memset(bits, 0, sizeof(bits));
		need(!get(&s, IOVA, pages, bits), "GET");
		for (i = 0; i < pages; i++)
			if (bits[i / 64] >> i % 64 & 1)
				memcpy(copy + i * PAGE, (copy_first && round < 100 ? early :
				       (uint8_t *)s.memory) + i * PAGE, PAGE);
	}
	for (i = 0; i < pages; i++)
		stale += !!memcmp(copy + i * PAGE, (uint8_t *)s.memory + i * PAGE, PAGE);
	end(&s);
	return stale;
}

static void test_content(void)
{
	uint64_t stale = stale_pages(false);

	check(!stale, "copies taken after the bitmap are current");
	stale = stale_pages(true);
	check(stale, "copies taken before it are not (%llu stale: the check can fail)",
	      (unsigned long long)stale);
}

int main(void)
{
	bench = open(VFDTEST_PATH, O_RDWR | O_CLOEXEC);
	need(bench >= 0, VFDTEST_PATH);
	test_info();
	test_regions();
	test_irq();
	test_commands();
	test_other_process();
	test_truth();
	test_reset();
	test_close();
	test_writes();
	test_pins();
	test_unmap();
	test_unmap_window();
	test_unmap_efault();
	test_get_efault();
	test_get_efault_shifted();
	test_detach();
	test_group_close();
	test_two_groups();
	test_physical();
	test_race(0, "a writer");
	test_race(VFDTEST_RUN_BURSTS, "one that writes in bursts");
	test_content();
	test_log();
	test_migration();
	test_own();
	test_unplug();
	printf("1..%d\n%d passed, %d failed, %d skipped\n", passed + failed + skipped,
	       passed, failed, skipped);
	return failed ? 1 : 0;
}
