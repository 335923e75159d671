/* SPDX-License-Identifier: MIT */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

/* Measure alternatives in turns, and print each comparison as a row: ours, the peer's, their ratio, the limit, the verdict. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- what was asked for ---- */

struct bench_options {
	bool quick; /* few repetitions: does it run? */
	bool tsv;   /* name ours peer ratio limit */
	const char *only;
};

extern struct bench_options options;

/* --quick, --tsv, --only GROUP. Exits on anything else. */
void options_parse(int argc, char **argv);

/* A named part of the table. */
struct group {
	const char *name;
	void (*run)(void);
};

/* Run those asked for; returns the program's exit code: 0 if every limit held, 1 if not, 2 if no group has the name. */
int groups_run(const struct group *groups, size_t count);

/* ---- time ---- */

/* Nanoseconds that this thread was running: what other programs of a busy machine take does not count. */
double cpu_ns(void);
/* Nanoseconds on the wall, for what more than one thread does. */
double wall_ns(void);

/* ---- measuring ---- */

enum { MOST_REPETITIONS = 101 };

struct samples {
	size_t count;
	double values[MOST_REPETITIONS]; /* in the order in which they were measured */
};

/* Does its work once and returns what that took, in the row's unit. */
struct contender {
	double (*once)(void *arg);
	void *arg;
	struct samples took;
};

/* All of them in turns, so that what disturbs the machine disturbs all; one round before the first that counts. */
void race(struct contender *contenders, size_t count, size_t repetitions);

/* How often: `wanted`, or 3 with --quick. */
size_t repetitions(size_t wanted);

/* Quartiles. */
struct figure {
	double low, median, high;
};

struct figure figure_of(const struct samples *samples);

/* Wall time of work(0, arg) and work(1, arg), each in a thread of its own. */
double two_threads(void (*work)(unsigned index, void *arg), void *arg);

/* ---- rows ---- */

struct row {
	const char *name;
	const char *unit;
	const char *peer; /* the alternative, in words */
	/* Limits; 0: none */
	double at_most;	       /* ours, in the unit */
	double at_most_times;  /* ours / peer's */
	double at_least_times; /* peer's / ours: how many times faster */
};

/* A row whose samples were taken in turns: the ratio is the median of the ratios, pair by pair. peer may be NULL. */
void row_print(const struct row *row, const struct samples *ours, const struct samples *peer);

/* The same, of the race's first two contenders. */
void row_race(const struct row *row, struct contender *two, size_t wanted);

/* ---- help for those that measure ---- */

/* Results must be wanted by somebody, or the compiler leaves the work out. */
extern volatile uint64_t sink;

/* All contenders must come to the same result, or the comparison is worthless: exits if not. */
void must_agree(const char *what, uint64_t ours, uint64_t theirs);
/* Exits with a message: nothing that could still be measured would be worth it. */
_Noreturn void give_up(const char *what, int rc);
/* Does so if the call failed. */
void must(const char *what, int rc);
/* Zeroed memory of its own, touched; exits if there is none. */
void *memory_new(size_t bytes);
void memory_free(void *memory, size_t bytes);
/* Everything else leaves the caches. */
void caches_flush(void);

/* Reproducible numbers: splitmix64 */
static inline uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Each bit is set with this probability, in 1/1024. */
void fill_random(uint64_t *words, size_t count, unsigned per_1024, uint64_t seed);

#endif
