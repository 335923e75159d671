/* SPDX-License-Identifier: MIT */
#ifndef TESTS_RANDOM_PLAY_H
#define TESTS_RANDOM_PLAY_H

/*
 * Random sequences of operations on a container of the library, and what is known of its devices' writes. A side is one such
 * container, over the model kernel or over the real one; the same seed plays the same operations on each.
 */

#include "container.h"

#include <vfiodirty.h>

#include "kernel/vfdtest.h"

enum {
	PLAY_PAGES = 1024, /* of the region */
	PLAY_WORDS = PLAY_PAGES / 64,
	PLAY_SLOTS = 16, /* a mapping lies in one slot of IOVA, if at all */
	PLAY_SLOT_PAGES = 64,
	PLAY_IOVA_PAGES = PLAY_SLOTS * PLAY_SLOT_PAGES,
	PLAY_GROUPS = 2,
	PLAY_BATCHES = 4,
};

#define PLAY_PAGE UINT64_C(4096)
#define PLAY_LOG  UINT64_C(0x100000000)
#define PLAY_IOVA UINT64_C(0x2000000)

struct pages {
	uint64_t words[PLAY_WORDS];
};

/* ---- operations ---- */

enum op_kind {
	OP_MAP,
	OP_MAP_PAGES, /* each by itself: with many such mappings the plan clubs what is not aligned */
	OP_MAP_BAD,
	OP_UNMAP_SLOT,
	OP_UNMAP_RANGE,
	OP_UNMAP_ALL,
	OP_HARVEST,
	OP_TAKE,
	OP_RESOLVE,
	OP_MARK,
	OP_ATTACH,
	OP_DETACH,
	OP_OPEN,
	OP_CLOSE,
	OP_QUIESCE,
	OP_RESUME,
	OP_START,
	OP_STOP,
	OP_INFO,
	OP_REOPEN,
	OP_WRITE,
	OP_PIN,
	OP_UNPIN,
	OP_BURST, /* of the free-running writer; the model only */
	OP_KINDS,
};

struct op {
	enum op_kind kind;
	unsigned index; /* of a group and its device, or of a batch */
	uint64_t page, count, memory;
	uint32_t flags;
};

struct op op_next(uint64_t *random, bool bursts);
void op_text(const struct op *op, char *text, size_t size);
const char *op_name(enum op_kind kind);

/* ---- sides ---- */

/* What the table of mappings was before an operation. */
struct shadow {
	uint64_t iova, memory, count; /* pages */
	bool writable;
};

struct side;
/* A device writes 8 bytes. 0 or -errno. */
typedef int dma_write(struct side *side, unsigned index, uint64_t iova, uint64_t value);

struct side {
	const char *name;
	unsigned opened; /* containers */
	enum vfd_backend backend;
	dma_write *dma;					    /* on iommufd */
	void (*resumed)(struct side *side, unsigned index); /* may be NULL */
	struct pages written[PLAY_GROUPS]; /* there, and not asked for since: pages of IOVA */
	const struct sys *sys;
	int (*command)(struct side *side, unsigned long request, void *arg);
	uint64_t (*burst)(struct side *side, unsigned index, uint64_t count);
	void *context;
	int numbers[PLAY_GROUPS];	/* of the groups */
	const char *names[PLAY_GROUPS]; /* of their devices */

	struct vfd_log *log;
	struct vfd_consumer *consumer; /* takes, commits, rolls back */
	struct vfd_consumer *witness;  /* takes everything after each operation */
	struct vfd_container *container;
	struct vfd_group *groups[PLAY_GROUPS];
	struct vfd_device *devices[PLAY_GROUPS];
	struct vfd_batch batches[PLAY_BATCHES];
	unsigned char *memory;

	struct pages fresh;  /* entered the log in this operation */
	struct pages marked; /* of those: by OP_MARK */
	struct pages
		may; /* enter without the kernel's word: pinned by the library's pin sets, merged by a caller */
	uint32_t find;	     /* orders of the table: enum vfd_find */
	struct pages unpaid; /* written while tracking, not in the log since */
	bool was_physical;   /* a physical group was there before this operation */
	bool discarded;	     /* this operation dropped what was unpaid */
	/* Mapped writable while a physical group was there, and not collected since. */
	struct pages all_dirty;
	/* Pages that entered the log, and of those unwritten: pinned by a device that is quiet, pinned in vain. */
	uint64_t delivered, over;
	uint64_t clubbed; /* harvests by a clubbed plan */
	uint64_t info;	  /* what OP_INFO saw, condensed */
	struct shadow before[PLAY_IOVA_PAGES];
	unsigned before_count;
	struct vfd_error err;
};

void side_begin(struct side *side);
void side_end(struct side *side);

/* Do it; 0, a code of the library, or -errno of the device. Afterwards fresh and unpaid are up to date. */
int side_play(struct side *side, const struct op *op);
/* The same for any call. */
int side_play_call(struct side *side, const struct op *op,
		   int (*call)(struct side *side, const struct op *op));

/* The law on this side: what is unpaid must be with the kernel still; if nothing is, nothing may be unpaid. */
bool side_nothing_left(struct side *side);

unsigned pages_count(const struct pages *pages);
/* How many pages of a are not in b. */
unsigned pages_missing(const struct pages *a, const struct pages *b);
bool pages_same(const struct pages *a, const struct pages *b);

uint64_t next_random(uint64_t *state);

/* ---- the model as a side, with its oracle ---- */

struct model;
void model_side(struct side *side, struct model *model);
/* On iommufd: one whose devices write so; the model; and its oracle, which knows that an unmap under a running device is torn. */
void native_side(struct side *side, dma_write *dma);
void native_model_side(struct side *side, struct model *model);
bool native_side_check(struct side *side, const char **why);
/* Group 1 is physical: its device writes by DMA that the kernel does not see. */
void mixed_side(struct side *side, struct model *model);
bool mixed_side_check(struct side *side, const char **why);
/* Log equal to what the kernel returned, nothing lost, nothing crashed. False: *why says what. */
bool model_side_check(struct side *side, const char **why);

#endif
