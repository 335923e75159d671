/* SPDX-License-Identifier: MIT */

/* 80 columns, and as many lines as there are. */

#include "top.h"

#include <inttypes.h>
#include <stdio.h>

struct text {
	char text[24];
};

/* "1.5 GiB" */
static struct text size_of(double bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	unsigned unit = 0;
	struct text t;

	while (bytes >= 1024 && unit < 6) {
		bytes /= 1024;
		unit++;
	}
	snprintf(t.text, sizeof t.text, "%.*f %s", unit && bytes < 100 ? 1 : 0, bytes, units[unit]);
	return t;
}

/* Names are others': nothing that a terminal would obey. */
static struct text plain(const char *name, int width)
{
	struct text t;

	snprintf(t.text, sizeof t.text, "%.*s", width, name);
	for (char *c = t.text; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	return t;
}

static void print_head(const struct target *t, const struct look *now, const struct rates *r)
{
	double page = (double)now->page_size;

	printf("vfd-top: %s", plain(t->pid ? t->command : t->name, 20).text);
	if (t->pid)
		printf(" (%d), %s", t->pid, plain(t->name, 20).text);
	if (t->others)
		printf(", and %u more (--fd)", t->others);
	printf("\npages of %s; rates of the last %.1f s\n\n", size_of(page).text, r->seconds);
	printf("owed      %10s   reported %s, not reported %s\n", size_of((double)now->owed * page).text,
	       size_of((double)now->reported * page).text,
	       size_of((double)(now->owed - now->reported) * page).text);
	printf("on its way%10s   in open batches\n", size_of((double)now->taken * page).text);
	printf("deferred  %10s   once, to the last round\n", size_of((double)r->deferred).text);
	printf("dirty  %11s/s", size_of((r->reported + r->software + r->assumed) * page).text);
	printf("   reported %s/s", size_of(r->reported * page).text);
	printf(", software %s/s", size_of(r->software * page).text);
	printf(", assumed %s/s\n", size_of(r->assumed * page).text);
}

static void print_source(const struct source *s, double page)
{
	printf("%c %-24s %-9s %-14s %8.0f %9s", spoils(s) ? '!' : ' ', plain(s->label.who, 23).text,
	       provenance_word(s->label.provenance), reason_word(s->label.reason), s->rate,
	       size_of((double)s->pages * page).text);
	printf(" %8s\n", s->deferred ? size_of((double)s->deferred).text : "-");
}

static void print_region(const struct top_region *region, double rate, double page)
{
	printf("  %-16" PRIx64 " %10s %30.0f", region->address, size_of((double)region->size).text, rate);
	printf(" %9s %8s\n", size_of((double)region->fresh * page).text,
	       size_of((double)region->owed * page).text);
}

void print_screen(const struct target *t, const struct look *now, const struct rates *r,
		  const struct forecast *f, unsigned lines)
{
	double page = (double)now->page_size;
	unsigned left = lines > 16 ? lines - 14 : 2,
		 shown = 0; /* the last line stays empty, or all would scroll */

	print_head(t, now, r);
	printf("\nat %.0f MB/s: %s\n", f->bandwidth / 1e6, f->text);
	printf("\n  %-24s %-9s %-14s %8s %9s %8s\n", "WHO", "SAYS", "WHY", "PAGES/S", "TOTAL", "DEFERRED");
	for (; shown < r->count && shown < left - 1; shown++)
		print_source(&r->sources[shown], page);
	printf("\n  %-16s %10s %30s %9s %8s\n", "REGION", "SIZE", "PAGES/S", "TOTAL", "OWED");
	for (uint64_t i = 0; i < now->region_count && r->regions && (shown < left || !i); i++, shown++)
		print_region(&now->regions[i], r->regions[i], page);
}
