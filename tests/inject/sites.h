/* SPDX-License-Identifier: MIT */
#ifndef TESTS_INJECT_SITES_H
#define TESTS_INJECT_SITES_H

/* Which system calls a life made, and how each can fail. */

#include <stdbool.h>
#include <stddef.h>

enum { SITES = 512, ERRNOS = 10 };

/* What strace is to show: all that the library calls and that can fail without having been executed. Not close: a descriptor that the kernel did
 * not close is a leak made by the test; nor brk, whose failure is no errno. */
#define TRACED                                                                                               \
	"ioctl,openat,mmap,mprotect,madvise,munmap,pread64,read,readlink,readlinkat,access,fcntl,"           \
	"newfstatat,getdents64"

struct site {
	char call[16];	    /* the system call */
	unsigned nth;	    /* of those calls, counted from the program's start */
	char name[40];	    /* of what it asks */
	char argument[160]; /* the beginning of its arguments, as strace prints them without -y */
	const int *errnos;  /* 0 ends */
};

/* The lines of strace -X raw -y between the two marks. How many; 0: it cannot be read. ignored: those with no errno, or of the test device. */
size_t sites_read(const char *path, struct site *sites, size_t *ignored);
/* A line of a run without -y: call, and its arguments; the line itself is cut into pieces. */
bool line_parse(char *line, const char **call, const char **arguments);

#endif
