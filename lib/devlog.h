/* SPDX-License-Identifier: MIT */
#ifndef LIB_DEVLOG_H
#define LIB_DEVLOG_H

/* A device's own log of its DMA, as a source of dirty pages: VFIO_DEVICE_FEATURE's DMA_LOGGING_START, REPORT and STOP, and what each
 * failure means. Knows no mapping table and no log. */

#include "range.h"
#include "sys.h"

struct devlog {
	const struct sys *sys;
	int fd;		    /* the device's */
	uint64_t page_size; /* of the log: what START answered */
	bool runs_on;	    /* the last STOP failed */
};

enum {
	DEVLOG_RANGES = 256, /* the kernel takes no more of them: PAGE_SIZE / 16 */
	DEVLOG_TOGETHER =
		64, /* tracked pages that a driver may acknowledge together: a REPORT that begins or ends between them can
			       * lose the others (pds) */
	DEVLOG_COARSEST = 1 << 18, /* the log's pages, in pages that were asked for: 1 GiB in 4 KiB */
};

/* Whether the device says that it can. Some kernels then cannot REPORT all the same: try. */
bool devlog_offered(const struct sys *sys, int fd);

/* Log writes to these ranges: aligned to page_size, disjoint, not ending at 2^64, DEVLOG_RANGES at most. Writes elsewhere are not
 * recorded. The answer's page size is in log->page_size: it may be larger than asked, and ranges then have to be aligned to it. 0 or
 * -errno; -EPROTO: the answer makes no sense, and the log is off. */
int devlog_begin(struct devlog *log, const struct range *ranges, size_t count, uint64_t page_size);

/* OR the pages written in `where`, which lies in one range, into words: one bit per `page` bytes, all of them populated. They are
 * cleared in the device. On an error nobody knows which bits were cleared: everything that the device can write is dirty. 0 or -errno. */
int devlog_read(const struct devlog *log, struct range where, uint64_t page, uint64_t *words);

/* Unread bits are dropped. If it fails the log may run on, and devlog_begin() stops it first: some devices answer a START then with 0. */
int devlog_quit(struct devlog *log);

#endif
