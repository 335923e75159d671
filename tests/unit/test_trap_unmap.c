/* SPDX-License-Identifier: MIT */

/* Traps 7 to 11: unmapping takes the dirty bits along, and what it answers is not what it did. */

#include "fixture.h"

#include <errno.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <unistd.h>

static struct fixture fixture, *f = &fixture;

static void fault_unmap(uint64_t nth, uint64_t times, unsigned step)
{
	model_fault(f->model, (struct model_fault){
				      .call = MODEL_IOCTL,
				      .request = VFIO_IOMMU_UNMAP_DMA,
				      .nth = nth,
				      .times = times,
				      .error = EFAULT,
				      .step = step,
			      });
}

/* Every unmap of the trace asked for the bits, of one mapping. Returns how many unmaps. */
static unsigned check_unmaps(void)
{
	size_t count;
	const struct model_trace *trace = model_trace(f->model, &count);
	unsigned unmaps = 0;

	for (size_t i = 0; i < count; i++) {
		if (trace[i].call != MODEL_IOCTL || trace[i].request != VFIO_IOMMU_UNMAP_DMA)
			continue;
		unmaps++;
		ck_assert_uint_eq(trace[i].flags, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP);
		ck_assert_uint_le(trace[i].mappings, 1);
	}
	return unmaps;
}

/* The table and the kernel agree. */
static void check_mapped(uint64_t count)
{
	ck_assert_uint_eq(info_of(f).mappings, count);
	ck_assert_uint_eq(model_mapping_count(f->model, vfd_container_fd(f->container)), count);
}

/* ---- 7 ---- */

START_TEST(unmap_takes_bits_along)
{
	fixture_pieces(f, NULL, 8, 64, 128);
	for (unsigned i = 0; i < 8; i++)
		device_writes(f, 0, i * 128 + i, 1);
	device_pins(f, 0, 130, 4);
	model_trace_start(f->model);
	OK(unmap_pages(f, 0, 64));
	check_mapped(7);
	OK(unmap_pages(f, 100, 380)); /* holes on both sides and between */
	check_mapped(4);
	OK(vfd_unmap_all(f->container, &f->err));
	check_mapped(0);
	ck_assert_uint_eq(check_unmaps(), 8);
	check_precise(f);
	ck_assert_uint_eq(reported(f), 12);
	fixture_end(f);
}
END_TEST

/* ---- 8 ---- */

START_TEST(fault_at_second_of_three)
{
	fixture_pieces(f, NULL, 3, 64, 64);
	for (unsigned i = 0; i < 3; i++)
		device_writes(f, 0, i * 64 + 5, 2);
	model_trace_start(f->model);
	fault_unmap(2, 2, 1);
	REFUSED(-EFAULT, unmap_pages(f, 0, 192));
	ck_assert_uint_eq(f->err.first, 64 * PAGE); /* the mappings before it are gone */
	ck_assert_uint_eq(f->err.last, 128 * PAGE - 1);
	check_mapped(2);
	check_law(f);
	check_exact(f);
	ck_assert(!is_logged(f, 133)); /* the third is untouched */
	OK(unmap_pages(f, 64, 128));
	check_mapped(0);
	check_unmaps();
	check_all_logged(f);
	check_precise(f);
	fixture_end(f);
}
END_TEST

/* ---- 9 ---- */

/* A fault before, in the middle, and after: the library asks again and knows. */
START_TEST(fault_once)
{
	for (unsigned step = 0; step <= 2; step++) {
		fixture_pieces(f, NULL, 2, 128, 128);
		device_writes(f, 0, 1, 1);
		device_writes(f, 0, 127, 1);
		fault_unmap(1, 1, step);
		OK(unmap_pages(f, 0, 128));
		ck_assert_uint_eq(model_fault_fired(f->model), 1);
		check_mapped(1);
		check_precise(f);
		OK(map_pages(f, 0, 0, 128, RW));
		fixture_end(f);
	}
}
END_TEST

/* It was done, and asking again faulted too: kept, and believed the next time. */
START_TEST(fault_twice)
{
	for (unsigned step = 0; step <= 2; step++) {
		fixture_pieces(f, NULL, 1, 128, 128);
		device_writes(f, 0, 1, 1);
		fault_unmap(1, 1, step);
		fault_unmap(2, 1, 0);
		REFUSED(-EFAULT, unmap_pages(f, 0, 128));
		ck_assert_uint_eq(model_fault_fired(f->model), 2);
		ck_assert_uint_eq(info_of(f).mappings, 1);
		check_law(f);
		check_exact(f);
		OK(unmap_pages(f, 0, 128));
		check_mapped(0);
		check_precise(f);
		fixture_end(f);
	}
}
END_TEST

/* ---- 10 ---- */

static pthread_t stopper; /* the other thread */
static int stopped;	  /* what the stop returned; 1: not yet */

static void *stop(void *argument)
{
	(void)argument;
	__atomic_store_n(&stopped, vfd_track_stop(f->container, VFD_DISCARD, NULL), __ATOMIC_SEQ_CST);
	return NULL;
}

/* In the middle of the unmap, with the kernel's lock dropped: give the other thread every chance. */
static void stop_in_window(struct model *model, uint64_t iova, uint64_t size, void *argument)
{
	(void)model;
	(void)iova;
	(void)size;
	(void)argument;
	stopped = 1;
	ck_assert_int_eq(pthread_create(&stopper, NULL, stop, NULL), 0);
	usleep(50 * 1000);
	ck_assert_int_eq(__atomic_load_n(&stopped, __ATOMIC_SEQ_CST), 1);
}

START_TEST(stop_during_unmap)
{
	fixture_pieces(f, NULL, 2, 128, 128);
	device_pins(f, 0, 17, 3);
	model_on_window(f->model, stop_in_window, NULL);
	OK(unmap_pages(f, 0, 128));
	model_on_window(f->model, NULL, NULL);
	pthread_join(stopper, NULL);
	ck_assert_int_eq(stopped, 0);
	ck_assert_msg(!model_crashed(f->model), "%s", model_crashed(f->model));
	check_precise(f);
	ck_assert_uint_eq(reported(f), 3);
	fixture_end(f);
}
END_TEST

/* ---- 11 ---- */

/* Someone with a copy of the fd replaces the mapping by a longer one. */
static void replace_in_window(struct model *model, uint64_t iova, uint64_t size, void *argument)
{
	(void)model;
	(void)size;
	(void)argument;
	ck_assert_int_eq(raw_unmap(f, iova / PAGE, 128), 0);
	ck_assert_int_eq(raw_map(f, iova / PAGE, 512, 256), 0);
}

START_TEST(short_unmap)
{
	fixture_pieces(f, NULL, 1, 128, 128);
	device_pins(f, 0, 17, 3);
	model_on_window(f->model, replace_in_window, NULL);
	REFUSED(VFD_ESHORT, unmap_pages(f, 0, 128));
	model_on_window(f->model, NULL, NULL);
	ck_assert_uint_gt(model_page_count(f->model, MODEL_DROPPED), 0);
	check_law(f);
	ck_assert_uint_eq(info_of(f).mappings, 1);
	ck_assert_int_eq(raw_unmap(f, 0, 256), 0);
	fixture_end(f);
}
END_TEST

/* ---- 51 ---- */

static void *open_another(void *argument)
{
	(void)argument;
	vfd_device_open(f->group2, NAME(1), &f->device2, NULL);
	return NULL;
}

static void open_in_window(struct model *model, uint64_t iova, uint64_t size, void *argument)
{
	(void)model;
	(void)iova;
	(void)size;
	(void)argument;
	ck_assert_int_eq(pthread_create(&stopper, NULL, open_another, NULL), 0);
	usleep(50 * 1000);
}

START_TEST(open_during_unmap)
{
	fixture_track(f, &two_emulated);
	OK(vfd_group_attach(f->container, 8, &f->group2, &f->err));
	device_pins(f, 0, 17, 3);
	model_on_window(f->model, open_in_window, NULL);
	OK(unmap_pages(f, 0, PAGES));
	model_on_window(f->model, NULL, NULL);
	pthread_join(stopper, NULL);
	ck_assert_msg(!model_crashed(f->model), "%s", model_crashed(f->model));
	ck_assert_ptr_nonnull(f->device2);
	check_precise(f);
	fixture_end(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("traps: unmap");

	add_trap(suite, 7, "a plain unmap discards the bits", unmap_takes_bits_along);
	add_trap(suite, 8, "several mappings behind one error", fault_at_second_of_three);
	add_trap(suite, 9, "EFAULT may be success", fault_once);
	add_trap(suite, 9, "EFAULT twice", fault_twice);
	add_trap(suite, 10, "STOP in the middle of an unmap", stop_during_unmap);
	add_trap(suite, 11, "success, but short", short_unmap);
	add_trap(suite, 51, "a device opened in the middle of an unmap", open_during_unmap);
	return run_suite(suite);
}
