/* SPDX-License-Identifier: MIT */
#ifndef LIB_LOG_INTERNAL_H
#define LIB_LOG_INTERNAL_H

/* Private to lib/log*.c.
 *
 * What conserves dirty pages lives in *records*: memory that holds offsets and plain numbers, no pointers.
 *
 *	superblock --+-- region table: struct region [region_capacity], sorted by log address
 *	             |      +-- planes, one segment per region and consumer
 *	             +-- consumer records, up to 16: open batches, causes
 *
 * Records live in segments. With an arena they are cut from it and an offset counts from its start; without
 *one each is a mapping of its own, `base` is 0 and an offset is the address. Either way: pointer = base +
 *offset, and 0 is none. A free segment is all zero, and so is a new one.
 *
 * What is only good for this process (locks, the fork guard, handles) is in struct vfd_log, on the heap.
 *
 * Planes of a region. One bit per page of the log; bit 0 is the region's first page rounded down to 64 pages,
 *so that a bitmap aligned to 64 pages merges without a shift. Per page:
 *
 *	owed	to be taken
 *	taken	in an open batch; which one says the span of the batch
 *	reported	the owed page (if not owed: the taken one) was reported by a source
 *
 * A page that is neither owed nor taken is not reported: 7 states. owed and taken have a summary (one bit per
 *word that is not 0) and a summary of that: who looks for set bits reads the summaries first and never
 *touches a clean word, so a clean log stays out of memory. */

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bitmap.h"
#include "error.h"
#include "forkguard.h"
#include "log.h"
#include "range.h"

enum {
	MAX_CONSUMERS = 16,
	MAX_BATCHES = 256, /* open, per consumer; the low 8 bits of a batch id are its slot */
	MAX_CAUSES = 64,
	NAME_BYTES = 32,
	CHUNK_WORDS = WORD_BITS, /* plane words under one summary word: the unit of merging */
};

/* ---- records ---- */

#define LOG_MAGIC      UINT64_C(0x31474f4c44465600) /* "\0VFDLOG1" */
#define LOG_MAGIC_DEAD UINT64_C(0x31474f4c44464400)

struct superblock {
	uint64_t magic;
	uint64_t page_size;
	uint64_t flags;
	uint64_t arena_size;	 /* 0: no arena */
	uint64_t batch_sequence; /* of the last batch id; starts anywhere, so that another log's id is not one
				    of ours */
	uint64_t regions;	 /* offset of the region table */
	uint64_t region_count;
	uint64_t region_capacity;
	uint64_t consumers[MAX_CONSUMERS]; /* offset of struct consumer_record, 0 if there is none */
};

struct region {
	uint64_t address, last;
	uint64_t memory;		/* process address, 0 in an identity log */
	uint64_t holds;			/* mappings of this process that use the region */
	uint64_t planes[MAX_CONSUMERS]; /* offset of the planes */
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

struct consumer_record {
	char name[NAME_BYTES];
	uint64_t open_batches;
	uint64_t resolved; /* pages became clean since causes were last pruned */
	uint64_t cause_count;
	struct batch_record batches[MAX_BATCHES];
	/* sorted by label, then first; equal labels never touch; room for one too many while it is folded in
	 */
	struct cause_record causes[MAX_CAUSES + 1];
};

/* ---- handles ---- */

struct vfd_consumer {
	struct vfd_log *log;
	unsigned index;
	bool live;
};

struct segment;

struct vfd_log {
	struct forkguard guard;
	pthread_mutex_t lock; /* all below, and all records */
	uintptr_t base;
	uint64_t arena_size;
	struct segment *segments; /* own mappings, for release in a child: see log_memory.c */
	struct superblock *super;
	uint64_t page_size;  /* never changes: read without the lock */
	unsigned page_shift; /* nor does this, nor: */
	bool identity;
	unsigned users;
	struct vfd_consumer consumers[MAX_CONSUMERS];
};

static inline void *at_offset(const struct vfd_log *log, uint64_t offset)
{
	return (void *)(log->base + (uintptr_t)offset);
}

static inline struct region *region_table(const struct vfd_log *log)
{
	return at_offset(log, log->super->regions);
}

static inline struct consumer_record *consumer_record(const struct vfd_log *log, unsigned index)
{
	return at_offset(log, log->super->consumers[index]);
}

/* ---- log.c ---- */

/* Every call on a log begins with one of these: NULL, fork, then the lock. They return 0 with the lock held.
 */
int log_enter(struct vfd_log *log, const char *operation, struct vfd_error *err);
int consumer_enter(struct vfd_consumer *consumer, const char *operation, struct vfd_error *err);
void log_leave(struct vfd_log *log);

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

/* VFD_EDIRTY if pages in `where` are owed to the consumer or taken by it */
int check_clean(const struct vfd_log *log, unsigned consumer, struct range where, const char *operation,
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

/* ---- log_planes.c ---- */

struct summed {
	uint64_t *bits; /* read only where the summary has a bit */
	uint64_t *sum;
	uint64_t *top;
};

struct planes {
	struct summed owed, taken;
	uint64_t *reported;
};

uint64_t planes_bytes(const struct vfd_log *log, const struct region *region);
struct planes planes_of(const struct vfd_log *log, const struct region *region, unsigned consumer);

/* The first word at or after *w, not beyond last, that is not 0. False if there is none. */
bool summed_next_word(const struct summed *s, uint64_t *w, uint64_t last);
/* The first, the last set bit in `bits` */
bool summed_first(const struct summed *s, struct range bits, uint64_t *found);
bool summed_last(const struct summed *s, struct range bits, uint64_t *found);
/* Word w was written: make the summary true again. */
void summed_update(const struct summed *s, uint64_t w);

/* Owe the pages set in src, n words at plane word w, all in one chunk; `nonzero` is bitmap_nonzero(src, n).
 * Returns those that were not owed. */
uint64_t planes_merge(const struct planes *p, uint64_t w, const uint64_t *src, size_t n, uint64_t nonzero,
		      bool reported);
/* Make all planes zero. */
void planes_wipe(const struct planes *p, const struct vfd_log *log, const struct region *region);

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
uint64_t bit_address(const struct vfd_log *log, const struct region *region, uint64_t bit);
uint64_t address_bit(const struct vfd_log *log, const struct region *region, uint64_t address);

/* The lowest part of `where` that lies in no region. False if there is none. */
bool first_hole(const struct vfd_log *log, struct range where, struct range *hole);

/* ---- log_batch.c ---- */

/* The open batch with this id, or NULL. */
struct batch_record *batch_find(struct consumer_record *record, uint64_t id);
int fail_batch(uint64_t id, const char *operation, struct vfd_error *err);

/* ---- log_resolve.c ---- */

/* Resolve what open batches have taken in `where`, as if committed. */
void resolve_all(struct vfd_log *log, unsigned consumer, struct range where);

/* ---- log_consumer.c ---- */

void count_range(const struct vfd_log *log, unsigned consumer, struct range where, struct vfd_count *count);
/* Only log_create() and vfd_consumer_add(): consumer slot `index` comes to life. */
int consumer_create(struct vfd_log *log, unsigned index, const char *name, const char *operation,
		    struct vfd_error *err);

/* ---- log_cause.c ---- */

/* Pages in `where` were marked by source. */
void cause_add(struct vfd_log *log, unsigned consumer, const struct log_source *source, struct range where);
/* Forget causes without a page that is owed or taken, and trim the others. */
void cause_prune(struct vfd_log *log, unsigned consumer);

#endif
