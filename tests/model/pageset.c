/* SPDX-License-Identifier: MIT */
/* A set of page numbers: a hash of 512-page chunks, and long runs kept as spans (a mapping may be 8 TiB). */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define CHUNK_PAGES 512u
#define LONG_RUN    (1u << 20)

struct chunk {
	uint64_t key; /* chunk number + 1; 0: free */
	uint64_t words[CHUNK_PAGES / 64];
};

struct span {
	uint64_t first, count;
};

static size_t slot_of(const struct pageset *set, uint64_t key)
{
	size_t slot = (size_t)((key * 0x9e3779b97f4a7c15ull) >> 20) & (set->room - 1);

	while (set->chunks[slot].key && set->chunks[slot].key != key)
		slot = (slot + 1) & (set->room - 1);
	return slot;
}

static void rehash(struct pageset *set)
{
	struct pageset bigger = { .room = set->room ? set->room * 2 : 64 };

	bigger.chunks = model_alloc(bigger.room, sizeof(*bigger.chunks));
	for (size_t i = 0; i < set->room; i++)
		if (set->chunks[i].key)
			bigger.chunks[slot_of(&bigger, set->chunks[i].key)] = set->chunks[i];
	free(set->chunks);
	set->chunks = bigger.chunks;
	set->room = bigger.room;
}

static struct chunk *chunk_get(struct pageset *set, uint64_t number)
{
	struct chunk *chunk;

	if (set->used * 2 >= set->room)
		rehash(set);
	chunk = &set->chunks[slot_of(set, number + 1)];
	if (!chunk->key) {
		chunk->key = number + 1;
		set->used++;
	}
	return chunk;
}

static struct chunk *chunk_find(const struct pageset *set, uint64_t number)
{
	struct chunk *chunk;

	if (!set->room)
		return NULL;
	chunk = &set->chunks[slot_of(set, number + 1)];
	return chunk->key ? chunk : NULL;
}

/* Bits [from, from + count) of word `word`, as far as they lie in it. */
static uint64_t mask_of(uint64_t from, uint64_t count, uint64_t word)
{
	uint64_t low = from > word * 64 ? from - word * 64 : 0;
	uint64_t end = from + count - word * 64;

	if (from + count <= word * 64 || low >= 64)
		return 0;
	return (~0ull << low) & (end >= 64 ? ~0ull : (1ull << end) - 1);
}

static bool in_span(const struct pageset *set, uint64_t page)
{
	for (size_t i = 0; i < set->span_count; i++)
		if (page >= set->spans[i].first && page - set->spans[i].first < set->spans[i].count)
			return true;
	return false;
}

static void add_span(struct pageset *set, uint64_t first, uint64_t count)
{
	for (size_t i = 0; i < set->span_count; i++) {
		const struct span *span = &set->spans[i];

		if (first >= span->first && first + count <= span->first + span->count)
			return;
	}
	set->spans = model_grow(set->spans, set->span_count, &set->span_room, sizeof(*set->spans));
	set->spans[set->span_count++] = (struct span){ first, count };
}

static void put_range(struct pageset *set, uint64_t first, uint64_t count, bool value)
{
	while (count) {
		uint64_t from = first % CHUNK_PAGES;
		uint64_t take = count < CHUNK_PAGES - from ? count : CHUNK_PAGES - from;
		struct chunk *chunk =
			value ? chunk_get(set, first / CHUNK_PAGES) : chunk_find(set, first / CHUNK_PAGES);

		for (uint64_t word = from / 64; chunk && word <= (from + take - 1) / 64; word++) {
			uint64_t mask = mask_of(from, take, word);

			chunk->words[word] = value ? chunk->words[word] | mask : chunk->words[word] & ~mask;
		}
		first += take;
		count -= take;
	}
}

void pageset_add(struct pageset *set, uint64_t first, uint64_t count)
{
	if (count >= LONG_RUN)
		add_span(set, first, count);
	else
		put_range(set, first, count, true);
}

/* Only for sets that never hold spans: the truth of a device. */
void pageset_clear_range(struct pageset *set, uint64_t first, uint64_t count)
{
	put_range(set, first, count, false);
}

bool pageset_has(const struct pageset *set, uint64_t page)
{
	const struct chunk *chunk = chunk_find(set, page / CHUNK_PAGES);

	if (chunk && chunk->words[page % CHUNK_PAGES / 64] >> (page % 64) & 1)
		return true;
	return in_span(set, page);
}

/* The first page at or after `page` that has a chunk */
static uint64_t next_chunk(const struct pageset *set, uint64_t page)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < set->room; i++) {
		uint64_t first = set->chunks[i].key ? (set->chunks[i].key - 1) * CHUNK_PAGES : 0;
		if (set->chunks[i].key && first >= page && first < next)
			next = first;
	}
	return next;
}

bool pageset_next(const struct pageset *set, uint64_t *page, uint64_t last)
{
	while (set->used && *page <= last) {
		const struct chunk *chunk = chunk_find(set, *page / CHUNK_PAGES);
		uint64_t word = chunk ? chunk->words[*page % CHUNK_PAGES / 64] >> (*page % 64) : 0;

		if (word) {
			*page += (uint64_t)__builtin_ctzll(word);
			return *page <= last;
		}
		*page = chunk ? (*page / 64 + 1) * 64 : next_chunk(set, *page);
	}
	return false;
}

static uint64_t put_bit(uint64_t *bitmap, uint64_t bit)
{
	if (bitmap)
		bitmap[bit / 64] |= 1ull << (bit % 64);
	return 1;
}

static uint64_t range_with_spans(const struct pageset *set, uint64_t first, uint64_t count, uint64_t *bitmap)
{
	uint64_t found = 0;

	for (uint64_t i = 0; i < count; i++)
		if (pageset_has(set, first + i))
			found += put_bit(bitmap, i);
	return found;
}

/* How many pages of the range are in the set; their bits are set in *bitmap. */
uint64_t pageset_range(const struct pageset *set, uint64_t first, uint64_t count, uint64_t *bitmap)
{
	uint64_t found = 0;

	if (set->span_count)
		return range_with_spans(set, first, count, bitmap);
	for (uint64_t page = first; count && pageset_next(set, &page, first + count - 1); page++)
		found += put_bit(bitmap, page - first);
	return found;
}

static uint64_t chunk_count(const struct chunk *chunk)
{
	uint64_t count = 0;

	for (size_t i = 0; chunk->key && i < CHUNK_PAGES / 64; i++)
		count += (uint64_t)__builtin_popcountll(chunk->words[i]);
	return count;
}

/* Spans are counted as they are: two that overlap count twice. */
uint64_t pageset_count(const struct pageset *set)
{
	uint64_t count = 0;

	for (size_t i = 0; i < set->room; i++)
		count += chunk_count(&set->chunks[i]);
	for (size_t i = 0; i < set->span_count; i++)
		count += set->spans[i].count;
	return count;
}

void pageset_empty(struct pageset *set)
{
	free(set->chunks);
	free(set->spans);
	*set = (struct pageset){ 0 };
}

/* The first bit at or after `bit` whose value is `value`; `end` if there is none before it. */
static uint64_t next_bit(const uint64_t *words, uint64_t bit, uint64_t end, bool value)
{
	while (bit < end) {
		uint64_t word = (value ? words[bit / 64] : ~words[bit / 64]) >> (bit % 64);

		if (word) {
			bit += (uint64_t)__builtin_ctzll(word);
			break;
		}
		bit = (bit / 64 + 1) * 64;
	}
	return bit < end ? bit : end;
}

void pageset_add_bits(struct pageset *set, uint64_t first, const uint64_t *words, uint64_t skip,
		      uint64_t bits, uint64_t scale)
{
	uint64_t end = skip + bits;
	uint64_t from = next_bit(words, skip, end, true);

	while (from < end) {
		uint64_t to = next_bit(words, from, end, false);

		pageset_add(set, first + (from - skip) * scale, (to - from) * scale);
		from = next_bit(words, to, end, true);
	}
}
