/* SPDX-License-Identifier: MIT */
#ifndef TESTS_INJECT_RUN_H
#define TESTS_INJECT_RUN_H

/* One life under strace, and what it said. */

#include "sites.h"

struct programs {
	const char *strace, *life;
	const char *kind, *policy; /* of the life */
	char device[4];		   /* which of those that the bench has */
	char trace[32];		   /* a file */
};

struct outcome {
	int code; /* of the life; 128 and more: it was killed */
	unsigned pages, lost, stale, added, failed, undone;
	int left;	/* descriptors */
	char line[600]; /* all of it */
};

/* Without a fault, everything traced into the file. */
struct outcome run_traced(const struct programs *p);
/* The site's call fails with error, from its nth time on, so many times. elsewhere: it was another call than the site's. */
struct outcome run_injected(const struct programs *p, const struct site *site, int error, unsigned times,
			    bool *injected, bool *elsewhere);

#endif
