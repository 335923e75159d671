/* SPDX-License-Identifier: MIT */
#ifndef LIB_LOG_INTERNAL_H
#define LIB_LOG_INTERNAL_H

/* Private to lib/log*.c.
 *
 * Records, which conserve dirty pages, are in log_layout.h.
 *
 * What is only good for this process (locks, the fork guard, handles) is in struct vfd_log, on the heap.
 *
 * A *chunk* is the 64 words under one word of `sum`, a *stripe* the 64 chunks under one word of `top`: 2^18 pages.
 *
 * Locks, in this order; at most one of each kind at a time, and of some calls none at all:
 *
 *	gate	shared by every call; exclusive for those that change regions or consumers, that forget causes, and for the end
 *	consumer's `batches`	its open batches, its list and all of its `taken` planes
 *	stripe	of all consumers: owed and other, words and summaries; of `tip`, which stripes share, its one bit
 *	consumer's `causes`	its table of causes
 *
 * Words of summaries are loaded and stored whole, so that one may look without the lock whether there is anything to lock for:
 * what was marked before the look is seen. A bit of `tip` is changed by whoever holds its stripe, with atomic operations: so it
 * always says whether the word of `top` is 0. Inboxes have no lock. */

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bitmap.h"
#include "error.h"
#include "forkguard.h"
#include "lock.h"
#include "log.h"
#include "log_layout.h"
#include "range.h"

enum {
	CHUNK_WORDS = WORD_BITS, /* plane words under one summary word: the unit of merging */
	STRIPE_WORDS = CHUNK_WORDS * WORD_BITS,
	STRIPE_LOCKS = 128,
};

/* ---- handles ---- */

struct vfd_consumer {
	_Alignas(CACHE_LINE) pthread_mutex_t batches;
	_Alignas(CACHE_LINE) pthread_mutex_t causes;
	uint64_t recent; /* the cause that was touched last */
	uint64_t
		least_gap; /* between two causes that could be one, as of the last time that there was no room */
	struct vfd_log *log;
	unsigned index;
	bool live;
	bool observer; /* only looks: what is owed to it is nobody's loss */
};

struct stripe_lock {
	_Alignas(CACHE_LINE) pthread_mutex_t mutex;
};

/* Where a region's memory starts, and its log address: sorted by memory. Memory of regions does not overlap. */
struct place {
	uint64_t memory, address;
};

struct segment;

struct vfd_log {
	struct forkguard guard;
	/* what changes with the gate closed only, or never */
	uintptr_t base;
	uint64_t arena_size;
	struct segment *segments; /* own mappings, for release in a child: see log_memory.c */
	struct superblock *super;
	struct place *places; /* none in an identity log */
	uint64_t place_capacity;
	const struct bitmap_ops *ops;
	uint64_t page_size;
	unsigned page_shift;
	bool identity;
	uint32_t live; /* a bit per consumer */
	atomic_uint users;
	struct gate gate;
	struct vfd_consumer consumers[MAX_CONSUMERS];
	struct stripe_lock stripes[STRIPE_LOCKS];
};

static inline void *at_offset(const struct vfd_log *log, uint64_t offset)
{
	return (void *)(log->base + (uintptr_t)offset);
}

static inline struct region_table *table_in_force(const struct vfd_log *log)
{
	return at_offset(log, log->super->regions);
}

static inline struct region *region_table(const struct vfd_log *log)
{
	return table_in_force(log)->regions;
}

static inline uint64_t region_count(const struct vfd_log *log)
{
	return table_in_force(log)->count;
}

/* What comes before it in memory is there before what comes after it, whenever the process is killed: see log_salvage.c. Costs nothing but
 * the compiler's freedom. */
static inline void keep_order(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline struct consumer_record *consumer_record(const struct vfd_log *log, unsigned index)
{
	return at_offset(log, log->super->consumers[index]);
}

/* ---- log.c ---- */

/* Every call on a log begins with one of these: NULL, fork, then the gate. They return 0 inside the gate. */
int log_enter(struct vfd_log *log, const char *operation, struct vfd_error *err);
int consumer_enter(struct vfd_consumer *consumer, const char *operation, struct vfd_error *err);
void log_leave(struct vfd_log *log);
/* The same, alone */
int log_enter_alone(struct vfd_log *log, const char *operation, struct vfd_error *err);
int consumer_enter_alone(struct vfd_consumer *consumer, const char *operation, struct vfd_error *err);
void log_leave_alone(struct vfd_log *log);

/* Arguments */
int check_flags(unsigned flags, unsigned known, const char *operation, struct vfd_error *err);
int check_range(const struct vfd_log *log, struct range where, const char *operation, struct vfd_error *err);
int fail_null(const char *argument, const char *operation, struct vfd_error *err);

/* "12 MiB" */
struct size_text {
	char text[24];
};
struct size_text size_text(uint64_t bytes);

/* At most 31 characters, the rest zero */
void copy_name(char name[NAME_BYTES], const char *text);

/* VFD_EDIRTY if pages in `where` are owed to the consumer or taken by it. Alone in the gate. */
int check_clean(struct vfd_log *log, unsigned consumer, struct range where, const char *operation,
		struct vfd_error *err);

/* ---- log_memory.c ---- */

/* Zero-filled, 64-byte aligned. 0: no room. */
uint64_t segment_new(struct vfd_log *log, uint64_t bytes);
/* The caller has zeroed it. 0 is ignored. */
void segment_free(struct vfd_log *log, uint64_t offset);
/* VFD_ELIMIT or VFD_ENOMEMORY, for a segment_new that returned 0 */
int fail_segment(struct vfd_log *log, uint64_t bytes, const char *what, const char *operation,
		 struct vfd_error *err);
void arena_format(struct vfd_log *log);
uint64_t arena_minimum(void);
/* Own mappings only; an arena is the caller's. Touches nothing else: safe in a child, whatever was going on
 * at fork. */
void segments_release(struct vfd_log *log);

/* ---- log_table.c ---- */

uint64_t regions_minimum(void);
int regions_create(struct vfd_log *log, const char *operation, struct vfd_error *err);
/* Room for one more region. 0 or an error. */
int regions_reserve(struct vfd_log *log, struct vfd_error *err);
void regions_insert(struct vfd_log *log, uint64_t index, const struct region *region);
void regions_remove(struct vfd_log *log, uint64_t index);

/* ---- log_planes.c ---- */

struct summed {
	uint64_t *bits; /* read only where the summary has a bit */
	uint64_t *sum;
	uint64_t *top;
	uint64_t *tip;
};

struct planes {
	struct summed owed, taken, other;
};

uint64_t planes_bytes(const struct vfd_log *log, const struct region *region);
struct planes planes_of(const struct vfd_log *log, const struct region *region, unsigned consumer);
uint64_t inbox_bytes(const struct vfd_log *log, const struct region *region);
struct summed inbox_of(const struct vfd_log *log, const struct region *region);

/* The last set bit in `bits`, the first */
bool summed_first(const struct summed *s, struct range bits, uint64_t *found);
bool summed_last(const struct summed *s, struct range bits, uint64_t *found);

/* Words of a summary, whole */
static inline uint64_t peek(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void poke(uint64_t *word, uint64_t value)
{
	if (peek(word) != value) /* stripes may meet in a cache line */
		__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* The stripe has something; it has nothing. By its holder. */
static inline void tip_set(const struct summed *s, uint64_t stripe)
{
	uint64_t bit = UINT64_C(1) << stripe % WORD_BITS, *tip = &s->tip[stripe / WORD_BITS];

	if (!(peek(tip) & bit))
		__atomic_fetch_or(tip, bit, __ATOMIC_SEQ_CST);
}

static inline void tip_clear(const struct summed *s, uint64_t stripe)
{
	uint64_t bit = UINT64_C(1) << stripe % WORD_BITS, *tip = &s->tip[stripe / WORD_BITS];

	if (peek(tip) & bit)
		__atomic_fetch_and(tip, ~bit, __ATOMIC_SEQ_CST);
}

/* Which chunks of the stripe are not 0; does not touch the summary of a clean stripe */
static inline uint64_t summed_chunks(const struct summed *s, uint64_t stripe)
{
	return peek(&s->tip[stripe / WORD_BITS]) >> stripe % WORD_BITS & 1 ? peek(&s->top[stripe]) : 0;
}

/* Which words of the chunk are not 0; does not touch the summary of a clean chunk */
static inline uint64_t summed_words(const struct summed *s, uint64_t chunk)
{
	return peek(&s->top[chunk / WORD_BITS]) >> chunk % WORD_BITS & 1 ? peek(&s->sum[chunk]) : 0;
}

/* Of the chunk's words those in `zero` have become 0, those in `set` are no longer. */
void summed_change(const struct summed *s, uint64_t chunk, uint64_t zero, uint64_t set);

/* The stripes and chunks that meet these bits of a plane */
static inline struct range stripes_of(struct range bits)
{
	const uint64_t pages = STRIPE_WORDS * WORD_BITS;

	return (struct range){ bits.first / pages, bits.last / pages };
}

static inline struct range chunks_of(struct range bits)
{
	const uint64_t pages = CHUNK_WORDS * WORD_BITS;

	return (struct range){ bits.first / pages, bits.last / pages };
}

/* Which of the stripe's chunks have bits, and are among those */
static inline uint64_t stripe_chunks(const struct summed *s, uint64_t stripe, struct range chunks)
{
	return summed_chunks(s, stripe) & word_mask(stripe, chunks.first, chunks.last);
}

/* Which words of the chunk meet these bits */
static inline uint64_t chunk_mask(uint64_t chunk, struct range bits)
{
	return word_mask(chunk, bits.first / WORD_BITS, bits.last / WORD_BITS);
}

/* Whether all of the chunk's pages are in `bits` */
static inline bool chunk_inside(uint64_t chunk, struct range bits)
{
	const uint64_t pages = CHUNK_WORDS * WORD_BITS;

	return bits.first <= chunk * pages && chunk * pages + (pages - 1) <= bits.last;
}

/* Owe the pages set in src, n words at plane word w, all in one chunk. Returns which words were not 0; *fresh += pages that
 * were not owed. Each word is loaded once if `reported`; else src must not change meanwhile. */
uint64_t planes_merge(const struct planes *p, const struct bitmap_ops *ops, uint64_t w, const uint64_t *src,
		      size_t n, bool reported, uint64_t *fresh);
/* Owe pages of one word that is not 0. Returns how many were not owed. */
uint64_t planes_merge_word(const struct planes *p, uint64_t w, uint64_t word, bool reported);
/* Make all planes zero. */
void planes_wipe(const struct planes *p, const struct vfd_log *log, const struct region *region);

/* ---- log_window.c ---- */

enum { WINDOW = 32 };

/* Of `stripes`, which shrink, the next with bits in either; b may be NULL. What moves from a to b meanwhile is not overlooked. False
 * if there is none. */
bool stripe_next(const struct summed *a, const struct summed *b, struct range *stripes, uint64_t *stripe);

/* The next stripes with bits */
struct window {
	unsigned count;
	uint64_t stripe[WINDOW];
};

bool window_next(struct window *window, const struct summed *a, const struct summed *b,
		 struct range *stripes);

/* A plane whose bits say which words will be needed, and of which planes those are */
struct fetch {
	struct summed index;
	unsigned count;
	const struct summed *planes[4];
};

/* Get them on the way into the cache. */
void window_fetch(const struct window *window, const struct fetch *f);

/* ---- log_inbox.c ---- */

/* Mark bits first..last. No lock; whoever holds the region may call it at any time. */
void inbox_mark(const struct summed *inbox, uint64_t first, uint64_t last);

/* A stripe that is held, or none. Starts as { .log = log }. */
struct hold {
	struct vfd_log *log;
	pthread_mutex_t *mutex; /* NULL: none */
	struct region *region;	/* of the one held last, with its inbox */
	uint64_t stripe;
	struct summed inbox;
	bool folded;	 /* hull is valid: marks that were folded and have no cause yet */
	uint64_t fresh;	 /* of them: pages that the log's own consumer was not owed */
	unsigned causes; /* how often that was no longer so */
	struct range hull;
};

/* A consumer that takes whatever was marked in a stripe where nothing is owed to it. With its `batches`. */
struct claim {
	unsigned consumer;
	const struct planes *planes;
	struct list *list; /* NULL once the planes have to do */
	uint64_t pages;	   /* taken so */
	struct range hull; /* bits: of what was marked, if anything was */
};

/* Hold this stripe; let go of another. */
void hold_stripe(struct hold *hold, struct region *region, uint64_t stripe);
/* What was marked in the stripe that is held is owed to all consumers, or taken by the one that claims it. */
void hold_fold(struct hold *hold, struct claim *claim);
/* Let go. */
void hold_end(struct hold *hold);

/* What was marked in these stripes of the region is owed to all consumers. May hold the last. */
void fold_stripes(struct hold *hold, struct region *region, struct range stripes);

/* What was marked in `where` is owed to all consumers. */
void fold_range(struct vfd_log *log, struct range where);

/* ---- log_cursor.c ---- */

/* The index of the first region that ends at or after address */
uint64_t region_from(const struct vfd_log *log, uint64_t address);

/* Regions that meet a range, in ascending order:
 *	struct cursor c = cursor_over(log, where);
 *	while (cursor_next(&c)) ... c.region, c.bits: bits of its planes that lie in the range, rounded
 *outwards */
struct cursor {
	const struct vfd_log *log;
	struct range where;
	uint64_t index;
	struct region *region;
	struct range bits;
};

struct cursor cursor_over(const struct vfd_log *log, struct range where);
bool cursor_next(struct cursor *c);
/* The same, downwards: start with cursor_below(). */
struct cursor cursor_below(const struct vfd_log *log, struct range where);
bool cursor_prev(struct cursor *c);

/* The log address of a bit of a region's planes, and back */
static inline uint64_t first_page(const struct vfd_log *log, const struct region *region)
{
	return region->address >> log->page_shift & ~(uint64_t)(WORD_BITS - 1);
}

static inline uint64_t address_bit(const struct vfd_log *log, const struct region *region, uint64_t address)
{
	return (address >> log->page_shift) - first_page(log, region);
}

static inline uint64_t bit_address(const struct vfd_log *log, const struct region *region, uint64_t bit)
{
	return (first_page(log, region) + bit) << log->page_shift;
}

/* The absolute number of a plane's first word */
static inline uint64_t first_word(const struct vfd_log *log, const struct region *region)
{
	return first_page(log, region) / WORD_BITS;
}

/* The lowest part of `where` that lies in no region. False if there is none. */
bool first_hole(const struct vfd_log *log, struct range where, struct range *hole);

/* ---- log_list.c ---- */

/* Pages of a word are taken; those in `other` are not reported. False: not here. Then none of the batch that come after it. */
bool list_add(struct list *list, uint64_t word, uint64_t pages, uint64_t other);

/* What is in the list and meets the cursor's bits:
 *	for (struct listing l = listing_of(c, consumer); l.at < l.end; l.at++) ... listing_pages(&l) */
struct listing {
	struct listed *at, *end;
	uint64_t base; /* the region's first word */
	struct range bits;
};

struct listing listing_of(const struct cursor *c, unsigned consumer);

/* The entry's word in the region's planes; its pages that are meant, which may be none */
static inline uint64_t listing_word(const struct listing *l)
{
	return l->at->word - l->base;
}

static inline uint64_t listing_pages(const struct listing *l)
{
	return l->at->pages & word_mask(listing_word(l), l->bits.first, l->bits.last);
}

/* The first of the cursor's bits that is taken, be it in the list or in the plane; the last */
bool taken_first(const struct cursor *c, const struct planes *p, unsigned consumer, uint64_t *bit);
bool taken_last(const struct cursor *c, const struct planes *p, unsigned consumer, uint64_t *bit);

/* ---- log_merge.c ---- */

/* Pages become owed. Begin inside the gate. From the first bit on a stripe may be held: do not wait for anything. */
struct merging {
	struct hold hold;
	uint32_t consumers; /* a bit for each that is to be owed */
	bool reported;
	bool counted;	 /* the log's own consumer is one of them, and it is no first copy */
	uint64_t fresh;	 /* pages that were clean, for the first of those consumers */
	uint64_t before; /* fresh, when the region was entered */
	bool any;	 /* hull is valid: what was merged */
	struct range hull;
	struct region *region; /* where we are; planes are of it */
	struct range bits;     /* of it, merged and not yet in the hull; none if first is behind last */
	unsigned count;
	struct planes planes[MAX_CONSUMERS];
};

void merging_begin(struct merging *m, struct vfd_log *log, uint32_t consumers,
		   const struct log_source *source);
/* Parts outside of any region are ignored. */
void merging_range(struct merging *m, struct range where);
void merging_bits(struct merging *m, const struct log_bits *bits);
/* Returns m->fresh. */
uint64_t merging_end(struct merging *m, const struct log_source *source);

/* For log_scale.c: in `bits` of a region, n words of pages at plane word w, all in one chunk. `stable`: src does not change.
 * Returns which words were not 0. */
void merging_region(struct merging *m, struct region *region, struct range bits);
uint64_t merging_chunk(struct merging *m, uint64_t w, const uint64_t *src, size_t n, bool stable);

/* The part of `bits` from bit `at` on that lies in one chunk */
static inline struct range chunk_part(struct range bits, uint64_t at)
{
	return (struct range){ at, min_u64(bits.last, at | (CHUNK_WORDS * WORD_BITS - 1)) };
}

/* The log addresses of bits first..last of b, cut where 2^64 ends */
struct range bits_range(const struct log_bits *b, uint64_t first, uint64_t last);

/* ---- log_scale.c ---- */

/* A bit of b is not a page of the log. */
void merging_scaled(struct merging *m, const struct log_bits *b);

/* ---- log_hold.c ---- */

/* The place with this memory address in it, or the one behind it: index into log->places */
uint64_t place_from(const struct vfd_log *log, uint64_t memory);
/* Room for one more. False: no memory. */
bool places_reserve(struct vfd_log *log);
void place_add(struct vfd_log *log, const struct region *region);
void place_remove(struct vfd_log *log, const struct region *region);

/* ---- log_batch.c ---- */

/* The open batch with this id, or NULL. */
struct batch_record *batch_find(struct consumer_record *record, uint64_t id);
int fail_batch(uint64_t id, const char *operation, struct vfd_error *err);

/* ---- log_resolve.c ---- */

/* Resolve what open batches have taken in `where`, as if committed. Alone in the gate. */
void resolve_all(struct vfd_log *log, unsigned consumer, struct range where);

/* ---- log_consumer.c ---- */

/* What is folded already. With the consumer's `batches`, or alone. */
void count_range(struct vfd_log *log, unsigned consumer, struct range where, struct vfd_count *count);
/* Of that, owed and reported only; no lock needed. */
void count_owed(struct vfd_log *log, unsigned consumer, struct range where, struct vfd_count *count);
/* Only log_create() and vfd_consumer_add(): consumer slot `index` comes to life. */
int consumer_create(struct vfd_log *log, unsigned index, const char *name, const char *operation,
		    struct vfd_error *err);

/* Whoever it was: the same sort of source, for the same reason. */
static inline bool same_kind(const struct cause_label *a, const struct cause_label *b)
{
	return a->provenance == b->provenance && a->reason == b->reason;
}

/* ---- log_cause.c ---- */

/* Pages in `where` were marked by source; `fresh` of them were not owed to the log's own consumer. */
void cause_add(struct vfd_log *log, unsigned consumer, const struct log_source *source, struct range where,
	       uint64_t fresh);
/* What is said of them. With its `causes`. */
struct cause_label cause_label(struct vfd_consumer *consumer, const struct log_source *source);
/* Forget causes without a page that is owed or taken, and trim the others. Alone in the gate. */
void cause_prune(struct vfd_log *log, unsigned consumer);
/* Whether it is time to: many causes, and pages were resolved since. */
bool cause_wants_prune(struct vfd_consumer *consumer);

/* ---- log_tally.c ---- */

/* Which tally counts for it. With the `causes` of the log's own consumer. */
uint16_t tally_of(struct vfd_log *log, const struct cause_label *label);

/* So many pages of the region became owed to the log's own consumer. */
static inline void region_count_fresh(struct region *region, uint64_t fresh)
{
	if (fresh)
		__atomic_fetch_add(&region->fresh, fresh, __ATOMIC_RELAXED);
}

#endif
