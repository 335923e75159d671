/* SPDX-License-Identifier: MIT */

/* Lookups while other threads map and unmap: what stays mapped is always found, what is found is right, and no lookup sees a record
 * that is being freed. Meant for the thread sanitizer as well.
 *
 *	test_table_threads [rounds] */

#include "fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "index_oracle.h"

enum { WRITERS = 2, READERS = 3, STAY = 64, COME = 2 * STAY };

static struct fixture fixture, *f = &fixture;
static long rounds = 60;
static atomic_bool working;
static atomic_ulong wrong, hits, misses;

/* Page p of memory at IOVA page 3 * p; the ones that come and go are spread among those that stay. */
static uint64_t iova_of(uint64_t page)
{
	return 3 * page;
}

static bool stays(uint64_t page)
{
	return page % 6 == 0 && page < 6 * STAY;
}

static bool is_right(uint64_t page, const struct vfd_mapping *m)
{
	return m->iova == iova_of(page) * PAGE && m->size == PAGE && m->memory == f->memory + page * PAGE &&
	       m->log_address == LOG_ADDRESS + page * PAGE && m->flags == (RW | VFD_MAP_LOG_ADDRESS);
}

static uint64_t address_of(enum vfd_find by, uint64_t page, uint64_t offset)
{
	return offset + (by == VFD_FIND_IOVA	 ? iova_of(page) * PAGE
			 : by == VFD_FIND_MEMORY ? (uintptr_t)(f->memory + page * PAGE)
						 : LOG_ADDRESS + page * PAGE);
}

static void *read_table(void *argument)
{
	static const enum vfd_find orders[] = { VFD_FIND_IOVA, VFD_FIND_MEMORY, VFD_FIND_LOG };
	uint64_t seed = (uintptr_t)argument;
	struct vfd_error err;

	while (working) {
		enum vfd_find by = orders[random_next(&seed) % 3];
		uint64_t page = random_next(&seed) % (6 * STAY);
		struct vfd_mapping m = { .struct_size = sizeof m };
		int rc = vfd_mapping_find(f->container, by, address_of(by, page, random_next(&seed) % PAGE),
					  &m, &err);
		if (rc ? rc != VFD_ENOTMAPPED || stays(page) : !is_right(page, &m))
			wrong++;
		(*(rc ? &misses : &hits))++;
	}
	return NULL;
}

/* Between page 6 n, which stays, and the next one lie two pages of each writer; it needs no third. */
static uint64_t page_of(uintptr_t writer, uint64_t i)
{
	return 6 * (i % STAY) + writer + 1 + 2 * (i / STAY);
}

static void *change_table(void *argument)
{
	uintptr_t writer = (uintptr_t)argument;
	struct vfd_error err;

	for (long r = 0; r < rounds; r++) {
		struct vfd_mapping m = { .struct_size = sizeof m, .flags = RW, .size = PAGE };
		for (uint64_t i = 0; i < COME; i++) {
			uint64_t page = page_of(writer, i);
			m.iova = iova_of(page) * PAGE;
			m.memory = f->memory + page * PAGE;
			if (vfd_map(f->container, &m, &err))
				wrong++;
		}
		for (uint64_t i = 0; i < COME; i++)
			if (vfd_unmap(f->container, iova_of(page_of(writer, i)) * PAGE, PAGE, &err))
				wrong++;
	}
	return NULL;
}

START_TEST(readers_and_writers)
{
	pthread_t writers[WRITERS], readers[READERS];

	fixture_begin(f, NULL);
	for (uint64_t page = 0; page < 6 * STAY; page++)
		if (stays(page))
			OK(map_pages(f, iova_of(page), page, 1, RW));
	working = true;
	for (uintptr_t i = 0; i < READERS; i++)
		must(!pthread_create(&readers[i], NULL, read_table, (void *)(i + 1)));
	for (uintptr_t i = 0; i < WRITERS; i++)
		must(!pthread_create(&writers[i], NULL, change_table, (void *)i));
	for (int i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	working = false;
	for (int i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_gt(hits, 0);
	ck_assert_uint_gt(misses, 0);
	ck_assert_uint_eq(info_of(f).mappings, STAY);
	check_tree(&f->container->space.table.iova);
	check_tree(&f->container->space.table.other[BY_MEMORY]);
	check_tree(&f->container->space.table.other[BY_LOG]);
	ck_assert_uint_eq(f->container->space.table.other[BY_MEMORY].count, STAY);
	fixture_end(f);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("table threads");

	if (argc > 1)
		rounds = strtol(argv[1], NULL, 0);
	add_case(suite, "readers and writers", readers_and_writers);
	return run_suite(suite);
}
