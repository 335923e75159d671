/* SPDX-License-Identifier: MIT */
#ifndef MIGRATE_IO_H
#define MIGRATE_IO_H

#include "migrate.h"

#include <sys/uio.h>

/* Bytes to and from the other side. All or nothing: 0, or an enum mig_result with a message. Tests put their own below. */
struct io {
	int (*read)(struct io *io, struct iovec *pieces, size_t count, struct mig_error *err);
	int (*write)(struct io *io, struct iovec *pieces, size_t count, struct mig_error *err);
	bool (*readable)(struct io *io); /* would a read give something at once? */

	struct mig_link link;
	uint64_t stall_ms; /* 0: for ever */
	const atomic_bool
		*stop[2];      /* ends every wait; may be NULL. [0]: cancelled, [1]: another channel failed */
	atomic_ullong written; /* bytes; others may look */
};

/* Over descriptors, which become nonblocking. */
void io_open(struct io *io, const struct mig_link *link, uint64_t stall_ms);

/* Nothing more is written; what still comes is thrown away until the other side closes, or so long: else TCP might throw away what was
 * written last. */
void io_linger(struct io *io, unsigned ms);

/* 0, or why it should end now. */
int io_stopped(const struct io *io, struct mig_error *err);
/* For who waits for something else: 0, or MIG_FAILED: nothing more will come, but for what is on its way. */
int io_hung_up(const struct io *io, struct mig_error *err);

uint64_t now_ns(void);
static inline double ms_since(uint64_t begin)
{
	return (double)(now_ns() - begin) / 1e6;
}

#endif
