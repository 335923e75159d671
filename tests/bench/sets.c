/* SPDX-License-Identifier: MIT */
#include "sets.h"

#ifdef HAVE_ROARING

#include <roaring/roaring.h>

#include "bench.h"

struct set *set_of(const uint64_t *words, size_t n)
{
	roaring_bitmap_t *set = roaring_bitmap_create();

	for (size_t i = 0; i < n; i++)
		for (uint64_t rest = words[i]; rest; rest &= rest - 1)
			roaring_bitmap_add(set, (uint32_t)(i * 64) + (uint32_t)__builtin_ctzll(rest));
	roaring_bitmap_run_optimize(set);
	return (struct set *)set;
}

void set_free(struct set *set)
{
	roaring_bitmap_free((roaring_bitmap_t *)set);
}

/* It hands out elements, in blocks; neighbours make a run. */
double set_runs(void *set)
{
	enum { BLOCK = 256 };
	uint32_t elements[BLOCK], got;
	uint64_t runs = 0, next = UINT64_MAX;
	roaring_uint32_iterator_t at;
	double began = cpu_ns();

	roaring_init_iterator(set, &at);
	while ((got = roaring_read_uint32_iterator(&at, elements, BLOCK)))
		for (uint32_t i = 0; i < got; i++) {
			runs += elements[i] != next;
			next = (uint64_t)elements[i] + 1;
		}
	sink += runs;
	return (cpu_ns() - began) / 1e6;
}

#else

struct set *set_of(const uint64_t *words, size_t n)
{
	(void)words;
	(void)n;
	return NULL;
}

void set_free(struct set *set)
{
	(void)set;
}

double set_runs(void *set)
{
	(void)set;
	return 0;
}

#endif
