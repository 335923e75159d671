/* SPDX-License-Identifier: MIT */
#ifndef TOP_H
#define TOP_H

/* vfd-top looks at the log of another program: at the arena, by read() and nothing else, so that nothing there can change, be populated, or
 * send a signal here. Each number is what was there at that moment; two that belong together may be of two moments. And none is trusted. */

#include <stdbool.h>
#include <stdint.h>

#include "log_layout.h"

/* Where the log is. */
struct target {
	int fd;		  /* read-only */
	int pid;	  /* 0: a file */
	int number;	  /* the descriptor's, in that process */
	unsigned others;  /* logs of the same process that are not looked at */
	char command[32]; /* of the process */
	char name[64];	  /* of the file */
};

struct top_region {
	uint64_t address, size;
	uint64_t owed;	/* pages */
	uint64_t fresh; /* pages that became owed, in all */
};

/* One look. */
struct look {
	double at; /* seconds */
	uint64_t page_size;
	uint64_t owed, reported; /* pages of the log's own consumer; of those, said by a source */
	uint64_t taken;		 /* in open batches */
	uint64_t asked;		 /* questions to the kernel that are on their way */
	uint64_t tally_count;
	struct tally tallies[MAX_TALLIES];
	uint64_t region_count;
	struct top_region *regions; /* free() */
	uint64_t bytes;		    /* of the arena, that their pages take */
};

/* find.c: the log in one of the program's descriptors (number: that one; negative: whichever), or in a file. Says what is wrong, and
 * returns false. */
bool find_in_process(struct target *t, int pid, int number);
bool find_file(struct target *t, const char *path);
bool is_alive(const struct target *t);

/* look.c: NULL, or what is wrong with it. */
const char *look_at(int fd, struct look *look);
/* 0: there is a log; else no message is worth it. */
bool is_log(int fd);

/* ---- what two looks tell: rates.c ---- */

struct source {
	struct cause_label label;
	double rate;	   /* pages a second */
	uint64_t pages;	   /* in all */
	uint64_t deferred; /* bytes */
};

struct rates {
	double seconds;
	double reported, software, assumed, initial; /* pages a second */
	uint64_t deferred;			     /* bytes */
	unsigned count;
	struct source sources[MAX_TALLIES]; /* who spoils it first: deferred, assumed, the others; by rate */
	double *regions;		    /* pages a second; free() */
};

struct rates rates_of(const struct look *before, const struct look *now);
const char *provenance_word(uint32_t provenance);
const char *reason_word(uint32_t reason);

/* Somebody could do better than to assume it. */
bool spoils(const struct source *s);

/* ---- will it end: forecast.c ---- */

struct forecast {
	double bandwidth;   /* bytes a second */
	double dirty;	    /* bytes a second; the first copy does not count */
	double downtime_ms; /* what is allowed */
	bool converges;
	double seconds; /* until the last round can begin; of no meaning if it does not converge */
	double last_ms; /* how long that takes: what is deferred, and what was left; at best, if it does not converge */
	char text[200]; /* in words */
};

struct forecast forecast(const struct look *now, const struct rates *r, double bandwidth, double downtime_ms);

/* screen.c, json.c */
void print_screen(const struct target *t, const struct look *now, const struct rates *r,
		  const struct forecast *f, unsigned lines);
void print_json(const struct target *t, const struct look *now, const struct rates *r,
		const struct forecast *f);

#endif
