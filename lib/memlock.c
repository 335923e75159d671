/* SPDX-License-Identifier: MIT */
#include "memlock.h"

#include <linux/capability.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* capable(): the capability counts in the first user namespace only, which maps all users to themselves. */
static bool may_lock_all(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };
	unsigned long from = 1, to = 1, count = 0;

	if (syscall(SYS_capget, &head, data) || !(data[0].effective & 1u << CAP_IPC_LOCK))
		return false;
	FILE *map = fopen("/proc/self/uid_map", "re");
	if (!map)
		return true;
	bool read = fscanf(map, "%lu %lu %lu", &from, &to, &count) == 3;
	fclose(map);
	return !read || (!from && !to && count == UINT32_MAX);
}

static uint64_t locked_bytes(void)
{
	unsigned long long kib = 0;
	char line[256];
	FILE *status = fopen("/proc/self/status", "re");

	if (!status)
		return 0;
	while (fgets(line, sizeof line, status))
		if (sscanf(line, "VmLck: %llu kB", &kib) == 1)
			break;
	fclose(status);
	return kib * 1024;
}

void memlock_read(struct sys_memlock *out)
{
	struct rlimit limit;
	bool none = getrlimit(RLIMIT_MEMLOCK, &limit) || limit.rlim_cur == RLIM_INFINITY || may_lock_all();

	out->limit = none ? UINT64_MAX : limit.rlim_cur;
	out->used = locked_bytes();
}
