/* SPDX-License-Identifier: MIT */
#include "bench.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

struct bench_options options;
volatile uint64_t sink;

static bool missed;

/* ---- what was asked for ---- */

static void usage(void)
{
	fprintf(stderr, "usage: [--quick] [--tsv] [--only GROUP]\n");
	exit(2);
}

void options_parse(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--quick"))
			options.quick = true;
		else if (!strcmp(argv[i], "--tsv"))
			options.tsv = true;
		else if (!strcmp(argv[i], "--only") && i + 1 < argc)
			options.only = argv[++i];
		else
			usage();
	}
}

int groups_run(const struct group *groups, size_t count)
{
	size_t ran = 0;

	for (size_t i = 0; i < count; i++) {
		if (options.only && strcmp(options.only, groups[i].name))
			continue;
		groups[i].run();
		ran++;
	}
	return !ran ? 2 : missed;
}

/* ---- time ---- */

static double clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

double cpu_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

double wall_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* ---- measuring ---- */

size_t repetitions(size_t wanted)
{
	return options.quick ? 3 : wanted;
}

void race(struct contender *contenders, size_t count, size_t rounds)
{
	for (size_t i = 0; i < count; i++) {
		contenders[i].once(contenders[i].arg);
		contenders[i].took.count = rounds;
	}
	for (size_t round = 0; round < rounds; round++)
		for (size_t i = 0; i < count; i++)
			contenders[i].took.values[round] = contenders[i].once(contenders[i].arg);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct figure figure_of(const struct samples *samples)
{
	struct samples sorted = *samples;
	size_t n = sorted.count;

	qsort(sorted.values, n, sizeof *sorted.values, compare);
	return (struct figure){ sorted.values[n / 4], sorted.values[n / 2], sorted.values[n - 1 - n / 4] };
}

static struct samples ratios(const struct samples *a, const struct samples *b)
{
	struct samples out = { .count = a->count };

	for (size_t i = 0; i < out.count; i++)
		out.values[i] = a->values[i] / b->values[i];
	return out;
}

struct job {
	void (*work)(unsigned index, void *arg);
	void *arg;
	unsigned index;
	pthread_barrier_t *start;
	double began, ended;
};

static void *run_job(void *arg)
{
	struct job *job = arg;

	pthread_barrier_wait(job->start);
	job->began = wall_ns();
	job->work(job->index, job->arg);
	job->ended = wall_ns();
	return NULL;
}

double two_threads(void (*work)(unsigned index, void *arg), void *arg)
{
	pthread_barrier_t start;
	struct job jobs[2];
	pthread_t threads[2];

	pthread_barrier_init(&start, NULL, 2);
	for (unsigned i = 0; i < 2; i++) {
		jobs[i] = (struct job){ .work = work, .arg = arg, .index = i, .start = &start };
		must("pthread_create", pthread_create(&threads[i], NULL, run_job, &jobs[i]));
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&start);
	double began = jobs[0].began < jobs[1].began ? jobs[0].began : jobs[1].began;
	double ended = jobs[0].ended > jobs[1].ended ? jobs[0].ended : jobs[1].ended;
	return ended - began;
}

/* ---- rows ---- */

struct text {
	char text[128];
};

struct digits {
	char text[24];
};

/* Three digits that count */
static struct digits number(double value)
{
	struct digits t;
	int digits = value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3;

	snprintf(t.text, sizeof t.text, "%.*f", digits, value);
	return t;
}

static struct text spread(struct figure f, const char *unit)
{
	struct text t;

	snprintf(t.text, sizeof t.text, "%s %s [%s..%s]", number(f.median).text, unit, number(f.low).text,
		 number(f.high).text);
	return t;
}

static struct text limit_text(const struct row *row)
{
	struct text t = { "" };
	int n = 0;

	if (row->at_most > 0)
		n = snprintf(t.text, sizeof t.text, "<=%s%s", number(row->at_most).text, row->unit);
	if (row->at_most_times > 0)
		snprintf(t.text + n, sizeof t.text - (size_t)n, "%s<=%sx", n ? "," : "",
			 number(row->at_most_times).text);
	if (row->at_least_times > 0)
		snprintf(t.text + n, sizeof t.text - (size_t)n, "%s>=%sx", n ? "," : "",
			 number(row->at_least_times).text);
	return t;
}

/* By how many times the limit the worst figure misses; not above 1: it holds. */
static double excess(const struct row *row, double ours, double ratio)
{
	double worst = row->at_most > 0 ? ours / row->at_most : 0;

	if (row->at_most_times > 0 && ratio / row->at_most_times > worst)
		worst = ratio / row->at_most_times;
	if (row->at_least_times > 0 && row->at_least_times / ratio > worst)
		worst = row->at_least_times / ratio;
	return worst;
}

static struct text verdict(double worst)
{
	struct text t = { "" };

	if (worst > 1)
		snprintf(t.text, sizeof t.text, "MISSES by %.0f %%", (worst - 1) * 100 + 0.5);
	else if (worst > 0)
		snprintf(t.text, sizeof t.text, "holds");
	return t;
}

static void print_tsv(const struct row *row, double ours, const double *peer, double ratio)
{
	struct text limit = limit_text(row);

	printf("%s\t%.6g\t", row->name, ours);
	if (peer)
		printf("%.6g\t%.4g\t", *peer, ratio);
	else
		printf("-\t-\t");
	printf("%s\n", limit.text[0] ? limit.text : "-");
}

static void print_columns(const struct row *row, struct figure ours, struct text peer, struct text ratio,
			  double worst)
{
	printf("%-32s %-32s %-44s %-24s %-16s %s\n", row->name, spread(ours, row->unit).text, peer.text,
	       ratio.text, limit_text(row).text, verdict(worst).text);
}

void row_print(const struct row *row, const struct samples *ours, const struct samples *peer)
{
	struct figure our = figure_of(ours), their = { 0 }, ratio = { 0 };
	struct text peer_text = { "" }, ratio_text = { "" };

	if (peer) {
		struct samples pairs = row->at_most_times > 0 ? ratios(ours, peer) : ratios(peer, ours);
		their = figure_of(peer);
		ratio = figure_of(&pairs);
		ratio_text = spread(ratio, "x");
		snprintf(peer_text.text, sizeof peer_text.text, "%s %s: %s", number(their.median).text,
			 row->unit, row->peer);
	}
	double worst = excess(row, our.median, ratio.median);
	missed |= worst > 1;
	if (options.tsv)
		print_tsv(row, our.median, peer ? &their.median : NULL, ratio.median);
	else
		print_columns(row, our, peer_text, ratio_text, worst);
	fflush(stdout);
}

void row_race(const struct row *row, struct contender *two, size_t wanted)
{
	race(two, 2, repetitions(wanted));
	row_print(row, &two[0].took, &two[1].took);
}

/* ---- help for those that measure ---- */

void must_agree(const char *what, uint64_t ours, uint64_t theirs)
{
	if (ours == theirs)
		return;
	fprintf(stderr, "bench: %s: ours says %llu, the other %llu\n", what, (unsigned long long)ours,
		(unsigned long long)theirs);
	exit(3);
}

void give_up(const char *what, int rc)
{
	fprintf(stderr, "bench: %s: %d\n", what, rc);
	exit(3);
}

void must(const char *what, int rc)
{
	if (rc)
		give_up(what, rc);
}

void *memory_new(size_t bytes)
{
	void *memory =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		give_up("no memory", -1);
	return memory;
}

void memory_free(void *memory, size_t bytes)
{
	munmap(memory, bytes);
}

void caches_flush(void)
{
	enum { BYTES = 128 << 20 };
	static unsigned char *junk;

	if (!junk)
		junk = memory_new(BYTES);
	for (size_t i = 0; i < BYTES; i += 64)
		junk[i]++;
}

void fill_random(uint64_t *words, size_t count, unsigned per_1024, uint64_t seed)
{
	/* Bit by bit of the probability, from the lowest: or for a 1, and for a 0. */
	for (size_t w = 0; w < count; w++) {
		uint64_t word = per_1024 >= 1024 ? ~UINT64_C(0) : 0;
		for (unsigned bit = 0; bit < 10 && per_1024 < 1024; bit++) {
			uint64_t coin = random_next(&seed);
			word = per_1024 >> bit & 1 ? word | coin : word & coin;
		}
		words[w] = word;
	}
}
