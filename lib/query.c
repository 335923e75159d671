/* SPDX-License-Identifier: MIT */
#include "query.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <vfiodirty/error.h>

#include "range.h"

enum { FIRST_TRY = 1024, MOST = 1 << 20 };

/* One try with room for *size bytes; *size becomes what the kernel says it takes. */
static int ask(const struct sys *sys, int fd, unsigned long request, const void *question, size_t head_size,
	       void **answer, uint32_t *size)
{
	*answer = calloc(1, *size);
	if (!*answer)
		return VFD_ENOMEMORY;
	memcpy(*answer, question, head_size);
	memcpy(*answer, size, sizeof *size);
	int rc = sys->ioctl(sys, fd, request, *answer);
	memcpy(size, *answer, sizeof *size);
	return rc < 0 ? rc : 0;
}

/* At least twice as much each time: some answer might want a byte more whatever it is given. */
int query(const struct sys *sys, int fd, unsigned long request, const void *question, size_t head_size,
	  void **answer, uint32_t *size)
{
	uint32_t room;

	for (*size = room = FIRST_TRY; room <= MOST; *size = room = (uint32_t)max_u64(*size, 2 * room)) {
		int rc = ask(sys, fd, request, question, head_size, answer, size);
		if (!rc && *size <= room)
			return 0;
		free(*answer);
		if (rc)
			return rc;
	}
	return -E2BIG;
}
