/* SPDX-License-Identifier: MIT */

/* The built-in guest: a few hundred bytes. Each vCPU writes random numbers to random places of its part of memory and keeps their
 * sum in a register; after every 4096 writes it adds its memory up, and the two must agree. A page that a migration lost, or
 * brought in an older state, or a register, breaks that for good. One vCPU drives the device besides:
 *
 *  - QEMU's edu at 00:01.0 copies a page into itself and out again elsewhere, which are then compared (all but its last word: QEMU 7.2 ends at a whole page);
 *  - of a device that is not PCI the first register is read, compared with the number written there last, and written anew.
 *
 * A dot on the console is a round of vCPU 0. Port 0xf4 is the end: 0 all rounds are done, 1 a sum is wrong, 2 what the device has
 * copied is wrong, 3 its register. */

#include "vmm.h"

#include <string.h>

/* At SMALL_PARAMS; the offsets stand in the program. */
struct small_params {
	uint64_t work;		/*  0: bytes of each vCPU, a power of two */
	uint64_t first;		/*  8: of vCPU 0, the next one's follow */
	uint64_t rounds;	/* 16: 0: no end */
	uint64_t registers;	/* 24: of a device that is not PCI; 0: there is none */
	uint64_t dma, dma_mask; /* 32, 40: where edu copies to, a page at a time */
	uint64_t copies;	/* 48: by edu, compared */
	uint64_t written;	/* 56: to the register */
	uint64_t done[VCPUS];	/* 64: rounds */
};

__asm__(".pushsection .rodata\n"
	"small_start:\n"
	"	mov	$0x8000, %r8d\n" /* the parameters */
	"	mov	(%r8), %r9\n"	 /* bytes that are mine */
	"	mov	%rdi, %r10\n"	 /* which begin here */
	"	imul	%r9, %r10\n"
	"	add	8(%r8), %r10\n"
	"	lea	-8(%r9), %r11\n" /* which words */
	"	movabs	$0x9e3779b97f4a7c15, %r13\n"
	"	add	%rdi, %r13\n"	/* the random number */
	"	xor	%r12d, %r12d\n" /* the sum */
	"	xor	%r14d, %r14d\n" /* writes */
	"	xor	%r15d, %r15d\n" /* edu's registers */
	"	xor	%ebx, %ebx\n"	/* what edu is at */
	"	xor	%ebp, %ebp\n"	/* pages that it copied */
	"	test	%edi, %edi\n"
	"	jnz	write\n"
	"	mov	$0x80000800, %eax\n" /* is it there? */
	"	mov	$0xcf8, %dx\n"
	"	out	%eax, %dx\n"
	"	mov	$0xcfc, %dx\n"
	"	in	%dx, %eax\n"
	"	cmp	$0x11e81234, %eax\n"
	"	jne	write\n"
	"	mov	$0x80000804, %eax\n" /* memory and bus mastering on */
	"	mov	$0xcf8, %dx\n"
	"	out	%eax, %dx\n"
	"	mov	$0xcfc, %dx\n"
	"	mov	$6, %eax\n"
	"	out	%eax, %dx\n"
	"	mov	$0x80000810, %eax\n" /* BAR 0 */
	"	mov	$0xcf8, %dx\n"
	"	out	%eax, %dx\n"
	"	mov	$0xcfc, %dx\n"
	"	in	%dx, %eax\n"
	"	and	$-16, %eax\n"
	"	mov	%eax, %r15d\n"
	"write:\n"
	"	mov	%r13, %rax\n" /* xorshift */
	"	shl	$13, %rax\n"
	"	xor	%rax, %r13\n"
	"	mov	%r13, %rax\n"
	"	shr	$7, %rax\n"
	"	xor	%rax, %r13\n"
	"	mov	%r13, %rax\n"
	"	shl	$17, %rax\n"
	"	xor	%rax, %r13\n"
	"	mov	%r13, %rax\n"
	"	and	%r11, %rax\n"
	"	sub	(%r10,%rax), %r12\n"
	"	mov	%r13, (%r10,%rax)\n"
	"	add	%r13, %r12\n"
	"	inc	%r14\n"
	"	test	$0xfff, %r14d\n"
	"	jnz	write\n"
	"	xor	%ecx, %ecx\n" /* add it up */
	"	xor	%edx, %edx\n"
	"1:	add	(%r10,%rcx), %rdx\n"
	"	add	$8, %rcx\n"
	"	cmp	%r9, %rcx\n"
	"	jne	1b\n"
	"	mov	$1, %eax\n"
	"	cmp	%rdx, %r12\n"
	"	jne	end\n"
	"	incq	64(%r8,%rdi,8)\n"
	"	test	%edi, %edi\n"
	"	jnz	write\n"
	"	mov	$0x3f8, %dx\n"
	"	mov	$'.', %al\n"
	"	out	%al, %dx\n"
	"	mov	24(%r8), %rdx\n" /* a register */
	"	test	%rdx, %rdx\n"
	"	jz	2f\n"
	"	mov	(%rdx), %rcx\n"
	"	mov	$3, %eax\n"
	"	cmp	%rcx, 56(%r8)\n"
	"	jne	end\n"
	"	mov	%r13, 56(%r8)\n"
	"	mov	%r13, (%rdx)\n"
	"2:	test	%r15, %r15\n" /* edu */
	"	jz	rounds\n"
	"	mov	0x98(%r15), %eax\n"
	"	test	$1, %al\n"
	"	jnz	rounds\n" /* at work */
	"	mov	%rbp, %rdx\n"
	"	shl	$12, %rdx\n"
	"	and	40(%r8), %rdx\n"
	"	add	32(%r8), %rdx\n" /* where to */
	"	cmp	$1, %ebx\n"
	"	je	out_again\n"
	"	ja	compare\n"
	"	mov	%rdi, %rsi\n"	  /* vCPU 0: rdi is 0 */
	"	mov	$0x30000, %edi\n" /* a page of numbers */
	"	mov	$511, %ecx\n"
	"	mov	%r13, %rax\n"
	"3:	stosq\n"
	"	add	%r13, %rax\n"
	"	loop	3b\n"
	"	mov	%rsi, %rdi\n"
	"	movq	$0x30000, 0x80(%r15)\n"
	"	movq	$0x40000, 0x88(%r15)\n" /* edu's own page */
	"	movq	$4088, 0x90(%r15)\n"
	"	movl	$1, 0x98(%r15)\n"
	"	mov	$1, %ebx\n"
	"	jmp	rounds\n"
	"out_again:\n"
	"	movq	$0x40000, 0x80(%r15)\n"
	"	mov	%rdx, 0x88(%r15)\n"
	"	movq	$4088, 0x90(%r15)\n"
	"	movl	$3, 0x98(%r15)\n"
	"	mov	$2, %ebx\n"
	"	jmp	rounds\n"
	"compare:\n"
	"	mov	$0x30000, %esi\n"
	"	mov	%rdx, %rdi\n"
	"	mov	$511, %ecx\n"
	"	repe	cmpsq\n"
	"	mov	$0, %edi\n"
	"	mov	$2, %eax\n"
	"	jne	end\n"
	"	incq	48(%r8)\n"
	"	inc	%rbp\n"
	"	xor	%ebx, %ebx\n"
	"rounds:\n"
	"	xor	%eax, %eax\n"
	"	mov	16(%r8), %rdx\n"
	"	test	%rdx, %rdx\n"
	"	jz	write\n"
	"	cmp	64(%r8), %rdx\n"
	"	ja	write\n"
	"end:	mov	$0xf4, %dx\n"
	"	out	%al, %dx\n"
	"	jmp	end\n"
	".balign 8\n"
	"small_size: .quad . - small_start\n"
	".popsection\n");

extern const uint8_t small_start[];
extern const uint64_t small_size;

/* vCPUs in the lower half of memory, the device in the upper one. */
void boot_small(struct vm *vm, uint64_t work, uint64_t rounds)
{
	struct small_params *p = ram_at(vm, SMALL_PARAMS, sizeof *p);
	uint64_t half = vm->ram.size / 2;

	*p = (struct small_params){ .work = work,
				    .first = HIGH_MEMORY,
				    .rounds = rounds,
				    .registers = vm->device && !vm->device->pci ? MMIO_DEVICE : 0,
				    .dma = half,
				    .dma_mask = half - 1 };
	if (HIGH_MEMORY + vm->vcpu_count * work > half || half & (half - 1))
		die("the small guest wants memory of a power of two, of which its vCPUs have half");
	memcpy(ram_at(vm, SMALL_CODE, PAGE), small_start, small_size);
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		boot_long_mode(vm, &vm->vcpus[i], SMALL_CODE, i, 0);
}

void small_report(struct vm *vm)
{
	const struct small_params *p = ram_at(vm, SMALL_PARAMS, sizeof *p);

	printf("\nsmall guest: %llu and %llu rounds, %llu pages copied by the device\n",
	       (unsigned long long)p->done[0], (unsigned long long)p->done[1], (unsigned long long)p->copies);
}
