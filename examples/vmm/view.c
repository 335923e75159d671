/* SPDX-License-Identifier: MIT */

/* What the guest sees of a PCI device in place of the device's own, and the command register: taken here, and written there as if the
 * guest had done it. */

#include "migration.h"

#include <string.h>
#include <unistd.h>

#include <linux/pci_regs.h>

static void learn_kind(const struct device *d, struct pci_kind *k)
{
	memset(k, 0, sizeof *k);
	pci_read(d, PCI_VENDOR_ID, (uint8_t *)&k->id, 4);
	k->resets = (uint32_t)d->resets[0].at << 8 | d->resets[1].at;
	if (d->msi)
		k->msi = (uint32_t)d->msi << 16 | (pci_own(d, d->msi + PCI_MSI_FLAGS, 2) & ~MSI_SWITCHES);
	if (d->msix)
		k->msix =
			(uint32_t)d->msix << 16 | (pci_own(d, d->msix + PCI_MSIX_FLAGS, 2) & ~MSIX_SWITCHES);
	k->table_bar = d->table_bar;
	k->table = d->table;
	for (unsigned i = 0; i < BARS; i++) {
		k->bars[i] = d->bars[i].size;
		k->bar_flags[i] = d->bars[i].flags;
	}
}

/* What waits is looked at, and stays: the guest may go on here. */
static bool is_waiting(int fd)
{
	uint64_t count;

	if (read(fd, &count, sizeof count) != sizeof count)
		return false;
	check((int)write(fd, &count, sizeof count), "eventfd");
	return true;
}

void pci_save(const struct device *d, struct pci_state *s)
{
	memset(s, 0, sizeof *s);
	learn_kind(d, &s->kind);
	for (unsigned at = 0; at < sizeof s->config; at += 4)
		pci_read(d, at, s->config + at, 4);
	for (unsigned i = 0; i < VECTORS; i++)
		memcpy(s->vectors[i], d->irqs.vectors[i].words, sizeof s->vectors[i]);
	for (unsigned i = 0; d->irqs.enabled && i < d->irqs.count; i++)
		s->waiting[i] = is_waiting(d->irqs.vectors[i].eventfd);
}

static void write_back(struct vm *vm, struct device *d, const struct pci_state *s, unsigned at)
{
	const bool *ours = d->ours + at;

	if (ours[0] || ours[1] || ours[2] || ours[3])
		pci_write(vm, d, at, s->config + at, 4);
}

/* Interrupts are switched on when all else is there; memory and bus mastering, by the command register, last. */
static void write_all(struct vm *vm, struct device *d, const struct pci_state *s)
{
	for (unsigned at = 0; at < sizeof s->config; at += 4)
		if (at != d->msi && at != d->msix)
			write_back(vm, d, s, at);
	if (d->msi)
		write_back(vm, d, s, d->msi);
	if (d->msix)
		write_back(vm, d, s, d->msix);
	pci_write(vm, d, PCI_COMMAND, s->config + PCI_COMMAND, 2);
}

int pci_load(struct vm *vm, struct device *d, const struct pci_state *s, struct vfd_error *err)
{
	struct pci_kind kind;
	uint64_t one = 1;

	learn_kind(d, &kind);
	if (memcmp(&kind, &s->kind, sizeof kind))
		return fail(err, "%s (%08x) differs from the device that it had there (%08x)", d->name,
			    kind.id, s->kind.id);
	for (unsigned i = 0; i < VECTORS; i++)
		memcpy(d->irqs.vectors[i].words, s->vectors[i], sizeof s->vectors[i]);
	write_all(vm, d, s);
	for (unsigned i = 0; d->irqs.enabled && i < d->irqs.count; i++)
		if (s->waiting[i] && d->irqs.vectors[i].eventfd >= 0)
			check((int)write(d->irqs.vectors[i].eventfd, &one, sizeof one), "eventfd");
	return 0;
}
