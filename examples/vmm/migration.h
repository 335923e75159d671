/* SPDX-License-Identifier: MIT */
#ifndef VMM_MIGRATION_H
#define VMM_MIGRATION_H

/* Between the VMM and the migration engine of ../migrate. */

#include "vmm.h"

#include "migrate.h"

/* The guest's view of a PCI device that migrates: what is not in the device's own state. */
struct pci_state {
	struct pci_kind { /* two devices of which this is the same look the same */
		uint32_t id, resets;
		uint32_t msi, msix; /* where, and what they are able to do */
		uint64_t table_bar, table;
		uint64_t bars[BARS], bar_flags[BARS];
	} kind;
	uint8_t config[256];
	uint8_t waiting[VECTORS]; /* an interrupt came while its vector was masked */
	uint32_t vectors[VECTORS][4];
};

enum section_kind { SECTION_VM, SECTION_CPU, SECTION_HASH, SECTION_PCI };

struct section {
	struct move *move;
	enum section_kind kind;
	unsigned cpu;
	bool started;
	size_t size, at;
	union {
		struct vm_state vm;
		struct cpu_state cpu;
		struct pci_state pci;
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
	struct section sections[VCPUS + 3];
	struct mig_section streams[VCPUS + 3];
	size_t section_count;
};

/* view.c */
void pci_save(const struct device *d, struct pci_state *s);
int pci_load(struct vm *vm, struct device *d, const struct pci_state *s, struct vfd_error *err);

/* section.c */
void sections_make(struct move *m);

#endif
