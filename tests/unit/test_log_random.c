/* SPDX-License-Identifier: MIT */

/* Random calls on a log and on a model of it that knows pages one at a time; every result and every page must agree.
 *
 *	test_log_random [seed [operations]]
 */

#include "log_internal.h" /* before check.h, which has a macro `fail` */

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "random.h"

#include "../suite.h"

enum { PAGES = 1500, CONSUMERS = 4, OPEN = 300, REGIONS = 8 };

/* ---- the model ---- */

struct model_page {
	bool owed, reported;
	int batch;	/* index + 1 of the open batch that took it */
	unsigned kinds; /* a bit per provenance that marked it since it was last clean */
};

struct model_batch {
	struct vfd_batch batch;
	int first, last; /* pages: the span */
	int pages;
};

struct model_consumer {
	struct vfd_consumer *handle;
	struct model_page page[PAGES];
	struct model_batch open[OPEN];
};

struct model_region {
	int first, last; /* pages; first > last: none */
	char *memory;
};

static struct {
	struct vfd_log *log;
	uint64_t page_size, base; /* base: page number of page 0 */
	int region_of[PAGES];	  /* -1: hole */
	struct model_region regions[REGIONS];
	struct model_consumer consumers[CONSUMERS];
	struct vfd_batch old[64]; /* resolved ones */
	char *next_memory;
	bool identity;
	long op;
	uint64_t seed;
} m;

#define CHECK(what)                                                                                          \
	do {                                                                                                 \
		if (!(what))                                                                                 \
			ck_abort_msg("seed %lu op %ld: %s", (long)m.seed, m.op, #what);                      \
	} while (0)

static uint64_t state;

static uint64_t rnd(void)
{
	return xorshift(&state) >> 11;
}

static int below(int n)
{
	return (int)(rnd() % (uint64_t)n);
}

static uint64_t address_of(int page)
{
	return (m.base + (uint64_t)(int64_t)page) * m.page_size;
}

static int page_of(uint64_t address)
{
	return (int)((int64_t)(address / m.page_size) - (int64_t)m.base);
}

static int region_at(int page)
{
	return page < 0 || page >= PAGES ? -1 : m.region_of[page];
}

static struct vfd_consumer *handle(int c)
{
	return m.consumers[c].handle;
}

static int some_consumer(void)
{
	int c;

	do
		c = below(CONSUMERS);
	while (!m.consumers[c].handle);
	return c;
}

/* A range of pages, mostly inside, at times beyond the ends */
static void some_range(int *first, int *last)
{
	int length = below(4) ? 1 + below(200) : 1 + below(PAGES);

	*first = below(PAGES + 20) - 10;
	*last = *first + length - 1;
	if (!below(5)) {
		*first = -20;
		*last = PAGES + 20;
	}
}

static void model_owe(struct model_consumer *c, int page, int provenance)
{
	struct model_page *p = &c->page[page];

	if (!p->owed && !p->batch)
		p->kinds = 0;
	p->kinds |= 1u << provenance;
	if (provenance == VFD_REPORTED)
		p->reported = true;
	else if (!p->owed)
		p->reported = false;
	p->owed = true;
}

/* Owe one page to all; is it new for the log's own? */
static int model_owe_all(int page, int provenance)
{
	int fresh = !m.consumers[0].page[page].owed;

	for (int c = 0; c < CONSUMERS; c++)
		if (handle(c))
			model_owe(&m.consumers[c], page, provenance);
	return fresh;
}

static void model_resolve(struct model_consumer *c, struct model_batch *b, int first, int last,
			  bool delivered)
{
	int index = (int)(b - c->open) + 1, low = PAGES, high = -1;

	b->pages = 0;
	for (int i = b->first; i <= b->last; i++) {
		struct model_page *p = &c->page[i];
		if (p->batch != index)
			continue;
		if (i < first || i > last) {
			b->pages++;
			low = low < i ? low : i;
			high = i;
			continue;
		}
		p->batch = 0;
		if (!delivered)
			p->owed = true;
		else if (!p->owed)
			p->reported = false;
	}
	b->first = low;
	b->last = high;
	if (!b->pages) {
		m.old[below(64)] = b->batch;
		memset(b, 0, sizeof *b);
	}
}

/* ---- comparing ---- */

static void compare_summary(const struct summed *s, uint64_t words)
{
	for (uint64_t w = 0; w < words; w++)
		CHECK((s->sum[w / 64] >> (w % 64) & 1) == (s->bits[w] != 0));
	for (uint64_t w = 0; w < (words + 63) / 64; w++)
		CHECK((s->top[w / 64] >> (w % 64) & 1) == (s->sum[w] != 0));
}

static bool plane_bit(const uint64_t *plane, uint64_t bit)
{
	return plane[bit / 64] >> (bit % 64) & 1;
}

/* What is taken and what is not reported, as the planes have it and the list */
struct taken_words {
	uint64_t taken[PAGES / 64 + 3], other[PAGES / 64 + 3];
};

static void add_listed(struct taken_words *all, const struct planes *p, const struct cursor *at, int c)
{
	for (struct listing l = listing_of(at, m.consumers[c].handle->index); l.at < l.end; l.at++) {
		uint64_t w = listing_word(&l), pages = listing_pages(&l);
		CHECK(!(p->taken.bits[w] & pages));
		CHECK(!(pages & p->other.bits[w] & ~p->owed.bits[w]));
		all->taken[w] |= pages;
		all->other[w] |= pages & l.at->other & ~p->owed.bits[w];
	}
}

static struct taken_words taken_words(const struct planes *p, const struct region *r, int c, uint64_t words)
{
	struct taken_words all = { 0 };
	struct cursor at = cursor_over(m.log, (struct range){ r->address, r->last });

	CHECK(cursor_next(&at));
	for (uint64_t w = 0; w < words; w++) {
		all.taken[w] = p->taken.bits[w];
		all.other[w] = p->other.bits[w];
	}
	add_listed(&all, p, &at, c);
	return all;
}

static void compare_region(const struct region *r, int c)
{
	struct planes p = planes_of(m.log, r, m.consumers[c].handle->index);
	uint64_t words = address_bit(m.log, r, r->last) / 64 + 1;
	struct taken_words all = taken_words(&p, r, c, words);

	compare_summary(&p.owed, words);
	compare_summary(&p.taken, words);
	compare_summary(&p.other, words);
	for (uint64_t i = 0; i < words * 64; i++) {
		uint64_t address = bit_address(m.log, r, i);
		struct model_page clean = { 0 }, *q = &clean;
		if (address >= r->address && address <= r->last)
			q = &m.consumers[c].page[page_of(address)];
		CHECK(plane_bit(p.owed.bits, i) == q->owed);
		CHECK(plane_bit(all.taken, i) == (q->batch != 0));
		CHECK(plane_bit(all.other, i) == ((q->owed || q->batch) && !q->reported));
		CHECK(!q->reported || q->owed || q->batch); /* the eighth state */
	}
}

static void compare_list(int c)
{
	const struct list *list = &consumer_record(m.log, m.consumers[c].handle->index)->list;
	uint64_t pages = 0;

	for (uint64_t i = 0; list->pages && i < list->count; i++)
		pages += word_count(list->words[i].pages);
	CHECK(pages == list->pages);
}

static void compare_all(void)
{
	uint64_t regions = 0;

	fold_range(m.log, RANGE_ALL);
	for (int c = 0; c < CONSUMERS; c++)
		if (handle(c))
			compare_list(c);
	for (int c = 0; c < CONSUMERS; c++)
		for (uint64_t r = 0; handle(c) && r < region_count(m.log); r++)
			compare_region(&region_table(m.log)[r], c);
	for (int r = 0; r < REGIONS; r++)
		regions += m.regions[r].first <= m.regions[r].last;
	CHECK(regions == region_count(m.log));
}

/* ---- regions ---- */

static void add_region(void)
{
	int length = below(3) ? 1 + below(150) : 1 + below(PAGES / 2), first = below(PAGES - length),
	    slot = 0;
	bool free = true;

	while (slot < REGIONS && m.regions[slot].first <= m.regions[slot].last)
		slot++;
	if (slot == REGIONS)
		return;
	for (int i = first; i < first + length; i++)
		free = free && m.region_of[i] < 0;
	struct vfd_region r = {
		.struct_size = sizeof r,
		.address = address_of(first),
		.size = (uint64_t)length * m.page_size,
		.memory = m.identity ? NULL : m.next_memory,
	};
	int ret = vfd_region_add(m.log, &r, NULL);
	CHECK(ret == (free ? 0 : VFD_EOVERLAP));
	if (ret)
		return;
	m.next_memory += r.size;
	m.regions[slot] = (struct model_region){ first, first + length - 1, r.memory };
	for (int i = first; i < first + length; i++)
		m.region_of[i] = slot;
}

static bool model_busy(int c, int first, int last)
{
	for (int i = first; i <= last; i++)
		if (m.consumers[c].page[i].owed || m.consumers[c].page[i].batch)
			return true;
	return false;
}

static void remove_region(void)
{
	int slot = below(REGIONS);
	struct model_region *r = &m.regions[slot];
	unsigned flags = below(3) ? 0 : VFD_DISCARD;
	bool busy = false;

	if (r->first > r->last) {
		CHECK(vfd_region_remove(m.log, address_of(-100), flags, NULL) == VFD_ENOTMAPPED);
		return;
	}
	for (int c = 0; c < CONSUMERS; c++)
		busy = busy || (handle(c) && model_busy(c, r->first, r->last));
	int ret = vfd_region_remove(m.log, address_of(r->first), flags, NULL);
	CHECK(ret == (busy && !flags ? VFD_EDIRTY : 0));
	if (ret)
		return;
	for (int c = 0; c < CONSUMERS; c++) {
		struct model_consumer *mc = &m.consumers[c];
		for (int b = 0; b < OPEN; b++)
			if (mc->open[b].pages)
				model_resolve(mc, &mc->open[b], r->first, r->last, true);
		memset(&mc->page[r->first], 0, (size_t)(r->last - r->first + 1) * sizeof(mc->page[0]));
	}
	for (int i = r->first; i <= r->last; i++)
		m.region_of[i] = -1;
	*r = (struct model_region){ 1, 0, NULL };
}

/* ---- marking ---- */

static bool covered(uint64_t first, uint64_t last)
{
	for (int i = page_of(first); i <= page_of(last); i++)
		if (region_at(i) < 0)
			return false;
	return true;
}

static void mark(void)
{
	int first, last;

	some_range(&first, &last);
	uint64_t address = address_of(first) + rnd() % m.page_size;
	uint64_t size = 1 + rnd() % (address_of(last + 1) - address);
	bool ok = covered(address, address + size - 1);
	CHECK(vfd_log_mark(m.log, address, size, NULL) == (ok ? 0 : VFD_ENOREGION));
	for (int i = page_of(address); ok && i <= page_of(address + size - 1); i++)
		model_owe_all(i, VFD_SOFTWARE);
}

static void mark_inside(void)
{
	int first, last, provenance = 1 + below(4);
	uint64_t fresh = 0;

	some_range(&first, &last);
	struct range where = { address_of(first) + rnd() % m.page_size,
			       address_of(last) + rnd() % m.page_size };
	if (where.first > where.last)
		return;
	struct log_source source = { (enum vfd_provenance)provenance, VFD_WHY_NO_TRACKING, 0, "marker" };
	uint64_t got = log_mark(m.log, where, &source);
	for (int i = page_of(where.first); i <= page_of(where.last); i++)
		if (region_at(i) >= 0)
			fresh += (uint64_t)model_owe_all(i, provenance);
	CHECK(got == fresh);
}

static void mark_initial(void)
{
	int c = some_consumer();

	CHECK(!vfd_mark_initial(handle(c), NULL));
	for (int i = 0; i < PAGES; i++)
		if (region_at(i) >= 0)
			model_owe(&m.consumers[c], i, VFD_INITIAL);
}

/* n bits at random, of a random density; runs at times */
static void some_bits(uint64_t *words, uint64_t from, uint64_t n)
{
	int density = below(5), run = 0;
	bool value = false;

	for (uint64_t i = 0; i < n; i++) {
		if (density == 4) {
			if (!run--) {
				run = below(100);
				value = !value;
			}
		} else {
			value = !below((int[]){ 1, 2, 20, 200 }[density]);
		}
		if (value)
			words[(from + i) / 64] |= UINT64_C(1) << (from + i) % 64;
	}
}

static uint64_t model_merge(const struct log_bits *b, int provenance)
{
	uint64_t fresh = 0;

	for (uint64_t i = 0; i < b->bits; i++) {
		if (!plane_bit(b->words, b->first_bit + i))
			continue;
		uint64_t first = b->address + i * b->granularity, last = first + b->granularity - 1;
		for (int page = page_of(first); page <= page_of(last); page++)
			if (region_at(page) >= 0)
				fresh += (uint64_t)model_owe_all(page, provenance);
	}
	return fresh;
}

static bool model_all_inside(const struct log_bits *b)
{
	for (uint64_t i = 0; i < b->bits; i++) {
		uint64_t first = b->address + i * b->granularity;
		if (plane_bit(b->words, b->first_bit + i) && !covered(first, first + b->granularity - 1))
			return false;
	}
	return true;
}

static uint64_t some_granularity(void)
{
	static const int ratio[] = { 0, 0, 0, 0, 0, 0, -7, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7 };
	int r = ratio[below(20)];

	return r < 0 ? m.page_size >> -r : m.page_size << r;
}

static const char *some_who(void)
{
	static char who[40];

	if (below(3))
		return below(2) ? NULL : "kvm";
	snprintf(who, sizeof who, "a source with quite a long name %d", below(9));
	memmove(who, who + 32, 8); /* short and varied: "d name 7" */
	return who;
}

static void merge(void)
{
	static uint64_t words[PAGES * 2 + 100];
	uint64_t g = some_granularity(), fresh = 0;
	int first, last;

	some_range(&first, &last);
	if (below(2) && region_at(first) >= 0) /* inside one region more often than chance has it */
		last = m.regions[region_at(first)].last;
	memset(words, 0, sizeof words);
	struct log_bits b = { .address = address_of(first) & ~(g - 1), .granularity = g, .words = words };
	b.bits = (uint64_t)(last - first + 1) * m.page_size / g;
	b.bits = b.bits ? b.bits : 1;
	some_bits(words, 0, b.bits);
	words[b.bits / 64] |= b.bits % 64 ? ~UINT64_C(0) << b.bits % 64 : 0; /* must be ignored */

	struct vfd_bitmap bitmap = { .struct_size = sizeof bitmap, .provenance = 1 + (uint32_t)below(2) };
	bitmap.address = b.address;
	bitmap.page_size = g;
	bitmap.bits = b.bits;
	bitmap.words = words;
	bitmap.who = some_who();
	bool ok = model_all_inside(&b);
	CHECK(vfd_log_merge(m.log, &bitmap, below(2) ? &fresh : NULL, NULL) == (ok ? 0 : VFD_ENOREGION));
	if (ok) {
		uint64_t want = model_merge(&b, (int)bitmap.provenance);
		CHECK(!fresh || fresh == want);
	}
}

/* The internal one: any address, any first bit, holes */
static void merge_inside(void)
{
	static uint64_t words[PAGES * 2 + 100];
	int first, last, provenance = 1 + below(4);

	some_range(&first, &last);
	memset(words, 0, sizeof words);
	struct log_bits b = { .granularity = some_granularity(), .words = words, .first_bit = rnd() % 200 };
	b.address = address_of(first) + (below(2) ? 0 : rnd() % m.page_size);
	b.bits = (uint64_t)(last - first + 1) * m.page_size / b.granularity;
	some_bits(words, b.first_bit, b.bits);
	if (below(2)) { /* neighbours must be ignored */
		if (b.first_bit)
			words[(b.first_bit - 1) / 64] |= UINT64_C(1) << (b.first_bit - 1) % 64;
		words[(b.first_bit + b.bits) / 64] |= UINT64_C(1) << (b.first_bit + b.bits) % 64;
	}
	struct log_source source = { (enum vfd_provenance)provenance, VFD_WHY_NO_TRACKING, b.granularity,
				     some_who() };
	uint64_t want = model_merge(&b, provenance);
	if (below(2))
		b.scratch = words;
	CHECK(log_merge(m.log, &b, &source) == want);
	for (uint64_t i = 0; b.scratch && i < b.bits; i++) { /* zero, but where a word is shared */
		uint64_t at = b.first_bit + i, word = at / 64 * 64;
		CHECK(word < b.first_bit || word + 63 > b.first_bit + b.bits - 1 || !plane_bit(words, at));
	}
}

/* ---- batches ---- */

static const struct model_batch *span_at(const struct model_consumer *c, int page)
{
	for (int b = 0; b < OPEN; b++)
		if (c->open[b].pages && c->open[b].first <= page && page <= c->open[b].last)
			return &c->open[b];
	return NULL;
}

static int open_count(const struct model_consumer *c)
{
	int n = 0;

	for (int b = 0; b < OPEN; b++)
		n += c->open[b].pages > 0;
	return n;
}

/* Page by page: what a take must return */
static void model_take(struct model_consumer *c, int first, int last, uint64_t max, struct model_batch *want)
{
	int index = 0;

	while (c->open[index].pages)
		index++;
	*want = (struct model_batch){ 0 };
	for (int i = first < 0 ? 0 : first; i <= last && i < PAGES && (uint64_t)want->pages < max; i++) {
		struct model_page *p = &c->page[i];
		if (span_at(c, i)) {
			if (want->pages)
				break;
			continue;
		}
		if (!p->owed)
			continue;
		CHECK(!p->batch);
		want->first = want->pages ? want->first : i;
		want->last = i;
		want->pages++;
		want->batch.reported += p->reported;
		p->owed = false;
		p->batch = index + 1;
	}
	if (want->pages)
		c->open[index] = *want;
}

static void take(void)
{
	struct model_consumer *c = &m.consumers[some_consumer()];
	uint64_t max = below(3) ? 1 + rnd() % 100 : UINT64_MAX;
	struct model_batch want;
	struct vfd_batch got;
	int first, last, slots = open_count(c);

	some_range(&first, &last);
	uint64_t from = first < 0 ? 0 : address_of(first),
		 to = last > PAGES ? UINT64_MAX : address_of(last + 1) - 1;
	int ret = vfd_take(c->handle, from, to, max, &got, NULL);
	CHECK(ret == (slots == 256 ? VFD_ELIMIT : 0));
	if (ret)
		return;
	model_take(c, first, last, max, &want);
	CHECK(got.pages == (uint64_t)want.pages && got.reported == want.batch.reported &&
	      !got.id == !want.pages);
	if (!got.id)
		return;
	CHECK(got.first == address_of(want.first) && got.last == address_of(want.last + 1) - 1);
	CHECK(got.next == got.first);
	for (int k = 0; k < CONSUMERS; k++) /* never an id that is open */
		for (int b = 0; b < OPEN; b++)
			CHECK(m.consumers[k].open[b].batch.id != got.id);
	for (int b = 0; b < OPEN; b++)
		if (c->open[b].pages && !c->open[b].batch.id)
			c->open[b].batch = got;
}

static struct model_batch *some_batch(struct model_consumer *c)
{
	int start = below(OPEN);

	for (int i = 0; i < OPEN; i++)
		if (c->open[(start + i) % OPEN].pages)
			return &c->open[(start + i) % OPEN];
	return NULL;
}

static void runs(void)
{
	struct model_consumer *c = &m.consumers[some_consumer()];
	struct model_batch *b = some_batch(c);
	struct vfd_run run[17];
	size_t capacity = 1 + rnd() % 17, n;

	if (!b)
		return;
	int page = b->first, index = (int)(b - c->open) + 1;
	b->batch.next = below(2) ? b->batch.first : 0;
	do {
		CHECK(!vfd_batch_runs(c->handle, &b->batch, run, capacity, &n, NULL));
		CHECK(n <= capacity);
		for (size_t i = 0; i < n; i++) {
			while (c->page[page].batch != index)
				page++;
			CHECK(run[i].address == address_of(page));
			int end = page;
			while (end < PAGES && c->page[end].batch == index &&
			       m.region_of[end] == m.region_of[page])
				end++;
			CHECK(run[i].size == (uint64_t)(end - page) * m.page_size);
			const struct model_region *r = &m.regions[m.region_of[page]];
			CHECK(run[i].memory ==
			      (m.identity ? NULL : r->memory + (uint64_t)(page - r->first) * m.page_size));
			page = end;
		}
	} while (n);
	for (; page < PAGES; page++)
		CHECK(c->page[page].batch != index);
}

static void resolve(void)
{
	struct model_consumer *c = &m.consumers[some_consumer()];
	struct model_batch *b = some_batch(c);
	bool delivered = below(3);
	int first = -20, last = PAGES + 20;

	if (!b)
		return;
	if (below(2))
		some_range(&first, &last);
	uint64_t from = first < 0 ? 0 : address_of(first),
		 to = last > PAGES ? UINT64_MAX : address_of(last + 1) - 1;
	CHECK(!(delivered ? vfd_commit : vfd_rollback)(c->handle, &b->batch, from, to, NULL));
	model_resolve(c, b, first, last, delivered);
}

/* Ids that were resolved, and ids of another consumer */
static void resolve_wrong(void)
{
	int c = some_consumer(), d = some_consumer();
	struct model_batch *b = some_batch(&m.consumers[d]);
	struct vfd_batch *old = &m.old[below(64)];
	struct vfd_run run;
	size_t n;

	CHECK(vfd_commit(handle(c), old, 0, UINT64_MAX, NULL) == VFD_EINVALID);
	CHECK(vfd_batch_runs(handle(c), old, &run, 1, &n, NULL) == VFD_EINVALID);
	if (b && c != d) {
		CHECK(vfd_commit(handle(c), &b->batch, 0, UINT64_MAX, NULL) == VFD_EINVALID);
		CHECK(vfd_rollback(handle(c), &b->batch, 0, UINT64_MAX, NULL) == VFD_EINVALID);
	}
}

/* ---- consumers ---- */

/* So few pages would hardly ever fill it. */
static void shorten_list(int c)
{
	consumer_record(m.log, m.consumers[c].handle->index)->list.room =
		(uint64_t)below(3) * (uint64_t)below(20);
}

static void add_consumer(void)
{
	int c = 1;

	while (c < CONSUMERS && handle(c))
		c++;
	if (c == CONSUMERS)
		return;
	memset(&m.consumers[c], 0, sizeof m.consumers[c]);
	CHECK(!vfd_consumer_add(m.log, "another", &m.consumers[c].handle, NULL));
	shorten_list(c);
}

static void remove_consumer(void)
{
	int c = 1 + below(CONSUMERS - 1);
	unsigned flags = below(2) ? VFD_DISCARD : 0;

	if (!handle(c))
		return;
	int ret = vfd_consumer_remove(&m.consumers[c].handle, flags, NULL);
	CHECK(ret == (!flags && model_busy(c, 0, PAGES - 1) ? VFD_EDIRTY : 0));
	CHECK(!handle(c) == !ret);
	if (!ret)
		memset(&m.consumers[c], 0, sizeof m.consumers[c]);
}

static void count(void)
{
	int c = some_consumer(), first, last;
	struct vfd_count got, want = { 0 };

	some_range(&first, &last);
	uint64_t from = first < 0 ? 0 : address_of(first),
		 to = last > PAGES ? UINT64_MAX : address_of(last + 1) - 1;
	CHECK(!vfd_consumer_count(handle(c), from, to, &got, NULL));
	for (int i = first < 0 ? 0 : first; i <= last && i < PAGES; i++) {
		const struct model_page *p = &m.consumers[c].page[i];
		want.owed += p->owed;
		want.reported += p->owed && p->reported;
		want.taken += p->batch != 0;
	}
	CHECK(!memcmp(&got, &want, sizeof got));
}

/* Every owed page has a cause of each provenance that it ever had while it was owed, as far as it still counts. */
static void causes(void)
{
	int c = some_consumer();
	struct vfd_cause list[64];
	unsigned kinds[PAGES] = { 0 };
	size_t n;

	CHECK(!vfd_consumer_causes(handle(c), list, 64, &n, NULL));
	CHECK(n <= 64);
	for (size_t i = 0; i < n; i++) {
		uint64_t pages = 0;
		for (int k = page_of(list[i].first); k <= page_of(list[i].last); k++) {
			const struct model_page *p = &m.consumers[c].page[k];
			pages += p->owed && p->reported == (list[i].provenance == VFD_REPORTED);
			kinds[k] |= 1u << list[i].provenance;
		}
		CHECK(pages && pages == list[i].pages);
	}
	for (int k = 0; k < PAGES; k++) {
		const struct model_page *p = &m.consumers[c].page[k];
		unsigned want = p->reported ? 1u << VFD_REPORTED : p->kinds & ~(1u << VFD_REPORTED);
		CHECK(!p->owed || (kinds[k] & want) == want);
	}
}

/* ---- running ---- */

static void step(void)
{
	switch (below(24)) {
	case 0:
		add_region();
		break;
	case 1:
		if (!below(8))
			remove_region();
		break;
	case 2:
	case 3:
		mark();
		break;
	case 4:
		mark_inside();
		break;
	case 5:
		if (!below(10))
			mark_initial();
		break;
	case 6:
	case 7:
	case 8:
		merge();
		break;
	case 9:
		merge_inside();
		break;
	case 10:
	case 11:
	case 12:
	case 13:
	case 14:
	case 15:
		take();
		break;
	case 16:
		runs();
		break;
	case 17:
	case 18:
	case 19:
		resolve();
		break;
	case 20:
		resolve_wrong();
		break;
	case 21:
		count();
		break;
	case 22:
		causes();
		break;
	default:
		if (!below(30))
			remove_consumer();
		else if (!below(10))
			add_consumer();
	}
}

static void start(uint64_t seed, void *arena, uint64_t arena_size)
{
	static const uint64_t bases[] = { 0, 0x1235, UINT64_C(1) << 40, 37, 64 * 77 };
	struct vfd_log_options o = { .struct_size = sizeof o, .arena = arena, .arena_size = arena_size };

	memset(&m, 0, sizeof m);
	m.seed = seed;
	state = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	o.page_size = m.page_size = UINT64_C(512) << below(6);
	m.identity = below(3) == 0;
	o.flags = m.identity ? VFD_LOG_IDENTITY : 0;
	m.base = below(4) ? bases[below(5)] : UINT64_MAX / m.page_size - 3 * PAGES;
	if (m.base < 100)
		m.base += 1000; /* room for the addresses below page 0 */
	m.next_memory = (char *)(uintptr_t)UINT64_C(0x10000000);
	memset(m.region_of, 0xff, sizeof m.region_of);
	for (int r = 0; r < REGIONS; r++)
		m.regions[r].first = 1;
	CHECK(!vfd_log_create(&o, &m.log, NULL));
	m.consumers[0].handle = vfd_log_consumer(m.log);
	shorten_list(0);
}

static void finish(void)
{
	bool busy = false;

	for (int c = 0; c < CONSUMERS; c++)
		busy = busy || (handle(c) && model_busy(c, 0, PAGES - 1));
	int ret = vfd_log_destroy(&m.log, 0, NULL);
	CHECK(ret == (busy ? VFD_EDIRTY : 0));
	if (ret)
		CHECK(!vfd_log_destroy(&m.log, VFD_DISCARD, NULL));
	CHECK(!m.log);
}

static void run(uint64_t seed, long operations, void *arena, uint64_t arena_size)
{
	start(seed, arena, arena_size);
	for (m.op = 0; m.op < operations; m.op++) {
		step();
		if (m.op % 40 == 0)
			compare_all();
	}
	compare_all();
	finish();
}

static uint64_t first_seed = 1;
static long operations = 15000;

START_TEST(own_memory)
{
	run(first_seed + (uint64_t)_i, operations, NULL, 0);
}
END_TEST

/* The arena is given anew to each log, zeroed. Regions come and go in it: free space must be clean when used again. */
START_TEST(in_an_arena)
{
	const size_t size = 4 << 20;
	void *arena = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert(arena != MAP_FAILED);
	run(first_seed + 1000 + (uint64_t)_i, operations, arena, size);
	munmap(arena, size);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("log, random");
	TCase *tcase = tcase_create("random");

	if (argc > 1)
		first_seed = strtoull(argv[1], NULL, 0);
	if (argc > 2)
		operations = strtol(argv[2], NULL, 0);
	tcase_set_timeout(tcase, 600);
	tcase_add_loop_test(tcase, own_memory, 0, 10);
	tcase_add_loop_test(tcase, in_an_arena, 0, 10);
	suite_add_tcase(suite, tcase);

	return run_all(suite);
}
