/* SPDX-License-Identifier: MIT */

/* The real kernel's table with a counter in front of each call. */

#include "rig.h"

#include <linux/vfio.h>
#include <stdatomic.h>
#include <string.h>

#include "uapi.h"

static atomic_ullong calls, gets;

void (*rig_around_get)(void *bitmap, uint64_t bytes, bool after);

uint64_t rig_calls(void)
{
	return calls;
}

uint64_t rig_gets(void)
{
	return gets;
}

static const struct sys *counted(const struct sys *sys)
{
	(void)sys;
	calls++;
	return &sys_linux;
}

static int open_counted(const struct sys *sys, const char *path, int flags)
{
	return counted(sys)->open(&sys_linux, path, flags);
}

static int dup_counted(const struct sys *sys, int fd)
{
	return counted(sys)->dup(&sys_linux, fd);
}

static int close_counted(const struct sys *sys, int fd)
{
	return counted(sys)->close(&sys_linux, fd);
}

static int get_counted(int fd, const struct uapi_dirty_get *get)
{
	void *bitmap = (void *)(uintptr_t)get->bitmap.data;

	gets++;
	if (rig_around_get)
		rig_around_get(bitmap, get->bitmap.size, false);
	int rc = sys_linux.ioctl(&sys_linux, fd, VFIO_IOMMU_DIRTY_PAGES, (void *)(uintptr_t)get);
	if (rig_around_get)
		rig_around_get(bitmap, get->bitmap.size, true);
	return rc;
}

static int ioctl_counted(const struct sys *sys, int fd, unsigned long request, void *arg)
{
	const struct sys *kernel = counted(sys);
	uint32_t head[2];

	if (request == VFIO_IOMMU_DIRTY_PAGES) {
		memcpy(head, arg, sizeof head);
		if (head[1] == VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP) /* and no VFIO_DEVICE_FEATURE */
			return get_counted(fd, arg);
	}
	return kernel->ioctl(&sys_linux, fd, request, arg);
}

static ssize_t read_counted(const struct sys *sys, int fd, void *data, size_t size)
{
	return counted(sys)->read(&sys_linux, fd, data, size);
}

static ssize_t write_counted(const struct sys *sys, int fd, const void *data, size_t size)
{
	return counted(sys)->write(&sys_linux, fd, data, size);
}

static ssize_t pread_counted(const struct sys *sys, int fd, void *data, size_t size, uint64_t offset)
{
	return counted(sys)->pread(&sys_linux, fd, data, size, offset);
}

static ssize_t pwrite_counted(const struct sys *sys, int fd, const void *data, size_t size, uint64_t offset)
{
	return counted(sys)->pwrite(&sys_linux, fd, data, size, offset);
}

static ssize_t read_file_counted(const struct sys *sys, const char *path, char *text, size_t size)
{
	return counted(sys)->read_file(&sys_linux, path, text, size);
}

static ssize_t read_link_counted(const struct sys *sys, const char *path, char *text, size_t size)
{
	return counted(sys)->read_link(&sys_linux, path, text, size);
}

static int find_entry_counted(const struct sys *sys, const char *path, const char *begin, char *name,
			      size_t size)
{
	return counted(sys)->find_entry(&sys_linux, path, begin, name, size);
}

static int exists_counted(const struct sys *sys, const char *path)
{
	return counted(sys)->exists(&sys_linux, path);
}

static int map_file_counted(const struct sys *sys, int fd, uint64_t offset, size_t size, int prot,
			    void **memory)
{
	return counted(sys)->map_file(&sys_linux, fd, offset, size, prot, memory);
}

static int map_scratch_counted(const struct sys *sys, size_t size, void **memory)
{
	return counted(sys)->map_scratch(&sys_linux, size, memory);
}

static int populate_counted(const struct sys *sys, void *memory, size_t size)
{
	return counted(sys)->populate(&sys_linux, memory, size);
}

static int unmap_scratch_counted(const struct sys *sys, void *memory, size_t size)
{
	return counted(sys)->unmap_scratch(&sys_linux, memory, size);
}

static int unmap_counted(const struct sys *sys, void *memory, size_t size)
{
	return counted(sys)->unmap(&sys_linux, memory, size);
}

static void count_holders_counted(const struct sys *sys, unsigned *descriptors, unsigned *areas)
{
	counted(sys)->count_holders(&sys_linux, descriptors, areas);
}

static void memlock_counted(const struct sys *sys, struct sys_memlock *out)
{
	counted(sys)->memlock(&sys_linux, out);
}

static int userfaultfd_counted(const struct sys *sys, int flags)
{
	return counted(sys)->userfaultfd(&sys_linux, flags);
}

const struct sys rig_sys = {
	.open = open_counted,
	.dup = dup_counted,
	.close = close_counted,
	.ioctl = ioctl_counted,
	.read = read_counted,
	.write = write_counted,
	.pread = pread_counted,
	.pwrite = pwrite_counted,
	.read_file = read_file_counted,
	.read_link = read_link_counted,
	.find_entry = find_entry_counted,
	.exists = exists_counted,
	.map_file = map_file_counted,
	.map_scratch = map_scratch_counted,
	.populate = populate_counted,
	.unmap_scratch = unmap_scratch_counted,
	.unmap = unmap_counted,
	.count_holders = count_holders_counted,
	.memlock = memlock_counted,
	.userfaultfd = userfaultfd_counted,
};
