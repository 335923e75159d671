/* SPDX-License-Identifier: MIT */

/* The harvest planner: spans cover every mapping once, fit the kernel's limit, begin where the kernel lets them; what is kept from
 * round to round is what would be planned anew; ranges can be harvested by several threads; scratch is zero and only where it is used. */

#include "fixture.h"

#include <errno.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bitmap.h"
#include "uapi.h"

static struct fixture fixture, *f = &fixture;

enum { WORD_PAGES = 64, LAND = 200000 /* pages of IOVA */ };

static uint64_t random_state;

static uint64_t any(uint64_t below)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (random_state >> 33) % below;
}

static void begin(const struct model_config *config)
{
	fixture_begin(f, config);
	fixture_club(f);
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
}

static struct space *space(void)
{
	return &f->container->space;
}

/* ---- walking a plan as a harvest does ---- */

struct tour {
	struct range wanted;
	struct plan_rule rule;
	unsigned spans, segments;
	uint64_t cursor;   /* behind the last mapping that was covered */
	uint64_t mappings; /* covered */
};

static void check_bounds(struct tour *t, const struct span *span)
{
	uint64_t bits = range_size(span->where) / PAGE;
	struct index_cursor at;

	ck_assert_uint_ge(span->first_start, span->where.first);
	if (bits > t->rule.longest / PAGE)
		ck_assert_uint_eq(span->first_start, span->last_start); /* one mapping that is longer */
	ck_assert(index_seek(&space()->table.iova, span->where.first, &at));
	ck_assert_msg(at.where.first >= span->where.first, "the kernel refuses to cut a mapping");
	ck_assert_uint_eq(at.where.first, span->first_start);
	if (!t->rule.clubbed || t->rule.adjoining || t->rule.alone)
		ck_assert_uint_eq(span->where.first, span->first_start);
	else
		ck_assert(span->where.first == span->first_start ||
			  is_aligned(span->where.first, WORD_PAGES * PAGE));
}

/* Each mapping of the span, against its segments. */
static void check_segments(struct tour *t, const struct span *span)
{
	struct segments all;
	struct segment s = { 0 };
	struct index_cursor at;
	uint64_t last = span->where.first - 1;
	bool more = index_seek(&space()->table.iova, span->where.first, &at);

	segments_of(space(), PAGE, span, &all);
	for (; more && at.where.first <= span->where.last; more = index_next(&at)) {
		const struct mapping *m = at.item;
		uint64_t bit = (m->where.first - span->where.first) / PAGE;
		if (bit >= (uint64_t)s.bit + s.bits) {
			ck_assert_msg(segments_next(&all, &s), "a mapping has no segment");
			t->segments++;
		}
		ck_assert_uint_ge(bit, s.bit);
		ck_assert_uint_le(bit + range_size(m->where) / PAGE, (uint64_t)s.bit + s.bits);
		ck_assert_int_eq(s.kind == SEGMENT_UNTRACKED, !mapping_tracked(m));
		if (mapping_tracked(m))
			ck_assert_uint_eq(m->log_address, s.log_address + (bit - s.bit) * PAGE);
		if (!t->rule.clubbed)
			ck_assert(is_aligned(bit, WORD_PAGES));
		if (bit % WORD_PAGES && (last - span->where.first) / PAGE / 64 == bit / 64 && t->mappings &&
		    last > span->where.first && mapping_tracked(m))
			ck_assert_uint_eq(s.kind, SEGMENT_UNALIGNED);
		if (t->rule.adjoining && m->where.first != span->first_start)
			ck_assert_uint_eq(m->where.first, last + 1);
		last = m->where.last;
		t->mappings++;
	}
	ck_assert_uint_eq(last, span->where.last);
	ck_assert_msg(!segments_next(&all, &s), "a segment without mappings");
}

static void visit(struct tour *t, const struct span *span)
{
	ck_assert_uint_ge(span->first_start, t->cursor);
	ck_assert_uint_ge(span->first_start, t->wanted.first);
	ck_assert_uint_le(span->last_start, t->wanted.last);
	check_bounds(t, span);
	check_segments(t, span);
	t->cursor = span->where.last + 1;
	t->spans++;
}

static struct tour tour(struct range wanted)
{
	struct tour t = { .wanted = wanted, .rule = plan_rule(space()), .cursor = wanted.first };
	struct plan_window window;

	while (plan_next(space(), wanted, t.cursor, &window)) {
		struct span spare, *span = plan_take(space(), wanted, &window, &spare);
		ck_assert_ptr_nonnull(span);
		visit(&t, span);
		plan_done(space(), span, any(50) == 0);
	}
	return t;
}

static uint64_t mappings_that_start_in(struct range where)
{
	struct index_cursor at;
	uint64_t count = 0;

	for (bool more = index_seek(&space()->table.iova, 0, &at); more; more = index_next(&at))
		count += where.first <= at.where.first && at.where.first <= where.last;
	return count;
}

static void check_plan(struct range wanted)
{
	struct tour t = tour(wanted);

	ck_assert_uint_eq(t.mappings, mappings_that_start_in(wanted));
}

/* ---- random layouts ---- */

static void map_something(uint64_t longest)
{
	static const uint32_t flags[] = { RW, RW, RW, VFD_MAP_READ, RW | VFD_MAP_UNLOGGED };
	uint64_t size = 1 + any(longest), at = any(LAND), align = any(3) ? 1 : 64;
	uint64_t run = any(4) ? 1 : 1 + any(40);

	at = at / align * align;
	for (uint64_t i = 0; i < run; i++, at += size)
		if (map_pages(f, at, (any(3) ? at : any(PAGES)) % (PAGES - size), size, flags[any(5)]))
			return;
}

static void unmap_something(void)
{
	uint64_t first = any(LAND);
	struct index_cursor at;

	if (index_seek(&space()->table.iova, first * PAGE, &at))
		OK(unmap_pages(f, at.where.first / PAGE, range_size(at.where) / PAGE));
}

/* A history of maps and unmaps, the plan checked as it is kept; and at times a range of it. */
static void history(unsigned steps, uint64_t longest)
{
	for (unsigned i = 0; i < steps; i++) {
		if (any(3))
			map_something(longest);
		else
			unmap_something();
		if (any(4) == 0)
			check_plan(RANGE_ALL);
		if (any(8) == 0) {
			uint64_t first = any(LAND);
			check_plan((struct range){ first * PAGE, (first + any(LAND)) * PAGE + any(PAGE) });
		}
	}
}

START_TEST(spans_of_random_layouts)
{
	for (unsigned seed = 1; seed <= 22; seed++) {
		random_state = seed;
		begin(NULL);
		OK(vfd_track_start(f->container, NULL, NULL, &f->err));
		space()->adopted = seed % 7 == 0;
		space()->alone = seed % 11 == 0;
		if (seed % 3 == 0)
			space()->backend.caps.dirty_bitmap_limit = 8 * (1 + any(seed % 2 ? 20 : 1000));
		history(seed % 5 ? 120 : 30, seed % 4 ? 5 : 300);
		fixture_end(f);
	}
}
END_TEST

/* A clubbed run of mappings that the limit cuts is cut where the next span can start aligned. */
START_TEST(cut_at_a_word)
{
	begin(NULL);
	for (unsigned i = 0; i < 1000; i++)
		OK(map_pages(f, i, i, 1, RW));
	space()->backend.caps.dirty_bitmap_limit = 8 * 5;
	ck_assert_uint_eq(tour(RANGE_ALL).spans, 4); /* 320 pages each */
	OK(unmap_pages(f, 0, 30));
	space()->backend.caps.dirty_bitmap_limit = 8 * 5 + 2;
	struct tour t = tour(RANGE_ALL);
	ck_assert(t.rule.clubbed);
	struct span *second = space()->plan.spans[1];
	ck_assert(is_aligned(second->where.first, WORD_PAGES * PAGE));
	fixture_end(f);
}
END_TEST

/* Both rules where they change over: so many mappings, and one more. */
START_TEST(exact_while_it_is_cheap)
{
	unsigned i = 0;

	begin(NULL);
	for (; plan_rule(space()).clubbed == false; i++)
		OK(map_pages(f, 2 * i + 1, i, 1, RW)); /* a 32nd of them could be aligned, none is */
	ck_assert_uint_gt((1 + 2 * (uint64_t)i) * i, 65536);
	ck_assert_uint_le((1 + 2 * (uint64_t)(i - 1)) * (i - 1), 65536);
	ck_assert_uint_eq(tour(RANGE_ALL).spans, 1);
	OK(unmap_pages(f, 1, 1));
	ck_assert_uint_gt(tour(RANGE_ALL).spans, i / 2);
	fixture_end(f);
}
END_TEST

/* ---- what is kept ---- */

static void check_kept(unsigned spans)
{
	struct tour t = tour(RANGE_ALL);

	ck_assert_uint_eq(t.spans, spans);
}

/* Each change of the table is in the next harvest, and what was kept joins again. */
START_TEST(changes_reach_the_plan)
{
	begin(NULL);
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	for (unsigned i = 0; i < 16; i++) {
		OK(map_pages(f, i * 64, i * 64, 32, RW));
		check_kept(1);
		device_writes(f, 0, i * 64 + i, 1);
		OK(harvest(f, 0));
		ck_assert(is_logged(f, i * 64 + i));
	}
	for (unsigned i = 0; i < 16; i++) { /* filled, between those that were planned */
		OK(map_pages(f, i * 64 + 32, i * 64 + 32, 32, RW));
		device_writes(f, 0, i * 64 + 40, 1);
		OK(harvest(f, 0));
		ck_assert_msg(is_logged(f, i * 64 + 40), "a mapping between others is not in the plan");
	}
	check_precise(f);
	for (unsigned i = 0; i < 8; i++)
		OK(unmap_pages(f, i * 128, 32));
	device_writes(f, 0, 1000, 1);
	OK(harvest(f, 0));
	check_precise(f);
	/* other memory at the same address: the bits belong elsewhere now */
	OK(map_pages(f, 0, 512, 32, RW));
	forget_log(f);
	device_writes(f, 0, 3, 1);
	OK(harvest(f, 0));
	ck_assert(is_logged(f, 515) && !is_logged(f, 3));
	check_precise(f);
	fixture_end(f);
}
END_TEST

/* Runs that follow each other here and in the log are one segment, whatever they are made of. */
START_TEST(segments_are_runs)
{
	begin(NULL);
	for (unsigned i = 0; i < 1000; i++)
		OK(map_pages(f, i, i, 1, RW));
	ck_assert_uint_eq(tour(RANGE_ALL).segments, 1);
	OK(unmap_pages(f, 500, 1));
	ck_assert_uint_eq(tour(RANGE_ALL).segments, 2);
	OK(map_pages(f, 500, 7, 1, RW));
	ck_assert_uint_eq(tour(RANGE_ALL).segments, 3);
	fixture_end(f);
}
END_TEST

/* ---- ranges ---- */

START_TEST(ranges_are_parts)
{
	struct vfd_harvest result = { .struct_size = sizeof result };

	fixture_pieces(f, NULL, 8, 128, 128);
	fixture_club(f);
	device_writes(f, 0, 0, PAGES);
	OK(vfd_track_harvest_range(f->container, 130 * PAGE, 512 * PAGE, &result, &f->err));
	ck_assert_uint_eq(result.pages_new, 3 * 128); /* 256, 384, 512 */
	ck_assert_uint_eq(result.ioctls, 1);
	ck_assert(is_logged(f, 639) && !is_logged(f, 640) && !is_logged(f, 255));
	OK(vfd_track_harvest_range(f->container, 0, 130 * PAGE, &result, &f->err));
	ck_assert_uint_eq(result.pages_new, 2 * 128);
	OK(vfd_track_harvest_range(f->container, 1 << 30, UINT64_MAX, &result, &f->err));
	ck_assert_uint_eq(result.ioctls, 0);
	OK(vfd_track_harvest_range(f->container, 0, UINT64_MAX, &result, &f->err));
	ck_assert_uint_eq(result.pages_new, 3 * 128);
	check_precise(f);
	REFUSED(VFD_EINVALID, vfd_track_harvest_range(f->container, 2, 1, &result, &f->err));
	/* it drains nothing: the device could write since */
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(vfd_track_harvest_range(f->container, 0, UINT64_MAX, &result, &f->err));
	ck_assert_uint_eq(result.drained, 0);
	OK(vfd_track_harvest(f->container, 0, &result, &f->err));
	ck_assert_uint_eq(result.drained, 1);
	OK(vfd_track_stop(f->container, 0, &f->err));
	REFUSED(VFD_ESTATE, vfd_track_harvest_range(f->container, 0, 1, &result, &f->err));
	fixture_end(f);
}
END_TEST

/* Whether two GETs are in the kernel at once: only if neither waits for the other. */
static struct {
	int (*ioctl)(const struct sys *sys, int fd, unsigned long request, void *arg);
	pthread_barrier_t both;
} meeting;

static int meet_in_ioctl(const struct sys *sys, int fd, unsigned long request, void *arg)
{
	const struct uapi_dirty_get *get = arg;

	if (request == VFIO_IOMMU_DIRTY_PAGES && get->flags == VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP)
		pthread_barrier_wait(&meeting.both);
	return meeting.ioctl(sys, fd, request, arg);
}

static void *harvest_part(void *arg)
{
	struct vfd_error err;
	const struct range *part = arg;
	intptr_t rc = vfd_track_harvest_range(f->container, part->first, part->last, NULL, &err);

	return (void *)rc;
}

START_TEST(parts_do_not_wait)
{
	struct range parts[] = { { 0, 512 * PAGE - 1 }, { 512 * PAGE, UINT64_MAX } };
	pthread_t threads[2];
	void *rc;

	fixture_pieces(f, NULL, 1024, 1, 1); /* clubbed */
	device_writes(f, 0, 0, PAGES);
	meeting.ioctl = f->model->sys.ioctl;
	pthread_barrier_init(&meeting.both, NULL, 2);
	f->model->sys.ioctl = meet_in_ioctl;
	for (unsigned round = 0; round < 3; round++) { /* planned, then kept */
		for (int i = 0; i < 2; i++)
			pthread_create(&threads[i], NULL, harvest_part, &parts[i]);
		for (int i = 0; i < 2; i++) {
			pthread_join(threads[i], &rc);
			ck_assert_ptr_null(rc);
		}
	}
	f->model->sys.ioctl = meeting.ioctl;
	pthread_barrier_destroy(&meeting.both);
	check_precise(f);
	fixture_end(f);
}
END_TEST

static atomic_bool working;

static void *harvest_parts(void *arg)
{
	unsigned state = (unsigned)(uintptr_t)arg;

	while (working) {
		uint64_t first = (unsigned)rand_r(&state) % PAGES,
			 last = first + (unsigned)rand_r(&state) % PAGES;
		vfd_track_harvest_range(f->container, first * PAGE, last * PAGE, NULL, NULL);
		if (state % 5 == 0)
			vfd_track_harvest(f->container, 0, NULL, NULL);
	}
	return NULL;
}

static void *change(void *arg)
{
	unsigned state = (unsigned)(uintptr_t)arg;

	while (working) {
		uint64_t page = 700 + (unsigned)rand_r(&state) % 300;
		struct vfd_mapping mapping = { .struct_size = sizeof mapping,
					       .flags = RW,
					       .iova = page * PAGE,
					       .size = PAGE,
					       .memory = f->memory + page * PAGE };
		if (rand_r(&state) % 2)
			vfd_map(f->container, &mapping, NULL);
		else
			vfd_unmap(f->container, page * PAGE, PAGE, NULL);
	}
	return NULL;
}

/* Parts that overlap, whole harvests, maps and unmaps, from six threads: the plan is made, used and dropped all the time. */
START_TEST(parts_and_changes_at_once)
{
	void *(*const work[])(void *) = { harvest_parts, harvest_parts, harvest_parts, change, change };
	pthread_t threads[5];

	fixture_pieces(f, NULL, PAGES, 1, 1);
	working = true;
	for (uintptr_t i = 0; i < 5; i++)
		pthread_create(&threads[i], NULL, work[i], (void *)(i + 1));
	for (unsigned i = 0; i < 300; i++)
		device_writes(f, 0, i * 7 % 690, 1 + i % 9);
	working = false;
	for (int i = 0; i < 5; i++)
		pthread_join(threads[i], NULL);
	check_law(f);
	OK(harvest(f, 0));
	check_all_logged(f);
	check_exact(f);
	fixture_end(f);
}
END_TEST

/* ---- scratch ---- */

static struct {
	int (*ioctl)(const struct sys *sys, int fd, unsigned long request, void *arg);
	int (*map_scratch)(const struct sys *sys, size_t size, void **memory);
	void *memory;
	size_t size;
	uint64_t resident; /* pages, at the last GET */
} watch;

static int watch_map_scratch(const struct sys *sys, size_t size, void **memory)
{
	int rc = watch.map_scratch(sys, size, memory);

	watch.memory = *memory;
	watch.size = size;
	return rc;
}

static void check_zero(const uint64_t *words, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		ck_assert_msg(!words[i], "word %d of scratch is not zero before the call", (int)i);
}

/* Only what is resident can hold anything, and must be zero. */
static int watch_ioctl(const struct sys *sys, int fd, unsigned long request, void *arg)
{
	const struct uapi_dirty_get *get = arg;
	static unsigned char resident[1 << 16];

	if (request == VFIO_IOMMU_DIRTY_PAGES && get->flags == VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP) {
		ck_assert_int_eq(mincore(watch.memory, watch.size, resident), 0);
		watch.resident = 0;
		for (size_t i = 0; i < watch.size / 4096; i++)
			if (resident[i] & 1) {
				watch.resident++;
				check_zero((uint64_t *)watch.memory + i * 512, 512);
			}
	}
	return watch.ioctl(sys, fd, request, arg);
}

static void begin_watch(void)
{
	watch.ioctl = f->model->sys.ioctl;
	watch.map_scratch = f->model->sys.map_scratch;
	f->model->sys.ioctl = watch_ioctl;
	f->model->sys.map_scratch = watch_map_scratch;
}

/* Spread over 1 TiB: a bitmap of 32 MiB, of which only the pages that stand for mappings are ever there. Given back at the end. */
START_TEST(scratch_is_sparse)
{
	begin(NULL);
	for (uint64_t i = 0; i < 256; i++)
		OK(map_pages(f, i << 20, i, 1, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	begin_watch();
	for (unsigned round = 0; round < 3; round++) {
		device_writes(f, 0, (uint64_t)(round + 5) << 20, 1);
		OK(harvest(f, 0));
		ck_assert_uint_eq(watch.resident, 256);
		ck_assert_uint_ge(watch.size, (255u << 20) / 8);
		ck_assert_uint_eq(model_counts(f->model).scratch, 1);
	}
	check_precise(f);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(model_counts(f->model).scratch, 0);
	fixture_end(f);
}
END_TEST

/* Neighbours in one word whose log addresses are far apart: the word is cleared when both have their bits, and not before. */
START_TEST(shared_words_of_scratch)
{
	begin(NULL);
	for (unsigned i = 0; i < 400; i++)
		OK(map_pages(f, i, 2 * (399 - i), 1, RW)); /* against the order */
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	begin_watch();
	device_writes(f, 0, 0, 400);
	OK(harvest(f, 0));
	check_precise(f);
	ck_assert_uint_eq(reported(f), 400);
	OK(harvest(f, 0)); /* checks that scratch is zero */
	fixture_end(f);
}
END_TEST

/* What nobody wants to know is written by the kernel all the same: read-only and unlogged mappings. */
START_TEST(scratch_of_untracked)
{
	begin(NULL);
	OK(map_pages(f, 0, 0, 200, RW));
	OK(map_pages(f, 256, 200, 200, VFD_MAP_READ));
	OK(map_pages(f, 512, 400, 200, RW | VFD_MAP_UNLOGGED));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	begin_watch();
	device_writes(f, 0, 512, 200);
	device_writes(f, 0, 0, 10);
	OK(harvest(f, 0));
	ck_assert_uint_eq(reported(f), 10);
	OK(harvest(f, 0));
	fixture_end(f);
}
END_TEST

/* No memory for scratch: nothing was asked, so nothing is assumed. */
START_TEST(no_memory_for_scratch)
{
	enum model_call calls[] = { MODEL_MAP_SCRATCH, MODEL_POPULATE };

	for (int i = 0; i < 2; i++) {
		fixture_pieces(f, NULL, PAGES, 1, 1);
		fixture_club(f);
		device_writes(f, 0, 3, 20);
		model_fault(f->model, (struct model_fault){ .call = calls[i], .error = ENOMEM });
		REFUSED(-ENOMEM, harvest(f, 0));
		ck_assert(!is_logged(f, 3) && !is_logged(f, 100));
		OK(harvest(f, 0));
		check_precise(f);
		fixture_end(f);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("plan");

	add_case(suite, "spans of random layouts", spans_of_random_layouts);
	add_case(suite, "cut at a word", cut_at_a_word);
	add_case(suite, "exact while it is cheap", exact_while_it_is_cheap);
	add_case(suite, "changes reach the plan", changes_reach_the_plan);
	add_case(suite, "segments are runs", segments_are_runs);
	add_case(suite, "ranges are parts", ranges_are_parts);
	add_case(suite, "parts do not wait", parts_do_not_wait);
	add_case(suite, "parts and changes at once", parts_and_changes_at_once);
	add_tagged(suite, TAG_POPULATE, "scratch is sparse", scratch_is_sparse);
	add_case(suite, "shared words of scratch", shared_words_of_scratch);
	add_case(suite, "scratch of untracked mappings", scratch_of_untracked);
	add_case(suite, "no memory for scratch", no_memory_for_scratch);
	return run_suite(suite);
}
