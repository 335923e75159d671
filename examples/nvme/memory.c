/* SPDX-License-Identifier: MIT */
#include "nvme.h"

#include <sys/mman.h>

/* Memory at an IOVA of the library's choice: nobody has to know it, a pin says it. Populated, for Linux 6.1 would map the page of zeros
 * for a device that only reads, and the device would never see what is written later. */
struct nvme_memory nvme_map(struct nvme *n, uint64_t log_address, uint64_t size, unsigned flags)
{
	void *start =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	struct vfd_region region = {
		.struct_size = sizeof region,
		.address = log_address,
		.size = size,
		.memory = start,
	};
	struct vfd_mapping mapping = {
		.struct_size = sizeof mapping,
		.flags = flags,
		.size = size,
		.memory = start,
	};

	if (start == MAP_FAILED)
		die("no memory");
	if (!(flags & VFD_MAP_UNLOGGED))
		check(vfd_region_add(n->log, &region, &nvme_error));
	check(vfd_map_anywhere(n->container, &mapping, NULL, &nvme_error));
	return (struct nvme_memory){ start, size, log_address };
}
