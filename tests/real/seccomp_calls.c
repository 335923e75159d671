/* SPDX-License-Identifier: MIT */

/* The system calls of docs/system-calls.md as a filter. */

#include "seccomp_calls.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define CALL(name) SYS_##name

/* The library's, docs/check.sh reads them. */
static const uint32_t listed[] = {
	CALL(openat),	  CALL(close),	  CALL(ioctl),	     CALL(read),	  CALL(write),
	CALL(pread64),	  CALL(pwrite64), CALL(lseek),	     CALL(fcntl),	  CALL(newfstatat),
	CALL(getdents64), CALL(readlink), CALL(readlinkat),  CALL(access),	  CALL(mmap),
	CALL(munmap),	  CALL(mremap),	  CALL(mprotect),    CALL(madvise),	  CALL(brk),
	CALL(getrandom),  CALL(futex),	  CALL(sched_yield), CALL(clock_gettime), CALL(clock_nanosleep),
	CALL(prlimit64),  CALL(capget),	  CALL(userfaultfd),
};

/* Of the test alone */
static const uint32_t ours[] = { SYS_exit_group, SYS_rt_sigreturn, SYS_dup };

enum { LISTED = sizeof listed / sizeof listed[0], OURS = sizeof ours / sizeof ours[0], HEAD = 1 };

size_t seccomp_count(void)
{
	return LISTED;
}

static void allow(struct sock_filter *at, uint32_t number)
{
	at[0] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1);
	at[1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
}

int seccomp_install(void)
{
	struct sock_filter code[HEAD + 2 * (LISTED + OURS) + 1];
	struct sock_fprog program = { .len = sizeof code / sizeof code[0], .filter = code };

	code[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (unsigned i = 0; i < LISTED; i++)
		allow(&code[HEAD + 2 * i], listed[i]);
	for (unsigned i = 0; i < OURS; i++)
		allow(&code[HEAD + 2 * (LISTED + i)], ours[i]);
	code[program.len - 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}
