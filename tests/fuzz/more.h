/* SPDX-License-Identifier: MIT */
#ifndef TESTS_FUZZ_MORE_H
#define TESTS_FUZZ_MORE_H

/* The public functions that the random operations of tests/random do not call. */

#include "../random/kinds.h"

const char *more_name(unsigned which);
int more_play(struct side *side, unsigned which, const struct op *op);
/* The container was closed: its pin sets and audits went with it. */
void more_closed(void);
/* What these left behind goes. */
void more_end(struct side *side);

#endif
