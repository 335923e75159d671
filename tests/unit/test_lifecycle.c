/* SPDX-License-Identifier: MIT */

/* The life of a container: refuse or collect, never drop; and a log that is exact all the way. */

#include "fixture.h"

START_TEST(write_harvest_exact)
{
	struct fixture fixture, *f = &fixture;

	fixture_track(f, NULL);
	device_writes(f, 0, 5, 3);
	device_pins(f, 0, 100, 2);
	check_law(f);
	OK(harvest(f, 0));
	check_precise(f);
	device_unpins(f, 0, 100, 2);
	device_writes(f, 0, 1023, 1);
	check_law(f);
	OK(harvest(f, 0));
	check_precise(f);
	ck_assert_uint_eq(reported(f), 6);
	fixture_end(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lifecycle");

	add_case(suite, "write, harvest: exact", write_harvest_exact);
	return run_suite(suite);
}
