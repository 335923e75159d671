/* SPDX-License-Identifier: MIT */
#ifndef LIB_MEMLOCK_H
#define LIB_MEMLOCK_H

/* How much memory this process may still lock, as type1 counts. */

#include "sys.h"

void memlock_read(struct sys_memlock *out);

#endif
