/* SPDX-License-Identifier: MIT */

/* What a driver pays for each buffer. Memory is one mapping of 64 MiB, of which all was used once before. */

#include "instructions.h"

#include "bench.h"
#include "logs.h"
#include "mappings.h"
#include "quick.h"

enum { BUFFERS = 64 << 20, IOVA = 1 << 30, BLOCK = 512, LARGEST = 8 * BLOCK };

#define MEMORY (UINT64_C(1) << 44)

static struct quick quick;
static struct vfd_pinset *set;
static uint64_t seed = 1;

static void *memory_at(uint64_t address)
{
	return (void *)(uintptr_t)address;
}

static inline void pin_unpin(uint64_t address, uint64_t size)
{
	struct vfd_pin pin;
	int rc = vfd_pin(set, memory_at(address), size, VFD_PIN_WRITE, &pin, NULL);

	sink += pin.iova;
	if (rc || vfd_unpin(set, &pin, 1, NULL))
		give_up("pin or unpin", rc);
}

static void use_all(void)
{
	for (uint64_t at = 0; at < BUFFERS; at += PAGE)
		pin_unpin(MEMORY + at, PAGE);
}

static void buffers(bool tracked)
{
	quick_open(&quick, TIB);
	quick_map_memory(&quick, IOVA, MEMORY, BUFFERS);
	must("vfd_pinset_create", vfd_pinset_create(quick.container, NULL, &set, NULL));
	if (tracked)
		must("vfd_track_start", vfd_track_start(quick.container, NULL, NULL, NULL));
	use_all();
}

/* All that is owed is sent: the next mark of each page is its first one. */
static void next_round(void)
{
	quick_harvest(&quick);
	log_empty(quick.log);
}

/* ---- one page ---- */

MEASURED measured_pin(uint64_t address)
{
	pin_unpin(address, PAGE);
}

static uint64_t pin_pages(void)
{
	for (size_t i = 0; i < TIMES; i++)
		measured_pin(MEMORY + random_next(&seed) % (BUFFERS / PAGE) * PAGE);
	return TIMES;
}

static uint64_t pin_untracked(void)
{
	buffers(false);
	return pin_pages();
}

static uint64_t pin_marked(void)
{
	buffers(true);
	return pin_pages();
}

/* ---- requests as examples/nvme makes them: 1 to 8 blocks of 512 bytes, anywhere ---- */

enum driver { KNOWS, TRANSLATES, PINS };

MEASURED measured_request(enum driver driver, uint64_t address, uint64_t size)
{
	struct vfd_translation found;

	if (driver == PINS) {
		pin_unpin(address, size);
	} else if (driver == TRANSLATES) {
		if (vfd_translate(set, memory_at(address), &found, NULL))
			give_up("vfd_translate", 0);
		sink += found.iova;
	} else {
		sink += address - MEMORY + IOVA;
	}
}

static uint64_t requests(enum driver driver)
{
	for (size_t i = 0; i < TIMES; i++) {
		uint64_t size = BLOCK + random_next(&seed) % 8 * BLOCK;
		uint64_t places = (BUFFERS - size) / BLOCK + 1;
		measured_request(driver, MEMORY + random_next(&seed) % places * BLOCK, size);
	}
	return TIMES;
}

static uint64_t request_known(void)
{
	buffers(false);
	return requests(KNOWS);
}

static uint64_t request_translated(void)
{
	buffers(false);
	return requests(TRANSLATES);
}

static uint64_t request_pinned(void)
{
	buffers(false);
	return requests(PINS);
}

static uint64_t request_tracked(void)
{
	buffers(true);
	return requests(PINS);
}

/* One round of a migration, as long as there: a quarter as many requests as there are pages */
static uint64_t request_round(void)
{
	buffers(true);
	next_round();
	return requests(PINS);
}

/* ---- translation ---- */

MEASURED measured_translation(uint64_t address)
{
	struct vfd_translation found;

	must("vfd_translate", vfd_translate(set, memory_at(address), &found, NULL));
	sink += found.iova;
}

MEASURED measured_translation_iova(uint64_t iova)
{
	struct vfd_translation found;

	must("vfd_translate_iova", vfd_translate_iova(set, iova, &found, NULL));
	sink += (uintptr_t)found.memory;
}

static uint64_t translate_hit(void)
{
	buffers(false);
	for (size_t i = 0; i < TIMES; i++)
		measured_translation(MEMORY + random_next(&seed) % BUFFERS);
	return TIMES;
}

static struct mappings *many(void)
{
	static struct mappings m;

	mappings_make(&m, 65536);
	quick_open(&quick, TIB);
	for (size_t i = 0; i < m.count; i++)
		quick_map_memory(&quick, m.records[i].where.first, (uintptr_t)m.records[i].memory,
				 range_size(m.records[i].where));
	must("vfd_pinset_create", vfd_pinset_create(quick.container, NULL, &set, NULL));
	return &m;
}

static uint64_t translate_miss(void)
{
	const struct mappings *m = many();

	for (size_t i = 0; i < TIMES; i++)
		measured_translation(m->memory_hits[i]);
	return TIMES;
}

static uint64_t translate_miss_iova(void)
{
	const struct mappings *m = many();

	for (size_t i = 0; i < TIMES; i++)
		measured_translation_iova(m->hits[i]);
	return TIMES;
}

/* ---- IOVAs ---- */

MEASURED measured_map_anywhere(uint64_t address)
{
	struct vfd_mapping mapping = { .struct_size = sizeof mapping,
				       .flags = VFD_MAP_READ | VFD_MAP_WRITE,
				       .size = 16 * PAGE,
				       .memory = memory_at(address) };

	must("vfd_map_anywhere", vfd_map_anywhere(quick.container, &mapping, NULL, NULL));
}

static uint64_t map_anywhere(void)
{
	quick_open(&quick, TIB);
	for (size_t i = 0; i < TIMES; i++)
		measured_map_anywhere(MEMORY + i * 16 * PAGE);
	return TIMES;
}

const struct operation pin_operations[] = {
	{ "pin-unpin", pin_untracked, "measured_pin" },
	{ "pin-unpin-tracking", pin_marked, "measured_pin" },
	{ "request-address-known", request_known, "measured_request" },
	{ "request-translated", request_translated, "measured_request" },
	{ "request-pinned", request_pinned, "measured_request" },
	{ "request-pinned-tracking", request_tracked, "measured_request" },
	{ "request-pinned-round", request_round, "measured_request" },
	{ "translate-hit", translate_hit, "measured_translation" },
	{ "translate-miss", translate_miss, "measured_translation" },
	{ "translate-miss-iova", translate_miss_iova, "measured_translation_iova" },
	{ "map-anywhere", map_anywhere, "measured_map_anywhere" },
};

const size_t pin_operations_count = sizeof pin_operations / sizeof *pin_operations;
