/* SPDX-License-Identifier: MIT */

/* Pins: what they refuse, what they mark, and that nothing bad done with them does any harm. */

#include "fixture.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>

#include "../suite.h"

static struct fixture fixture, *f = &fixture;
static struct vfd_pinset *set;
static struct vfd_pin pin, other;

/* A container that finds process addresses; `count` mappings of `size` pages, page i of the memory at IOVA page i + 100 */
static void begin(uint32_t capacity, uint64_t count, uint64_t size)
{
	fixture_begin(f, NULL);
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
	for (uint64_t i = 0; i < count; i++)
		OK(map_pages(f, 100 + i * size, i * size, size, RW));
	struct vfd_pinset_options options = { .struct_size = sizeof options,
					      .capacity = capacity,
					      .name = "queue 3" };
	OK(vfd_pinset_create(f->container, &options, &set, &f->err));
}

static void end(void)
{
	if (set)
		OK(vfd_pinset_destroy(&set, 0, &f->err));
	fixture_end(f);
}

static int pin_pages(uint64_t page, uint64_t count, unsigned flags, struct vfd_pin *out)
{
	return vfd_pin(set, f->memory + page * PAGE, count * PAGE, flags, out, &f->err);
}

static uint64_t owed(void)
{
	struct vfd_count count;

	OK(vfd_consumer_count(vfd_log_consumer(f->log), 0, UINT64_MAX, &count, &f->err));
	return count.owed;
}

static void deliver(void)
{
	struct vfd_batch batch;

	OK(vfd_take(vfd_log_consumer(f->log), 0, UINT64_MAX, UINT64_MAX, &batch, &f->err));
	if (batch.id)
		OK(vfd_commit(vfd_log_consumer(f->log), &batch, 0, UINT64_MAX, &f->err));
	ck_assert_uint_eq(owed(), 0);
}

START_TEST(addresses)
{
	begin(0, 4, 16);
	OK(vfd_pin(set, f->memory + 5 * PAGE + 100, 3000, VFD_PIN_WRITE, &pin, &f->err));
	ck_assert_uint_eq(pin.iova, 105 * PAGE + 100);
	ck_assert_uint_eq(pin.size, 3000);
	ck_assert_ptr_eq(pin.memory, f->memory + 5 * PAGE + 100);
	OK(vfd_pin_iova(set, 163 * PAGE, PAGE, VFD_PIN_READ, &other, &f->err)); /* the last page */
	ck_assert_ptr_eq(other.memory, f->memory + 63 * PAGE);
	ck_assert_uint_eq(vfd_pinset_held(set), 2);
	OK(vfd_unpin(set, &other, 1, &f->err));
	OK(pin_pages(14, 40, VFD_PIN_READ, &other)); /* over mappings that follow each other */
	ck_assert_uint_eq(other.iova, 114 * PAGE);
	OK(vfd_unpin(set, &pin, 1, &f->err));
	OK(vfd_unpin(set, &other, 1, &f->err));
	end();
}
END_TEST

START_TEST(nothing_is_unmapped_under_a_pin)
{
	begin(0, 4, 16);
	OK(pin_pages(20, 1, VFD_PIN_READ, &pin));
	REFUSED(VFD_EPINNED, unmap_pages(f, 116, 16));
	ck_assert(strstr(f->err.message, "queue 3"));
	ck_assert_uint_eq(f->err.first, 120 * PAGE);
	ck_assert_uint_eq(f->err.last, 121 * PAGE - 1);
	REFUSED(VFD_EPINNED, vfd_unmap_all(f->container, &f->err));
	ck_assert_uint_eq(info_of(f).mappings, 4); /* not even those that are not pinned */
	OK(unmap_pages(f, 132, 16));		   /* those alone can go */
	OK(vfd_unpin(set, &pin, 1, &f->err));
	OK(pin_pages(21, 1, VFD_PIN_READ, &pin)); /* a refused unmap left the mapping as it was */
	OK(vfd_unpin(set, &pin, 1, &f->err));
	OK(unmap_pages(f, 116, 16));
	REFUSED(VFD_ENOTMAPPED, pin_pages(20, 1, VFD_PIN_READ, &pin)); /* no stale hint */
	end();
}
END_TEST

/* The place of the first is empty, that of the second is not. */
START_TEST(one_was_let_go)
{
	begin(0, 4, 16);
	OK(pin_pages(5, 2, VFD_PIN_WRITE, &pin));
	OK(pin_pages(20, 3, VFD_PIN_WRITE, &other));
	OK(vfd_unpin(set, &pin, 1, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(owed(), 3);
	OK(unmap_pages(f, 100, 16));
	REFUSED(VFD_EPINNED, unmap_pages(f, 116, 16));
	OK(vfd_unpin(set, &other, 1, &f->err));
	OK(unmap_pages(f, 116, 16));
	ck_assert_uint_eq(owed(), 3);
	end();
}
END_TEST

START_TEST(nothing_ends_under_a_pin)
{
	const unsigned flags[] = { 0, VFD_COLLECT, VFD_DISCARD };

	begin(0, 1, 64);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(pin_pages(1, 1, VFD_PIN_WRITE, &pin));
	for (int i = 0; i < 3; i++) {
		REFUSED(VFD_EPINNED, vfd_track_stop(f->container, flags[i], &f->err));
		REFUSED(VFD_EPINNED, vfd_group_detach(&f->group, flags[i], &f->err));
		REFUSED(VFD_EPINNED, vfd_container_close(&f->container, flags[i], &f->err));
	}
	ck_assert_ptr_nonnull(f->group);
	ck_assert_uint_eq(info_of(f).devices, 1);
	REFUSED(VFD_EPINNED, vfd_pinset_destroy(&set, 0, &f->err));
	REFUSED(VFD_EDEVICES, vfd_pinset_destroy(&set, VFD_PIN_ABANDON, &f->err));
	OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err));
	deliver();
	OK(vfd_pinset_destroy(&set, VFD_PIN_ABANDON, &f->err));
	ck_assert_ptr_null(set);
	ck_assert_uint_eq(owed(), 1); /* what was abandoned is marked once more */
	OK(vfd_track_stop(f->container, 0, &f->err));
	end();
}
END_TEST

START_TEST(marks)
{
	begin(0, 1, 64);
	OK(pin_pages(3, 2, VFD_PIN_WRITE, &pin));
	ck_assert_uint_eq(owed(), 0); /* not tracking */
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(owed(), 2); /* pinned before the start */
	deliver();
	OK(harvest(f, 0));
	ck_assert_uint_eq(owed(), 2); /* pinned at the harvest */
	deliver();
	OK(pin_pages(10, 1, VFD_PIN_WRITE, &other));
	ck_assert_uint_eq(owed(), 1); /* at pin */
	deliver();
	OK(vfd_unpin(set, &other, 1, &f->err));
	ck_assert_uint_eq(owed(), 1); /* at unpin */
	struct vfd_cause cause[4];
	size_t causes;
	OK(vfd_consumer_causes(vfd_log_consumer(f->log), cause, 4, &causes, &f->err));
	ck_assert_uint_eq(causes, 1);
	ck_assert_uint_eq(cause[0].provenance, VFD_SOFTWARE);
	deliver();
	OK(pin_pages(20, 1, VFD_PIN_READ, &other));
	OK(harvest(f, 0));
	OK(vfd_unpin(set, &other, 1, &f->err));
	ck_assert_uint_eq(owed(), 2); /* what a device only reads stays clean */
	OK(vfd_unpin(set, &pin, 1, &f->err));
	deliver();
	OK(harvest(f, 0));
	ck_assert_uint_eq(owed(), 0); /* let go is let go */
	end();
}
END_TEST

/* A page that a device may still write keeps the container from being drained. */
START_TEST(not_drained_with_a_pin)
{
	begin(0, 1, 64);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(pin_pages(1, 1, VFD_PIN_WRITE, &pin));
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert(!info_of(f).drained);
	OK(vfd_unpin(set, &pin, 1, &f->err));
	ck_assert(info_of(f).drained);
	end();
}
END_TEST

START_TEST(bad_input)
{
	struct vfd_pin never = { .iova = 100 * PAGE, .size = PAGE, .id = 77 };

	begin(2, 2, 16);
	OK(map_pages(f, 132, 32, 16, VFD_MAP_READ));
	REFUSED(VFD_EINVALID, pin_pages(0, 0, VFD_PIN_READ, &pin));
	REFUSED(VFD_EINVALID, pin_pages(0, 1, 0, &pin));
	REFUSED(VFD_EINVALID, pin_pages(0, 1, 8, &pin));
	REFUSED(VFD_EINVALID, pin_pages(0, 1, VFD_PIN_READ, NULL));
	REFUSED(VFD_EINVALID, vfd_pin(NULL, f->memory, 1, VFD_PIN_READ, &pin, &f->err));
	REFUSED(VFD_EWRAP, vfd_pin_iova(set, UINT64_MAX, 2, VFD_PIN_READ, &pin, &f->err));
	REFUSED(VFD_ENOTMAPPED, pin_pages(48, 1, VFD_PIN_READ, &pin));
	REFUSED(VFD_ENOTMAPPED, vfd_pin(set, NULL, 1, VFD_PIN_READ, &pin, &f->err));
	REFUSED(VFD_ENOTMAPPED, vfd_pin_iova(set, 0, 1, VFD_PIN_READ, &pin, &f->err));
	REFUSED(VFD_ECUT, pin_pages(31, 2, VFD_PIN_READ, &pin)); /* other permissions from there on */
	ck_assert_uint_eq(f->err.last, 132 * PAGE - 1);
	REFUSED(-EACCES, pin_pages(32, 1, VFD_PIN_WRITE, &pin));
	OK(pin_pages(32, 1, VFD_PIN_READ, &pin));
	REFUSED(VFD_EINVALID, vfd_unpin(set, &never, 1, &f->err));
	never.id = UINT64_MAX;
	REFUSED(VFD_EINVALID, vfd_unpin(set, &never, 1, &f->err));
	OK(pin_pages(0, 1, VFD_PIN_WRITE, &other));
	struct vfd_pin third;
	REFUSED(VFD_ELIMIT, pin_pages(1, 1, VFD_PIN_READ, &third));
	struct vfd_pin twice[] = { pin, pin, other };
	REFUSED(VFD_EINVALID, vfd_unpin(set, twice, 3, &f->err));
	ck_assert(strstr(f->err.message, "pin 1 "));
	ck_assert_uint_eq(vfd_pinset_held(set), 0);
	OK(pin_pages(0, 1, VFD_PIN_READ, &third)); /* in the place of another */
	REFUSED(VFD_EINVALID, vfd_unpin(set, &other, 1, &f->err));
	REFUSED(VFD_EINVALID, vfd_unpin(set, &pin, 1, &f->err));
	OK(vfd_unpin(set, &third, 1, &f->err));
	end();
}
END_TEST

START_TEST(by_process_address_only_if_asked_for)
{
	fixture_begin_flags(f, NULL, 0);
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	OK(map_pages(f, 100, 0, 4, RW));
	OK(vfd_pinset_create(f->container, NULL, &set, &f->err));
	REFUSED(VFD_ESTATE, pin_pages(0, 1, VFD_PIN_READ, &pin));
	OK(vfd_pin_iova(set, 100 * PAGE, 4 * PAGE, VFD_PIN_READ, &pin, &f->err));
	OK(vfd_unpin(set, &pin, 1, &f->err));
	end();
}
END_TEST

START_TEST(lists)
{
	struct vfd_pin pins[8];
	size_t n;

	begin(6, 1, 16);
	OK(map_pages(f, 300, 16, 16, RW)); /* memory goes on, IOVA does not */
	struct vfd_pin_part parts[] = { { f->memory + 12 * PAGE, 8 * PAGE }, { f->memory + 5, 10 } };
	OK(vfd_pin_list(set, parts, 2, VFD_PIN_WRITE, pins, 8, &n, &f->err));
	ck_assert_uint_eq(n, 3);
	ck_assert_uint_eq(pins[0].iova, 112 * PAGE);
	ck_assert_uint_eq(pins[0].size, 4 * PAGE);
	ck_assert_uint_eq(pins[1].iova, 300 * PAGE);
	ck_assert_uint_eq(pins[1].size, 4 * PAGE);
	ck_assert_uint_eq(pins[2].iova, 100 * PAGE + 5);
	OK(vfd_unpin(set, pins, n, &f->err));
	/* all or nothing */
	parts[1].memory = f->memory + 40 * PAGE;
	REFUSED(VFD_ENOTMAPPED, vfd_pin_list(set, parts, 2, VFD_PIN_WRITE, pins, 8, &n, &f->err));
	ck_assert_uint_eq(n, 0);
	REFUSED(VFD_ELIMIT, vfd_pin_list(set, parts, 1, VFD_PIN_WRITE, pins, 1, &n, &f->err));
	ck_assert_uint_eq(vfd_pinset_held(set), 0);
	struct vfd_pin_part many[7];
	for (size_t i = 0; i < 7; i++)
		many[i] = (struct vfd_pin_part){ f->memory + i * PAGE, 1 };
	REFUSED(VFD_ELIMIT, vfd_pin_list(set, many, 7, VFD_PIN_WRITE, pins, 8, &n, &f->err));
	ck_assert_uint_eq(vfd_pinset_held(set), 0);
	end();
}
END_TEST

START_TEST(translation)
{
	struct vfd_translation t;

	begin(0, 4, 16);
	OK(vfd_translate(set, f->memory + 20 * PAGE + 8, &t, &f->err));
	ck_assert_uint_eq(t.iova, 120 * PAGE + 8);
	ck_assert_uint_eq(t.size, 44 * PAGE - 8);
	ck_assert_uint_eq(t.generation, vfd_pinset_generation(set));
	OK(vfd_translate_iova(set, 120 * PAGE, &t, &f->err));
	ck_assert_ptr_eq(t.memory, f->memory + 20 * PAGE);
	OK(unmap_pages(f, 132, 16));
	ck_assert_uint_ne(t.generation, vfd_pinset_generation(set));
	OK(vfd_translate_iova(set, 120 * PAGE, &t, &f->err));
	ck_assert_uint_eq(t.size, 12 * PAGE);
	REFUSED(VFD_ENOTMAPPED, vfd_translate_iova(set, 132 * PAGE, &t, &f->err));
	OK(map_pages(f, 132, 500, 16, RW)); /* other memory at the same IOVA */
	OK(vfd_translate_iova(set, 132 * PAGE, &t, &f->err));
	ck_assert_ptr_eq(t.memory, f->memory + 500 * PAGE);
	end();
}
END_TEST

/* What a translation left in the set is not enough to pin by: it says nothing of access and log. */
START_TEST(a_pin_after_a_translation)
{
	struct vfd_translation t;

	begin(0, 1, 16);
	OK(map_pages(f, 200, 100, 16, VFD_MAP_READ));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(vfd_translate(set, f->memory + 3 * PAGE, &t, &f->err));
	OK(pin_pages(3, 1, VFD_PIN_WRITE, &pin));
	ck_assert_uint_eq(owed(), 1);
	OK(vfd_translate_iova(set, 200 * PAGE, &t, &f->err));
	REFUSED(-EACCES, vfd_pin_iova(set, 200 * PAGE, PAGE, VFD_PIN_WRITE, &other, &f->err));
	OK(vfd_unpin(set, &pin, 1, &f->err));
	end();
}
END_TEST

/* Marks are kept in words of 64 pages. */
START_TEST(marks_across_words)
{
	begin(0, 1, 256);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	for (uint64_t count = 1; count <= 130; count += 43) {
		for (uint64_t first = 60; first < 66; first++) {
			OK(pin_pages(first, count, VFD_PIN_WRITE, &pin));
			ck_assert_uint_eq(owed(), count);
			deliver();
			OK(vfd_unpin(set, &pin, 1, &f->err));
			ck_assert_uint_eq(owed(), count);
			deliver();
		}
	}
	end();
}
END_TEST

START_TEST(waiting)
{
	begin(0, 1, 16);
	OK(pin_pages(0, 1, VFD_PIN_READ, &pin));
	REFUSED(VFD_EPINNED, vfd_unmap_wait(f->container, 100 * PAGE, 16 * PAGE, 3000000, &f->err));
	OK(pin_pages(1, 1, VFD_PIN_READ, &other)); /* it may be pinned again */
	OK(vfd_unpin(set, &other, 1, &f->err));
	OK(vfd_unpin(set, &pin, 1, &f->err));
	OK(vfd_unmap_wait(f->container, 100 * PAGE, 16 * PAGE, 3000000, &f->err));
	end();
}
END_TEST

/* An unmap that the kernel refuses leaves the mapping to be pinned. */
START_TEST(a_failed_unmap_lets_pins_in_again)
{
	begin(0, 1, 16);
	model_fault(f->model, (struct model_fault){
				      .call = MODEL_IOCTL, .request = VFIO_IOMMU_UNMAP_DMA, .error = EPERM });
	REFUSED(-EPERM, unmap_pages(f, 100, 16));
	OK(pin_pages(0, 1, VFD_PIN_READ, &pin));
	OK(vfd_unpin(set, &pin, 1, &f->err));
	end();
}
END_TEST

/* Two regions that adjoin in memory and in log addresses, mapped as neighbours: each has an inbox of its own. */
START_TEST(regions_side_by_side)
{
	const uint64_t half = PAGES / 2;
	struct vfd_pinset *own;
	struct vfd_pin one;
	struct vfd_count count;

	fixture_begin(f, &one_physical);
	OK(vfd_region_remove(f->log, LOG_ADDRESS, VFD_DISCARD, &f->err));
	for (uint64_t i = 0; i < 2; i++) {
		struct vfd_region region = { .struct_size = sizeof region,
					     .address = LOG_ADDRESS + i * half * PAGE,
					     .size = half * PAGE,
					     .memory = f->memory + i * half * PAGE };
		OK(vfd_region_add(f->log, &region, &f->err));
		OK(map_pages(f, i * half, i * half, half, RW));
	}
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	OK(vfd_device_pins_all(f->device, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(vfd_pinset_create(f->container, NULL, &own, &f->err));
	for (uint64_t page = 0; page < PAGES; page++) {
		OK(vfd_pin(own, f->memory + page * PAGE, PAGE, VFD_PIN_WRITE, &one, &f->err));
		OK(vfd_unpin(own, &one, 1, &f->err));
		OK(vfd_consumer_count(vfd_log_consumer(f->log), LOG_ADDRESS + page * PAGE,
				      LOG_ADDRESS + page * PAGE + PAGE - 1, &count, &f->err));
		ck_assert_msg(count.owed == 1, "page %d: LOST", (int)page);
	}
	REFUSED(VFD_ECUT,
		vfd_pin(own, f->memory + (half - 1) * PAGE, 2 * PAGE, VFD_PIN_WRITE, &one, &f->err));
	OK(vfd_pinset_destroy(&own, 0, &f->err));
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	fixture_end(f);
}
END_TEST

static uint64_t owed_at(uint64_t address)
{
	struct vfd_count count;

	OK(vfd_consumer_count(vfd_log_consumer(f->log), address, address + PAGE - 1, &count, &f->err));
	return count.owed;
}

/* Neighbours in IOVA and memory, but elsewhere in the log, or in none; and more of them than one look takes together. A pin marks its own
 * page, and no other. */
START_TEST(unlike_neighbours)
{
	enum { HALF = PAGES / 2, PIECE = PAGES / 8 };
	struct vfd_pinset *own;
	struct vfd_pin one;
	uint64_t before = 0;

	fixture_begin(f, &one_physical);
	OK(vfd_region_remove(f->log, LOG_ADDRESS, VFD_DISCARD, &f->err));
	for (uint64_t i = 0; i < 2; i++) {
		struct vfd_region region = { .struct_size = sizeof region,
					     .address = LOG_ADDRESS + (1 - i) * HALF * PAGE,
					     .size = HALF * PAGE,
					     .memory = f->memory + i * HALF * PAGE };
		OK(vfd_region_add(f->log, &region, &f->err));
	}
	for (uint64_t page = 0; page < PIECE; page++)
		OK(map_pages(f, page, page, 1, RW));
	for (uint64_t i = 1; i < 8; i++)
		OK(map_pages(f, i * PIECE, i * PIECE, PIECE, i == 5 || i == 6 ? RW | VFD_MAP_UNLOGGED : RW));
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	OK(vfd_device_pins_all(f->device, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(vfd_pinset_create(f->container, NULL, &own, &f->err));
	for (uint64_t page = 0; page < PAGES; page++) {
		bool in_log = page < 5 * PIECE || page >= 7 * PIECE;
		uint64_t address = LOG_ADDRESS + (page + HALF) % PAGES * PAGE;
		OK(vfd_pin(own, f->memory + page * PAGE, PAGE, VFD_PIN_WRITE, &one, &f->err));
		OK(vfd_unpin(own, &one, 1, &f->err));
		before += in_log;
		ck_assert_msg(owed_at(address) == in_log, "page %d: %s", (int)page,
			      in_log ? "LOST" : "marked, and is in no log");
		ck_assert_uint_eq(owed(), before);
	}
	REFUSED(VFD_ECUT,
		vfd_pin(own, f->memory + (HALF - 1) * PAGE, 2 * PAGE, VFD_PIN_WRITE, &one, &f->err));
	OK(vfd_pinset_destroy(&own, 0, &f->err));
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	fixture_end(f);
}
END_TEST

static void pin_now(struct model *model, const struct model_trace *call, uint64_t number, bool after,
		    void *arg)
{
	(void)number, (void)arg;
	if (after || call->call != MODEL_IOCTL || call->request != VFIO_IOMMU_DIRTY_PAGES)
		return;
	model_on_call(model, NULL, NULL);
	OK(pin_pages(5, 1, VFD_PIN_WRITE, &pin));
}

/* A driver pins while the last group is drained, after pins were looked for: pins have no gate to wait at. Nothing is detached under it. */
START_TEST(pinned_while_drained)
{
	begin(0, 1, 16);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	device_writes(f, 0, 103, 1);
	model_on_call(f->model, pin_now, NULL);
	REFUSED(VFD_EDIRTY, vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	ck_assert(f->group && is_logged(f, 3));
	deliver();
	OK(vfd_unpin(set, &pin, 1, &f->err));
	ck_assert_msg(is_logged(f, 5), "page 5 LOST");
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	end();
}
END_TEST

struct asked {
	struct vfd_pinset *set;
	int rc;
};

static void translate_then(struct model *model, const struct model_trace *call, uint64_t number, bool after,
			   void *arg)
{
	struct asked *asked = arg;
	struct vfd_translation where;

	(void)model;
	(void)number;
	if (after && call->call == MODEL_IOCTL && call->request == VFIO_IOMMU_UNMAP_DMA)
		asked->rc = vfd_translate(asked->set, f->memory + PAGE, &where, NULL);
}

/* The kernel has unmapped it, the table has it still. */
START_TEST(no_translation_of_what_leaves)
{
	struct asked asked = { 0 };

	fixture_begin(f, &one_physical);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(map_pages(f, 0, 0, 512, RW));
	OK(vfd_pinset_create(f->container, NULL, &asked.set, &f->err));
	model_on_call(f->model, translate_then, &asked);
	OK(unmap_pages(f, 0, 512));
	model_on_call(f->model, NULL, NULL);
	ck_assert_int_eq(asked.rc, VFD_ENOTMAPPED);
	OK(vfd_pinset_destroy(&asked.set, 0, &f->err));
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	fixture_end(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pin");
	TCase *tcase = tcase_create("pin");

	tcase_add_test(tcase, addresses);
	tcase_add_test(tcase, regions_side_by_side);
	tcase_add_test(tcase, unlike_neighbours);
	tcase_add_test(tcase, pinned_while_drained);
	tcase_add_test(tcase, no_translation_of_what_leaves);
	tcase_add_test(tcase, nothing_is_unmapped_under_a_pin);
	tcase_add_test(tcase, one_was_let_go);
	tcase_add_test(tcase, nothing_ends_under_a_pin);
	tcase_add_test(tcase, marks);
	tcase_add_test(tcase, not_drained_with_a_pin);
	tcase_add_test(tcase, bad_input);
	tcase_add_test(tcase, by_process_address_only_if_asked_for);
	tcase_add_test(tcase, lists);
	tcase_add_test(tcase, translation);
	tcase_add_test(tcase, a_pin_after_a_translation);
	tcase_add_test(tcase, marks_across_words);
	tcase_add_test(tcase, waiting);
	tcase_add_test(tcase, a_failed_unmap_lets_pins_in_again);
	suite_add_tcase(suite, tcase);
	return run_all(suite);
}
