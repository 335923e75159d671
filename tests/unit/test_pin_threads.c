/* SPDX-License-Identifier: MIT */

/* Threads that pin, write and unpin, one that unmaps and maps, one that harvests, one that copies: no page is lost, and nothing is ever
 * unmapped under a pin. */

#include "fixture.h"
#include "random.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "../suite.h"

enum { MAPPINGS = 16, SIZE = 32, USED = MAPPINGS * SIZE, PINNERS = 3 };

static struct fixture fixture, *f = &fixture;
static atomic_bool stop;
static atomic_int in_use[MAPPINGS];
static atomic_ulong pins_made, refused, unmapped;
static _Atomic(uint64_t) copy[USED];

static uint64_t next(uint64_t *seed, uint64_t below)
{
	return xorshift(seed) % below;
}

static _Atomic(uint64_t) *content(uint64_t page)
{
	return (_Atomic(uint64_t) *)(void *)(f->memory + page * PAGE);
}

static const char *fail_text(const char *what, const struct vfd_error *err)
{
	char *text;

	return asprintf(&text, "%s: %s", what, err->message) < 0 ? what : text;
}

/* What is pinned is mapped, and where the pin says. */
static const char *check_mapped(const struct vfd_pin *pin)
{
	struct vfd_error err;
	struct vfd_mapping m = { .struct_size = sizeof m };
	int rc = vfd_mapping_find(f->container, VFD_FIND_IOVA, pin->iova, &m, &err);

	if (rc)
		return fail_text("a pinned IOVA", &err);
	return (char *)m.memory + (pin->iova - m.iova) == pin->memory ? NULL
								      : "other memory at a pinned IOVA";
}

/* A queue whose device writes what it was given: the store stands for the DMA. */
static const char *use(struct vfd_pinset *set, uint64_t *seed, bool slow)
{
	uint64_t page = next(seed, USED), value = next(seed, UINT64_MAX);
	struct vfd_error err;
	struct vfd_pin pin;
	int rc = vfd_pin(set, f->memory + page * PAGE, 64, VFD_PIN_WRITE, &pin, &err);

	if (rc == VFD_ENOTMAPPED)
		return NULL;
	if (rc)
		return fail_text("pin", &err);
	atomic_fetch_add(&in_use[page / SIZE], 1);
	atomic_fetch_add(&pins_made, 1);
	const char *problem = check_mapped(&pin);
	atomic_store_explicit(content(page), value, memory_order_relaxed);
	if (slow && !next(seed, 4))
		nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL); /* a slow device */
	if (!problem)
		problem = check_mapped(&pin);
	atomic_fetch_sub(&in_use[page / SIZE], 1);
	return problem ? problem : vfd_unpin(set, &pin, 1, &err) ? fail_text("unpin", &err) : NULL;
}

static void *pinner(void *arg)
{
	uint64_t seed = (uintptr_t)arg + 1;
	struct vfd_pinset *set;
	struct vfd_error err;
	const char *problem = NULL;

	if (vfd_pinset_create(f->container, NULL, &set, &err))
		return (void *)fail_text("create", &err);
	while (!problem && !atomic_load(&stop))
		problem = use(set, &seed, (uintptr_t)arg % 2);
	if (!problem && vfd_pinset_destroy(&set, 0, &err))
		problem = fail_text("destroy", &err);
	return (void *)problem;
}

/* Each time to where another mapping may have been before */
static const char *remap(uint64_t i, uint64_t patience)
{
	static uint64_t at[MAPPINGS], elsewhere = MAPPINGS;
	struct vfd_error err;
	struct vfd_mapping mapping = { .struct_size = sizeof mapping,
				       .flags = RW,
				       .iova = (at[i] ? at[i] - 1 : i) * SIZE * PAGE,
				       .size = SIZE * PAGE,
				       .memory = f->memory + i * SIZE * PAGE };
	int rc = vfd_unmap_wait(f->container, mapping.iova, mapping.size, patience, &err);

	if (rc == VFD_EPINNED) {
		atomic_fetch_add(&refused, 1);
		return NULL;
	}
	if (rc)
		return fail_text("unmap", &err);
	atomic_fetch_add(&unmapped, 1);
	if (atomic_load(&in_use[i]))
		return "unmapped under a pin";
	sched_yield();
	if (atomic_load(&in_use[i]))
		return "pinned while unmapped";
	uint64_t left = at[i] ? at[i] - 1 : i;
	mapping.iova = elsewhere * SIZE * PAGE;
	at[i] = elsewhere + 1;
	elsewhere = left;
	return vfd_map(f->container, &mapping, &err) ? fail_text("map", &err) : NULL;
}

static void *mapper(void *arg)
{
	uint64_t seed = 99;
	const char *problem = NULL;

	(void)arg;
	while (!problem && !atomic_load(&stop))
		problem = remap(next(&seed, MAPPINGS), next(&seed, 2) * 200000);
	return (void *)problem;
}

static void *harvester(void *arg)
{
	struct vfd_error err;

	(void)arg;
	while (!atomic_load(&stop)) {
		if (vfd_track_harvest(f->container, 0, NULL, &err))
			return (void *)fail_text("harvest", &err);
		sched_yield();
	}
	return NULL;
}

static void copy_run(const struct vfd_run *run)
{
	uint64_t page = (run->address - LOG_ADDRESS) / PAGE;

	for (uint64_t i = 0; i < run->size / PAGE && page + i < USED; i++)
		atomic_store_explicit(&copy[page + i],
				      atomic_load_explicit(content(page + i), memory_order_relaxed),
				      memory_order_relaxed);
}

static int copy_owed(struct vfd_error *err)
{
	struct vfd_consumer *consumer = vfd_log_consumer(f->log);
	struct vfd_batch batch;
	struct vfd_run runs[16];
	size_t n = 1;
	int rc = vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, err);

	while (!rc && batch.id && n) {
		rc = vfd_batch_runs(consumer, &batch, runs, 16, &n, err);
		for (size_t i = 0; !rc && i < n; i++)
			copy_run(&runs[i]);
	}
	return rc || !batch.id ? rc : vfd_commit(consumer, &batch, 0, UINT64_MAX, err);
}

static void *copier(void *arg)
{
	struct vfd_error err;

	(void)arg;
	while (!atomic_load(&stop)) {
		if (copy_owed(&err))
			return (void *)fail_text("copy", &err);
		sched_yield();
	}
	return NULL;
}

static void run_threads(unsigned milliseconds)
{
	void *(*const work[])(void *) = { mapper, harvester, copier, pinner, pinner, pinner };
	enum { COUNT = 3 + PINNERS };
	pthread_t threads[COUNT];
	void *problem;

	for (uintptr_t i = 0; i < COUNT; i++)
		ck_assert(!pthread_create(&threads[i], NULL, work[i], (void *)i));
	struct timespec nap = { .tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000 };
	nanosleep(&nap, NULL);
	atomic_store(&stop, true);
	for (int i = 0; i < COUNT; i++) {
		pthread_join(threads[i], &problem);
		ck_assert_msg(!problem, "%s", (char *)problem);
	}
}

START_TEST(nothing_lost)
{
	const char *text = getenv("VFD_MILLISECONDS");

	fixture_begin(f, NULL);
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	for (uint64_t i = 0; i < MAPPINGS; i++)
		OK(map_pages(f, i * SIZE, i * SIZE, SIZE, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	run_threads(text ? (unsigned)atoi(text) : 1500);
	OK(harvest(f, VFD_HARVEST_FINAL));
	OK(copy_owed(&f->err));
	for (uint64_t i = 0; i < USED; i++)
		ck_assert_msg(copy[i] == *content(i), "page %lu is lost", (unsigned long)i);
	printf("# %lu pins, %lu unmaps, %lu refused\n", pins_made, unmapped, refused);
	ck_assert(pins_made && unmapped && refused);
	fixture_end(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pin_threads");
	TCase *tcase = tcase_create("pin_threads");

	tcase_set_timeout(tcase, 600);
	tcase_add_test(tcase, nothing_lost);
	suite_add_tcase(suite, tcase);
	return run_all(suite);
}
