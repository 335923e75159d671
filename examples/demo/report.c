/* SPDX-License-Identifier: MIT */
#include "demo.h"

#include <stdio.h>
#include <stdlib.h>

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct spread {
	double min, median, max;
	unsigned zeros;
};

static double lost(const struct result *r)
{
	return (double)r->lost;
}

static double sent(const struct result *r)
{
	return (double)r->sent;
}

static double rounds(const struct result *r)
{
	return r->rounds;
}

static double unplug(const struct result *r)
{
	return r->unplug_ms;
}

static double last(const struct result *r)
{
	return r->last_ms;
}

static struct spread spread(const struct series *s, double (*of)(const struct result *))
{
	double *values = calloc(s->count, sizeof *values);
	struct spread out = { 0 };

	if (!values)
		die_errno("calloc");
	for (unsigned i = 0; i < s->count; i++) {
		values[i] = of(&s->results[i]);
		out.zeros += values[i] == 0;
	}
	qsort(values, s->count, sizeof *values, by_value);
	out.min = values[0];
	out.median = (values[(s->count - 1) / 2] + values[s->count / 2]) / 2;
	out.max = values[s->count - 1];
	free(values);
	return out;
}

static void print_row(const struct series *s)
{
	struct spread l = spread(s, lost);

	printf("%-12s %4u %6.0f %7.0f %6.0f %9u of %-4u %6.0f %7.0f %10.1f %10.1f\n", s->ops->name, s->count,
	       l.min, l.median, l.max, l.zeros, s->count, spread(s, rounds).median, spread(s, sent).median,
	       spread(s, unplug).median, spread(s, last).median);
}

static void print_table(const struct series *series, unsigned count)
{
	printf("\n%-12s %4s %21s %17s %6s %7s %10s %10s\n", "", "", "------ pages lost ---", "runs that", "",
	       "pages", "unplug", "last round");
	printf("%-12s %4s %6s %7s %6s %17s %6s %7s %10s %10s\n", "", "runs", "min", "median", "max",
	       "lost nothing", "rounds", "sent", "ms", "ms");
	for (unsigned i = 0; i < count; i++)
		print_row(&series[i]);
	putchar('\n');
}

static int verdict_both(struct spread raw, struct spread library, unsigned runs)
{
	if (library.zeros < runs)
		printf("FAILED: the library lost pages in %u of %u runs.\n", runs - library.zeros, runs);
	else if (raw.zeros == runs)
		printf("FAILED: plain ioctls happened to lose nothing in %u runs, so no difference was "
		       "shown; try again.\n",
		       runs);
	else
		printf("OK: plain ioctls lost pages in %u of %u runs (up to %.0f), the library in none.\n",
		       runs - raw.zeros, runs, raw.max);
	return library.zeros < runs || raw.zeros == runs;
}

static int verdict_alone(struct spread library, unsigned runs)
{
	if (library.zeros < runs)
		printf("FAILED: the library lost pages in %u of %u runs.\n", runs - library.zeros, runs);
	else
		printf("OK: the memory is identical at both ends in %u of %u runs. Nothing told this device "
		       "to write, so no "
		       "loss could be provoked.\n",
		       runs, runs);
	return library.zeros < runs;
}

int report(const struct series *series, unsigned count)
{
	print_table(series, count);
	if (count == 1)
		return verdict_alone(spread(&series[0], lost), series[0].count);
	return verdict_both(spread(&series[0], lost), spread(&series[1], lost), series[1].count);
}
