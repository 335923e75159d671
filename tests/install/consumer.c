/* SPDX-License-Identifier: MIT */

/* A program outside the tree, strict C11 and also C++17. It needs no VFIO: it asks for what must be refused. */

#include <vfiodirty.h>

#include <stdio.h>
#include <string.h>

static int refused(const char *what, int code, int want, const struct vfd_error *err)
{
	printf("%s: %s (%s): %s\n", what, vfd_strcode(code), vfd_strerror(code), err->message);
	return code == want && err->code == want && err->message[0];
}

static int bad_arguments(void)
{
	struct vfd_error err;
	int code = vfd_container_open(NULL, NULL, &err);

	return refused("open without a place for the handle", code, VFD_EINVALID, &err);
}

static int bad_path(void)
{
	struct vfd_container_options options;
	struct vfd_container *container = NULL;
	struct vfd_error err;

	memset(&options, 0, sizeof(options));
	options.struct_size = (uint32_t)sizeof(options);
	options.path = "/no/such/container";
	int code = vfd_container_open(&options, &container, &err);
	return !container && code < 0 && refused("open what is not there", code, code, &err) &&
	       !strcmp(vfd_strcode(code), "ENOENT");
}

int main(void)
{
	char header[32];

	snprintf(header, sizeof(header), "%d.%d.%d", VFD_VERSION_MAJOR, VFD_VERSION_MINOR, VFD_VERSION_PATCH);
	printf("%s\n", vfd_version());
	return !strcmp(header, vfd_version()) && bad_arguments() && bad_path() ? 0 : 1;
}
