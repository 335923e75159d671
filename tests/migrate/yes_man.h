/* SPDX-License-Identifier: MIT */
#ifndef TESTS_MIGRATE_YES_MAN_H
#define TESTS_MIGRATE_YES_MAN_H

/* A destination that takes everything, and looks at nothing. */

#include "wire.h"

#include <pthread.h>

struct yes_man {
	struct mig_link link;
	pthread_t thread;
	size_t state; /* bytes */
	bool ran;     /* it was told to run */
};

/* Returns the source's end. */
struct mig_link yes_man_start(struct yes_man *yes_man);
/* When the source has closed it. */
void yes_man_end(struct yes_man *yes_man);

#endif
