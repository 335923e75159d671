/* SPDX-License-Identifier: MIT */
/* This process' memory as the kernel sees a user's: a bad or read-only address is EFAULT. The calls also keep the
 * thread sanitizer from seeing a device's write as this program's. */
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "internal.h"

#define USER_END 0x7ffffffff000ull

size_t user_read(void *to, uint64_t from, size_t size)
{
	/* cppcheck-suppress ctuuninitvar; it is only written to */
	struct iovec local = { to, size }, remote = { (void *)(uintptr_t)from, size };
	ssize_t count = size ? process_vm_readv(getpid(), &local, 1, &remote, 1, 0) : 0;

	return count > 0 ? (size_t)count : 0;
}

size_t user_write(uint64_t to, const void *from, size_t size)
{
	struct iovec local = { (void *)(uintptr_t)from, size }, remote = { (void *)(uintptr_t)to, size };
	ssize_t count = size ? process_vm_writev(getpid(), &local, 1, &remote, 1, 0) : 0;

	return count > 0 ? (size_t)count : 0;
}

bool user_range_ok(uint64_t address, uint64_t size)
{
	return size <= USER_END && address <= USER_END - size;
}

int copy_in(void *to, const void *user, size_t size)
{
	return user_read(to, (uintptr_t)user, size) == size ? 0 : -EFAULT;
}

int copy_out(void *user, const void *from, size_t size)
{
	return user_write((uintptr_t)user, from, size) == size ? 0 : -EFAULT;
}
