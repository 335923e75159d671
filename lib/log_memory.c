/* SPDX-License-Identifier: MIT */

/* Where records live: each in a mapping of its own, or in pieces of the caller's arena. */

#include <string.h>
#include <sys/mman.h>

#include "log_internal.h"

enum { UNIT = 64 };

static uint64_t round_up(uint64_t bytes)
{
	return (bytes + UNIT - 1) & ~(uint64_t)(UNIT - 1);
}

/* ---- own mappings ----
 *
 * All are on a list whose head is in the handle, so that a child can unmap them without looking at records
 * that another thread of the parent was changing at the fork. `next` always leads through the whole list: a
 * segment is complete before the one store that links it, and mapped until after the one that unlinks it. */

struct segment {
	uint64_t bytes;
	struct segment *next, *prev;
	uint64_t unused[5];
};

_Static_assert(sizeof(struct segment) <= UNIT, "the header of a segment fits its unit");

static uint64_t mapping_new(struct vfd_log *log, uint64_t bytes)
{
	const int prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

	if (bytes > SIZE_MAX - UNIT)
		return 0;
	struct segment *s = mmap(NULL, (size_t)bytes + UNIT, prot, flags, -1, 0);
	if (s == MAP_FAILED)
		return 0;
	s->bytes = bytes + UNIT;
	s->next = log->segments;
	if (s->next)
		s->next->prev = s;
	log->segments = s;
	return (uintptr_t)s + UNIT;
}

static void mapping_free(struct vfd_log *log, uint64_t offset)
{
	struct segment *s = (void *)(uintptr_t)(offset - UNIT);

	if (s->prev)
		s->prev->next = s->next;
	else
		log->segments = s->next;
	if (s->next)
		s->next->prev = s->prev;
	munmap(s, (size_t)s->bytes);
}

void segments_release(struct vfd_log *log)
{
	struct segment *next;

	for (struct segment *s = log->segments; s; s = next) {
		next = s->next;
		munmap(s, (size_t)s->bytes);
	}
	log->segments = NULL;
}

/* ---- the arena ----
 *
 * Behind the superblock a chain of blocks without gaps, each a header of one unit and its bytes. First fit;
 * free neighbours are joined on the way. Whatever is free is zero but for the headers. */

struct block {
	uint64_t bytes; /* with this header */
	uint64_t used;
	uint64_t unused[6];
};

_Static_assert(sizeof(struct block) == UNIT, "the header of a block is one unit");

static uint64_t arena_start(void)
{
	return round_up(sizeof(struct superblock));
}

static uint64_t arena_end(const struct vfd_log *log)
{
	return log->arena_size & ~(uint64_t)(UNIT - 1);
}

uint64_t arena_minimum(void)
{
	return arena_start() + 3 * UNIT + round_up(sizeof(struct consumer_record)) +
	       round_up(regions_minimum());
}

void arena_format(struct vfd_log *log)
{
	struct block *block = at_offset(log, arena_start());

	block->bytes = arena_end(log) - arena_start();
}

static void join_free(const struct vfd_log *log, uint64_t at)
{
	struct block *block = at_offset(log, at);

	while (at + block->bytes < arena_end(log)) {
		struct block *next = at_offset(log, at + block->bytes);
		if (next->used)
			break;
		block->bytes += next->bytes;
		memset(next, 0, sizeof(*next));
	}
}

/* Use the first `bytes` of a free block; what is left is a free block if it can hold anything. */
static void claim_block(const struct vfd_log *log, uint64_t at, uint64_t bytes)
{
	struct block *block = at_offset(log, at);

	if (block->bytes - bytes > UNIT) {
		struct block *rest = at_offset(log, at + bytes);
		rest->bytes = block->bytes - bytes;
		block->bytes = bytes;
	}
	block->used = 1;
}

static uint64_t block_new(const struct vfd_log *log, uint64_t bytes)
{
	uint64_t need = round_up(bytes) + UNIT;

	for (uint64_t at = arena_start(); at < arena_end(log);) {
		struct block *block = at_offset(log, at);
		if (!block->used)
			join_free(log, at);
		if (!block->used && block->bytes >= need) {
			claim_block(log, at, need);
			return at + UNIT;
		}
		at += block->bytes;
	}
	return 0;
}

static uint64_t largest_free(const struct vfd_log *log)
{
	uint64_t largest = UNIT;

	for (uint64_t at = arena_start(); at < arena_end(log);) {
		struct block *block = at_offset(log, at);
		if (!block->used)
			largest = max_u64(largest, block->bytes);
		at += block->bytes;
	}
	return largest - UNIT;
}

/* ---- either ---- */

uint64_t segment_new(struct vfd_log *log, uint64_t bytes)
{
	if (bytes > UINT64_MAX / 2)
		return 0;
	return log->arena_size ? block_new(log, bytes) : mapping_new(log, bytes);
}

void segment_free(struct vfd_log *log, uint64_t offset)
{
	if (!offset)
		return;
	if (!log->arena_size)
		mapping_free(log, offset);
	else
		((struct block *)at_offset(log, offset - UNIT))->used = 0;
}

int fail_segment(struct vfd_log *log, uint64_t bytes, const char *what, const char *operation,
		 struct vfd_error *err)
{
	struct size_text need = size_text(bytes);

	if (!log->arena_size)
		return fail(err, VFD_ENOMEMORY, operation,
			    "no memory for %s: the kernel refused a mapping of %s", what, need.text);
	return fail(err, VFD_ELIMIT, operation,
		    "%s needs %s of the arena, but its largest free piece has %s of %s: use a larger arena",
		    what, need.text, size_text(largest_free(log)).text, size_text(log->arena_size).text);
}
