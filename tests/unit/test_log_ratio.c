/* SPDX-License-Identifier: MIT */

/* Bitmaps whose page size is not the log's: every ratio, aligned or not, against an oracle that takes one bit at a
 * time. Granularities are 1/64 to 64 pages of the log; addresses need be multiples of neither. With VFD_LONG in the
 * environment: 1000 bitmaps of each. */

#include "log.h" /* before check.h, which has a macro `fail` */

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <vfiodirty.h>

#include "random.h"

#include "../suite.h"

enum { PAGE = 4096, PAGES = 1000, WORDS = 40 };

static const struct log_source kernel = { .provenance = VFD_REPORTED, .who = "test" };
static const uint64_t base = 7 * PAGE; /* of the region: its first plane word is shared with what is before */

static uint64_t seed = 1;

static uint64_t rnd(void)
{
	return xorshift(&seed);
}

static struct vfd_log *make_log(void)
{
	struct vfd_log_options options = { .struct_size = sizeof options,
					   .flags = VFD_LOG_IDENTITY,
					   .page_size = PAGE };
	struct vfd_region region = { .struct_size = sizeof region, .address = base, .size = PAGES * PAGE };
	struct vfd_error err;
	struct vfd_log *log;

	ck_assert_msg(!vfd_log_create(&options, &log, &err), "%s", err.message);
	ck_assert_msg(!vfd_region_add(log, &region, &err), "%s", err.message);
	return log;
}

static bool is_set(const struct log_bits *b, uint64_t i)
{
	uint64_t bit = b->first_bit + i;

	return b->words[bit / 64] >> (bit % 64) & 1;
}

/* A page of the log is dirty if any byte of it is in a set bit. */
static uint64_t oracle(bool *dirty, const struct log_bits *b)
{
	uint64_t fresh = 0;

	for (uint64_t i = 0; i < b->bits; i++) {
		uint64_t first = (b->address + i * b->granularity) / PAGE;
		uint64_t last = (b->address + i * b->granularity + b->granularity - 1) / PAGE;
		for (uint64_t page = first; is_set(b, i) && page <= last; page++) {
			if (page < base / PAGE || page >= base / PAGE + PAGES || dirty[page])
				continue;
			dirty[page] = true;
			fresh++;
		}
	}
	return fresh;
}

static bool logged(struct vfd_log *log, uint64_t page)
{
	struct vfd_count count;

	ck_assert(!vfd_consumer_count(vfd_log_consumer(log), page * PAGE, page * PAGE + PAGE - 1, &count,
				      NULL));
	return count.owed;
}

static struct log_bits random_bits(uint64_t *words, uint64_t granularity)
{
	unsigned sparse = (unsigned)(rnd() % 3);
	uint64_t first = rnd() % 130, unit = granularity < PAGE ? granularity : PAGE;

	for (unsigned i = 0; i < WORDS; i++)
		words[i] = sparse == 0	 ? rnd()
			   : sparse == 1 ? rnd() & rnd() & rnd() & rnd()
			   : rnd() % 5	 ? 0
					 : 1;
	return (struct log_bits){
		.address = rnd() % (PAGES * PAGE) / unit * unit + (rnd() % 2 ? 0 : rnd() % PAGE),
		.granularity = granularity,
		.words = words,
		.first_bit = first,
		.bits = 1 + rnd() % (WORDS * 64 - first),
	};
}

/* Two bitmaps, so that the second meets pages that are dirty. */
static void one_case(uint64_t granularity)
{
	static bool dirty[PAGES + 100000];
	struct vfd_log *log = make_log();
	uint64_t words[WORDS];

	memset(dirty, 0, sizeof dirty);
	for (int round = 0; round < 2; round++) {
		struct log_bits bits = random_bits(words, granularity);
		uint64_t fresh = oracle(dirty, &bits);
		ck_assert_uint_eq(log_merge(log, &bits, &kernel), fresh);
	}
	for (uint64_t page = base / PAGE; page < base / PAGE + PAGES; page++)
		if (logged(log, page) != dirty[page])
			ck_abort_msg("granularity %llu: page %llu is %s", (unsigned long long)granularity,
				     (unsigned long long)page, dirty[page] ? "not logged" : "logged");
	ck_assert(!vfd_log_destroy(&log, VFD_DISCARD, NULL));
}

START_TEST(every_ratio)
{
	const int cases = getenv("VFD_LONG") ? 500 : 20;
	unsigned shift = (unsigned)_i;

	for (int i = 0; i < cases; i++)
		one_case((uint64_t)PAGE / 64 << shift);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ratio");
	TCase *tcase = tcase_create("ratio");

	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, every_ratio, 0, 13);
	suite_add_tcase(suite, tcase);
	return run_all(suite);
}
