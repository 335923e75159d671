/* SPDX-License-Identifier: MIT */

/* Devices: regions, interrupts, config space; made quiet, and found loud again. */

#include "fixture.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "kernel/vfdtest.h"

#define CONFIG	VFIO_PCI_CONFIG_REGION_INDEX
#define COMMAND 4
#define MASTER	0x4

static struct fixture fixture, *f = &fixture;

static struct vfd_device_region region_of(uint32_t index)
{
	struct vfd_device_region region = { .struct_size = sizeof region };

	OK(vfd_device_region_info(f->device, index, &region, &f->err));
	return region;
}

START_TEST(device_info)
{
	struct vfd_device_info info = { .struct_size = sizeof info };

	fixture_track(f, NULL);
	OK(vfd_device_info(f->device, &info, &f->err));
	ck_assert_uint_eq(info.regions, VFDTEST_REGIONS);
	ck_assert_uint_eq(info.irqs, VFDTEST_IRQS);
	ck_assert_int_eq(info.group, 7);
	ck_assert_uint_eq(info.quiesced, 0);
	ck_assert_str_eq(vfd_device_name(f->device), NAME(0));
	ck_assert_int_ge(vfd_device_fd(f->device), MODEL_FIRST_FD);
	ck_assert_int_eq(vfd_group_number(f->group), 7);
	REFUSED(VFD_ESTATE, vfd_device_open(f->group, NAME(0), &f->device2, &f->err));
	REFUSED(-ENODEV, vfd_device_open(f->group, "nobody", &f->device2, &f->err));
	fixture_end(f);
}
END_TEST

/* ---- regions ---- */

START_TEST(regions)
{
	struct vfd_device_region region;

	fixture_track(f, NULL);
	region = region_of(0);
	ck_assert_uint_eq(region.size, VFDTEST_REGION0_SIZE);
	ck_assert_uint_eq(region.area_count, 1);
	ck_assert_uint_eq(region.areas[0].size, VFDTEST_REGION0_SIZE);
	region = region_of(1);
	ck_assert_uint_eq(region.size, VFDTEST_REGION1_SIZE);
	ck_assert_uint_eq(region.area_count, 2); /* sparse: pages 0 and 2 */
	ck_assert_uint_eq(region.areas[0].offset, 0);
	ck_assert_uint_eq(region.areas[1].offset, 2 * PAGE);
	ck_assert_uint_eq(region.areas[1].size, PAGE);
	region = (struct vfd_device_region){ .struct_size = sizeof region };
	REFUSED(-EINVAL, vfd_device_region_info(f->device, 9, &region, &f->err));
	fixture_end(f);
}
END_TEST

START_TEST(mapped_areas)
{
	void *whole, *sparse, *none;
	uint32_t value = 0x12345678, seen = 0;

	fixture_track(f, NULL);
	OK(vfd_device_map(f->device, 0, 0, 2 * PAGE, &whole, &f->err));
	OK(vfd_device_map(f->device, 1, 2 * PAGE, PAGE, &sparse, &f->err));
	OK(vfd_device_write(f->device, 1, 2 * PAGE + 8, &value, 4, &f->err));
	ck_assert_uint_eq(((volatile uint32_t *)sparse)[2], value);
	((volatile uint32_t *)whole)[1] = 77;
	OK(vfd_device_read(f->device, 0, 4, &seen, 4, &f->err));
	ck_assert_uint_eq(seen, 77);

	REFUSED(VFD_ERESERVED, vfd_device_map(f->device, 1, PAGE, PAGE, &none, &f->err)); /* in the gap */
	REFUSED(VFD_ERESERVED, vfd_device_map(f->device, 1, 0, 3 * PAGE, &none, &f->err));
	REFUSED(VFD_ERESERVED, vfd_device_map(f->device, 0, 2 * PAGE, PAGE, &none, &f->err));
	REFUSED(VFD_ERESERVED, vfd_device_map(f->device, 0, UINT64_MAX - PAGE + 1, PAGE, &none, &f->err));
	REFUSED(VFD_EALIGN, vfd_device_map(f->device, 0, 8, PAGE, &none, &f->err));
	REFUSED(VFD_EINVALID, vfd_device_map(f->device, 0, 0, 0, &none, &f->err));
	REFUSED(VFD_EINVALID, vfd_device_unmap(f->device, &seen, &f->err));
	ck_assert_uint_eq(model_counts(f->model).areas, 2);
	OK(vfd_device_unmap(f->device, whole, &f->err));
	REFUSED(VFD_EINVALID, vfd_device_unmap(f->device, whole, &f->err)); /* twice */
	ck_assert_uint_eq(model_counts(f->model).areas, 1);
	OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err)); /* takes the other one along */
	ck_assert_uint_eq(model_counts(f->model).areas, 0);
	fixture_end(f);
}
END_TEST

START_TEST(access_out_of_bounds)
{
	char data[16] = { 0 };

	fixture_track(f, NULL);
	REFUSED(VFD_EINVALID, vfd_device_read(f->device, 0, VFDTEST_REGION0_SIZE, data, 1, &f->err));
	REFUSED(VFD_EINVALID, vfd_device_read(f->device, 0, VFDTEST_REGION0_SIZE - 8, data, 16, &f->err));
	REFUSED(VFD_EINVALID, vfd_device_write(f->device, 0, UINT64_MAX, data, 2, &f->err));
	REFUSED(VFD_EINVALID, vfd_device_write(f->device, 0, 0, data, 0, &f->err));
	REFUSED(VFD_EINVALID, vfd_device_read(f->device, 0, 0, NULL, 4, &f->err));
	REFUSED(-EINVAL, vfd_device_read(f->device, 5, 0, data, 4, &f->err));
	model_fault(f->model, (struct model_fault){ .call = MODEL_PREAD, .step = 1 });
	REFUSED(-EIO, vfd_device_read(f->device, 0, 0, data, 16, &f->err)); /* half of it is an error */
	model_fault(f->model, (struct model_fault){ .call = MODEL_PWRITE, .step = 1 });
	REFUSED(-EIO, vfd_device_write(f->device, 0, 0, data, 16, &f->err));
	fixture_end(f);
}
END_TEST

/* ---- interrupts ---- */

START_TEST(interrupts)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	uint64_t fired = 0;

	fixture_track(f, NULL);
	OK(vfd_device_irq_enable(f->device, 0, 0, &fd, 1, &f->err));
	ck_assert_uint_eq(model_counts(f->model).triggers, 1);
	ck_assert_int_eq(model_irq(f->model, NAME(0), 0, 0), 0);
	ck_assert_int_eq(read(fd, &fired, sizeof fired), sizeof fired);
	ck_assert_uint_eq(fired, 1);
	REFUSED(VFD_EINVALID, vfd_device_irq_enable(f->device, 0, 0, NULL, 1, &f->err));
	REFUSED(VFD_EINVALID, vfd_device_irq_enable(f->device, 0, 0, &fd, 0, &f->err));
	REFUSED(VFD_EINVALID, vfd_device_irq_enable(f->device, 0, UINT32_MAX, &fd, 1, &f->err));
	REFUSED(VFD_EINVALID, vfd_device_irq_unmask(f->device, 0, 0, 5000, &f->err));
	REFUSED(-EINVAL, vfd_device_irq_enable(f->device, 99, 0, &fd, 1, &f->err));
	OK(vfd_device_irq_disable(f->device, 0, &f->err));
	ck_assert_uint_eq(model_counts(f->model).triggers, 0);
	ck_assert_int_eq(model_irq(f->model, NAME(0), 0, 0), -ENOTCONN);
	OK(vfd_device_irq_enable(f->device, 0, 0, &fd, 1, &f->err));
	OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err)); /* off before the descriptor goes */
	ck_assert_uint_eq(model_counts(f->model).triggers, 0);
	ck_assert_int_ge(fcntl(fd, F_GETFD), 0); /* still the caller's */
	close(fd);
	fixture_end(f);
}
END_TEST

START_TEST(pci_interrupts)
{
	int fds[2] = { eventfd(0, EFD_NONBLOCK), -1 };

	fixture_track(f, &emulated_pci);
	OK(vfd_device_irq_enable(f->device, VFIO_PCI_MSIX_IRQ_INDEX, 0, fds, 2, &f->err));
	ck_assert_int_eq(model_irq(f->model, PCI_NAME, VFIO_PCI_MSIX_IRQ_INDEX, 0), 0);
	ck_assert_int_eq(model_irq(f->model, PCI_NAME, VFIO_PCI_MSIX_IRQ_INDEX, 1), -ENOTCONN);
	OK(vfd_device_irq_enable(f->device, VFIO_PCI_INTX_IRQ_INDEX, 0, fds, 1, &f->err));
	OK(vfd_device_irq_unmask(f->device, VFIO_PCI_INTX_IRQ_INDEX, 0, 1, &f->err));
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	ck_assert_uint_eq(model_counts(f->model).triggers, 0);
	close(fds[0]);
	fixture_end(f);
}
END_TEST

/* ---- able to write, or not ---- */

static uint16_t command_register(void)
{
	uint16_t command;

	OK(vfd_device_read(f->device, CONFIG, COMMAND, &command, 2, &f->err));
	return le16toh(command);
}

static void check_drained(unsigned drained)
{
	ck_assert_uint_eq(info_of(f).drained, drained);
	ck_assert_uint_eq(info_of(f).writers, !drained);
	if (!drained)
		REFUSED(VFD_EDIRTY, vfd_track_stop(f->container, 0, &f->err));
}

START_TEST(bus_mastering)
{
	uint16_t on;

	fixture_track(f, &emulated_pci);
	OK(vfd_device_resume(f->device, &f->err));
	ck_assert_uint_eq(command_register() & MASTER, MASTER);
	device_writes(f, 0, 9, 1);
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(vfd_device_quiesce(f->device, &f->err)); /* idempotent */
	ck_assert_uint_eq(command_register() & MASTER, 0);
	OK(harvest(f, 0));
	check_precise(f);
	check_drained(1);

	/* behind the library's back, but through its window */
	on = htole16((uint16_t)(command_register() | MASTER));
	OK(vfd_device_write(f->device, CONFIG, COMMAND, &on, 2, &f->err));
	check_drained(0);
	device_writes(f, 0, 10, 1);
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(harvest(f, 0));
	check_drained(1);
	check_precise(f);

	/* other registers, and this one without the bit, change nothing for good */
	uint16_t other = (uint16_t)(command_register() | 0x2);
	uint8_t line = 5;
	OK(vfd_device_write(f->device, CONFIG, 0x3c, &line, 1, &f->err));
	check_drained(1);
	OK(vfd_device_write(f->device, 0, 0, &line, 1, &f->err));
	check_drained(1);
	OK(vfd_device_write(f->device, CONFIG, COMMAND, &other, 2, &f->err));
	ck_assert_uint_eq(info_of(f).writers, 0);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	fixture_end(f);
}
END_TEST

static void set_power(uint8_t state)
{
	OK(vfd_device_write(f->device, CONFIG, 0x44, &state, 1, &f->err));
}

/* Quiesced while it slept: vfio-pci then brings back what was on when it fell asleep, and what it writes is nowhere recorded. */
START_TEST(woken_with_its_bus_master)
{
	fixture_begin(f, &one_physical);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	OK(map_pages(f, 0, 0, PAGES, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(vfd_device_resume(f->device, &f->err));
	set_power(3);
	OK(vfd_device_quiesce(f->device, &f->err));
	ck_assert_uint_eq(command_register() & MASTER, 0);
	OK(harvest(f, VFD_HARVEST_FINAL));
	check_drained(1);
	forget_log(f);
	set_power(0);
	ck_assert_uint_eq(command_register() & MASTER, MASTER);
	ck_assert_int_eq(model_dma_write(f->model, PCI_NAME, 10 * PAGE, PAGE, 1), 0);
	if (vfd_track_stop(f->container, 0, &f->err) == VFD_EDIRTY)
		OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	check_device_logged(f, PCI_NAME);
	fixture_end(f);
}
END_TEST

/* A bit that cannot be turned off is no quiescence: then reset; and if there is none, say so. */
START_TEST(bus_master_bit_is_stuck)
{
	fixture_track(f, &emulated_pci);
	OK(vfd_device_resume(f->device, &f->err));
	model_fault(f->model, (struct model_fault){ .call = MODEL_PWRITE, .error = EIO });
	OK(vfd_device_quiesce(f->device, &f->err)); /* by reset */
	OK(harvest(f, 0));
	check_drained(1);
	OK(vfd_device_resume(f->device, &f->err));
	model_fault(f->model, (struct model_fault){ .call = MODEL_PWRITE, .error = EIO });
	model_fault(f->model,
		    (struct model_fault){ .call = MODEL_IOCTL, .request = VFIO_DEVICE_RESET, .error = EIO });
	REFUSED(-EIO, vfd_device_quiesce(f->device, &f->err));
	OK(harvest(f, 0));
	check_drained(0);
	fixture_end(f);
}
END_TEST

START_TEST(reset_only)
{
	uint32_t poke = 1;

	fixture_track(f, NULL);
	device_writes(f, 0, 3, 1);
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(harvest(f, 0));
	check_drained(1);
	OK(vfd_device_write(f->device, 0, 0, &poke, 4, &f->err)); /* its registers wake it */
	check_drained(0);
	device_writes(f, 0, 4, 1);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	check_precise(f);
	fixture_end(f);
}
END_TEST

START_TEST(reset_counts_as_able)
{
	fixture_track(f, NULL);
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(harvest(f, 0));
	check_drained(1);
	OK(vfd_device_reset(f->device, &f->err));
	check_drained(0);
	fixture_end(f);
}
END_TEST

START_TEST(neither_nor)
{
	fixture_track(f, &stubborn);
	REFUSED(VFD_EUNSUPPORTED, vfd_device_quiesce(f->device, &f->err));
	REFUSED(VFD_EUNSUPPORTED, vfd_device_reset(f->device, &f->err));
	device_writes(f, 0, 3, 1);
	OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err)); /* closed is quiet too */
	check_precise(f);
	OK(vfd_group_detach(&f->group, 0, &f->err));
	fixture_end(f);
}
END_TEST

/* A detach that failed has closed it: the handle says so, and is still to be given back. */
START_TEST(closed_by_a_detach)
{
	struct vfd_device_info info_struct = { .struct_size = sizeof info_struct };
	struct vfd_device_region region = { .struct_size = sizeof region };
	void *memory;
	int fd = 0;
	char byte = 0;

	fixture_track(f, NULL);
	ck_assert_int_eq(model_hold(f->model, NAME(0)), 0);
	REFUSED(-EBUSY, vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	ck_assert_int_eq(vfd_device_fd(f->device), -1);
	REFUSED(VFD_ESTATE, vfd_device_info(f->device, &info_struct, &f->err));
	REFUSED(VFD_ESTATE, vfd_device_region_info(f->device, 0, &region, &f->err));
	REFUSED(VFD_ESTATE, vfd_device_map(f->device, 0, 0, PAGE, &memory, &f->err));
	REFUSED(VFD_ESTATE, vfd_device_unmap(f->device, &byte, &f->err));
	REFUSED(VFD_ESTATE, vfd_device_read(f->device, 0, 0, &byte, 1, &f->err));
	REFUSED(VFD_ESTATE, vfd_device_write(f->device, 0, 0, &byte, 1, &f->err));
	REFUSED(VFD_ESTATE, vfd_device_irq_enable(f->device, 0, 0, &fd, 1, &f->err));
	REFUSED(VFD_ESTATE, vfd_device_irq_unmask(f->device, 0, 0, 1, &f->err));
	REFUSED(VFD_ESTATE, vfd_device_irq_disable(f->device, 0, &f->err));
	REFUSED(VFD_ESTATE, vfd_device_reset(f->device, &f->err));
	REFUSED(VFD_ESTATE, vfd_device_quiesce(f->device, &f->err));
	REFUSED(VFD_ESTATE, vfd_device_resume(f->device, &f->err));
	OK(vfd_device_open(f->group, NAME(0), &f->device2, &f->err)); /* it may come back */
	OK(vfd_device_close(&f->device, 0, &f->err));
	OK(vfd_device_close(&f->device2, VFD_COLLECT, &f->err));
	model_release(f->model, NAME(0));
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	fixture_end(f);
}
END_TEST

START_TEST(found_by_name)
{
	fixture_begin(f, &mixed);
	OK(vfd_group_attach_device(f->container, PCI_NAME, &f->group, &f->err));
	ck_assert_int_eq(vfd_group_number(f->group), 20);
	REFUSED(-ENOENT, vfd_group_attach_device(f->container, "0000:ff:00.0", &f->group2, &f->err));
	REFUSED(VFD_EINVALID, vfd_group_attach_device(f->container, "../../x", &f->group2, &f->err));
	REFUSED(VFD_EINVALID, vfd_group_attach_device(f->container, "", &f->group2, &f->err));
	fixture_end(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("device");

	add_case(suite, "info", device_info);
	add_case(suite, "regions", regions);
	add_case(suite, "mapped areas", mapped_areas);
	add_case(suite, "access out of bounds", access_out_of_bounds);
	add_case(suite, "interrupts", interrupts);
	add_case(suite, "interrupts of a PCI device", pci_interrupts);
	add_case(suite, "bus mastering", bus_mastering);
	add_case(suite, "woken with its bus master bit", woken_with_its_bus_master);
	add_case(suite, "a stuck bus master bit", bus_master_bit_is_stuck);
	add_case(suite, "quiet by reset only", reset_only);
	add_case(suite, "a reset is no quiescence", reset_counts_as_able);
	add_case(suite, "neither bus mastering nor reset", neither_nor);
	add_case(suite, "closed by a detach", closed_by_a_detach);
	add_case(suite, "found by name", found_by_name);
	return run_suite(suite);
}
