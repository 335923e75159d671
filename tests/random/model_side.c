/* SPDX-License-Identifier: MIT */

/* The model kernel as a side, and its oracle. Its sets are emptied after each operation, so they tell what that one did. */

#include "play.h"

#include "model/model.h"

static int command_model(struct side *side, unsigned long request, void *arg)
{
	return model_vfdtest(side->context, request, arg);
}

static uint64_t burst_model(struct side *side, unsigned index, uint64_t count)
{
	return model_step(side->context, index, count);
}

void model_side(struct side *side, struct model *model)
{
	side->name = "model";
	side->sys = &model->sys;
	side->context = model;
	side->command = command_model;
	side->burst = burst_model;
}

static struct pages model_set(struct side *side, enum model_set set)
{
	struct pages pages = { 0 };

	model_pages(side->context, set, side->memory, PLAY_PAGES * PLAY_PAGE, pages.words);
	return pages;
}

static bool exact(struct side *side)
{
	struct pages want = model_set(side, MODEL_RETURNED);

	for (int i = 0; i < PLAY_WORDS; i++)
		want.words[i] |= side->marked.words[i];
	return pages_same(&want, &side->fresh);
}

bool model_side_check(struct side *side, const char **why)
{
	struct pages held = model_set(side, MODEL_HELD);

	*why = NULL;
	if (model_crashed(side->context))
		*why = model_crashed(side->context);
	else if (!exact(side))
		*why = "the log differs from what the kernel returned";
	else if (pages_missing(&side->unpaid, &held))
		*why = "pages were written that neither the log has nor the kernel";
	else if (!side_nothing_left(side))
		*why = "nothing is left to collect, but not everything arrived";
	else if (model_set(side, MODEL_SPOILED).words[0])
		*why = "the model thinks that something was spoiled";
	model_forget(side->context);
	return !*why;
}
