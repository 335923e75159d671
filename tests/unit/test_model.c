/* SPDX-License-Identifier: MIT */
/* The model kernel against what Linux 6.12 was seen to do: the tests that use the model are worth what this is. */
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <check.h>

#include "kernel/vfdtest.h"
#include "model/model.h"
#include "uapi.h"

#define PAGE	 4096ull
#define READ	 VFIO_DMA_MAP_FLAG_READ
#define WRITE	 VFIO_DMA_MAP_FLAG_WRITE
#define START	 VFIO_IOMMU_DIRTY_PAGES_FLAG_START
#define STOP	 VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP
#define GET	 VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP
#define MEM_SIZE (1024 * PAGE)

/* ---- a machine in the usual state ---- */

static struct model *m;
static int container, group, device;
static char *memory;

static int sys_ioctl(int fd, unsigned long request, void *argument)
{
	return m->sys.ioctl(&m->sys, fd, request, argument);
}

static int open_path(const char *path)
{
	return m->sys.open(&m->sys, path, 2);
}

static int close_fd(int fd)
{
	return m->sys.close(&m->sys, fd);
}

static void *number(unsigned long value)
{
	return (void *)value;
}

static void build(const struct model_config *config)
{
	m = model_new(config);
	memory = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(memory, MAP_FAILED);
	container = open_path("/dev/vfio/vfio");
	ck_assert_int_ge(container, MODEL_FIRST_FD);
}

static int attach(const char *path)
{
	int fd = open_path(path);

	ck_assert_int_ge(fd, MODEL_FIRST_FD);
	ck_assert_int_eq(sys_ioctl(fd, VFIO_GROUP_SET_CONTAINER, &container), 0);
	return fd;
}

static void set_iommu(unsigned long type)
{
	ck_assert_int_eq(sys_ioctl(container, VFIO_SET_IOMMU, number(type)), 0);
}

static int get_device(int fd, const char *name)
{
	return sys_ioctl(fd, VFIO_GROUP_GET_DEVICE_FD, (void *)(uintptr_t)name);
}

static int dirty(uint32_t flags)
{
	struct uapi_dirty_get get = { .argsz = 8, .flags = flags };

	return sys_ioctl(container, VFIO_IOMMU_DIRTY_PAGES, &get);
}

/* An emulated group in a type1 v2 container, its device open. */
static void up(void)
{
	build(NULL);
	group = attach("/dev/vfio/7");
	set_iommu(VFIO_TYPE1v2_IOMMU);
	device = get_device(group, "vfdtest.0");
	ck_assert_int_ge(device, MODEL_FIRST_FD);
}

static void down(void)
{
	ck_assert_ptr_null(model_crashed(m));
	model_free(m);
	munmap(memory, MEM_SIZE);
}

static int map_at(uint64_t iova, uint64_t first_page, uint64_t pages, uint32_t flags)
{
	struct vfio_iommu_type1_dma_map map = { .argsz = sizeof(map),
						.flags = flags,
						.iova = iova,
						.vaddr = (uintptr_t)memory + first_page * PAGE,
						.size = pages * PAGE };

	return sys_ioctl(container, VFIO_IOMMU_MAP_DMA, &map);
}

static void map(uint64_t iova, uint64_t first_page, uint64_t pages)
{
	ck_assert_int_eq(map_at(iova, first_page, pages, READ | WRITE), 0);
}

static int unmap(uint64_t iova, uint64_t size, uint32_t flags, uint64_t *words, uint64_t *unmapped)
{
	struct uapi_unmap ask = { .argsz = sizeof(ask), .flags = flags, .iova = iova, .size = size };
	int result;

	ask.bitmap.pgsize = PAGE;
	ask.bitmap.size = (size / PAGE + 63) / 64 * 8;
	ask.bitmap.data = (uintptr_t)words;
	result = sys_ioctl(container, VFIO_IOMMU_UNMAP_DMA, &ask);
	if (unmapped)
		*unmapped = ask.size;
	return result;
}

static int get(uint64_t iova, uint64_t size, uint64_t *words)
{
	struct uapi_dirty_get ask = { .argsz = sizeof(ask), .flags = GET, .iova = iova, .size = size };

	ask.bitmap.pgsize = PAGE;
	ask.bitmap.size = (size / PAGE + 63) / 64 * 8;
	ask.bitmap.data = (uintptr_t)words;
	return sys_ioctl(container, VFIO_IOMMU_DIRTY_PAGES, &ask);
}

static int command(unsigned long request, uint32_t flags, uint64_t iova, uint64_t size)
{
	struct vfdtest_range range = { .flags = flags, .iova = iova, .size = size, .value = 0x1234 };

	return model_vfdtest(m, request, &range);
}

static void device_writes(uint64_t page)
{
	ck_assert_int_eq(command(VFDTEST_WRITE, 0, page * PAGE, 8), 0);
}

/* The lowest set bits, as text: "4,32,42". */
static const char *bits(const uint64_t *words, unsigned count)
{
	static char text[512];
	size_t used = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < count && used < sizeof(text) - 8; i++)
		if (words[i / 64] >> (i % 64) & 1)
			used += (size_t)snprintf(text + used, sizeof(text) - used, used ? ",%u" : "%u", i);
	return text;
}

/* ---- lifetime ---- */

START_TEST(extensions_and_paths)
{
	char text[64];

	build(NULL);
	ck_assert_int_eq(sys_ioctl(container, VFIO_GET_API_VERSION, NULL), 0);
	ck_assert_int_eq(sys_ioctl(container, VFIO_CHECK_EXTENSION, number(VFIO_TYPE1v2_IOMMU)), 1);
	ck_assert_int_eq(sys_ioctl(container, VFIO_CHECK_EXTENSION, number(VFIO_UPDATE_VADDR)), 0);
	ck_assert_int_eq(sys_ioctl(container, VFIO_CHECK_EXTENSION, number(99)), 0);
	ck_assert_int_eq(sys_ioctl(container, VFIO_SET_IOMMU, number(VFIO_TYPE1v2_IOMMU)), -EINVAL);
	ck_assert_int_eq(dirty(START), -EINVAL);
	ck_assert_int_eq(open_path("/dev/vfio/8"), -ENOENT);
	ck_assert_int_eq(open_path("/dev/vfio/noiommu-7"), -ENOENT);
	ck_assert_int_eq(m->sys.read_file(&m->sys, "/sys/kernel/iommu_groups/7/name", text, sizeof(text)),
			 12);
	ck_assert_str_eq(text, "vfio-noiommu");
	ck_assert_int_gt(m->sys.read_link(&m->sys, "/sys/bus/platform/devices/vfdtest.0/iommu_group", text,
					  sizeof(text)),
			 0);
	ck_assert_str_eq(text, "../../../../kernel/iommu_groups/7");
	ck_assert_int_eq(m->sys.exists(&m->sys, "/dev/vfio/7"), 0);
	ck_assert_int_eq(m->sys.exists(&m->sys, "/dev/vfio/70"), -ENOENT);
	down();
}
END_TEST

START_TEST(group_lifetime)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };

	build(NULL);
	group = open_path("/dev/vfio/7");
	ck_assert_int_eq(open_path("/dev/vfio/7"), -EBUSY);
	ck_assert_int_eq(sys_ioctl(group, VFIO_GROUP_GET_STATUS, &status), 0);
	ck_assert_uint_eq(status.flags, VFIO_GROUP_FLAGS_VIABLE);
	ck_assert_int_eq(get_device(group, "vfdtest.0"), -EINVAL);
	ck_assert_int_eq(sys_ioctl(group, VFIO_GROUP_UNSET_CONTAINER, NULL), -EINVAL);
	ck_assert_int_eq(sys_ioctl(group, VFIO_GROUP_SET_CONTAINER, &(int){ 5 }), -EBADF);
	ck_assert_int_eq(sys_ioctl(group, VFIO_GROUP_SET_CONTAINER, &group), -EBADFD);
	ck_assert_int_eq(sys_ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), 0);
	ck_assert_int_eq(sys_ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), -EINVAL);
	ck_assert_int_eq(get_device(group, "vfdtest.0"), -EINVAL);
	set_iommu(VFIO_TYPE1v2_IOMMU);
	ck_assert_int_eq(sys_ioctl(container, VFIO_SET_IOMMU, number(VFIO_TYPE1v2_IOMMU)), -EINVAL);
	ck_assert_int_eq(get_device(group, "nobody"), -ENODEV);
	ck_assert_int_eq(sys_ioctl(group, VFIO_GROUP_GET_STATUS, &status), 0);
	ck_assert_uint_eq(status.flags, VFIO_GROUP_FLAGS_VIABLE | VFIO_GROUP_FLAGS_CONTAINER_SET);
	ck_assert_int_eq(close_fd(group), 0);
	ck_assert_int_eq(close_fd(group), -EBADF);
	ck_assert_int_ge(open_path("/dev/vfio/7"), 0);
	down();
}
END_TEST

/* close the device -> GET still gives the bits -> UNSET: 0 -> GET: EINVAL; attached again: nothing. */
START_TEST(the_rule)
{
	uint64_t words[1] = { 0 };

	up();
	map(0, 0, 16);
	ck_assert_int_eq(dirty(START), 0);
	device_writes(3);
	ck_assert_int_eq(close_fd(device), 0);
	ck_assert_int_eq(get(0, 16 * PAGE, words), 0);
	ck_assert_str_eq(bits(words, 64), "3");
	device = get_device(group, "vfdtest.0");
	device_writes(4);
	ck_assert_int_eq(sys_ioctl(group, VFIO_GROUP_UNSET_CONTAINER, NULL), -EBUSY);
	ck_assert_int_eq(close_fd(device), 0);
	ck_assert_uint_eq(model_page_count(m, MODEL_HELD), 1);
	ck_assert_int_eq(sys_ioctl(group, VFIO_GROUP_UNSET_CONTAINER, NULL), 0);
	ck_assert_int_eq(get(0, 16 * PAGE, words), -EINVAL);
	ck_assert_uint_eq(model_pages(m, MODEL_DROPPED, memory + 4 * PAGE, PAGE, NULL), 1);
	ck_assert_uint_eq(model_page_count(m, MODEL_DROPPED), 1);
	ck_assert_int_eq(sys_ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), 0);
	set_iommu(VFIO_TYPE1v2_IOMMU);
	map(0, 0, 16);
	ck_assert_int_eq(dirty(START), 0);
	ck_assert_int_eq(get(0, 16 * PAGE, words), 0);
	ck_assert_str_eq(bits(words, 64), "");
	ck_assert_uint_eq(model_page_count(m, MODEL_TRUTH), 2);
	ck_assert_uint_eq(*(uint64_t *)(void *)(memory + 4 * PAGE), 0x1234 ^ 4 * PAGE);
	down();
}
END_TEST

/* A duplicate and a mapped area hold the device; the group's fd closed first leaves all alive until the device closes. */
START_TEST(what_holds_a_device)
{
	uint64_t words[1] = { 0 };
	unsigned fds, areas;
	void *area;
	int copy;

	up();
	map(0, 0, 16);
	ck_assert_int_eq(dirty(START), 0);
	copy = m->sys.dup(&m->sys, device);
	ck_assert_int_eq(m->sys.map_file(&m->sys, device, 0, 2 * PAGE, PROT_READ | PROT_WRITE, &area), 0);
	ck_assert_int_eq(close_fd(device), 0);
	ck_assert_int_eq(sys_ioctl(group, VFIO_GROUP_UNSET_CONTAINER, NULL), -EBUSY);
	ck_assert_int_eq(close_fd(copy), 0);
	ck_assert_int_eq(sys_ioctl(group, VFIO_GROUP_UNSET_CONTAINER, NULL), -EBUSY);
	m->sys.count_holders(&m->sys, &fds, &areas);
	ck_assert_uint_eq(fds, 0);
	ck_assert_uint_eq(areas, 1);
	device_writes(5);
	ck_assert_int_eq(close_fd(group), 0);
	ck_assert_int_eq(get(0, 16 * PAGE, words), 0);
	ck_assert_str_eq(bits(words, 64), "5");
	ck_assert_int_eq(open_path("/dev/vfio/7"), -EBUSY);
	ck_assert_int_eq(m->sys.unmap(&m->sys, area, 2 * PAGE), 0);
	ck_assert_int_eq(get(0, 16 * PAGE, words), -EINVAL);
	ck_assert_uint_eq(model_counts(m).descriptors, 1);
	ck_assert_uint_eq(model_counts(m).areas, 0);
	down();
}
END_TEST

START_TEST(container_closed_first)
{
	up();
	map(0, 0, 16);
	ck_assert_int_eq(dirty(START), 0);
	device_writes(5);
	ck_assert_int_eq(close_fd(container), 0);
	ck_assert_uint_eq(model_counts(m).containers, 1);
	ck_assert_uint_eq(model_page_count(m, MODEL_HELD), 0);
	ck_assert_int_eq(close_fd(device), 0);
	ck_assert_int_eq(close_fd(group), 0);
	ck_assert_uint_eq(model_counts(m).containers, 0);
	ck_assert_uint_eq(model_page_count(m, MODEL_DROPPED), 1);
	down();
}
END_TEST

START_TEST(unplugged)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	uint64_t words[1];
	char name[] = "vfdtest.0";

	up();
	map(0, 0, 16);
	ck_assert_int_eq(dirty(START), 0);
	device_writes(5);
	model_unplug(m, 7);
	ck_assert_int_eq(get(0, 16 * PAGE, words), 0);
	device_writes(6);
	ck_assert_int_eq(get_device(group, name), -ENODEV);
	ck_assert_int_eq(model_plug(m, 7), -EBUSY);
	ck_assert_int_eq(close_fd(device), 0);
	ck_assert_int_eq(get(0, 16 * PAGE, words), -EINVAL);
	ck_assert_uint_eq(model_page_count(m, MODEL_SPOILED), 16);
	ck_assert_int_eq(sys_ioctl(group, VFIO_GROUP_GET_STATUS, &status), -ENODEV);
	ck_assert_int_eq(sys_ioctl(group, VFIO_GROUP_UNSET_CONTAINER, NULL), -EINVAL);
	ck_assert_int_eq(sys_ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), -ENODEV);
	ck_assert_int_eq(open_path("/dev/vfio/7"), -ENOENT);
	ck_assert_int_eq(model_plug(m, 7), 0);
	ck_assert_int_ge(open_path("/dev/vfio/7"), 0);
	ck_assert_int_eq(close_fd(group), 0);
	ck_assert_int_eq(open_path("/dev/vfio/7"), -EBUSY);
	down();
}
END_TEST

/* ---- mapping ---- */

START_TEST(map_errors)
{
	struct vfio_iommu_type1_dma_map bad = { .argsz = 16 };

	up();
	map(0, 0, 4);
	ck_assert_int_eq(map_at(0, 0, 1, READ), -EEXIST);
	ck_assert_int_eq(map_at(3 * PAGE, 0, 2, READ), -EEXIST);
	ck_assert_int_eq(map_at(64 * PAGE, 0, 1, 0), -EINVAL);
	ck_assert_int_eq(map_at(64 * PAGE, 0, 0, READ), -EINVAL);
	ck_assert_int_eq(map_at(64 * PAGE + 1, 0, 1, READ), -EINVAL);
	ck_assert_int_eq(map_at(-PAGE, 0, 2, READ), -EINVAL);
	ck_assert_int_eq(sys_ioctl(container, VFIO_IOMMU_MAP_DMA, &bad), -EINVAL);
	ck_assert_int_eq(sys_ioctl(container, VFIO_IOMMU_MAP_DMA, NULL), -EFAULT);
	ck_assert_int_eq(map_at(64 * PAGE, 0x100000000, 1, READ), 0); /* nobody looks at vaddr yet */
	/* a mapping that ends at 2^64 cannot be seen */
	ck_assert_int_eq(map_at(-PAGE, 0, 1, READ), 0);
	ck_assert_int_eq(map_at(-PAGE, 0, 1, READ), 0);
	down();
}
END_TEST

START_TEST(entry_limit)
{
	struct model_config config = { .group_count = 1, .dma_entry_limit = 2 };

	config.groups[0] = (struct model_group_config){ .number = 7, .devices = { { .name = "vfdtest.0" } } };
	build(&config);
	group = attach("/dev/vfio/7");
	set_iommu(VFIO_TYPE1v2_IOMMU);
	map(0, 0, 1);
	map(PAGE, 0, 1);
	ck_assert_int_eq(map_at(2 * PAGE, 0, 1, READ), -ENOSPC);
	ck_assert_int_eq(unmap(0, PAGE, 0, NULL, NULL), 0);
	map(2 * PAGE, 0, 1);
	down();
}
END_TEST

START_TEST(unmap_plain)
{
	uint64_t size;

	up();
	map(0, 0, 4);
	map(4 * PAGE, 4, 4);
	ck_assert_int_eq(dirty(START), 0);
	device_writes(1);
	ck_assert_int_eq(unmap(0, 6 * PAGE, 0, NULL, &size), -EINVAL);
	ck_assert_int_eq(unmap(PAGE, 3 * PAGE, 0, NULL, &size), -EINVAL);
	ck_assert_int_eq(unmap(16 * PAGE, 4 * PAGE, 0, NULL, &size), 0);
	ck_assert_uint_eq(size, 0);
	ck_assert_int_eq(unmap(0, 16 * PAGE, 0, NULL, &size), 0);
	ck_assert_uint_eq(size, 8 * PAGE);
	ck_assert_uint_eq(model_page_count(m, MODEL_DROPPED), 1);
	map(0, 0, 4);
	map(4 * PAGE, 4, 4);
	ck_assert_int_eq(unmap(0, 16 * PAGE, VFIO_DMA_UNMAP_FLAG_ALL, NULL, &size), -EINVAL);
	ck_assert_int_eq(unmap(0, 0, VFIO_DMA_UNMAP_FLAG_ALL, NULL, &size), 0);
	ck_assert_uint_eq(size, 8 * PAGE);
	ck_assert_int_eq(unmap(0, 0, VFIO_DMA_UNMAP_FLAG_VADDR | VFIO_DMA_UNMAP_FLAG_ALL, NULL, &size),
			 -EBUSY);
	ck_assert_uint_eq(model_mapping_count(m, container), 0);
	down();
}
END_TEST

START_TEST(unmap_with_bitmap)
{
	uint64_t words[1] = { 0 }, size;

	up();
	map(0, 0, 8);
	ck_assert_int_eq(unmap(0, 8 * PAGE, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, words, &size), -EINVAL);
	ck_assert_int_eq(dirty(START), 0);
	device_writes(2);
	ck_assert_int_eq(command(VFDTEST_PIN, VFDTEST_PIN_WRITE, 5 * PAGE, 2 * PAGE), 0);
	ck_assert_int_eq(unmap(0, 8 * PAGE, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, words, &size), 0);
	ck_assert_uint_eq(size, 8 * PAGE);
	ck_assert_str_eq(bits(words, 64), "2,5,6");
	ck_assert_int_eq(command(VFDTEST_UNPIN, 0, 5 * PAGE, PAGE), -EINVAL);
	ck_assert_uint_eq(model_page_count(m, MODEL_DROPPED), 0);
	ck_assert_uint_eq(model_page_count(m, MODEL_RETURNED), 3);
	down();
}
END_TEST

/* The buffer faults at the second mapping: EFAULT, the first is unmapped, size unchanged. */
START_TEST(unmap_fault_half_way)
{
	uint64_t *words = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
		 size;
	uint64_t pages = PAGE * 8;

	up();
	mprotect(words + PAGE / 8, PAGE, PROT_NONE);
	ck_assert_int_eq(map_at(0, 0, pages, READ | WRITE), 0);
	ck_assert_int_eq(map_at(pages * PAGE, 0, pages, READ | WRITE), 0);
	ck_assert_int_eq(dirty(START), 0);
	device_writes(2);
	ck_assert_int_eq(unmap(0, 2 * pages * PAGE, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, words, &size),
			 -EFAULT);
	ck_assert_uint_eq(size, 2 * pages * PAGE);
	ck_assert_uint_eq(model_mapping_count(m, container), 1);
	ck_assert_str_eq(bits(words, 64), "2");
	ck_assert_int_gt((int)model_page_count(m, MODEL_SPOILED), 0);
	down();
	munmap(words, 2 * PAGE);
}
END_TEST

/* Injected: 0, 1, 2 or all 3 of three mappings can be gone behind the same EFAULT. */
START_TEST(unmap_fault_steps)
{
	static const unsigned left[] = { 3, 3, 2, 1, 0, 0 };
	uint64_t words[1] = { 0 };

	up();
	for (int i = 0; i < 3; i++)
		map((uint64_t)i * 64 * PAGE, (uint64_t)i * 64, 64);
	ck_assert_int_eq(dirty(START), 0);
	uint64_t buffer[3] = { 0 };
	model_fault(m, (struct model_fault){ .call = MODEL_IOCTL,
					     .request = VFIO_IOMMU_UNMAP_DMA,
					     .error = EFAULT,
					     .step = (unsigned)_i });
	ck_assert_int_eq(unmap(0, 192 * PAGE, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, buffer, words), -EFAULT);
	ck_assert_uint_eq(words[0], 192 * PAGE);
	ck_assert_uint_eq(model_mapping_count(m, container), left[_i]);
	ck_assert_uint_eq(model_page_count(m, MODEL_SPOILED), 192);
	ck_assert_uint_eq(model_fault_fired(m), 1);
	down();
}
END_TEST

/* ---- dirty tracking ---- */

START_TEST(start_and_stop)
{
	struct uapi_dirty_get probe = { .argsz = 0, .flags = START };
	uint64_t words[1] = { 0 };

	up();
	map(0, 0, 16);
	ck_assert_int_eq(sys_ioctl(container, VFIO_IOMMU_DIRTY_PAGES, &probe), -EINVAL);
	ck_assert_int_eq(dirty(0), -EINVAL);
	ck_assert_int_eq(dirty(START | STOP), -EINVAL);
	ck_assert_int_eq(dirty(8), -EINVAL);
	ck_assert_int_eq(dirty(GET), -EINVAL);
	ck_assert_int_eq(dirty(STOP), 0);
	device_writes(1);
	ck_assert_int_eq(dirty(START), 0);
	device_writes(2);
	ck_assert_int_eq(dirty(START), 0);
	ck_assert_int_eq(get(0, 16 * PAGE, words), 0);
	ck_assert_str_eq(bits(words, 64), "2");
	device_writes(3);
	ck_assert_int_eq(dirty(STOP), 0);
	ck_assert_int_eq(get(0, 16 * PAGE, words), -EINVAL);
	ck_assert_int_eq(dirty(START), 0);
	ck_assert_int_eq(get(0, 16 * PAGE, words), 0);
	ck_assert_str_eq(bits(words, 64), "");
	ck_assert_uint_eq(model_page_count(m, MODEL_TRUTH), 2);
	ck_assert_uint_eq(model_page_count(m, MODEL_DROPPED), 1);
	down();
}
END_TEST

/* Pins: from START on, at every GET, once more after the unpin; memory written by the CPU never. */
START_TEST(pins)
{
	uint64_t words[1] = { 0 };

	up();
	map(0, 0, 16);
	ck_assert_int_eq(command(VFDTEST_PIN, VFDTEST_PIN_WRITE, 0, PAGE), 0);
	ck_assert_int_eq(command(VFDTEST_PIN, VFDTEST_PIN_WRITE, 0, PAGE), 0);
	ck_assert_int_eq(command(VFDTEST_PIN, 0, 9 * PAGE, PAGE), 0);
	ck_assert_int_eq(command(VFDTEST_UNPIN, 0, 9 * PAGE, PAGE), 0);
	ck_assert_int_eq(command(VFDTEST_PIN, 0, 8 * PAGE, 16 * PAGE), -EINVAL);
	ck_assert_int_eq(dirty(START), 0);
	memory[7 * PAGE] = 1;
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(get(0, 16 * PAGE, words), 0);
		ck_assert_str_eq(bits(words, 64), "0");
	}
	ck_assert_int_eq(command(VFDTEST_UNPIN, 0, 0, PAGE), 0);
	ck_assert_int_eq(get(0, 16 * PAGE, words), 0);
	ck_assert_int_eq(command(VFDTEST_UNPIN, 0, 0, PAGE), 0);
	ck_assert_int_eq(get(0, 16 * PAGE, words), 0);
	ck_assert_str_eq(bits(words, 64), "0");
	ck_assert_int_eq(get(0, 16 * PAGE, words), 0);
	ck_assert_str_eq(bits(words, 64), "");
	ck_assert_uint_eq(model_page_count(m, MODEL_TRUTH), 1);
	down();
}
END_TEST

START_TEST(get_errors)
{
	struct uapi_dirty_get ask = { .argsz = sizeof(ask), .flags = GET, .iova = 0, .size = 16 * PAGE };
	uint64_t words[2] = { 0x5555, 0x5555 };

	up();
	map(0, 0, 16);
	map(32 * PAGE, 32, 16);
	ck_assert_int_eq(dirty(START), 0);
	ask.bitmap.data = (uintptr_t)words;
	ask.bitmap.size = 8;
	ask.bitmap.pgsize = 2 * PAGE;
	ck_assert_int_eq(sys_ioctl(container, VFIO_IOMMU_DIRTY_PAGES, &ask), -EINVAL);
	ask.bitmap.pgsize = PAGE;
	ask.bitmap.size = 0;
	ck_assert_int_eq(sys_ioctl(container, VFIO_IOMMU_DIRTY_PAGES, &ask), -EINVAL);
	ask.bitmap.size = 1ull << 29;
	ck_assert_int_eq(sys_ioctl(container, VFIO_IOMMU_DIRTY_PAGES, &ask), -EINVAL);
	ck_assert_int_eq(get(0, 15 * PAGE, words), -EINVAL);
	ck_assert_int_eq(get(PAGE, 15 * PAGE, words), -EINVAL);
	ck_assert_int_eq(get(1, 16 * PAGE, words), -EINVAL);
	ck_assert_int_eq(get(0, 0, words), -EINVAL);
	ck_assert_int_eq(get(-PAGE, PAGE, words), -EINVAL);
	ck_assert_int_eq(get(0, 16 * PAGE, (uint64_t *)8), -EFAULT);
	/* a hole: 0, buffer untouched */
	ck_assert_int_eq(get(16 * PAGE, 16 * PAGE, words), 0);
	ck_assert_uint_eq(words[0], 0x5555);
	down();
}
END_TEST

/* How words are written: overwritten, except that the first one of a shifted mapping is OR-ed as a whole; holes stay. */
START_TEST(word_semantics)
{
	uint64_t words[3] = { ~0ull, ~0ull, ~0ull };

	up();
	map(0, 0, 4);
	map(8 * PAGE, 8, 4);
	map(128 * PAGE, 128, 4);
	ck_assert_int_eq(dirty(START), 0);
	device_writes(1);
	device_writes(9);
	ck_assert_int_eq(get(0, 132 * PAGE, words), 0);
	ck_assert_uint_eq(words[0], 1ull << 1 | 1ull << 9);
	ck_assert_uint_eq(words[1], ~0ull);
	ck_assert_uint_eq(words[2], 0);
	/* the caller's bits leak in: the range starts in a hole, the mapping is shifted; 11 is a ghost of page 9 */
	words[0] = 1ull << 5 | 1ull << 63;
	ck_assert_int_eq(get(6 * PAGE, 6 * PAGE, words), 0);
	ck_assert_uint_eq(words[0], 1ull << 5 | 1ull << 11 | 1ull << 63);
	down();
}
END_TEST

/* true 4,32,42,82; buffer 4,32,42; retry 36,64,74,114; then ghosts 96,106. */
START_TEST(shift_corruption)
{
	uint64_t *words = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t *end = words + PAGE / 8, own[4] = { 0 };
	static const unsigned pages[] = { 4, 32, 42, 82 };

	up();
	/* 32 pages of hole, then the mapping: shift 32; its first word is writable, the rest not */
	ck_assert_int_eq(map_at(32 * PAGE, 0, 128, READ | WRITE), 0);
	ck_assert_int_eq(dirty(START), 0);
	for (unsigned i = 0; i < 4; i++)
		device_writes(32 + pages[i]);
	mprotect(end, PAGE, PROT_NONE);
	ck_assert_int_eq(get(0, 160 * PAGE, end - 1), -EFAULT);
	ck_assert_uint_eq(model_page_count(m, MODEL_SPOILED), 128);
	ck_assert_int_eq(get(32 * PAGE, 128 * PAGE, own), 0);
	ck_assert_str_eq(bits(own, 192), "36,64,74,114");
	ck_assert_uint_eq(model_page_count(m, MODEL_DROPPED), 4);
	ck_assert_uint_eq(model_page_count(m, MODEL_TRUTH), 4);
	down();
	munmap(words, 2 * PAGE);
}
END_TEST

/* Ghosts: bits shifted past the end are not cleared, and come back shifted once more. */
START_TEST(ghosts)
{
	uint64_t words[3] = { 0 }, own[2] = { 0 };

	up();
	ck_assert_int_eq(map_at(32 * PAGE, 0, 96, READ | WRITE), 0);
	ck_assert_int_eq(dirty(START), 0);
	device_writes(32 + 82);
	ck_assert_int_eq(get(0, 128 * PAGE, words), 0);
	ck_assert_str_eq(bits(words, 128), "114");
	ck_assert_int_eq(get(32 * PAGE, 96 * PAGE, own), 0);
	ck_assert_str_eq(bits(own, 96), "");
	ck_assert_uint_eq(own[1], 1ull << (114 - 64));
	ck_assert_uint_eq(model_page_count(m, MODEL_RETURNED), 1);
	down();
}
END_TEST

/* Querying a mapping exactly never shifts: a fault spoils nothing. */
START_TEST(exact_query_fault)
{
	uint64_t words[1] = { 0 };

	up();
	map(32 * PAGE, 0, 16);
	ck_assert_int_eq(dirty(START), 0);
	device_writes(33);
	model_fault(m, (struct model_fault){ .call = MODEL_IOCTL, .flags = GET, .error = EFAULT, .step = 1 });
	ck_assert_int_eq(get(32 * PAGE, 16 * PAGE, words), -EFAULT);
	ck_assert_uint_eq(model_page_count(m, MODEL_SPOILED), 0);
	ck_assert_int_eq(get(32 * PAGE, 16 * PAGE, words), 0);
	ck_assert_str_eq(bits(words, 64), "1");
	down();
}
END_TEST

/* Of three aligned mappings the first is delivered and cleared, the others are untouched. */
START_TEST(get_fault_half_way)
{
	uint64_t words[3] = { 0 };

	up();
	for (uint64_t i = 0; i < 3; i++)
		map(i * 64 * PAGE, i * 64, 64);
	ck_assert_int_eq(dirty(START), 0);
	for (uint64_t i = 0; i < 3; i++)
		device_writes(i * 64 + 1);
	model_fault(m, (struct model_fault){ .call = MODEL_IOCTL, .flags = GET, .error = EFAULT, .step = 2 });
	ck_assert_int_eq(get(0, 192 * PAGE, words), -EFAULT);
	ck_assert_str_eq(bits(words, 192), "1");
	memset(words, 0, sizeof(words));
	ck_assert_int_eq(get(0, 192 * PAGE, words), 0);
	ck_assert_str_eq(bits(words, 192), "65,129");
	ck_assert_uint_eq(model_page_count(m, MODEL_RETURNED), 3);
	ck_assert_uint_eq(model_page_count(m, MODEL_SPOILED), 0);
	down();
}
END_TEST

START_TEST(mapping_too_large_for_start)
{
	struct vfio_iommu_type1_dma_map big = {
		.argsz = sizeof(big), .flags = READ, .size = 1ull << 43, .iova = 1ull << 43
	};

	up();
	ck_assert_int_eq(sys_ioctl(container, VFIO_IOMMU_MAP_DMA, &big), 0);
	ck_assert_int_eq(dirty(START), -EINVAL);
	ck_assert(!model_tracking(m, container));
	down();
}
END_TEST

START_TEST(v1_cannot_track)
{
	uint64_t size;

	build(NULL);
	group = attach("/dev/vfio/7");
	set_iommu(VFIO_TYPE1_IOMMU);
	map(0, 0, 16);
	ck_assert_int_eq(dirty(START), -EACCES);
	ck_assert_int_eq(unmap(PAGE, 15 * PAGE, 0, NULL, &size), 0);
	ck_assert_uint_eq(size, 0);
	ck_assert_int_eq(unmap(0, 2 * PAGE, 0, NULL, &size), 0);
	ck_assert_uint_eq(size, 16 * PAGE);
	down();
}
END_TEST

START_TEST(access_permissions)
{
	up();
	ck_assert_int_eq(map_at(0, 0, 1, READ), 0);
	ck_assert_int_eq(map_at(PAGE, 1, 1, WRITE), 0);
	ck_assert_int_eq(map_at(2 * PAGE, 1ull << 40, 1, READ | WRITE), 0);
	ck_assert_int_eq(command(VFDTEST_WRITE, 0, 0, 8), -EPERM);
	ck_assert_int_eq(command(VFDTEST_WRITE, 0, PAGE, 8), -EPERM);
	ck_assert_int_eq(command(VFDTEST_WRITE, 0, 2 * PAGE, 8), -EFAULT);
	ck_assert_int_eq(command(VFDTEST_WRITE, 0, 3 * PAGE, 8), -EINVAL);
	ck_assert_int_eq(command(VFDTEST_READ, 0, 0, 8), 0);
	ck_assert_int_eq(command(VFDTEST_PIN, VFDTEST_PIN_WRITE, 0, PAGE), -EPERM);
	ck_assert_int_eq(command(VFDTEST_WRITE, 0, 0, 0), -EINVAL);
	ck_assert_int_eq(close_fd(device), 0);
	ck_assert_int_eq(command(VFDTEST_WRITE, 0, 0, 8), -ENOTCONN);
	down();
}
END_TEST

/* ---- groups of several kinds ---- */

static const struct model_config mixed = {
	.group_count = 4,
	.groups = { { .number = 7, .kind = MODEL_EMULATED, .devices = { { .name = "vfdtest.0" } } },
		    { .number = 3,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = "0000:01:00.0", .pci = true } } },
		    { .number = 9,
		      .kind = MODEL_NOIOMMU,
		      .devices = { { .name = "0000:02:00.0", .pci = true } } },
		    { .number = 4,
		      .kind = MODEL_PHYSICAL,
		      .page_sizes = 1ull << 16,
		      .devices = { { .name = "0000:03:00.0", .pci = true } } } },
};

static void set_command(int fd, uint16_t value)
{
	uint64_t offset = (7ull << 40) + 4;

	value = htole16(value);
	ck_assert_int_eq(m->sys.pwrite(&m->sys, fd, &value, 2, offset), 2);
	ck_assert_int_eq(m->sys.pread(&m->sys, fd, &value, 2, offset), 2);
}

/* Every mapped page at every GET; after the group left: one full report, then exact again. */
START_TEST(physical_group)
{
	uint64_t words[1] = { 0 };
	char text[16];
	int physical, pci;

	build(&mixed);
	group = attach("/dev/vfio/7");
	set_iommu(VFIO_TYPE1v2_IOMMU);
	device = get_device(group, "vfdtest.0");
	map(0, 0, 16);
	ck_assert_int_eq(dirty(START), 0);
	physical = attach("/dev/vfio/3");
	ck_assert_int_eq(m->sys.read_file(&m->sys, "/sys/kernel/iommu_groups/3/name", text, sizeof(text)),
			 -ENOENT);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(get(0, 16 * PAGE, words), 0);
		ck_assert_uint_eq(words[0], 0xffff);
	}
	pci = get_device(physical, "0000:01:00.0");
	ck_assert_int_eq(model_dma_write(m, "0000:01:00.0", PAGE, 8, 1), -EACCES);
	set_command(pci, 6);
	ck_assert_int_eq(model_dma_write(m, "0000:01:00.0", PAGE, 8, 1), 0);
	ck_assert_int_eq(model_dma_write(m, "0000:01:00.0", 16 * PAGE, 8, 1), -EFAULT);
	set_command(pci, 2);
	ck_assert_int_eq(model_dma_write(m, "0000:01:00.0", PAGE, 8, 1), -EACCES);
	ck_assert_int_eq(map_at(0xfee00000, 0, 1, READ), -EINVAL);
	ck_assert_int_eq(map_at(0x100000, 1ull << 40, 1, READ), -EFAULT);
	ck_assert_int_eq(close_fd(pci), 0);
	ck_assert_int_eq(sys_ioctl(physical, VFIO_GROUP_UNSET_CONTAINER, NULL), 0);
	ck_assert_int_eq(get(0, 16 * PAGE, words), 0);
	ck_assert_uint_eq(words[0], 0xffff);
	device_writes(2);
	ck_assert_int_eq(get(0, 16 * PAGE, words), 0);
	ck_assert_str_eq(bits(words, 64), "2");
	ck_assert_uint_eq(model_page_count(m, MODEL_TRUTH), 2);
	down();
}
END_TEST

START_TEST(noiommu_group)
{
	struct model_config config = mixed;
	int fd, other;

	build(&config);
	ck_assert_int_eq(open_path("/dev/vfio/9"), -ENOENT);
	fd = attach("/dev/vfio/noiommu-9");
	other = open_path("/dev/vfio/7");
	ck_assert_int_eq(sys_ioctl(other, VFIO_GROUP_SET_CONTAINER, &container), -EPERM);
	ck_assert_int_eq(sys_ioctl(container, VFIO_CHECK_EXTENSION, number(VFIO_TYPE1v2_IOMMU)), 0);
	ck_assert_int_eq(sys_ioctl(container, VFIO_CHECK_EXTENSION, number(VFIO_NOIOMMU_IOMMU)), 1);
	ck_assert_int_eq(sys_ioctl(container, VFIO_SET_IOMMU, number(VFIO_TYPE1v2_IOMMU)), -ENODEV);
	set_iommu(VFIO_NOIOMMU_IOMMU);
	ck_assert_int_ge(get_device(fd, "0000:02:00.0"), 0);
	ck_assert_int_eq(dirty(START), -ENOTTY);
	down();
}
END_TEST

START_TEST(page_size_changes)
{
	uint64_t words[1] = { 0 };
	int physical;

	build(&mixed);
	group = attach("/dev/vfio/7");
	set_iommu(VFIO_TYPE1v2_IOMMU);
	map(0, 1, 16);
	physical = open_path("/dev/vfio/4");
	map(PAGE * 17, 0, 1);
	ck_assert_int_eq(sys_ioctl(physical, VFIO_GROUP_SET_CONTAINER, &container), -EINVAL);
	ck_assert_int_eq(unmap(0, 0, VFIO_DMA_UNMAP_FLAG_ALL, NULL, NULL), 0);
	ck_assert_int_eq(dirty(START), 0);
	ck_assert_int_eq(sys_ioctl(physical, VFIO_GROUP_SET_CONTAINER, &container), 0);
	ck_assert_int_eq(map_at(0, 0, 1, READ), -EINVAL);
	ck_assert_int_eq(get(0, 16 * PAGE, words), -EINVAL);
	down();
}
END_TEST

START_TEST(information)
{
	struct {
		uint32_t argsz, flags;
		uint64_t page_sizes;
		uint32_t cap_offset, pad;
		uint8_t caps[256];
	} info = { .argsz = 16 };

	build(&mixed);
	group = attach("/dev/vfio/7");
	set_iommu(VFIO_TYPE1v2_IOMMU);
	ck_assert_int_eq(sys_ioctl(container, VFIO_IOMMU_GET_INFO, &info), 0);
	ck_assert_uint_eq(info.argsz, 24 + 32 + 16);
	ck_assert_uint_eq(info.page_sizes, ~0xfffull);
	ck_assert_uint_eq(info.flags & VFIO_IOMMU_INFO_CAPS, VFIO_IOMMU_INFO_CAPS);
	attach("/dev/vfio/3");
	ck_assert_int_eq(sys_ioctl(container, VFIO_IOMMU_GET_INFO, &info), 0);
	ck_assert_uint_eq(info.argsz, 24 + 32 + 16 + 16 + 32);
	ck_assert_uint_eq(info.cap_offset, 0);
	ck_assert_int_eq(sys_ioctl(container, VFIO_IOMMU_GET_INFO, &info), 0);
	ck_assert_uint_eq(info.cap_offset, 24);
	ck_assert_uint_eq(*(uint16_t *)(void *)(info.caps + 48), VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE);
	ck_assert_uint_eq(*(uint64_t *)(void *)(info.caps + 64 + 8), 0xfedfffff);
	down();
}
END_TEST

START_TEST(compat_container)
{
	struct model_config config = { .container = MODEL_COMPAT, .group_count = 1 };
	uint64_t words[1], size;

	config.groups[0] = (struct model_group_config){ .number = 7, .devices = { { .name = "vfdtest.0" } } };
	build(&config);
	ck_assert_int_eq(sys_ioctl(container, VFIO_SET_IOMMU, number(VFIO_TYPE1v2_IOMMU)), -ENODEV);
	group = attach("/dev/vfio/7");
	set_iommu(VFIO_TYPE1v2_IOMMU);
	set_iommu(VFIO_TYPE1v2_IOMMU);
	map(0, 0, 16);
	ck_assert_int_eq(dirty(START), -ENOTTY);
	ck_assert_int_eq(dirty(GET), -ENOTTY);
	ck_assert_int_eq(unmap(0, 16 * PAGE, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, words, &size), -EINVAL);
	ck_assert_int_eq(unmap(0, 8 * PAGE, 0, NULL, &size), -ENOENT);
	device = get_device(group, "vfdtest.0");
	ck_assert_int_eq(sys_ioctl(group, VFIO_GROUP_UNSET_CONTAINER, NULL), 0);
	ck_assert_uint_eq(model_mapping_count(m, container), 1);
	down();
}
END_TEST

/* ---- devices ---- */

START_TEST(device_shows)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	struct {
		struct vfio_region_info info;
		uint8_t caps[64];
	} region = { .info = { .argsz = sizeof(region.info), .index = 1 } };
	int event = eventfd(0, EFD_CLOEXEC);
	uint32_t irq[6] = { sizeof(irq),    VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, 1,
			    (uint32_t)event };
	eventfd_t fired = 0;
	void *area;
	uint64_t word = 77;

	up();
	ck_assert_int_eq(sys_ioctl(device, VFIO_DEVICE_GET_INFO, &info), 0);
	ck_assert_uint_eq(info.flags, VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PLATFORM);
	ck_assert_uint_eq(info.num_regions, 2);
	ck_assert_int_eq(sys_ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &region), 0);
	ck_assert_uint_eq(region.info.argsz, 32 + 48);
	ck_assert_uint_eq(region.info.size, VFDTEST_REGION1_SIZE);
	ck_assert_int_eq(sys_ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &region), 0);
	ck_assert_uint_eq(region.info.cap_offset, 32);
	ck_assert_int_eq(m->sys.map_file(&m->sys, device, region.info.offset + PAGE, PAGE, PROT_READ, &area),
			 -EINVAL);
	ck_assert_int_eq(
		m->sys.map_file(&m->sys, device, region.info.offset + 2 * PAGE, PAGE, PROT_READ, &area), 0);
	ck_assert_int_eq(m->sys.pwrite(&m->sys, device, &word, 8, region.info.offset + 2 * PAGE), 8);
	ck_assert_uint_eq(*(uint64_t *)area, 77);
	ck_assert_int_eq(sys_ioctl(device, VFIO_DEVICE_RESET, NULL), 0);
	ck_assert_uint_eq(*(uint64_t *)area, 0);
	ck_assert_int_eq(m->sys.unmap(&m->sys, area, PAGE), 0);
	ck_assert_int_eq(model_irq(m, "vfdtest.0", 0, 0), -ENOTCONN);
	ck_assert_int_eq(sys_ioctl(device, VFIO_DEVICE_SET_IRQS, irq), 0);
	ck_assert_int_eq(model_irq(m, "vfdtest.0", 0, 0), 0);
	ck_assert_int_eq(eventfd_read(event, &fired), 0);
	ck_assert_uint_eq(fired, 1);
	ck_assert_uint_eq(model_counts(m).triggers, 1);
	irq[1] = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
	irq[4] = 0;
	ck_assert_int_eq(sys_ioctl(device, VFIO_DEVICE_SET_IRQS, irq), 0);
	ck_assert_uint_eq(model_counts(m).triggers, 0);
	close(event);
	down();
}
END_TEST

START_TEST(writer_and_truth)
{
	struct vfdtest_run run = { .iova = 0, .size = 16 * PAGE, .seed = 1 };
	struct vfdtest_halt halt = { 0 };
	uint64_t words[1] = { 0 }, truth[1] = { 0 };
	struct vfdtest_truth ask = { .size = 16 * PAGE,
				     .bitmap = (uintptr_t)truth,
				     .flags = VFDTEST_TRUTH_CLEAR };

	up();
	map(0, 0, 16);
	ck_assert_int_eq(dirty(START), 0);
	ck_assert_int_eq(model_vfdtest(m, VFDTEST_RUN, &run), 0);
	ck_assert_int_eq(model_vfdtest(m, VFDTEST_RUN, &run), -EBUSY);
	ck_assert_uint_eq(model_step(m, 0, 5), 5);
	ck_assert_int_eq(get(0, 16 * PAGE, words), 0);
	ck_assert_int_eq(model_vfdtest(m, VFDTEST_TRUTH, &ask), 0);
	ck_assert_uint_eq(words[0], truth[0]);
	ck_assert_uint_eq(ask.pages, (uint64_t)__builtin_popcountll(truth[0]));
	ck_assert_int_eq(sys_ioctl(device, VFIO_DEVICE_RESET, NULL), 0);
	ck_assert_uint_eq(model_step(m, 0, 5), 0);
	ck_assert_int_eq(model_vfdtest(m, VFDTEST_HALT, &halt), 0);
	ck_assert_uint_eq(halt.writes, 5);
	ck_assert_int_eq(model_vfdtest(m, VFDTEST_TRUTH, &ask), 0);
	ck_assert_uint_eq(ask.pages, 0);
	down();
}
END_TEST

/* ---- what the kernel does not survive ---- */

static void stop_in_window(struct model *model, uint64_t iova, uint64_t size, void *argument)
{
	(void)model, (void)iova, (void)size, (void)argument;
	dirty(STOP);
}

static void pin_in_window(struct model *model, uint64_t iova, uint64_t size, void *argument)
{
	(void)model, (void)size, (void)argument;
	command(VFDTEST_PIN, 0, iova, PAGE);
}

static void map_in_window(struct model *model, uint64_t iova, uint64_t size, void *argument)
{
	(void)model, (void)argument;
	unmap(iova, size, 0, NULL, NULL);
	map(iova, 0, 2 * size / PAGE);
}

START_TEST(windows)
{
	static model_window_hook *const hooks[] = { stop_in_window, pin_in_window, map_in_window };
	uint64_t words[1] = { 0 }, size;
	int result;

	up();
	map(0, 0, 8);
	ck_assert_int_eq(dirty(START), 0);
	ck_assert_int_eq(command(VFDTEST_PIN, 0, 0, PAGE), 0);
	model_on_window(m, hooks[_i], NULL);
	result = unmap(0, 8 * PAGE, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, words, &size);
	if (_i == 2) {
		ck_assert_int_eq(result, 0);
		ck_assert_uint_eq(size, 0);
		ck_assert_ptr_null(model_crashed(m));
	} else {
		ck_assert_ptr_nonnull(model_crashed(m));
	}
	model_free(m);
	munmap(memory, MEM_SIZE);
}
END_TEST

static void *keep_asking(void *argument)
{
	uint64_t words[1] = { 0 };

	(void)argument;
	while (get(0, 16 * PAGE, words) != -EINVAL)
		;
	return NULL;
}

static bool crashes_in_teardown(void)
{
	pthread_t thread;

	up();
	map(0, 0, 16);
	ck_assert_int_eq(dirty(START), 0);
	close_fd(device);
	m->ioctl_delay = 100;
	m->teardown_delay = 2000;
	pthread_create(&thread, NULL, keep_asking, NULL);
	usleep(2000);
	ck_assert_int_eq(sys_ioctl(group, VFIO_GROUP_UNSET_CONTAINER, NULL), 0);
	pthread_join(thread, NULL);
	bool crashed = model_crashed(m);
	model_free(m);
	munmap(memory, MEM_SIZE);
	return crashed;
}

/* On a busy machine the thread may come too late. */
START_TEST(teardown_race)
{
	bool crashed = false;

	for (int i = 0; i < 50 && !crashed; i++)
		crashed = crashes_in_teardown();
	ck_assert(crashed);
}
END_TEST

/* ---- faults and traces ---- */

static void session(void)
{
	uint64_t words[2] = { 0 };

	map(0, 0, 64);
	map(64 * PAGE, 64, 64);
	dirty(START);
	get(0, 128 * PAGE, words);
	unmap(0, 64 * PAGE, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, words, NULL);
	unmap(64 * PAGE, 64 * PAGE, 0, NULL, NULL);
	dirty(STOP);
}

START_TEST(enumeration)
{
	struct model_fault *faults;
	size_t calls, count;
	unsigned gets = 0, unmaps = 0;
	char text[96];

	up();
	model_trace_start(m);
	session();
	model_trace(m, &calls);
	ck_assert_uint_eq(calls, 7);
	count = model_single_faults(m, &faults);
	for (size_t i = 0; i < count; i++) {
		gets += faults[i].nth == 4;
		unmaps += faults[i].nth == 5;
	}
	ck_assert_uint_eq(gets, 4);   /* EFAULT 0, 1, 2; EINVAL */
	ck_assert_uint_eq(unmaps, 4); /* EFAULT 0, 1, 2; EINVAL */
	faults[0].nth = 4;
	model_fault_text(m, &faults[0], text, sizeof(text));
	ck_assert_str_eq(text, "GET_BITMAP (call 4): EFAULT at step 0");
	model_trace_start(m);
	for (size_t i = 0; i < count; i++)
		ck_assert(faults[i].error != 0);
	free(faults);
	down();
}
END_TEST

static void count_calls(struct model *model, const struct model_trace *call, uint64_t nth, bool after,
			void *argument)
{
	(void)model, (void)call, (void)nth;
	*(unsigned *)argument += after;
}

START_TEST(faults_fire)
{
	unsigned calls = 0;

	up();
	model_on_call(m, count_calls, &calls);
	model_fault(m, (struct model_fault){ .call = MODEL_IOCTL,
					     .request = VFIO_IOMMU_MAP_DMA,
					     .nth = 2,
					     .times = 2,
					     .error = ENOMEM });
	ck_assert_int_eq(map_at(0, 0, 1, READ), 0);
	ck_assert_int_eq(map_at(PAGE, 0, 1, READ), -ENOMEM);
	ck_assert_int_eq(map_at(PAGE, 0, 1, READ), -ENOMEM);
	ck_assert_int_eq(map_at(PAGE, 0, 1, READ), 0);
	ck_assert_uint_eq(calls, 4);
	ck_assert_uint_eq(model_fault_fired(m), 2);
	model_fault(m, (struct model_fault){ .error = EMFILE });
	ck_assert_int_eq(m->sys.dup(&m->sys, device), -EMFILE);
	down();
}
END_TEST

/* ---- the oracle itself ---- */

#define SLOTS	   16 /* mappings of 64 pages, some at offsets that are not a multiple of 64 */
#define OPERATIONS 200000

static uint64_t random_state = 1;

static uint64_t random_below(uint64_t limit)
{
	random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (random_state >> 33) % limit;
}

static uint64_t slot_iova(uint64_t slot)
{
	return (slot * 80 + slot % 3 * 5) * PAGE;
}

static void random_operation(void)
{
	static uint64_t words[64];
	uint64_t slot = random_below(SLOTS), iova = slot_iova(slot), last = slot + random_below(SLOTS - slot);
	uint64_t page = iova + random_below(64) * PAGE;

	memset(words, 0, sizeof(words));
	switch (random_below(16)) {
	case 0:
		map_at(iova, slot * 64, 64, READ | (random_below(4) ? WRITE : 0));
		break;
	case 1:
		unmap(iova, 64 * PAGE, random_below(4) ? VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP : 0, words,
		      NULL);
		break;
	case 2:
		unmap(iova, slot_iova(last) + 64 * PAGE - iova, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, words,
		      NULL);
		break;
	case 3:
	case 4:
		get(iova, slot_iova(last) + 64 * PAGE - iova, words);
		break;
	case 5:
		command(VFDTEST_PIN, VFDTEST_PIN_WRITE, page, PAGE);
		break;
	case 6:
		command(VFDTEST_UNPIN, 0, page, PAGE);
		break;
	case 7:
		command(VFDTEST_WRITE, VFDTEST_WRITE_PINNED, page, 8);
		break;
	case 8:
		if (random_below(64)) {
			dirty(START);
			break;
		}
		model_fault_clear(m);
		dirty(STOP);
		dirty(START);
		model_forget(m);
		break;
	case 9:
		model_fault_clear(m);
		model_fault(m, (struct model_fault){ .call = MODEL_IOCTL,
						     .error = EFAULT,
						     .nth = 1 + random_below(4),
						     .step = (unsigned)random_below(SLOTS + 2) });
		break;
	default:
		command(VFDTEST_WRITE, 0, page, 8);
	}
}

/* Nothing that was written while tracking is unaccounted for, whatever happens. */
START_TEST(conservation)
{
	uint64_t truth[16], known[16];

	up();
	ck_assert_int_eq(dirty(START), 0);
	for (unsigned i = 0; i < OPERATIONS; i++) {
		random_operation();
		if (i % 16)
			continue;
		memset(truth, 0, sizeof(truth));
		memset(known, 0, sizeof(known));
		model_pages(m, MODEL_TRUTH, memory, MEM_SIZE, truth);
		for (int set = MODEL_RETURNED; set <= MODEL_HELD; set++)
			model_pages(m, (enum model_set)set, memory, MEM_SIZE, known);
		for (unsigned w = 0; w < 16; w++)
			ck_assert_msg(!(truth[w] & ~known[w]), "operation %u, word %u", i, w);
	}
	down();
}
END_TEST

/* 65 000 mappings, one harvest, all of it away again: no step is quadratic. */
START_TEST(many_mappings)
{
	uint64_t *words = calloc(1024, 8), size;

	up();
	ck_assert_int_eq(dirty(START), 0);
	for (uint64_t i = 0; i < 65000; i++)
		map(i * 7919 % 65000 * PAGE, i % 1024, 1);
	for (uint64_t i = 0; i < 65000; i += 100)
		device_writes(i);
	ck_assert_int_eq(get(0, 65000 * PAGE, words), 0);
	ck_assert_uint_eq(words[0], 1);
	ck_assert_uint_eq(model_counts(m).walked, 65000);
	ck_assert_int_eq(unmap(0, 0, VFIO_DMA_UNMAP_FLAG_ALL, NULL, &size), 0);
	ck_assert_uint_eq(size, 65000 * PAGE);
	free(words);
	down();
}
END_TEST

static Suite *model_suite(void)
{
	Suite *suite = suite_create("model");
	TCase *tests = tcase_create("6.12");

	tcase_add_test(tests, extensions_and_paths);
	tcase_add_test(tests, group_lifetime);
	tcase_add_test(tests, the_rule);
	tcase_add_test(tests, what_holds_a_device);
	tcase_add_test(tests, container_closed_first);
	tcase_add_test(tests, unplugged);
	tcase_add_test(tests, map_errors);
	tcase_add_test(tests, entry_limit);
	tcase_add_test(tests, unmap_plain);
	tcase_add_test(tests, unmap_with_bitmap);
	tcase_add_test(tests, unmap_fault_half_way);
	tcase_add_loop_test(tests, unmap_fault_steps, 0, 6);
	tcase_add_test(tests, start_and_stop);
	tcase_add_test(tests, pins);
	tcase_add_test(tests, get_errors);
	tcase_add_test(tests, word_semantics);
	tcase_add_test(tests, shift_corruption);
	tcase_add_test(tests, ghosts);
	tcase_add_test(tests, exact_query_fault);
	tcase_add_test(tests, get_fault_half_way);
	tcase_add_test(tests, mapping_too_large_for_start);
	tcase_add_test(tests, v1_cannot_track);
	tcase_add_test(tests, access_permissions);
	tcase_add_test(tests, physical_group);
	tcase_add_test(tests, noiommu_group);
	tcase_add_test(tests, page_size_changes);
	tcase_add_test(tests, information);
	tcase_add_test(tests, compat_container);
	tcase_add_test(tests, device_shows);
	tcase_add_test(tests, writer_and_truth);
	tcase_add_loop_test(tests, windows, 0, 3);
	tcase_add_test(tests, teardown_race);
	tcase_add_test(tests, enumeration);
	tcase_add_test(tests, faults_fire);
	tcase_add_test(tests, conservation);
	tcase_add_test(tests, many_mappings);
	tcase_set_timeout(tests, 60);
	suite_add_tcase(suite, tests);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(model_suite());
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
