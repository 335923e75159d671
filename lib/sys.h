/* SPDX-License-Identifier: MIT */
#ifndef LIB_SYS_H
#define LIB_SYS_H

/* The only way to the kernel: one table, so that a model kernel can stand in for the real one. It decides nothing. Every call
 * returns what the kernel returned, an error as -errno; errno itself is not touched on purpose. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Locked memory of this process, in bytes. */
struct sys_memlock {
	uint64_t limit; /* UINT64_MAX: none */
	uint64_t used;
};

struct sys {
	/* A descriptor (close-on-exec is added), or -errno. */
	int (*open)(const struct sys *sys, const char *path, int flags);
	/* A new close-on-exec descriptor for the same file, or -errno. */
	int (*dup)(const struct sys *sys, int fd);
	int (*close)(const struct sys *sys, int fd);
	/* >= 0 or -errno. arg is a pointer to a struct, to an int, to a string, or NULL, as the request wants. */
	int (*ioctl)(const struct sys *sys, int fd, unsigned long request, void *arg);
	/* Of a stream, which has no offsets: bytes, perhaps fewer than asked, 0 at its end; or -errno. */
	ssize_t (*read)(const struct sys *sys, int fd, void *data, size_t size);
	ssize_t (*write)(const struct sys *sys, int fd, const void *data, size_t size);
	/* All three: bytes, or -errno. read_file reads a small file whole, terminates the text, drops a trailing newline. */
	ssize_t (*pread)(const struct sys *sys, int fd, void *data, size_t size, uint64_t offset);
	ssize_t (*pwrite)(const struct sys *sys, int fd, const void *data, size_t size, uint64_t offset);
	ssize_t (*read_file)(const struct sys *sys, const char *path, char *text, size_t size);
	/* Bytes of the link's target, terminated, or -errno. */
	ssize_t (*read_link)(const struct sys *sys, const char *path, char *text, size_t size);
	/* An entry of the directory whose name begins so, terminated. 0, or -errno: ENOENT. */
	int (*find_entry)(const struct sys *sys, const char *path, const char *begin, char *name,
			  size_t size);
	/* 0 if the path exists, or -errno. */
	int (*exists)(const struct sys *sys, const char *path);
	/* Map part of a file, shared. *memory is set on success only. 0 or -errno. */
	int (*map_file)(const struct sys *sys, int fd, uint64_t offset, size_t size, int prot, void **memory);
	/* Private zero pages, not there yet, and behind them one that nobody may touch. size is a multiple of sys_page_size(). 0 or -errno. */
	int (*map_scratch)(const struct sys *sys, size_t size, void **memory);
	/* Bring pages of it in, so that the kernel will not fault on them under its lock. What they hold stays. 0 or -errno. */
	int (*populate)(const struct sys *sys, void *memory, size_t size);
	int (*unmap_scratch)(const struct sys *sys, void *memory, size_t size);
	int (*unmap)(const struct sys *sys, void *memory, size_t size);
	/* How many descriptors, and mapped areas, of VFIO devices this process has. */
	void (*count_holders)(const struct sys *sys, unsigned *descriptors, unsigned *areas);
	/* RLIMIT_MEMLOCK as type1 applies it, and what counts against it. */
	void (*memlock)(const struct sys *sys, struct sys_memlock *out);
	/* A userfaultfd of this process (close-on-exec is added), or -errno. */
	int (*userfaultfd)(const struct sys *sys, int flags);
};

/* The real kernel. */
extern const struct sys sys_linux;

/* Of the CPU. */
size_t sys_page_size(void);

#endif
