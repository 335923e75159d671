/* SPDX-License-Identifier: MIT */

/* Run by an emulator of user mode: prints what it cannot do, as tags of test cases that are to be left out. */

#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BYTES = 65536 };

static void *memory(int flags)
{
	return mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

static int wipes_on_fork(void)
{
	volatile int *page = memory(0);
	int status;

	if (madvise((void *)page, BYTES, MADV_WIPEONFORK))
		return 0;
	*page = 1;
	pid_t child = fork();
	if (!child)
		_exit(*page);
	return waitpid(child, &status, 0) == child && WIFEXITED(status) && !WEXITSTATUS(status);
}

static int tells_populated(void)
{
	unsigned char in[BYTES / 4096] = { 0 }, out[BYTES / 4096] = { 0 };

	return !mincore(memory(MAP_POPULATE), BYTES, in) && !mincore(memory(0), BYTES, out) && in[0] & 1 &&
	       !(out[0] & 1);
}

int main(void)
{
	if (!wipes_on_fork())
		puts("wipeonfork");
	if (!tells_populated())
		puts("populate");
	return 0;
}
