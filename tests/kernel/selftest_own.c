// SPDX-License-Identifier: MIT
/*
 * selftest_own - does a kernel of our own have what it was built for?
 *
 * Not whether iommufd is right: whether a test of it would stand on firm ground.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "selftest.h"

/* Debian's headers are older than iommufd. */
#define IOMMUFD(n)		_IO(';', 0x80 + (n))
#define IOAS_ALLOC		IOMMUFD(1)
#define IOAS_MAP		IOMMUFD(5)
#define MOCK_COMMAND		IOMMUFD(32)	/* what IOMMUFD_TEST adds */
#define MAP_FIXED_RW		(1 | 2 | 4)
#define BIND_IOMMUFD		_IO(VFIO_TYPE, VFIO_BASE + 18)
#define ATTACH_IOMMUFD_PT	_IO(VFIO_TYPE, VFIO_BASE + 19)

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

	close(fd);
	return n < 0 ? -1 : 0;
}

/* The device's own node, /dev/vfio/devices/vfioN. */
static int open_cdev(uint32_t index)
{
	char path[300];
	struct dirent *e;
	DIR *dir;
	int fd = -1;

	snprintf(path, sizeof(path), "/sys/bus/platform/devices/vfdtest.%u/vfio-dev", index);
	dir = opendir(path);
	while (dir && fd < 0 && (e = readdir(dir))) {
		if (strncmp(e->d_name, "vfio", 4))
			continue;
		snprintf(path, sizeof(path), "/dev/vfio/devices/%s", e->d_name);
		fd = open(path, O_RDWR | O_CLOEXEC);
	}
	if (dir)
		closedir(dir);
	return fd;
}

static int attach_iommufd(int device, int iommu, uint32_t ioas)
{
	uint32_t bind[4] = { sizeof(bind), 0, iommu, 0 };
	uint32_t pt[3] = { sizeof(pt), 0, ioas };

	return ioctl(device, BIND_IOMMUFD, bind) || ioctl(device, ATTACH_IOMMUFD_PT, pt) ? -1 : 0;
}

/* A device that iommufd does not track, but that has a log. */
static void test_cdev(int iommu)
{
	struct vfio_device_feature_dma_logging_range range = { IOVA, PAGES * PAGE };
	struct vfio_device_feature_dma_logging_control start = {
		.page_size = PAGE, .num_ranges = 1, .ranges = (uintptr_t)&range,
	};
	uint64_t bits = 0;
	struct vfio_device_feature_dma_logging_report report = {
		.iova = IOVA, .length = PAGES * PAGE, .page_size = PAGE, .bitmap = (uintptr_t)&bits,
	};
	uint64_t *memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t ioas[3] = { sizeof(ioas), 0, 0 };
	struct {
		uint32_t size, flags, ioas, reserved;
		uint64_t va, length, iova;
	} map = { sizeof(map), MAP_FIXED_RW, 0, 0, (uintptr_t)memory, PAGES * PAGE, IOVA };
	int device;

	need(!set(0, VFDTEST_LOG, 1), "SET LOG");
	clear_truth();
	device = open_cdev(0);
	check(device >= 0, "a device has its own node");
	need(!ioctl(iommu, IOAS_ALLOC, ioas), "IOAS_ALLOC");
	map.ioas = ioas[2];
	check(!attach_iommufd(device, iommu, ioas[2]) && !ioctl(iommu, IOAS_MAP, &map),
	      "it is attached to iommufd, with memory");
	check(!feature(device, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START, &start,
		       sizeof(start)) && !dev_write(0, IOVA + 6 * PAGE, 8) && memory[6 * PAGE / 8],
	      "it logs, and writes");
	check(!feature(device, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, &report,
		       sizeof(report)) && bits == 1 << 6 && truth_word(0, IOVA) == 1 << 6,
	      "its log is the truth there, too");
	close(device);
	set(0, VFDTEST_LOG, 0);
	munmap(memory, PAGES * PAGE);
}

/* Let the nth allocation or copy of the next calls of this thread fail. 0: none. How many were not reached. */
static int fail_nth(int n)
{
	char text[16] = "";
	int fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC), left = 0;

	if (fd < 0)
		return -1;
	if (!n && read(fd, text, sizeof(text) - 1) > 0)
		sscanf(text, "%d", &left);
	snprintf(text, sizeof(text), "%d", n);
	need(pwrite(fd, text, strlen(text), 0) > 0, "fail-nth");
	close(fd);
	return left;
}

static void test_fail_nth(void)
{
	struct session s = begin();
	struct vfio_iommu_type1_dma_map m = {
		.argsz = sizeof(m), .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)s.memory, .iova = 0, .size = PAGE,
	};
	int n, ret, failures = 0, copies = 0;

	put("/sys/kernel/debug/failslab/ignore-gfp-wait", "N");
	put("/sys/kernel/debug/failslab/verbose", "0");
	put("/sys/kernel/debug/fail_usercopy/verbose", "0");
	put("/sys/kernel/debug/fail_page_alloc/verbose", "0");
	for (n = 1, ret = -1; ret && n < 100; n++) {
		fail_nth(n);
		ret = ioctl(s.container, VFIO_IOMMU_MAP_DMA, &m);
		copies += ret && errno == EFAULT;
		failures += ret && errno == ENOMEM;
		fail_nth(0);
	}
	check(!ret && copies == 1 && failures, "MAP_DMA fails at its copy and at %d allocations, then succeeds",
	      failures);
	end(&s);
}

static void test_soft_dirty(void)
{
	volatile char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t before = 0, after = 0;
	off_t at = (uintptr_t)page / PAGE * 8;

	page[0] = 1;
	put("/proc/self/clear_refs", "4");
	need(pread(fd, &before, 8, at) == 8, "pagemap");
	page[0] = 2;
	need(pread(fd, &after, 8, at) == 8, "pagemap");
	check(!(before >> 55 & 1) && after >> 55 & 1, "the processor's stores show as soft-dirty");
	close(fd);
}

void test_own(void)
{
	int iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC);

	if (iommu < 0) {
		skip("iommufd, device nodes, fault injection", "not in this kernel; --kernel own has them");
		return;
	}
	errno = 0;
	check(ioctl(iommu, MOCK_COMMAND, (uint32_t[2]){ 8 }) == -1 && errno != ENOTTY, "iommufd has its mock domains");
	test_cdev(iommu);
	close(iommu);
	test_fail_nth();
	test_soft_dirty();
}
