/* SPDX-License-Identifier: MIT */
#include "sys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "memlock.h"

#define UNUSED __attribute__((unused))

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static int linux_open(UNUSED const struct sys *sys, const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int linux_dup(UNUSED const struct sys *sys, int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	return copy < 0 ? -errno : copy;
}

static int linux_close(UNUSED const struct sys *sys, int fd)
{
	return close(fd) ? -errno : 0;
}

/* The kernel looks at 32 bits of it; the type is the C library's. */
#ifdef __GLIBC__
typedef unsigned long ioctl_request;
#else
typedef int ioctl_request;
#endif

static int linux_ioctl(UNUSED const struct sys *sys, int fd, unsigned long request, void *arg)
{
	int rc = ioctl(fd, (ioctl_request)request, arg);

	return rc < 0 ? -errno : rc;
}

static ssize_t linux_read(UNUSED const struct sys *sys, int fd, void *data, size_t size)
{
	ssize_t done = read(fd, data, size);

	return done < 0 ? -errno : done;
}

static ssize_t linux_write(UNUSED const struct sys *sys, int fd, const void *data, size_t size)
{
	ssize_t done = write(fd, data, size);

	return done < 0 ? -errno : done;
}

static ssize_t linux_pread(UNUSED const struct sys *sys, int fd, void *data, size_t size, uint64_t offset)
{
	ssize_t done = pread(fd, data, size, (off_t)offset);

	return done < 0 ? -errno : done;
}

static ssize_t linux_pwrite(UNUSED const struct sys *sys, int fd, const void *data, size_t size,
			    uint64_t offset)
{
	ssize_t done = pwrite(fd, data, size, (off_t)offset);

	return done < 0 ? -errno : done;
}

static ssize_t linux_read_file(const struct sys *sys, const char *path, char *text, size_t size)
{
	int fd = linux_open(sys, path, O_RDONLY);
	if (fd < 0)
		return fd;
	ssize_t length = linux_pread(sys, fd, text, size - 1, 0);
	close(fd);
	if (length < 0)
		return length;
	if (length && text[length - 1] == '\n')
		length--;
	text[length] = 0;
	return length;
}

static ssize_t linux_read_link(UNUSED const struct sys *sys, const char *path, char *text, size_t size)
{
	ssize_t length = readlink(path, text, size - 1);

	if (length < 0)
		return -errno;
	text[length] = 0;
	return length;
}

static bool is_entry(const struct dirent *entry, const char *begin, size_t size)
{
	return !strncmp(entry->d_name, begin, strlen(begin)) && strlen(entry->d_name) < size;
}

static int linux_find_entry(UNUSED const struct sys *sys, const char *path, const char *begin, char *name,
			    size_t size)
{
	DIR *dir = opendir(path);
	int rc = dir ? -ENOENT : -errno;

	for (const struct dirent *entry; rc && dir && (entry = readdir(dir));) {
		if (!is_entry(entry, begin, size))
			continue;
		memcpy(name, entry->d_name, strlen(entry->d_name) + 1);
		rc = 0;
	}
	if (dir)
		closedir(dir);
	return rc;
}

static int linux_exists(UNUSED const struct sys *sys, const char *path)
{
	return access(path, F_OK) ? -errno : 0;
}

static int linux_map_file(UNUSED const struct sys *sys, int fd, uint64_t offset, size_t size, int prot,
			  void **memory)
{
	void *at = mmap(NULL, size, prot, MAP_SHARED, fd, (off_t)offset);

	if (at == MAP_FAILED)
		return -errno;
	*memory = at;
	return 0;
}

size_t sys_page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static int linux_map_scratch(UNUSED const struct sys *sys, size_t size, void **memory)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	size_t guard = sys_page_size();
	char *at = mmap(NULL, size + guard, PROT_READ | PROT_WRITE, flags, -1, 0);

	if (at == MAP_FAILED)
		return -errno;
	if (mprotect(at + size, guard, PROT_NONE)) {
		int rc = -errno;
		munmap(at, size + guard);
		return rc;
	}
	*memory = at;
	return 0;
}

/* Before Linux 5.14 there is no MADV_POPULATE_WRITE: then page by page, where a lack of memory does not come back as an error. */
static int linux_populate(UNUSED const struct sys *sys, void *memory, size_t size)
{
	if (!madvise(memory, size, MADV_POPULATE_WRITE))
		return 0;
	if (errno != EINVAL)
		return -errno;
	for (size_t at = 0; at < size; at += sys_page_size())
		__atomic_fetch_or((char *)memory + at, 0, __ATOMIC_RELAXED);
	return 0;
}

static int linux_unmap_scratch(UNUSED const struct sys *sys, void *memory, size_t size)
{
	return munmap(memory, size + sys_page_size()) ? -errno : 0;
}

static int linux_unmap(UNUSED const struct sys *sys, void *memory, size_t size)
{
	return munmap(memory, size) ? -errno : 0;
}

#define NODES "/dev/vfio/devices/" /* of devices that were opened by their own */

static unsigned count_descriptors(void)
{
	unsigned count = 0;
	DIR *dir = opendir("/proc/self/fd");

	if (!dir)
		return 0;
	for (const struct dirent *entry; (entry = readdir(dir));) {
		char target[64];
		ssize_t length = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
		if (length < 0)
			continue;
		target[length] = 0;
		count +=
			!strcmp(target, "anon_inode:[vfio-device]") || !strncmp(target, NODES, strlen(NODES));
	}
	closedir(dir);
	return count;
}

static unsigned count_areas(void)
{
	unsigned count = 0;
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "re");

	if (!maps)
		return 0;
	while (fgets(line, sizeof line, maps))
		count += strstr(line, "[vfio-device]") || strstr(line, NODES);
	fclose(maps);
	return count;
}

static void linux_count_holders(UNUSED const struct sys *sys, unsigned *descriptors, unsigned *areas)
{
	int saved = errno;

	*descriptors = count_descriptors();
	*areas = count_areas();
	errno = saved;
}

static void linux_memlock(UNUSED const struct sys *sys, struct sys_memlock *out)
{
	int saved = errno;

	memlock_read(out);
	errno = saved;
}

static int linux_userfaultfd(UNUSED const struct sys *sys, int flags)
{
	long fd = syscall(SYS_userfaultfd, flags | O_CLOEXEC);

	return fd < 0 ? -errno : (int)fd;
}

const struct sys sys_linux = {
	.open = linux_open,
	.dup = linux_dup,
	.close = linux_close,
	.ioctl = linux_ioctl,
	.read = linux_read,
	.write = linux_write,
	.pread = linux_pread,
	.pwrite = linux_pwrite,
	.read_file = linux_read_file,
	.read_link = linux_read_link,
	.find_entry = linux_find_entry,
	.exists = linux_exists,
	.map_file = linux_map_file,
	.map_scratch = linux_map_scratch,
	.populate = linux_populate,
	.unmap_scratch = linux_unmap_scratch,
	.unmap = linux_unmap,
	.count_holders = linux_count_holders,
	.memlock = linux_memlock,
	.userfaultfd = linux_userfaultfd,
};
