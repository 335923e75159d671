/* SPDX-License-Identifier: MIT */

/* real_random [OPERATIONS [SEED [iommufd]]]: the same random operations on the real kernel and on the model. After each, the library must
 * have answered the same, and the same pages must have entered the log. Runs in the guest. iommufd: on its mock domains. */

#include "play.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "model/model.h"
#include "real/iommufd_mock.h"

static int command_real(struct side *side, unsigned long request, void *arg)
{
	return ioctl(*(int *)side->context, request, arg) < 0 ? -errno : 0;
}

static bool find_groups(struct side *side)
{
	FILE *list = fopen("/run/vfdtest", "re");
	unsigned index, found = 0;
	int number;

	while (list && fscanf(list, "%u %d %*s", &index, &number) == 2)
		if (index < PLAY_GROUPS) {
			side->numbers[index] = number;
			found++;
		}
	if (list)
		fclose(list);
	return found == PLAY_GROUPS;
}

static bool same_counts(struct side *a, struct side *b)
{
	struct vfd_count one = { 0 }, other = { 0 };

	vfd_consumer_count(a->consumer, 0, UINT64_MAX, &one, NULL);
	vfd_consumer_count(b->consumer, 0, UINT64_MAX, &other, NULL);
	return one.owed == other.owed && one.reported == other.reported && one.taken == other.taken;
}

/* What the two sides disagree in, or NULL. */
static const char *difference(struct side *real, int real_rc, struct side *model, int model_rc)
{
	const char *why;

	if (real_rc != model_rc)
		return "different answers";
	if (!pages_same(&real->fresh, &model->fresh))
		return "different pages entered the log";
	if (!pages_same(&real->unpaid, &model->unpaid))
		return "different pages are written and not collected";
	if (!same_counts(real, model))
		return "different counts in the log";
	if (real->info != model->info)
		return "different container information";
	if (!side_nothing_left(real))
		return "the real side lost pages";
	return (model->dma ? native_side_check : model_side_check)(model, &why) ? NULL : why;
}

static void tell(uint64_t seed, uint64_t number, const struct op *op, const char *why, int real_rc,
		 int model_rc, const struct side *real, const struct side *model)
{
	char text[160];

	op_text(op, text, sizeof text);
	printf("# seed %" PRIu64 ", operation %" PRIu64 ": %s\n# %s: real %s, model %s\n", seed, number, text,
	       why, vfd_strcode(real_rc), vfd_strcode(model_rc));
	printf("# real: %u fresh, %u unpaid: %s\n# model: %u fresh, %u unpaid: %s\n",
	       pages_count(&real->fresh), pages_count(&real->unpaid), real_rc ? real->err.message : "",
	       pages_count(&model->fresh), pages_count(&model->unpaid), model_rc ? model->err.message : "");
}

static uint64_t run(struct side *real, struct side *model, uint64_t seed, uint64_t operations)
{
	uint64_t random = seed;

	for (uint64_t number = 0; number < operations; number++) {
		struct op op = op_next(&random, false);
		int real_rc = side_play(real, &op), model_rc = side_play(model, &op);
		const char *why = difference(real, real_rc, model, model_rc);
		if (why) {
			tell(seed, number, &op, why, real_rc, model_rc, real, model);
			return number;
		}
	}
	return operations;
}

/* ---- two emulated groups ---- */

static bool make_type1(struct side *real, struct side *side)
{
	static int bench;
	struct model_config config = {
		.group_count = PLAY_GROUPS,
		.groups = { { .kind = MODEL_EMULATED, .devices = { { .name = "vfdtest.0" } } },
			    { .kind = MODEL_EMULATED, .devices = { { .name = "vfdtest.1" } } } },
	};

	bench = open(VFDTEST_PATH, O_RDWR | O_CLOEXEC);
	real->sys = &sys_linux;
	real->context = &bench;
	real->command = command_real;
	if (bench < 0 || !find_groups(real))
		return false;
	for (int i = 0; i < PLAY_GROUPS; i++)
		config.groups[i].number = real->numbers[i];
	model_side(side, model_new(&config));
	return true;
}

/* ---- two devices of iommufd's own ---- */

/* It may be mapped there, and nowhere else. */
#define APERTURE                                                                                             \
	{                                                                                                    \
		{                                                                                            \
			1 << 24, (1u << 31) - 1                                                              \
		}                                                                                            \
	}
#define NATIVE(number_, name_)                                                                               \
	{                                                                                                    \
		.number = MOCK_GROUP + number_, .kind = MODEL_PHYSICAL, .dirty_bits = true,                  \
		.devices = { { .name = name_ } }, .ranges = APERTURE                                         \
	}

/* While nobody tracks the kernel does not let the test write (EINVAL), as it would set no bit: then it counts as done. */
static int dma_real(struct side *side, unsigned index, uint64_t iova, uint64_t value)
{
	int rc = mock_dirty(index, iova);

	(void)value;
	return rc == -EINVAL && !side->container->space.tracking ? 0 : rc;
}

static bool make_iommufd(struct side *real, struct side *side)
{
	const struct model_config config = {
		.iommufd = true,
		.group_count = PLAY_GROUPS,
		.groups = { NATIVE(0, "mock0"), NATIVE(1, "mock1") },
	};

	if (!mock_there())
		return false;
	real->sys = &mock_sys;
	native_side(real, dma_real);
	for (int i = 0; i < PLAY_GROUPS; i++)
		real->numbers[i] = MOCK_GROUP + i;
	native_model_side(side, model_new(&config));
	return true;
}

int main(int argc, char **argv)
{
	uint64_t operations = argc > 1 ? strtoull(argv[1], NULL, 0) : 100000;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	bool native = argc > 3;
	struct side *real = calloc(1, sizeof *real), *side = calloc(1, sizeof *side);
	time_t began = time(NULL);

	real->name = "real";
	if (!(native ? make_iommufd : make_type1)(real, side)) {
		if (native)
			printf("ok 1 - random operations on iommufd # SKIP this kernel has no mock "
			       "domains\n1..1\n");
		else
			printf("not ok 1 - no " VFDTEST_PATH ", or too few devices\n1..1\n");
		return native ? EXIT_SUCCESS : EXIT_FAILURE;
	}
	memcpy(side->numbers, real->numbers, sizeof side->numbers);
	side_begin(real);
	side_begin(side);
	uint64_t done = run(real, side, seed, operations);
	printf("%sok 1 - %" PRIu64 " of %" PRIu64 " random operations on both kernels%s, seed %" PRIu64
	       ": same answers, same bits, 0 lost\n",
	       done == operations ? "" : "not ", done, operations, native ? ", iommufd" : "", seed);
	printf("# %" PRIu64 " pages entered the log, %" PRIu64 " of them unwritten (model: %" PRIu64
	       ", %" PRIu64 "); %ld s\n",
	       real->delivered, real->over, side->delivered, side->over, (long)(time(NULL) - began));
	printf("%sok 2 - %" PRIu64 " harvests clubbed mappings\n", real->clubbed ? "" : "not ",
	       real->clubbed);
	bool good = done == operations && real->clubbed;
	side_end(real);
	side_end(side);
	printf("1..2\n");
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
