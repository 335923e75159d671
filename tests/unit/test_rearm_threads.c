/* SPDX-License-Identifier: MIT */

/* A device that logs its DMA, and cannot log all that may be mapped, writes while one thread maps and unmaps outside of what it logs, one
 * arms it anew, paused and running, and one harvests: all that it wrote is in the log. */

#include "fixture.h"

#include <endian.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum { ROUNDS = 400, PIECE = 16, PIECES = 32, APART = 64 }; /* pages */

static struct fixture fixture, *f = &fixture;
static const struct model_log how = { .pds = true, .total_limit = 600 * PAGE };
static atomic_bool done;
static atomic_uint writes, refused, rearms;
static _Atomic(uint64_t) paused;

static const struct model_config logging = {
	.group_count = 1,
	.groups = { { .number = 20,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = PCI_NAME, .pci = true, .log = &how } } } },
};

/* Every other piece comes and goes, each time elsewhere: far from what is armed. */
static atomic_uint places[PIECES];

static uint64_t piece_at(unsigned piece)
{
	return (uint64_t)places[piece % PIECES] * PIECES * APART + piece % PIECES * APART;
}

static void *write_all_the_time(void *arg)
{
	unsigned random = 1;

	(void)arg;
	while (!atomic_load(&done)) {
		random = random * 1103515245 + 12345;
		writes += !model_dma_write(f->model, PCI_NAME,
					   piece_at(random >> 20) * PAGE + (random >> 8) % (PIECE * PAGE), 1,
					   random);
	}
	return NULL;
}

/* Until the others had their turns. */
static bool go_on(unsigned round)
{
	return round < ROUNDS || (round < 1000 * ROUNDS && (writes <= 100 || rearms <= 2 || !paused));
}

static void *map_and_unmap(void *arg)
{
	(void)arg;
	for (unsigned i = 0; go_on(i); i++) {
		unsigned piece = (i * 7 % PIECES) | 1;
		refused += !!unmap_pages(f, piece_at(piece), PIECE);
		places[piece] = i % 5;
		refused += !!map_pages(f, piece_at(piece), piece * PIECE, PIECE, RW);
	}
	atomic_store(&done, true);
	return NULL;
}

static void *arm_anew(void *arg)
{
	struct vfd_rearm_options options = { .struct_size = sizeof options, .flags = VFD_REARM_RUNNING };

	(void)arg;
	for (unsigned i = 0; !atomic_load(&done); i++) {
		struct vfd_rearm did = { .struct_size = sizeof did };
		if (i % 2) {
			refused += !!vfd_track_rearm(f->container, &options, &did, NULL);
			rearms += did.running;
			continue;
		}
		uint64_t before = plan_of(f).rearms;
		refused += !!vfd_device_quiesce(f->device, NULL);
		refused += !!vfd_device_resume(f->device, NULL);
		paused += plan_of(f).rearms - before;
	}
	return NULL;
}

static void *harvest_all(void *arg)
{
	(void)arg;
	while (!atomic_load(&done))
		refused += !!vfd_track_harvest(f->container, 0, NULL, NULL);
	return NULL;
}

static void begin(void)
{
	uint16_t command = htole16(PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);

	fixture_begin(f, &logging);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	for (uint64_t i = 0; i < PIECES; i++)
		OK(map_pages(f, piece_at((unsigned)i), i * PIECE, PIECE, RW));
	OK(vfd_device_write(f->device, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
}

START_TEST(nothing_is_lost)
{
	void *(*const work[])(void *) = { write_all_the_time, map_and_unmap, arm_anew, harvest_all };
	pthread_t threads[4];

	begin();
	for (uintptr_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, work[i], (void *)i), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(refused, 0);
	ck_assert_uint_gt(writes, 100);
	ck_assert_uint_gt(rearms, 2);
	ck_assert_uint_gt(paused, 0);
	ck_assert_uint_eq(plan_of(f).rearms, rearms + paused);
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(harvest(f, VFD_HARVEST_FINAL));
	check_device_logged(f, PCI_NAME);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	fixture_end(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rearm threads");

	add_case(suite, "rearm threads", nothing_is_lost);
	return run_suite(suite);
}
