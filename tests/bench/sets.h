/* SPDX-License-Identifier: MIT */
#ifndef TESTS_BENCH_SETS_H
#define TESTS_BENCH_SETS_H

/* CRoaring, where it is installed: a compressed set as another way to keep dirty pages. */

#include <stddef.h>
#include <stdint.h>

struct set;

/* NULL where there is no CRoaring. */
struct set *set_of(const uint64_t *words, size_t n);
void set_free(struct set *set);

/* Milliseconds to go through all runs. */
double set_runs(void *set);

#endif
