/* SPDX-License-Identifier: MIT */

/* What the functions of lib/range.h promise, for all numbers there are. Ranges are sets here: an address x is in a range if
 * first <= x <= last. Not here: is_power_of_two() and is_aligned(), which are about bits, of which the provers know little. */

#include "builtins.h"

#include "lib/range.h"

/*@ predicate real_range(struct range r) = r.first <= r.last;
    predicate in(integer x, struct range r) = r.first <= x <= r.last; */

/* It is the bytes first..first + size - 1, or there is no such range. */
/*@ requires \valid(out);
    assigns *out;
    ensures \result <==> size > 0 && first + size - 1 <= UINT64_MAX;
    ensures \result ==> real_range(*out);
    ensures \result ==> \forall integer x; in(x, *out) <==> first <= x < first + size; */
static inline bool range_make(struct range *out, uint64_t first, uint64_t size);

/* All bytes are counted; 2^64 of them are 0. */
/*@ requires real_range(r);
    assigns \nothing;
    ensures r.last - r.first < UINT64_MAX ==> \result == r.last - r.first + 1;
    ensures r.first == 0 && r.last == UINT64_MAX ==> \result == 0; */
static inline uint64_t range_size(struct range r);

/* They have a byte in common. */
/*@ requires real_range(a) && real_range(b);
    assigns \nothing;
    ensures \result <==> \exists integer x; in(x, a) && in(x, b); */
static inline bool range_meets(struct range a, struct range b);

/*@ requires real_range(inner);
    assigns \nothing;
    ensures \result <==> \forall integer x; in(x, inner) ==> in(x, outer); */
static inline bool range_contains(struct range outer, struct range inner);

/*@ assigns \nothing;
    ensures \result == \min(a, b); */
static inline uint64_t min_u64(uint64_t a, uint64_t b);

/*@ assigns \nothing;
    ensures \result == \max(a, b); */
static inline uint64_t max_u64(uint64_t a, uint64_t b);

/* What is in both, and nothing else */
/*@ requires real_range(a) && real_range(b);
    requires \exists integer x; in(x, a) && in(x, b);
    assigns \nothing;
    ensures real_range(\result);
    ensures \forall integer x; in(x, \result) <==> in(x, a) && in(x, b); */
static inline struct range range_common(struct range a, struct range b);
