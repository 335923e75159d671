/* SPDX-License-Identifier: MIT */

/* The mapping table: three orders that agree with a plain array, and memory that runs out.
 *
 *	test_table [operations]
 *
 * Linked with --wrap=malloc. */

#include "fixture.h"

#include <stdlib.h>
#include <string.h>

#include "index_oracle.h"

enum { MOST = 2000, SLOTS = 4096 };

static size_t operations = 40000;

/* ---- memory that runs out ---- */

static long allowed = -1; /* allocations that still succeed; -1: all */

void *__wrap_malloc(size_t size);
void *__real_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
	if (!allowed)
		return NULL;
	if (allowed > 0)
		allowed--;
	return __real_malloc(size);
}

/* ---- mappings ---- */

static struct table table;
static struct mapping *there[MOST];
static size_t count;
static bool taken[SLOTS];

static void begin(unsigned orders)
{
	table_init(&table);
	table_keep(&table, orders);
}

static void end(void)
{
	while (count)
		free(there[--count]);
	memset(taken, 0, sizeof taken);
	table_end(&table);
}

static struct mapping *make(uint64_t slot, uint64_t pages, uint64_t memory, uint64_t log, bool logged)
{
	struct mapping *m = calloc(1, sizeof *m);

	must(m);
	m->where = (struct range){ slot * 16 * PAGE, (slot * 16 + pages) * PAGE - 1 };
	m->memory = (void *)(uintptr_t)(memory * PAGE);
	m->log_address = logged ? log * PAGE : 0;
	m->logged = logged;
	return m;
}

static void add_random(uint64_t *seed)
{
	uint64_t slot = random_next(seed) % SLOTS, pages = 1 + random_next(seed) % 16;

	if (taken[slot] || count == MOST)
		return;
	must(table_reserve(&table));
	/* few pages, so that many mappings share them */
	there[count] = make(slot, pages, 1 + random_next(seed) % 200, random_next(seed) % 3000,
			    random_next(seed) % 8);
	table_add(&table, there[count++]);
	taken[slot] = true;
}

static void remove_random(uint64_t *seed)
{
	size_t i = count ? random_next(seed) % count : 0;

	if (!count)
		return;
	struct mapping *m = there[i];
	there[i] = there[--count];
	taken[m->where.first / PAGE / 16] = false;
	table_remove(&table, m);
	free(m);
}

/* ---- the naive answer ---- */

static bool key_of(const struct mapping *m, enum vfd_find by, struct range *key)
{
	*key = by == VFD_FIND_IOVA  ? m->where
	       : by == VFD_FIND_LOG ? mapping_log_range(m)
				    : mapping_memory_range(m);
	return by != VFD_FIND_LOG || m->logged;
}

static bool better(struct range key, const struct mapping *m, struct range best_key,
		   const struct mapping *best)
{
	return key.first != best_key.first ? key.first > best_key.first : m->where.first < best->where.first;
}

static const struct mapping *naive(enum vfd_find by, uint64_t address)
{
	const struct mapping *best = NULL;
	struct range best_key = { 0, 0 }, key;

	for (size_t i = 0; i < count; i++) {
		if (!key_of(there[i], by, &key) || address < key.first || key.last < address)
			continue;
		if (!best || better(key, there[i], best_key, best)) {
			best = there[i];
			best_key = key;
		}
	}
	return best;
}

static void compare(uint64_t *seed)
{
	const enum vfd_find all[] = { VFD_FIND_IOVA, VFD_FIND_MEMORY, VFD_FIND_LOG };
	const uint64_t span[] = { SLOTS * 16 * PAGE, 220 * PAGE, 3020 * PAGE };

	for (int i = 0; i < 3; i++) {
		uint64_t address = random_next(seed) % span[i];
		table_enter(&table);
		const struct mapping *m = table_find(&table, all[i], address);
		table_leave(&table);
		must_eq(m, naive(all[i], address));
	}
}

static void check_table(void)
{
	uint64_t bytes = 0, logged = 0;

	check_tree(&table.iova);
	check_tree(&table.other[BY_MEMORY]);
	check_tree(&table.other[BY_LOG]);
	for (size_t i = 0; i < count; i++) {
		bytes += range_size(there[i]->where);
		logged += there[i]->logged;
	}
	must_eq(table.iova.count, count);
	must_eq(table.other[BY_MEMORY].count, count);
	must_eq(table.other[BY_LOG].count, logged);
	must_eq(table.bytes, bytes);
	must_eq(table.iova.promised + table.other[0].promised + table.other[1].promised, 0);
}

START_TEST(random_against_an_array)
{
	uint64_t seed = 41;

	begin(VFD_FIND_MEMORY | VFD_FIND_LOG);
	for (size_t i = 0; i < operations; i++) {
		uint64_t before = table.generation;
		bool grow = random_next(&seed) % 100 < (i / 4000 % 2 ? 25u : 75u);
		size_t had = count;
		if (grow)
			add_random(&seed);
		else
			remove_random(&seed);
		must_eq(table.generation != before, count != had);
		if (i % 8 == 0)
			compare(&seed);
		if (i % 500 == 0)
			check_table();
	}
	check_table();
	end();
}
END_TEST

/* ---- promises ---- */

/* Fill up to where nodes are full, promise many, take all memory away: every one is kept, in all three orders, with removes between. */
static void promise_and_keep(size_t full, size_t promises, bool removes)
{
	begin(VFD_FIND_MEMORY | VFD_FIND_LOG);
	for (size_t i = 0; i < full; i++) {
		must(table_reserve(&table));
		there[count] = make(2 * i + 1, 1, 1 + i, i, true);
		table_add(&table, there[count++]);
	}
	for (size_t i = 0; i < promises; i++) {
		must(table_reserve(&table));
		there[count + i] = make(2 * i, 1, 1 + i % 7, i * 5 % 64, i % 3);
	}
	allowed = 0;
	for (size_t i = 0; i < promises; i++) {
		table_add(&table, there[count++]);
		if (removes && i < full) {
			table_remove(&table, there[i]);
			table_remove(&table, there[full + i]);
		}
	}
	allowed = -1;
	check_tree(&table.iova);
	check_tree(&table.other[BY_MEMORY]);
	check_tree(&table.other[BY_LOG]);
	must_eq(table.iova.promised + table.other[0].promised + table.other[1].promised, 0);
	end();
}

START_TEST(promises_are_kept)
{
	for (size_t full = 0; full <= 3 * INDEX_WIDTH; full++)
		for (size_t promises = 1; promises < 200; promises += 66)
			promise_and_keep(full, promises, full % 2);
	promise_and_keep(0, MOST, false);
	promise_and_keep(1000, 1000, false);
	promise_and_keep(1000, 1000, true);
}
END_TEST

/* One promise at a time, until a root is full that stands on full nodes. */
START_TEST(a_promise_is_enough)
{
	struct index index = { 0 };

	for (uint64_t i = 0; i < 3 * INDEX_WIDTH * INDEX_WIDTH; i++) {
		must(index_reserve(&index));
		allowed = 0;
		index_insert(&index, (struct index_entry){ { i, i }, i, 0 });
		allowed = -1;
	}
	must_eq(index.height, 3);
	check_tree(&index);
	index_end(&index);
}
END_TEST

/* Whichever allocation fails: no promise is left behind, and the table is as it was. */
START_TEST(no_memory_for_a_promise)
{
	for (long i = 0; i < 6; i++) {
		begin(VFD_FIND_MEMORY | VFD_FIND_LOG);
		allowed = i;
		bool done = table_reserve(&table);
		allowed = -1;
		must(!done);
		must_eq(table.iova.promised + table.other[0].promised + table.other[1].promised, 0);
		must(table_reserve(&table));
		there[count] = make(0, 1, 1, 1, true);
		table_add(&table, there[count++]);
		must_eq(table.iova.promised + table.other[0].promised + table.other[1].promised, 0);
		end();
	}
	begin(VFD_FIND_MEMORY |
	      VFD_FIND_LOG); /* six is what the first one takes: a leaf and an inner node each */
	allowed = 6;
	must(table_reserve(&table));
	must_eq(allowed, 0);
	allowed = -1;
	table_unreserve(&table);
	must_eq(table.iova.promised + table.other[0].promised + table.other[1].promised, 0);
	end();
}
END_TEST

/* A map that finds no memory changes nothing; with the log's and the kernel's part of it undone. */
START_TEST(map_without_memory)
{
	static struct fixture fixture, *f = &fixture;
	int rc = VFD_ENOMEMORY;
	long i;

	fixture_track(f, NULL);
	OK(unmap_pages(f, 0, PAGES));
	for (i = 0; rc == VFD_ENOMEMORY && i < 100; i++) {
		allowed = i;
		rc = map_pages(f, 5, 3, 2, RW);
		allowed = -1;
		if (rc)
			ck_assert_uint_eq(f->container->space.table.iova.count, 0);
	}
	OK(rc);
	ck_assert_int_gt(i, 1);
	OK(unmap_pages(f, 5, 2));
	fixture_end(f);
}
END_TEST

/* A record is 40 bytes, an entry 24 in each order and 8 more by IOVA: with what trees leave empty that makes at most 160. */
START_TEST(small_enough)
{
	size_t bytes = 0;
	uint64_t seed = 51;

	begin(VFD_FIND_MEMORY | VFD_FIND_LOG);
	while (count < MOST) {
		uint64_t slot = random_next(&seed) % SLOTS;
		if (taken[slot])
			continue;
		taken[slot] = true;
		must(table_reserve(&table));
		there[count] =
			make(slot, 1, 1 + random_next(&seed) % 100000, random_next(&seed) % 100000, true);
		table_add(&table, there[count++]);
	}
	const struct index *all[] = { &table.iova, &table.other[0], &table.other[1] };
	for (int i = 0; i < 3; i++) {
		const struct index_node *leaf = all[i]->root;
		for (unsigned level = all[i]->height; level > 1; level--)
			leaf = *(struct index_node *const *)(leaf + 1);
		for (; leaf; leaf = leaf->next)
			bytes += leaf->wide ? sizeof(struct index_wide) : sizeof(struct index_node);
	}
	if (sizeof(void *) == 8)
		ck_assert_uint_eq(sizeof(struct mapping), 40);
	ck_assert_uint_le(bytes + MOST * (sizeof(struct mapping) + 8),
			  MOST * 160); /* inner nodes come on top: one for some 50 */
	end();
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("table");

	if (getenv("VFD_LONG"))
		operations = 1000000;
	if (argc > 1)
		operations = strtoull(argv[1], NULL, 0);
	add_case(suite, "random", random_against_an_array);
	add_case(suite, "promises are kept", promises_are_kept);
	add_case(suite, "a promise is enough", a_promise_is_enough);
	add_case(suite, "no memory for a promise", no_memory_for_a_promise);
	add_case(suite, "map without memory", map_without_memory);
	add_case(suite, "small enough", small_enough);
	return run_suite(suite);
}
