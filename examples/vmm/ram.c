/* SPDX-License-Identifier: MIT */

/* Guest memory: one region of the log, one slot of KVM's. What vCPUs write comes into the log from here, what the device writes
 * from vfd_track_harvest(); log addresses are guest-physical addresses in both cases. */

#include "vmm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int set_slot(struct vm *vm, uint32_t flags)
{
	struct kvm_userspace_memory_region slot = { .flags = flags,
						    .memory_size = vm->ram.size,
						    .userspace_addr = (uintptr_t)vm->ram.start };

	return ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot);
}

/* KVM's log is cleared by a call of its own, not by reading it: so it cannot be lost between the two. */
static void keep_until_cleared(struct vm *vm)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
				      .args = { KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE } };

	check(ioctl(vm->fd, KVM_ENABLE_CAP, &cap), "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2");
}

static void add_to_log(struct vm *vm)
{
	struct vfd_region region = { .struct_size = sizeof region,
				     .size = vm->ram.size,
				     .memory = vm->ram.start };
	struct vfd_error err;

	if (vfd_log_create(NULL, &vm->log, &err) || vfd_region_add(vm->log, &region, &err))
		die("%s: %s", err.operation, err.message);
}

void ram_create(struct vm *vm, uint64_t size, bool huge)
{
	int fd = check(memfd_create("guest", MFD_CLOEXEC | (huge ? MFD_HUGETLB : 0)), "memfd_create");

	check(ftruncate(fd, (off_t)size), "memory of the guest");
	vm->ram.size = size;
	vm->ram.start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	vm->ram.bits = calloc(size / PAGE / 64 + 1, 8);
	if (vm->ram.start == MAP_FAILED || !vm->ram.bits)
		die("memory of the guest: %s", strerror(errno));
	close(fd);
	check(set_slot(vm, 0), "KVM_SET_USER_MEMORY_REGION");
	keep_until_cleared(vm);
	add_to_log(vm);
}

void *ram_at(struct vm *vm, uint64_t address, uint64_t size)
{
	if (size > vm->ram.size || address > vm->ram.size - size)
		die("the guest needs more memory: %#llx bytes at %#llx", (unsigned long long)size,
		    (unsigned long long)address);
	return vm->ram.start + address;
}

int ram_track(struct vm *vm, bool on, struct vfd_error *err)
{
	if (set_slot(vm, on ? KVM_MEM_LOG_DIRTY_PAGES : 0))
		return fail(err, "KVM's dirty log: %s", strerror(errno));
	vm->ram.tracked = on;
	return 0;
}

/* Read, merge, clear: what is written after the read of a page that is cleared is read later, for its content is. A page whose bit
 * could not be merged stays set in the kernel. */
int ram_harvest(struct vm *vm, struct vfd_error *err)
{
	uint64_t pages = vm->ram.size / PAGE;
	struct kvm_dirty_log get = { .dirty_bitmap = vm->ram.bits };
	struct kvm_clear_dirty_log clear = { .num_pages = (uint32_t)pages, .dirty_bitmap = vm->ram.bits };
	struct vfd_bitmap bitmap = { .struct_size = sizeof bitmap,
				     .provenance = VFD_REPORTED,
				     .page_size = PAGE,
				     .bits = pages,
				     .words = vm->ram.bits,
				     .who = "kvm" };

	if (ioctl(vm->fd, KVM_GET_DIRTY_LOG, &get))
		return fail(err, "KVM_GET_DIRTY_LOG: %s", strerror(errno));
	int rc = vfd_log_merge(vm->log, &bitmap, NULL, err);
	if (!rc && ioctl(vm->fd, KVM_CLEAR_DIRTY_LOG, &clear))
		rc = fail(err, "KVM_CLEAR_DIRTY_LOG: %s", strerror(errno));
	return rc;
}

/* To compare two guests that stand still. */
uint64_t ram_hash(const struct vm *vm)
{
	const uint64_t *words = (const void *)vm->ram.start;
	uint64_t hash = 1;

	for (uint64_t i = 0; i < vm->ram.size / 8; i++)
		hash = (hash ^ words[i]) * UINT64_C(0x9e3779b97f4a7c15) + (hash >> 29);
	return hash;
}
