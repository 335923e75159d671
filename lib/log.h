/* SPDX-License-Identifier: MIT */
#ifndef LIB_LOG_H
#define LIB_LOG_H

/* What the floors above may ask of a log, besides its public face. The log does not know where bits come from. */

#include <stdbool.h>
#include <stdint.h>

#include <vfiodirty/log.h>

#include "range.h"

/* Who says that pages are dirty. */
struct intent;

struct log_source {
	enum vfd_provenance provenance;
	enum vfd_reason reason;
	uint64_t granularity; /* bytes per bit of the source, 0 if it has none */
	const char *who;
};

/* Bits first_bit .. first_bit + bits - 1 of words; the first stands for log address `address`. */
struct log_bits {
	uint64_t address; /* need not be a multiple of granularity, nor of the log's page size */
	uint64_t granularity;
	const uint64_t *words;
	uint64_t first_bit;
	uint64_t bits;
	/* NULL, or the same memory as words: words that hold no other bits than these are made 0 once merged. The first and the
	 * last word, if shared with bits outside, are left. A word that is 0 is not written. */
	uint64_t *scratch;
};

/* Both owe pages to every consumer, cannot fail and need no memory: the caller holds the region (log_region_get).
 * Parts outside of any region are ignored. Return the pages that were clean before, for the log's own consumer. */
uint64_t log_merge(struct vfd_log *log, const struct log_bits *bits, const struct log_source *source);
/* The same for n of them, in ascending order best: what each call costs is paid once. */
uint64_t log_merge_many(struct vfd_log *log, const struct log_bits *bits, size_t n,
			const struct log_source *source);
uint64_t log_mark(struct vfd_log *log, struct range where, const struct log_source *source);

/* The log address of size bytes of memory (of IOVA in an identity log), and a hold on its region, so that it cannot be
 * removed. VFD_ENOREGION when no single region contains all of it; the message says how far the region reaches. */
int log_region_get(struct vfd_log *log, const void *memory, uint64_t iova, uint64_t size, uint64_t *address,
		   struct vfd_error *err);
void log_region_put(struct vfd_log *log, uint64_t address);

/* The inbox of a region that is held: for who marks often, and must not wait, nor look the region up each time. */
struct log_inbox {
	uint64_t *bits, *sum, *top, *tip;
	uint64_t base; /* the page that bit 0 stands for: log address / page size */
	uint64_t last; /* log address: where the region ends; what comes behind it has another inbox */
};

void log_inbox_get(struct vfd_log *log, uint64_t address, struct log_inbox *inbox);
/* Owe pages first..last (log address / page size; all of that region) to every consumer, as software. The caller has made a sequentially
 * consistent fence since they were written. */
void log_inbox_set(const struct log_inbox *inbox, uint64_t first, uint64_t last);

static inline __attribute__((always_inline)) void log_inbox_set_bit(uint64_t *words, uint64_t i)
{
	if (!(__atomic_load_n(&words[i / 64], __ATOMIC_SEQ_CST) >> i % 64 & 1))
		__atomic_fetch_or(&words[i / 64], UINT64_C(1) << i % 64, __ATOMIC_SEQ_CST);
}

/* The same, in the same order, without a call, where the pages are in one word. False: they are not, and nothing is done. */
static inline __attribute__((always_inline)) bool log_inbox_set_word(const struct log_inbox *inbox,
								     uint64_t first, uint64_t last)
{
	uint64_t bit = first - inbox->base, w = bit / 64, more = last - first;

	if (bit % 64 + more > 63)
		return false;
	uint64_t mask = UINT64_MAX >> (63 - more) << bit % 64;
	if (~__atomic_load_n(&inbox->bits[w], __ATOMIC_SEQ_CST) & mask)
		__atomic_fetch_or(&inbox->bits[w], mask, __ATOMIC_SEQ_CST);
	log_inbox_set_bit(inbox->sum, w);
	log_inbox_set_bit(inbox->top, w / 64);
	log_inbox_set_bit(inbox->tip, w / 64 / 64);
	return true;
}

/* A question to the kernel is on its way, whose answer is cleared there before it is in the log. Of a log in an arena, that is noted for
 * whoever salvages it: log addresses first..last. Ends when all of the answer has been merged, or all that it could have said is owed. Any
 * thread, and several at a time; log may be NULL. */
struct log_intent {
	uint64_t *all;	   /* it is one of those that are counted, or */
	struct intent *at; /* ... noted here; neither: nobody will ask */
};
bool log_notes_intents(const struct vfd_log *log);
struct log_intent log_intent_begin(struct vfd_log *log, struct range where);
void log_intent_end(struct log_intent intent);

/* So many bytes will be owed as a whole, later, because of source; *said is what was said before, zero at first. For who looks from outside.
 * Of 0 bytes source may be NULL. */
struct log_deferral {
	uint64_t tally, bytes;
};
void log_defer(struct vfd_log *log, struct log_deferral *said, const struct log_source *source,
	       uint64_t bytes);

bool log_forked(const struct vfd_log *log);

bool log_is_identity(const struct vfd_log *log);

/* As vfd_consumer_add(), for who only looks: regions may go with pages owed to it. */
int log_observer_add(struct vfd_log *log, const char *name, struct vfd_consumer **consumer,
		     struct vfd_error *err);

/* A container uses the log: it cannot be destroyed. */
void log_user_add(struct vfd_log *log);
void log_user_remove(struct vfd_log *log);

#endif
