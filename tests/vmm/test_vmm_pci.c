/* SPDX-License-Identifier: MIT */

/* Configuration space as a guest has it, of a device that is 256 bytes. */

#include "migration.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <check.h>
#include <linux/pci_regs.h>

#include "../suite.h"

#undef fail /* Check has one, too */

static uint8_t space[256];
static struct vm vm;
static struct device device;
static unsigned resets;	  /* by the library's call */
static uint64_t bar_size; /* the first one's */
static unsigned irq_kind, irq_count;

/* ---- the library ---- */

static void check_bounds(uint32_t index, uint64_t offset, size_t size)
{
	ck_assert_uint_eq(index, VFIO_PCI_CONFIG_REGION_INDEX);
	ck_assert_msg(offset + size <= sizeof space, "%zu bytes at %#llx", size, (unsigned long long)offset);
}

int vfd_device_read(struct vfd_device *d, uint32_t index, uint64_t offset, void *data, size_t size,
		    struct vfd_error *err)
{
	(void)d, (void)err;
	check_bounds(index, offset, size);
	memcpy(data, space + offset, size);
	return 0;
}

int vfd_device_write(struct vfd_device *d, uint32_t index, uint64_t offset, const void *data, size_t size,
		     struct vfd_error *err)
{
	(void)d, (void)err;
	check_bounds(index, offset, size);
	memcpy(space + offset, data, size);
	return 0;
}

int vfd_device_reset(struct vfd_device *d, struct vfd_error *err)
{
	(void)d, (void)err;
	resets++;
	return 0;
}

int vfd_device_region_info(struct vfd_device *d, uint32_t index, struct vfd_device_region *region,
			   struct vfd_error *err)
{
	(void)d, (void)err;
	region->size = index ? 0 : bar_size;
	return region->size ? 0 : -EINVAL;
}

int vfd_device_irq_enable(struct vfd_device *d, uint32_t irq, uint32_t start, const int *eventfds,
			  uint32_t count, struct vfd_error *err)
{
	(void)d, (void)eventfds, (void)err;
	ck_assert_uint_eq(start, 0);
	irq_kind = irq;
	irq_count = count;
	return 0;
}

int vfd_device_irq_disable(struct vfd_device *d, uint32_t irq, struct vfd_error *err)
{
	(void)d, (void)irq, (void)err;
	irq_count = 0;
	return 0;
}

/* KVM says yes, but to this. */
static unsigned long refused;

int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	(void)fd;
	errno = ENOSPC;
	return request == refused ? -1 : 0;
}

/* ---- the other parts ---- */

int fail(struct vfd_error *err, const char *format, ...)
{
	(void)err, (void)format;
	return -1;
}

void windows_move(struct vm *v, struct device *d)
{
	(void)v, (void)d;
}

void windows_hide(struct vm *v, struct device *d)
{
	(void)v, (void)d;
}

int check(int rc, const char *what)
{
	ck_assert_msg(rc >= 0, "%s", what);
	return rc;
}

/* ---- tests ---- */

/* A device with one capability there, of which the bytes behind its header are all `fill`. */
static int plug(uint8_t id, unsigned at, uint8_t fill)
{
	struct vfd_error err;

	memset(space, 0, sizeof space);
	device = (struct device){ .name = "fake", .pci = true };
	vm = (struct vm){ .device = &device };
	resets = 0;
	space[PCI_STATUS] = PCI_STATUS_CAP_LIST;
	space[PCI_CAPABILITY_LIST] = (uint8_t)at;
	memset(space + at + 2, fill, sizeof space - at - 2);
	space[at] = id;
	space[at + 1] = 0;
	return pci_describe(&device, &err);
}

static const struct at_the_end {
	uint8_t id, fill;
	unsigned size;
} at_the_end[] = {
	{ PCI_CAP_ID_MSI, 0, PCI_MSI_MASK_32 },
	{ PCI_CAP_ID_MSI, PCI_MSI_FLAGS_64BIT, PCI_MSI_MASK_64 },
	{ PCI_CAP_ID_MSIX, 0, PCI_CAP_MSIX_SIZEOF },
};

/* Wherever it begins: one that fits is there, another is not, and nothing beyond the end is touched. */
START_TEST(test_end_of_space)
{
	const struct at_the_end *c = &at_the_end[_i];

	for (unsigned at = 0x40; at <= 0xfc; at += 4) {
		ck_assert_int_eq(plug(c->id, at, c->fill), 0);
		uint8_t found = c->id == PCI_CAP_ID_MSI ? device.msi : device.msix;
		ck_assert_uint_eq(found, at + c->size <= 256 ? at : 0);
		ck_assert(!device.memory);
		ck_assert(!device.ours[0]);
	}
}
END_TEST

/* The two lowest bits of each pointer are reserved. */
START_TEST(test_odd_pointer)
{
	struct vfd_error err;

	memset(space, 0, sizeof space);
	device = (struct device){ .name = "fake", .pci = true };
	space[PCI_STATUS] = PCI_STATUS_CAP_LIST;
	space[PCI_CAPABILITY_LIST] = 0xff;
	space[0xfc] = PCI_CAP_ID_PM;
	ck_assert_int_eq(pci_describe(&device, &err), 0);
	ck_assert_uint_eq(device.msi, 0);
}
END_TEST

/* 0x1ff + 1 vectors: refused, for the guest may be running already. */
START_TEST(test_too_many_vectors)
{
	ck_assert_int_eq(plug(PCI_CAP_ID_MSIX, 0x40, 0x01), -1);
}
END_TEST

static void guest_writes(unsigned at, uint32_t value, unsigned size)
{
	uint32_t address = 0x80000800 | (at & 0xfc); /* 00:01.0 */

	pci_port(&vm, 0xcf8, true, &address, 4);
	pci_port(&vm, (uint16_t)(0xcfc + (at & 3)), true, &value, size);
}

static const struct reset_write {
	uint8_t id, fill; /* 0xff: all that the capability can have, it has */
	unsigned at;	  /* in the capability */
	uint32_t value;
	unsigned size, resets;
	uint32_t passed_on;
} reset_writes[] = {
	{ PCI_CAP_ID_EXP, 0xff, PCI_EXP_DEVCTL, 0x8123, 2, 1, 0x0123 },
	{ PCI_CAP_ID_EXP, 0xff, PCI_EXP_DEVCTL, 0x00048123, 4, 1, 0x00040123 },
	{ PCI_CAP_ID_EXP, 0xff, PCI_EXP_DEVCTL + 1, 0x81, 1, 1, 0x01 },
	{ PCI_CAP_ID_EXP, 0xff, PCI_EXP_DEVCTL, 0x80, 1, 0, 0x80 },
	{ PCI_CAP_ID_EXP, 0xff, PCI_EXP_DEVCTL, 0x7fff, 2, 0, 0x7fff },
	{ PCI_CAP_ID_EXP, 0xff, PCI_EXP_DEVSTA, 0x8000, 2, 0, 0x8000 },
	{ PCI_CAP_ID_EXP, 0, PCI_EXP_DEVCTL, 0x8123, 2, 0, 0x8123 }, /* it has no such reset */
	{ PCI_CAP_ID_AF, 0xff, PCI_AF_CTRL, 0x03, 1, 1, 0x02 },
	{ PCI_CAP_ID_AF, 0xff, PCI_AF_CTRL, 0x0101, 2, 1, 0x0100 },
	{ PCI_CAP_ID_AF, 0xff, PCI_AF_CTRL, 0xfe, 1, 0, 0xfe },
	{ PCI_CAP_ID_AF, 0, PCI_AF_CTRL, 0x01, 1, 0, 0x01 },
	{ PCI_CAP_ID_PM, 0xff, PCI_EXP_DEVCTL, 0x8123, 2, 0, 0x8123 }, /* another capability */
};

/* By the library's call, and the rest of what was written reaches the device. */
START_TEST(test_reset)
{
	const struct reset_write *w = &reset_writes[_i];
	uint32_t arrived = 0;

	ck_assert_int_eq(plug(w->id, 0x40, w->fill), 0);
	guest_writes(0x40 + w->at, w->value, w->size);
	memcpy(&arrived, space + 0x40 + w->at, w->size);
	ck_assert_uint_eq(resets, w->resets);
	ck_assert_uint_eq(arrived, w->passed_on);
}
END_TEST

/* ---- the view moves ---- */

enum { LIST = 0x40, MSI_AT = 0x50, TABLE = 0x1000, TABLE_VECTORS = 4, MASKED = 2, BAR_SIZE = 0x4000 };

static void put(unsigned at, uint32_t value)
{
	memcpy(space + at, &value, 4);
}

/* Freshly plugged: a BAR of 64 bits, MSI-X with four vectors, MSI. */
static void plug_whole(struct device *d)
{
	struct vfd_error err;

	memset(space, 0, sizeof space);
	put(PCI_VENDOR_ID, 0x11e81234);
	space[PCI_STATUS] = PCI_STATUS_CAP_LIST;
	space[PCI_CAPABILITY_LIST] = LIST;
	put(PCI_BASE_ADDRESS_0, PCI_BASE_ADDRESS_MEM_TYPE_64);
	put(LIST, PCI_CAP_ID_MSIX | MSI_AT << 8 | (TABLE_VECTORS - 1) << 16);
	put(LIST + PCI_MSIX_TABLE, TABLE);
	put(MSI_AT, PCI_CAP_ID_MSI | PCI_MSI_FLAGS_64BIT << 16);
	bar_size = BAR_SIZE;
	irq_count = 0;
	*d = (struct device){ .name = "fake", .pci = true };
	vm = (struct vm){ .device = d };
	ck_assert_int_eq(pci_describe(d, &err), 0);
}

static uint32_t guest_reads(unsigned at)
{
	uint32_t address = 0x80000800 | at, value;

	pci_port(&vm, 0xcf8, true, &address, 4);
	pci_port(&vm, 0xcfc, false, &value, 4);
	return value;
}

static void write_vector(struct device *d, unsigned i, uint32_t data, uint32_t control)
{
	uint32_t words[] = { 0xfee00000, 0, data, control };

	for (unsigned w = 0; w < 4; w++)
		irq_table(&vm, d, 16 * i + 4 * w, true, &words[w], 4);
}

static bool waits(const struct device *d, unsigned i)
{
	struct pollfd p = { .fd = d->irqs.vectors[i].eventfd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

/* As a driver leaves it. */
static void use(void)
{
	guest_writes(PCI_BASE_ADDRESS_0, 0xe1230000, 4);
	guest_writes(PCI_INTERRUPT_LINE, 11, 1);
	guest_writes(MSI_AT + PCI_MSI_ADDRESS_LO, 0xfee01000, 4);
	guest_writes(MSI_AT + PCI_MSI_DATA_64, 0x55, 2);
	guest_writes(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

/* And an interrupt came for the vector that is masked. */
static void use_msix(struct device *d)
{
	uint64_t one = 1;

	use();
	for (unsigned i = 0; i < TABLE_VECTORS; i++)
		write_vector(d, i, 0x40 + i, i == MASKED);
	guest_writes(LIST + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
	ck_assert_uint_eq(irq_count, TABLE_VECTORS);
	ck_assert_int_eq(write(d->irqs.vectors[MASKED].eventfd, &one, sizeof one), sizeof one);
}

static void use_msi(struct device *d)
{
	(void)d;
	use();
	guest_writes(MSI_AT + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE, 2);
	ck_assert_uint_eq(irq_count, 1);
}

static void same_msix(const struct device *d)
{
	ck_assert_uint_eq(irq_kind, VFIO_PCI_MSIX_IRQ_INDEX);
	ck_assert_uint_eq(irq_count, TABLE_VECTORS);
	for (unsigned i = 0; i < TABLE_VECTORS; i++) {
		const uint32_t words[] = { 0xfee00000, 0, 0x40 + i, i == MASKED };

		ck_assert_mem_eq(d->irqs.vectors[i].words, words, sizeof words);
		ck_assert(d->irqs.vectors[i].delivered == (i != MASKED));
		ck_assert(waits(d, i) == (i == MASKED));
	}
}

static void same_msi(const struct device *d)
{
	static const uint32_t words[] = { 0xfee01000, 0, 0x55, 0 };

	ck_assert_uint_eq(irq_kind, VFIO_PCI_MSI_IRQ_INDEX);
	ck_assert_uint_eq(irq_count, 1);
	ck_assert_mem_eq(d->irqs.vectors[0].words, words, sizeof words);
	ck_assert(d->irqs.vectors[0].delivered);
}

static const struct interrupts {
	void (*use)(struct device *d);
	void (*same)(const struct device *d);
} interrupts[] = { { use_msix, same_msix }, { use_msi, same_msi } };

static void same_view(const struct device *d, const uint32_t *before)
{
	for (unsigned at = 0; at < 256; at += 4)
		ck_assert_msg(guest_reads(at) == before[at / 4], "%#x: %#x, not %#x", at, guest_reads(at),
			      before[at / 4]);
	ck_assert_uint_eq(d->bars[0].address, 0xe1230000);
	ck_assert(d->memory);
	ck_assert(d->irqs.enabled);
}

/* What the guest sees there is what it saw here; and it may still go on here. */
START_TEST(test_view_moves)
{
	static struct device there;
	struct pci_state state;
	struct vfd_error err;
	uint32_t before[64];

	plug_whole(&device);
	interrupts[_i].use(&device);
	for (unsigned at = 0; at < 256; at += 4)
		before[at / 4] = guest_reads(at);
	pci_save(&device, &state);
	same_view(&device, before);
	interrupts[_i].same(&device);
	plug_whole(&there);
	ck_assert_int_eq(pci_load(&vm, &there, &state, &err), 0);
	same_view(&there, before);
	interrupts[_i].same(&there);
}
END_TEST

static void another_device(struct pci_kind *k, int which)
{
	switch (which) {
	case 0:
		k->id++;
		break;
	case 1:
		k->bars[0] *= 2;
		break;
	case 2:
		k->msix++; /* one vector more */
		break;
	case 3:
		k->msi += 4 << 16; /* elsewhere */
		break;
	default:
		k->table += 16;
	}
}

/* Nothing of the view of another device is taken. */
START_TEST(test_another_device)
{
	static struct device there, before;
	struct pci_state state;
	struct vfd_error err;

	plug_whole(&device);
	use_msix(&device);
	pci_save(&device, &state);
	another_device(&state.kind, _i);
	plug_whole(&there);
	before = there;
	ck_assert_int_eq(pci_load(&vm, &there, &state, &err), -1);
	ck_assert_mem_eq(&there, &before, sizeof there);
	ck_assert_uint_eq(space[PCI_COMMAND], 0);
}
END_TEST

/* ---- what comes over the line is not believed --------------------------------------------------------------------------- */

static void fill(void *bytes, size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		((uint8_t *)bytes)[i] = (uint8_t)rand_r(&seed);
}

/* Whatever it says of a device like this one: it stays one, with as many vectors, and no more interrupts than those. */
START_TEST(test_any_view)
{
	static struct device there;
	struct pci_state state;
	struct vfd_error err;

	plug_whole(&device);
	pci_save(&device, &state);
	fill((uint8_t *)&state + sizeof state.kind, sizeof state - sizeof state.kind, (unsigned)_i);
	plug_whole(&there);
	ck_assert_int_eq(pci_load(&vm, &there, &state, &err), 0);
	ck_assert_uint_eq(guest_reads(PCI_VENDOR_ID), 0x11e81234);
	ck_assert_uint_eq(guest_reads(LIST) & ~(uint32_t)(MSIX_SWITCHES << 16),
			  PCI_CAP_ID_MSIX | MSI_AT << 8 | (TABLE_VECTORS - 1) << 16);
	ck_assert_uint_eq(guest_reads(MSI_AT) & ~(uint32_t)(MSI_SWITCHES << 16),
			  PCI_CAP_ID_MSI | PCI_MSI_FLAGS_64BIT << 16);
	ck_assert_uint_eq(there.bars[0].address % BAR_SIZE, 0);
	ck_assert_uint_le(irq_count, TABLE_VECTORS);
	ck_assert(there.irqs.enabled == (irq_count > 0));
	for (unsigned i = irq_count; i < VECTORS; i++)
		ck_assert(!there.irqs.vectors[i].delivered);
}
END_TEST

/* ---- an interrupt that cannot be had ------------------------------------------------------------------------------------ */

static const unsigned long refusals[] = { KVM_IRQFD, KVM_SET_GSI_ROUTING };

/* The guest loses interrupts, not its life. */
START_TEST(test_kvm_refuses)
{
	plug_whole(&device);
	refused = refusals[_i];
	use_msix(&device);
	ck_assert(device.irqs.enabled);
	refused = 0;
	guest_writes(LIST + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL, 2);
	guest_writes(LIST + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
	same_msix(&device); /* until it asks again */
	irq_off(&vm, &device);
}
END_TEST

/* Not even a view that comes from elsewhere, with an interrupt that waits. */
START_TEST(test_no_descriptors)
{
	static struct device there;
	struct pci_state state;
	struct vfd_error err;
	struct rlimit limit;

	plug_whole(&device);
	use_msix(&device);
	pci_save(&device, &state);
	ck_assert_uint_eq(state.waiting[MASKED], 1);
	plug_whole(&there);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 0, limit.rlim_max }), 0);
	ck_assert_int_eq(pci_load(&vm, &there, &state, &err), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert(there.irqs.enabled);
	for (unsigned i = 0; i < VECTORS; i++)
		ck_assert(!there.irqs.vectors[i].delivered);
	pci_save(&there, &state);
	ck_assert_uint_eq(state.waiting[MASKED], 0);
	irq_off(&vm, &there);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("vmm_pci");
	TCase *tcase = tcase_create("configuration space");

	tcase_add_loop_test(tcase, test_end_of_space, 0, (int)(sizeof at_the_end / sizeof *at_the_end));
	tcase_add_test(tcase, test_odd_pointer);
	tcase_add_test(tcase, test_too_many_vectors);
	tcase_add_loop_test(tcase, test_reset, 0, (int)(sizeof reset_writes / sizeof *reset_writes));
	tcase_add_loop_test(tcase, test_view_moves, 0, 2);
	tcase_add_loop_test(tcase, test_another_device, 0, 5);
	tcase_add_loop_test(tcase, test_any_view, 0, 200);
	tcase_add_loop_test(tcase, test_kvm_refuses, 0, 2);
	tcase_add_test(tcase, test_no_descriptors);
	suite_add_tcase(suite, tcase);
	return run_all(suite);
}
