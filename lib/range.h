/* SPDX-License-Identifier: MIT */
#ifndef LIB_RANGE_H
#define LIB_RANGE_H

/* Ranges are inclusive, first..last: a range that ends at 2^64 - 1 needs no special case. */

#include <stdbool.h>
#include <stdint.h>

struct range {
	uint64_t first, last;
};

#define RANGE_ALL ((struct range){ 0, UINT64_MAX })

/* The range of size bytes from first. False if size is 0 or the range wraps. */
static inline bool range_make(struct range *out, uint64_t first, uint64_t size)
{
	out->first = first;
	return size && !__builtin_add_overflow(first, size - 1, &out->last);
}

/* Bytes in the range; 0 stands for 2^64. */
static inline uint64_t range_size(struct range r)
{
	return r.last - r.first + 1;
}

static inline bool range_meets(struct range a, struct range b)
{
	return a.first <= b.last && b.first <= a.last;
}

static inline bool range_contains(struct range outer, struct range inner)
{
	return outer.first <= inner.first && inner.last <= outer.last;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Of two ranges that meet */
static inline struct range range_common(struct range a, struct range b)
{
	return (struct range){ max_u64(a.first, b.first), min_u64(a.last, b.last) };
}

static inline bool is_power_of_two(uint64_t v)
{
	return v && !(v & (v - 1));
}

static inline bool is_aligned(uint64_t v, uint64_t page_size)
{
	return !(v & (page_size - 1));
}

#endif
