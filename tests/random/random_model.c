/* SPDX-License-Identifier: MIT */

/* random_model [OPERATIONS [SEED [mixed]]]: random operations on the model kernel, the law checked after each. mixed: one of the
 * two groups is physical. */

#include "play.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "model/model.h"

static const struct model_config config = {
	.group_count = PLAY_GROUPS,
	.groups = { { .number = 11, .kind = MODEL_EMULATED, .devices = { { .name = "vfdtest.0" } } },
		    { .number = 12, .kind = MODEL_EMULATED, .devices = { { .name = "vfdtest.1" } } } },
};

static const struct model_config mixed_config = {
	.group_count = PLAY_GROUPS,
	.groups = { { .number = 11, .kind = MODEL_EMULATED, .devices = { { .name = "vfdtest.0" } } },
		    { .number = 12,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = "0000:03:00.0", .pci = true } } } },
};

typedef bool law(struct side *side, const char **why);

struct tally {
	uint64_t done, succeeded[OP_KINDS], refused[OP_KINDS];
};

static bool run(struct side *side, uint64_t seed, uint64_t operations, law *check, struct tally *tally)
{
	uint64_t random = seed;
	const char *why;
	char text[160];

	for (; tally->done < operations; tally->done++) {
		struct op op = op_next(&random, true);
		int rc = side_play(side, &op);
		*(rc ? &tally->refused[op.kind] : &tally->succeeded[op.kind]) += 1;
		if (check(side, &why))
			continue;
		op_text(&op, text, sizeof text);
		printf("# seed %" PRIu64 ", operation %" PRIu64 " (%s) = %s: %s\n", seed, tally->done, text,
		       vfd_strcode(rc), why);
		return false;
	}
	return true;
}

/* What happened never, was never tested. */
static bool all_kinds(const struct tally *tally)
{
	bool all = true;

	for (int kind = 0; kind < OP_KINDS; kind++) {
		printf("#  %-16s %8" PRIu64 " done %8" PRIu64 " refused\n", op_name((enum op_kind)kind),
		       tally->succeeded[kind], tally->refused[kind]);
		all &= tally->succeeded[kind] || kind == OP_MAP_BAD;
	}
	return all;
}

static unsigned leaks(struct model *model)
{
	struct model_counts counts = model_counts(model);

	return counts.descriptors + counts.areas + counts.scratch + counts.triggers + counts.containers;
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
	bool mixed = argc > 3;
	struct model *model = model_new(mixed ? &mixed_config : &config);
	struct tally tally = { 0 };
	clock_t began = clock();
	char text[160];

	(mixed ? mixed_side : model_side)(side, model);
	for (int i = 0; i < PLAY_GROUPS; i++)
		side->numbers[i] = config.groups[i].number;
	side_begin(side);
	bool good = run(side, seed, operations, mixed ? mixed_side_check : model_side_check, &tally);
	snprintf(text, sizeof text,
		 "%" PRIu64 " random operations on the model%s, seed %" PRIu64 ": 0 lost, log as returned",
		 tally.done, mixed ? ", one group physical" : "", seed);
	good = say(good, text);
	good &= say(all_kinds(&tally), "each kind of operation succeeded at times");
	side_end(side);
	good &= say(side->clubbed, "some harvests clubbed mappings that are not aligned");
	good &= say(!leaks(model), "nothing is left open");
	printf("# %" PRIu64 " harvests clubbed; %" PRIu64 " pages entered the log, %" PRIu64
	       " of them unwritten; %.1f s\n1..4\n",
	       side->clubbed, side->delivered, side->over, (double)(clock() - began) / CLOCKS_PER_SEC);
	model_free(model);
	free(side);
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
