/* SPDX-License-Identifier: MIT */

/* The state in which a guest begins: long mode, the first 4 GiB mapped one to one, flat segments, interrupts off. It is what Linux
 * wants at its 64-bit entry. */

#include "vmm.h"

#include <string.h>
#include <sys/ioctl.h>

enum { PRESENT = 1, WRITABLE = 2, LARGE = 0x80 };
enum { CR0_PE = 1, CR0_ET = 1 << 4, CR4_PAE = 1 << 5, EFER_LME = 1 << 8, EFER_LMA = 1 << 10 };
#define CR0_PG UINT32_C(0x80000000)
enum { GIB = 4 };

/* One table of the highest level, one below it, and four whose entries are pages of 2 MiB. */
static void make_page_tables(struct vm *vm)
{
	uint64_t *top = ram_at(vm, PAGE_TABLES, (2 + GIB) * PAGE), *middle = top + 512, *low = middle + 512;

	top[0] = (PAGE_TABLES + PAGE) | PRESENT | WRITABLE;
	for (unsigned i = 0; i < GIB; i++)
		middle[i] = (PAGE_TABLES + (2ull + i) * PAGE) | PRESENT | WRITABLE;
	for (uint64_t i = 0; i < GIB * 512; i++)
		low[i] = i << 21 | PRESENT | WRITABLE | LARGE;
}

static void set_segments(struct kvm_sregs *s)
{
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = 0x10, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1
	};
	struct kvm_segment data = {
		.limit = 0xffffffff, .selector = 0x18, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1
	};

	s->cs = code;
	s->ds = s->es = s->fs = s->gs = s->ss = data;
}

void boot_long_mode(struct vm *vm, struct vcpu *vcpu, uint64_t entry, uint64_t rdi, uint64_t rsi)
{
	struct kvm_regs regs = { .rip = entry, .rdi = rdi, .rsi = rsi, .rflags = 2 };
	struct kvm_mp_state runnable = { .mp_state = KVM_MP_STATE_RUNNABLE };
	struct kvm_sregs s;

	make_page_tables(vm);
	check(ioctl(vcpu->fd, KVM_GET_SREGS, &s), "KVM_GET_SREGS");
	set_segments(&s);
	s.cr3 = PAGE_TABLES;
	s.cr4 = CR4_PAE;
	s.cr0 = CR0_PG | CR0_PE | CR0_ET;
	s.efer = EFER_LME | EFER_LMA;
	check(ioctl(vcpu->fd, KVM_SET_SREGS, &s), "KVM_SET_SREGS");
	check(ioctl(vcpu->fd, KVM_SET_REGS, &regs), "KVM_SET_REGS");
	check(ioctl(vcpu->fd, KVM_SET_MP_STATE, &runnable), "KVM_SET_MP_STATE");
}
