/* SPDX-License-Identifier: MIT */

/* Cover 65 535 scattered ranges by 256, from the first one added to the plan. */

#include <stdlib.h>

#include "bench.h"
#include "cover.h"
#include "logs.h"
#include "rows.h"

enum { MANY = 65535, MOST = 256 };

static struct range ranges[MANY];
static uint64_t gaps[MANY - 1];

/* 1 to 512 pages each, and 1 to 512 between them */
static void scatter(void)
{
	uint64_t seed = 29, at = 0;

	for (size_t i = 0; i < MANY; i++) {
		ranges[i].first = at;
		ranges[i].last = at + (1 + random_next(&seed) % 512) * PAGE - 1;
		at = ranges[i].last + 1 + (1 + random_next(&seed) % 512) * PAGE;
	}
}

struct planned {
	struct cover_limits limits;
	struct range out[MOST];
	struct cover_answer answer;
};

static double plan(void *arg)
{
	struct planned *p = arg;
	struct cover cover;
	double began = cpu_ns();

	if (!cover_begin(&cover, MANY))
		give_up("no memory", -1);
	for (size_t i = 0; i < MANY; i++)
		cover_add(&cover, ranges[i]);
	must("cover_plan", cover_plan(&cover, &p->limits, p->out, &p->answer));
	cover_end(&cover);
	return (cpu_ns() - began) / 1e6;
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* All gaps but the greatest are covered; which ranges that makes is not asked. */
static double sort_gaps(void *arg)
{
	uint64_t *excess = arg;
	double began = cpu_ns();

	for (size_t i = 0; i + 1 < MANY; i++)
		gaps[i] = ranges[i + 1].first - ranges[i].last - 1;
	qsort(gaps, MANY - 1, sizeof *gaps, ascending);
	*excess = 0;
	for (size_t i = 0; i < MANY - MOST; i++)
		*excess += gaps[i];
	return (cpu_ns() - began) / 1e6;
}

void rows_cover(void)
{
	struct planned free_length = { .limits = { MOST, PAGE, 0 } }, short_ones = free_length;
	uint64_t excess = 0;
	struct contender two[] = { { .once = plan, .arg = &free_length },
				   { .once = sort_gaps, .arg = &excess } };
	struct contender one = { .once = plan, .arg = &short_ones };

	scatter();
	row_race(&(struct row){ .name = "cover-65535-to-256",
				.unit = "ms",
				.peer = "all gaps, libc's qsort",
				.at_most = 20 },
		 two, 31);
	must_agree("cover-65535-to-256", free_length.answer.excess, excess);
	/* So short that 200 are needed at least */
	short_ones.limits.length = (ranges[MANY - 1].last / 200) & ~(PAGE - 1);
	race(&one, 1, repetitions(31));
	row_print(&(struct row){ .name = "cover-65535-to-256-short", .unit = "ms", .at_most = 20 }, &one.took,
		  NULL);
}
