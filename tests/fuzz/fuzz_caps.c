/* SPDX-License-Identifier: MIT */

/* libFuzzer: any bytes as the kernel's answers with chains of capabilities. What comes out lies within what may come out. */

#include "caps.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_container(const void *answer, size_t size)
{
	struct caps caps;

	caps_parse(answer, size, &caps);
	if (caps.range_count > VFD_INFO_RANGES || caps.range_count > caps.range_total)
		abort();
	uint64_t page = caps_page_size(&caps);
	if (page & (page - 1))
		abort();
}

static void check_region(const void *answer, size_t size)
{
	struct vfd_device_region region;

	memset(&region, 0, sizeof region);
	caps_parse_region(answer, size, &region);
}

/* Of exactly its size, and aligned as the library's own: AddressSanitizer sees what lies beyond. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	void *answer = malloc(size ? size : 1);
	size_t available;

	if (size)
		memcpy(answer, data, size);
	if (size >= 64) {
		check_container(answer, size);
		check_region(answer, size);
	}
	for (uint16_t id = 0; size && id < 6; id++) {
		const uint8_t *cap = caps_find(answer, size, data[0], id, 16, &available);
		if (cap && (cap < (const uint8_t *)answer || available < 16 ||
			    available > size - (size_t)(cap - (const uint8_t *)answer)))
			abort();
	}
	free(answer);
	return 0;
}
