/* SPDX-License-Identifier: MIT */

/* No memory: each lifecycle once for each allocation of the library that it comes to, which is refused; and once more with all that
 * follow it refused too, giving up. Whatever the call says then, the law holds, and nothing leaks. */

#include "faults_world.h"

#include "fixture.h"

#include <check.h> /* after lib/error.h: Check has a macro named fail */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- the allocator ---- */

static struct {
	struct world *world; /* NULL: nothing is refused */
	bool inside;	     /* without a world: a call of the library is running, and */
	unsigned kernel;     /* how deep it is in the kernel */
	uint64_t count, nth;
	bool for_ever;
	unsigned refused;
} starve;

/* Does the library ask? What the model kernel needs it gets. */
static bool asked_by_library(void)
{
	return starve.world ? starve.world->inside && !starve.world->kernel : starve.inside && !starve.kernel;
}

static bool refused(void)
{
	if (!asked_by_library())
		return false;
	starve.count++;
	if (starve.for_ever ? starve.count < starve.nth : starve.count != starve.nth)
		return false;
	starve.refused++;
	if (starve.world)
		starve.world->starved++;
	errno = ENOMEM;
	return true;
}

#ifdef __GLIBC__ /* whose mmap() is another one where files have 64 bits */
#define __real_mmap __real_mmap64
#define __wrap_mmap __wrap_mmap64
#endif

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_reallocarray(void *memory, size_t count, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
char *__real_strdup(const char *text);
void *__real_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_reallocarray(void *memory, size_t count, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
char *__wrap_strdup(const char *text);
void *__wrap_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset);

void *__wrap_malloc(size_t size)
{
	return refused() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return refused() ? NULL : __real_calloc(count, size);
}

void *__wrap_reallocarray(void *memory, size_t count, size_t size)
{
	return refused() ? NULL : __real_reallocarray(memory, count, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	return refused() ? NULL : __real_aligned_alloc(alignment, size);
}

char *__wrap_strdup(const char *text)
{
	return refused() ? NULL : __real_strdup(text);
}

void *__wrap_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
	return refused() ? MAP_FAILED : __real_mmap(at, size, prot, flags, fd, offset);
}

/* ---- lifecycles ---- */

/* Returns whether the allocation was come to. */
static bool run_one(const struct lifecycle *life, enum policy policy, uint64_t nth, bool for_ever,
		    unsigned *failures)
{
	struct world w;

	world_begin(&w, life, policy);
	snprintf(w.what, sizeof w.what, "%s, %s, allocation %llu%s", life->name,
		 policy == TRY_AGAIN ? "trying again" : "giving up", (unsigned long long)nth,
		 for_ever ? " and all that follow" : "");
	starve.world = &w;
	starve.count = 0;
	starve.nth = nth;
	starve.for_ever = for_ever;
	life->live(&w);
	starve.world = NULL;
	world_end(&w);
	*failures += w.failures;
	return w.starved > 0;
}

static unsigned try_lifecycle(const struct lifecycle *life, uint64_t *allocations)
{
	unsigned failures = 0;
	uint64_t nth = 1;

	while (run_one(life, TRY_AGAIN, nth, false, &failures)) {
		run_one(life, GIVE_UP, nth, true, &failures);
		nth++;
	}
	*allocations = nth - 1;
	return failures;
}

START_TEST(test_every_allocation)
{
	const struct lifecycle *life = &lifecycles[_i];
	uint64_t allocations;

	if (mode == MODE_COMPAT)
		fixture_refused(&(struct fixture){ 0 }, life->config);
	unsigned failures = try_lifecycle(life, &allocations);
	printf("# %-8s %-26s %5llu allocations refused, 2 runs each: %u broken\n", mode_names[mode],
	       life->name, (unsigned long long)allocations, failures);
	fflush(stdout);
	ck_assert_uint_gt(allocations, 5);
	ck_assert_msg(!failures, "%s: %u checks failed", life->name, failures);
}
END_TEST

/* ---- what makes something: all of it, or nothing ---- */

static struct fixture fixture, *f = &fixture;
static struct vfd_log *other_log;
static struct vfd_consumer *consumer;
static struct vfd_pinset *set;
static struct vfd_audit *audit;
static uint64_t placed;
static void *area;

static void note_kernel(struct model *model, const struct model_trace *call, uint64_t number, bool after,
			void *arg)
{
	(void)model, (void)call, (void)number, (void)arg;
	starve.kernel += after ? -1u : 1u;
}

/* Once for each allocation of make(), which is refused: it says so, and never in the kernel's words, or does without it. Returns how many, with the last one made. */
static uint64_t refuse_each(int (*make)(void), void (*unmake)(void))
{
	for (uint64_t nth = 1;; nth++) {
		starve.nth = nth;
		starve.count = starve.refused = 0;
		starve.inside = true;
		int rc = make();
		starve.inside = false;
		if (!starve.refused) {
			OK(rc);
			return nth - 1;
		}
		ck_assert_msg(!rc || rc == VFD_ENOMEMORY, "allocation %d refused: %s", (int)nth,
			      vfd_strcode(rc));
		ck_assert(!rc || (f->err.code == rc && !f->err.sys_errno && *f->err.message));
		if (!rc)
			unmake();
	}
}

static uint32_t log_flags;
static _Alignas(4096) char place[4 * 4096]; /* of a region, where the log asks for that */

static int create_log(void)
{
	struct vfd_log_options options = { .struct_size = sizeof options, .flags = log_flags };

	return vfd_log_create(&options, &other_log, &f->err);
}

static void destroy_log(void)
{
	OK(vfd_log_destroy(&other_log, VFD_DISCARD, &f->err));
}

static int add_region(void)
{
	bool identity = log_flags & VFD_LOG_IDENTITY;
	struct vfd_region region = { .struct_size = sizeof region,
				     .size = identity ? (uint64_t)1 << 32 : sizeof place,
				     .memory = identity ? NULL : place };

	return vfd_region_add(other_log, &region, &f->err);
}

static void remove_region(void)
{
	OK(vfd_region_remove(other_log, 0, VFD_DISCARD, &f->err));
}

static int add_consumer(void)
{
	return vfd_consumer_add(other_log, "another", &consumer, &f->err);
}

static void remove_consumer(void)
{
	OK(vfd_consumer_remove(&consumer, VFD_DISCARD, &f->err));
}

START_TEST(test_log)
{
	log_flags = _i ? VFD_LOG_IDENTITY : 0;
	ck_assert_uint_gt(refuse_each(create_log, destroy_log), 2);
	ck_assert_uint_gt(refuse_each(add_region, remove_region), 1);
	ck_assert_uint_gt(refuse_each(add_consumer, remove_consumer), 1);
	OK(vfd_mark_initial(consumer, &f->err)); /* what was refused once is whole now */
	destroy_log();
}
END_TEST

static int create_pinset(void)
{
	return vfd_pinset_create(f->container, NULL, &set, &f->err);
}

static void destroy_pinset(void)
{
	OK(vfd_pinset_destroy(&set, 0, &f->err));
}

static int create_audit(void)
{
	return vfd_audit_create(f->container, 0, &audit, &f->err);
}

static void destroy_audit(void)
{
	OK(vfd_audit_destroy(&audit, &f->err));
}

static void begin_physical(void)
{
	fixture_begin(f, &one_physical);
	model_on_call(f->model, note_kernel, NULL);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	OK(vfd_device_pins_all(f->device, &f->err));
	OK(map_pages(f, 0, 0, 32, RW));
	OK(map_pages(f, 64, 64, 32, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
}

/* A pin set that is made after all works; so does an audit, which finds nothing. */
START_TEST(test_pins)
{
	struct vfd_audit_result result = { .struct_size = sizeof result };
	struct vfd_audit_finding found;
	struct vfd_pin pin;

	begin_physical();
	ck_assert_uint_gt(refuse_each(create_pinset, destroy_pinset), 1);
	OK(vfd_pin(set, f->memory, PAGE, VFD_PIN_WRITE, &pin, &f->err));
	OK(vfd_unpin(set, &pin, 1, &f->err));
	ck_assert(is_logged(f, 0));
	ck_assert_uint_gt(refuse_each(create_audit, destroy_audit), 4);
	OK(vfd_audit_check(audit, 0, &found, 1, &result, &f->err));
	ck_assert_uint_eq(result.found_bytes, 0);
	destroy_audit();
	destroy_pinset();
	fixture_end(f);
}
END_TEST

/* In granules, so that IOVAs are taken in parts. */
static int map_anywhere(void)
{
	struct vfd_mapping mapping = {
		.struct_size = sizeof mapping,
		.flags = RW,
		.size = 100 * PAGE,
		.memory = f->memory + 200 * PAGE,
		.granule = 16 * PAGE,
	};
	int rc = vfd_map_anywhere(f->container, &mapping, NULL, &f->err);

	placed = rc ? 0 : mapping.iova;
	return rc;
}

static void unmap_placed(void)
{
	OK(vfd_unmap(f->container, placed, 100 * PAGE, &f->err));
}

static int map_list(void)
{
	struct vfd_mapping list[3];

	for (unsigned i = 0; i < 3; i++)
		list[i] = (struct vfd_mapping){
			.struct_size = sizeof list[i],
			.flags = RW,
			.iova = (400 + 20 * i) * PAGE,
			.size = 10 * PAGE,
			.memory = f->memory + (400 + 20 * i) * PAGE,
		};
	return vfd_map_list(f->container, list, 3, NULL, &f->err);
}

static void unmap_list(void)
{
	for (unsigned i = 0; i < 3; i++)
		OK(unmap_pages(f, 400 + 20 * i, 10));
}

static int map_area(void)
{
	return vfd_device_map(f->device, 1, 0, PAGE, &area, &f->err);
}

static void unmap_area(void)
{
	OK(vfd_device_unmap(f->device, area, &f->err));
}

static int open_device(void)
{
	return vfd_device_open(f->group, NAME(0), &f->device, &f->err);
}

static void close_device(void)
{
	OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err));
}

static int ask_region(void)
{
	struct vfd_device_region region = { .struct_size = sizeof region };

	return vfd_device_region_info(f->device, 0, &region, &f->err);
}

static int enable_irq(void)
{
	const int none = -1;

	return vfd_device_irq_enable(f->device, 0, 0, &none, 1, &f->err);
}

static void nothing_to_undo(void)
{
}

static int check_map(void)
{
	struct vfd_mapping mapping = {
		.struct_size = sizeof mapping,
		.flags = RW,
		.iova = PAGES * PAGE,
		.size = PAGE,
		.memory = f->memory,
	};

	return vfd_map_check(f->container, &mapping, NULL, &f->err);
}

static int start_again(void)
{
	return vfd_track_start(f->container, NULL, NULL, &f->err);
}

static void stop(void)
{
	OK(vfd_track_stop(f->container, VFD_DISCARD, &f->err));
}

/* A question to the kernel takes memory too. Without it the kernel has not refused anything. */
START_TEST(test_questions)
{
	fixture_track(f, NULL);
	model_on_call(f->model, note_kernel, NULL);
	ck_assert_uint_gt(refuse_each(ask_region, nothing_to_undo), 0);
	ck_assert_uint_gt(refuse_each(enable_irq, nothing_to_undo), 0);
	ck_assert_uint_gt(refuse_each(check_map, nothing_to_undo), 0);
	close_device();
	ck_assert_uint_gt(refuse_each(open_device, close_device), 1);
	stop();
	ck_assert_uint_gt(refuse_each(start_again, stop), 0);
	device_writes(f, 0, 3, 1);
	OK(harvest(f, 0));
	ck_assert(is_logged(f, 3));
	check_law(f);
	fixture_end(f);
}
END_TEST

static int allow_addresses(void)
{
	static const struct vfd_iova_range low = { 0, UINT64_C(0xffffffff) };

	return vfd_iova_allow(f->container, &low, 1, &f->err);
}

static void allow_none(void)
{
	OK(vfd_iova_allow(f->container, NULL, 0, &f->err));
}

START_TEST(test_addresses)
{
	const struct model_config config = { .iommufd = true };

	fixture_begin_on(f, &config, 0, VFD_BACKEND_IOMMUFD);
	model_on_call(f->model, note_kernel, NULL);
	ck_assert_uint_gt(refuse_each(allow_addresses, allow_none), 0);
	fixture_end(f);
}
END_TEST

START_TEST(test_mappings)
{
	fixture_track(f, NULL);
	OK(unmap_pages(f, 0, PAGES));
	model_on_call(f->model, note_kernel, NULL);
	ck_assert_uint_gt(refuse_each(map_anywhere, unmap_placed), 2);
	ck_assert_uint_eq(info_of(f).mappings, 7);
	ck_assert_uint_gt(refuse_each(map_list, unmap_list), 3);
	ck_assert_uint_eq(info_of(f).mappings, 10);
	ck_assert_uint_gt(refuse_each(map_area, unmap_area), 0);
	unmap_area();
	device_writes(f, 0, placed / PAGE + 50, 1);
	OK(harvest(f, 0));
	ck_assert(is_logged(f, 250));
	check_law(f);
	fixture_end(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("no memory");

	for (int i = 0; i < (int)lifecycle_count; i++)
		add_modes_loop(suite, lifecycles[i].name, lifecycles[i].why_not_iommufd,
			       test_every_allocation, i, i + 1);
	TCase *logs = tcase_create("logs, regions, consumers");
	tcase_set_timeout(logs, 60);
	tcase_add_loop_test(logs, test_log, 0, 2);
	suite_add_tcase(suite, logs);
	add_case(suite, "pin sets and audits", test_pins);
	add_case(suite, "mappings and areas", test_mappings);
	add_case(suite, "questions", test_questions);
	add_case(suite, "addresses that stay usable", test_addresses);
	return run_suite(suite);
}
