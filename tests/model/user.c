/* SPDX-License-Identifier: MIT */
/* This process' memory as the kernel sees a user's: a bad or read-only address is EFAULT. The calls also keep the
 * thread sanitizer from seeing a device's write as this program's. */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "internal.h"

#define USER_END 0x7ffffffff000ull

enum { PIPE_PART = 4096 }; /* as much as a pipe always holds, and no page's border inside */

static size_t by_pipe_part(int ends[2], void *to, const void *from, size_t size)
{
	if (write(ends[1], from, size) != (ssize_t)size)
		return 0;
	ssize_t count = read(ends[0], to, size);
	return count > 0 ? (size_t)count : 0;
}

/* qemu's user mode has no process_vm_readv. It checks addresses as well for a pipe. */
static size_t by_pipe(void *to, const void *from, uint64_t user, size_t size)
{
	size_t done = 0, part, count;
	int ends[2];

	if (pipe(ends))
		return 0;
	do {
		part = PIPE_PART - (user + done) % PIPE_PART;
		part = part < size - done ? part : size - done;
		count = by_pipe_part(ends, (char *)to + done, (const char *)from + done, part);
		done += count;
	} while (done < size && count == part);
	close(ends[0]);
	close(ends[1]);
	return done;
}

static size_t done(ssize_t count)
{
	return count > 0 ? (size_t)count : 0;
}

#ifdef MODEL_TRUSTS_POINTERS /* while fuzzing: a bad one is a find in itself, and to ask about each takes most of the time */

size_t user_read(void *to, uint64_t from, size_t size)
{
	memcpy(to, (const void *)(uintptr_t)from, size);
	return size;
}

size_t user_write(uint64_t to, const void *from, size_t size)
{
	memcpy((void *)(uintptr_t)to, from, size);
	return size;
}

#else

size_t user_read(void *to, uint64_t from, size_t size)
{
	/* cppcheck-suppress ctuuninitvar; it is only written to */
	struct iovec local = { to, size }, remote = { (void *)(uintptr_t)from, size };

	if (!size || from > UINTPTR_MAX)
		return 0;
	ssize_t count = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	return count < 0 && errno == ENOSYS ? by_pipe(to, remote.iov_base, from, size) : done(count);
}

size_t user_write(uint64_t to, const void *from, size_t size)
{
	struct iovec local = { (void *)(uintptr_t)from, size }, remote = { (void *)(uintptr_t)to, size };

	if (!size || to > UINTPTR_MAX)
		return 0;
	ssize_t count = process_vm_writev(getpid(), &local, 1, &remote, 1, 0);
	return count < 0 && errno == ENOSYS ? by_pipe(remote.iov_base, from, to, size) : done(count);
}

#endif

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
