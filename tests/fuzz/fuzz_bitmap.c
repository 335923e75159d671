/* SPDX-License-Identifier: MIT */

/* libFuzzer: bitmaps. The input is the words, as they are, and where to look; each function of each table of kernels has to say what one gets
 * by looking at one bit after the other. Words end where AddressSanitizer watches. */

#include "bitmap.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 64, HEAD = 6 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool so)
{
	if (!so)
		abort();
}

static bool bit(const uint64_t *words, uint64_t i)
{
	return words[i / 64] >> i % 64 & 1;
}

static void look(const uint64_t *words, uint64_t first, uint64_t last)
{
	uint64_t low = last + 1, high = first, end, found;
	struct bit_run run;

	for (uint64_t i = last + 1; i-- > first;)
		low = bit(words, i) ? i : low;
	for (uint64_t i = first; i <= last; i++)
		high = bit(words, i) ? i : high;
	for (end = low; end < last && bit(words, end + 1);)
		end++;
	bool any = low <= last;
	must(bitmap_any(words, first, last) == any);
	must(bitmap_next(words, first, last, &found) == any && (!any || found == low));
	must(bitmap_prev(words, first, last, &found) == any && (!any || found == high));
	must(bitmap_next_run(words, first, last, &run) == any &&
	     (!any || (run.first == low && run.last == end)));
}

/* All runs, as many calls as it takes. */
static void runs(const struct bitmap_ops *ops, const uint64_t *words, uint64_t first, uint64_t last,
		 size_t room)
{
	struct bit_run *found = malloc(room * sizeof *found), want;
	uint64_t at = first, next = first;

	while (next <= last) {
		size_t count = ops->runs(words, next, last, found, room, &next);
		must(count <= room && (count || next == last + 1));
		for (size_t i = 0; i < count; i++, at = want.last + 1)
			must(bitmap_next_run(words, at, last, &want) && want.first == found[i].first &&
			     want.last == found[i].last);
	}
	must(next == last + 1 && (at > last || !bitmap_any(words, at, last)));
	free(found);
}

static void extract(const uint64_t *words, unsigned to, uint64_t first, uint64_t count)
{
	size_t n = (size_t)(to + count + 63) / 64;
	uint64_t *copy = malloc(n * 8);

	bitmap_extract(copy, to, words, first, count);
	for (uint64_t i = 0; i < n * 64; i++)
		must(bit(copy, i) == (i >= to && i < to + count && bit(words, first + i - to)));
	uint64_t some = bitmap_get(words, first, (unsigned)(count < 64 ? count : 64));
	for (uint64_t i = 0; i < 64; i++)
		must((some >> i & 1) == (i < count && bit(words, first + i)));
	free(copy);
}

/* Whole words: the first half into the second. */
static void merge(const struct bitmap_ops *ops, const uint64_t *words, size_t n)
{
	uint64_t *to = malloc(n * 8 + 8), fresh = 0, mask = 0, new = 0, all = 0;

	memcpy(to, words + n, n * 8);
	for (size_t i = 0; i < n; i++) {
		mask |= (uint64_t) !!words[i] << i;
		new += word_count(words[i] & ~to[i]);
		all += (uint64_t)__builtin_popcountll(words[i]);
	}
	must(ops->nonzero(words, n) == mask && ops->count(words, n) == all);
	must(ops->merge(to, words, n, &fresh) == mask && fresh == new);
	for (size_t i = 0; i < n; i++)
		must(to[i] == (words[i] | words[n + i]));
	ops->and_not(to, words, n);
	for (size_t i = 0; i < n; i++)
		must(to[i] == (words[n + i] & ~words[i]));
	free(to);
}

static void shift(const struct bitmap_ops *ops, const uint64_t *words, unsigned by, size_t n)
{
	uint64_t *to = malloc(n * 8 + 8);

	ops->extract(to, words, by, n);
	for (uint64_t i = 0; i < n * 64; i++)
		must(bit(to, i) == bit(words, i + by));
	free(to);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct bitmap_ops *ops;

	if (size < HEAD + 8)
		return 0;
	size_t n = (size - HEAD) / 8 > 2 * MOST ? 2 * MOST : (size - HEAD) / 8;
	uint64_t *words = malloc(n * 8), bits = n * 64;
	uint64_t first = ((uint64_t)data[0] | (uint64_t)data[1] << 8) % bits;
	uint64_t last = first + ((uint64_t)data[2] | (uint64_t)data[3] << 8) % (bits - first);

	memcpy(words, data + HEAD, n * 8);
	look(words, first, last);
	extract(words, data[4] % 64, first, last - first + 1);
	for (unsigned i = 0; (ops = bitmap_ops_at(i)); i++) {
		runs(ops, words, first, last, 1 + data[5]);
		merge(ops, words, n / 2);
		shift(ops, words, data[4] % 64, n - 1);
	}
	free(words);
	return 0;
}
