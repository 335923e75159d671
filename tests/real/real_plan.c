/* SPDX-License-Identifier: MIT */

/* A thousand and more mappings of one page: clubbed into one GET_BITMAP although nearly all are shifted. What the kernel really does
 * then: exact in the first round, ghosts where mappings share a word, none elsewhere, and a record that a fault spoils. */

#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MOST = 1800, SPREAD = 160000, SPREAD_WORDS = SPREAD / 64 };

/* Mapping i is one page: page i of the memory at page at[i] of IOVA. */
static struct layout {
	const char *name;
	unsigned count;
	uint32_t at[MOST];
} layout;

static struct rig rig;
static uint64_t random_state = 1;

static unsigned any(unsigned below)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(random_state >> 33) % below;
}

static bool has(const struct pages *pages, unsigned page)
{
	return pages->words[page / 64] >> page % 64 & 1;
}

/* ---- the device ---- */

static void write_pages(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		rig_write(0, layout.at[any(layout.count)], 1, i);
}

/* What it wrote, by page of the memory; and forget it. */
static struct pages truth(void)
{
	static uint64_t bits[SPREAD_WORDS];
	struct pages pages = { 0 };
	struct vfdtest_truth question = { .flags = VFDTEST_TRUTH_CLEAR,
					  .iova = RIG_IOVA,
					  .size = SPREAD * RIG_PAGE,
					  .bitmap = (uintptr_t)bits };

	if (rig_command(VFDTEST_TRUTH, &question))
		abort();
	for (unsigned i = 0; i < layout.count; i++)
		if (bits[layout.at[i] / 64] >> layout.at[i] % 64 & 1)
			pages.words[i / 64] |= UINT64_C(1) << i % 64;
	return pages;
}

/* ---- a container with that layout ---- */

static void begin(void)
{
	unsigned mapped = 0;

	rig_open(&rig);
	rig_attach(&rig, 0);
	vfd_track_start(rig.container, NULL, NULL, &rig.err);
	for (unsigned i = 0; i < layout.count; i++) {
		struct vfd_mapping mapping = {
			.struct_size = sizeof mapping,
			.flags = RIG_RW,
			.iova = RIG_IOVA + layout.at[i] * RIG_PAGE,
			.size = RIG_PAGE,
			.memory = rig.memory + i * RIG_PAGE,
		};
		mapped += !vfd_map(rig.container, &mapping, &rig.err);
	}
	ok(mapped == layout.count && !rig_open_device(&rig, 0), "%s: %u of %u mappings", layout.name, mapped,
	   layout.count);
	truth();
}

static struct pages harvest(int want)
{
	uint64_t gets = rig_gets();
	int rc = vfd_track_harvest(rig.container, 0, NULL, &rig.err);

	if (rc != want || rig_gets() - gets != 1)
		ok(false, "%s: harvest: %s, %u ioctls", layout.name, rig.err.message,
		   (unsigned)(rig_gets() - gets));
	return rig_deliver(&rig);
}

/* ---- the layouts ---- */

static void contiguous(void)
{
	layout = (struct layout){ .name = "contiguous single pages", .count = MOST };
	for (unsigned i = 0; i < MOST; i++)
		layout.at[i] = i;
}

/* No two in 64 pages: nothing that is left behind an end meets another mapping. */
static void scattered(void)
{
	layout = (struct layout){ .name = "scattered single pages", .count = MOST };
	for (unsigned i = 0; i < MOST; i++)
		layout.at[i] = i * 64 + 1 + any(62);
}

/* The second half lies behind the first page of the bitmap, and nothing in it at a multiple of 64 pages. */
static void halves(void)
{
	layout = (struct layout){ .name = "two halves", .count = MOST };
	for (unsigned i = 0; i < MOST; i++)
		layout.at[i] = i < MOST / 2 ? i : 40000 + i * 5 / 4 + (i * 5 / 4 % 64 ? 0 : 1);
	for (unsigned i = MOST / 2 + 1; i < MOST; i++)
		if (layout.at[i] <= layout.at[i - 1])
			layout.at[i] = layout.at[i - 1] + 1;
}

/* ---- what is shown ---- */

/* Pages that were not written come only in words of bits that had some in the round before. Each round moves them on, by a page at
 * least, so 64 quiet rounds later there are none. */
static void ghosts(void)
{
	struct pages before = { 0 };
	unsigned lost = 0, added = 0, wild = 0, written = 0;

	contiguous();
	begin();
	for (unsigned round = 0; round < 40; round++) {
		write_pages(round % 8 ? 3 : 25);
		struct pages log = harvest(0), wrote = truth();
		if (!round)
			ok_exact(&log, &wrote, "contiguous single pages, first round");
		lost += pages_missing(&wrote, &log);
		added += pages_missing(&log, &wrote);
		written += pages_count(&wrote);
		for (int w = 0; w < RIG_WORDS; w++)
			wild += (log.words[w] & ~wrote.words[w]) && !before.words[w];
		before = log;
	}
	ok(!lost && written, "contiguous single pages, 40 rounds: %u pages written, %u lost", written, lost);
	ok(added && !wild, "ghosts: %u pages more, each in a word that had some in the round before", added);
	for (unsigned round = 0; round < 63; round++)
		harvest(0);
	struct pages log = harvest(0);
	ok(!pages_count(&log), "64 quiet rounds later no ghost is left");
	rig_close(&rig);
}

static void no_ghosts(void)
{
	unsigned lost = 0, added = 0, written = 0;

	scattered();
	begin();
	for (unsigned round = 0; round < 40; round++) {
		write_pages(100);
		struct pages log = harvest(0), wrote = truth();
		lost += pages_missing(&wrote, &log);
		added += pages_missing(&log, &wrote);
		written += pages_count(&wrote);
	}
	ok(!lost && !added && written,
	   "scattered single pages, 40 rounds: %u pages written, %u lost, %u added", written, lost, added);
	rig_close(&rig);
}

static unsigned protections;

/* The kernel reads a shifted mapping's word there, and cannot write it back: trap 15. */
static void protect_second_page(void *bitmap, uint64_t bytes, bool after)
{
	if (bytes <= 4096)
		return;
	protections++;
	if (mprotect((char *)bitmap + 4096, 4096, after ? PROT_READ | PROT_WRITE : PROT_READ))
		abort();
}

static void fault(void)
{
	unsigned aligned = 0;

	halves();
	begin();
	write_pages(300);
	rig_around_get = protect_second_page;
	struct pages log = harvest(-EFAULT), wrote = truth();
	ok(protections == 2, "a fault in the middle of a clubbed call");
	ok_nothing_lost(&log, &wrote, "a fault in the middle of a clubbed call");
	for (unsigned i = 0; i < MOST; i++)
		aligned += layout.at[i] % 64 == 0 && has(&log, i) && !has(&wrote, i);
	ok(!aligned, "mappings that are not shifted are not assumed (%u)", aligned);
	rig_around_get = NULL;
	write_pages(300);
	log = harvest(0);
	wrote = truth();
	ok_nothing_lost(&log, &wrote, "the harvest after it");
	write_pages(300);
	log = harvest(0);
	wrote = truth();
	ok_nothing_lost(&log, &wrote, "and the next");
	rig_close(&rig);
}

int main(void)
{
	ghosts();
	no_ghosts();
	fault();
	return done();
}
