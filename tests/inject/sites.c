/* SPDX-License-Identifier: MIT */
#include "sites.h"

#include <ctype.h>
#include <errno.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* docs/kernel-contract.md; and EINTR, which it knows of fatal signals only. Where it says "never" that is ENOTTY: a file of another kind. */
static const struct rule {
	const char *call;
	const char *file; /* of an ioctl: the beginning of what its descriptor is */
	unsigned long request;
	const char *name;
	int errnos[ERRNOS];
} rules[] = {
#define CONTAINER "ioctl", "/dev/vfio/vfio"
	{ CONTAINER, VFIO_GET_API_VERSION, "GET_API_VERSION", { ENOTTY } },
	{ CONTAINER, VFIO_CHECK_EXTENSION, "CHECK_EXTENSION", { ENOTTY } },
	{ CONTAINER, VFIO_SET_IOMMU, "SET_IOMMU", { EINVAL, ENODEV, EPERM, EBUSY, ENOMEM, EINTR } },
	{ CONTAINER, VFIO_IOMMU_GET_INFO, "GET_INFO", { EFAULT, EINVAL, ENOMEM, EINTR } },
	{ CONTAINER, VFIO_IOMMU_MAP_DMA, "MAP_DMA", { EFAULT, EINVAL, EEXIST, ENOSPC, ENOMEM, EINTR } },
	{ CONTAINER, VFIO_IOMMU_UNMAP_DMA, "UNMAP_DMA", { EFAULT, EINVAL, ENOMEM, EINTR } },
	{ CONTAINER,
	  VFIO_IOMMU_DIRTY_PAGES,
	  "DIRTY_PAGES",
	  { EFAULT, EINVAL, EACCES, ENOTTY, ENOMEM, EINTR } },
#define GROUP "ioctl", "/dev/vfio/"
	{ GROUP, VFIO_GROUP_GET_STATUS, "GROUP_GET_STATUS", { EFAULT, EINVAL, ENODEV } },
	{ GROUP,
	  VFIO_GROUP_SET_CONTAINER,
	  "SET_CONTAINER",
	  { EFAULT, EBADF, EINVAL, ENODEV, EBADFD, EPERM, EBUSY, ENOMEM, EINTR } },
	{ GROUP, VFIO_GROUP_UNSET_CONTAINER, "UNSET_CONTAINER", { EINVAL, EBUSY, EINTR } },
	{ GROUP,
	  VFIO_GROUP_GET_DEVICE_FD,
	  "GET_DEVICE_FD",
	  { EFAULT, EINVAL, ENODEV, EPERM, EMFILE, EBUSY, ENOMEM, EIO, EINTR } },
#define DEVICE "ioctl", "anon_inode:[vfio-device]"
	{ DEVICE, VFIO_DEVICE_GET_INFO, "DEVICE_GET_INFO", { EFAULT, EINVAL, ENOMEM, EIO } },
	{ DEVICE, VFIO_DEVICE_GET_REGION_INFO, "GET_REGION_INFO", { EFAULT, EINVAL, ENOMEM, EIO } },
	{ DEVICE, VFIO_DEVICE_GET_IRQ_INFO, "GET_IRQ_INFO", { EFAULT, EINVAL, EIO } },
	{ DEVICE, VFIO_DEVICE_SET_IRQS, "SET_IRQS", { EFAULT, EINVAL, ENOMEM, EIO } },
	{ DEVICE, VFIO_DEVICE_RESET, "DEVICE_RESET", { EINVAL, EIO, EAGAIN, ENOTTY, EINTR } },
	{ DEVICE,
	  VFIO_DEVICE_FEATURE,
	  "DEVICE_FEATURE",
	  { EFAULT, EINVAL, ENOTTY, EIO, ENOMEM, EOPNOTSUPP, EOVERFLOW, ENOTCONN, EINTR } },
	{ "openat", "", 0, "open", { ENOENT, EACCES, EPERM, EBUSY, ENODEV, EMFILE, ENFILE, ENOMEM, EINTR } },
	{ "mmap", "", 0, "mmap", { ENOMEM, EAGAIN } },
	{ "mprotect", "", 0, "mprotect", { ENOMEM } },
	{ "madvise", "", 0, "madvise", { ENOMEM, EFAULT, EINVAL, EAGAIN } },
	{ "munmap", "", 0, "munmap", { ENOMEM } },
	{ "pread64", "", 0, "pread", { EIO, EFAULT, EINTR } },
	{ "read", "", 0, "read", { EIO, EINTR } },
	{ "readlink", "", 0, "readlink", { ENOENT, EACCES, ENOMEM } },
	{ "readlinkat", "", 0, "readlinkat", { ENOENT, EACCES } },
	{ "access", "", 0, "access", { ENOENT, EACCES } },
	{ "fcntl", "", 0, "fcntl", { EMFILE } },
	{ "newfstatat", "", 0, "fstat", { ENOMEM } },
	{ "getdents64", "", 0, "getdents", { ENOENT } },
};

static const struct rule *rule_for(const char *call, const char *file, unsigned long request)
{
	for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
		const struct rule *r = &rules[i];

		if (!strcmp(r->call, call) && !strncmp(file, r->file, strlen(r->file)) &&
		    r->request == request)
			return r;
	}
	return NULL;
}

bool line_parse(char *line, const char **call, const char **arguments)
{
	line += strspn(line, "0123456789 "); /* the process */
	size_t length = strcspn(line, "(");

	if (!line[length] || !islower((unsigned char)*line))
		return false;
	line[length] = 0;
	*call = line;
	*arguments = line + length + 1;
	return true;
}

/* "3</dev/vfio/vfio>, 0x3b64, ..." */
static void read_ioctl(const char *arguments, char *file, size_t size, unsigned long *request)
{
	const char *begin = strchr(arguments, '<'), *end = strstr(arguments, ">, ");

	*file = 0;
	*request = 0;
	if (!begin || !end)
		return;
	snprintf(file, size, "%.*s", (int)(end - begin - 1), begin + 1);
	*request = strtoul(end + 3, NULL, 0);
}

/* Without what -y adds in <>, up to the first argument that may differ between runs: an address. */
static void strip(const char *from, char *to, size_t size)
{
	size_t n = 0;
	bool inside = false;

	for (; *from && n + 1 < size && *from != ')'; from++) {
		inside |= *from == '<';
		if (!inside)
			to[n++] = *from;
		inside &= *from != '>';
	}
	to[n] = 0;
}

static const struct rule *look_up(const char *call, const char *arguments)
{
	unsigned long request = 0;
	char file[128] = "";

	if (!strcmp(call, "ioctl"))
		read_ioctl(arguments, file, sizeof file, &request);
	return rule_for(call, file, request);
}

struct counter {
	char call[16];
	unsigned count;
};

static unsigned count_call(struct counter *counters, size_t count, const char *call)
{
	for (size_t i = 0; i < count; i++) {
		if (!counters[i].call[0])
			snprintf(counters[i].call, sizeof counters[i].call, "%s", call);
		if (!strcmp(counters[i].call, call))
			return ++counters[i].count;
	}
	return 0;
}

static bool is_mark(const char *call, const char *arguments, const char *which)
{
	return !strcmp(call, "access") && strstr(arguments, which);
}

static void fill(struct site *site, const struct rule *rule, const char *call, unsigned nth,
		 const char *arguments)
{
	snprintf(site->call, sizeof site->call, "%s", call);
	snprintf(site->name, sizeof site->name, "%s", rule->name);
	site->nth = nth;
	site->errnos = rule->errnos;
	strip(arguments, site->argument, sizeof site->argument);
}

size_t sites_read(const char *path, struct site *sites, size_t *ignored)
{
	struct counter counters[32] = { 0 };
	const char *call, *arguments;
	size_t count = 0;
	bool inside = false;
	char line[1024];
	FILE *file = fopen(path, "re");

	*ignored = 0;
	while (file && fgets(line, sizeof line, file) && count < SITES) {
		if (!line_parse(line, &call, &arguments))
			continue;
		unsigned nth = count_call(counters, 32, call);
		if (is_mark(call, arguments, "inject:begin"))
			inside = true;
		else if (is_mark(call, arguments, "inject:end"))
			break;
		const struct rule *rule =
			inside && !is_mark(call, arguments, "inject:") ? look_up(call, arguments) : NULL;
		if (rule)
			fill(&sites[count++], rule, call, nth, arguments);
		else
			*ignored += inside;
	}
	if (file)
		fclose(file);
	return count;
}
