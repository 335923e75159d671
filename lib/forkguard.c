/* SPDX-License-Identifier: MIT */
#include "forkguard.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

enum { GUARD_BYTES = 4096 };

int forkguard_init(struct forkguard *guard)
{
	atomic_int *page =
		mmap(NULL, GUARD_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return -errno;
	if (madvise(page, GUARD_BYTES, MADV_WIPEONFORK)) {
		int code = -errno;
		munmap(page, GUARD_BYTES);
		return code;
	}
	atomic_init(page, 1);
	guard->alive = page;
	return 0;
}

void forkguard_trip(struct forkguard *guard)
{
	atomic_store_explicit((atomic_int *)(uintptr_t)guard->alive, 0, memory_order_release);
}

void forkguard_end(struct forkguard *guard)
{
	munmap((void *)(uintptr_t)guard->alive, GUARD_BYTES);
	guard->alive = NULL;
}
