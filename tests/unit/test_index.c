/* SPDX-License-Identifier: MIT */

/* The index against a plain array.
 *
 *	test_index [entries [operations]]
 *
 * With VFD_LONG in the environment: a million entries. */

#include "fixture.h"

#include <stdlib.h>

#include "index_oracle.h"

static size_t most = 100000;
static size_t operations = 20000;

/* ---- ranges that do not meet ---- */

#define SLOT UINT64_C(0x1000)

static struct range slot_range(uint64_t slot, uint64_t *seed)
{
	uint64_t first = slot * SLOT + random_next(seed) % 8;

	return (struct range){ first, first + random_next(seed) % (SLOT - 8) };
}

static void compare_seek(const struct oracle *o, const struct index *index, uint64_t address)
{
	const struct index_entry *want = oracle_seek(o, address);
	struct index_cursor at;
	struct index_entry hit;

	must_eq(index_seek(index, address, &at), want != NULL);
	if (want)
		must_eq(at.where.first, want->where.first);
	bool in = want && want->where.first <= address;
	must_eq(index_stab(index, address, &hit), in);
	if (in) {
		must_eq(hit.value, want->value);
		must_eq(hit.also, want->also);
	}
	struct range point = { address, address };
	must_eq(index_meets(index, point, &at), in);
}

/* Grows and shrinks again and again, so that nodes split, even out, merge and vanish. */
START_TEST(random_disjoint)
{
	enum { SLOTS = 3000 };
	static int place[SLOTS]; /* 0: not there */
	struct oracle o = { 0 };
	struct index index = { .wide = true };
	uint64_t seed = 11;

	for (size_t i = 0; i < operations; i++) {
		uint64_t slot = random_next(&seed) % SLOTS;
		unsigned fill = i / 4000 % 2 ? 20 : 80; /* per cent of the operations that insert */
		bool insert = random_next(&seed) % 100 < fill;
		if (insert && !place[slot]) {
			oracle_add(&o, &index, slot_range(slot, &seed), slot + 1);
			place[slot] = 1;
		} else if (!insert && o.count) {
			size_t victim = random_next(&seed) % o.count;
			place[o.entries[victim].where.first / SLOT] = 0;
			oracle_remove(&o, &index, victim);
		}
		if (i % 16 == 0)
			compare_seek(&o, &index, random_next(&seed) % ((SLOTS + 2) * SLOT));
		if (i % 256 == 0)
			check_same(&o, &index);
	}
	check_same(&o, &index);
	oracle_free(&o);
	index_end(&index);
}
END_TEST

/* ---- ranges that overlap at will, many that begin at the same byte ---- */

static void compare_stab(const struct oracle *o, const struct index *index, uint64_t address)
{
	const struct index_entry *want = oracle_stab(o, address);
	struct index_entry hit = { .value = 0 };

	must_eq(index_stab(index, address, &hit), want != NULL);
	if (want) {
		must_eq(hit.value, want->value);
		must_eq(hit.where.first, want->where.first);
		must_eq(hit.where.last, want->where.last);
	}
}

static void compare_around(struct oracle *o, const struct index *index, uint64_t address)
{
	struct index_entry below, above, want_below = { .where = { 1, 0 } }, want_above = want_below;

	for (size_t i = 0; i < o->count; i++) { /* sorted by check_same() */
		if (o->entries[i].where.first <= address)
			want_below = o->entries[i];
		else if (want_above.where.first > want_above.where.last)
			want_above = o->entries[i];
	}
	index_around(index, address, &below, &above);
	must_eq(below.where.first, want_below.where.first);
	must_eq(below.value, want_below.value);
	must_eq(above.where.first, want_above.where.first);
	must_eq(above.value, want_above.value);
	must_eq(below.also, want_below.also);
	must_eq(above.also, want_above.also);
}

static void overlap(uint64_t span, uint64_t longest, uint64_t seed)
{
	struct oracle o = { 0 };
	struct index index = { .wide = seed % 2 };

	for (size_t i = 0; i < operations; i++) {
		unsigned fill = i / 3000 % 2 ? 20 : 80;
		if (random_next(&seed) % 100 < fill) {
			uint64_t first = random_next(&seed) % span;
			uint64_t length = 1 + random_next(&seed) % (random_next(&seed) % longest + 1);
			oracle_add(&o, &index, (struct range){ first, first + length - 1 },
				   random_next(&seed) << 20 | i);
		} else if (o.count) {
			oracle_remove(&o, &index, random_next(&seed) % o.count);
		}
		if (i % 16 == 0)
			compare_stab(&o, &index, random_next(&seed) % (span + longest));
		if (i % 512 == 0) {
			check_tree(&index);
			check_same(&o, &index);
			compare_around(&o, &index, random_next(&seed) % (span + 2));
		}
	}
	oracle_free(&o);
	index_end(&index);
}

START_TEST(random_overlapping)
{
	overlap(1 << 20, 1 << 12, 21); /* a few deep */
	overlap(1 << 20, 1 << 20, 22); /* everything over everything */
	overlap(40, 40, 23);	       /* thousands begin at the same byte */
	overlap(1, 1, 24);	       /* all are the same */
}
END_TEST

/* One that begins first and reaches over all others, which reach nowhere: the way back to it is the longest. */
START_TEST(far_reach)
{
	struct oracle o = { 0 };
	struct index index = { 0 };
	struct index_entry hit;

	oracle_add(&o, &index, (struct range){ 0, 1 << 30 }, 7);
	for (uint64_t i = 1; i < 20000; i++)
		oracle_add(&o, &index, (struct range){ i * 100, i * 100 + 1 }, i);
	must(index_stab(&index, 1900050, &hit));
	must_eq(hit.value, 7);
	oracle_remove(&o, &index, 0);
	must(!index_stab(&index, 1900050, &hit));
	check_same(&o, &index);
	oracle_free(&o);
	index_end(&index);
}
END_TEST

/* ---- many ---- */

enum order { ASCENDING, DESCENDING, SHUFFLED, ORDERS };

static uint64_t *make_order(size_t count, enum order order)
{
	uint64_t *keys = malloc(count * sizeof *keys), seed = 31;

	must(keys);
	for (size_t i = 0; i < count; i++)
		keys[i] = order == DESCENDING ? count - 1 - i : i;
	for (size_t i = count; order == SHUFFLED && i-- > 1;) {
		size_t other = random_next(&seed) % (i + 1);
		uint64_t key = keys[i];
		keys[i] = keys[other];
		keys[other] = key;
	}
	return keys;
}

static size_t leaves_of(const struct index *index)
{
	struct index_cursor at;
	size_t leaves = 0;

	index_seek(index, 0, &at);
	for (const struct index_node *leaf = at.leaf; leaf; leaf = leaf->next)
		leaves++;
	return leaves;
}

static void fill_and_empty(enum order in, enum order out)
{
	struct index index = { 0 };
	struct index_cursor at;
	uint64_t *keys = make_order(most, in);

	for (size_t i = 0; i < most; i++) {
		must(index_reserve(&index));
		index_insert(&index,
			     (struct index_entry){ { keys[i] * 10, keys[i] * 10 + 5 }, keys[i] + 1, 0 });
	}
	check_tree(&index);
	size_t full = (most + INDEX_WIDTH - 1) / INDEX_WIDTH;
	must(leaves_of(&index) * 100 <= full * (in == SHUFFLED ? 150 : 105) + 100);
	for (uint64_t i = 0; i < most; i++) {
		must(index_seek(&index, i * 10 + 5, &at) && (uintptr_t)at.item == i + 1);
		must(index_seek(&index, i * 10 + 6, &at) == (i + 1 < most));
	}
	free(keys);
	keys = make_order(most, out);
	for (size_t i = 0; i < most; i++) {
		index_remove(&index, keys[i] * 10, keys[i] + 1);
		index_trim(&index);
		must(!index_seek(&index, keys[i] * 10, &at) || at.where.first != keys[i] * 10);
		if (i % (most / 8) == 0)
			check_tree(&index);
	}
	must_eq(index.count, 0);
	must_eq(index.height, 0);
	must(index.leaves.count + index.inners.count <= 8); /* its memory went back */
	free(keys);
	index_end(&index);
}

START_TEST(fill_and_empty_in_all_orders)
{
	bool few = most > 200000; /* or it takes too long */

	for (int in = 0; in < ORDERS; in++)
		for (int out = 0; out < ORDERS; out++)
			if (!few || out == (in + 2) % ORDERS)
				fill_and_empty((enum order)in, (enum order)out);
}
END_TEST

/* ---- edges ---- */

START_TEST(nothing)
{
	struct index index = { 0 };
	struct index_cursor at;
	struct index_entry below, above;

	must(!index_seek(&index, 0, &at));
	must(!index_seek(&index, UINT64_MAX, &at));
	must(!index_meets(&index, RANGE_ALL, &at));
	must(!index_stab(&index, 0, &below));
	index_around(&index, 5, &below, &above);
	must(below.where.first > below.where.last && above.where.first > above.where.last);
	index_trim(&index);
	check_tree(&index);
	index_end(&index);
}
END_TEST

START_TEST(all_of_the_space)
{
	struct oracle o = { 0 };
	struct index index = { 0 };
	const uint64_t ask[] = { 0, 1, UINT64_MAX / 2, UINT64_MAX - 1, UINT64_MAX };

	oracle_add(&o, &index, RANGE_ALL, 1);
	for (int i = 0; i < 5; i++)
		compare_seek(&o, &index, ask[i]);
	oracle_remove(&o, &index, 0);
	oracle_add(&o, &index, (struct range){ 0, 0 }, 2);
	oracle_add(&o, &index, (struct range){ UINT64_MAX, UINT64_MAX }, 3);
	for (int i = 0; i < 5; i++)
		compare_seek(&o, &index, ask[i]);
	check_same(&o, &index);
	oracle_free(&o);
	index_end(&index);
}
END_TEST

/* Keys at the top look like what pads a node. */
START_TEST(top_of_the_space)
{
	for (unsigned count = 1; count < 3 * INDEX_WIDTH; count++) {
		struct oracle o = { 0 };
		struct index index = { .wide = count % 2 };
		for (unsigned i = 0; i < count; i++)
			oracle_add(&o, &index, (struct range){ UINT64_MAX - i, UINT64_MAX - i }, i + 1);
		check_same(&o, &index);
		for (unsigned i = 0; i <= count; i++)
			compare_seek(&o, &index, UINT64_MAX - i);
		while (o.count) {
			oracle_remove(&o, &index, o.count / 2);
			check_tree(&index);
		}
		oracle_free(&o);
		index_end(&index);
	}
}
END_TEST

/* Every count around the widths where nodes split and merge, each entry removed and put back. */
START_TEST(every_small_count)
{
	const unsigned most_small = 4 * INDEX_WIDTH + 5;

	for (unsigned count = 1; count <= most_small; count++) {
		struct oracle o = { 0 };
		struct index index = { .wide = count % 2 };
		for (unsigned i = 0; i < count; i++)
			oracle_add(&o, &index, (struct range){ i * 2, i * 2 }, i + 1);
		for (unsigned i = 0; i < count; i++) {
			struct index_entry e = o.entries[0];
			oracle_remove(&o, &index, 0);
			check_tree(&index);
			oracle_add(&o, &index, e.where, e.value);
		}
		check_same(&o, &index);
		oracle_free(&o);
		index_end(&index);
	}
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("index");

	if (getenv("VFD_LONG")) {
		most = 1 << 20;
		operations = 200000;
	}
	if (argc > 1)
		most = strtoull(argv[1], NULL, 0);
	if (argc > 2)
		operations = strtoull(argv[2], NULL, 0);
	add_case(suite, "nothing", nothing);
	add_case(suite, "all of the space", all_of_the_space);
	add_case(suite, "top of the space", top_of_the_space);
	add_case(suite, "every small count", every_small_count);
	add_case(suite, "random disjoint", random_disjoint);
	add_case(suite, "random overlapping", random_overlapping);
	add_case(suite, "far reach", far_reach);
	add_case(suite, "fill and empty", fill_and_empty_in_all_orders);
	return run_suite(suite);
}
