/* SPDX-License-Identifier: MIT */

/* Threads that store, pin for a device that writes, unmap and map, harvest and copy, while audits look: nobody is accused falsely, and each
 * write behind the driver's back is found. */

#include "fixture.h"
#include "random.h"

#include <endian.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* The first pages are everybody's, those of BUSY come and go; nobody but the rogue touches the last. */
enum { SHARED = 64, BUSY = 32, QUIET = 32, ALL = SHARED + BUSY + QUIET };

static struct fixture fixture, *f = &fixture;
static atomic_bool stop;
static atomic_ulong stores, writes, remaps, rounds;

static uint64_t next(uint64_t *seed, uint64_t below)
{
	return xorshift(seed) % below;
}

static const char *fail_text(const char *what, const struct vfd_error *err)
{
	char *text;

	return asprintf(&text, "%s: %s", what, err->message) < 0 ? what : text;
}

static void *storer(void *arg)
{
	uint64_t seed = (uintptr_t)arg + 1;

	while (!atomic_load(&stop)) {
		uint64_t value = next(&seed, UINT64_MAX);
		char *at = f->memory + next(&seed, SHARED + BUSY) * PAGE + next(&seed, 512) * 8;
		if (model_store(f->model, at, &value, 8))
			return "a store failed";
		atomic_fetch_add(&stores, 1);
		if (!next(&seed, 8)) /* or no page would ever be judged */
			nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
	}
	return NULL;
}

/* Some pins last longer than a check. */
static const char *use(struct vfd_pinset *set, uint64_t *seed)
{
	struct vfd_error err;
	struct vfd_pin pin;
	int rc = vfd_pin(set, f->memory + next(seed, SHARED + BUSY) * PAGE, 64, VFD_PIN_WRITE, &pin, &err);

	if (rc == VFD_ENOTMAPPED)
		return NULL;
	if (rc)
		return fail_text("pin", &err);
	for (uint64_t i = next(seed, 3); i < 4; i++) {
		if (model_dma_write(f->model, PCI_NAME, pin.iova, 64, next(seed, UINT64_MAX)))
			return "a device cannot write";
		if (!next(seed, 4))
			nanosleep(&(struct timespec){ .tv_nsec = (long)next(seed, 2000000) }, NULL);
	}
	atomic_fetch_add(&writes, 1);
	return vfd_unpin(set, &pin, 1, &err) ? fail_text("unpin", &err) : NULL;
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
		problem = use(set, &seed);
	if (!problem && vfd_pinset_destroy(&set, 0, &err))
		problem = fail_text("destroy", &err);
	return (void *)problem;
}

static void *mapper(void *arg)
{
	struct vfd_error err;
	struct vfd_mapping mapping = { .struct_size = sizeof mapping,
				       .flags = RW,
				       .iova = SHARED * PAGE,
				       .size = BUSY * PAGE,
				       .memory = f->memory + SHARED * PAGE };

	(void)arg;
	while (!atomic_load(&stop)) {
		nanosleep(&(struct timespec){ .tv_nsec = 3000000 }, NULL);
		int rc = vfd_unmap_wait(f->container, mapping.iova, mapping.size, 20000000, &err);
		if (rc == VFD_EPINNED)
			continue;
		if (rc || vfd_map(f->container, &mapping, &err))
			return (void *)fail_text("map or unmap", &err);
		atomic_fetch_add(&remaps, 1);
	}
	return NULL;
}

static void *migration(void *arg)
{
	struct vfd_consumer *consumer = vfd_log_consumer(f->log);
	struct vfd_batch batch;
	struct vfd_error err;

	(void)arg;
	while (!atomic_load(&stop)) {
		if (vfd_track_harvest(f->container, 0, NULL, &err) ||
		    vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, &err) ||
		    (batch.id && vfd_commit(consumer, &batch, 0, UINT64_MAX, &err)))
			return (void *)fail_text("harvest, take or commit", &err);
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	return NULL;
}

/* One page written behind the driver's back while a check may be running, and two checks that begin later. */
static const char *one_round(struct vfd_audit *audit, uint64_t *seed)
{
	struct vfd_audit_result result = { .struct_size = sizeof result };
	struct vfd_audit_finding found[4];
	struct vfd_error err;
	uint64_t page = SHARED + BUSY + next(seed, QUIET), bytes = 0;

	if (model_dma_write(f->model, PCI_NAME, page * PAGE, 8, next(seed, UINT64_MAX)))
		return "the rogue cannot write";
	for (int i = 0; i < 3; i++) {
		if (vfd_audit_check(audit, 0, found, 4, &result, &err))
			return fail_text("check", &err);
		for (uint32_t j = 0; j < result.count; j++)
			if (found[j].iova != page * PAGE || found[j].size != PAGE)
				return "somebody is accused falsely";
		bytes += result.found_bytes + result.more_bytes;
	}
	atomic_fetch_add(&rounds, 1);
	return bytes == PAGE ? NULL : "not found";
}

static void run_threads(struct vfd_audit *audit, unsigned milliseconds)
{
	void *(*const work[])(void *) = { mapper, migration, storer, storer, pinner, pinner, pinner };
	enum { COUNT = 7 };
	pthread_t threads[COUNT];
	struct timespec now, until;
	const char *problem = NULL;
	uint64_t seed = 77;
	void *other;

	for (uintptr_t i = 0; i < COUNT; i++)
		ck_assert(!pthread_create(&threads[i], NULL, work[i], (void *)i));
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += milliseconds / 1000 + 1;
	do {
		problem = one_round(audit, &seed);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (!problem && now.tv_sec < until.tv_sec);
	atomic_store(&stop, true);
	for (int i = 0; i < COUNT; i++) {
		pthread_join(threads[i], &other);
		ck_assert_msg(!other, "%s", (char *)other);
	}
	ck_assert_msg(!problem, "%s, after %lu rounds", problem, rounds);
}

static void master_on(void)
{
	uint16_t command = htole16(PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);

	OK(vfd_device_write(f->device, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2, &f->err));
}

START_TEST(nobody_else_is_accused)
{
	const char *text = getenv("VFD_MILLISECONDS");
	struct vfd_audit *audit;

	fixture_begin(f, &one_physical);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	OK(vfd_device_pins_all(f->device, &f->err));
	OK(map_pages(f, 0, 0, SHARED, RW));
	OK(map_pages(f, SHARED, SHARED, BUSY, RW));
	OK(map_pages(f, SHARED + BUSY, SHARED + BUSY, QUIET, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	master_on();
	OK(vfd_audit_create(f->container, 0, &audit, &f->err));
	run_threads(audit, text ? (unsigned)atoi(text) : 1500);
	OK(vfd_audit_destroy(&audit, &f->err));
	printf("# %lu stores, %lu uses, %lu remaps, %lu rounds\n", stores, writes, remaps, rounds);
	ck_assert(stores && writes && remaps && rounds);
	fixture_end(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("audit_threads");
	TCase *tcase = tcase_create("audit_threads");

	tcase_set_timeout(tcase, 600);
	tcase_add_test(tcase, nobody_else_is_accused);
	suite_add_tcase(suite, tcase);
	return run_suite(suite);
}
