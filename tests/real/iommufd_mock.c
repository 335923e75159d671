/* SPDX-License-Identifier: MIT */
#include "iommufd_mock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "uapi_iommufd.h"

/* drivers/iommu/iommufd/iommufd_test.h: no promise of the kernel, but this is that of one version. */
struct test_command {
	uint32_t size;
	uint32_t op;
	uint32_t id;
	uint32_t reserved;
	union {
		struct {
			uint32_t stdev, hwpt, idev, flags;
		} domain;
		struct {
			uint32_t table;
		} replace;
		struct {
			uint32_t flags;
			uint64_t iova, length, page_size, bits, count;
		} dirty;
	} u;
	uint32_t last;
};

#define TEST_COMMAND UAPI_IOMMUFD(32)
#define PAGE_SIZE    4096u
#define MOCK_PAGE    2048u /* of its IOMMU */

enum {
	OP_REPLACE = 10,
	OP_DOMAIN = 12,
	OP_DIRTY = 13,
	NO_DIRTY = 1,
	HUGE_IOVA = 2,
};

static struct device {
	int fd;			/* its "node"; 0: it is not open */
	int iommu;		/* that it is bound to; 0: none */
	uint32_t stdev, parked; /* the kernel's mock, and where it is when it is nowhere */
	uint32_t table;		/* that it is in; 0: none */
} devices[MOCK_DEVICES];

static bool huge;

void mock_huge(bool on)
{
	huge = on;
}

static int command(int fd, struct test_command *c)
{
	c->size = sizeof *c;
	return sys_linux.ioctl(&sys_linux, fd, TEST_COMMAND, c);
}

bool mock_there(void)
{
	int fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	struct uapi_ioas_alloc ioas = { .size = sizeof ioas };
	struct test_command c = { .op = OP_DOMAIN };

	if (fd < 0)
		return false;
	bool there = !sys_linux.ioctl(&sys_linux, fd, UAPI_IOAS_ALLOC, &ioas);
	c.id = ioas.out_ioas_id;
	there = there && !command(fd, &c);
	close(fd);
	return there;
}

/* ---- a device ---- */

static void destroy(int fd, uint32_t id)
{
	struct uapi_iommu_destroy arg = { .size = sizeof arg, .id = id };

	sys_linux.ioctl(&sys_linux, fd, UAPI_IOMMU_DESTROY, &arg);
}

static int move(struct device *d, uint32_t table)
{
	struct test_command c = { .op = OP_REPLACE, .id = d->stdev, .u.replace.table = table };
	int rc = command(d->iommu, &c);

	if (!rc)
		d->table = table == d->parked ? 0 : table;
	return rc;
}

static int bind_device(struct device *d, struct uapi_device_bind *arg)
{
	struct uapi_ioas_alloc ioas = { .size = sizeof ioas };
	bool blind = d - devices == MOCK_BLIND;
	struct test_command c = { .op = OP_DOMAIN };
	int rc = sys_linux.ioctl(&sys_linux, arg->iommufd, UAPI_IOAS_ALLOC, &ioas);

	if (rc)
		return rc;
	c.id = d->parked = ioas.out_ioas_id;
	c.u.domain.flags = (blind ? NO_DIRTY : 0) | (huge ? HUGE_IOVA : 0);
	rc = command(arg->iommufd, &c);
	if (rc) {
		destroy(arg->iommufd, d->parked);
		return rc;
	}
	d->iommu = arg->iommufd;
	d->stdev = c.u.domain.stdev;
	arg->out_devid = c.u.domain.idev;
	return 0;
}

static void unbind(struct device *d)
{
	int left = mock_fail_nth(0);

	if (d->iommu) {
		destroy(d->iommu, d->stdev);
		destroy(d->iommu, d->parked);
	}
	*d = (struct device){ 0 };
	mock_fail_nth(left);
}

static int get_info(struct vfio_device_info *info)
{
	info->flags = VFIO_DEVICE_FLAGS_RESET;
	info->num_regions = info->num_irqs = 0;
	return 0;
}

static int detach_device(struct device *d)
{
	int left = mock_fail_nth(0), rc = move(d, d->parked);

	mock_fail_nth(left);
	return rc;
}

static int device_ioctl(struct device *d, unsigned long request, void *arg)
{
	switch (request) {
	case UAPI_DEVICE_BIND:
		return bind_device(d, arg);
	case UAPI_DEVICE_ATTACH:
		return move(d, ((struct uapi_device_attach *)arg)->pt_id);
	case UAPI_DEVICE_DETACH:
		return detach_device(d);
	case VFIO_DEVICE_GET_INFO:
		return get_info(arg);
	case VFIO_DEVICE_RESET:
		return 0;
	default:
		return -ENOTTY;
	}
}

/* ---- the table of calls ---- */

static int m_open(const struct sys *sys, const char *path, int flags)
{
	unsigned n;

	if (sscanf(path, "/dev/vfio/devices/vfiomock%u", &n) != 1)
		return sys_linux.open(sys, path, flags);
	if (n >= MOCK_DEVICES || devices[n].fd)
		return -EBUSY;
	int fd = memfd_create("mock", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	devices[n] = (struct device){ .fd = fd };
	return fd;
}

static struct device *device_behind(int fd)
{
	for (int i = 0; i < MOCK_DEVICES; i++)
		if (devices[i].fd == fd)
			return &devices[i];
	return NULL;
}

static int m_ioctl(const struct sys *sys, int fd, unsigned long request, void *arg)
{
	struct device *d = device_behind(fd);

	return d ? device_ioctl(d, request, arg) : sys_linux.ioctl(sys, fd, request, arg);
}

static int m_close(const struct sys *sys, int fd)
{
	if (device_behind(fd))
		unbind(device_behind(fd));
	return sys_linux.close(sys, fd);
}

static int m_exists(const struct sys *sys, const char *path)
{
	unsigned n;

	if (sscanf(path, "/sys/kernel/iommu_groups/%u", &n) == 1 && n >= MOCK_GROUP &&
	    n < MOCK_GROUP + MOCK_DEVICES)
		return 0;
	return sys_linux.exists(sys, path);
}

static int m_find_entry(const struct sys *sys, const char *path, const char *begin, char *name, size_t size)
{
	unsigned n, m;

	if (sscanf(path, "/sys/kernel/iommu_groups/%u/devices/mock%u/vfio-dev", &n, &m) != 2 ||
	    n != MOCK_GROUP + m)
		return sys_linux.find_entry(sys, path, begin, name, size);
	snprintf(name, size, "vfiomock%u", m);
	return 0;
}

/* The fields of the real table are no constant expressions: those that are not imitated are passed on. */
#define PASS(type, name, params, args)                                                                       \
	static type m_##name params                                                                          \
	{                                                                                                    \
		return sys_linux.name args;                                                                  \
	}

PASS(int, dup, (const struct sys *sys, int fd), (sys, fd))
PASS(ssize_t, read_file, (const struct sys *sys, const char *path, char *text, size_t size),
     (sys, path, text, size))
PASS(ssize_t, read_link, (const struct sys *sys, const char *path, char *text, size_t size),
     (sys, path, text, size))
PASS(int, map_scratch, (const struct sys *sys, size_t size, void **memory), (sys, size, memory))
PASS(int, populate, (const struct sys *sys, void *memory, size_t size), (sys, memory, size))
PASS(int, unmap_scratch, (const struct sys *sys, void *memory, size_t size), (sys, memory, size))
PASS(void, count_holders, (const struct sys *sys, unsigned *descriptors, unsigned *areas),
     (sys, descriptors, areas))
PASS(void, memlock, (const struct sys *sys, struct sys_memlock *out), (sys, out))

const struct sys mock_sys = {
	.open = m_open,
	.dup = m_dup,
	.close = m_close,
	.ioctl = m_ioctl,
	.read_file = m_read_file,
	.read_link = m_read_link,
	.find_entry = m_find_entry,
	.exists = m_exists,
	.map_scratch = m_map_scratch,
	.populate = m_populate,
	.unmap_scratch = m_unmap_scratch,
	.count_holders = m_count_holders,
	.memlock = m_memlock,
};

/* ---- what devices do ---- */

static int dirty(const struct device *d, uint64_t iova)
{
	uint64_t bits = 3;
	struct test_command c = {
		.op = OP_DIRTY,
		.id = d->table,
		.u.dirty = { .iova = iova,
			     .length = PAGE_SIZE,
			     .page_size = MOCK_PAGE,
			     .bits = (uintptr_t)&bits },
	};
	int rc = command(d->iommu, &c);

	return rc ? rc : c.u.dirty.count ? 0 : -EFAULT;
}

int mock_dirty(unsigned index, uint64_t iova)
{
	if (!devices[index].table)
		return -ENODEV;
	int left = mock_fail_nth(0), rc = dirty(&devices[index], iova);
	mock_fail_nth(left);
	return rc;
}

/* Its file stays open, and what its own reading and writing uses up is reckoned: a read whose copy fails had one left. */
int mock_fail_nth(int nth)
{
	static int fd = -1;
	char text[16] = "";
	int left = 0;

	if (fd < 0)
		fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (!nth)
		left = pread(fd, text, sizeof text - 1, 0) > 0 ? atoi(text) : 1;
	snprintf(text, sizeof text, "%d", nth);
	for (int i = 0; i < 2 && pwrite(fd, text, strlen(text), 0) < 0; i++)
		; /* that was the fault */
	return left;
}
