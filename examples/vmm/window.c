/* SPDX-License-Identifier: MIT */

/* The device's registers in the guest. Where the device allows it they are its own, mapped; the page of the MSI-X table, and what
 * cannot be mapped, is passed on access by access. */

#include "vmm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

enum { FIRST_SLOT = 1 }; /* 0 is RAM */

#define CHIPS_AT UINT64_C(0xfec00000)

static void set_slot(struct vm *vm, struct device *d, unsigned i, bool show)
{
	struct window *w = &d->windows[i];
	struct kvm_userspace_memory_region slot = { .slot = FIRST_SLOT + i,
						    .guest_phys_addr = w->address,
						    .memory_size = show ? w->size : 0,
						    .userspace_addr = (uintptr_t)w->memory };

	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot))
		fprintf(stderr, "vfd-vmm: registers at %#llx: %s\n", (unsigned long long)w->address,
			strerror(errno));
	w->shown = show;
}

static bool is_on(const struct device *d)
{
	return d->memory || !d->pci;
}

void windows_hide(struct vm *vm, struct device *d)
{
	for (unsigned i = 0; i < d->window_count; i++)
		if (d->windows[i].shown)
			set_slot(vm, d, i, false);
}

/* While a guest asks for the size of a BAR it lies at the end of everything: not over RAM, nor where KVM's own chips are. The address is
 * the guest's, and any number. */
static bool has_place(const struct window *w, uint64_t address)
{
	return address >= RAM_MOST && address <= CHIPS_AT && w->size <= CHIPS_AT - address;
}

void windows_move(struct vm *vm, struct device *d)
{
	for (unsigned i = 0; i < d->window_count; i++) {
		struct window *w = &d->windows[i];
		uint64_t address = d->bars[w->bar].address + w->offset;
		bool show = is_on(d) && has_place(w, address);

		if (w->shown && (!show || address != w->address))
			set_slot(vm, d, i, false);
		w->address = address;
		if (show && !w->shown)
			set_slot(vm, d, i, true);
	}
}

/* ---- making them ---- */

static void make(struct device *d, unsigned bar, uint64_t offset, uint64_t end)
{
	struct window *w = &d->windows[d->window_count];
	struct vfd_error err;

	if (offset >= end || d->window_count == WINDOWS)
		return;
	*w = (struct window){ .bar = bar, .offset = offset, .size = end - offset };
	if (vfd_device_map(d->vfio, bar, offset, end - offset, &w->memory, &err))
		fprintf(stderr, "vfd-vmm: %s: not mapped: %s\n", d->name, err.message);
	else
		d->window_count++;
}

static uint64_t table_end(const struct device *d)
{
	return d->table + 16 * (pci_own(d, d->msix + 2u, 2) & 0x7ffu) + 16;
}

/* Before and behind the pages of the MSI-X table. */
static void make_around_table(struct device *d, unsigned bar, uint64_t offset, uint64_t end)
{
	uint64_t first = d->table & ~(uint64_t)(PAGE - 1);
	uint64_t last = (table_end(d) - 1) | (PAGE - 1);

	if (!d->msix || bar != d->table_bar || last < offset || first >= end) {
		make(d, bar, offset, end);
		return;
	}
	make(d, bar, offset, first);
	make(d, bar, last + 1, end);
}

static void make_region(struct device *d, unsigned i)
{
	struct vfd_device_region region = { .struct_size = sizeof region };
	struct vfd_error err;

	if (vfd_device_region_info(d->vfio, i, &region, &err))
		return;
	for (uint32_t a = 0; a < region.area_count; a++)
		make_around_table(d, i, region.areas[a].offset,
				  region.areas[a].offset + region.areas[a].size);
}

/* A device that is not PCI has regions without addresses. */
static void place_regions(struct device *d)
{
	struct vfd_device_region region = { .struct_size = sizeof region };
	struct vfd_error err;

	for (unsigned i = 0; i < BARS && !vfd_device_region_info(d->vfio, i, &region, &err); i++)
		d->bars[i] = (struct bar){ .size = region.size, .address = MMIO_DEVICE + 0x10000 * i };
}

void windows_make(struct vm *vm, struct device *d)
{
	if (!d->pci)
		place_regions(d);
	for (unsigned i = 0; i < BARS; i++)
		if (d->bars[i].size)
			make_region(d, i);
	windows_move(vm, d);
}

/* ---- what is not mapped ---- */

static void pass_on(struct device *d, unsigned bar, uint64_t offset, bool write, void *data, unsigned size)
{
	struct vfd_error err;
	int rc = write ? vfd_device_write(d->vfio, bar, offset, data, size, &err)
		       : vfd_device_read(d->vfio, bar, offset, data, size, &err);

	if (rc && !write)
		memset(data, 0xff, size);
}

static bool in_table(const struct device *d, unsigned bar, uint64_t offset, unsigned size)
{
	return d->msix && bar == d->table_bar && offset >= d->table && offset + size <= table_end(d);
}

bool windows_access(struct vm *vm, uint64_t address, bool write, void *data, unsigned size)
{
	struct device *d = vm->device;

	for (unsigned i = 0; d && is_on(d) && i < BARS; i++) {
		const struct bar *bar = &d->bars[i];

		if (!bar->size || address < bar->address || address - bar->address > bar->size - size)
			continue;
		if (in_table(d, i, address - bar->address, size))
			irq_table(vm, d, address - bar->address - d->table, write, data, size);
		else
			pass_on(d, i, address - bar->address, write, data, size);
		return true;
	}
	return false;
}
