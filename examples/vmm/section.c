/* SPDX-License-Identifier: MIT */

/* The states as sections of a migration's stream: a number by which the two sides can see that memory is the same, the chips, and
 * each vCPU, and the guest's view of a PCI device that goes along. Each is one piece of a fixed size. */

#include "migration.h"

#include <string.h>

static int save(struct section *s, struct vfd_error *err)
{
	struct vm *vm = s->move->vm;

	s->size = sizeof s->data.hash;
	if (s->kind == SECTION_VM)
		s->size = sizeof s->data.vm;
	if (s->kind == SECTION_CPU)
		s->size = sizeof s->data.cpu;
	if (s->kind == SECTION_PCI)
		s->size = sizeof s->data.pci;
	s->data.hash = s->kind == SECTION_HASH && s->move->verify ? ram_hash(vm) : 0;
	if (s->kind == SECTION_VM)
		return state_save_vm(vm, &s->data.vm, err);
	if (s->kind == SECTION_CPU)
		return state_save_cpu(&vm->vcpus[s->cpu], &s->data.cpu, err);
	if (s->kind == SECTION_PCI)
		pci_save(vm->device, &s->data.pci);
	return 0;
}

static int load(struct section *s, struct vfd_error *err)
{
	struct vm *vm = s->move->vm;

	if (s->kind == SECTION_VM && s->size == sizeof s->data.vm)
		return state_load_vm(vm, &s->data.vm, err);
	if (s->kind == SECTION_CPU && s->size == sizeof s->data.cpu)
		return state_load_cpu(&vm->vcpus[s->cpu], &s->data.cpu, err);
	if (s->kind == SECTION_PCI && s->size == sizeof s->data.pci)
		return pci_load(vm, vm->device, &s->data.pci, err);
	if (s->kind != SECTION_HASH || s->size != sizeof s->data.hash)
		return fail(err, "a section of %zu bytes makes no sense", s->size);
	if (s->data.hash && s->data.hash != ram_hash(vm))
		return fail(err, "MEMORY DIFFERS");
	s->move->verified = s->data.hash != 0;
	return 0;
}

/* The engine takes it in as many bites as it likes. */
static int save_next(void *opaque, void *data, size_t size, size_t *done, struct mig_error *merr)
{
	struct section *s = opaque;
	struct vfd_error err;

	if (!s->started && save(s, &err))
		return mig_fail(merr, "%s", err.message);
	s->started = true;
	*done = s->size - s->at < size ? s->size - s->at : size;
	memcpy(data, (char *)&s->data + s->at, *done);
	s->at += *done;
	return 0;
}

static int load_next(void *opaque, const void *data, size_t size, struct mig_error *merr)
{
	struct section *s = opaque;
	struct vfd_error err;

	if (!size)
		return load(s, &err) ? mig_fail(merr, "%s", err.message) : 0;
	if (size > sizeof s->data - s->size)
		return mig_fail(merr, "a section of more than %zu bytes", sizeof s->data);
	memcpy((char *)&s->data + s->size, data, size);
	s->size += size;
	return 0;
}

static void add(struct move *m, enum section_kind kind, unsigned cpu, const char *name)
{
	struct section *s = &m->sections[m->section_count];

	*s = (struct section){ .move = m, .kind = kind, .cpu = cpu };
	m->streams[m->section_count++] =
		(struct mig_section){ .opaque = s, .save = save_next, .load = load_next };
	snprintf(m->streams[m->section_count - 1].name, MIG_NAME, "%s%u", name, cpu);
}

/* Memory is compared first: KVM writes to it when some MSRs are loaded (the wall clock's). */
void sections_make(struct move *m)
{
	add(m, SECTION_HASH, 0, "hash");
	add(m, SECTION_VM, 0, "vm");
	for (unsigned i = 0; i < m->vm->vcpu_count; i++)
		add(m, SECTION_CPU, i, "cpu");
	if (m->device && m->vm->device->pci)
		add(m, SECTION_PCI, 0, "pci");
}
