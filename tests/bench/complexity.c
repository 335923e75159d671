/* SPDX-License-Identifier: MIT */

/* How costs grow: with the number of mappings, and with the size of the guest. Prints `curve x nanoseconds` and the slopes, and
 * draws them: complexity FILE.svg */

#include <stdlib.h>

#include "bench.h"
#include "chart.h"
#include "logs.h"
#include "mappings.h"
#include "quick.h"

static struct panel by_mappings = { .title = "by mappings", .x_title = "mappings" };
static struct panel by_pages = { .title = "by size of the guest, 1 000 pages dirty",
				 .x_title = "pages of 4 KiB" };

static size_t rounds;

static struct curve *curve_new(struct panel *panel, const char *name)
{
	struct curve *curve = &panel->curves[panel->count++];

	curve->name = name;
	return curve;
}

static void point(struct curve *curve, double x, double (*once)(void *), void *arg)
{
	struct contender one = { .once = once, .arg = arg };

	race(&one, 1, rounds);
	curve_add(curve, x, figure_of(&one.took).median);
	printf("%s\t%.0f\t%.4g\n", curve->name, x, curve->y[curve->count - 1]);
	fflush(stdout);
}

/* ---- the index ---- */

static double lookups(void *arg)
{
	const struct mappings *m = arg;
	uint64_t sum = 0;
	double began = cpu_ns();

	for (size_t i = 0; i < QUESTIONS; i++)
		sum += (uintptr_t)index_find(&m->table.iova, m->hits[i]);
	sink = sum;
	return (cpu_ns() - began) / QUESTIONS;
}

static double churn(void *arg)
{
	enum { PAIRS = 1 << 14 };
	struct mappings *m = arg;
	uint64_t seed = 5;
	double began = cpu_ns();

	for (int i = 0; i < PAIRS; i++) {
		struct mapping *record = &m->records[random_next(&seed) % m->count];
		table_remove(&m->table, record);
		table_put(&m->table, record);
	}
	return (cpu_ns() - began) / PAIRS;
}

static void index_curves(unsigned most)
{
	struct curve *find = curve_new(&by_mappings, "lookup");
	struct curve *change = curve_new(&by_mappings, "remove and insert");

	for (unsigned shift = 4; shift <= most; shift += 2) {
		struct mappings m;
		mappings_make(&m, (size_t)1 << shift);
		point(find, (double)m.count, lookups, &m);
		point(change, (double)m.count, churn, &m);
		mappings_free(&m);
	}
}

/* ---- harvests ---- */

/* Without what the kernel's stand-in takes. */
static double harvest(void *arg)
{
	struct quick *q = arg;
	double inside = quick_inside_ns, began = cpu_ns();

	quick_harvest(q);
	double took = cpu_ns() - began - (quick_inside_ns - inside);
	log_empty(q->log);
	return took;
}

/* Neighbours of 64 pages. One page in 1 024 is dirty. */
static void harvest_by_mappings(unsigned most)
{
	struct curve *curve = curve_new(&by_mappings, "harvest of all, 256 KiB each");

	quick_dirty_every = 1024;
	for (unsigned shift = 4; shift <= most; shift += 2) {
		uint64_t count = UINT64_C(1) << shift;
		struct quick q;
		quick_begin(&q, count * 64 * PAGE);
		for (uint64_t i = 0; i < count; i++)
			quick_map(&q, i * 64 * PAGE, 64 * PAGE);
		point(curve, (double)count, harvest, &q);
		quick_end(&q);
	}
}

/* ---- the size of the guest ---- */

enum { DIRTY = 1000, MAPPED = 16 };

static void harvest_by_pages(unsigned most)
{
	struct curve *curve = curve_new(&by_pages, "harvest, 16 mappings");

	for (unsigned shift = 20; shift <= most; shift += 2) {
		uint64_t pages = UINT64_C(1) << shift, each = pages / MAPPED * PAGE;
		struct quick q;
		quick_dirty_every = pages / DIRTY;
		quick_begin(&q, pages * PAGE);
		for (uint64_t i = 0; i < MAPPED; i++)
			quick_map(&q, i * each, each);
		point(curve, (double)pages, harvest, &q);
		quick_end(&q);
	}
}

struct guest {
	struct vfd_log *log;
	uint64_t pages;
};

static double round_of(void *arg)
{
	const struct guest *guest = arg;
	struct vfd_consumer *consumer = vfd_log_consumer(guest->log);
	uint64_t step = guest->pages / DIRTY, found = 0;
	struct vfd_batch batch;
	struct vfd_run runs[256];
	size_t count;

	for (uint64_t i = 0; i < DIRTY; i++)
		must("vfd_log_mark", vfd_log_mark(guest->log, i * step * PAGE, PAGE, NULL));
	double began = cpu_ns();
	must("vfd_take", vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, NULL));
	while (!vfd_batch_runs(consumer, &batch, runs, 256, &count, NULL) && count)
		found += count;
	must("vfd_commit", vfd_commit(consumer, &batch, 0, UINT64_MAX, NULL));
	double took = cpu_ns() - began;
	must_agree("runs", found, DIRTY);
	return took;
}

static void take_by_pages(unsigned most)
{
	struct curve *curve = curve_new(&by_pages, "take, iterate, commit");

	for (unsigned shift = 20; shift <= most; shift += 2) {
		struct guest guest = { .pages = UINT64_C(1) << shift };
		guest.log = log_of(guest.pages * PAGE);
		point(curve, (double)guest.pages, round_of, &guest);
		log_drop(guest.log);
	}
}

/* ---- all ---- */

static void slopes(const struct panel *panel)
{
	for (size_t i = 0; i < panel->count; i++)
		printf("slope\t%s, %s\t%.2f\n", panel->curves[i].name, panel->title,
		       curve_slope(&panel->curves[i]));
}

static void draw(const char *path)
{
	struct panel panels[] = { by_mappings, by_pages };
	FILE *file = fopen(path, "we");

	if (file)
		chart_write(file, "How the cost grows", panels, 2);
	if (!file || fclose(file))
		give_up(path, -1);
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 && argv[1][0] != '-' ? argv[1] : NULL;

	options_parse(path ? argc - 1 : argc, path ? argv + 1 : argv);
	rounds = repetitions(15);
	quick_writes_all = true;
	index_curves(options.quick ? 12 : 20);
	harvest_by_mappings(options.quick ? 12 : 20);
	harvest_by_pages(options.quick ? 24 : 34);
	take_by_pages(options.quick ? 24 : 34);
	slopes(&by_mappings);
	slopes(&by_pages);
	if (path)
		draw(path);
	return 0;
}
