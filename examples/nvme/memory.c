/* SPDX-License-Identifier: MIT */
#include "nvme.h"

#include <sys/mman.h>

/* Populated, for Linux 6.1 would map the page of zeros for a device that only reads, and the device would never see what is written
 * later. */
struct nvme_memory nvme_memory(struct vfd_log *log, uint64_t log_address, uint64_t size)
{
	void *start =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	struct vfd_region region = {
		.struct_size = sizeof region,
		.address = log_address,
		.size = size,
		.memory = start,
	};

	if (start == MAP_FAILED)
		die("no memory");
	if (log)
		check(vfd_region_add(log, &region, &nvme_error));
	return (struct nvme_memory){ start, size, log_address };
}

/* At an IOVA of the library's choice: nobody has to know it, a pin says it. */
void nvme_map(struct nvme *n, const struct nvme_memory *memory, unsigned flags)
{
	struct vfd_mapping mapping = {
		.struct_size = sizeof mapping,
		.flags = flags,
		.size = memory->size,
		.memory = memory->start,
	};

	check(vfd_map_anywhere(n->container, &mapping, NULL, &nvme_error));
}
