/* SPDX-License-Identifier: MIT */

/* Which descriptor is which file of VFIO. A file is recognised at the first VFIO ioctl on it, however the descriptor came here: opened,
 * inherited, received. */

#include "guard.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LEAF = 1024, LEAVES = 1024 };

struct file *files;
static struct file **leaves[LEAVES];
static int highest = -1;

static struct file **slot_of(int fd, bool make)
{
	struct file **leaf;

	if (fd < 0 || fd >= LEAF * LEAVES)
		return NULL;
	leaf = __atomic_load_n(&leaves[fd / LEAF], __ATOMIC_ACQUIRE);
	if (!leaf && make) {
		leaf = calloc(LEAF, sizeof *leaf);
		__atomic_store_n(&leaves[fd / LEAF], leaf, __ATOMIC_RELEASE);
	}
	return leaf ? &leaf[fd % LEAF] : NULL;
}

int file_highest(void)
{
	return highest;
}

bool file_known(int fd)
{
	struct file **slot = slot_of(fd, false);

	return slot && __atomic_load_n(slot, __ATOMIC_RELAXED);
}

struct file *file_of(int fd)
{
	struct file **slot = slot_of(fd, false);

	return slot ? *slot : NULL;
}

void file_bind(int fd, struct file *file)
{
	struct file **slot = slot_of(fd, true);

	if (!slot || *slot == file)
		return;
	if (*slot)
		file_unbind(fd); /* it was closed behind our back */
	__atomic_store_n(slot, file, __ATOMIC_RELAXED);
	highest = fd > highest ? fd : highest;
	if (!file->fds++)
		file->fd = fd;
}

static int another(const struct file *file)
{
	for (int fd = 0; fd <= highest; fd++)
		if (file_of(fd) == file)
			return fd;
	return -1;
}

void file_unbind(int fd)
{
	struct file **slot = slot_of(fd, false), *file = slot ? *slot : NULL;

	if (!file)
		return;
	__atomic_store_n(slot, NULL, __ATOMIC_RELAXED);
	file->fds--;
	if (file->fd == fd)
		file->fd = another(file);
}

struct file *file_new(int fd, enum file_kind kind, const char *name)
{
	struct file *file = calloc(1, sizeof *file);

	if (!file)
		return NULL;
	file->kind = kind;
	file->next = files;
	files = file;
	snprintf(file->name, sizeof file->name, "%s", name);
	file->record.page = file->device.log.page = (uint64_t)sysconf(_SC_PAGESIZE);
	file_bind(fd, file);
	return file;
}

void file_free(struct file *file)
{
	struct file **at = &files;

	while (*at && *at != file)
		at = &(*at)->next;
	if (*at)
		*at = file->next;
	range_free(file->record.ranges);
	range_free(file->device.log.ranges);
	for (struct table *t = file->tables, *next; t; t = next) {
		next = t->next;
		range_free(t->record.ranges);
		free(t);
	}
	free(file);
}

bool file_closes_on_exec(const struct file *file)
{
	for (int fd = 0; fd <= highest; fd++)
		if (file_of(fd) == file && !(fcntl(fd, F_GETFD) & FD_CLOEXEC))
			return false;
	return true;
}

void files_not_for(posix_spawn_file_actions_t *actions)
{
	for (int fd = 3; fd <= highest; fd++)
		if (file_of(fd))
			posix_spawn_file_actions_addclose(actions, fd);
}

/* ---- what the kernel calls it ---------------------------------------------------------------------------------------- */

static int kind_of(const char *link)
{
	if (!strcmp(link, "/dev/vfio/vfio"))
		return CONTAINER;
	if (!strcmp(link, "/dev/iommu"))
		return IOMMUFD;
	if (!strcmp(link, "anon_inode:[vfio-device]") || !strncmp(link, "/dev/vfio/devices/", 18))
		return DEVICE;
	return strncmp(link, "/dev/vfio/", 10) ? 0 : GROUP;
}

static bool link_of(const char *process, int fd, char *link, size_t size)
{
	char path[64];
	ssize_t length;

	snprintf(path, sizeof path, "/proc/%s/fd/%d", process, fd);
	length = readlink(path, link, size - 1);
	if (length < 0)
		return false;
	link[length] = 0;
	return true;
}

/* 0: one file. */
static long compare(long pid, int theirs, int ours)
{
	return syscall(SYS_kcmp, (long)getpid(), pid, 0L /* KCMP_FILE */, (long)ours, (long)theirs);
}

/* A container that came from elsewhere may have a record already. Asked where nothing can be mapped, GET clears nothing. */
static void look_at_container(struct file *file)
{
	struct {
		uint32_t argsz, flags;
		uint64_t iova, size, pgsize, bytes, data;
	} get = { .argsz = sizeof get, .flags = 4 /* GET_BITMAP */, .bytes = 8 };
	uint64_t word = 0;

	get.pgsize = get.size = file->record.page;
	get.iova = 0 - 2 * get.size;
	get.data = (uintptr_t)&word;
	if (real_ioctl(file->fd, 0x3b75 /* VFIO_IOMMU_DIRTY_PAGES */, &get) == 0)
		file->record.on = file->record.unseen = true;
}

struct file *file_identify(int fd)
{
	struct file *file;
	char link[64];
	int kind = link_of("self", fd, link, sizeof link) ? kind_of(link) : 0;

	if (!kind)
		return NULL;
	for (file = files; file; file = file->next)
		if ((int)file->kind == kind && file->fds && !compare(getpid(), file->fd, fd)) {
			file_bind(fd, file);
			return file;
		}
	file = file_new(fd, (enum file_kind)kind, link);
	if (file && kind == CONTAINER)
		look_at_container(file);
	if (file && kind == DEVICE)
		device_loud(file);
	return file;
}

/* ---- other processes ------------------------------------------------------------------------------------------------- */

static int held_by(const char *process, const struct file *file)
{
	char path[300], link[64];
	int found = 0;
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%s/fd", process);
	dir = opendir(path);
	while (dir && found != 1 && (entry = readdir(dir))) {
		int fd = atoi(entry->d_name);
		if (entry->d_name[0] == '.' || !link_of(process, fd, link, sizeof link) ||
		    kind_of(link) != (int)file->kind)
			continue;
		long same = compare(atol(process), fd, file->fd);
		found = same == 0 ? 1 : same < 0 ? -1 : found;
	}
	if (dir)
		closedir(dir);
	return found;
}

int file_elsewhere(const struct file *file)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	int found = 0;

	while (dir && found != 1 && (entry = readdir(dir))) {
		long pid = atol(entry->d_name);
		if (pid <= 0 || pid == getpid())
			continue;
		int held = held_by(entry->d_name, file);
		found = held ? held : found;
	}
	if (dir)
		closedir(dir);
	return found;
}

unsigned files_unseen(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	unsigned count = 0;
	char link[64];

	while (dir && (entry = readdir(dir))) {
		int fd = atoi(entry->d_name);
		if (entry->d_name[0] != '.' && link_of("self", fd, link, sizeof link) && kind_of(link))
			count += !file_of(fd);
	}
	if (dir)
		closedir(dir);
	return count;
}
