/* SPDX-License-Identifier: MIT */

/* Rounds of a migration at this bandwidth, if programs go on writing as they do: each round lasts as long as what the one before left takes, and
 * leaves what was written meanwhile. Pages written twice in a round count once: so rounds become smaller than this says, rather than larger. */

#include "top.h"

#include <stdio.h>
#include <string.h>

static void say(struct forecast *f, double left)
{
	if (f->converges)
		snprintf(f->text, sizeof f->text, "converges: in %.1f s, with a downtime of %.0f ms",
			 f->seconds, f->last_ms);
	else if (f->dirty >= f->bandwidth && left > 0)
		snprintf(f->text, sizeof f->text,
			 "does not converge: %.1f MB become dirty a second, and %.1f can be sent",
			 f->dirty / 1e6, f->bandwidth / 1e6);
	else
		snprintf(f->text, sizeof f->text,
			 "does not converge: what is deferred takes %.0f ms, and %.0f are allowed",
			 f->last_ms, f->downtime_ms);
}

struct forecast forecast(const struct look *now, const struct rates *r, double bandwidth, double downtime_ms)
{
	double page = (double)now->page_size, left = (double)(now->owed + now->taken) * page;
	double deferred_ms = (double)r->deferred / bandwidth * 1e3;
	struct forecast f = { .bandwidth = bandwidth,
			      .downtime_ms = downtime_ms,
			      .dirty = (r->reported + r->software + r->assumed) * page };

	for (unsigned round = 0; round < 1000; round++) {
		f.last_ms = deferred_ms + left / bandwidth * 1e3;
		f.converges = f.last_ms <= downtime_ms;
		if (f.converges || f.dirty >= bandwidth || left < page)
			break;
		f.seconds += left / bandwidth;
		left *= f.dirty / bandwidth;
	}
	say(&f, left);
	return f;
}
