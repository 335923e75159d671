/* SPDX-License-Identifier: MIT */

/* What the log of a guest of 1 TiB adds to the resident memory of this process. The smallest record that says which of its
 * pages are dirty is one bitmap: 32 MiB. */

#include <stdlib.h>
#include <unistd.h>

#include "bench.h"
#include "logs.h"
#include "rows.h"

static double resident(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	unsigned long size, pages = 0;

	if (!file || fscanf(file, "%lu %lu", &size, &pages) != 2)
		give_up("/proc/self/statm", -1);
	fclose(file);
	return (double)pages * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

static void row(const char *name, double limit, double used)
{
	struct samples ours = { .count = 1, .values = { used } }, bitmap = { .count = 1, .values = { 32 } };

	row_print(&(struct row){ .name = name, .unit = "MiB", .peer = "one flat bitmap", .at_most = limit },
		  &ours, &bitmap);
}

void rows_memory(void)
{
	double before = resident();
	struct vfd_log *log = log_of(TIB);
	struct vfd_consumer *consumer = vfd_log_consumer(log);
	struct vfd_batch batch;

	row("memory-1TiB-clean", 2, resident() - before);
	must("vfd_mark_initial", vfd_mark_initial(consumer, NULL));
	row("memory-1TiB-all-dirty", 0, resident() - before);
	must("vfd_take", vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, NULL));
	must_agree("pages taken", batch.pages, TIB / PAGE);
	row("memory-1TiB-all-taken", 100, resident() - before);
	must("vfd_commit", vfd_commit(consumer, &batch, 0, UINT64_MAX, NULL));
	row("memory-1TiB-clean-again", 0, resident() - before);
	log_drop(log);
}
