/* SPDX-License-Identifier: MIT */
#ifndef LIB_PIN_H
#define LIB_PIN_H

/* Pin sets. The thread that uses a set writes its places with plain atomic stores; others only look.
 *
 * Why nothing is unmapped under a pin. To pin: write the place (tentative), then a full fence, then look at the table's generation; if it is
 * still that of the hint, the pin holds. To unmap: move the generation, then a full fence, then look at all places. In the one order of
 * fences one of the two comes first: then either the unmapper sees the place, or the pinner sees the new generation, takes its place back and
 * asks the table, where the mapping is marked as leaving. A place that is tentative is waited for: its owner decides within
 * a few instructions. */

#include <stdatomic.h>

#include <vfiodirty/pin.h>

#include "forkguard.h"
#include "log.h"
#include "table.h"

struct space;

/* Low bits of a place's state; the rest counts its uses. */
enum { PLACE_FREE = 0, PLACE_TENTATIVE = 1, PLACE_HELD = 2, PLACE_BITS = 3, PLACE_USE = 4 };

/* One pin. What others look at is in one cache line. */
struct pin_place {
	_Alignas(CACHE_LINE) _Atomic(uint32_t) state;
	uint32_t next;		       /* free place; of the owner only, as is inbox */
	_Atomic(uint64_t) first, last; /* IOVA */
	_Atomic(uint64_t) log_address; /* of the first byte; NOT_LOGGED: nothing to mark */
	struct log_inbox inbox;
};

#define NOT_LOGGED UINT64_MAX

/* Mappings that follow each other in memory, IOVA and log, and what the table's generation was. */
struct pin_hint {
	uint64_t generation;	     /* 0: empty */
	uint64_t memory, iova, last; /* last: bytes behind the first */
	uint64_t log_address;	     /* NOT_LOGGED: nothing to mark */
	struct log_inbox inbox;
	uint32_t
		flags; /* of the mappings, PIN_ACCESS of them; 0: asked for a translation, log address and inbox are not known */
};

enum { PIN_ACCESS = VFD_MAP_READ | VFD_MAP_WRITE };

enum { PIN_HINTS = 32, PIN_HINT_SHIFT = 21 };

struct vfd_pinset {
	_Alignas(CACHE_LINE) struct vfd_container *container; /* two sets share no cache line */
	struct space *space;
	struct forkguard guard;	 /* a copy of the container's */
	struct vfd_pinset *next; /* of the space: changed with the container's gate closed */
	struct pin_place *places;
	unsigned page_shift; /* of the log */
	uint32_t capacity;
	uint32_t free;		/* first free place; capacity: none */
	_Atomic(uint32_t) high; /* places beyond were never used */
	_Atomic(uint32_t) held;
	char name[32];
	struct pin_hint by_memory[PIN_HINTS], by_iova[PIN_HINTS];
};

/* ---- for those who unmap, harvest and detach ---- */

/* What holds a range */
struct pin_holder {
	const struct vfd_pinset *set; /* the first one found */
	struct range where;	      /* of its pin */
	uint64_t pins;
};

/* Whether any pin meets the range: asked after the table's generation has moved. */
bool pins_hold(struct space *space, struct range where, struct pin_holder *holder);
/* Whether a pin is held whose device may write; any at all. */
bool pins_writing(struct space *space);
/* Owe what is pinned for writing now. */
void pins_mark(struct space *space);
/* Call visit with the IOVAs of each pin for writing, logged, that is held at some moment of the call. */
void pins_each_writing(struct space *space, void (*visit)(struct range where, void *arg), void *arg);
/* VFD_EPINNED if anything is pinned. */
int pins_refuse(struct space *space, const char *operation, struct vfd_error *err);
/* Nobody uses the sets any more, and nothing is pinned. */
void pinsets_free(struct space *space);
/* VFD_EPINNED, with the numbers. */
int fail_pinned(const struct pin_holder *holder, const char *operation, struct vfd_error *err);

#endif
