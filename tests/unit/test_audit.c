/* SPDX-License-Identifier: MIT */

/* The audit accuses who writes behind the driver's back, and nobody else, at whatever moment it happens. */

#include "fixture.h"

#include <endian.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/userfaultfd.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "uapi.h"

#define LOGS "0000:00:02.0"

static struct fixture fixture, *f = &fixture;
static struct vfd_pinset *set;
static struct vfd_audit *audit;
static struct vfd_audit_finding found[64];
static struct vfd_audit_result result;

/* ---- what happens to memory ---- */

static uint64_t value;

static void store(uint64_t page)
{
	value++;
	ck_assert_int_eq(model_store(f->model, f->memory + page * PAGE + 8 * (value % 512), &value, 8), 0);
}

/* The device writes; mapped is where map_pages() mapped it. */
static void dma(uint64_t mapped)
{
	ck_assert_int_eq(model_dma_write(f->model, PCI_NAME, mapped * PAGE, 64, ++value), 0);
}

static struct vfd_pin pin(uint64_t page)
{
	struct vfd_pin pin;

	OK(vfd_pin(set, f->memory + page * PAGE, 64, VFD_PIN_WRITE, &pin, &f->err));
	return pin;
}

static void unpin(struct vfd_pin *held)
{
	OK(vfd_unpin(set, held, 1, &f->err));
}

static void mark(uint64_t page)
{
	OK(vfd_log_mark(f->log, LOG_ADDRESS + page * PAGE, PAGE, &f->err));
}

/* ---- the audit ---- */

/* Bytes that were found. */
static uint64_t look(unsigned flags)
{
	result = (struct vfd_audit_result){ .struct_size = sizeof result };
	OK(vfd_audit_check(audit, flags, found, sizeof found / sizeof found[0], &result, &f->err));
	return result.found_bytes;
}

static void nothing_found(const char *when)
{
	for (int i = 0; i < 3; i++)
		ck_assert_msg(!look(0), "%s: page %ld is accused", when,
			      ((char *)found[0].memory - f->memory) / (long)PAGE);
}

static void master_on(struct vfd_device *device)
{
	uint16_t command = htole16(PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);

	OK(vfd_device_write(device, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2, &f->err));
}

static void open_device(const struct model_config *config)
{
	fixture_begin(f, config);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	OK(vfd_device_pins_all(f->device, &f->err));
	OK(vfd_pinset_create(f->container, NULL, &set, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	master_on(f->device);
}

/* `pages` are mapped at IOVA 0, and audited. */
static void begin(uint64_t pages)
{
	open_device(&one_physical);
	OK(map_pages(f, 0, 0, pages, RW));
	OK(vfd_audit_create(f->container, 0, &audit, &f->err));
}

static void end(void)
{
	OK(vfd_audit_destroy(&audit, &f->err));
	ck_assert_ptr_null(audit);
	ck_assert_uint_eq(model_registered(f->model, false), 0);
	fixture_end(f);
}

START_TEST(finds_what_nobody_pinned)
{
	begin(512);
	dma(7);
	ck_assert_uint_eq(look(0), 0); /* somebody may still mark it */
	ck_assert_uint_eq(result.changed_bytes, PAGE);
	ck_assert_uint_eq(look(0), PAGE);
	ck_assert_uint_eq(result.count, 1);
	ck_assert_uint_eq(result.audited_bytes, 512 * PAGE);
	ck_assert_uint_eq(result.judged_bytes, 512 * PAGE);
	ck_assert_ptr_eq(found[0].memory, f->memory + 7 * PAGE);
	ck_assert_uint_eq(found[0].iova, 7 * PAGE);
	ck_assert_uint_eq(found[0].log_address, LOG_ADDRESS + 7 * PAGE);
	ck_assert_uint_eq(found[0].size, PAGE);
	nothing_found("told already");
	dma(7);
	ck_assert_uint_eq(look(VFD_AUDIT_FINAL), PAGE);
	nothing_found("told at once");
	end();
}
END_TEST

START_TEST(pinned_is_fine)
{
	begin(512);
	for (uint64_t page = 0; page < 512; page += 3) {
		struct vfd_pin held = pin(page);
		dma(page);
		unpin(&held);
	}
	nothing_found("pinned, written, unpinned");
	struct vfd_pin held = pin(9);
	for (int i = 0; i < 4; i++) {
		dma(9);
		ck_assert_uint_eq(look(VFD_AUDIT_FINAL), 0);
	}
	dma(9);
	unpin(&held);
	nothing_found("pinned for long");
	OK(vfd_pin(set, f->memory + 9 * PAGE, 64, VFD_PIN_READ, &held, &f->err));
	dma(9);
	ck_assert_uint_eq(look(VFD_AUDIT_FINAL), PAGE); /* it promised to read only */
	unpin(&held);
	end();
}
END_TEST

START_TEST(stores_are_fine)
{
	begin(512);
	for (uint64_t i = 1; i <= 10000; i++) {
		store(i * 2654435761u % 512);
		if (i % 1000 == 0)
			ck_assert_uint_eq(look(i % 2000 ? 0 : VFD_AUDIT_FINAL), 0);
	}
	nothing_found("10 000 stores");
	ck_assert_uint_eq(result.judged_bytes, 512 * PAGE); /* quiet again */
	dma(3);
	ck_assert_uint_eq(look(VFD_AUDIT_FINAL), PAGE);
	end();
}
END_TEST

START_TEST(marked_at_completion)
{
	begin(64);
	dma(5);
	ck_assert_uint_eq(look(0), 0);
	mark(5);
	nothing_found("marked before the next check");
	dma(5);
	mark(5);
	nothing_found("marked before the check");
	end();
}
END_TEST

/* ---- beside a device that the kernel records ---- */

static struct model_log how;
static const struct model_config beside_a_log = {
	.group_count = 2,
	.groups = { { .number = 20,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = PCI_NAME, .pci = true } } },
		    { .number = 21,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = LOGS, .pci = true, .log = &how } } } },
};

static void begin_beside_a_log(void)
{
	open_device(&beside_a_log);
	OK(vfd_group_attach(f->container, 21, &f->group2, &f->err));
	OK(vfd_device_open(f->group2, LOGS, &f->device2, &f->err));
	master_on(f->device2);
	OK(map_pages(f, 0, 0, 64, RW));
	OK(vfd_audit_create(f->container, 0, &audit, &f->err));
	OK(harvest(f, 0));
}

START_TEST(what_the_kernel_recorded_is_fine)
{
	begin_beside_a_log();
	ck_assert_int_eq(model_dma_write(f->model, LOGS, 5 * PAGE, 64, ++value), 0);
	nothing_found("recorded, not harvested");
	OK(harvest(f, 0));
	nothing_found("recorded, and harvested");
	ck_assert_int_eq(model_dma_write(f->model, LOGS, 5 * PAGE, 64, ++value), 0);
	ck_assert_uint_eq(look(0), 0);
	OK(harvest(f, 0));
	nothing_found("harvested between two looks");
	end();
}
END_TEST

/* A harvest that began before the change was seen says nothing of it. */
START_TEST(found_by_the_harvest)
{
	begin_beside_a_log();
	OK(harvest(f, 0));
	dma(7);
	nothing_found("no harvest since");
	dma(9);
	nothing_found("nor now");
	OK(harvest(f, 0));
	ck_assert_uint_eq(look(0), 2 * PAGE);
	nothing_found("told already");
	dma(7);
	OK(harvest(f, 0));
	ck_assert_uint_eq(look(VFD_AUDIT_FINAL), PAGE);
	end();
}
END_TEST

/* ---- at every moment ---- */

enum { FEW = 96 }; /* pages: two reads */

static struct {
	void (*first)(uint64_t page), (*second)(uint64_t page);
	unsigned first_at, second_at; /* moments, from 1; 0: not any more */
	unsigned moment;
	uint64_t page;
	struct vfd_pin held;
} play;

/* A moment is before, or after, a system call of the audit. */
static void at_moment(struct model *model, const struct model_trace *call, uint64_t number, bool after,
		      void *argument)
{
	(void)model, (void)call, (void)number, (void)after, (void)argument;
	play.moment++;
	if (play.moment == play.first_at)
		play.first(play.page);
	if (play.moment == play.second_at && play.second)
		play.second(play.page);
}

static void take_pin(uint64_t page)
{
	play.held = pin(page);
}

static void pin_and_write(uint64_t page)
{
	take_pin(page);
	dma(page);
}

static void write_and_unpin(uint64_t page)
{
	dma(page);
	unpin(&play.held);
}

static void drop_pin(uint64_t page)
{
	(void)page;
	unpin(&play.held);
}

static void all_at_once(uint64_t page)
{
	pin_and_write(page);
	drop_pin(page);
}

static void store_twice(uint64_t page)
{
	store(page);
	store(page);
}

static const struct action {
	const char *name;
	void (*first)(uint64_t page), (*second)(uint64_t page);
	uint64_t accused; /* pages, by two checks and the two after them */
} actions[] = {
	{ "store", store, NULL, 0 },
	{ "store and store", store, store_twice, 0 },
	{ "pin, write, unpin", all_at_once, NULL, 0 },
	{ "pin; write, unpin", take_pin, write_and_unpin, 0 },
	{ "pin, write; unpin", pin_and_write, drop_pin, 0 },
	{ "pin, write; write, unpin", pin_and_write, write_and_unpin, 0 },
	{ "write; mark", dma, mark, 0 },
	{ "store; pin, write, unpin", store, all_at_once, 0 },
	{ "write", dma, NULL, 1 },
};

/* Odd pages are quiet; the stores to the others cut what the kernel tells into many parts. */
static uint64_t two_checks(const struct action *a, uint64_t page, unsigned first_at, unsigned second_at)
{
	uint64_t accused;

	play.first = a->first;
	play.second = a->second;
	play.page = page;
	play.first_at = first_at;
	play.second_at = second_at;
	play.moment = 0;
	for (uint64_t even = 0; even < FEW; even += 2)
		store(even);
	model_on_call(f->model, at_moment, NULL);
	accused = look(0) + look(0);
	model_on_call(f->model, NULL, NULL);
	accused += look(0);
	ck_assert_msg(!accused || found[0].memory == f->memory + page * PAGE || !result.count,
		      "%s: another page is accused", a->name);
	return (accused + look(0)) / PAGE;
}

START_TEST(at_every_moment)
{
	const struct action *a = &actions[_i];
	uint64_t pages[] = { 1, 71 }; /* of the first read, and of the second */
	unsigned moments;

	begin(FEW);
	two_checks(a, 1, 0, 0);
	moments = play.moment;
	ck_assert_uint_ge(moments, 14); /* the first check reads twice and asks twice, the other asks once */
	for (unsigned first = 1; first <= moments; first++)
		for (unsigned second = first; second <= moments; second += a->second ? 1 : moments) {
			uint64_t page = pages[(first + second) % 2];
			ck_assert_msg(two_checks(a, page, first, second) == a->accused,
				      "%s at moments %u and %u of %u, page %lu: not %lu pages accused",
				      a->name, first, second, moments, (unsigned long)page,
				      (unsigned long)a->accused);
		}
	end();
}
END_TEST

/* ---- mappings ---- */

START_TEST(neighbours_are_one)
{
	begin(16);
	OK(map_pages(f, 16, 16, 16, RW)); /* goes on in all three worlds */
	OK(map_pages(f, 64, 32, 16, RW)); /* elsewhere in IOVA */
	nothing_found("just mapped");
	dma(14);
	dma(15);
	dma(16);
	dma(64);
	ck_assert_uint_eq(look(VFD_AUDIT_FINAL), 4 * PAGE);
	ck_assert_uint_eq(result.count, 2);
	ck_assert_uint_eq(found[0].iova, 14 * PAGE);
	ck_assert_uint_eq(found[0].size, 3 * PAGE);
	ck_assert_uint_eq(found[1].iova, 64 * PAGE);
	ck_assert_uint_eq(found[1].log_address, LOG_ADDRESS + 32 * PAGE);
	ck_assert_uint_eq(result.audited_bytes, 48 * PAGE);
	end();
}
END_TEST

/* Memory that is mapped three times is looked at once, and a write through any of them is seen; a pin through any of them counts. */
START_TEST(aliases_are_one)
{
	begin(16);
	OK(map_pages(f, 100, 0, 16, RW));
	OK(map_pages(f, 200, 8, 16, RW));
	nothing_found("just mapped");
	ck_assert_uint_eq(result.audited_bytes, 24 * PAGE);
	dma(100 + 3);
	dma(200 + 2);
	dma(200 + 12);
	ck_assert_uint_eq(look(VFD_AUDIT_FINAL), 3 * PAGE);
	ck_assert_ptr_eq(found[0].memory, f->memory + 3 * PAGE);
	ck_assert_ptr_eq(found[1].memory, f->memory + 10 * PAGE);
	ck_assert_ptr_eq(found[2].memory, f->memory + 20 * PAGE);
	ck_assert_uint_eq(found[2].log_address, LOG_ADDRESS + 20 * PAGE);
	struct vfd_pin held;
	OK(vfd_pin_iova(set, 200 * PAGE, PAGE, VFD_PIN_WRITE, &held, &f->err));
	for (int i = 0; i < 4; i++) {
		dma(8);
		ck_assert_uint_eq(look(VFD_AUDIT_FINAL), 0);
	}
	unpin(&held);
	end();
}
END_TEST

/* Memory in any order of IOVA */
START_TEST(in_any_order)
{
	begin(8);
	for (uint64_t i = 1; i < 32; i++)
		OK(map_pages(f, (i * 11 % 32) * 16, i * 8, 8, RW));
	nothing_found("just mapped");
	ck_assert_uint_eq(result.audited_bytes, 32 * 8 * PAGE);
	for (uint64_t i = 0; i < 32; i++)
		dma(i * 16 + 5);
	ck_assert_uint_eq(look(VFD_AUDIT_FINAL), 32 * PAGE);
	for (uint64_t i = 0; i < 32; i++) {
		ck_assert_ptr_eq(found[i].memory, f->memory + (i * 8 + 5) * PAGE);
		ck_assert_uint_eq(found[i].iova, ((i * 11 % 32) * 16 + 5) * PAGE);
	}
	struct vfd_pin held = pin(13 * 8 + 5);
	for (int i = 0; i < 4; i++) {
		dma(13 * 11 % 32 * 16 + 5);
		ck_assert_uint_eq(look(VFD_AUDIT_FINAL), 0);
	}
	unpin(&held);
	end();
}
END_TEST

START_TEST(mappings_come_and_go)
{
	begin(64);
	dma(3);
	OK(unmap_pages(f, 0, 64));
	ck_assert_uint_eq(look(VFD_AUDIT_FINAL), 0); /* too late */
	ck_assert_uint_eq(result.audited_bytes, 0);
	ck_assert_uint_eq(model_registered(f->model, false), 0);
	OK(map_pages(f, 0, 0, 32, RW));
	OK(map_pages(f, 40, 40, 8, VFD_MAP_READ)); /* cannot be written */
	dma(3);
	nothing_found("new mappings are excused");
	ck_assert_uint_eq(result.audited_bytes, 32 * PAGE);
	ck_assert_uint_eq(result.judged_bytes, 32 * PAGE);
	dma(3);
	ck_assert_uint_eq(look(0), 0);
	OK(map_pages(f, 32, 32, 8, RW)); /* the area grows, what is known of it stays */
	ck_assert_uint_eq(look(0), PAGE);
	OK(unmap_pages(f, 32, 8));
	dma(3);
	ck_assert_uint_eq(look(VFD_AUDIT_FINAL), PAGE);
	ck_assert_uint_eq(model_registered(f->model, false), 32);
	end();
}
END_TEST

/* What is known of those around it stays where it is. */
START_TEST(a_mapping_between_others)
{
	open_device(&one_physical);
	OK(map_pages(f, 0, 0, 8, RW));
	OK(map_pages(f, 100, 100, 8, RW));
	OK(vfd_audit_create(f->container, 0, &audit, &f->err));
	dma(3);
	dma(104);
	ck_assert_uint_eq(look(0), 0);
	OK(map_pages(f, 50, 50, 8, RW));
	ck_assert_uint_eq(look(0), 2 * PAGE);
	ck_assert_uint_eq(result.audited_bytes, 24 * PAGE);
	end();
}
END_TEST

/* Neighbours in IOVA and in memory, but not in the log: what is found has the address of its own region. */
START_TEST(neighbours_in_two_regions)
{
	enum { HALF = 8 };
	char *memory =
		mmap(NULL, 2 * HALF * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	open_device(&one_physical);
	for (uint64_t i = 0; i < 2; i++) {
		const struct vfd_region region = { .struct_size = sizeof region,
						   .address = LOG_ADDRESS + (4 - i) * PAGES * PAGE,
						   .size = HALF * PAGE,
						   .memory = memory + i * HALF * PAGE };
		const struct vfd_mapping mapping = { .struct_size = sizeof mapping,
						     .flags = RW,
						     .iova = i * HALF * PAGE,
						     .size = HALF * PAGE,
						     .memory = region.memory };
		OK(vfd_region_add(f->log, &region, &f->err));
		OK(vfd_map(f->container, &mapping, &f->err));
	}
	OK(vfd_audit_create(f->container, 0, &audit, &f->err));
	dma(HALF - 1);
	dma(HALF);
	ck_assert_uint_eq(look(VFD_AUDIT_FINAL), 2 * PAGE);
	ck_assert_uint_eq(result.count, 2);
	ck_assert_uint_eq(found[0].log_address, LOG_ADDRESS + (4 * PAGES + HALF - 1) * PAGE);
	ck_assert_uint_eq(found[1].log_address, LOG_ADDRESS + 3 * PAGES * PAGE);
	end();
	munmap(memory, 2 * HALF * PAGE);
}
END_TEST

/* Without room nothing is lost. */
START_TEST(more_than_there_is_room_for)
{
	begin(64);
	for (uint64_t page = 0; page < 10; page++)
		dma(page * 2);
	result = (struct vfd_audit_result){ .struct_size = sizeof result };
	OK(vfd_audit_check(audit, VFD_AUDIT_FINAL, found, 4, &result, &f->err));
	ck_assert_uint_eq(result.count, 4);
	ck_assert_uint_eq(result.more_bytes, 6 * PAGE);
	for (uint64_t page = 0; page < 20; page++) /* no excuse any more */
		mark(page);
	OK(vfd_audit_check(audit, 0, NULL, 0, &result, &f->err));
	ck_assert_uint_eq(result.more_bytes, 6 * PAGE);
	ck_assert_uint_eq(look(0), 6 * PAGE);
	ck_assert_uint_eq(found[0].iova, 8 * PAGE);
	nothing_found("all told");
	end();
}
END_TEST

/* Memory that its owner takes away, mapped all the same, is no reason to crash, nor to accuse. */
START_TEST(memory_that_is_gone)
{
	begin(200);
	dma(150);
	munmap(f->memory + 64 * PAGE, 64 * PAGE);
	ck_assert_uint_eq(look(0), 0);
	ck_assert_uint_eq(result.judged_bytes, 136 * PAGE);
	ck_assert_uint_eq(look(0), PAGE);
	ck_assert_uint_eq(found[0].iova, 150 * PAGE);
	ck_assert_ptr_eq(mmap(f->memory + 64 * PAGE, 64 * PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 f->memory + 64 * PAGE);
	end();
}
END_TEST

/* ---- the log ---- */

static void with_pages_of(uint64_t page_size, uint64_t smallest)
{
	struct vfd_log_options options = { .struct_size = sizeof options, .page_size = page_size };
	struct vfd_container_options with = { .struct_size = sizeof with, .flags = VFD_FIND_MEMORY };
	struct vfd_region region = { .struct_size = sizeof region, .size = PAGES * PAGE };

	fixture_begin(f, &one_physical);
	OK(vfd_container_close(&f->container, 0, &f->err));
	OK(vfd_log_destroy(&f->log, 0, &f->err));
	region.memory = f->memory;
	OK(vfd_log_create(&options, &f->log, &f->err));
	OK(vfd_region_add(f->log, &region, &f->err));
	with.log = f->log;
	OK(container_open_on(&f->model->sys, &with, &f->container, &f->err));
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	OK(vfd_pinset_create(f->container, NULL, &set, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	master_on(f->device);
	OK(map_pages(f, 0, 0, PAGES, RW));
	OK(vfd_audit_create(f->container, 0, &audit, &f->err));
	struct vfd_pin held = pin(4);
	dma(4);
	unpin(&held);
	nothing_found("pinned");
	held = pin(4);
	ck_assert_int_eq(model_dma_write(f->model, PCI_NAME, 4 * PAGE + 2048, 8, 1), 0);
	ck_assert_int_eq(model_dma_write(f->model, PCI_NAME, 40 * PAGE, 8, 1), 0);
	unpin(&held);
	ck_assert_uint_eq(look(VFD_AUDIT_FINAL), page_size < PAGE ? 2 * smallest : smallest);
	end();
}

/* What was pinned is known as finely as the log knows it. */
START_TEST(page_sizes_of_the_log)
{
	with_pages_of(512, 512);
	with_pages_of(65536, PAGE);
}
END_TEST

/* What the audit has not looked at yet holds up nobody. */
START_TEST(regions_may_go)
{
	begin(64);
	mark(3);
	OK(unmap_pages(f, 0, 64));
	forget_log(f);
	OK(vfd_region_remove(f->log, LOG_ADDRESS, 0, &f->err));
	nothing_found("nothing is there");
	OK(vfd_audit_destroy(&audit, &f->err));
	struct vfd_region again = {
		.struct_size = sizeof again, .address = LOG_ADDRESS, .size = PAGES * PAGE, .memory = f->memory
	};
	struct vfd_consumer *consumer; /* in the place of the audit's: an ordinary one */
	OK(vfd_region_add(f->log, &again, &f->err));
	OK(vfd_consumer_add(f->log, NULL, &consumer, &f->err));
	mark(3);
	forget_log(f);
	REFUSED(VFD_EDIRTY, vfd_region_remove(f->log, LOG_ADDRESS, 0, &f->err));
	fixture_end(f);
}
END_TEST

/* While tracking was off nobody marked anything. */
START_TEST(tracking_stopped_meanwhile)
{
	begin(64);
	nothing_found("quiet");
	OK(vfd_track_stop(f->container, VFD_DISCARD, &f->err));
	REFUSED(VFD_ESTATE, vfd_audit_check(audit, 0, NULL, 0, &result, &f->err));
	struct vfd_pin held = pin(3);
	dma(3);
	unpin(&held);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	nothing_found("pinned while nobody tracked");
	dma(3);
	ck_assert_uint_eq(look(VFD_AUDIT_FINAL), PAGE);
	end();
}
END_TEST

/* ---- refusals ---- */

START_TEST(bad_input)
{
	struct vfd_audit *none = NULL;

	open_device(&one_physical);
	OK(map_pages(f, 0, 0, 64, RW));
	REFUSED(VFD_EINVALID, vfd_audit_create(NULL, 0, &audit, &f->err));
	REFUSED(VFD_EINVALID, vfd_audit_create(f->container, 1, &audit, &f->err));
	REFUSED(VFD_EINVALID, vfd_audit_create(f->container, 0, NULL, &f->err));
	OK(vfd_audit_create(f->container, 0, &audit, &f->err));
	REFUSED(VFD_ESTATE, vfd_audit_create(f->container, 0, &none, &f->err));
	result = (struct vfd_audit_result){ .struct_size = sizeof result };
	REFUSED(VFD_EINVALID, vfd_audit_check(NULL, 0, found, 1, &result, &f->err));
	REFUSED(VFD_EINVALID, vfd_audit_check(audit, 2, found, 1, &result, &f->err));
	REFUSED(VFD_EINVALID, vfd_audit_check(audit, 0, NULL, 1, &result, &f->err));
	REFUSED(VFD_EINVALID, vfd_audit_check(audit, 0, found, 1, NULL, &f->err));
	result.struct_size = 0;
	REFUSED(VFD_EINVALID, vfd_audit_check(audit, 0, found, 1, &result, &f->err));
	REFUSED(VFD_EINVALID, vfd_audit_destroy(&none, &f->err));
	REFUSED(VFD_EINVALID, vfd_audit_destroy(NULL, &f->err));
	nothing_found("untouched");
	end();
}
END_TEST

START_TEST(physical_groups_only)
{
	open_device(&mixed);
	OK(map_pages(f, 0, 0, 64, RW));
	OK(vfd_audit_create(f->container, 0, &audit, &f->err));
	OK(vfd_group_attach(f->container, 7, &f->group2, &f->err));
	result = (struct vfd_audit_result){ .struct_size = sizeof result };
	REFUSED(VFD_EUNSUPPORTED, vfd_audit_check(audit, 0, NULL, 0, &result, &f->err));
	ck_assert_msg(strstr(f->err.message, "group 7"), "%s", f->err.message);
	OK(vfd_audit_destroy(&audit, &f->err));
	REFUSED(VFD_EUNSUPPORTED, vfd_audit_create(f->container, 0, &audit, &f->err));
	fixture_end(f);
}
END_TEST

START_TEST(only_while_tracking)
{
	fixture_begin(f, &one_physical);
	OK(map_pages(f, 0, 0, 64, RW));
	REFUSED(VFD_ESTATE, vfd_audit_create(f->container, 0, &audit, &f->err));
	fixture_end(f);
}
END_TEST

START_TEST(an_identity_log_knows_no_memory)
{
	struct vfd_log_options options = { .struct_size = sizeof options, .flags = VFD_LOG_IDENTITY };
	struct vfd_container_options with = { .struct_size = sizeof with };

	fixture_begin(f, &one_physical);
	OK(vfd_container_close(&f->container, 0, &f->err));
	OK(vfd_log_destroy(&f->log, 0, &f->err));
	OK(vfd_log_create(&options, &f->log, &f->err));
	with.log = f->log;
	OK(container_open_on(&f->model->sys, &with, &f->container, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	REFUSED(VFD_EUNSUPPORTED, vfd_audit_create(f->container, 0, &audit, &f->err));
	fixture_end(f);
}
END_TEST

/* Another userfaultfd is left alone: the kernel would let us end it. */
START_TEST(memory_of_someone_else)
{
	begin(64);
	nothing_found("quiet");
	model_register(f->model, f->memory + 80 * PAGE, 8 * PAGE);
	OK(map_pages(f, 64, 64, 32, RW));
	OK(map_pages(f, 200, 100, 4, RW));
	result = (struct vfd_audit_result){ .struct_size = sizeof result };
	REFUSED(-EBUSY, vfd_audit_check(audit, 0, found, 1, &result, &f->err));
	ck_assert_uint_eq(f->err.first, 0); /* one area by now */
	ck_assert_uint_eq(model_registered(f->model, true), 8);
	ck_assert_uint_eq(model_registered(f->model, false), 64);
	OK(unmap_pages(f, 64, 32));
	nothing_found("out of the way");
	dma(200);
	ck_assert_uint_eq(look(VFD_AUDIT_FINAL), PAGE);
	OK(vfd_audit_destroy(&audit, &f->err));
	ck_assert_uint_eq(model_registered(f->model, true), 8);
	fixture_end(f);
}
END_TEST

/* ---- faults ---- */

static void refused_by(struct model_fault fault, int code)
{
	model_fault(f->model, fault);
	REFUSED(code, vfd_audit_create(f->container, 0, &audit, &f->err));
	ck_assert_ptr_null(f->container->audit);
	ck_assert_uint_eq(model_registered(f->model, false), 0);
}

START_TEST(kernels_that_cannot)
{
	open_device(&one_physical);
	OK(map_pages(f, 0, 0, 64, RW));
	uint64_t open = model_counts(f->model).descriptors;
	refused_by((struct model_fault){ .call = MODEL_USERFAULTFD, .error = ENOSYS }, VFD_EUNSUPPORTED);
	refused_by((struct model_fault){ .call = MODEL_USERFAULTFD, .error = EPERM }, VFD_EUNSUPPORTED);
	refused_by((struct model_fault){ .call = MODEL_USERFAULTFD, .error = EMFILE }, -EMFILE);
	refused_by((struct model_fault){ .call = MODEL_IOCTL, .request = UFFDIO_API, .error = EINVAL },
		   VFD_EUNSUPPORTED);
	ck_assert_msg(strstr(f->err.message, "6.7"), "%s", f->err.message);
	refused_by((struct model_fault){ .call = MODEL_OPEN, .error = EACCES }, -EACCES);
	refused_by((struct model_fault){ .call = MODEL_OPEN, .nth = 2, .error = EACCES }, -EACCES);
	ck_assert_uint_eq(model_counts(f->model).descriptors, open);
	OK(vfd_audit_create(f->container, 0, &audit, &f->err));
	end();
}
END_TEST

/* What happens in the middle of a fault is not judged; what comes after it is. */
static void with_fault(const struct model_fault *fault, uint64_t fired)
{
	char text[128];

	for (uint64_t even = 0; even < FEW; even += 2)
		store(even);
	model_fault(f->model, *fault);
	struct vfd_pin held = pin(5);
	dma(5);
	unpin(&held);
	result = (struct vfd_audit_result){ .struct_size = sizeof result };
	for (int i = 0; i < 2; i++)
		if (!vfd_audit_check(audit, 0, found, 64, &result, &f->err))
			ck_assert_uint_eq(result.found_bytes, 0);
	model_fault_text(f->model, fault, text, sizeof text);
	ck_assert_msg(model_fault_fired(f->model) == fired, "%s: did not fire", text);
	nothing_found(text);
	dma(33);
	dma(94);
	ck_assert_msg(look(VFD_AUDIT_FINAL) == 2 * PAGE, "%s: what came later is not found", text);
}

START_TEST(any_fault)
{
	struct model_fault *faults;

	begin(FEW);
	for (uint64_t even = 0; even < FEW; even += 2)
		store(even);
	model_trace_start(f->model);
	look(0);
	size_t count = model_single_faults(f->model, &faults);
	ck_assert_uint_ge(count, 10);
	for (size_t i = 0; i < count; i++)
		with_fault(&faults[i], i + 1);
	free(faults);
	end();
}
END_TEST

/* What was excused when it was last read, and could not be read since, must not be compared with that later. */
START_TEST(a_page_that_cannot_be_read)
{
	begin(FEW);
	play.first = store;
	play.second = NULL;
	play.page = 64;	   /* the first of the second read */
	play.first_at = 4; /* behind that */
	play.moment = 0;
	model_on_call(f->model, at_moment, NULL);
	ck_assert_uint_eq(look(0), 0);
	model_on_call(f->model, NULL, NULL);
	ck_assert_uint_ge(play.moment, 4);
	ck_assert_uint_eq(result.changed_bytes, 0);
	model_fault(f->model, (struct model_fault){ .call = MODEL_PREAD, .nth = 2, .error = EIO });
	ck_assert_uint_eq(look(0), 0);
	ck_assert_uint_eq(model_fault_fired(f->model), 1);
	ck_assert_uint_eq(result.judged_bytes, (FEW - 1) * PAGE);
	nothing_found("read again");
	end();
}
END_TEST

/* ---- fork, and the end ---- */

static int child(void)
{
	struct vfd_audit *same = audit;
	unsigned before = model_counts(f->model).descriptors;

	result = (struct vfd_audit_result){ .struct_size = sizeof result };
	if (vfd_audit_check(audit, 0, found, 1, &result, &f->err) != VFD_EFORKED ||
	    vfd_audit_destroy(&same, &f->err) != VFD_EFORKED ||
	    vfd_audit_create(f->container, 0, &same, &f->err) != VFD_EFORKED)
		return 1;
	if (vfd_container_release(&f->container, &f->err))
		return 2;
	return before - model_counts(f->model).descriptors == 6 ? 0
								: 3; /* container, group, device; and three */
}

START_TEST(a_child_leaves_it_alone)
{
	int status;

	begin(64);
	pid_t pid = fork();
	if (!pid)
		_exit(child());
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	dma(3);
	ck_assert_uint_eq(look(VFD_AUDIT_FINAL), PAGE);
	end();
}
END_TEST

START_TEST(ends_with_its_container)
{
	begin(64);
	OK(vfd_container_close(&f->container, VFD_DISCARD, &f->err));
	ck_assert_uint_eq(model_registered(f->model, false), 0);
	fixture_end(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("audit");
	TCase *tcase = tcase_create("audit");

	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, finds_what_nobody_pinned);
	tcase_add_test(tcase, pinned_is_fine);
	tcase_add_test(tcase, stores_are_fine);
	tcase_add_test(tcase, marked_at_completion);
	tcase_add_test(tcase, what_the_kernel_recorded_is_fine);
	tcase_add_test(tcase, found_by_the_harvest);
	tcase_add_loop_test(tcase, at_every_moment, 0, (int)(sizeof actions / sizeof actions[0]));
	tcase_add_test(tcase, neighbours_are_one);
	tcase_add_test(tcase, aliases_are_one);
	tcase_add_test(tcase, in_any_order);
	tcase_add_test(tcase, mappings_come_and_go);
	tcase_add_test(tcase, a_mapping_between_others);
	tcase_add_test(tcase, neighbours_in_two_regions);
	tcase_add_test(tcase, more_than_there_is_room_for);
	tcase_add_test(tcase, memory_that_is_gone);
	tcase_add_test(tcase, page_sizes_of_the_log);
	tcase_add_test(tcase, regions_may_go);
	tcase_add_test(tcase, tracking_stopped_meanwhile);
	tcase_add_test(tcase, bad_input);
	tcase_add_test(tcase, physical_groups_only);
	tcase_add_test(tcase, only_while_tracking);
	tcase_add_test(tcase, an_identity_log_knows_no_memory);
	tcase_add_test(tcase, memory_of_someone_else);
	tcase_add_test(tcase, kernels_that_cannot);
	tcase_add_test(tcase, any_fault);
	tcase_add_test(tcase, a_page_that_cannot_be_read);
	tcase_add_test(tcase, ends_with_its_container);
	suite_add_tcase(suite, tcase);
	add_tagged(suite, TAG_FORK, "a child leaves it alone", a_child_leaves_it_alone);
	return run_suite(suite);
}
