/* SPDX-License-Identifier: MIT */

/* Traps 12 to 19, 26, 31: GET_BITMAP clears what it shows, overwrites what it is given, and shifts what it cannot deliver. */

#include "fixture.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "uapi.h"

static struct fixture fixture, *f = &fixture;

static void fault_get(uint64_t nth, unsigned step)
{
	model_fault(f->model, (struct model_fault){
				      .call = MODEL_IOCTL,
				      .request = VFIO_IOMMU_DIRTY_PAGES,
				      .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
				      .nth = nth,
				      .error = EFAULT,
				      .step = step,
			      });
}

static uint64_t logged_now(void)
{
	uint64_t bitmap[WORDS];

	return logged(f, bitmap);
}

static unsigned gets_in_trace(void)
{
	size_t count;
	const struct model_trace *trace = model_trace(f->model, &count);
	unsigned gets = 0;

	for (size_t i = 0; i < count; i++)
		gets += trace[i].call == MODEL_IOCTL && trace[i].request == VFIO_IOMMU_DIRTY_PAGES &&
			trace[i].flags == VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP;
	return gets;
}

/* ---- looking at every bitmap on its way to the kernel ---- */

static struct {
	int (*ioctl)(const struct sys *sys, int fd, unsigned long request, void *arg);
	int (*map_scratch)(const struct sys *sys, size_t size, void **memory);
	struct range scratch[64]; /* what map_scratch gave */
	unsigned scratches;
	unsigned bitmaps; /* seen */
	uint64_t pages;	  /* a limit of the next harvest's bitmaps; 0: none */
} watch;

static int watching_map_scratch(const struct sys *sys, size_t size, void **memory)
{
	int rc = watch.map_scratch(sys, size, memory);

	if (!rc) {
		ck_assert_uint_lt(watch.scratches, 64);
		range_make(&watch.scratch[watch.scratches++], (uintptr_t)*memory, size);
	}
	return rc;
}

static bool in_scratch(struct range bitmap)
{
	for (unsigned i = 0; i < watch.scratches; i++)
		if (range_contains(watch.scratch[i], bitmap))
			return true;
	return false;
}

/* Before anyone looks at it: looking would bring it in. Small bitmaps, all of which stand for mappings. */
static bool is_resident(const struct uapi_dirty_get *get)
{
	unsigned char resident = 0;

	ck_assert_uint_le(get->bitmap.size, 4096);
	ck_assert_int_eq(mincore((void *)(uintptr_t)get->bitmap.data, 4096, &resident), 0);
	return resident & 1;
}

/* Large enough, not larger than what is there, aligned, zero, and the library's own populated memory. */
static void check_bitmap(const struct uapi_dirty_get *get)
{
	const uint64_t *words = (const uint64_t *)(uintptr_t)get->bitmap.data;
	uint64_t pages = get->size / get->bitmap.pgsize;
	struct range where;

	watch.bitmaps++;
	ck_assert_msg(is_resident(get), "a bitmap that the kernel would have to fault in");
	ck_assert_uint_eq(get->argsz, 48);
	ck_assert_uint_eq(get->bitmap.size, (pages + 63) / 64 * 8);
	ck_assert(range_make(&where, get->bitmap.data, get->bitmap.size));
	ck_assert_msg(in_scratch(where), "a bitmap that is not scratch memory");
	ck_assert_uint_eq(get->bitmap.data % 4096, 0);
	for (uint64_t i = 0; i < get->bitmap.size / 8; i++)
		ck_assert_msg(!words[i], "word %d of the bitmap is not zero", (int)i);
}

static int watching_ioctl(const struct sys *sys, int fd, unsigned long request, void *arg)
{
	const struct uapi_dirty_get *get = arg; /* the two structs have the same layout */

	if (fd == vfd_container_fd(f->container) &&
	    ((request == VFIO_IOMMU_DIRTY_PAGES && get->flags == VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP) ||
	     (request == VFIO_IOMMU_UNMAP_DMA && get->flags == VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP)))
		check_bitmap(get);
	return watch.ioctl(sys, fd, request, arg);
}

/* Before the container is opened: scratch memory may be made at any time after. */
static void watch_bitmaps(void)
{
	struct sys *sys = &f->model->sys;

	memset(&watch, 0, sizeof watch);
	watch.ioctl = sys->ioctl;
	watch.map_scratch = sys->map_scratch;
	sys->ioctl = watching_ioctl;
	sys->map_scratch = watching_map_scratch;
}

/* Everything that passes a bitmap: harvest, unmap, and telling the meanings of EINVAL apart. */
static void exercise(void)
{
	device_writes(f, 0, 3, 60);
	OK(harvest(f, 0));
	device_writes(f, 0, 512, 100);
	OK(harvest(f, 0));
	OK(harvest(f, 0)); /* with the buffer of the one before */
	device_writes(f, 0, 70, 2);
	OK(unmap_pages(f, 0, 128));
	device_writes(f, 0, 300, 2);
	OK(unmap_pages(f, 256, 128));
	ck_assert_int_eq(raw_switch(f, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP), 0);
	REFUSED(VFD_ELOST, harvest(f, 0));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(harvest(f, 0));
	ck_assert_uint_ge(watch.bitmaps, 6);
}

/* ---- 12 ---- */

START_TEST(stop_takes_bits_along)
{
	fixture_track(f, NULL);
	device_writes(f, 0, 9, 1);
	uint64_t calls = model_counts(f->model).calls;
	REFUSED(VFD_EDIRTY, vfd_track_stop(f->container, 0, &f->err));
	ck_assert_uint_eq(model_counts(f->model).calls, calls);
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(vfd_track_stop(f->container, VFD_COLLECT, &f->err));
	ck_assert(!model_tracking(f->model, vfd_container_fd(f->container)));
	check_precise(f);
	ck_assert(is_logged(f, 9));
	fixture_end(f);
}
END_TEST

/* ---- 13 ---- */

START_TEST(two_rounds_one_word)
{
	fixture_track(f, NULL);
	for (unsigned i = 0; i < 10; i++) {
		device_writes(f, 0, 64 + i, 1);
		OK(harvest(f, 0));
		check_precise(f);
	}
	ck_assert_uint_eq(reported(f), 10);
	fixture_end(f);
}
END_TEST

/* ---- 14 ---- */

START_TEST(delivered_before_the_fault)
{
	for (unsigned step = 0; step <= 4; step++) {
		fixture_pieces(f, NULL, 4, 128, 128); /* one GET for all */
		for (unsigned i = 0; i < 4; i++)
			device_writes(f, 0, i * 128 + i, 1);
		fault_get(1, step);
		REFUSED(-EFAULT, harvest(f, 0));
		check_law(f);
		check_exact(f);
		ck_assert_uint_ge(reported(f), step ? step - 1 : 0);
		OK(harvest(f, 0));
		check_precise(f);
		ck_assert_uint_eq(reported(f), 4);
		fixture_end(f);
	}
}
END_TEST

/* ---- 15 ---- */

/* Clubbed at an odd offset the second mapping's bits would be shifted in the kernel, and page 100 lost. */
START_TEST(unaligned_pair)
{
	for (unsigned step = 1; step <= 2; step++) {
		fixture_pieces(f, NULL, 4, 36, 36);
		for (unsigned i = 0; i < 4; i++)
			device_writes(f, 0, i * 36 + 28, 1);
		fault_get(2, step);
		REFUSED(-EFAULT, harvest(f, 0));
		check_law(f);
		OK(harvest(f, 0));
		check_precise(f);
		ck_assert_uint_eq(model_page_count(f->model, MODEL_DROPPED), 0);
		ck_assert_uint_eq(model_page_count(f->model, MODEL_SPOILED), 0);
		fixture_end(f);
	}
}
END_TEST

/* 1024 mappings of one page each are clubbed: nearly all are shifted. */
static void fixture_single_pages(void)
{
	fixture_pieces(f, NULL, PAGES, 1, 1);
	fixture_club(f);
}

/* Written before a fault, after it, and after the retry: each time it arrives, and what is not shifted stays exact. */
static void fault_in_clubbed(unsigned step)
{
	device_writes(f, 0, step % 1000, 20);
	device_writes(f, 0, 960, 3);
	fault_get(1, step);
	REFUSED(-EFAULT, harvest(f, 0));
	check_law(f);
	check_exact(f);
	device_writes(f, 0, (step + 500) % 1000, 20);
	OK(harvest(f, 0));
	check_all_logged(f);
	check_exact(f);
	forget_log(f);
	device_writes(f, 0, (step + 700) % 1000, 20);
	OK(harvest(f, 0));
	check_all_logged(f);
	check_exact(f);
	forget_log(f);
}

START_TEST(fault_anywhere_in_clubbed)
{
	fixture_single_pages();
	for (unsigned step = 1; step <= PAGES; step += step < 70 ? 1 : 37)
		fault_in_clubbed(step);
	fixture_end(f);
}
END_TEST

/* Which of the shifted mappings failed nobody can tell; those that are not shifted were delivered, or are intact. */
START_TEST(only_shifted_are_assumed)
{
	struct vfd_harvest result = { .struct_size = sizeof result };

	fixture_single_pages();
	device_writes(f, 0, 0, PAGES);
	fault_get(1, 100);
	REFUSED(-EFAULT, vfd_track_harvest(f->container, 0, &result, &f->err));
	ck_assert_uint_eq(result.pages_new, PAGES - (PAGES / 64 - 2)); /* of the aligned, two are delivered */
	for (unsigned page = 0; page < PAGES; page++)
		ck_assert_int_eq(is_logged(f, page), page % 64 != 0 || page < 100);
	OK(harvest(f, 0));
	check_all_logged(f);
	fixture_end(f);
}
END_TEST

/* The record of a spoiled mapping is wrong once more: what is read next is labelled, whoever reads it. */
START_TEST(spoiled_is_labelled)
{
	for (int unmap = 0; unmap < 2; unmap++) {
		fixture_single_pages();
		device_writes(f, 0, 0, PAGES);
		fault_get(1, 100);
		REFUSED(-EFAULT, harvest(f, 0));
		forget_log(f);
		device_writes(f, 0, 201, 1);
		OK(unmap ? unmap_pages(f, 201, 1) : harvest(f, 0));
		ck_assert(is_logged(f, 201));
		ck_assert_uint_eq(reported(f),
				  unmap ? 0 : PAGES / 64 - 2); /* those that were not delivered before */
		OK(harvest(f, 0));
		forget_log(f);
		device_writes(f, 0, 300, 1);
		OK(harvest(f, 0));
		ck_assert_uint_gt(reported(f), 0); /* trusted again */
		fixture_end(f);
	}
}
END_TEST

/* ---- 16 ---- */

START_TEST(scratch_is_zero_each_time)
{
	fixture_begin(f, NULL);
	watch_bitmaps();
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
	for (unsigned i = 0; i < 8; i++)
		OK(map_pages(f, i * 128, i * 128, 100, RW)); /* no whole words */
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	exercise();
	fixture_end(f);
}
END_TEST

/* Nothing is delivered, so nothing may appear: what the buffer held before is no answer. */
START_TEST(old_answers_do_not_come_back)
{
	fixture_track(f, NULL);
	device_writes(f, 0, 0, PAGES);
	OK(harvest(f, 0));
	forget_log(f);
	device_writes(f, 0, 77, 1);
	fault_get(1, 0);
	REFUSED(-EFAULT, harvest(f, 0));
	ck_assert_uint_eq(reported(f), 0);
	OK(harvest(f, 0));
	check_precise(f);
	fixture_end(f);
}
END_TEST

/* ---- 17 ---- */

/* A shifted read by someone else leaves stray bits behind the mapping's end; the next read delivers them. */
START_TEST(stray_bits_behind_the_end)
{
	uint64_t words[WORDS] = { 0 };

	fixture_begin(f, NULL);
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
	OK(map_pages(f, 0, 0, 32, RW));
	OK(map_pages(f, 32, 256, 10, RW)); /* the pages behind it in memory are not mapped */
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	device_writes(f, 0, 32, 10);
	ck_assert_int_eq(raw_get(f, 0, 42, words), 0);
	model_forget(f->model);
	device_writes(f, 0, 33, 1);
	OK(harvest(f, 0));
	ck_assert(is_logged(f, 257));
	for (unsigned page = 266; page < 330; page++)
		ck_assert_msg(!is_logged(f, page), "page %u is behind the mapping's end", page);
	check_exact(f);
	fixture_end(f);
}
END_TEST

/* A consumer's causes name everyone who made pages dirty. */
static bool caused_by(const char *who)
{
	struct vfd_cause causes[64];
	size_t count = 0;

	OK(vfd_consumer_causes(vfd_log_consumer(f->log), causes, 64, &count, &f->err));
	for (size_t i = 0; i < count; i++)
		if (!strcmp(causes[i].who, who))
			return true;
	return false;
}

/* Ghosts: what a shifted read leaves behind a mapping's end is delivered with the mappings that share the word. It is labelled, and
 * never more than the kernel returned. The first round has none. */
START_TEST(ghosts_are_labelled)
{
	fixture_single_pages();
	device_writes(f, 0, 5, 1);
	OK(harvest(f, 0));
	check_precise(f);
	forget_log(f);
	device_writes(f, 0, 700, 1);
	OK(harvest(f, 0));
	check_exact(f);
	check_all_logged(f);
	ck_assert_uint_gt(logged_now(), 1); /* or the model has no ghosts, and this shows nothing */
	ck_assert(caused_by("type1, unaligned"));
	ck_assert(!caused_by("type1"));
	fixture_end(f);
}
END_TEST

/* No two mappings share a word, though all are shifted: nothing else is believed, round after round. */
START_TEST(no_ghosts_between_words)
{
	fixture_begin(f, NULL);
	fixture_club(f);
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
	for (unsigned i = 0; i < 600; i++)
		OK(map_pages(f, i * 64 + 1 + i % 3, i, 1 + i % 7, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	for (unsigned round = 0; round < 8; round++) {
		for (unsigned i = round; i < 600; i += 5)
			device_writes(f, 0, i * 64 + 1 + i % 3, 1);
		model_trace_start(f->model);
		OK(harvest(f, 0));
		ck_assert_uint_eq(gets_in_trace(), 1);
		check_precise(f);
		ck_assert(!caused_by("type1, unaligned"));
		forget_log(f);
	}
	fixture_end(f);
}
END_TEST

/* A clubbed span starts at a multiple of 64 pages, in the hole: so a fault spoils none of the aligned mappings behind. */
START_TEST(clubbed_starts_aligned)
{
	fixture_begin(f, NULL);
	fixture_club(f);
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
	for (unsigned i = 0; i < 300; i++)
		OK(map_pages(f, 64 + 3 + i * 2, i, 1, RW));
	for (unsigned i = 0; i < 4; i++)
		OK(map_pages(f, 1024 + i * 64, 512 + i * 64, 64, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	device_writes(f, 0, 1030, 1);
	fault_get(1, 200);
	REFUSED(-EFAULT, harvest(f, 0));
	ck_assert_uint_eq(logged_now(), 300);
	OK(harvest(f, 0));
	ck_assert(is_logged(f, 518));
	ck_assert_uint_eq(logged_now(), 301);
	fixture_end(f);
}
END_TEST

/* ---- 18 ---- */

/* One GET bridges a hole of 192 pages whose bits the kernel does not touch. */
START_TEST(hole_between_mappings)
{
	fixture_track(f, NULL);
	fixture_club(f);
	device_writes(f, 0, 0, PAGES);
	OK(vfd_unmap_all(f->container, &f->err)); /* leaves a scratch buffer full of ones */
	OK(map_pages(f, 0, 0, 60, RW));
	OK(map_pages(f, 256, 256, 64, RW));
	forget_log(f);
	device_writes(f, 0, 59, 1);
	device_writes(f, 0, 256, 1);
	model_trace_start(f->model);
	OK(harvest(f, 0));
	ck_assert_uint_eq(gets_in_trace(), 1);
	check_precise(f);
	fixture_end(f);
}
END_TEST

/* ---- 19 ---- */

START_TEST(bitmap_fits_its_buffer)
{
	ck_assert_uint_eq(sizeof(struct uapi_bitmap), 24);
	ck_assert_uint_eq(offsetof(struct uapi_bitmap, data), 16);
	ck_assert_uint_eq(sizeof(struct uapi_dirty_get), 48);
	ck_assert_uint_eq(sizeof(struct uapi_unmap), 48);
	for (uint64_t pages = 1; pages < 200; pages += 9) {
		fixture_begin(f, NULL);
		watch_bitmaps();
		OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
		OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
		OK(map_pages(f, 5, 0, pages, RW));
		OK(vfd_track_start(f->container, NULL, NULL, &f->err));
		device_writes(f, 0, 5, pages);
		OK(harvest(f, 0));
		device_writes(f, 0, 5, pages);
		OK(unmap_pages(f, 5, pages));
		ck_assert_uint_eq(watch.bitmaps, 2);
		check_precise(f);
		fixture_end(f);
	}
}
END_TEST

/* A 32-bit kernel writes the second mapping's bits outside of the buffer: there each is asked for alone. */
START_TEST(each_alone_for_32_bits)
{
	fixture_pieces(f, NULL, 4, 128, 128);
	ck_assert(f->container->space.alone == (sizeof(void *) < 8));
	f->container->space.alone = true;
	device_writes(f, 0, 100, 100);
	model_trace_start(f->model);
	OK(harvest(f, 0));
	ck_assert_uint_eq(gets_in_trace(), 4);
	check_precise(f);
	fixture_end(f);
}
END_TEST

/* ---- 26 ---- */

static int small_limit_ioctl(const struct sys *sys, int fd, unsigned long request, void *arg)
{
	const struct uapi_dirty_get *get = arg;
	int rc = watch.ioctl(sys, fd, request, arg);

	if (request == VFIO_IOMMU_DIRTY_PAGES && get->flags == VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP)
		ck_assert_uint_le(get->size / PAGE, watch.pages);
	return rc;
}

/* Spans end between mappings, never inside one, wherever the bitmap's limit falls. */
START_TEST(spans_cut_no_mapping)
{
	for (uint64_t limit = 128; limit <= 1024; limit += 64) {
		fixture_pieces(f, NULL, 8, 128, 128);
		fixture_club(f);
		f->container->space.backend.caps.dirty_bitmap_limit = limit / 8;
		memset(&watch, 0, sizeof watch);
		watch.pages = limit;
		watch.ioctl = f->model->sys.ioctl;
		f->model->sys.ioctl = small_limit_ioctl;
		for (unsigned i = 0; i < 8; i++)
			device_writes(f, 0, i * 128 + 127, 1);
		model_trace_start(f->model);
		OK(harvest(f, 0));
		ck_assert_uint_eq(gets_in_trace(), (8 + limit / 128 - 1) / (limit / 128));
		check_precise(f);
		fixture_end(f);
	}
}
END_TEST

/* ---- 32 ---- */

/* The kernel walks its whole tree in each call. Counted are its steps, not time: contiguous, spread, and large mappings. */
static void few_steps(uint64_t count, uint64_t size, uint64_t stride)
{
	fixture_begin(f, NULL);
	fixture_club(f);
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
	for (uint64_t i = 0; i < count; i++)
		OK(map_pages(f, i * stride, i % 512, size, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	device_writes(f, 0, (count - 1) * stride, 1);
	uint64_t before = model_counts(f->model).walked;
	model_trace_start(f->model);
	OK(harvest(f, 0));
	ck_assert_uint_eq(gets_in_trace(), 1);
	ck_assert_uint_le(model_counts(f->model).walked - before, count);
	check_precise(f);
	fixture_end(f);
}

START_TEST(steps_of_the_kernel)
{
	few_steps(3000, 1, 1);
	few_steps(3000, 1, 1021);
	few_steps(3000, 512, 512);
	few_steps(3000, 3, 100000); /* more than 1 TiB apart */
}
END_TEST

/* ---- 31 ---- */

START_TEST(bitmaps_are_own_memory)
{
	fixture_begin(f, NULL);
	watch_bitmaps();
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
	for (unsigned i = 0; i < 8; i++)
		OK(map_pages(f, i * 128, i * 128, 128, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	exercise();
	fixture_end(f);
}

/* Whatever the kernel writes behind a bitmap's last page ends in a fault, not in somebody's memory. */
START_TEST(guard_behind_scratch)
{
	size_t page = sys_page_size();
	int fd[2];
	void *memory;

	ck_assert_int_eq(pipe(fd), 0);
	ck_assert_int_eq(sys_linux.map_scratch(&sys_linux, 2 * page, &memory), 0);
	ck_assert_int_eq(sys_linux.populate(&sys_linux, memory, 2 * page), 0);
	ck_assert_int_eq(write(fd[1], "abcd", 4), 4);
	ck_assert_int_eq(read(fd[0], (char *)memory + 2 * page - 2, 2), 2);
	ck_assert_int_eq(read(fd[0], (char *)memory + 2 * page, 2), -1);
	ck_assert_int_eq(errno, EFAULT);
	ck_assert_int_eq(sys_linux.unmap_scratch(&sys_linux, memory, 2 * page), 0);
	close(fd[0]);
	close(fd[1]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("traps: get");

	add_trap(suite, 12, "STOP drops unread bits", stop_takes_bits_along);
	add_trap(suite, 13, "GET overwrites its buffer", two_rounds_one_word);
	add_trap(suite, 14, "EFAULT after some were delivered", delivered_before_the_fault);
	add_trap(suite, 15, "a fault at an odd offset", unaligned_pair);
	add_trap(suite, 15, "a fault anywhere in a clubbed call", fault_anywhere_in_clubbed);
	add_trap(suite, 15, "only shifted mappings are assumed", only_shifted_are_assumed);
	add_trap(suite, 15, "what a fault spoiled is labelled", spoiled_is_labelled);
	add_trap(suite, 15, "a clubbed span starts aligned", clubbed_starts_aligned);
	add_tagged_trap(suite, 16, TAG_POPULATE, "the caller's bits leak in", scratch_is_zero_each_time);
	add_trap(suite, 16, "old answers", old_answers_do_not_come_back);
	add_trap(suite, 17, "stray bits behind a mapping", stray_bits_behind_the_end);
	add_trap(suite, 17, "ghosts in a shared word", ghosts_are_labelled);
	add_trap(suite, 17, "no shared word, no ghosts", no_ghosts_between_words);
	add_trap(suite, 18, "holes keep what the buffer held", hole_between_mappings);
	add_tagged_trap(suite, 19, TAG_POPULATE, "the bitmap's struct and size", bitmap_fits_its_buffer);
	add_trap(suite, 19, "one mapping per GET on 32 bits", each_alone_for_32_bits);
	add_trap(suite, 26, "a range that cuts a mapping", spans_cut_no_mapping);
	add_tagged_trap(suite, 31, TAG_POPULATE, "a bitmap that faults under the lock",
			bitmaps_are_own_memory);
	add_trap(suite, 31, "a guard behind it", guard_behind_scratch);
	add_trap(suite, 32, "steps of the kernel", steps_of_the_kernel);
	return run_suite(suite);
}
