/* SPDX-License-Identifier: MIT */
#ifndef GUARD_LAUNCH_H
#define GUARD_LAUNCH_H

#include <stddef.h>

_Noreturn void die(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* As a shell finds it. Ends with 127 where there is none. */
void find_program(const char *name, char *path, size_t size);
/* Ends with 126 and the reason if a preloaded library would not see its calls. */
void check_program(const char *path);

#endif
