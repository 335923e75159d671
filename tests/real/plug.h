/* SPDX-License-Identifier: MIT */
#ifndef TESTS_REAL_PLUG_H
#define TESTS_REAL_PLUG_H

/*
 * One migration during which, at one point, a device comes or goes. vfdtest.0 is there from the beginning and writes pages
 * OWN_FIRST..; what comes and goes is vfdtest.1 or edu.
 */

#include "rig.h"
#include "rig_edu.h"

enum point {
	BEFORE_START,
	STARTED,
	IN_A_ROUND, /* another thread harvests */
	HARVESTED,  /* before what was harvested is taken */
	BEFORE_FINAL,
	AFTER_FINAL,
	IN_DETACH, /* between two looks at the record, with which vfdtest.0's group leaves */
	POINTS,
};

struct plug {
	struct rig rig;
	struct edu edu;
	unsigned char *other_end;	/* what was sent is copied to */
	struct pages delivered, before; /* `before`: written when tracking began, or already before */
	int request;			/* an eventfd: the kernel asks for the device back. -1: none */
	int refused;			/* what the library answered instead; 0: it did not refuse */
	char why[VFD_ERROR_TEXT];
};

struct event {
	const char *what;
	void (*prepare)(struct plug *p); /* before anything else happens; may be NULL */
	void (*happen)(struct plug *p);	 /* the container may be in use by another thread */
	void (*after)(struct plug *p);	 /* all is closed: as it was before; may be NULL */
	enum point exact;		 /* before this point nothing may be added to what was written */
	int refused;			 /* the library must answer so; 0: it must not refuse */
	bool apart; /* not while another thread is in the container: the kernel takes it away */
};

/* Only what goes wrong is told. */
void must(struct plug *p, int rc, const char *what);

extern const struct event plug_events[], edu_events[], log_events[]; /* the last one has no name */

#endif
