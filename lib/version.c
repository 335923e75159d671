/* SPDX-License-Identifier: MIT */
#include <vfiodirty/version.h>

#define TEXT(x)		#x
#define DOTTED(a, b, c) TEXT(a) "." TEXT(b) "." TEXT(c)

const char *vfd_version(void)
{
	return DOTTED(VFD_VERSION_MAJOR, VFD_VERSION_MINOR, VFD_VERSION_PATCH);
}
