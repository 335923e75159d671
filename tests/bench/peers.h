/* SPDX-License-Identifier: MIT */
#ifndef TESTS_BENCH_PEERS_H
#define TESTS_BENCH_PEERS_H

/* What ours is held against. Written here from descriptions of how others do it: models of them, not their code. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- finding a mapping ---- */

/* One sorted array of first addresses, searched without a branch that depends on data; beside it what they stand for. */
struct flat_entry {
	uint64_t first, last;
	void *item;
};

struct flat {
	size_t count;
	uint64_t *firsts; /* ascending */
	struct flat_entry *entries;
};

void flat_make(struct flat *flat, const struct flat_entry *entries, size_t count);
void flat_free(struct flat *flat);
/* Position of the last entry that starts at or before the address: the floor, which does not even look at what it found. */
size_t flat_position(const struct flat *flat, uint64_t address);
void *flat_find(const struct flat *flat, uint64_t address);
/* What a flat array pays: all behind the place move. */
void flat_remove(struct flat *flat, uint64_t first);
void flat_insert(struct flat *flat, const struct flat_entry *entry);
/* From the beginning until found. */
void *linear_find(const struct flat *flat, uint64_t address);

/* libc's tree */
struct tree {
	void *root;
};

void tree_add(struct tree *tree, struct flat_entry *entry);
void tree_remove(struct tree *tree, struct flat_entry *entry);
void tree_free(struct tree *tree);
void *tree_find(struct tree *tree, uint64_t address);

/* ---- pins ---- */

/* As drivers do it that have registered memory: one lock, a directory of 2 MiB pieces, in each the IOVA and how many registrations
 * or buffers use it. */
enum { PIECE_SHIFT = 21 };

struct counted {
	uint64_t start; /* of the memory */
	uint64_t *iovas;
	uint64_t *uses;
	pthread_mutex_t mutex;
};

void counted_make(struct counted *c, uint64_t start, uint64_t iova, uint64_t size);
void counted_free(struct counted *c);
/* Returns the IOVA. */
uint64_t counted_pin(struct counted *c, uint64_t address);
void counted_unpin(struct counted *c, uint64_t address);
/* The IOVA alone, without the lock */
uint64_t counted_translate(const struct counted *c, uint64_t address);

/* ---- runs of set bits ---- */

struct run_sum {
	uint64_t runs, bits;
};

/* As the kernel's: word-wise, one call per edge. Returns size if there is none. */
uint64_t find_next_bit(const uint64_t *words, uint64_t size, uint64_t start);
uint64_t find_next_zero_bit(const uint64_t *words, uint64_t size, uint64_t start);
struct run_sum find_runs(const uint64_t *words, uint64_t bits);

/* ---- bitmaps into bitmaps ---- */

/* QEMU's sink, when page sizes match and the range is aligned: for each word that is not 0 a popcount, and the word
 * with a locked OR into the bitmaps of two clients. Returns the popcounts' sum. */
uint64_t qemu_words(_Atomic uint64_t *migration, _Atomic uint64_t *vga, const uint64_t *src, size_t n);
/* The same with one bitmap. */
uint64_t one_locked_or(_Atomic uint64_t *dst, const uint64_t *src, size_t n);

#endif
