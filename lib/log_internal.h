/* SPDX-License-Identifier: MIT */
#ifndef LIB_LOG_INTERNAL_H
#define LIB_LOG_INTERNAL_H

/* Private to lib/log*.c.
 *
 * What conserves dirty pages lives in *records*: memory that holds offsets and plain numbers, no pointers, no locks.
 *
 *	superblock --+-- region table, sorted by log address, and a spare one
 *	             |      +-- inbox, one segment per region
 *	             |      +-- planes, one segment per region and consumer
 *	             +-- consumer records, up to 16: open batches, causes
 *
 * Records live in segments. With an arena they are cut from it and an offset counts from its start; without one each is a
 * mapping of its own, `base` is 0 and an offset is the address. Either way: pointer = base + offset, and 0 is none. A free
 * segment is all zero, and so is a new one.
 *
 * What is only good for this process (locks, the fork guard, handles) is in struct vfd_log, on the heap.
 *
 * Planes of a region. One bit per page of the log; bit 0 is the region's first page rounded down to 64 pages, so that a bitmap
 * aligned to 64 pages merges without a shift. Per page and consumer:
 *
 *	owed	to be taken
 *	taken	in an open batch; which one says the span of the batch. Not here if it is in the list: see log_list.c
 *	other	the owed page (if not owed: the taken one) was not reported by a source
 *
 * A page that is neither owed nor taken is not `other`: 7 states. A source that reports writes one plane only, as long as
 * nobody else marks pages. Per page, for all consumers together:
 *
 *	inbox	marked, but not yet owed: see log_inbox.c
 *
 * Each has three summaries, each with one bit per word of what it sums up that is not 0: `sum` of the plane, `top` of sum, `tip`
 * of top. Who looks for set bits reads them first and never touches a clean word: a clean log stays out of memory, and a word
 * of `tip`, 2^24 pages, is all that a look costs where nothing is set.
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
#include "range.h"

enum {
	MAX_CONSUMERS = 16,
	MAX_BATCHES = 256, /* open, per consumer; the low 8 bits of a batch id are its slot */
	MAX_CAUSES = 64,
	NAME_BYTES = 32,
	CHUNK_WORDS = WORD_BITS, /* plane words under one summary word: the unit of merging */
	STRIPE_WORDS = CHUNK_WORDS * WORD_BITS,
	STRIPE_LOCKS = 128,
	LISTED = 2048, /* words that are taken, per consumer */
	MAX_INTENTS = 64,
};

/* ---- records ---- */

#define LOG_MAGIC      UINT64_C(0x32474f4c44465600) /* "\0VFDLOG2" */
#define LOG_MAGIC_DEAD UINT64_C(0x32474f4c44464400)

/* A question to the kernel that is on its way: what it clears there may be nowhere yet. See log_intent.c. */
struct intent {
	uint64_t state;	      /* enum intent_state */
	uint64_t first, last; /* log addresses */
	uint64_t unused;
};

enum intent_state { INTENT_FREE, INTENT_CLAIMED, INTENT_ASKED };

struct superblock {
	uint64_t magic;
	uint64_t page_size;
	uint64_t flags;
	uint64_t arena_size;	 /* 0: no arena */
	uint64_t check;		 /* of the four above */
	uint64_t batch_sequence; /* of the last batch id; starts anywhere, so that another log's id is not one
				    of ours */
	uint64_t regions;	 /* offset of the region table that counts; never changed but by one store */
	uint64_t spare;		 /* offset of the one that will be next */
	uint64_t consumers[MAX_CONSUMERS]; /* offset of struct consumer_record, 0 if there is none */
	uint64_t all_asked;		   /* intents that mean everything */
	struct intent intents[MAX_INTENTS];
};

struct region {
	uint64_t address, last;
	uint64_t memory;		/* process address, 0 in an identity log */
	uint64_t inbox;			/* offset of the inbox */
	uint64_t planes[MAX_CONSUMERS]; /* offset of the planes */
	uint32_t holds;			/* mappings of this process that use the region; changed atomically */
	uint32_t unused;
};

struct region_table {
	uint64_t count, capacity;
	uint64_t unused[6];
	struct region regions[];
};

/* An open batch claims a span of log addresses: spans of one consumer never overlap, and a page that is taken
 * lies in one. So one taken bit per page serves all open batches. Edges shrink as pages are resolved. */
struct batch_record {
	uint64_t id; /* 0: the slot is free */
	uint64_t first, last;
	uint64_t pages; /* still taken; never 0 */
};

struct cause_label {
	uint32_t provenance;
	uint32_t reason;
	char who[NAME_BYTES]; /* padded with zeros: labels are compared as bytes */
	uint64_t granularity;
};

struct cause_record {
	struct cause_label label;
	uint64_t first, last;
};

/* Pages of a word that are taken, and which of them are `other`; the planes know nothing of either. */
struct listed {
	uint64_t word; /* log address, in 64 pages */
	uint64_t pages, other;
};

struct list {
	uint64_t pages; /* of all entries; 0: it is empty, whatever count is */
	uint64_t count;
	uint64_t room;		     /* LISTED */
	struct listed words[LISTED]; /* their pages rise; there may be entries without any */
};

struct consumer_record {
	char name[NAME_BYTES];
	uint64_t open_batches;
	uint64_t resolved; /* pages became clean since causes were last pruned */
	uint64_t cause_count;
	struct batch_record batches[MAX_BATCHES];
	/* sorted by label, then first; equal labels never touch; room for one too many while it is folded in
	 */
	struct cause_record causes[MAX_CAUSES + 1];
	struct list list;
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

/* What superblock.check has to be */
uint64_t super_check(const struct superblock *super);

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
	pthread_mutex_t *mutex;	     /* NULL: none */
	const struct region *region; /* of the one held last, with its inbox */
	uint64_t stripe;
	struct summed inbox;
	bool folded;	 /* hull is valid: marks that were folded and have no cause yet */
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
void hold_stripe(struct hold *hold, const struct region *region, uint64_t stripe);
/* What was marked in the stripe that is held is owed to all consumers, or taken by the one that claims it. */
void hold_fold(struct hold *hold, struct claim *claim);
/* Let go. */
void hold_end(struct hold *hold);

/* What was marked in these stripes of the region is owed to all consumers. May hold the last. */
void fold_stripes(struct hold *hold, const struct region *region, struct range stripes);

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
	uint64_t fresh; /* pages that were clean, for the first of those consumers */
	bool any;	/* hull is valid: what was merged */
	struct range hull;
	const struct region *region; /* where we are; planes are of it */
	struct range bits;	     /* of it, merged and not yet in the hull; none if first is behind last */
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
void merging_region(struct merging *m, const struct region *region, struct range bits);
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

/* ---- log_cause.c ---- */

/* Pages in `where` were marked by source. */
void cause_add(struct vfd_log *log, unsigned consumer, const struct log_source *source, struct range where);
/* Forget causes without a page that is owed or taken, and trim the others. Alone in the gate. */
void cause_prune(struct vfd_log *log, unsigned consumer);
/* Whether it is time to: many causes, and pages were resolved since. */
bool cause_wants_prune(struct vfd_consumer *consumer);

#endif
