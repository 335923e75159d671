/* SPDX-License-Identifier: MIT */

/* The rows that need no kernel; guest.c has the others. */

#include "bench.h"
#include "rows.h"

int main(int argc, char **argv)
{
	static const struct group groups[] = {
		{ "machine", rows_machine }, { "lookup", rows_lookup },	    { "insert", rows_insert },
		{ "merge", rows_merge },     { "marking", rows_marking },   { "runs", rows_runs },
		{ "take", rows_take },	     { "parallel", rows_parallel }, { "pins", rows_pins },
		{ "memory", rows_memory },   { "cover", rows_cover },
	};

	options_parse(argc, argv);
	return groups_run(groups, sizeof groups / sizeof *groups);
}
