/* SPDX-License-Identifier: MIT */

/* Where a guest, or whoever sends one, may put the registers of its device. */

#include "vmm.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>

#include <check.h>

#include "../suite.h"

#undef fail /* Check has one, too */

static struct vm vm;
static struct device device;
static uint64_t bar_size;
static unsigned shown;

/* ---- KVM and the library: all of the first BAR can be mapped ---- */

int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list args;

	(void)fd;
	ck_assert_uint_eq(request, KVM_SET_USER_MEMORY_REGION);
	va_start(args, request);
	const struct kvm_userspace_memory_region *slot = va_arg(args, const void *);
	va_end(args);
	if (!slot->memory_size)
		return 0;
	shown++;
	ck_assert_msg(slot->guest_phys_addr >= RAM_MOST && slot->guest_phys_addr < 0xfec00000 &&
			      slot->memory_size <= 0xfec00000 - slot->guest_phys_addr,
		      "%#llx bytes at %#llx", slot->memory_size, slot->guest_phys_addr);
	return 0;
}

int vfd_device_region_info(struct vfd_device *d, uint32_t index, struct vfd_device_region *region,
			   struct vfd_error *err)
{
	(void)d, (void)err;
	region->size = index ? 0 : bar_size;
	region->area_count = 1;
	region->areas[0].size = bar_size;
	return index ? -EINVAL : 0;
}

int vfd_device_map(struct vfd_device *d, uint32_t index, uint64_t offset, uint64_t size, void **address,
		   struct vfd_error *err)
{
	(void)d, (void)index, (void)offset, (void)size, (void)err;
	*address = &device;
	return 0;
}

int vfd_device_read(struct vfd_device *d, uint32_t index, uint64_t offset, void *data, size_t size,
		    struct vfd_error *err)
{
	(void)d, (void)index, (void)offset, (void)data, (void)size, (void)err;
	return 0;
}

int vfd_device_write(struct vfd_device *d, uint32_t index, uint64_t offset, const void *data, size_t size,
		     struct vfd_error *err)
{
	(void)d, (void)index, (void)offset, (void)data, (void)size, (void)err;
	return 0;
}

/* ---- the other parts ---- */

uint32_t pci_own(const struct device *d, unsigned at, unsigned size)
{
	(void)d, (void)at, (void)size;
	return 0;
}

void irq_table(struct vm *v, struct device *d, uint64_t offset, bool write, void *data, unsigned size)
{
	(void)v, (void)d, (void)offset, (void)write, (void)data, (void)size;
}

/* ---- tests ---- */

static const struct place {
	uint64_t size, address;
	unsigned shown;
} places[] = {
	{ 0x4000, MMIO_PCI, 1 },
	{ 0x4000, 0xfec00000 - 0x4000, 1 },
	{ 0x4000, 0xfec00000, 0 },
	{ 0x4000, 0, 0 },
	{ 0x4000, RAM_MOST - 0x4000, 0 },
	{ 0x4000, RAM_MOST, 1 },
	{ 0x4000, UINT64_C(0xffffffffffffc000), 0 }, /* its end is 0 */
	{ 0x4000, UINT64_C(0x7fffffffffffc000), 0 },
	{ UINT64_C(1) << 32, UINT64_C(1) << 32, 0 },
	{ UINT64_C(1) << 32, UINT64_C(0xffffffff00000000), 0 },
	{ UINT64_C(1) << 63, UINT64_C(1) << 63, 0 },
};

START_TEST(test_place)
{
	const struct place *p = &places[_i];

	bar_size = p->size;
	device = (struct device){ .name = "fake", .pci = true, .memory = true };
	device.bars[0] = (struct bar){ .size = p->size, .address = p->address };
	windows_make(&vm, &device);
	ck_assert_uint_eq(device.window_count, 1);
	ck_assert_uint_eq(shown, p->shown);
	ck_assert(device.windows[0].shown == (p->shown > 0));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("vmm_window");
	TCase *tcase = tcase_create("registers");

	tcase_add_loop_test(tcase, test_place, 0, (int)(sizeof places / sizeof *places));
	suite_add_tcase(suite, tcase);
	return run_all(suite);
}
