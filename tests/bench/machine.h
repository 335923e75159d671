/* SPDX-License-Identifier: MIT */
#ifndef TESTS_BENCH_MACHINE_H
#define TESTS_BENCH_MACHINE_H

/* What one core of this machine can do: the physical limits. Compiled for exactly this machine, with all optimisations. */

#include <stddef.h>
#include <stdint.h>

uint64_t machine_read(const uint64_t *src, size_t n); /* returns the OR of all */
void machine_copy(uint64_t *dst, const uint64_t *src, size_t n);
void machine_or(uint64_t *dst, const uint64_t *src, size_t n); /* dst |= src */

#endif
