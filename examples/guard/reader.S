/* SPDX-License-Identifier: MIT */

/* A boot sector that reads the first 2 MiB of its disk through the BIOS, 32 KiB at a time, and then ends the machine through
 * isa-debug-exit at port 0x501: QEMU's exit code is 1, or 3 if a read failed. */

	.code16
	.globl _start
_start:
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	$64, %cx
next:
	movb	$0x42, %ah
	movw	$packet, %si
	int	$0x13 /* DL is the disk, as the BIOS left it */
	jc	failed
	addl	$64, sector
	loop	next
	xorb	%al, %al
	jmp	end
failed:
	movb	$1, %al
end:
	movw	$0x501, %dx
	outb	%al, %dx
	hlt

packet:
	.byte	16, 0
	.word	64     /* sectors */
	.word	0, 0x1000 /* to 1000:0000 */
sector:
	.quad	0

	.org	510
	.word	0xaa55
