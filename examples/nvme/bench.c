/* SPDX-License-Identifier: MIT */
#include "nvme.h"

#include <stdio.h>
#include <stdlib.h>

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static double percentile(const uint64_t *sorted, uint64_t count, double part)
{
	return (double)sorted[(uint64_t)((double)(count - 1) * part)] / 1e3;
}

/* Random reads, `depth` of them in flight. Returns the seconds they took; latencies are sorted. */
static double run(struct nvme *n, struct workload *w, uint32_t depth, uint64_t *latencies)
{
	uint64_t started = 0, done = 0, begin = nvme_now();
	const struct nvme_request *r;

	while (done < w->reads) {
		while (started < w->reads && n->in_flight < depth && start_random(n, w))
			started++;
		while ((r = nvme_poll(n)))
			latencies[done++] = nvme_now() - r->started;
	}
	double seconds = (double)(nvme_now() - begin) / 1e9;
	qsort(latencies, w->reads, sizeof *latencies, by_value);
	return seconds;
}

static void row(struct nvme *n, const struct workload *w, const char *tracking, uint32_t depth)
{
	uint64_t *latencies = zeroed(w->reads, sizeof *latencies);
	struct workload mine = *w;

	double seconds = run(n, &mine, depth, latencies);
	printf("%-8s %5u %9.0f %9.1f %9.1f %9.1f\n", tracking, depth, (double)w->reads / seconds,
	       percentile(latencies, w->reads, 0.5), percentile(latencies, w->reads, 0.99),
	       percentile(latencies, w->reads, 0.999));
	free(latencies);
}

void bench(struct nvme *n, const struct workload *w)
{
	printf("tracking depth      IOPS    p50 us    p99 us  p99.9 us\n");
	row(n, w, "off", 1);
	row(n, w, "off", NVME_DEPTH);
	check(vfd_track_start(n->container, NULL, NULL, &nvme_error));
	row(n, w, "on", 1);
	row(n, w, "on", NVME_DEPTH);
}
