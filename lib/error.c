/* SPDX-License-Identifier: MIT */
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "probe.h"

struct known {
	int code;
	const char *name;
	const char *text;
};

#define OWN(code, text)                                                                                      \
	{                                                                                                    \
		code, #code, text                                                                            \
	}
#define KERNEL(number, text)                                                                                 \
	{                                                                                                    \
		-(number), #number, text                                                                     \
	}

static const struct known known_codes[] = {
	{ 0, "VFD_OK", "success" },
	OWN(VFD_EINVALID, "invalid argument"),
	OWN(VFD_ESTATE, "not possible in this state"),
	OWN(VFD_EDIRTY, "dirty pages would be lost"),
	OWN(VFD_EPINNED, "part of the range is pinned"),
	OWN(VFD_EDEVICES, "devices are still open"),
	OWN(VFD_EALIAS, "the log address disagrees with the memory's region"),
	OWN(VFD_EFORKED, "called in a forked child"),
	OWN(VFD_EUNSUPPORTED, "not supported here"),
	OWN(VFD_EOVERLAP, "the range overlaps an existing one"),
	OWN(VFD_ENOTMAPPED, "nothing is mapped there"),
	OWN(VFD_ECUT, "the range cuts a mapping"),
	OWN(VFD_ERESERVED, "outside the allowed IOVA ranges"),
	OWN(VFD_EALIGN, "not aligned to the page size"),
	OWN(VFD_EWRAP, "the range reaches the end of the address space"),
	OWN(VFD_ESHORT, "the kernel unmapped less than asked"),
	OWN(VFD_ENOREGION, "the memory lies in no region of the log"),
	OWN(VFD_ELIMIT, "a table is full"),
	OWN(VFD_ENOMEMORY, "out of memory"),
	OWN(VFD_ELOST, "the kernel's dirty record was lost; its pages are assumed dirty"),
	OWN(VFD_EPARTIAL, "it failed, and part of it could not be undone"),
	KERNEL(EPERM, "operation not permitted"),
	KERNEL(ENOENT, "no such file or directory"),
	KERNEL(EINTR, "interrupted"),
	KERNEL(EIO, "input/output error"),
	KERNEL(ENXIO, "no such device or address"),
	KERNEL(E2BIG, "argument list too long"),
	KERNEL(EBADF, "bad file descriptor"),
	KERNEL(EAGAIN, "try again"),
	KERNEL(ENOMEM, "cannot allocate memory"),
	KERNEL(EACCES, "permission denied"),
	KERNEL(EFAULT, "bad address"),
	KERNEL(EBUSY, "device or resource busy"),
	KERNEL(EEXIST, "already exists"),
	KERNEL(ENODEV, "no such device"),
	KERNEL(EINVAL, "invalid argument"),
	KERNEL(ENFILE, "too many open files in the system"),
	KERNEL(EMFILE, "too many open files"),
	KERNEL(ENOTTY, "not supported by this file"),
	KERNEL(ENOSPC, "no room left"),
	KERNEL(ERANGE, "out of range"),
	KERNEL(EDEADLK, "would deadlock"),
	KERNEL(ENOSYS, "not implemented by this kernel"),
	KERNEL(EBADFD, "file descriptor in bad state"),
	KERNEL(EOVERFLOW, "value too large"),
	KERNEL(EOPNOTSUPP, "not supported"),
	KERNEL(EADDRINUSE, "address in use"),
	KERNEL(ENOTCONN, "not connected"),
	KERNEL(ETIMEDOUT, "timed out"),
};

static const struct known *find_known(int code)
{
	for (size_t i = 0; i < sizeof known_codes / sizeof known_codes[0]; i++)
		if (known_codes[i].code == code)
			return &known_codes[i];
	return NULL;
}

const char *vfd_strerror(int code)
{
	const struct known *known = find_known(code);

	return known ? known->text : "unknown error";
}

const char *vfd_strcode(int code)
{
	const struct known *known = find_known(code);

	return known ? known->name : "?";
}

static void fill(struct vfd_error *err, int code, int sys_errno, const char *operation, uint64_t first,
		 uint64_t last, const char *format, va_list args)
{
	int saved = errno;

	err->code = code;
	err->sys_errno = sys_errno == -VFD_ENOMEMORY ? 0 : sys_errno;
	err->operation = operation;
	err->first = first;
	err->last = last;
	int used = vsnprintf(err->message, sizeof err->message, format, args);
	if (sys_errno && used >= 0 && (size_t)used < sizeof err->message)
		snprintf(err->message + used, sizeof err->message - (size_t)used, " (%s: %s)",
			 vfd_strcode(-sys_errno), vfd_strerror(-sys_errno));
	errno = saved;
}

static void refuse(struct vfd_error *err, int code, int sys_errno, const char *operation, uint64_t first,
		   uint64_t last, const char *format, va_list args)
{
	if (err)
		fill(err, code, sys_errno, operation, first, last, format, args);
	probe(refuse, code, operation, err ? err->message : NULL, first, last);
}

#define REFUSE(err, code, sys_errno, operation, first, last, format)                                         \
	do {                                                                                                 \
		va_list args;                                                                                \
		va_start(args, format);                                                                      \
		refuse(err, code, sys_errno, operation, first, last, format, args);                          \
		va_end(args);                                                                                \
	} while (0)

int fail(struct vfd_error *err, int code, const char *operation, const char *format, ...)
{
	REFUSE(err, code, 0, operation, 1, 0, format);
	return code;
}

int fail_range(struct vfd_error *err, int code, const char *operation, uint64_t first, uint64_t last,
	       const char *format, ...)
{
	REFUSE(err, code, 0, operation, first, last, format);
	return code;
}

int fail_sys(struct vfd_error *err, int sys_errno, const char *operation, const char *format, ...)
{
	REFUSE(err, -sys_errno, sys_errno, operation, 1, 0, format);
	return -sys_errno;
}

int fail_sys_range(struct vfd_error *err, int sys_errno, const char *operation, uint64_t first, uint64_t last,
		   const char *format, ...)
{
	REFUSE(err, -sys_errno, sys_errno, operation, first, last, format);
	return -sys_errno;
}
