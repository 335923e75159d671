/* SPDX-License-Identifier: MIT */

/* Find the mapping that contains an address: random hits. */

#include "bench.h"
#include "logs.h"
#include "mappings.h"
#include "quick.h"
#include "rows.h"

/* Asks all questions, one after the other, and adds the answers. Inlined for each contender: the loop costs the same in all. */
#define SEARCH(name, questions, expression)                                                                  \
	static double name(void *arg)                                                                        \
	{                                                                                                    \
		struct search *s = arg;                                                                      \
		const struct mappings *m = s->m;                                                             \
		uint64_t sum = 0;                                                                            \
		double began = cpu_ns();                                                                     \
		for (size_t i = 0; i < QUESTIONS; i++) {                                                     \
			uint64_t address = (questions)[i];                                                   \
			sum += (uintptr_t)(expression);                                                      \
		}                                                                                            \
		double took = cpu_ns() - began;                                                              \
		s->answers = sum;                                                                            \
		return took / QUESTIONS;                                                                     \
	}

struct search {
	const struct mappings *m;
	uint64_t answers;
};

SEARCH(in_index, m->hits, index_find(&m->table.iova, address))
SEARCH(in_flat, m->hits, flat_find(&m->flat, address))
SEARCH(in_keys, m->hits, &m->records[flat_position(&m->flat, address)])
SEARCH(in_tree, m->hits, tree_find((struct tree *)&m->tree, address))
SEARCH(in_line, m->hits, linear_find(&m->flat, address))
/* Each question waits for the answer before. */
SEARCH(chain_index, m->hits, index_find(&m->table.iova, address + (sum >> 63)))
SEARCH(chain_flat, m->hits, flat_find(&m->flat, address + (sum >> 63)))
SEARCH(table_memory, m->memory_hits, table_find(&m->all, VFD_FIND_MEMORY, address))
SEARCH(flat_memory, m->memory_hits, flat_find(&m->flat_memory, address))
SEARCH(table_log, m->log_hits, table_find(&m->all, VFD_FIND_LOG, address))
SEARCH(flat_log, m->log_hits, flat_find(&m->flat_log, address))

/* ---- by IOVA, at every size ---- */

enum contenders { INDEX, FLAT, TREE, LINE, CONTENDERS };

static void by_iova(size_t count, const char *name, double at_most, double at_most_times)
{
	static const char *const peers[] = {
		[FLAT] = "flat array, branchless", [TREE] = "libc's tfind", [LINE] = "linear array"
	};
	static double (*const how[])(void *) = { in_index, in_flat, in_tree, in_line };
	size_t contenders = count > 256 ? LINE : CONTENDERS;
	struct search searches[CONTENDERS];
	struct contender all[CONTENDERS];
	struct mappings m;

	mappings_make(&m, count);
	for (size_t i = 0; i < contenders; i++) {
		searches[i] = (struct search){ .m = &m };
		all[i] = (struct contender){ .once = how[i], .arg = &searches[i] };
	}
	race(all, contenders, repetitions(31));
	for (size_t i = FLAT; i < contenders; i++) {
		struct row row = { .name = name, .unit = "ns", .peer = peers[i] };
		row.at_most = i == FLAT ? at_most : 0;
		row.at_most_times = i == FLAT ? at_most_times : 0;
		row_print(&row, &all[INDEX].took, &all[i].took);
		must_agree(name, searches[INDEX].answers, searches[i].answers);
	}
	mappings_free(&m);
}

/* ---- more of 65 536 ---- */

static void compare(const struct row *row, const struct mappings *m, double (*ours)(void *),
		    double (*peer)(void *))
{
	struct search a = { .m = m }, b = { .m = m };
	struct contender two[] = { { .once = ours, .arg = &a }, { .once = peer, .arg = &b } };

	row_race(row, two, 31);
	must_agree(row->name, a.answers, b.answers);
}

static void other_ways(void)
{
	const char *flat = "flat array, branchless";
	struct mappings m;

	mappings_make(&m, 65536);
	compare(&(struct row){ .name = "lookup-iova-65536-keys",
			       .unit = "ns",
			       .peer = "flat keys, found not looked at",
			       .at_most_times = 1.5 },
		&m, in_index, in_keys);
	compare(&(struct row){ .name = "lookup-iova-65536-chain",
			       .unit = "ns",
			       .peer = "flat array, each waits for the last" },
		&m, chain_index, chain_flat);
	compare(&(struct row){ .name = "lookup-memory-65536", .unit = "ns", .peer = flat }, &m, table_memory,
		flat_memory);
	compare(&(struct row){ .name = "lookup-log-65536", .unit = "ns", .peer = flat }, &m, table_log,
		flat_log);
	mappings_free(&m);
}

/* ---- the public call ---- */

struct call {
	const struct mappings *m;
	struct quick quick;
};

static double find_public(void *arg)
{
	struct call *call = arg;
	struct vfd_mapping found = { .struct_size = sizeof found };
	double began = cpu_ns();

	for (size_t i = 0; i < QUESTIONS; i++) {
		must("vfd_mapping_find",
		     vfd_mapping_find(call->quick.container, VFD_FIND_IOVA, call->m->hits[i], &found, NULL));
		sink += found.iova;
	}
	return (cpu_ns() - began) / QUESTIONS;
}

static void public(void)
{
	struct mappings m;
	struct call call = { .m = &m };
	struct search s = { .m = &m };
	struct contender two[] = { { .once = find_public, .arg = &call }, { .once = in_flat, .arg = &s } };

	mappings_make(&m, 65536);
	quick_begin(&call.quick, TIB);
	for (size_t i = 0; i < m.count; i++)
		quick_map(&call.quick, m.records[i].where.first, range_size(m.records[i].where));
	row_race(&(struct row){ .name = "lookup-vfd_mapping_find-65536",
				.unit = "ns",
				.peer = "flat array, branchless" },
		 two, 31);
	quick_end(&call.quick);
	mappings_free(&m);
}

void rows_lookup(void)
{
	by_iova(16, "lookup-iova-16", 0, 0);
	by_iova(256, "lookup-iova-256", 0, 0);
	by_iova(4096, "lookup-iova-4096", 0, 0);
	by_iova(65536, "lookup-iova-65536", 60, 1.5);
	other_ways();
	public();
	if (!options.quick)
		by_iova(1 << 20, "lookup-iova-1048576", 0, 0);
}
