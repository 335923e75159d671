/* SPDX-License-Identifier: MIT */
#ifndef TESTS_REAL_SECCOMP_CALLS_H
#define TESTS_REAL_SECCOMP_CALLS_H

#include <stddef.h>

/* From now on a system call that the library does not need raises SIGSYS. 0 or -1. */
int seccomp_install(void);
/* How many there are on the list. */
size_t seccomp_count(void);

#endif
