/* SPDX-License-Identifier: MIT */

/* libFuzzer: the allocator of IOVAs, against a byte per page. Five bytes are a call. The last page of the world ends at 2^64. */

#include "extents.h"

#include <stdlib.h>
#include <string.h>

enum { PAGES = 256, CALL_BYTES = 5, MOST = 64 };

#define PAGE UINT64_C(4096)
#define BASE (UINT64_MAX - PAGES * PAGE + 1)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct world {
	struct extents extents;
	bool is_free[PAGES];
	struct range taken[MOST];
	unsigned count;
} w;

static void must(bool so)
{
	if (!so)
		abort();
}

static struct range pages(uint64_t first, uint64_t last)
{
	return (struct range){ BASE + first * PAGE, BASE + last * PAGE + (PAGE - 1) };
}

static uint64_t page(uint64_t address)
{
	return (address - BASE) / PAGE;
}

static bool all(struct range where, bool is_free)
{
	for (uint64_t i = page(where.first); i <= page(where.last); i++)
		if (w.is_free[i] != is_free)
			return false;
	return true;
}

static void paint(struct range where, bool is_free)
{
	must(all(where, !is_free));
	for (uint64_t i = page(where.first); i <= page(where.last); i++)
		w.is_free[i] = is_free;
}

static bool fits(const struct extent_want *want, uint64_t at)
{
	struct range where;

	return range_make(&where, BASE + at * PAGE, want->size) && range_contains(want->within, where) &&
	       !((where.first - want->offset) % want->align) && all(where, true);
}

/* The free pages around one */
static uint64_t room(uint64_t at)
{
	uint64_t first = at, last = at;

	while (first && w.is_free[first - 1])
		first--;
	while (last + 1 < PAGES && w.is_free[last + 1])
		last++;
	return last - first;
}

/* Lowest, or in the smallest run. PAGES: nowhere. */
static uint64_t place(const struct extent_want *want)
{
	uint64_t best = PAGES;

	for (uint64_t at = 0; at < PAGES; at++)
		if (fits(want, at) && (best == PAGES || (want->best && room(at) < room(best))))
			best = at;
	return best;
}

static void note(struct range where)
{
	paint(where, false);
	w.taken[w.count++] = where;
}

static void find(const uint8_t *b)
{
	struct extent_want want = { .size = (1 + (uint64_t)b[1] % 40) * PAGE,
				    .align = PAGE << b[2] % 7,
				    .within = pages(b[3] / 2, 128 + b[4] / 2),
				    .best = b[2] & 0x80 };
	struct range found;

	want.offset = (uint64_t)(b[2] >> 3 & 15) * PAGE;
	uint64_t at = place(&want);
	enum extents_result result = extents_find(&w.extents, &want, &found);
	must(result == (at == PAGES ? EXTENTS_NONE : EXTENTS_OK));
	if (result != EXTENTS_OK)
		return;
	must(found.first == BASE + at * PAGE && range_size(found) == want.size);
	note(found);
}

static void take(const uint8_t *b)
{
	struct range where = pages(b[1], b[2] < b[1] ? b[1] : b[2]);
	bool is_free = all(where, true);

	must(extents_free(&w.extents, where) == is_free);
	must(extents_take(&w.extents, where) == (is_free ? EXTENTS_OK : EXTENTS_NONE));
	if (is_free)
		note(where);
}

static void give(const uint8_t *b)
{
	if (!w.count)
		return;
	struct range *where = &w.taken[b[1] % w.count], back = *where;
	uint64_t count = page(back.last) - page(back.first) + 1;

	if (b[2] & 1 && count > 1 &&
	    extents_split(&w.extents, 1)) { /* its first pages go back, the rest stays */
		back.last = back.first + b[3] % (count - 1) * PAGE + (PAGE - 1);
		where->first = back.last + 1;
	} else {
		*where = w.taken[--w.count];
	}
	extents_give(&w.extents, back);
	paint(back, true);
}

static void look(const uint8_t *b)
{
	struct range found;
	uint64_t at = b[1], most = 0;
	bool any = false;

	while (at < PAGES && !w.is_free[at])
		at++;
	must(extents_next(&w.extents, BASE + b[1] * PAGE, &found) == (at < PAGES));
	must(at == PAGES || range_contains(found, pages(at, at)));
	for (uint64_t i = 0; i < PAGES; i++) {
		any |= w.is_free[i];
		most = w.is_free[i] && room(i) > most ? room(i) : most;
	}
	must(extents_longest(&w.extents, &found) == any);
	must(!any || page(found.last) - page(found.first) == most);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const calls[])(const uint8_t *b) = { find, take, give, look };

	memset(&w, 0, sizeof w);
	must(extents_add(&w.extents, pages(0, 99)) && extents_add(&w.extents, pages(110, PAGES - 1)));
	paint(pages(0, 99), true);
	paint(pages(110, PAGES - 1), true);
	for (; size >= CALL_BYTES && w.count < MOST; size -= CALL_BYTES, data += CALL_BYTES)
		calls[data[0] % 4](data);
	extents_end(&w.extents);
	return 0;
}
