/* SPDX-License-Identifier: MIT */

/* What the model can be played as. */

#include "kinds.h"

#include <string.h>

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

#define NATIVE(number_, name_)                                                                               \
	{                                                                                                    \
		.number = number_, .kind = MODEL_PHYSICAL, .dirty_bits = true, .devices = {                  \
			{ .name = name_ }                                                                    \
		}                                                                                            \
	}
static const struct model_config native_config = {
	.iommufd = true,
	.group_count = PLAY_GROUPS,
	.groups = { NATIVE(11, "mock0"), NATIVE(12, "mock1") },
};

const struct kind play_kinds[] = {
	{ "", "", &config, model_side, model_side_check, true, true },
	{ "mixed", ", one group physical", &mixed_config, mixed_side, mixed_side_check, true, true },
	{ "iommufd", ", iommufd", &native_config, native_model_side, native_side_check, false, false },
};
const size_t play_kind_count = sizeof play_kinds / sizeof play_kinds[0];

const struct kind *kind_named(const char *name)
{
	for (size_t i = 0; i < play_kind_count; i++)
		if (!strcmp(play_kinds[i].name, name))
			return &play_kinds[i];
	return NULL;
}

void kind_begin(const struct kind *kind, struct side *side, struct model *model)
{
	kind->make(side, model);
	for (int i = 0; i < PLAY_GROUPS; i++)
		side->numbers[i] = kind->config->groups[i].number;
	side_begin(side);
}

unsigned model_leaks(struct model *model)
{
	struct model_counts counts = model_counts(model);

	return counts.descriptors + counts.areas + counts.scratch + counts.triggers + counts.containers +
	       counts.iommus;
}
