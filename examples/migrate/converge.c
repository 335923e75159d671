/* SPDX-License-Identifier: MIT */

/* Another round, the last one, or none? */

#include "converge.h"

enum { MAX_ROUNDS = 30, IN_VAIN = 4 };

double expected_downtime_ms(const struct outlook *o)
{
	double bytes = (double)o->left + (double)o->deferred + (double)o->state;

	return o->harvest_ms + (o->rate ? bytes * 1e3 / (double)o->rate : bytes > 0 ? 1e12 : 0);
}

/* A tenth less is progress. */
static void count_rounds_in_vain(struct converge *c, const struct outlook *o)
{
	if (!c->least || (double)o->left < 0.9 * (double)c->least) {
		c->least = o->left ? o->left : 1;
		c->in_vain = 0;
	} else {
		c->in_vain++;
	}
}

static const char *too_long(const struct converge *c, const struct mig_options *options,
			    const struct outlook *o)
{
	if (o->round >= (options->max_rounds ? options->max_rounds : MAX_ROUNDS))
		return "that many rounds were allowed";
	if (options->max_seconds && o->seconds >= (double)options->max_seconds)
		return "that much time was allowed";
	return c->in_vain >= IN_VAIN ? "the last rounds were in vain" : NULL;
}

enum decision converge(struct converge *c, const struct mig_options *options, const struct outlook *o,
		       struct mig_error *why)
{
	uint64_t target = options->downtime_ms ? options->downtime_ms : DOWNTIME_MS;
	double expected = expected_downtime_ms(o);

	if (expected <= (double)target)
		return STOP_NOW;
	count_rounds_in_vain(c, o);
	const char *reason = too_long(c, options, o);
	if (!reason)
		return GO_ON;
	if (options->force)
		return STOP_NOW;
	mig_fail(why,
		 "gave up after %u rounds and %.1f s: %s. %.1f MB are left, and %.1f MB that devices cannot "
		 "report, at %.1f "
		 "MB/s: a downtime of %.0f ms, and %llu are allowed",
		 o->round, o->seconds, reason, (double)o->left / 1e6, (double)o->deferred / 1e6,
		 (double)o->rate / 1e6, expected, (unsigned long long)target);
	return GIVE_UP;
}
