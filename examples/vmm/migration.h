/* SPDX-License-Identifier: MIT */
#ifndef VMM_MIGRATION_H
#define VMM_MIGRATION_H

/* Between the VMM and the migration engine of ../migrate. */

#include "vmm.h"

#include "migrate.h"

enum section_kind { SECTION_VM, SECTION_CPU, SECTION_HASH };

struct section {
	struct move *move;
	enum section_kind kind;
	unsigned cpu;
	bool started;
	size_t size, at;
	union {
		struct vm_state vm;
		struct cpu_state cpu;
		uint64_t hash;
	} data;
};

/* One migration, of either side. */
struct move {
	struct vm *vm;
	const char *plug;   /* destination: the device that cannot migrate, attached when all else is there */
	char unplugged[64]; /* source: it was asked to give this up */
	bool was_paused;    /* source: by the user, before */
	bool verify, verified; /* the source sends a number made of all memory; it was compared */
	struct mig_control control;
	struct mig_region region;
	struct vfd_device *device; /* that migrates */
	struct section sections[VCPUS + 2];
	struct mig_section streams[VCPUS + 2];
	size_t section_count;
};

/* section.c */
void sections_make(struct move *m);

#endif
