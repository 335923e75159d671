/* SPDX-License-Identifier: MIT */

/* A Linux kernel by its 64-bit boot protocol (Documentation/arch/x86/boot.rst): a bzImage, or the vmlinux inside of one, which
 * spares the guest the unpacking. */

#include "vmm.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <asm/bootparam.h>

enum { USABLE = 1, RESERVED = 2, LOWEST = HIGH_MEMORY, BIOS = 0xf0000, BASE_END = 0x9fc00, ENTRY_64 = 0x200 };

struct file {
	const uint8_t *data;
	uint64_t size;
};

static struct file open_file(const char *path)
{
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &status) || !status.st_size)
		die("%s: %s", path, errno ? strerror(errno) : "it is empty");
	void *data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		die("%s: %s", path, strerror(errno));
	close(fd);
	return (struct file){ data, (uint64_t)status.st_size };
}

static const void *file_at(const struct file *f, uint64_t offset, uint64_t size)
{
	if (size > f->size || offset > f->size - size)
		die("the kernel image is cut short");
	return f->data + offset;
}

static void close_file(const struct file *f)
{
	munmap((void *)f->data, f->size);
}

/* Each segment to its physical address. */
static uint64_t load_elf(struct vm *vm, const struct file *f)
{
	const Elf64_Ehdr *head = file_at(f, 0, sizeof *head);

	for (unsigned i = 0; i < head->e_phnum; i++) {
		const Elf64_Phdr *p = file_at(f, head->e_phoff + i * sizeof *p, sizeof *p);

		if (p->p_type == PT_LOAD && p->p_memsz)
			memcpy(ram_at(vm, p->p_paddr, p->p_memsz), file_at(f, p->p_offset, p->p_filesz),
			       p->p_filesz <= p->p_memsz ? p->p_filesz : p->p_memsz);
	}
	return head->e_entry;
}

static uint64_t load_bzimage(struct vm *vm, const struct file *f, struct setup_header *header)
{
	uint64_t setup;

	memcpy(header, file_at(f, 0x1f1, sizeof *header), sizeof *header);
	if (memcmp(&header->header, "HdrS", 4) || header->version < 0x20c ||
	    !(header->xloadflags & XLF_KERNEL_64))
		die("neither a vmlinux nor a bzImage with a 64-bit entry");
	setup = (header->setup_sects ? header->setup_sects + 1u : 5u) * 512u;
	uint64_t size = f->size - setup, room = header->init_size > size ? header->init_size : size;
	memcpy(ram_at(vm, header->pref_address, room), file_at(f, setup, size), size);
	return header->pref_address + ENTRY_64;
}

/* As high as it goes: below it is where the kernel unpacks itself. */
static void load_initrd(struct vm *vm, const char *path, struct setup_header *header)
{
	struct file f = open_file(path);
	uint64_t at = f.size < vm->ram.size ? (vm->ram.size - f.size) & ~(uint64_t)(PAGE - 1) : vm->ram.size;

	memcpy(ram_at(vm, at, f.size), f.data, f.size);
	header->ramdisk_image = (uint32_t)at;
	header->ramdisk_size = (uint32_t)f.size;
	close_file(&f);
}

static void add_range(struct boot_params *b, uint64_t first, uint64_t end, uint32_t type)
{
	b->e820_table[b->e820_entries++] =
		(struct boot_e820_entry){ .addr = first, .size = end - first, .type = type };
}

static void describe_memory(struct vm *vm, struct boot_params *b)
{
	add_range(b, 0, BASE_END, USABLE);
	add_range(b, BIOS, HIGH_MEMORY, RESERVED);
	add_range(b, HIGH_MEMORY, vm->ram.size, USABLE);
}

void boot_linux(struct vm *vm, const char *kernel, const char *initrd, const char *command_line)
{
	struct boot_params *b = ram_at(vm, BOOT_PARAMS, sizeof *b);
	struct file f = open_file(kernel);
	bool elf = f.size > SELFMAG && !memcmp(f.data, ELFMAG, SELFMAG);
	uint64_t entry = elf ? load_elf(vm, &f) : load_bzimage(vm, &f, &b->hdr);

	close_file(&f);
	b->hdr.type_of_loader = 0xff;
	b->hdr.cmd_line_ptr = COMMAND_LINE;
	memcpy(ram_at(vm, COMMAND_LINE, strlen(command_line) + 1), command_line, strlen(command_line) + 1);
	if (initrd)
		load_initrd(vm, initrd, &b->hdr);
	describe_memory(vm, b);
	mptable_write(vm);
	boot_long_mode(vm, &vm->vcpus[0], entry, 0, BOOT_PARAMS);
}
