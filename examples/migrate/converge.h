/* SPDX-License-Identifier: MIT */
#ifndef MIGRATE_CONVERGE_H
#define MIGRATE_CONVERGE_H

#include "migrate.h"

enum { DOWNTIME_MS = 300 }; /* allowed, if the options do not say */

/* What is known after a round and the harvest behind it. */
struct outlook {
	unsigned round;	   /* rounds done */
	double seconds;	   /* since the beginning */
	uint64_t left;	   /* bytes owed */
	uint64_t deferred; /* bytes that a final harvest adds */
	uint64_t state;	   /* bytes of state, as far as devices say */
	uint64_t rate;	   /* bytes/s; 0: not known */
	double harvest_ms; /* how long one takes */
};

enum decision { GO_ON, STOP_NOW, GIVE_UP };

/* Remembers whether there is progress. */
struct converge {
	uint64_t least;	  /* bytes that were left after the best round; 0: none yet */
	unsigned in_vain; /* rounds since */
};

double expected_downtime_ms(const struct outlook *o);
/* why: what is said when it is given up. */
enum decision converge(struct converge *c, const struct mig_options *options, const struct outlook *o,
		       struct mig_error *why);

#endif
