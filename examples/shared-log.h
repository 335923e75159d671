/* SPDX-License-Identifier: MIT */
#ifndef SHARED_LOG_H
#define SHARED_LOG_H

/* A log that others can look at (vfd-top), and that outlives its process (vfd_log_salvage(3)): its arena is a memfd, whose descriptor stays open. */

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vfiodirty.h>

/* Room for a log of so much memory. Filled and sealed, so that a page of it can always be had. False: no memory. */
static inline bool shared_arena(struct vfd_log_options *options, uint64_t memory)
{
	uint64_t size = ((UINT64_C(1) << 20) + memory / 4096 + 4095) & ~UINT64_C(4095);
	int fd = memfd_create("vfd-log", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *arena = MAP_FAILED;

	if (fd >= 0 && !posix_fallocate(fd, 0, (off_t)size) &&
	    !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		arena = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (arena == MAP_FAILED) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	options->arena = arena;
	options->arena_size = size;
	return true;
}

#endif
