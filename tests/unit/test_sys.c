/* SPDX-License-Identifier: MIT */

/* The table of calls to the real kernel, on files and memory that every process has: what goes in arrives, what fails is -errno. That
 * VFIO's own files answer as the model does is for tests/real. */

#include "memlock.h"
#include "sys.h"
#include "vma.h"

#include "fixture.h"

#include <check.h> /* after lib/error.h: Check has a macro named fail */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct sys *const sys = &sys_linux;
static char directory[] = "/tmp/vfd-sys-XXXXXX";

/* ---- what a kernel may say that is not this one ---- */

static const char *link_name, *link_target; /* of /proc/self/fd */
static int advice_error;		    /* of madvise(): 0: the kernel's own */

ssize_t __real_readlinkat(int dir, const char *path, char *text, size_t size);
ssize_t __wrap_readlinkat(int dir, const char *path, char *text, size_t size);
int __real_madvise(void *at, size_t size, int advice);
int __wrap_madvise(void *at, size_t size, int advice);

ssize_t __wrap_readlinkat(int dir, const char *path, char *text, size_t size)
{
	if (!link_name || strcmp(path, link_name))
		return __real_readlinkat(dir, path, text, size);
	if (!link_target) {
		errno = ENOENT; /* closed meanwhile */
		return -1;
	}
	size_t length = strlen(link_target) < size ? strlen(link_target) : size;
	memcpy(text, link_target, length);
	return (ssize_t)length;
}

int __wrap_madvise(void *at, size_t size, int advice)
{
	if (!advice_error)
		return __real_madvise(at, size, advice);
	errno = advice_error;
	return -1;
}

/* ---- files ---- */

static bool closes_on_exec(int fd)
{
	return fcntl(fd, F_GETFD) & FD_CLOEXEC;
}

static const char *path_of(const char *name)
{
	static char path[128];

	snprintf(path, sizeof path, "%s/%s", directory, name);
	return path;
}

static void make_file(const char *name, const char *text)
{
	int fd = open(path_of(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (int)strlen(text));
	close(fd);
}

START_TEST(files)
{
	ck_assert_int_eq(sys->open(sys, "/nothing/here", O_RDONLY), -ENOENT);
	int fd = sys->open(sys, "/dev/null", O_RDWR), copy = sys->dup(sys, fd);
	struct stat one, other;

	ck_assert(fd >= 0 && copy >= 3 && copy != fd && closes_on_exec(fd) && closes_on_exec(copy));
	ck_assert(!fstat(fd, &one) && !fstat(copy, &other) && one.st_ino == other.st_ino);
	ck_assert_int_eq(sys->ioctl(sys, fd, VFIO_GET_API_VERSION, NULL), -ENOTTY);
	ck_assert_int_eq(sys->close(sys, fd), 0);
	ck_assert_int_eq(sys->close(sys, copy), 0);
	ck_assert_int_eq(sys->close(sys, fd), -EBADF);
	ck_assert_int_eq(sys->dup(sys, fd), -EBADF);
	ck_assert_int_eq(sys->ioctl(sys, fd, VFIO_GET_API_VERSION, NULL), -EBADF);
}
END_TEST

START_TEST(streams)
{
	char text[8] = { 0 };
	int ends[2], waiting = 0;

	ck_assert(!pipe(ends));
	ck_assert_int_eq(sys->write(sys, ends[1], "dirty", 5), 5);
	ck_assert_int_eq(sys->ioctl(sys, ends[0], FIONREAD, &waiting), 0);
	ck_assert_int_eq(waiting, 5);
	ck_assert_int_eq(sys->read(sys, ends[0], text, sizeof text), 5);
	ck_assert_str_eq(text, "dirty");
	ck_assert_int_eq(sys->read(sys, ends[1], text, 1), -EBADF);
	ck_assert_int_eq(sys->write(sys, ends[0], text, 1), -EBADF);
	close(ends[1]);
	ck_assert_int_eq(sys->read(sys, ends[0], text, 1), 0);
	close(ends[0]);
}
END_TEST

/* Beyond 4 GiB, where a device's regions are */
START_TEST(offsets)
{
	const uint64_t far = UINT64_C(7) << 40;
	int fd = memfd_create("regions", MFD_CLOEXEC);
	char text[8] = { 0 };
	void *memory = NULL;

	ck_assert_int_eq(sys->pwrite(sys, fd, "far", 3, far), 3);
	ck_assert_int_eq(sys->pread(sys, fd, text, sizeof text, far), 3);
	ck_assert_str_eq(text, "far");
	ck_assert_int_eq(sys->pread(sys, fd, text, 1, 0), 1);
	ck_assert_int_eq(text[0], 0);
	ck_assert_int_eq(sys->map_file(sys, fd, far, sys_page_size(), PROT_READ | PROT_WRITE, &memory), 0);
	ck_assert_mem_eq(memory, "far", 4);
	memcpy(memory, "FAR", 3);
	ck_assert_int_eq(sys->pread(sys, fd, text, sizeof text, far), 3);
	ck_assert_str_eq(text, "FAR");
	ck_assert_int_eq(sys->unmap(sys, memory, sys_page_size()), 0);
	ck_assert_int_eq(sys->unmap(sys, (char *)memory + 1, sys_page_size()), -EINVAL);
	void *kept = memory;
	ck_assert_int_eq(sys->map_file(sys, -1, 0, sys_page_size(), PROT_READ, &memory), -EBADF);
	ck_assert_ptr_eq(memory, kept);
	ck_assert_int_eq(sys->pread(sys, -1, text, 1, 0), -EBADF);
	ck_assert_int_eq(sys->pwrite(sys, -1, text, 1, 0), -EBADF);
	close(fd);
}
END_TEST

START_TEST(small_files)
{
	char text[8];

	make_file("line", "abc\n");
	make_file("word", "abc");
	make_file("long", "0123456789");
	make_file("empty", "");
	ck_assert_int_eq(sys->read_file(sys, path_of("line"), text, sizeof text), 3);
	ck_assert_str_eq(text, "abc");
	ck_assert_int_eq(sys->read_file(sys, path_of("word"), text, sizeof text), 3);
	ck_assert_str_eq(text, "abc");
	ck_assert_int_eq(sys->read_file(sys, path_of("long"), text, sizeof text), 7);
	ck_assert_str_eq(text, "0123456");
	ck_assert_int_eq(sys->read_file(sys, path_of("empty"), text, sizeof text), 0);
	ck_assert_str_eq(text, "");
	ck_assert_int_eq(sys->read_file(sys, path_of("none"), text, sizeof text), -ENOENT);
	ck_assert_int_eq(sys->read_file(sys, directory, text, sizeof text), -EISDIR);
	ck_assert_int_eq(sys->exists(sys, path_of("line")), 0);
	ck_assert_int_eq(sys->exists(sys, path_of("none")), -ENOENT);
}
END_TEST

START_TEST(links)
{
	char text[8], *at = strdup(path_of("link"));

	ck_assert(!symlink("../7", at));
	ck_assert_int_eq(sys->read_link(sys, at, text, sizeof text), 4);
	ck_assert_str_eq(text, "../7");
	ck_assert_int_eq(sys->read_link(sys, at, text, 4), 3);
	ck_assert_str_eq(text, "../");
	ck_assert_int_eq(sys->read_link(sys, directory, text, sizeof text), -EINVAL);
	free(at);
}
END_TEST

START_TEST(entries)
{
	char name[8] = "as ever";

	make_file("other", "");
	make_file("vfio-long-name", "");
	ck_assert_int_eq(sys->find_entry(sys, directory, "vfio", name, sizeof name), -ENOENT);
	ck_assert_str_eq(name, "as ever");
	make_file("vfio3", "");
	ck_assert_int_eq(sys->find_entry(sys, directory, "vfio", name, sizeof name), 0);
	ck_assert_str_eq(name, "vfio3");
	ck_assert_int_eq(sys->find_entry(sys, path_of("none"), "vfio", name, sizeof name), -ENOENT);
	ck_assert_int_eq(sys->find_entry(sys, path_of("other"), "vfio", name, sizeof name), -ENOTDIR);
}
END_TEST

/* ---- memory ---- */

/* The kernel is asked: a store would be the end of the test. */
static bool accessible(const void *at)
{
	int ends[2];

	ck_assert(!pipe(ends));
	bool yes = write(ends[1], at, 1) == 1;
	close(ends[0]);
	close(ends[1]);
	return yes;
}

static size_t resident(void *memory, size_t pages)
{
	unsigned char in[16];
	size_t count = 0;

	ck_assert_uint_le(pages, sizeof in);
	ck_assert(!mincore(memory, pages * sys_page_size(), in));
	for (size_t i = 0; i < pages; i++)
		count += in[i] & 1;
	return count;
}

static void populate_keeps(int error)
{
	const size_t page = sys_page_size();
	void *memory;

	ck_assert_int_eq(sys->map_scratch(sys, 8 * page, &memory), 0);
	ck_assert_uint_eq(resident(memory, 8), 0);
	memset((char *)memory + page, 0x5a, page);
	advice_error = error;
	ck_assert_int_eq(sys->populate(sys, memory, 8 * page), 0);
	advice_error = 0;
	ck_assert_uint_eq(resident(memory, 8), 8);
	ck_assert_int_eq(((char *)memory)[page], 0x5a);
	ck_assert_int_eq(((char *)memory)[2 * page], 0);
	ck_assert_int_eq(sys->unmap_scratch(sys, memory, 8 * page), 0);
	ck_assert(!accessible(memory));
}

START_TEST(scratch)
{
	const size_t page = sys_page_size();
	void *memory = NULL;

	ck_assert_int_eq(sys->map_scratch(sys, 2 * page, &memory), 0);
	ck_assert(accessible((char *)memory + 2 * page - 1));
	ck_assert(!accessible((char *)memory + 2 * page));
	ck_assert_int_eq(sys->unmap_scratch(sys, memory, 2 * page), 0);
	ck_assert_int_eq(sys->unmap_scratch(sys, (char *)memory + 1, page), -EINVAL);
	ck_assert_int_eq(sys->map_scratch(sys, SIZE_MAX / page * page - 2 * page, &memory), -ENOMEM);
	populate_keeps(0);
	populate_keeps(EINVAL); /* a kernel that has no such advice */
	ck_assert_int_eq(sys->map_scratch(sys, page, &memory), 0);
	ck_assert_int_eq(sys->unmap_scratch(sys, memory, page), 0);
	ck_assert_int_eq(sys->populate(sys, memory, page), -ENOMEM);
}
END_TEST

/* ---- what is said of this process ---- */

START_TEST(holders)
{
	unsigned descriptors = 77, areas = 77;
	char name[16];
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	errno = EXDEV;
	sys->count_holders(sys, &descriptors, &areas);
	ck_assert_uint_eq(descriptors, 0);
	ck_assert_uint_eq(areas, 0);
	ck_assert_int_eq(errno, EXDEV);
	snprintf(name, sizeof name, "%d", fd);
	link_name = name;
	static const char *const targets[] = { "anon_inode:[vfio-device]", "/dev/vfio/devices/vfio0", NULL };
	for (int i = 0; i < 3; i++) {
		link_target = targets[i];
		sys->count_holders(sys, &descriptors, &areas);
		ck_assert_uint_eq(descriptors, targets[i] ? 1 : 0);
	}
	/* one whose name the list of areas shows as it would a device's */
	int device = memfd_create("[vfio-device]", MFD_CLOEXEC);
	ck_assert(!ftruncate(device, 65536));
	void *area = mmap(NULL, 65536, PROT_READ, MAP_SHARED, device, 0);
	ck_assert(area != MAP_FAILED);
	sys->count_holders(sys, &descriptors, &areas);
	ck_assert_uint_eq(areas, 1);
	munmap(area, 65536);
	close(device);
	close(fd);
}
END_TEST

static void allow_descriptors(rlim_t count)
{
	ck_assert(!setrlimit(RLIMIT_NOFILE, &(struct rlimit){ count, 1024 }));
}

/* What cannot be looked at counts as none, and as it was. */
START_TEST(nothing_can_be_opened)
{
	unsigned descriptors = 77, areas = 77;
	struct sys_memlock lock = { 77, 77 };

	allow_descriptors(0);
	errno = EXDEV;
	sys->count_holders(sys, &descriptors, &areas);
	sys->memlock(sys, &lock);
	ck_assert_int_eq(errno, EXDEV);
	ck_assert_uint_eq(descriptors, 0);
	ck_assert_uint_eq(areas, 0);
	ck_assert_uint_eq(lock.used, 0);
	ck_assert_int_eq(vma_look((struct range){ 0, 4095 }, true).what, VMA_FINE);
	allow_descriptors(1024);
}
END_TEST

static void drop_capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

	ck_assert(!syscall(SYS_capset, &head, none));
}

START_TEST(locked_memory)
{
	struct sys_memlock lock;
	char *memory = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct rlimit limit;

	ck_assert(memory != MAP_FAILED);
	ck_assert(!getrlimit(RLIMIT_MEMLOCK, &limit));
	limit.rlim_cur = limit.rlim_max < 1 << 20 ? limit.rlim_max : 1 << 20;
	ck_assert(!setrlimit(RLIMIT_MEMLOCK, &limit));
	sys->memlock(sys, &lock);
	ck_assert_uint_eq(lock.used, 0);
	drop_capabilities();
	sys->memlock(sys, &lock);
	ck_assert_uint_eq(lock.limit, limit.rlim_cur);
	if (limit.rlim_cur >= 1 << 16) {
		ck_assert(!syscall(SYS_mlock, memory, 1 << 16)); /* sanitizers do nothing at mlock() */
		sys->memlock(sys, &lock);
		ck_assert_uint_eq(lock.used, 1 << 16);
	}
	munmap(memory, 1 << 16);
}
END_TEST

/* capable(): root of a user namespace of its own may not, root of the first one may. */
START_TEST(locked_memory_of_root)
{
	struct rlimit limit = { 1 << 16, 1 << 16 };
	unsigned long from, to, count;
	struct sys_memlock lock;
	FILE *map = fopen("/proc/self/uid_map", "re");

	ck_assert_ptr_nonnull(map);
	ck_assert_int_eq(fscanf(map, "%lu %lu %lu", &from, &to, &count), 3);
	fclose(map);
	ck_assert(!setrlimit(RLIMIT_MEMLOCK, &limit));
	sys->memlock(sys, &lock);
	bool first = !from && !to && count == UINT32_MAX;
	if (geteuid() || !first)
		ck_assert_uint_eq(lock.limit, 1 << 16);
	drop_capabilities();
	sys->memlock(sys, &lock);
	ck_assert_uint_eq(lock.limit, 1 << 16);
}
END_TEST

START_TEST(faults_of_memory)
{
	int fd = sys->userfaultfd(sys, 1 /* UFFD_USER_MODE_ONLY */ | O_NONBLOCK);

	ck_assert(fd >= 0 ? closes_on_exec(fd) : fd == -EPERM || fd == -ENOSYS || fd == -EINVAL);
	if (fd >= 0)
		close(fd);
	fd = sys->userfaultfd(sys, 1 << 20);
	ck_assert(fd == -EINVAL || fd == -EPERM || fd == -ENOSYS);
}
END_TEST

/* ---- what is wrong with memory ---- */

static enum vma_what look(const void *at, size_t pages, bool write)
{
	uintptr_t first = (uintptr_t)at;

	return vma_look((struct range){ first, first + pages * sys_page_size() - 1 }, write).what;
}

START_TEST(memory)
{
	const size_t page = sys_page_size();
	char *m = mmap(NULL, 8 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert(m != MAP_FAILED);
	make_file("disk", "x");
	int fd = open(path_of("disk"), O_RDWR | O_CLOEXEC);
	ck_assert(!ftruncate(fd, (off_t)page));
	ck_assert_int_eq(look(m, 8, true), VMA_FINE);
	ck_assert(!mprotect(m + 2 * page, page, PROT_READ));
	ck_assert_int_eq(look(m, 8, false), VMA_FINE);
	ck_assert_int_eq(look(m, 8, true), VMA_READ_ONLY);
	ck_assert(mmap(m, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == m);
	ck_assert_int_eq(look(m, 2, true), VMA_FILE);
	ck_assert_int_eq(look(m, 8, false), VMA_FILE);
	ck_assert_int_eq(look(m, 8, true), VMA_READ_ONLY); /* which is worse */
	ck_assert(!mprotect(m + page, page, PROT_NONE));
	ck_assert_int_eq(look(m, 8, true), VMA_NO_ACCESS);
	munmap(m + 7 * page, page);
	ck_assert_int_eq(look(m + 3 * page, 5, true), VMA_HOLE);
	struct vma_look seen = vma_look((struct range){ UINT64_MAX - 8191, UINT64_MAX - 4096 }, false);
	ck_assert_int_eq(seen.what, VMA_HOLE); /* behind all that there is */
	ck_assert_uint_eq(seen.at, UINT64_MAX - 8191);
	munmap(m, 7 * page);
	close(fd);
}
END_TEST

START_TEST(version)
{
	char text[32];

	snprintf(text, sizeof text, "%d.%d.%d", VFD_VERSION_MAJOR, VFD_VERSION_MINOR, VFD_VERSION_PATCH);
	ck_assert_str_eq(vfd_version(), text);
}
END_TEST

static int remove_directory(void)
{
	char command[64];

	snprintf(command, sizeof command, "rm -rf %s", directory);
	return system(command);
}

int main(void)
{
	Suite *suite = suite_create("sys");

	if (!mkdtemp(directory))
		return EXIT_FAILURE;
	add_case(suite, "descriptors", files);
	add_case(suite, "streams", streams);
	add_case(suite, "offsets", offsets);
	add_case(suite, "small files", small_files);
	add_case(suite, "links", links);
	add_case(suite, "entries of a directory", entries);
	add_case(suite, "scratch", scratch);
	add_case(suite, "who holds devices", holders);
	add_case(suite, "nothing can be opened", nothing_can_be_opened);
	add_case(suite, "locked memory", locked_memory);
	add_case(suite, "locked memory of root", locked_memory_of_root);
	add_case(suite, "userfaultfd", faults_of_memory);
	add_case(suite, "memory", memory);
	add_case(suite, "version", version);
	int code = run_suite(suite);
	return remove_directory() || code ? EXIT_FAILURE : EXIT_SUCCESS;
}
