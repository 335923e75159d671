// SPDX-License-Identifier: MIT
/*
 * race - plain ioctls that race the last detach: the kernel uses freed memory
 *
 * One ioctl holds the container's lock, because the page that its bitmap lies in
 * is held back by a userfaultfd. The last group's detach waits for that lock;
 * behind it wait more ioctls. Let go, they come to the lock one after another:
 * the detach frees what the others then take hold of.
 *
 * For the debug kernel, which notices. Any other may crash.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vfdtest.h"

#define PAGE	VFDTEST_PAGE_SIZE
#define LATE	4	/* ioctls behind the detach */

static int container, group, faults;
static void *memory, *held;

static void need(int good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(2);
}

static void *new_page(void)
{
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	need(page != MAP_FAILED, "mmap");
	return page;
}

/* Whoever touches this page waits. */
static void hold_page(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register r = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	held = new_page();
	r.range = (struct uffdio_range){ (uintptr_t)held, PAGE };
	faults = syscall(SYS_userfaultfd, O_CLOEXEC);
	need(faults >= 0 && !ioctl(faults, UFFDIO_API, &api) && !ioctl(faults, UFFDIO_REGISTER, &r),
	     "userfaultfd");
}

static void let_go(void)
{
	struct uffdio_zeropage z = { .range = { (uintptr_t)held, PAGE } };

	need(!ioctl(faults, UFFDIO_ZEROPAGE, &z), "UFFDIO_ZEROPAGE");
}

static void begin(void)
{
	int bench = open(VFDTEST_PATH, O_RDWR | O_CLOEXEC);
	struct vfdtest_status status = { 0 };
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map), .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE, .size = PAGE,
	};
	struct vfio_iommu_type1_dirty_bitmap start = {
		.argsz = sizeof(start), .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_START,
	};
	char path[64];

	need(bench >= 0 && !ioctl(bench, VFDTEST_STATUS, &status), "vfdtest");
	snprintf(path, sizeof(path), "/dev/vfio/%d", status.group);
	container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	group = open(path, O_RDWR | O_CLOEXEC);
	map.vaddr = (uintptr_t)memory;
	need(!ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) &&
	     !ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) &&
	     !ioctl(container, VFIO_IOMMU_MAP_DMA, &map) &&
	     !ioctl(container, VFIO_IOMMU_DIRTY_PAGES, &start), "container");
}

static void *get_into_held(void *arg)
{
	struct {
		struct vfio_iommu_type1_dirty_bitmap d;
		struct vfio_iommu_type1_dirty_bitmap_get g;
	} a = {
		.d = { .argsz = sizeof(a), .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP },
		.g = { .size = PAGE, .bitmap = { .pgsize = PAGE, .size = 8, .data = held } },
	};

	ioctl(container, VFIO_IOMMU_DIRTY_PAGES, &a);
	return arg;
}

static void *detach(void *arg)
{
	ioctl(group, VFIO_GROUP_UNSET_CONTAINER);
	return arg;
}

static void *ask(void *arg)
{
	struct vfio_iommu_type1_info info = { .argsz = sizeof(info) };

	ioctl(container, VFIO_IOMMU_GET_INFO, &info);
	return arg;
}

int main(void)
{
	static void *(*const what[2])(void *) = { get_into_held, detach };
	pthread_t threads[2 + LATE];
	int i;

	memory = new_page();
	hold_page();
	begin();
	for (i = 0; i < 2 + LATE; i++) {
		need(!pthread_create(&threads[i], NULL, i < 2 ? what[i] : ask, NULL), "pthread_create");
		usleep(200000);	/* until it waits */
	}
	let_go();
	for (i = 0; i < 2 + LATE; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
