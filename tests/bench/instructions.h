/* SPDX-License-Identifier: MIT */
#ifndef TESTS_BENCH_INSTRUCTIONS_H
#define TESTS_BENCH_INSTRUCTIONS_H

#include <stddef.h>
#include <stdint.h>

/* callgrind counts what runs inside it. */
#define MEASURED __attribute__((noinline)) static void

enum { TIMES = 4096 };

struct operation {
	const char *name;
	uint64_t (*run)(void); /* returns how many operations were measured */
	const char *measured;  /* the function with MEASURED in front */
};

/* instructions_pins.c: pins, translation, IOVAs */
extern const struct operation pin_operations[];
extern const size_t pin_operations_count;

#endif
