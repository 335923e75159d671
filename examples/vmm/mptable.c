/* SPDX-License-Identifier: MIT */

/* The table by which a kernel without ACPI learns of processors and of the I/O APIC (Intel MultiProcessor Specification 1.4). */

#include "vmm.h"

#include <string.h>

enum { LOCAL_APIC = 0xfee00000, IO_APIC = 0xfec00000, ISA_BUS = 0, IRQS = 16 };

struct pointer {
	char signature[4];
	uint32_t table;
	uint8_t length, version, sum, features[5];
};

struct table {
	char signature[4];
	uint16_t length;
	uint8_t version, sum;
	char maker[8], product[12];
	uint32_t oem_table;
	uint16_t oem_size, entries;
	uint32_t local_apic, extended;
};

struct processor {
	uint8_t type, apic, version, flags;
	uint32_t signature, features, reserved[2];
};

struct bus {
	uint8_t type, id;
	char name[6];
};

struct io_apic {
	uint8_t type, id, version, flags;
	uint32_t address;
};

struct interrupt {
	uint8_t type, kind;
	uint16_t flags;
	uint8_t bus, irq, apic, pin;
};

static uint8_t sum_to_zero(const void *data, size_t size)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + ((const uint8_t *)data)[i]);
	return (uint8_t)-sum;
}

static void add(struct table *t, const void *entry, size_t size)
{
	memcpy((uint8_t *)t + t->length, entry, size);
	t->length = (uint16_t)(t->length + size);
	t->entries++;
}

static void add_entries(const struct vm *vm, struct table *t)
{
	struct io_apic io = { 2, (uint8_t)vm->vcpu_count, 0x11, 1, IO_APIC };
	struct bus isa = { 1, ISA_BUS, "ISA   " };

	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		struct processor p = { 0, (uint8_t)i, 0x14, i ? 1 : 3, 0x600, 0x201, { 0 } };
		add(t, &p, sizeof p);
	}
	add(t, &isa, sizeof isa);
	add(t, &io, sizeof io);
	for (unsigned i = 0; i < IRQS; i++) {
		struct interrupt line = { 3, 0, 0, ISA_BUS, (uint8_t)i, io.id, (uint8_t)i };
		add(t, &line, sizeof line);
	}
	struct interrupt external = { 4, 3, 0, ISA_BUS, 0, 0, 0 }, nmi = { 4, 1, 0, ISA_BUS, 0, 0xff, 1 };
	add(t, &external, sizeof external);
	add(t, &nmi, sizeof nmi);
}

void mptable_write(struct vm *vm)
{
	struct pointer *p = ram_at(vm, MP_TABLE, PAGE);
	struct table *t = (void *)(p + 1);

	*p = (struct pointer){ { '_', 'M', 'P', '_' }, MP_TABLE + sizeof *p, 1, 4, 0, { 0 } };
	p->sum = sum_to_zero(p, sizeof *p);
	*t = (struct table){ .signature = { 'P', 'C', 'M', 'P' },
			     .length = sizeof *t,
			     .version = 4,
			     .local_apic = LOCAL_APIC };
	memcpy(t->maker, "VFD     ", 8);
	memcpy(t->product, "VMM         ", 12);
	add_entries(vm, t);
	t->sum = sum_to_zero(t, t->length);
}
