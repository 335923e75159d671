/* SPDX-License-Identifier: MIT */
#ifndef COPY_H
#define COPY_H

/* The copy that both programs make: of one piece of memory, round by round; and how they complain. */

#include <stdbool.h>
#include <stdint.h>

#include <vfiodirty.h>

enum { PAGE = 4096 };

struct copy {
	struct vfd_log *log; /* of which the memory is the only region, at log address 0 */
	uint8_t *memory, *copy;
	uint64_t size;
};

/* Makes the log, and the memory its region. */
void copy_begin(struct copy *c, void *memory, uint64_t size);
/* Copies what is owed. Returns how many pages that was. */
uint64_t copy_owed(struct copy *c);
/* All pages, while the device may write. */
void copy_initial(struct copy *c);
/* 0 if the copy is identical, else 1, and says so. Ends the log. */
int copy_end(struct copy *c);

/* Prints the plan. 0 if each device has the source that is expected, else 1. */
int check_plan(struct vfd_container *container, enum vfd_source_kind expected);
/* Prints "ok: ..." or "FAILED: ...", and returns 0 or 1. */
int verdict(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));

extern struct vfd_error failure;
void check(int rc); /* of a call that was given &failure */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
