/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_FAULTS_WORLD_H
#define TESTS_UNIT_FAULTS_WORLD_H

/*
 * A world for one lifecycle: a model kernel whose devices write at every system call, a log, a container. After
 * each call of the library the law is checked:
 *
 *	TRUTH is in the log, or the kernel holds it, or the library has deferred it;
 *	RETURNED is in the log;
 *	the log is in RETURNED, SPOILED and what a physical group makes all-dirty.
 */

#include "container.h"
#include "model/model.h"

#include <vfiodirty.h>

#include "kernel/vfdtest.h"

enum {
	WORLD_PAGES = 1024, /* of the region; log addresses begin at WORLD_LOG */
	WORLD_WORDS = WORLD_PAGES / 64,
	WORLD_GROUPS = 2,
};

#define WORLD_LOG  UINT64_C(0x40000000)
#define WORLD_PAGE MODEL_PAGE_SIZE

/* What a lifecycle does when a call fails because of the fault. */
enum policy {
	TRY_AGAIN, /* once more, and go on */
	GIVE_UP,   /* close the container */
	POLICIES,
};

struct pages {
	uint64_t words[WORLD_WORDS];
};

struct world {
	struct model *model;
	struct vfd_log *log;
	struct vfd_container *container;
	struct vfd_group *groups[WORLD_GROUPS];
	struct vfd_device *devices[WORLD_GROUPS];
	int fds[3]; /* adopting: container, group, device; -1: not the world's */
	int eventfd;
	void *area;	       /* a mapped device region */
	unsigned char *memory; /* WORLD_PAGES */
	struct pages
		unpaid; /* written before the last world_consume and not in the log by then; or in it when tracking began once more */
	struct pages spoiled;	/* until the last world_consume */
	struct pages all_dirty; /* mapped writable while a physical group was there */
	const char *physical;	/* name of its device */
	const char
		*dma[WORLD_GROUPS]; /* on iommufd: all devices, each behind an IOMMU that sets dirty bits */
	bool logging;  /* which keeps a log: the kernel's record, "everything", then counts for nothing */
	bool assumes;  /* also without a fault the library cannot know all by name */
	bool recorded; /* each is in a record by itself: iommufd's page tables */
	bool doubt;    /* a group's kind could not be read: it counts as physical */
	bool adopted;
	bool tracked; /* when the last call returned */
	bool began;   /* was tracked once: before that nothing is owed to anybody */
	uint64_t writes;
	bool inside; /* a call of the library is running; and how deep it is in the kernel */
	unsigned kernel;
	unsigned starved; /* allocations that were refused: a fault too, if not the model's */
	enum policy policy;
	bool gave_up;
	unsigned failures; /* of the oracle */
	unsigned retries_failed;
	char what[256]; /* which run this is, for messages */
	struct vfd_error err;
};

/* A lifecycle: prepare runs before faults can fire (may be NULL), live is under fire, and returns early when it
 * gives up. */
struct lifecycle {
	const char *name;
	const struct model_config *config;
	void (*prepare)(struct world *w);
	void (*live)(struct world *w);
	const char *why_not_iommufd;
};

extern const struct lifecycle lifecycles[];
extern const unsigned lifecycle_count;

void world_begin(struct world *w, const struct lifecycle *life, enum policy policy);
/* Close what is open, with VFD_COLLECT; check that everything arrived and nothing leaked; free. */
void world_end(struct world *w);

/* A call begins. Returned: check the law. True: it failed. */
void world_before(struct world *w);
bool world_after(struct world *w, int rc, const char *call);
/* The second try returned. True: failed again. */
bool world_after_retry(struct world *w, int rc, const char *call);

/* In a lifecycle: call, check, try again or give up. */
#define DO(w, call)                                                                                          \
	do {                                                                                                 \
		world_before(w);                                                                             \
		if (!world_after(w, (call), #call))                                                          \
			break;                                                                               \
		if ((w)->gave_up)                                                                            \
			return;                                                                              \
		world_before(w);                                                                             \
		if (world_after_retry(w, (call), #call))                                                     \
			return;                                                                              \
	} while (0)

/* The oracle found something. */
void world_fail(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- what lifecycles are made of ---- */

int world_open(struct world *w);
/* IOVA page `iova`, `count` pages of memory from page `page`. */
int world_map(struct world *w, uint64_t iova, uint64_t page, uint64_t count, uint32_t flags);
/* The same in granules of so many pages; and a list of three, of which the last two become one. */
int world_cut(struct world *w, uint64_t iova, uint64_t page, uint64_t count, uint64_t granule);
int world_list(struct world *w, uint64_t iova, uint64_t page);
int world_unmap(struct world *w, uint64_t iova, uint64_t count);
/* Take everything and commit it: what is written from now on must arrive anew. */
void world_consume(struct world *w);
/* Let device `index` write all over the first WORLD_PAGES pages of IOVA, one write per system call, until it is
 * quiesced. */
void world_run(struct world *w, unsigned index);
void world_pin(struct world *w, unsigned index, uint64_t iova, uint64_t count);
void world_unpin(struct world *w, unsigned index, uint64_t iova, uint64_t count);

#endif
