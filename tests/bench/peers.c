/* SPDX-License-Identifier: MIT */
#include "peers.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

/* ---- one flat array ---- */

void flat_make(struct flat *flat, const struct flat_entry *entries, size_t count)
{
	flat->count = count;
	flat->firsts = calloc(count + 1, sizeof *flat->firsts);
	flat->entries = calloc(count + 1, sizeof *flat->entries);
	if (!flat->firsts || !flat->entries)
		give_up("no memory", -1);
	for (size_t i = 0; i < count; i++) {
		flat->firsts[i] = entries[i].first;
		flat->entries[i] = entries[i];
	}
}

void flat_free(struct flat *flat)
{
	free(flat->firsts);
	free(flat->entries);
}

size_t flat_position(const struct flat *flat, uint64_t address)
{
	const uint64_t *base = flat->firsts;

	for (size_t n = flat->count; n > 1;) {
		size_t half = n / 2;
		base += half & -(size_t)(base[half] <= address);
		n -= half;
	}
	return (size_t)(base - flat->firsts);
}

void *flat_find(const struct flat *flat, uint64_t address)
{
	const struct flat_entry *entry = &flat->entries[flat_position(flat, address)];

	return entry->first <= address && address <= entry->last ? entry->item : NULL;
}

void flat_remove(struct flat *flat, uint64_t first)
{
	size_t at = flat_position(flat, first), rest = --flat->count - at;

	memmove(&flat->firsts[at], &flat->firsts[at + 1], rest * sizeof *flat->firsts);
	memmove(&flat->entries[at], &flat->entries[at + 1], rest * sizeof *flat->entries);
}

void flat_insert(struct flat *flat, const struct flat_entry *entry)
{
	size_t at = flat->count ? flat_position(flat, entry->first) : 0;

	at += at < flat->count && flat->firsts[at] < entry->first;
	size_t rest = flat->count++ - at;
	memmove(&flat->firsts[at + 1], &flat->firsts[at], rest * sizeof *flat->firsts);
	memmove(&flat->entries[at + 1], &flat->entries[at], rest * sizeof *flat->entries);
	flat->firsts[at] = entry->first;
	flat->entries[at] = *entry;
}

void *linear_find(const struct flat *flat, uint64_t address)
{
	for (size_t i = 0; i < flat->count; i++)
		if (flat->entries[i].first <= address && address <= flat->entries[i].last)
			return flat->entries[i].item;
	return NULL;
}

/* ---- libc's tree ---- */

/* Ranges that meet are equal: so a range of one byte finds the one that contains it. */
static int compare_ranges(const void *a, const void *b)
{
	const struct flat_entry *x = a, *y = b;

	return (x->first > y->last) - (x->last < y->first);
}

void tree_add(struct tree *tree, struct flat_entry *entry)
{
	if (!tsearch(entry, &tree->root, compare_ranges))
		give_up("no memory", -1);
}

void tree_remove(struct tree *tree, struct flat_entry *entry)
{
	tdelete(entry, &tree->root, compare_ranges);
}

static void leave_entry(void *entry)
{
	(void)entry;
}

void tree_free(struct tree *tree)
{
	tdestroy(tree->root, leave_entry);
}

void *tree_find(struct tree *tree, uint64_t address)
{
	struct flat_entry key = { .first = address, .last = address };
	struct flat_entry **node = tfind(&key, &tree->root, compare_ranges);

	return node ? (*node)->item : NULL;
}

/* ---- pins ---- */

void counted_make(struct counted *c, uint64_t start, uint64_t iova, uint64_t size)
{
	size_t pieces = size >> PIECE_SHIFT;

	*c = (struct counted){ .start = start };
	c->iovas = calloc(pieces, sizeof *c->iovas);
	c->uses = calloc(pieces, sizeof *c->uses);
	if (!c->iovas || !c->uses)
		give_up("no memory", -1);
	for (size_t i = 0; i < pieces; i++)
		c->iovas[i] = iova + ((uint64_t)i << PIECE_SHIFT);
	pthread_mutex_init(&c->mutex, NULL);
}

void counted_free(struct counted *c)
{
	pthread_mutex_destroy(&c->mutex);
	free(c->iovas);
	free(c->uses);
}

static size_t piece_of(const struct counted *c, uint64_t address)
{
	return (address - c->start) >> PIECE_SHIFT;
}

uint64_t counted_translate(const struct counted *c, uint64_t address)
{
	return c->iovas[piece_of(c, address)] + (address & ((UINT64_C(1) << PIECE_SHIFT) - 1));
}

uint64_t counted_pin(struct counted *c, uint64_t address)
{
	pthread_mutex_lock(&c->mutex);
	c->uses[piece_of(c, address)]++;
	uint64_t iova = counted_translate(c, address);
	pthread_mutex_unlock(&c->mutex);
	return iova;
}

void counted_unpin(struct counted *c, uint64_t address)
{
	pthread_mutex_lock(&c->mutex);
	c->uses[piece_of(c, address)]--;
	pthread_mutex_unlock(&c->mutex);
}

/* ---- runs of set bits ---- */

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t find_next_bit(const uint64_t *words, uint64_t size, uint64_t start)
{
	if (start >= size)
		return size;
	uint64_t w = start / 64, word = words[w] & ~UINT64_C(0) << start % 64;
	while (!word) {
		if (++w * 64 >= size)
			return size;
		word = words[w];
	}
	return smaller(w * 64 + (uint64_t)__builtin_ctzll(word), size);
}

uint64_t find_next_zero_bit(const uint64_t *words, uint64_t size, uint64_t start)
{
	if (start >= size)
		return size;
	uint64_t w = start / 64, word = ~words[w] & ~UINT64_C(0) << start % 64;
	while (!word) {
		if (++w * 64 >= size)
			return size;
		word = ~words[w];
	}
	return smaller(w * 64 + (uint64_t)__builtin_ctzll(word), size);
}

struct run_sum find_runs(const uint64_t *words, uint64_t bits)
{
	struct run_sum sum = { 0 };

	for (uint64_t first = find_next_bit(words, bits, 0); first < bits;) {
		uint64_t end = find_next_zero_bit(words, bits, first);
		sum.runs++;
		sum.bits += end - first;
		first = find_next_bit(words, bits, end);
	}
	return sum;
}

/* ---- bitmaps into bitmaps ---- */

uint64_t qemu_words(_Atomic uint64_t *migration, _Atomic uint64_t *vga, const uint64_t *src, size_t n)
{
	uint64_t pages = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t word = src[i];
		if (!word)
			continue;
		pages += (uint64_t)__builtin_popcountll(word);
		atomic_fetch_or(&migration[i], word);
		atomic_fetch_or(&vga[i], word);
	}
	return pages;
}

uint64_t one_locked_or(_Atomic uint64_t *dst, const uint64_t *src, size_t n)
{
	uint64_t pages = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t word = src[i];
		if (!word)
			continue;
		pages += (uint64_t)__builtin_popcountll(word);
		atomic_fetch_or(&dst[i], word);
	}
	return pages;
}
