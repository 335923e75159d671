/* SPDX-License-Identifier: MIT */
#ifndef TESTS_PROOF_BUILTINS_H
#define TESTS_PROOF_BUILTINS_H

/* What the compiler's own functions do, as its manual has it: believed, not proved. */

#include <stdbool.h>
#include <stdint.h>

/*@ requires \valid(sum);
    assigns *sum;
    ensures *sum == (uint64_t)(a + b);
    ensures \result <==> a + b > UINT64_MAX; */
bool sum_wraps(uint64_t a, uint64_t b, uint64_t *sum);

#define __builtin_add_overflow sum_wraps

#endif
