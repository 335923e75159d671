/* SPDX-License-Identifier: MIT */

/* A device that logs its DMA writes all the time, while one thread maps and unmaps and two harvest: all that it wrote is in the log. */

#include "fixture.h"

#include <endian.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum { ROUNDS = 600, PIECE = 16, PIECES = 32 };

static struct fixture fixture, *f = &fixture;
static const struct model_log how = { .pds = true };
static atomic_bool done;
static atomic_uint writes, refused;

static const struct model_config logging = {
	.group_count = 1,
	.groups = { { .number = 20,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = PCI_NAME, .pci = true, .log = &how } } } },
};

static void *write_all_the_time(void *arg)
{
	unsigned random = 1;

	(void)arg;
	while (!atomic_load(&done)) {
		random = random * 1103515245 + 12345;
		writes += !model_dma_write(f->model, PCI_NAME, (random >> 8) % (PIECE * PIECES) * PAGE, 8,
					   random);
	}
	return NULL;
}

/* By turns over one half of the memory and the other. */
static void *map_and_unmap(void *arg)
{
	(void)arg;
	for (uint64_t i = 0; i < ROUNDS; i++) {
		uint64_t page = i * 7 % PIECES * PIECE, half = i / PIECES % 2 ? 0 : PAGES / 2;
		refused += unmap_pages(f, page, PIECE) || map_pages(f, page, half + page, PIECE, RW);
	}
	atomic_store(&done, true);
	return NULL;
}

static void *harvest_parts(void *arg)
{
	for (uint64_t i = (uintptr_t)arg; !atomic_load(&done); i++) {
		uint64_t first = i % 8 * 64 * PAGE;
		refused += !!(i % 2 ? vfd_track_harvest(f->container, 0, NULL, NULL)
				    : vfd_track_harvest_range(f->container, first, first + 64 * PAGE - 1,
							      NULL, NULL));
	}
	return NULL;
}

static void begin(void)
{
	uint16_t command = htole16(PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);

	fixture_begin(f, &logging);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	for (uint64_t i = 0; i < PIECES; i++)
		OK(map_pages(f, i * PIECE, i * PIECE, PIECE, RW));
	OK(vfd_device_write(f->device, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
}

START_TEST(nothing_is_lost)
{
	void *(*const work[])(void *) = { write_all_the_time, map_and_unmap, harvest_parts, harvest_parts };
	pthread_t threads[4];

	begin();
	for (uintptr_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, work[i], (void *)i), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(refused, 0);
	ck_assert_uint_gt(writes, 100);
	OK(vfd_device_quiesce(f->device, &f->err));
	OK(harvest(f, VFD_HARVEST_FINAL));
	check_device_logged(f, PCI_NAME);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	fixture_end(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("devlog threads");

	add_case(suite, "devlog threads", nothing_is_lost);
	return run_suite(suite);
}
