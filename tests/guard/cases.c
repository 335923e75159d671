/* SPDX-License-Identifier: MIT */

/* Plain ioctls on a test device, each case in the way that vfd-guard is to find, or is not to find. The device writes PAGES pages
 * where a case says so. */

#include <fcntl.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vfdtest.h"

enum { PAGE = 4096, PAGES = 4, MAPPED = 64 };

static int container, group, device;
static uint8_t *memory;
static uint64_t bits;

static void must(int result, const char *what)
{
	if (result >= 0)
		return;
	perror(what);
	exit(99);
}

static void map(uint64_t iova, uint64_t pages)
{
	struct vfio_iommu_type1_dma_map m = { .argsz = sizeof m,
					      .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
					      .vaddr = (uintptr_t)memory,
					      .iova = iova,
					      .size = pages * PAGE };

	must(ioctl(container, VFIO_IOMMU_MAP_DMA, &m), "MAP_DMA");
}

static void unmap(uint64_t iova, uint64_t pages)
{
	struct vfio_iommu_type1_dma_unmap u = { .argsz = sizeof u, .iova = iova, .size = pages * PAGE };

	must(ioctl(container, VFIO_IOMMU_UNMAP_DMA, &u), "UNMAP_DMA");
}

static void unmap_with_bits(uint64_t iova, uint64_t pages)
{
	struct {
		uint32_t argsz, flags;
		uint64_t iova, size;
		struct vfio_bitmap bitmap;
	} u = {
		sizeof u, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, iova, pages * PAGE, { PAGE, 8, (void *)&bits }
	};

	must(ioctl(container, VFIO_IOMMU_UNMAP_DMA, &u), "UNMAP_DMA with the bitmap");
}

static void track(uint32_t flag)
{
	struct vfio_iommu_type1_dirty_bitmap d = { .argsz = sizeof d, .flags = flag };

	must(ioctl(container, VFIO_IOMMU_DIRTY_PAGES, &d), "DIRTY_PAGES");
}

static int get_into(void *buffer)
{
	struct {
		uint32_t argsz, flags;
		struct vfio_iommu_type1_dirty_bitmap_get get;
	} d = { sizeof d, VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP, { 0, MAPPED * PAGE, { PAGE, 8, buffer } } };

	return ioctl(container, VFIO_IOMMU_DIRTY_PAGES, &d);
}

static void get(void)
{
	must(get_into(&bits), "GET_BITMAP");
}

static void device_writes(void)
{
	struct vfdtest_range w = { .iova = PAGE, .size = PAGES * PAGE, .value = 1 };
	int bench = open(VFDTEST_PATH, O_RDWR | O_CLOEXEC);

	must(bench, VFDTEST_PATH);
	must(ioctl(bench, VFDTEST_WRITE, &w), "VFDTEST_WRITE");
	close(bench);
}

static void begin(const char *number, const char *name)
{
	char path[64];

	snprintf(path, sizeof path, "/dev/vfio/%s", number);
	container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	group = open(path, O_RDWR | O_CLOEXEC);
	must(container, "/dev/vfio/vfio");
	must(group, path);
	must(ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), "SET_CONTAINER");
	must(ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), "SET_IOMMU");
	memory = mmap(NULL, MAPPED * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	map(0, MAPPED);
	track(VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name);
	must(device, "GET_DEVICE_FD");
	device_writes();
}

static void unset(void)
{
	must(ioctl(group, VFIO_GROUP_UNSET_CONTAINER), "UNSET_CONTAINER");
}

/* ---- cases ------------------------------------------------------------------------------------------------------------ */

static void lossless(void)
{
	get();
	close(device);
	get();
	unset();
}

static void case_unmap(void)
{
	unmap(0, MAPPED);
	map(0, MAPPED);
	lossless();
}

static void case_unmap_bits(void)
{
	unmap_with_bits(0, MAPPED);
	map(0, MAPPED);
	lossless();
}

static void case_detach(void)
{
	get();
	device_writes();
	close(device);
	unset();
}

static void case_group_close(void)
{
	close(device);
	close(group);
}

static void case_device_close(void)
{
	close(group);
	close(device);
}

static void case_container_close(void)
{
	close(container);
}

static void case_stop(void)
{
	track(VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP);
	close(device);
	unset();
}

static void case_half_read(void)
{
	if (get_into((void *)8) == 0)
		exit(98);
	lossless();
}

static void case_exit(void)
{
}

static void case_exec(void)
{
	char *argv[] = { "true", NULL };

	execv("/bin/true", argv);
}

static void case_dup(void)
{
	int more = dup(group), again = fcntl(device, F_DUPFD_CLOEXEC, 100);

	close(group);
	close(device);
	close(again);
	get();
	group = more;
	unset();
}

/* A child that closes what it inherited destroys nothing. */
static void case_fork(void)
{
	pid_t pid = fork();

	if (!pid) {
		close(device);
		close(container);
		close(group);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	lossless();
}

static void *unmap_in_thread(void *arg)
{
	unmap(0, MAPPED);
	return arg;
}

static void case_thread(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, unmap_in_thread, NULL);
	pthread_join(thread, NULL);
	map(0, MAPPED);
	lossless();
}

/* Refused, so that nothing is lost; unless somebody has read it before. Of fake.c only, which refuses then. */
static void case_busy(void)
{
	if (!ioctl(group, VFIO_GROUP_UNSET_CONTAINER, 16))
		exit(99);
	lossless();
}

static void *get_slowly(void *opaque)
{
	struct {
		uint32_t argsz, flags;
		struct vfio_iommu_type1_dirty_bitmap_get get;
	} d = { 4096,
		VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
		{ 0, MAPPED * PAGE, { PAGE, 8, (void *)&bits } } };

	must(ioctl(container, VFIO_IOMMU_DIRTY_PAGES, &d), "GET_BITMAP");
	return opaque;
}

/* A thread is in the kernel with the container's last descriptor when another closes it. Of fake.c only: there that can be waited for. */
static void case_close_in_call(void)
{
	pthread_t thread;

	get();
	close(device);
	get();
	unset();
	close(group);
	__atomic_store_n(&bits, 0, __ATOMIC_SEQ_CST);
	pthread_create(&thread, NULL, get_slowly, NULL);
	while (__atomic_load_n(&bits, __ATOMIC_SEQ_CST) != 1)
		usleep(1000);
	close(container);
	__atomic_store_n(&bits, 2, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
}

/* ---- a device's own log, and iommufd ---------------------------------------------------------------------------------- */

static int feature(uint32_t flags, void *data, size_t size)
{
	uint64_t buffer[8] = { 0 };
	uint32_t head[2] = { (uint32_t)(8 + size), flags };

	memcpy(buffer, head, sizeof head);
	if (size)
		memcpy(buffer + 1, data, size);
	return ioctl(device, VFIO_DEVICE_FEATURE, buffer);
}

static void log_start(void)
{
	static struct vfio_device_feature_dma_logging_range range = { 0, MAPPED * PAGE };
	struct vfio_device_feature_dma_logging_control c = { .page_size = PAGE,
							     .num_ranges = 1,
							     .ranges = (uintptr_t)&range };

	must(feature(VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START, &c, sizeof c),
	     "LOGGING_START");
}

static void log_report(uint64_t bitmap)
{
	struct vfio_device_feature_dma_logging_report r = { 0, MAPPED * PAGE, PAGE, bitmap };

	must(feature(VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, &r, sizeof r),
	     "LOGGING_REPORT");
}

static void log_stop(void)
{
	must(feature(VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, NULL, 0),
	     "LOGGING_STOP");
}

static void set_state(uint32_t state)
{
	struct vfio_device_feature_mig_state s = { .device_state = state };

	must(feature(VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &s, sizeof s),
	     "MIG_DEVICE_STATE");
}

static void case_log_stop(void)
{
	log_start();
	log_report((uintptr_t)&bits);
	log_stop();
	lossless();
}

static void case_log_again(void)
{
	log_start();
	log_start();
	set_state(VFIO_DEVICE_STATE_STOP_COPY);
	log_report((uintptr_t)&bits);
	log_stop();
	lossless();
}

static void case_log_close(void)
{
	log_start();
	lossless();
}

static void case_log_bad(void)
{
	log_start();
	set_state(VFIO_DEVICE_STATE_STOP_COPY);
	log_report(8);
	log_report((uintptr_t)&bits);
	log_stop();
	lossless();
}

/* Paused, read, stopped: nothing is lost although the device is open. */
static void case_paused(void)
{
	set_state(VFIO_DEVICE_STATE_STOP_COPY);
	get();
	track(VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP);
	close(device);
	unset();
}

static void case_woken(void)
{
	set_state(VFIO_DEVICE_STATE_STOP_COPY);
	get();
	set_state(VFIO_DEVICE_STATE_RUNNING);
	set_state(VFIO_DEVICE_STATE_STOP);
	track(VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP);
	close(device);
	unset();
}

static int iommu;
static uint32_t space, table;

static int ask(unsigned number, void *arg, const char *what)
{
	int result = ioctl(iommu, _IO(';', number), arg);

	must(result, what);
	return result;
}

static void set_dirty(uint32_t on)
{
	uint32_t s[4] = { sizeof s, on, table, 0 };

	ask(0x8b, s, "SET_DIRTY_TRACKING");
}

static void get_dirty(uint64_t to)
{
	struct {
		uint32_t size, table, flags, reserved;
		uint64_t iova, length, page, data;
	} g = { sizeof g, table, 0, 0, 0, MAPPED * PAGE, PAGE, to };

	ask(0x8c, &g, "GET_DIRTY_BITMAP");
}

static void ioas_unmap(void)
{
	struct {
		uint32_t size, space;
		uint64_t iova, length;
	} u = { sizeof u, space, 0, MAPPED * PAGE };

	ask(0x86, &u, "IOAS_UNMAP");
}

static void destroy(uint32_t id)
{
	uint32_t d[2] = { sizeof d, id };

	ask(0x80, d, "DESTROY");
}

static void iommufd_begin(void)
{
	uint32_t a[3] = { sizeof a }, t[6] = { sizeof t, 2 };
	struct {
		uint32_t size, flags, space, reserved;
		uint64_t from, length, iova;
	} m = { sizeof m, 7, 0, 0, 0, MAPPED * PAGE, 0 };

	lossless();
	iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	must(iommu, "/dev/iommu");
	ask(0x81, a, "IOAS_ALLOC");
	m.space = t[3] = space = a[2];
	m.from = (uintptr_t)memory;
	ask(0x85, &m, "IOAS_MAP");
	ask(0x89, t, "HWPT_ALLOC");
	table = t[4];
	set_dirty(1);
}

static void case_ioas_unmap(void)
{
	iommufd_begin();
	ioas_unmap();
	destroy(table);
}

static void case_enable_again(void)
{
	iommufd_begin();
	set_dirty(1);
	ioas_unmap();
	destroy(table);
}

static void case_disable(void)
{
	iommufd_begin();
	set_dirty(0);
	ioas_unmap();
	destroy(table);
}

static void case_destroy(void)
{
	iommufd_begin();
	destroy(table);
}

static void case_iommufd_close(void)
{
	iommufd_begin();
	close(iommu);
}

static void case_iommufd_bad(void)
{
	iommufd_begin();
	get_dirty(8);
	set_dirty(0);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* 4096 mappings of a page, made and unmapped again, one by one. Best of five. */
static void bench(void)
{
	double best = 1e9;

	for (int round = 0; round < 5; round++) {
		double start = seconds();
		for (uint64_t i = 0; i < 4096; i++)
			map((1000 + 2 * i) * PAGE, 1);
		for (uint64_t i = 0; i < 4096; i++)
			unmap((1000 + 2 * i) * PAGE, 1);
		double took = seconds() - start;
		best = took < best ? took : best;
	}
	printf("map and unmap: %.0f ns a pair\n", best / 4096 * 1e9);
}

static void case_bench(void)
{
	get();
	close(device);
	get();
	bench();
	unset();
}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{ "lossless", lossless },
	{ "unmap", case_unmap },
	{ "unmap-bits", case_unmap_bits },
	{ "detach", case_detach },
	{ "group-close", case_group_close },
	{ "device-close", case_device_close },
	{ "container-close", case_container_close },
	{ "stop", case_stop },
	{ "half-read", case_half_read },
	{ "exit", case_exit },
	{ "exec", case_exec },
	{ "dup", case_dup },
	{ "fork", case_fork },
	{ "thread", case_thread },
	{ "busy", case_busy },
	{ "close-in-call", case_close_in_call },
	{ "log-stop", case_log_stop },
	{ "log-again", case_log_again },
	{ "log-close", case_log_close },
	{ "log-bad", case_log_bad },
	{ "paused", case_paused },
	{ "woken", case_woken },
	{ "ioas-unmap", case_ioas_unmap },
	{ "enable-again", case_enable_again },
	{ "disable", case_disable },
	{ "destroy", case_destroy },
	{ "iommufd-close", case_iommufd_close },
	{ "iommufd-bad", case_iommufd_bad },
	{ "bench", case_bench },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc == 4 && i < sizeof cases / sizeof cases[0]; i++) {
		if (strcmp(cases[i].name, argv[1]))
			continue;
		begin(argv[2], argv[3]);
		cases[i].run();
		puts("done");
		return 0;
	}
	fputs("usage: vfd-guard-cases CASE GROUP DEVICE\n", stderr);
	return 2;
}
