/* SPDX-License-Identifier: MIT */
#ifndef TESTS_PROOF_BITMAP_H
#define TESTS_PROOF_BITMAP_H

/* What the portable functions of lib/bitmap.h promise. */

#include "builtins.h"

#include <stddef.h>

/* Bits: what everybody knows of them, for the provers do not */
/*@ axiomatic Bits {
      predicate bit(integer word, integer i);
      axiom none: \forall integer w; 0 <= w <= UINT64_MAX ==> ((\forall integer i; 0 <= i < 64 ==> !bit(w, i)) <==> w == 0);
      axiom both: \forall integer v, integer w, integer i; 0 <= i < 64 ==> (bit(v & w, i) <==> bit(v, i) && bit(w, i));
      axiom either: \forall integer v, integer w, integer i; 0 <= i < 64 ==> (bit(v | w, i) <==> bit(v, i) || bit(w, i));
      axiom right: \forall uint64_t w, integer n, integer i; 0 <= n < 64 && 0 <= i < 64 ==>
        (bit(w >> n, i) <==> i + n < 64 && bit(w, i + n));
      axiom left: \forall uint64_t w, integer n, integer i; 0 <= n < 64 && 0 <= i < 64 ==>
        (bit((uint64_t)(w << n), i) <==> i >= n && bit(w, i - n));
    }
    predicate is_set{L}(uint64_t *words, integer i) = bit(words[i / 64], i % 64);
    predicate no_bits{L}(uint64_t *words, integer first, integer last) = \forall integer i; first <= i <= last ==> !is_set(words, i); */

/*@ requires word != 0;
    assigns \nothing;
    ensures 0 <= \result < 64 && bit(word, \result);
    ensures \forall integer i; 0 <= i < \result ==> !bit(word, i); */
int lowest_bit(uint64_t word);
#define __builtin_ctzll lowest_bit

/*@ requires word != 0;
    assigns \nothing;
    ensures 0 <= \result < 64 && bit(word, 63 - \result);
    ensures \forall integer i; 63 - \result < i < 64 ==> !bit(word, i); */
int bits_above(uint64_t word);
#define __builtin_clzll bits_above

#include "lib/bitmap.h"

/* Tested with all its arguments, not proved: tests/unit/test_bitmap.c */
/*@ requires first <= last < 64;
    assigns \nothing;
    ensures \forall integer i; 0 <= i < 64 ==> (bit(\result, i) <==> first <= i <= last); */
static inline uint64_t word_range(unsigned first, unsigned last);

/*@ requires first <= last && first / 64 <= w <= last / 64;
    assigns \nothing;
    ensures \forall integer i; 0 <= i < 64 ==> (bit(\result, i) <==> first <= 64 * w + i <= last); */
static inline uint64_t word_mask(uint64_t w, uint64_t first, uint64_t last);

/*@ requires word != 0;
    assigns \nothing;
    ensures \result < 64 && bit(word, \result);
    ensures \forall integer i; 0 <= i < \result ==> !bit(word, i); */
static inline unsigned word_first(uint64_t word);

/*@ requires word != 0;
    assigns \nothing;
    ensures \result < 64 && bit(word, \result);
    ensures \forall integer i; \result < i < 64 ==> !bit(word, i); */
static inline unsigned word_last(uint64_t word);

/* No word is read that holds none of the bits asked about. */
/*@ requires 1 <= n <= 64 && first + n - 1 <= UINT64_MAX;
    requires \valid_read(words + (first / 64 .. (first + n - 1) / 64));
    assigns \nothing;
    ensures \forall integer i; 0 <= i < 64 ==> (bit(\result, i) <==> i < n && is_set(words, first + i)); */
uint64_t bitmap_get(const uint64_t *words, uint64_t first, unsigned n);

/*@ requires first <= last && \valid_read(words + (first / 64 .. last / 64));
    requires \valid(found) && \separated(found, words + (first / 64 .. last / 64));
    assigns *found;
    ensures \result ==> first <= *found <= last && is_set(words, *found) && no_bits(words, first, *found - 1);
    ensures !\result ==> no_bits(words, first, last); */
bool bitmap_next(const uint64_t *words, uint64_t first, uint64_t last, uint64_t *found);

/*@ requires first <= last && \valid_read(words + (first / 64 .. last / 64));
    requires \valid(found) && \separated(found, words + (first / 64 .. last / 64));
    assigns *found;
    ensures \result ==> first <= *found <= last && is_set(words, *found) && no_bits(words, *found + 1, last);
    ensures !\result ==> no_bits(words, first, last); */
bool bitmap_prev(const uint64_t *words, uint64_t first, uint64_t last, uint64_t *found);

/*@ requires first <= last && \valid_read(words + (first / 64 .. last / 64));
    assigns \nothing;
    ensures !\result <==> no_bits(words, first, last); */
bool bitmap_any(const uint64_t *words, uint64_t first, uint64_t last);

#endif
