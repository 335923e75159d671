/* SPDX-License-Identifier: MIT */

/* What a program says that it has is believed no more than what comes over the line: a list that is too long for the engine's tables would
 * be written behind their ends. */

#include "guest.h"

#include "stream.h"

#include <string.h>

static int check_counts(const struct mig_guest *g, struct mig_error *err)
{
	if (!g->region_count || g->region_count > MIG_REGIONS || g->section_count > MIG_SECTIONS ||
	    g->device_count > MIG_SECTIONS)
		return mig_fail(
			err, "%zu regions, %zu sections, %zu devices: 1 to %d, and at most %d each, can be",
			g->region_count, g->section_count, g->device_count, MIG_REGIONS, MIG_SECTIONS);
	if (!g->regions || (g->section_count && !g->sections) || (g->device_count && !g->devices))
		return mig_fail(err, "a list of regions, sections or devices is NULL, and not empty");
	return 0;
}

static int check_place(const struct mig_guest *g, size_t i, struct mig_error *err)
{
	const struct mig_region *r = &g->regions[i];

	if (r->size && !(r->size % PAGE_BLOCK) && !(r->address % PAGE_BLOCK) &&
	    r->size - 1 <= UINT64_MAX - r->address)
		return 0;
	return mig_fail(
		err, "region %zu: %llu bytes at 0x%llx: both must be multiples of %d, and its end a number",
		i, (unsigned long long)r->size, (unsigned long long)r->address, PAGE_BLOCK);
}

static bool meet(const struct mig_region *a, const struct mig_region *b)
{
	return a->address <= b->address ? b->address - a->address < a->size
					: a->address - b->address < b->size;
}

static int check_regions(const struct mig_guest *g, struct mig_error *err)
{
	for (size_t i = 0; i < g->region_count; i++) {
		if (check_place(g, i, err))
			return MIG_FAILED;
		for (size_t before = 0; before < i; before++)
			if (meet(&g->regions[before], &g->regions[i]))
				return mig_fail(err, "regions %zu and %zu have log addresses in common",
						before, i);
	}
	return 0;
}

static int check_state(const struct mig_guest *g, struct mig_error *err)
{
	for (size_t i = 0; i < g->section_count; i++)
		if (!memchr(g->sections[i].name, 0, MIG_NAME))
			return mig_fail(err, "section %zu: its name is longer than %d bytes", i,
					MIG_NAME - 1);
	for (size_t i = 0; i < g->device_count; i++)
		if (!g->devices[i])
			return mig_fail(err, "device %zu is NULL", i);
	return 0;
}

static int check_both(const struct mig_guest *g, struct mig_error *err)
{
	return check_counts(g, err) || check_regions(g, err) || check_state(g, err) ? MIG_FAILED : 0;
}

int guest_check_source(const struct mig_guest *g, struct mig_error *err)
{
	if (check_both(g, err))
		return MIG_FAILED;
	for (size_t i = 0; i < g->section_count; i++)
		if (!g->sections[i].save)
			return mig_fail(err, "section \"%s\" has no save()", g->sections[i].name);
	return 0;
}

int guest_check_destination(const struct mig_guest *g, struct mig_error *err)
{
	if (check_both(g, err))
		return MIG_FAILED;
	for (size_t i = 0; i < g->region_count; i++) {
		uintptr_t memory = (uintptr_t)g->regions[i].memory;
		if (!memory || g->regions[i].size - 1 > UINTPTR_MAX - memory)
			return mig_fail(err, "region %zu: memory %p cannot have %llu bytes", i,
					g->regions[i].memory, (unsigned long long)g->regions[i].size);
	}
	for (size_t i = 0; i < g->section_count; i++)
		if (!g->sections[i].load)
			return mig_fail(err, "section \"%s\" has no load()", g->sections[i].name);
	return 0;
}
