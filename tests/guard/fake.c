/* SPDX-License-Identifier: MIT */

/* Preloaded behind vfd-guard's shim: enough of /dev/vfio, /dev/iommu and the test device for cases.c, for machines that have none. It
 * says yes to nearly everything; what is tested with it is what the guard makes of calls, not what a kernel does. */

#undef _FILE_OFFSET_BITS /* open and open64 are two names */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t dirty, log_dirty, table_dirty; /* bit 0: the page at IOVA 0 */
static uint32_t last_id = 1;
static bool tracking;

/* A file that carries its name. The kernel then answers for duplicates and inheritance. */
static int make(const char *name, bool on_exec)
{
	char text[64];

	snprintf(text, sizeof text, "fake:%s", name);
	return memfd_create(text, on_exec ? MFD_CLOEXEC : 0);
}

int open(const char *path, int flags, ...)
{
	static int (*real)(const char *, int, ...);
	va_list args;
	int mode;

	va_start(args, flags);
	mode = va_arg(args, int);
	va_end(args);
	if (!strncmp(path, "/dev/vfio/", 10) || !strcmp(path, "/dev/iommu") || !strcmp(path, "/dev/vfdtest"))
		return make(path, flags & O_CLOEXEC);
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "open");
	return real(path, flags, mode);
}

int open64(const char *path, int flags, ...) __attribute__((alias("open")));

ssize_t readlink(const char *restrict path, char *restrict to, size_t size)
{
	static ssize_t (*real)(const char *, char *, size_t);
	static const char prefix[] = "/memfd:fake:", suffix[] = " (deleted)";
	size_t skip = sizeof prefix - 1;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "readlink");
	ssize_t length = real(path, to, size);
	if (length < (ssize_t)skip || memcmp(to, prefix, skip))
		return length;
	length -= (ssize_t)(skip + sizeof suffix - 1);
	memmove(to, to + skip, (size_t)length);
	return length;
}

static bool is(int fd, const char *name)
{
	char path[32], link[128];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	ssize_t length = readlink(path, link, sizeof link - 1);
	link[length < 0 ? 0 : length] = 0;
	return !strncmp(link, name, strlen(name));
}

/* What GET and REPORT give, if there is a place for it. */
static int give(uint64_t *bits, void *to)
{
	if ((uintptr_t)to < 4096) {
		errno = EFAULT;
		return -1;
	}
	memcpy(to, bits, 8);
	*bits = 0;
	return 0;
}

/* A call with so large an argsz takes its time: until the buffer, which says 1 meanwhile, says something else. */
enum { SLOW = 4096 };

static int linger(uint64_t *buffer)
{
	__atomic_store_n(buffer, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(buffer, __ATOMIC_SEQ_CST) == 1)
		usleep(1000);
	return 0;
}

static int dirty_pages(const uint32_t *d)
{
	const struct vfio_iommu_type1_dirty_bitmap_get *get = (const void *)(d + 2);

	if (d[1] == VFIO_IOMMU_DIRTY_PAGES_FLAG_START)
		tracking = true;
	else if (d[1] == VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP)
		tracking = false;
	else if (!tracking) {
		errno = EINVAL;
		return -1;
	} else if (d[0] == SLOW)
		return linger((uint64_t *)get->bitmap.data);
	else if (get->iova < 1u << 20)
		return give(&dirty, get->bitmap.data);
	return 0;
}

static int feature(const uint32_t *f)
{
	const struct vfio_device_feature_dma_logging_report *r = (const void *)(f + 2);

	if (f[1] == (VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT) && r->bitmap >= 4096)
		return give(&log_dirty, (void *)(uintptr_t)r->bitmap);
	return 0; /* also where the bits are lost: as Linux 6.12 does */
}

static int iommufd(unsigned long request, uint32_t *a)
{
	switch (request & 0xff) {
	case 0x81: /* IOAS_ALLOC */
		a[2] = ++last_id;
		return 0;
	case 0x89: /* HWPT_ALLOC */
		a[4] = ++last_id;
		return 0;
	case 0x8b: /* SET_DIRTY_TRACKING */
		table_dirty = 0x1e;
		return 0;
	case 0x8c: /* GET_DIRTY_BITMAP */
		if (((uint64_t *)a)[5] >= 4096)
			give(&table_dirty, (void *)(uintptr_t)((uint64_t *)a)[5]);
		return 0;
	}
	return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
	static int (*real)(int, unsigned long, ...);
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (_IOC_TYPE(request) == 'v' && is(fd, "/dev/vfdtest")) {
		dirty |= 0x1e;
		log_dirty |= 0x1e;
		return 0;
	}
	if (_IOC_TYPE(request) == VFIO_TYPE && is(fd, "/dev/iommu"))
		return iommufd(request, arg);
	if (request == VFIO_IOMMU_DIRTY_PAGES && is(fd, "/dev/vfio/vfio"))
		return dirty_pages(arg);
	if (request == VFIO_DEVICE_FEATURE && is(fd, "/dev/vfio/devices/"))
		return feature(arg);
	if (request == VFIO_GROUP_UNSET_CONTAINER && arg == (void *)16) { /* as if a device were open */
		errno = EBUSY;
		return -1;
	}
	if (request == VFIO_GROUP_GET_DEVICE_FD)
		return make("/dev/vfio/devices/fake", true);
	if (_IOC_TYPE(request) == VFIO_TYPE && is(fd, "/dev/vfio/"))
		return 0;
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "ioctl");
	return real(fd, request, arg);
}
