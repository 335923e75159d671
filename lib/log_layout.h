/* SPDX-License-Identifier: MIT */
#ifndef LIB_LOG_LAYOUT_H
#define LIB_LOG_LAYOUT_H

/* The records of a log, as they lie in memory: all that has to be known to look at one from outside, in an arena.
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
 * of `tip`, 2^24 pages, is all that a look costs where nothing is set. */

#include <stddef.h>
#include <stdint.h>

enum {
	WORD_PAGES = 64, /* a plane is of such words */
	MAX_CONSUMERS = 16,
	MAX_BATCHES = 256, /* open, per consumer; the low 8 bits of a batch id are its slot */
	MAX_CAUSES = 64,
	NAME_BYTES = 32,
	LISTED = 2048, /* words that are taken, per consumer */
	MAX_INTENTS = 64,
	MAX_TALLIES = 32,
};

#define LOG_MAGIC      UINT64_C(0x33474f4c44465600) /* "\0VFDLOG3" */
#define LOG_MAGIC_DEAD UINT64_C(0x32474f4c44464400)

/* A question to the kernel that is on its way: what it clears there may be nowhere yet. See log_intent.c. */
struct intent {
	uint64_t state;	      /* enum intent_state */
	uint64_t first, last; /* log addresses */
	uint64_t unused;
};

enum intent_state { INTENT_FREE, INTENT_CLAIMED, INTENT_ASKED };

struct cause_label {
	uint32_t provenance;
	uint16_t reason;
	uint16_t tally;	      /* where it is counted */
	char who[NAME_BYTES]; /* padded with zeros: labels are compared as bytes */
	uint64_t granularity;
};

/* How much a source has brought: see log_tally.c. */
struct tally {
	struct cause_label label;
	uint64_t pages;	   /* that became owed by it, since the log was created */
	uint64_t deferred; /* bytes that it will owe, as of the last harvest */
};

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
	uint64_t tally_count;
	struct tally tallies[MAX_TALLIES];
};

struct region {
	uint64_t address, last;
	uint64_t memory;		/* process address, 0 in an identity log */
	uint64_t inbox;			/* offset of the inbox */
	uint64_t planes[MAX_CONSUMERS]; /* offset of the planes */
	uint32_t holds;			/* mappings of this process that use the region; changed atomically */
	uint32_t unused;
	uint64_t fresh; /* pages that became owed, as tallies count them; changed atomically */
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

/* What superblock.check has to be */
static inline uint64_t super_check(const struct superblock *super)
{
	const uint64_t of[] = { LOG_MAGIC, super->page_size, super->flags, super->arena_size };
	uint64_t check = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < sizeof(of) / sizeof(of[0]); i++)
		check = (check ^ of[i]) * UINT64_C(0x100000001b3) ^ check >> 29;
	return check;
}

/* ---- where planes lie ---- */

/* Words of a plane, of its summaries */
struct extent {
	uint64_t words, sum, top, tip;
};

static inline struct extent extent_of(const struct region *region, unsigned page_shift)
{
	uint64_t words =
		(region->last >> page_shift) / WORD_PAGES - (region->address >> page_shift) / WORD_PAGES + 1;
	uint64_t sum = (words - 1) / WORD_PAGES + 1, top = (sum - 1) / WORD_PAGES + 1;

	return (struct extent){ words, sum, top, (top - 1) / WORD_PAGES + 1 };
}

/* `count` planes with their summaries. Summaries first: those of a small log share one page. */
static inline uint64_t extent_bytes(struct extent e, unsigned count)
{
	return count * (e.words + e.sum + e.top + e.tip) * sizeof(uint64_t);
}

/* Behind which words the bits of plane `index` begin; planes of a consumer: 0 owed, 1 taken, 2 other */
static inline uint64_t extent_bits(struct extent e, unsigned index, unsigned count)
{
	return count * (e.tip + e.top + e.sum) + index * e.words;
}

#endif
