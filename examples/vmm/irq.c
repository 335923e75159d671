/* SPDX-License-Identifier: MIT */

/* Interrupts that are messages. The device tells an eventfd, KVM takes from it (irqfd) and delivers what the route of its number
 * says. A vector that the guest has masked is not taken from: what arrives meanwhile waits in the eventfd. What the system refuses costs the
 * guest an interrupt, and not its life. */

#include "vmm.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/pci_regs.h>

enum { PIC_PINS = 16, MASKED = 1, ROUTES = PIC_PINS + FIRST_GSI + VECTORS };

static bool worked(int rc, const char *what)
{
	if (rc < 0)
		fprintf(stderr, "vfd-vmm: %s: %s\n", what, strerror(errno));
	return rc >= 0;
}

static void route_chip(struct kvm_irq_routing *r, uint32_t gsi, uint32_t chip, uint32_t pin)
{
	r->entries[r->nr++] = (struct kvm_irq_routing_entry){ .gsi = gsi,
							      .type = KVM_IRQ_ROUTING_IRQCHIP,
							      .u.irqchip = { .irqchip = chip, .pin = pin } };
}

static void route_message(struct kvm_irq_routing *r, uint32_t gsi, const uint32_t *words)
{
	r->entries[r->nr++] = (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_MSI,
		.u.msi = { .address_lo = words[0], .address_hi = words[1], .data = words[2] }
	};
}

/* KVM takes all routes or none, so those that were there at first have to be said again. */
static void set_routes(struct vm *vm, const struct irqs *irqs)
{
	_Alignas(8) char room[sizeof(struct kvm_irq_routing) + ROUTES * sizeof(struct kvm_irq_routing_entry)];
	struct kvm_irq_routing *r = (void *)room;

	memset(room, 0, sizeof room);
	for (uint32_t i = 0; i < PIC_PINS; i++)
		route_chip(r, i, i < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, i % 8);
	for (uint32_t i = 0; i < FIRST_GSI; i++)
		route_chip(r, i, KVM_IRQCHIP_IOAPIC, i);
	for (uint32_t i = 0; irqs->enabled && i < irqs->count; i++)
		if (!(irqs->vectors[i].words[3] & MASKED))
			route_message(r, FIRST_GSI + i, irqs->vectors[i].words);
	worked(ioctl(vm->fd, KVM_SET_GSI_ROUTING, r), "KVM_SET_GSI_ROUTING");
}

static void deliver(struct vm *vm, struct irqs *irqs, unsigned i, bool on)
{
	struct vector *v = &irqs->vectors[i];
	struct kvm_irqfd irqfd = { .fd = (uint32_t)v->eventfd,
				   .gsi = FIRST_GSI + i,
				   .flags = on ? 0 : KVM_IRQFD_FLAG_DEASSIGN };

	if (v->delivered != on && v->eventfd >= 0 && worked(ioctl(vm->fd, KVM_IRQFD, &irqfd), "KVM_IRQFD"))
		v->delivered = on;
}

/* Nobody delivers while a route is missing. */
static void update(struct vm *vm, struct irqs *irqs, bool all_masked)
{
	for (unsigned i = 0; i < irqs->count; i++)
		if (all_masked || irqs->vectors[i].words[3] & MASKED)
			deliver(vm, irqs, i, false);
	set_routes(vm, irqs);
	for (unsigned i = 0; i < irqs->count; i++)
		if (irqs->enabled && !all_masked && !(irqs->vectors[i].words[3] & MASKED))
			deliver(vm, irqs, i, true);
}

/* KVM does without it when it is closed, if not before. */
static void forget(struct vector *v)
{
	if (v->eventfd >= 0)
		close(v->eventfd);
	v->eventfd = -1;
	v->delivered = false;
}

void irq_off(struct vm *vm, struct device *d)
{
	struct irqs *irqs = &d->irqs;
	struct vfd_error err;

	if (!irqs->enabled)
		return;
	irqs->enabled = false;
	if (vfd_device_irq_disable(d->vfio, irqs->kind, &err))
		fprintf(stderr, "vfd-vmm: %s: %s\n", d->name, err.message);
	update(vm, irqs, true);
	for (unsigned i = 0; i < irqs->count; i++)
		forget(&irqs->vectors[i]);
}

static void switch_on(struct device *d, unsigned kind, unsigned count)
{
	struct irqs *irqs = &d->irqs;
	int fds[VECTORS];
	struct vfd_error err;

	for (unsigned i = 0; i < count; i++) {
		fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		irqs->vectors[i].eventfd = worked(fds[i], "eventfd") ? fds[i] : -1;
	}
	irqs->kind = kind;
	irqs->count = count;
	irqs->enabled = true;
	if (vfd_device_irq_enable(d->vfio, kind, 0, fds, count, &err))
		fprintf(stderr, "vfd-vmm: %s: %s\n", d->name, err.message);
}

static void take_message(struct device *d)
{
	uint32_t wide = pci_own(d, d->msi + PCI_MSI_FLAGS, 2) & PCI_MSI_FLAGS_64BIT;
	uint32_t *words = d->irqs.vectors[0].words;

	words[0] = pci_own(d, d->msi + PCI_MSI_ADDRESS_LO, 4);
	words[1] = wide ? pci_own(d, d->msi + PCI_MSI_ADDRESS_HI, 4) : 0;
	words[2] = pci_own(d, d->msi + (wide ? 12u : 8u), 2);
	words[3] = 0;
}

void irq_config(struct vm *vm, struct device *d)
{
	uint32_t msix = d->msix ? pci_own(d, d->msix + PCI_MSIX_FLAGS, 2) : 0;
	uint32_t msi = d->msi ? pci_own(d, d->msi + PCI_MSI_FLAGS, 2) : 0;
	bool want_msix = msix & PCI_MSIX_FLAGS_ENABLE, want_msi = !want_msix && msi & PCI_MSI_FLAGS_ENABLE;
	unsigned kind = want_msix ? VFIO_PCI_MSIX_IRQ_INDEX : VFIO_PCI_MSI_IRQ_INDEX;

	if (d->irqs.enabled && (!(want_msix || want_msi) || d->irqs.kind != kind))
		irq_off(vm, d);
	if (want_msi)
		take_message(d);
	if ((want_msix || want_msi) && !d->irqs.enabled)
		switch_on(d, kind, want_msix ? (msix & PCI_MSIX_FLAGS_QSIZE) + 1 : 1);
	if (d->irqs.enabled)
		update(vm, &d->irqs, want_msix && msix & PCI_MSIX_FLAGS_MASKALL);
}

void irq_table(struct vm *vm, struct device *d, uint64_t offset, bool write, void *data, unsigned size)
{
	uint8_t *words = (uint8_t *)d->irqs.vectors[offset / 16].words + offset % 16;

	if (offset % 16 + size > 16)
		return;
	if (!write) {
		memcpy(data, words, size);
		return;
	}
	memcpy(words, data, size);
	irq_config(vm, d);
}
