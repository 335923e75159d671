/* SPDX-License-Identifier: MIT */
#include "memory.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIZE = RIG_PAGES * RIG_PAGE, LARGE = 2 << 20 };

/* A place for it, then it. */
static unsigned char *map(int flags, int fd)
{
	unsigned char *room = mmap(NULL, SIZE + LARGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (room == MAP_FAILED)
		return MAP_FAILED;
	room += -(uintptr_t)room % LARGE;
	return mmap(room, SIZE, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0);
}

static unsigned char *map_file(int fd, int flags, off_t size)
{
	if (fd < 0 || ftruncate(fd, size))
		return MAP_FAILED;
	unsigned char *memory = map(flags, fd);
	close(fd);
	return memory;
}

static int file_on(const char *directory)
{
	return open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

unsigned char *memory_anonymous(void)
{
	return map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

unsigned char *memory_huge(void)
{
	return map(MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
}

static unsigned char *shared(void)
{
	return map(MAP_SHARED | MAP_ANONYMOUS, -1);
}

static unsigned char *memfd(void)
{
	return map_file(memfd_create("vfd", MFD_CLOEXEC), MAP_SHARED, SIZE);
}

static unsigned char *huge_memfd(void)
{
	return map_file(memfd_create("vfd", MFD_CLOEXEC | MFD_HUGETLB), MAP_SHARED, SIZE);
}

static unsigned char *tmpfs_file(void)
{
	return map_file(file_on("/dev/shm"), MAP_SHARED, SIZE);
}

static unsigned char *private_file(void)
{
	return map_file(file_on("/disk"), MAP_PRIVATE, SIZE);
}

unsigned char *memory_disk_file(void)
{
	return map_file(file_on("/disk"), MAP_SHARED, SIZE);
}

unsigned char *memory_short_file(void)
{
	return map_file(file_on("/dev/shm"), MAP_SHARED, LARGE);
}

bool memory_mount_disk(void)
{
	return !system("mke2fs /dev/ram0 >/dev/null 2>&1") && !mkdir("/disk", 0700) &&
	       !mount("/dev/ram0", "/disk", "ext4", 0, NULL);
}

const struct memory_kind memory_kinds[] = {
	{ "anonymous", memory_anonymous, false },
	{ "anonymous, shared", shared, false },
	{ "huge pages", memory_huge, false },
	{ "memfd", memfd, false },
	{ "memfd of huge pages", huge_memfd, false },
	{ "file on tmpfs", tmpfs_file, false },
	{ "private mapping of a file on ext4", private_file, true },
	{ 0 },
};
