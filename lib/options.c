/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <string.h>

#include "error.h"

static int check_size(size_t size, size_t minimum, const char *what, struct vfd_error *err)
{
	if (!size)
		return fail(err, VFD_EINVALID, what, "struct_size is 0: set it to sizeof(%s)", what);
	if (size < minimum)
		return fail(err, VFD_EINVALID, what,
			    "struct_size is %zu, less than the %zu of the first version", size, minimum);
	if (size > OPTIONS_MAX)
		return fail(err, VFD_EINVALID, what,
			    "struct_size is %zu, which is no size: set it to sizeof(%s)", size, what);
	return 0;
}

/* The first nonzero byte in from..to-1, or to */
static size_t first_nonzero(const unsigned char *bytes, size_t from, size_t to)
{
	while (from < to && !bytes[from])
		from++;
	return from;
}

int copy_options(void *dst, size_t known, size_t minimum, const void *user, const char *what,
		 struct vfd_error *err)
{
	uint32_t size;

	if (!user)
		return fail(err, VFD_EINVALID, what, "the pointer to %s is NULL", what);
	memcpy(&size, user, sizeof(size));
	if (size == known) {
		memcpy(dst, user, known);
		return 0;
	}

	int ret = check_size(size, minimum, what, err);
	if (ret)
		return ret;

	size_t odd = first_nonzero(user, known, size);
	if (odd < size)
		return fail(err, VFD_EINVALID, what,
			    "byte %zu of %s is set, but this library knows only the first %zu bytes: zero it "
			    "or use a newer "
			    "library",
			    odd, what, known);
	memset(dst, 0, known);
	memcpy(dst, user, size < known ? size : known);
	return 0;
}
