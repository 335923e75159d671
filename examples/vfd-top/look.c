/* SPDX-License-Identifier: MIT */

/* One look at an arena. Whoever wrote it may have written anything, and may be writing: each number is read once, and checked before
 * anything is done with it. */

#include "top.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_REGIONS = 65536, BLOCK_WORDS = 8192 };

static bool read_at(int fd, void *to, uint64_t offset, uint64_t size)
{
	char *at = to;

	while (size) {
		ssize_t n = pread(fd, at, size, (off_t)offset);
		if (n <= 0)
			return false;
		at += n;
		offset += (uint64_t)n;
		size -= (uint64_t)n;
	}
	return true;
}

static bool is_inside(const struct superblock *super, uint64_t offset, uint64_t bytes)
{
	return offset && offset <= super->arena_size && bytes <= super->arena_size - offset;
}

/* ---- the superblock ---- */

bool is_log(int fd)
{
	uint64_t magic;

	return read_at(fd, &magic, 0, sizeof magic) && (magic == LOG_MAGIC || magic == LOG_MAGIC_DEAD);
}

static const char *read_super(int fd, struct superblock *super)
{
	struct stat st;

	if (!read_at(fd, super, 0, sizeof *super))
		return "it is too short for a log";
	if (super->magic == LOG_MAGIC_DEAD)
		return "the log in it was destroyed";
	if (super->magic != LOG_MAGIC)
		return "there is no log in it, or one of another version";
	if (super->check != super_check(super) || super->page_size < 512 ||
	    super->page_size & (super->page_size - 1))
		return "it is damaged: the checksum of its first words is wrong";
	if (fstat(fd, &st) || st.st_size < 0 || (uint64_t)st.st_size < super->arena_size)
		return "it is damaged: it was cut";
	return NULL;
}

/* ---- planes ---- */

static uint64_t ones(const uint64_t *words, uint64_t n)
{
	uint64_t count = 0;

	for (uint64_t i = 0; i < n; i++)
		count += (uint64_t)__builtin_popcountll(words[i]);
	return count;
}

/* Where the first words of a region's planes are */
struct places {
	uint64_t owed, other, inbox;
};

/* Words w.. of them. What is in the inbox only is owed as well, and nobody reported it. */
static bool count_block(int fd, const struct places *at, uint64_t w, uint64_t n, struct look *look,
			uint64_t *owed_pages)
{
	static uint64_t owed[BLOCK_WORDS], other[BLOCK_WORDS], inbox[BLOCK_WORDS];

	if (!read_at(fd, owed, at->owed + w * 8, n * 8) || !read_at(fd, other, at->other + w * 8, n * 8) ||
	    !read_at(fd, inbox, at->inbox + w * 8, n * 8))
		return false;
	for (uint64_t i = 0; i < n; i++) {
		other[i] = owed[i] & ~other[i];
		owed[i] |= inbox[i];
	}
	*owed_pages += ones(owed, n);
	look->reported += ones(other, n);
	return true;
}

/* The first of the words from w on that is not in a hole of the file: an arena that nobody filled may be much larger than memory. */
static uint64_t next_data(int fd, uint64_t plane, uint64_t w, uint64_t words)
{
	off_t data = lseek(fd, (off_t)(plane + w * 8), SEEK_DATA);

	if (data < 0)
		return words; /* none, or it cannot be asked: then the file is no arena */
	return (uint64_t)data > plane + w * 8 ? ((uint64_t)data - plane) / 8 : w;
}

static bool count_region(int fd, const struct places *at, uint64_t words, struct look *look, uint64_t *pages)
{
	for (uint64_t w = 0; w < words;) {
		uint64_t owed = next_data(fd, at->owed, w, words), inbox = next_data(fd, at->inbox, w, words);
		w = owed < inbox ? owed : inbox;
		if (w >= words)
			break;
		uint64_t n = words - w < BLOCK_WORDS ? words - w : BLOCK_WORDS;
		if (!count_block(fd, at, w, n, look, pages))
			return false;
		w += n;
	}
	return true;
}

/* ---- regions ---- */

static const char *look_at_region(int fd, const struct superblock *super, const struct region *r,
				  struct look *look)
{
	struct top_region *out = &look->regions[look->region_count];

	if (r->address > r->last || r->last == UINT64_MAX)
		return "it is damaged: a region ends before it begins";
	struct extent e = extent_of(r, (unsigned)__builtin_ctzll(super->page_size));
	if (!is_inside(super, r->planes[0], extent_bytes(e, 3)) ||
	    !is_inside(super, r->inbox, extent_bytes(e, 1)))
		return "it is damaged: a region's pages lie outside";
	look->bytes += extent_bytes(e, 4);
	if (look->bytes > super->arena_size)
		return "it is damaged: regions share their pages"; /* so many could that it would take days */
	struct places at = { r->planes[0] + extent_bits(e, 0, 3) * 8, r->planes[0] + extent_bits(e, 2, 3) * 8,
			     r->inbox + extent_bits(e, 0, 1) * 8 };
	*out = (struct top_region){ .address = r->address,
				    .size = r->last - r->address + 1,
				    .fresh = r->fresh };
	if (!count_region(fd, &at, e.words, look, &out->owed))
		return "it is damaged: it was cut";
	look->owed += out->owed;
	look->region_count++;
	return NULL;
}

static const char *look_at_regions(int fd, const struct superblock *super, struct look *look)
{
	struct region_table table;
	const char *wrong = NULL;

	if (!is_inside(super, super->regions, sizeof table) ||
	    !read_at(fd, &table, super->regions, sizeof table) || table.count > MAX_REGIONS ||
	    !is_inside(super, super->regions, sizeof table + table.count * sizeof(struct region)))
		return "it is damaged: the table of regions lies outside";
	struct region *regions = calloc(table.count + 1, sizeof *regions);
	look->regions = calloc(table.count + 1, sizeof *look->regions);
	if (!regions || !look->regions)
		wrong = "no memory for its regions";
	else if (!read_at(fd, regions, super->regions + sizeof table, table.count * sizeof *regions))
		wrong = "it is damaged: it was cut";
	for (uint64_t i = 0; !wrong && i < table.count; i++)
		wrong = look_at_region(fd, super, &regions[i], look);
	free(regions);
	return wrong;
}

/* ---- all ---- */

static const char *look_at_batches(int fd, const struct superblock *super, struct look *look)
{
	static struct consumer_record record;

	if (!is_inside(super, super->consumers[0], sizeof record) ||
	    !read_at(fd, &record, super->consumers[0], sizeof record))
		return "it is damaged: its consumer lies outside";
	for (unsigned i = 0; i < MAX_BATCHES; i++)
		look->taken += record.batches[i].id ? record.batches[i].pages : 0;
	return NULL;
}

static void take_tallies(const struct superblock *super, struct look *look)
{
	look->tally_count = super->tally_count < MAX_TALLIES ? super->tally_count : MAX_TALLIES;
	memcpy(look->tallies, super->tallies, sizeof look->tallies);
	for (unsigned i = 0; i < MAX_TALLIES; i++)
		look->tallies[i].label.who[NAME_BYTES - 1] = 0;
}

static uint64_t questions(const struct superblock *super)
{
	uint64_t count = super->all_asked;

	for (unsigned i = 0; i < MAX_INTENTS; i++)
		count += super->intents[i].state == INTENT_ASKED;
	return count;
}

static const char *look_once(int fd, struct look *look, struct superblock *super)
{
	struct timespec now;
	const char *wrong = read_super(fd, super);

	*look = (struct look){ 0 };
	if (wrong)
		return wrong;
	clock_gettime(CLOCK_MONOTONIC, &now);
	look->at = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
	look->page_size = super->page_size;
	look->asked = questions(super);
	take_tallies(super, look);
	wrong = look_at_batches(fd, super, look);
	return wrong ? wrong : look_at_regions(fd, super, look);
}

/* Regions may come and go while they are read: what is wrong for that reason is right the next time. */
const char *look_at(int fd, struct look *look)
{
	enum { TRIES = 10 };
	static struct superblock super;
	const char *wrong = look_once(fd, look, &super);

	for (unsigned i = 1; wrong && i < TRIES && super.magic == LOG_MAGIC; i++) {
		free(look->regions);
		wrong = look_once(fd, look, &super);
	}
	if (wrong) {
		free(look->regions);
		look->regions = NULL;
	}
	return wrong;
}
