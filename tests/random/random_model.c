/* SPDX-License-Identifier: MIT */

/* random_model [OPERATIONS [SEED [mixed|iommufd]]]: random operations on the model kernel, the law checked after each. mixed: one of the
 * two groups is physical; iommufd: both are, behind an IOMMU that sets dirty bits. */

#include "kinds.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct tally {
	uint64_t done, succeeded[OP_KINDS], refused[OP_KINDS];
};

static bool run(struct side *side, uint64_t seed, uint64_t operations, const struct kind *kind,
		struct tally *tally)
{
	uint64_t random = seed;
	const char *why;
	char text[160];

	for (; tally->done < operations; tally->done++) {
		struct op op = op_next(&random, kind->bursts);
		int rc = side_play(side, &op);
		*(rc ? &tally->refused[op.kind] : &tally->succeeded[op.kind]) += 1;
		if (kind->check(side, &why))
			continue;
		op_text(&op, text, sizeof text);
		printf("# seed %" PRIu64 ", operation %" PRIu64 " (%s) = %s: %s\n", seed, tally->done, text,
		       vfd_strcode(rc), why);
		return false;
	}
	return true;
}

/* What happened never, was never tested. */
static bool all_kinds(const struct tally *tally, bool bursts)
{
	bool all = true;

	for (int kind = 0; kind < OP_KINDS; kind++) {
		printf("#  %-16s %8" PRIu64 " done %8" PRIu64 " refused\n", op_name((enum op_kind)kind),
		       tally->succeeded[kind], tally->refused[kind]);
		all &= tally->succeeded[kind] || kind == OP_MAP_BAD || (kind == OP_BURST && !bursts);
	}
	return all;
}

/* TAP: to standard output, and where Check's programs leave theirs. */
static bool say(bool good, const char *what)
{
	const char *path = getenv("CK_TAP_LOG_FILE_NAME");
	static unsigned number;
	FILE *tap = path ? fopen(path, number ? "ae" : "we") : NULL;

	number++;
	printf("%sok %u - %s\n", good ? "" : "not ", number, what);
	if (tap) {
		fprintf(tap, "%sok %u - random: %s\n", good ? "" : "not ", number, what);
		fclose(tap);
	}
	return good;
}

int main(int argc, char **argv)
{
	uint64_t operations = argc > 1 ? strtoull(argv[1], NULL, 0) : 100000;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	struct side *side = calloc(1, sizeof *side);
	const struct kind *kind = kind_named(argc > 3 ? argv[3] : "");
	struct tally tally = { 0 };
	clock_t began = clock();
	char text[160];

	if (!kind)
		return 2;
	struct model *model = model_new(kind->config);
	kind_begin(kind, side, model);
	bool good = run(side, seed, operations, kind, &tally);
	snprintf(text, sizeof text,
		 "%" PRIu64 " random operations on the model%s, seed %" PRIu64 ": 0 lost, log as returned",
		 tally.done, kind->text, seed);
	good = say(good, text);
	good &= say(all_kinds(&tally, kind->bursts), "each kind of operation succeeded at times");
	side_end(side);
	good &= say(side->clubbed || !kind->clubs, "some harvests clubbed mappings that are not aligned");
	good &= say(!model_leaks(model), "nothing is left open");
	printf("# %" PRIu64 " harvests clubbed; %" PRIu64 " pages entered the log, %" PRIu64
	       " of them unwritten; %.1f s\n1..4\n",
	       side->clubbed, side->delivered, side->over, (double)(clock() - began) / CLOCKS_PER_SEC);
	model_free(model);
	free(side);
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
