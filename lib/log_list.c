/* SPDX-License-Identifier: MIT */

/* Few dirty pages in a large guest lie far apart, and each of their words in a plane costs several misses: itself, its summaries, the
 * translation of their addresses. So the first words that a batch takes are not moved to the planes but kept here, in a row, and who
 * walks through the batch or ends it does not search. When there is no room the rest goes to the planes.
 *
 * A consumer has one list. Spans of open batches never meet: so an entry belongs to the batch in whose span it lies, and batches share the list
 * as long as addresses rise. It starts anew when nothing in it is taken any more. */

#include "log_internal.h"

/* Of an entry without pages nobody knows any more which it had: something before it may be in the same word. */
static bool is_behind(const struct listed *last, uint64_t word, uint64_t pages)
{
	return word > last->word ||
	       (word == last->word && last->pages && word_first(pages) > word_last(last->pages));
}

bool list_add(struct list *list, uint64_t word, uint64_t pages, uint64_t other)
{
	if (!list->pages)
		list->count = 0;
	if (list->count == list->room ||
	    (list->count && !is_behind(&list->words[list->count - 1], word, pages)))
		return false;
	struct listed *entry = &list->words[list->count++]; /* without pages until it is complete */
	entry->word = word;
	entry->other = other;
	keep_order();
	entry->pages = pages;
	list->pages += word_count(pages);
	return true;
}

/* The first entry with this word or a later one */
static struct listed *list_from(struct list *list, uint64_t word)
{
	uint64_t low = 0, high = list->pages ? list->count : 0;

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		if (list->words[middle].word < word)
			low = middle + 1;
		else
			high = middle;
	}
	return &list->words[low];
}

struct listing listing_of(const struct cursor *c, unsigned consumer)
{
	struct list *list = &consumer_record(c->log, consumer)->list;
	uint64_t base = first_word(c->log, c->region);

	return (struct listing){
		.at = list_from(list, base + c->bits.first / WORD_BITS),
		.end = list_from(list, base + c->bits.last / WORD_BITS + 1),
		.base = base,
		.bits = c->bits,
	};
}

static bool list_first(const struct cursor *c, unsigned consumer, uint64_t *bit)
{
	for (struct listing l = listing_of(c, consumer); l.at < l.end; l.at++) {
		if (listing_pages(&l)) {
			*bit = listing_word(&l) * WORD_BITS + word_first(listing_pages(&l));
			return true;
		}
	}
	return false;
}

static bool list_last(const struct cursor *c, unsigned consumer, uint64_t *bit)
{
	struct listing l = listing_of(c, consumer);

	for (struct listed *first = l.at; l.end > first; l.end--) {
		l.at = l.end - 1;
		if (listing_pages(&l)) {
			*bit = listing_word(&l) * WORD_BITS + word_last(listing_pages(&l));
			return true;
		}
	}
	return false;
}

bool taken_first(const struct cursor *c, const struct planes *p, unsigned consumer, uint64_t *bit)
{
	uint64_t listed = UINT64_MAX, plane = UINT64_MAX;
	bool any = list_first(c, consumer, &listed);

	any |= summed_first(&p->taken, c->bits, &plane);
	*bit = min_u64(listed, plane);
	return any;
}

bool taken_last(const struct cursor *c, const struct planes *p, unsigned consumer, uint64_t *bit)
{
	uint64_t listed = 0, plane = 0;
	bool any = list_last(c, consumer, &listed);

	any |= summed_last(&p->taken, c->bits, &plane);
	*bit = max_u64(listed, plane);
	return any;
}
