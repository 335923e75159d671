/* SPDX-License-Identifier: MIT */

/* Configuration space, by ports 0xcf8 and 0xcfc. Bus 0 has a host bridge, without which Linux does not believe in the bus, and at
 * 00:01.0 the device. The device's own is passed on, but for its BARs, its interrupts and its ROM: those are the guest's view. */

#include "vmm.h"

#include <string.h>

#include <linux/pci_regs.h>

enum { ADDRESS_PORT = 0xcf8, HOST_BRIDGE = 0, DEVICE = 1 << 3 };

static uint32_t ask(const struct device *d, unsigned at, unsigned size)
{
	uint32_t value = 0;
	struct vfd_error err;

	if (vfd_device_read(d->vfio, VFIO_PCI_CONFIG_REGION_INDEX, at, &value, size, &err))
		fprintf(stderr, "vfd-vmm: %s: %s\n", d->name, err.message);
	return value;
}

static void tell(const struct device *d, unsigned at, const void *data, unsigned size)
{
	struct vfd_error err;

	if (vfd_device_write(d->vfio, VFIO_PCI_CONFIG_REGION_INDEX, at, data, size, &err))
		fprintf(stderr, "vfd-vmm: %s: %s\n", d->name, err.message);
}

uint32_t pci_own(const struct device *d, unsigned at, unsigned size)
{
	uint32_t value = 0;

	memcpy(&value, d->config + at, size);
	return value;
}

static void own(struct device *d, unsigned at, uint32_t value, unsigned size)
{
	memcpy(d->config + at, &value, size);
	memset(d->ours + at, 1, size);
}

/* ---- what is there ---- */

static void learn_bar(struct device *d, unsigned i)
{
	struct vfd_device_region region = { .struct_size = sizeof region };
	uint32_t flags = ask(d, PCI_BASE_ADDRESS_0 + 4 * i, 4) & 0xf;
	struct vfd_error err;

	if (d->bars[i].upper || vfd_device_region_info(d->vfio, i, &region, &err) ||
	    flags & PCI_BASE_ADDRESS_SPACE_IO)
		return; /* ports are not passed through */
	d->bars[i].size = region.size;
	d->bars[i].flags = flags;
	if (region.size && flags & PCI_BASE_ADDRESS_MEM_TYPE_64 && i + 1 < BARS)
		d->bars[i + 1].upper = true;
}

/* As firmware would leave them. */
static void place_bars(struct device *d)
{
	uint64_t next = MMIO_PCI;

	for (unsigned i = 0; i < BARS; i++) {
		struct bar *bar = &d->bars[i];

		if (bar->size) {
			next = (next + bar->size - 1) & ~(bar->size - 1);
			bar->address = next;
			next += bar->size;
		}
		if (!bar->upper)
			own(d, PCI_BASE_ADDRESS_0 + 4 * i, (uint32_t)bar->address | bar->flags, 4);
		else
			own(d, PCI_BASE_ADDRESS_0 + 4 * i, 0, 4);
	}
}

static bool fits(const struct device *d, unsigned at, unsigned size)
{
	return at + size <= sizeof d->config;
}

/* One whose first `size` bytes do not fit into configuration space is none. */
static uint8_t find_capability(const struct device *d, uint8_t id, unsigned size)
{
	uint32_t at = ask(d, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST ? ask(d, PCI_CAPABILITY_LIST, 1) & 0xfc : 0;

	for (unsigned i = 0; at >= 64 && i < 48; i++, at = ask(d, at + 1, 1) & 0xfc)
		if (ask(d, at, 1) == id)
			return fits(d, at, size) ? (uint8_t)at : 0;
	return 0;
}

/* One message, not masked by itself: all that the guest is offered. */
static void learn_msi(struct device *d)
{
	uint8_t msi = find_capability(d, PCI_CAP_ID_MSI, PCI_MSI_ADDRESS_LO);
	uint32_t wide = msi ? ask(d, msi + PCI_MSI_FLAGS, 2) & PCI_MSI_FLAGS_64BIT : 0;
	unsigned size = wide ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32;

	if (!msi || !fits(d, msi, size))
		return;
	d->msi = msi;
	for (unsigned at = PCI_MSI_FLAGS; at < size; at++)
		own(d, d->msi + at, 0, 1);
	own(d, d->msi + PCI_MSI_FLAGS, wide, 2);
}

static int learn_msix(struct device *d, struct vfd_error *err)
{
	d->msix = find_capability(d, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);
	if (!d->msix)
		return 0;
	uint32_t table = ask(d, d->msix + PCI_MSIX_TABLE, 4);
	uint32_t size = ask(d, d->msix + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE;
	if (size >= VECTORS)
		return fail(err, "%s has %u interrupt vectors: more than %d are not foreseen", d->name,
			    size + 1, VECTORS);
	d->table_bar = table & PCI_MSIX_TABLE_BIR;
	d->table = table & PCI_MSIX_TABLE_OFFSET;
	own(d, d->msix + PCI_MSIX_FLAGS, size, 2);
	for (uint32_t i = 0; i <= size; i++)
		d->irqs.vectors[i].words[3] = PCI_MSIX_ENTRY_CTRL_MASKBIT;
	return 0;
}

/* A function level reset: by the PCI Express capability, or by the one for conventional PCI. */
static void learn_resets(struct device *d)
{
	uint8_t express = find_capability(d, PCI_CAP_ID_EXP, PCI_EXP_DEVCTL + 2);
	uint8_t conventional = find_capability(d, PCI_CAP_ID_AF, PCI_AF_CTRL + 1);

	if (express && ask(d, express + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR)
		d->resets[0] = (struct reset_bit){ (uint8_t)(express + PCI_EXP_DEVCTL + 1),
						   PCI_EXP_DEVCTL_BCR_FLR >> 8 };
	if (conventional && ask(d, conventional + PCI_AF_CAP, 1) & PCI_AF_CAP_FLR)
		d->resets[1] = (struct reset_bit){ (uint8_t)(conventional + PCI_AF_CTRL), PCI_AF_CTRL_FLR };
}

int pci_describe(struct device *d, struct vfd_error *err)
{
	for (unsigned i = 0; i < BARS; i++)
		learn_bar(d, i);
	place_bars(d);
	own(d, PCI_ROM_ADDRESS, 0, 4);
	own(d, PCI_INTERRUPT_LINE, 0, 1);
	own(d, PCI_INTERRUPT_PIN, 0, 1); /* messages only */
	learn_msi(d);
	learn_resets(d);
	return learn_msix(d, err);
}

/* ---- the guest reads and writes ---- */

void pci_read(const struct device *d, unsigned at, uint8_t *data, unsigned size)
{
	uint32_t value = ask(d, at, size);

	memcpy(data, &value, size);
	for (unsigned i = 0; i < size; i++)
		if (d->ours[at + i])
			data[i] = d->config[at + i];
}

/* All ones written to a BAR: the answer is its size. */
static void move_bars(struct vm *vm, struct device *d)
{
	for (unsigned i = 0; i < BARS; i++) {
		struct bar *bar = &d->bars[i];
		unsigned at = PCI_BASE_ADDRESS_0 + 4 * i;
		bool wide = i + 1 < BARS && d->bars[i + 1].upper;

		if (bar->upper)
			continue;
		uint64_t address = pci_own(d, at, 4) | (wide ? (uint64_t)pci_own(d, at + 4, 4) << 32 : 0);
		bar->address = bar->size ? address & ~(bar->size - 1) : 0;
		own(d, at, (uint32_t)bar->address | bar->flags, 4);
		if (wide)
			own(d, at + 4, (uint32_t)(bar->address >> 32), 4);
	}
	windows_move(vm, d);
}

/* The registers must be out of the guest's sight before they are switched off: nobody answers there then. */
static void write_command(struct vm *vm, struct device *d, const void *data, unsigned size)
{
	windows_hide(vm, d);
	tell(d, PCI_COMMAND, data, size);
	d->memory = *(const uint8_t *)data & PCI_COMMAND_MEMORY;
	windows_move(vm, d);
}

static bool within(unsigned at, unsigned first, unsigned size)
{
	return at >= first && at < first + size;
}

static void keep_control(struct device *d, unsigned at, uint32_t before, uint32_t writable)
{
	own(d, at, (pci_own(d, at, 2) & writable) | (before & ~writable), 2);
}

static void write_ours(struct vm *vm, struct device *d, unsigned at, const uint8_t *data, unsigned size)
{
	uint32_t msi = pci_own(d, d->msi + PCI_MSI_FLAGS, 2), msix = pci_own(d, d->msix + PCI_MSIX_FLAGS, 2);

	for (unsigned i = 0; i < size; i++)
		if (d->ours[at + i] && !within(at + i, PCI_ROM_ADDRESS, 4) && at + i != PCI_INTERRUPT_PIN)
			d->config[at + i] = data[i];
	if (within(at, PCI_BASE_ADDRESS_0, 4 * BARS)) {
		move_bars(vm, d);
		return;
	}
	if (d->msi)
		keep_control(d, d->msi + PCI_MSI_FLAGS, msi, MSI_SWITCHES);
	if (d->msix)
		keep_control(d, d->msix + PCI_MSIX_FLAGS, msix, MSIX_SWITCHES);
	irq_config(vm, d);
}

static bool touches_ours(const struct device *d, unsigned at, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		if (d->ours[at + i])
			return true;
	return false;
}

static bool take_reset(const struct reset_bit *r, unsigned at, uint8_t *bytes, unsigned size)
{
	if (!r->at || !within(r->at, at, size) || !(bytes[r->at - at] & r->bit))
		return false;
	bytes[r->at - at] &= (uint8_t)~r->bit;
	return true;
}

/* A reset may end the log that a device keeps of its own writes. So the library does it, which then takes all for written; behind a
 * write to configuration space it would not see it. */
static void pass_on(const struct device *d, unsigned at, const uint8_t *data, unsigned size)
{
	uint8_t bytes[4];
	struct vfd_error err;

	memcpy(bytes, data, size);
	bool reset = take_reset(&d->resets[0], at, bytes, size);
	reset |= take_reset(&d->resets[1], at, bytes, size);
	tell(d, at, bytes, size);
	if (reset && vfd_device_reset(d->vfio, &err))
		fprintf(stderr, "vfd-vmm: %s: %s\n", d->name, err.message);
}

void pci_write(struct vm *vm, struct device *d, unsigned at, const uint8_t *data, unsigned size)
{
	if (at == PCI_COMMAND)
		write_command(vm, d, data, size);
	else if (touches_ours(d, at, size))
		write_ours(vm, d, at, data, size);
	else
		pass_on(d, at, data, size);
}

static void bridge_read(unsigned at, uint8_t *data, unsigned size)
{
	static const uint8_t bridge[64] = {
		[PCI_VENDOR_ID] = 0x86, 0x80, 0x37, 0x12, [PCI_CLASS_DEVICE] = 0x00, 0x06
	};

	for (unsigned i = 0; i < size; i++)
		data[i] = at + i < sizeof bridge ? bridge[at + i] : 0;
}

static void access_config(struct vm *vm, unsigned at, bool write, void *data, unsigned size)
{
	uint32_t where = vm->config_address >> 8 & 0xffff; /* bus, device, function */
	struct device *d = vm->device;

	if (where == DEVICE && d && d->pci && write)
		pci_write(vm, d, at, data, size);
	else if (where == DEVICE && d && d->pci)
		pci_read(d, at, data, size);
	else if (where == HOST_BRIDGE && !write)
		bridge_read(at, data, size);
	else if (!write)
		memset(data, 0xff, size);
}

void pci_port(struct vm *vm, uint16_t port, bool write, void *data, unsigned size)
{
	unsigned at = (vm->config_address & 0xfc) + (port & 3);

	if (port == ADDRESS_PORT && size == 4 && write)
		memcpy(&vm->config_address, data, 4);
	else if (port == ADDRESS_PORT && size == 4)
		memcpy(data, &vm->config_address, 4);
	else if (port > ADDRESS_PORT + 3 && vm->config_address >> 31 && (port & 3) + size <= 4)
		access_config(vm, at, write, data, size);
	else if (!write)
		memset(data, 0xff, size);
}
