/* SPDX-License-Identifier: MIT */

/* Tracking by pins: exact on hardware that cannot report, when every driver pins what its device writes. */

#include "fixture.h"

#include <endian.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <string.h>

#include "../suite.h"

static struct fixture fixture, *f = &fixture;
static struct vfd_pinset *set;

static void master_on(void)
{
	uint16_t command = htole16(PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);

	OK(vfd_device_write(f->device, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2, &f->err));
}

static void open_physical(const struct model_config *config)
{
	fixture_begin(f, config);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	OK(map_pages(f, 0, 0, 512, RW));
	OK(vfd_pinset_create(f->container, NULL, &set, &f->err));
	master_on();
}

static void close_all(void)
{
	OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err));
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	OK(vfd_pinset_destroy(&set, 0, &f->err));
	fixture_end(f);
}

/* The device writes a page of a buffer that was pinned for it. */
static void transfer(uint64_t page)
{
	struct vfd_pin pin;

	OK(vfd_pin(set, f->memory + page * PAGE, PAGE, VFD_PIN_WRITE, &pin, &f->err));
	ck_assert_int_eq(model_dma_write(f->model, PCI_NAME, pin.iova, PAGE, page), 0);
	OK(vfd_unpin(set, &pin, 1, &f->err));
}

static struct vfd_count owed(void)
{
	struct vfd_count count;

	OK(vfd_consumer_count(vfd_log_consumer(f->log), 0, UINT64_MAX, &count, &f->err));
	return count;
}

START_TEST(exact_without_a_record)
{
	struct vfd_cause cause[2];
	size_t causes;

	open_physical(&one_physical);
	OK(vfd_device_pins_all(f->device, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	struct vfd_plan plan = plan_of(f);
	ck_assert_uint_eq(plan.exact, 1);
	ck_assert_uint_eq(plan.deferred_bytes, 0);
	ck_assert_uint_eq(plan.entries[0].source, VFD_SOURCE_PINS);
	char text[512];
	OK(vfd_plan_text(&plan, text, sizeof text, NULL, &f->err));
	ck_assert_msg(strstr(text, "software"), "%s", text);
	for (uint64_t page = 3; page < 500; page += 50)
		transfer(page);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(owed().owed, 10);
	check_law(f);
	OK(vfd_consumer_causes(vfd_log_consumer(f->log), cause, 2, &causes, &f->err));
	ck_assert_uint_eq(causes, 1);
	ck_assert_uint_eq(cause[0].provenance, VFD_SOFTWARE);
	OK(unmap_pages(f, 0, 512)); /* nothing is assumed of what goes either */
	ck_assert_uint_eq(owed().owed, 10);
	close_all();
}
END_TEST

START_TEST(undeclared_is_all_dirty)
{
	open_physical(&one_physical);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	transfer(3);
	OK(harvest(f, 0));
	ck_assert_uint_eq(owed().owed, 1);
	ck_assert_uint_eq(plan_of(f).entries[0].source, VFD_SOURCE_DEFERRED);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(owed().owed, 512);
	close_all();
}
END_TEST

/* What was written before the declaration is not known, and stays owed. */
START_TEST(declared_late)
{
	open_physical(&one_physical);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_int_eq(model_dma_write(f->model, PCI_NAME, 7 * PAGE, PAGE, 1), 0);
	OK(vfd_device_pins_all(f->device, &f->err));
	ck_assert_uint_eq(plan_of(f).deferred_bytes, 512 * PAGE);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(owed().owed, 512);
	check_law(f);
	close_all();
}
END_TEST

/* As long as one driver does not say what it writes nothing is known of the container. */
START_TEST(all_or_none)
{
	open_physical(&mixed);
	OK(vfd_group_attach(f->container, 7, &f->group2, &f->err));
	OK(vfd_device_open(f->group2, NAME(0), &f->device2, &f->err));
	OK(vfd_device_pins_all(f->device, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(plan_of(f).exact, 0);
	ck_assert_uint_eq(plan_of(f).deferred_bytes, 512 * PAGE);
	device_writes(f, 0, 9, 1);
	OK(vfd_device_pins_all(f->device2, &f->err));
	ck_assert_uint_eq(plan_of(f).exact, 1);
	OK(harvest(f, VFD_HARVEST_FINAL)); /* the write came before the declaration */
	ck_assert_uint_eq(owed().owed, 512);
	check_law(f);
	OK(vfd_device_close(&f->device2, VFD_COLLECT, &f->err));
	OK(vfd_device_open(f->group2, NAME(0), &f->device2, &f->err)); /* another driver, who knows which */
	ck_assert_uint_eq(plan_of(f).exact, 0);
	OK(vfd_device_close(&f->device2, VFD_COLLECT, &f->err));
	OK(vfd_group_detach(&f->group2, VFD_COLLECT, &f->err));
	close_all();
}
END_TEST

/* The group that nobody could answer for leaves: what it wrote is owed; the other is exact from then on. */
START_TEST(the_silent_one_leaves)
{
	open_physical(&mixed);
	OK(vfd_device_pins_all(f->device, &f->err));
	OK(vfd_group_attach(f->container, 7, &f->group2, &f->err));
	OK(vfd_device_open(f->group2, NAME(0), &f->device2, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	device_writes(f, 0, 9, 1);
	OK(vfd_device_close(&f->device2, VFD_DISCARD, &f->err));
	OK(vfd_group_detach(&f->group2, VFD_DISCARD, &f->err));
	ck_assert_uint_eq(plan_of(f).exact, 1);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(owed().owed, 512);
	check_law(f);
	close_all();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pins_all");
	TCase *tcase = tcase_create("pins_all");

	tcase_add_test(tcase, exact_without_a_record);
	tcase_add_test(tcase, undeclared_is_all_dirty);
	tcase_add_test(tcase, declared_late);
	tcase_add_test(tcase, all_or_none);
	tcase_add_test(tcase, the_silent_one_leaves);
	suite_add_tcase(suite, tcase);
	return run_all(suite);
}
