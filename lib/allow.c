/* SPDX-License-Identifier: MIT */

/* IOVAs that must stay usable, whatever devices come. */

#include <vfiodirty/container.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"

static const char *const op = "iova allow";

static int check(const struct vfd_iova_range *ranges, size_t count, struct vfd_error *err)
{
	if (count > UINT32_MAX || (count && !ranges))
		return fail(err, VFD_EINVALID, op, "%zu ranges, and %s", count,
			    ranges ? "the kernel counts them in 32 bits" : "NULL for them");
	for (size_t i = 0; i < count; i++)
		if (ranges[i].first > ranges[i].last || (i && ranges[i].first <= ranges[i - 1].last))
			return fail(err, VFD_EINVALID, op,
				    "range %zu, %#" PRIx64 "..%#" PRIx64
				    ", ends before it begins, or is not behind the one before it: sort them, "
				    "and join "
				    "those that meet",
				    i, ranges[i].first, ranges[i].last);
	return 0;
}

/* For the address space that is there, and those to come. */
static int allow(struct vfd_container *c, struct vfd_iova_range *ranges, size_t count, struct vfd_error *err)
{
	int rc = is_iommufd(c) ? iommufd_allow(&c->space.backend, ranges, (uint32_t)count) : 0;

	if (!is_iommufd(c))
		return fail(err, VFD_EUNSUPPORTED, op,
			    "type1 has no such list: there a group is refused only when what it cannot reach "
			    "is mapped");
	if (rc)
		return fail_sys(
			err, -rc, "IOMMU_IOAS_ALLOW_IOVAS", "%s",
			rc == -EADDRINUSE
				? "a device that is there cannot reach some of them: see the ranges of "
				  "vfd_container_info()"
				: "the kernel refused; all is as before");
	return 0;
}

int vfd_iova_allow(struct vfd_container *container, const struct vfd_iova_range *ranges, size_t count,
		   struct vfd_error *err)
{
	int rc = check(ranges, count, err);

	if (!rc)
		rc = container_close_gate(container, op, err);
	if (rc)
		return rc;
	struct vfd_iova_range *copy = count ? calloc(count, sizeof *copy) : NULL;
	if (count && !copy)
		rc = fail(err, VFD_ENOMEMORY, op, "no memory for %zu ranges", count);
	if (copy)
		memcpy(copy, ranges, count * sizeof *copy);
	if (!rc)
		rc = allow(container, copy, count, err);
	if (rc)
		free(copy);
	container_open_gate(container);
	return rc;
}
