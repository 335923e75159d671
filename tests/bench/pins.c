/* SPDX-License-Identifier: MIT */

/* What a driver pays for each buffer: pin and unpin one page, translate an address. */

#include "bench.h"
#include "logs.h"
#include "mappings.h"
#include "quick.h"
#include "rows.h"

enum { TIMES = 1 << 14, BUFFERS = 64 << 20, IOVA = 1 << 30 };

#define MEMORY (UINT64_C(1) << 44)

static uint64_t addresses[TIMES]; /* of pages of the buffers, random */

static void *memory_at(uint64_t address)
{
	return (void *)(uintptr_t)address;
}

/* ---- a driver ---- */

struct driver {
	struct quick quick;
	struct vfd_pinset *sets[2];
	bool fresh; /* nothing is owed at the beginning of a measurement */
};

static void driver_open(struct driver *d, bool tracked)
{
	quick_open(&d->quick, TIB);
	quick_map_memory(&d->quick, IOVA, MEMORY, BUFFERS);
	for (unsigned i = 0; i < 2; i++)
		must("vfd_pinset_create", vfd_pinset_create(d->quick.container, NULL, &d->sets[i], NULL));
	if (tracked)
		must("vfd_track_start", vfd_track_start(d->quick.container, NULL, NULL, NULL));
}

static void driver_close(struct driver *d)
{
	for (unsigned i = 0; i < 2; i++)
		must("vfd_pinset_destroy", vfd_pinset_destroy(&d->sets[i], 0, NULL));
	quick_end(&d->quick);
}

static void pin_all(struct vfd_pinset *set)
{
	struct vfd_pin pin;
	uint64_t sum = 0; /* two threads that add to one variable would measure that */

	for (size_t i = 0; i < TIMES; i++) {
		int rc = vfd_pin(set, memory_at(addresses[i]), PAGE, VFD_PIN_WRITE, &pin, NULL);
		if (rc || vfd_unpin(set, &pin, 1, NULL))
			give_up("pin or unpin", rc);
		sum += pin.iova;
	}
	sink += sum;
}

static double pin_once(void *arg)
{
	struct driver *d = arg;

	if (d->fresh) {
		quick_harvest(&d->quick);
		log_empty(d->quick.log);
	}
	double began = cpu_ns();
	pin_all(d->sets[0]);
	return (cpu_ns() - began) / TIMES;
}

/* ---- the others ---- */

static double two_fences(void *arg)
{
	double began = cpu_ns();

	(void)arg;
	for (size_t i = 0; i < TIMES; i++) {
		sink += addresses[i];
		__sync_synchronize();
		sink += addresses[i];
		__sync_synchronize();
	}
	return (cpu_ns() - began) / TIMES;
}

static double count_under_a_lock(void *arg)
{
	struct counted *c = arg;
	double began = cpu_ns();

	for (size_t i = 0; i < TIMES; i++) {
		sink += counted_pin(c, addresses[i]);
		counted_unpin(c, addresses[i]);
	}
	return (cpu_ns() - began) / TIMES;
}

/* ---- one thread ---- */

static void rows_pin(void)
{
	struct driver off = { 0 }, on = { 0 }, fresh = { .fresh = true };
	struct counted counted;
	struct contender all[] = { { .once = pin_once, .arg = &off },
				   { .once = two_fences },
				   { .once = count_under_a_lock, .arg = &counted },
				   { .once = pin_once, .arg = &on },
				   { .once = pin_once, .arg = &fresh } };
	struct row row = { .name = "pin-unpin", .unit = "ns", .peer = "two full fences", .at_most = 30 };

	counted_make(&counted, MEMORY, IOVA, BUFFERS);
	driver_open(&off, false);
	driver_open(&on, true);
	driver_open(&fresh, true);
	race(all, 5, repetitions(31));
	row_print(&row, &all[0].took, &all[1].took);
	row = (struct row){ .name = "pin-unpin",
			    .unit = "ns",
			    .peer = "a lock, a count per 2 MiB (a model)" };
	row_print(&row, &all[0].took, &all[2].took);
	row = (struct row){
		.name = "pin-unpin-tracking", .unit = "ns", .peer = "tracking off", .at_most_times = 1.5
	};
	row_print(&row, &all[3].took, &all[0].took);
	row.name = "pin-unpin-tracking-first-marks";
	row.at_most_times = 0;
	row_print(&row, &all[4].took, &all[0].took);
	driver_close(&off);
	driver_close(&on);
	driver_close(&fresh);
	counted_free(&counted);
}

/* ---- two threads ---- */

static void pin_in(unsigned index, void *arg)
{
	struct driver *d = arg;

	for (int i = 0; i < 8; i++)
		pin_all(d->sets[index]);
}

static void count_in(unsigned index, void *arg)
{
	struct {
		_Alignas(128) volatile uint64_t count;
	} *mine = arg;

	for (size_t i = 0; i < 32 * TIMES; i++)
		mine[index].count++;
}

/* Of one thread's time for the work of both */
static double share_of(void (*work)(unsigned index, void *arg), void *arg)
{
	double began = wall_ns();

	work(0, arg);
	work(1, arg);
	double one = wall_ns() - began;
	return two_threads(work, arg) / one;
}

static double share_pins(void *arg)
{
	return share_of(pin_in, arg);
}

static double share_counters(void *arg)
{
	return share_of(count_in, arg);
}

static void rows_two_threads(bool tracked, const char *name)
{
	static _Alignas(128) unsigned char counters[2 * 128];
	struct driver d = { 0 };
	struct contender two[] = { { .once = share_pins, .arg = &d },
				   { .once = share_counters, .arg = counters } };

	driver_open(&d, tracked);
	row_race(&(struct row){ .name = name,
				.unit = "of one",
				.peer = "two private counters",
				.at_least_times = 0.9 },
		 two, MOST_REPETITIONS);
	driver_close(&d);
}

/* ---- translation ---- */

/* Asks all questions, one after the other, and adds the answers: IOVAs. */
#define TRANSLATE(name, count, expression)                                                                   \
	static double name(void *arg)                                                                        \
	{                                                                                                    \
		struct translation *t = arg;                                                                 \
		uint64_t sum = 0;                                                                            \
		double began = cpu_ns();                                                                     \
		for (size_t i = 0; i < (count); i++)                                                         \
			sum += (expression);                                                                 \
		double took = cpu_ns() - began;                                                              \
		t->answers = sum;                                                                            \
		return took / (count);                                                                       \
	}

struct translation {
	struct vfd_pinset *set;
	const struct counted *counted;
	const struct mappings *m;
	uint64_t answers;
};

static inline uint64_t ask_memory(struct vfd_pinset *set, uint64_t address)
{
	struct vfd_translation found;

	if (vfd_translate(set, memory_at(address), &found, NULL))
		give_up("vfd_translate", -1);
	return found.iova;
}

static inline uint64_t ask_iova(struct vfd_pinset *set, uint64_t iova)
{
	struct vfd_translation found;

	if (vfd_translate_iova(set, iova, &found, NULL))
		give_up("vfd_translate_iova", -1);
	return (uintptr_t)found.memory;
}

static inline uint64_t flat_ask(const struct flat *flat, uint64_t address, bool memory)
{
	const struct mapping *m = flat_find(flat, address);

	return memory ? m->where.first + (address - (uintptr_t)m->memory)
		      : (uintptr_t)m->memory + (address - m->where.first);
}

TRANSLATE(hit, TIMES, ask_memory(t->set, addresses[i]))
TRANSLATE(hit_counted, TIMES, counted_translate(t->counted, addresses[i]))
TRANSLATE(miss_memory, QUESTIONS, ask_memory(t->set, t->m->memory_hits[i]))
TRANSLATE(flat_memory, QUESTIONS, flat_ask(&t->m->flat_memory, t->m->memory_hits[i], true))
TRANSLATE(miss_iova, QUESTIONS, ask_iova(t->set, t->m->hits[i]))
TRANSLATE(flat_iova, QUESTIONS, flat_ask(&t->m->flat, t->m->hits[i], false))

static void compare(const struct row *row, struct translation t, double (*ours)(void *),
		    double (*peer)(void *))
{
	struct translation other = t;
	struct contender two[] = { { .once = ours, .arg = &t }, { .once = peer, .arg = &other } };

	row_race(row, two, 31);
	must_agree(row->name, t.answers, other.answers);
}

static void rows_hit(void)
{
	struct driver d = { 0 };
	struct counted counted;

	driver_open(&d, false);
	counted_make(&counted, MEMORY, IOVA, BUFFERS);
	compare(&(struct row){ .name = "translate-hit",
			       .unit = "ns",
			       .peer = "an array of 2 MiB pieces",
			       .at_most = 15 },
		(struct translation){ .set = d.sets[0], .counted = &counted }, hit, hit_counted);
	counted_free(&counted);
	driver_close(&d);
}

static void rows_miss(size_t count, const char *by_iova, const char *by_memory, double at_most)
{
	struct driver d = { 0 };
	struct mappings m;
	struct row row = {
		.name = by_iova, .unit = "ns", .peer = "flat array, branchless", .at_most = at_most
	};

	mappings_make(&m, count);
	quick_open(&d.quick, TIB);
	for (size_t i = 0; i < m.count; i++)
		quick_map_memory(&d.quick, m.records[i].where.first, (uintptr_t)m.records[i].memory,
				 range_size(m.records[i].where));
	must("vfd_pinset_create", vfd_pinset_create(d.quick.container, NULL, &d.sets[0], NULL));
	struct translation t = { .set = d.sets[0], .m = &m };
	compare(&row, t, miss_iova, flat_iova);
	row.name = by_memory;
	compare(&row, t, miss_memory, flat_memory);
	must("vfd_pinset_destroy", vfd_pinset_destroy(&d.sets[0], 0, NULL));
	quick_end(&d.quick);
	mappings_free(&m);
}

static void nothing(unsigned index, void *arg)
{
	(void)index;
	(void)arg;
}

void rows_pins(void)
{
	uint64_t seed = 17;

	two_threads(nothing, NULL); /* libc's mutex is cheaper as long as there never was a second thread */

	for (size_t i = 0; i < TIMES; i++)
		addresses[i] = MEMORY + random_next(&seed) % (BUFFERS / PAGE) * PAGE;
	rows_pin();
	rows_two_threads(false, "pin-unpin-two-threads");
	rows_two_threads(true, "pin-unpin-two-threads-tracking");
	rows_hit();
	rows_miss(65536, "translate-iova-miss-65536", "translate-memory-miss-65536", 60);
}
