/* SPDX-License-Identifier: MIT */

/* Configuration space as a guest has it, of a device that is 256 bytes. */

#include "vmm.h"

#include <errno.h>
#include <string.h>

#include <check.h>
#include <linux/pci_regs.h>

#undef fail /* Check has one, too */

static uint8_t space[256];
static struct vm vm;
static struct device device;
static unsigned resets; /* by the library's call */

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
	(void)d, (void)index, (void)region, (void)err;
	return -EINVAL;
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

void irq_config(struct vm *v, struct device *d)
{
	(void)v, (void)d;
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

int main(void)
{
	Suite *suite = suite_create("vmm_pci");
	TCase *tcase = tcase_create("configuration space");

	tcase_add_loop_test(tcase, test_end_of_space, 0, (int)(sizeof at_the_end / sizeof *at_the_end));
	tcase_add_test(tcase, test_odd_pointer);
	tcase_add_test(tcase, test_too_many_vectors);
	tcase_add_loop_test(tcase, test_reset, 0, (int)(sizeof reset_writes / sizeof *reset_writes));
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
