/* SPDX-License-Identifier: MIT */

/* One object. Log addresses are text in hexadecimal digits: many readers keep numbers as doubles. */

#include "../json.h"
#include "top.h"

#include <inttypes.h>
#include <stdio.h>

static void print_target(const struct target *t, const struct look *now)
{
	printf("{\"pid\": %d, \"command\": ", t->pid);
	json_string(t->command);
	printf(", \"log\": ");
	json_string(t->name);
	printf(", \"page_size\": %" PRIu64 ", \"owed\": {\"pages\": %" PRIu64 ", \"reported\": %" PRIu64
	       "}, \"taken\": %" PRIu64 ", \"questions\": %" PRIu64,
	       now->page_size, now->owed, now->reported, now->taken, now->asked);
}

static void print_rates(const struct rates *r)
{
	printf(", \"deferred_bytes\": %" PRIu64
	       ", \"seconds\": %.3f, \"pages_per_second\": {\"reported\": %.1f, "
	       "\"software\": %.1f, \"assumed\": %.1f, \"initial\": %.1f}",
	       r->deferred, r->seconds, r->reported, r->software, r->assumed, r->initial);
}

static void print_sources(const struct rates *r)
{
	printf(", \"sources\": [");
	for (unsigned i = 0; i < r->count; i++) {
		const struct source *s = &r->sources[i];
		printf("%s{\"who\": ", i ? ", " : "");
		json_string(s->label.who);
		printf(", \"provenance\": \"%s\", \"reason\": \"%s\", \"granularity\": %" PRIu64
		       ", \"pages\": %" PRIu64 ", \"pages_per_second\": %.1f, \"deferred_bytes\": %" PRIu64
		       ", \"spoils\": %s}",
		       provenance_word(s->label.provenance), reason_word(s->label.reason),
		       s->label.granularity, s->pages, s->rate, s->deferred, spoils(s) ? "true" : "false");
	}
	printf("]");
}

static void print_regions(const struct look *now, const struct rates *r)
{
	printf(", \"regions\": [");
	for (uint64_t i = 0; i < now->region_count && r->regions; i++) {
		const struct top_region *region = &now->regions[i];
		printf("%s{\"address\": \"0x%" PRIx64 "\", \"bytes\": %" PRIu64 ", \"owed\": %" PRIu64
		       ", \"pages\": %" PRIu64 ", \"pages_per_second\": %.1f}",
		       i ? ", " : "", region->address, region->size, region->owed, region->fresh,
		       r->regions[i]);
	}
	printf("]");
}

void print_json(const struct target *t, const struct look *now, const struct rates *r,
		const struct forecast *f)
{
	print_target(t, now);
	print_rates(r);
	print_sources(r);
	print_regions(now, r);
	printf(", \"forecast\": {\"bandwidth\": %.0f, \"dirty\": %.0f, \"downtime_ms_allowed\": %.0f, "
	       "\"converges\": %s, \"seconds\": %.3f, \"downtime_ms\": %.3f, \"text\": ",
	       f->bandwidth, f->dirty, f->downtime_ms, f->converges ? "true" : "false", f->seconds,
	       f->last_ms);
	json_string(f->text);
	printf("}}\n");
}
