/* SPDX-License-Identifier: MIT */

/* What a guest is besides its memory and its device: what KVM keeps of each vCPU and of its chips, and our own few registers. Taken
 * and given while the vCPUs stand still. The other side is the same program on the same kind of machine; all the same what it says
 * is looked at before it is used as an index. */

#include "vmm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

/* Processor: in the order in which it is given back. */
static const struct part {
	unsigned long get, set;
	size_t offset;
	const char *name;
} parts[] = {
#define PART(GET, SET, FIELD)                                                                                \
	{                                                                                                    \
		GET, SET, offsetof(struct cpu_state, FIELD), #SET                                            \
	}
	PART(KVM_GET_MP_STATE, KVM_SET_MP_STATE, mp), PART(KVM_GET_REGS, KVM_SET_REGS, regs),
	PART(KVM_GET_SREGS, KVM_SET_SREGS, sregs),    PART(KVM_GET_XCRS, KVM_SET_XCRS, xcrs),
	PART(KVM_GET_XSAVE, KVM_SET_XSAVE, xsave),    PART(KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, debug),
	PART(KVM_GET_LAPIC, KVM_SET_LAPIC, lapic),    PART(KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, events),
#undef PART
};

static struct kvm_msr_entry *one_msr(int fd, unsigned long call, struct kvm_msr_entry msr)
{
	static _Thread_local _Alignas(8) char room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	struct kvm_msrs *one = (void *)room;

	one->nmsrs = 1;
	one->entries[0] = msr;
	return ioctl(fd, call, one) == 1 ? one->entries : NULL;
}

/* KVM lists more than each processor has. */
static int save_msrs(struct vcpu *v, struct cpu_state *s, struct vfd_error *err)
{
	_Alignas(8) char room[sizeof(struct kvm_msr_list) + MSRS * sizeof(uint32_t)] = { 0 };
	struct kvm_msr_list *list = (void *)room;

	list->nmsrs = MSRS;
	if (ioctl(v->vm->kvm, KVM_GET_MSR_INDEX_LIST, list))
		return fail(err, "KVM_GET_MSR_INDEX_LIST: %s", strerror(errno));
	for (uint32_t i = 0; i < list->nmsrs; i++) {
		struct kvm_msr_entry *m =
			one_msr(v->fd, KVM_GET_MSRS, (struct kvm_msr_entry){ .index = list->indices[i] });
		if (m)
			s->msrs[s->msr_count++] = *m;
	}
	return 0;
}

/* Some cannot be written: those must have the value already. */
static int load_msrs(struct vcpu *v, const struct cpu_state *s, struct vfd_error *err)
{
	for (uint32_t i = 0; i < s->msr_count; i++) {
		if (one_msr(v->fd, KVM_SET_MSRS, s->msrs[i]))
			continue;
		struct kvm_msr_entry *m = one_msr(v->fd, KVM_GET_MSRS, s->msrs[i]);
		if (!m || m->data != s->msrs[i].data)
			return fail(err, "vCPU %u: MSR %#x does not become %#llx", v->index, s->msrs[i].index,
				    (unsigned long long)s->msrs[i].data);
	}
	return 0;
}

int state_save_cpu(struct vcpu *v, struct cpu_state *s, struct vfd_error *err)
{
	memset(s, 0, sizeof *s);
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		if (ioctl(v->fd, parts[i].get, (char *)s + parts[i].offset))
			return fail(err, "vCPU %u: before %s: %s", v->index, parts[i].name, strerror(errno));
	return save_msrs(v, s, err);
}

int state_load_cpu(struct vcpu *v, const struct cpu_state *s, struct vfd_error *err)
{
	if (s->msr_count > MSRS)
		return fail(err, "vCPU %u: %u MSRs", v->index, s->msr_count);
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		if (ioctl(v->fd, parts[i].set, (char *)(uintptr_t)s + parts[i].offset))
			return fail(err, "vCPU %u: %s: %s", v->index, parts[i].name, strerror(errno));
	return load_msrs(v, s, err);
}

int state_save_vm(struct vm *vm, struct vm_state *s, struct vfd_error *err)
{
	memset(s, 0, sizeof *s);
	s->vcpu_count = vm->vcpu_count;
	s->config_address = vm->config_address;
	s->console = vm->console.state;
	s->agent = vm->agent.state;
	for (uint32_t i = 0; i < CHIPS; i++) {
		s->chips[i].chip_id = i;
		if (ioctl(vm->fd, KVM_GET_IRQCHIP, &s->chips[i]))
			return fail(err, "KVM_GET_IRQCHIP: %s", strerror(errno));
	}
	if (ioctl(vm->fd, KVM_GET_PIT2, &s->pit) || ioctl(vm->fd, KVM_GET_CLOCK, &s->clock))
		return fail(err, "timer and clock: %s", strerror(errno));
	s->clock.flags = 0; /* it goes on from here: the guest has not been for the time in between */
	return 0;
}

static bool uart_is_sound(const struct serial_state *s)
{
	return s->head < sizeof s->input && s->count <= sizeof s->input;
}

int state_load_vm(struct vm *vm, const struct vm_state *s, struct vfd_error *err)
{
	if (s->vcpu_count != vm->vcpu_count || !uart_is_sound(&s->console) || !uart_is_sound(&s->agent))
		return fail(err, "it has %u vCPUs, this one %u; or a UART makes no sense", s->vcpu_count,
			    vm->vcpu_count);
	vm->config_address = s->config_address;
	vm->console.state = s->console;
	vm->agent.state = s->agent;
	for (uint32_t i = 0; i < CHIPS; i++) {
		struct kvm_irqchip chip = s->chips[i];
		chip.chip_id = i;
		if (ioctl(vm->fd, KVM_SET_IRQCHIP, &chip))
			return fail(err, "KVM_SET_IRQCHIP: %s", strerror(errno));
	}
	if (ioctl(vm->fd, KVM_SET_PIT2, &s->pit) || ioctl(vm->fd, KVM_SET_CLOCK, &s->clock))
		return fail(err, "timer and clock: %s", strerror(errno));
	return 0;
}
