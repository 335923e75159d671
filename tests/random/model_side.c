/* SPDX-License-Identifier: MIT */

/* The model kernel as a side, and its oracle. Its sets are emptied after each operation, so they tell what that one did. */

#include "play.h"

#include <errno.h>

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

static void join(struct pages *a, const struct pages *b)
{
	for (int i = 0; i < PLAY_WORDS; i++)
		a->words[i] |= b->words[i];
}

static bool exact(struct side *side)
{
	struct pages want = model_set(side, MODEL_RETURNED), most = side->may;

	join(&want, &side->marked);
	join(&most, &want);
	return !pages_missing(&want, &side->fresh) && !pages_missing(&side->fresh, &most);
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

/* ---- iommufd ---- */

/* All that was returned is in the log, and nothing else but what was marked, or torn. */
static bool fair(struct side *side)
{
	struct pages returned = model_set(side, MODEL_RETURNED), most = model_set(side, MODEL_SPOILED);

	for (int i = 0; i < PLAY_WORDS; i++)
		most.words[i] |= returned.words[i] | side->marked.words[i] | side->may.words[i];
	return !pages_missing(&returned, &side->fresh) && !pages_missing(&side->fresh, &most);
}

bool native_side_check(struct side *side, const char **why)
{
	struct pages held = model_set(side, MODEL_HELD);

	*why = NULL;
	if (model_crashed(side->context))
		*why = model_crashed(side->context);
	else if (!fair(side))
		*why = "the log differs from what the kernel returned, and what was torn";
	else if (pages_missing(&side->unpaid, &held))
		*why = "pages were written that neither the log has nor the kernel";
	else if (!side_nothing_left(side))
		*why = "nothing is left to collect, but not everything arrived";
	model_forget(side->context);
	return !*why;
}

/* ---- with a physical group ---- */

/* The vfdtest devices are those of the emulated group: index 0. What is asked of index 1 goes to the other device. */
static int command_mixed(struct side *side, unsigned long request, void *arg)
{
	const struct vfdtest_range *range = arg; /* every command begins with the device */

	if (range->device == 0)
		return model_vfdtest(side->context, request, arg);
	if (request == VFDTEST_WRITE)
		return model_dma_write(side->context, side->names[1], range->iova, range->size, range->value);
	return -ENODEV;
}

void mixed_side(struct side *side, struct model *model)
{
	model_side(side, model);
	side->command = command_mixed;
	side->names[0] = "vfdtest.0";
	side->names[1] = "0000:03:00.0";
}

static void add_mapping(struct pages *pages, const struct mapping *m)
{
	uint64_t first = (m->log_address - PLAY_LOG) / PLAY_PAGE;

	for (uint64_t page = first; page < first + range_size(m->where) / PLAY_PAGE; page++)
		pages->words[page / 64] |= UINT64_C(1) << page % 64;
}

static void add_deferred(struct space *space, struct mapping *m, void *arg)
{
	if (space->tracking && space_owes_all(space, m))
		add_mapping(arg, m);
}

static void add_any(struct space *space, struct mapping *m, void *arg)
{
	(void)space;
	add_mapping(arg, m);
}

static void add_unseen_truth(struct side *side)
{
	struct pages truth = model_set(side, MODEL_TRUTH);

	for (int i = 0; i < PLAY_WORDS && !side->discarded && side->container->space.tracking; i++)
		side->unpaid.words[i] |= truth.words[i] & ~side->fresh.words[i];
}

/* What entered the log must have a reason, and what the kernel said must be there or be owed; unless it said it with a physical group
 * attached: that is always everything, and means nothing. */
static const char *check_fresh(struct side *side, const struct pages *deferred)
{
	struct pages returned = model_set(side, MODEL_RETURNED), fair = returned, recorded = side->fresh;

	join(&fair, &side->marked);
	join(&fair, &side->may);
	join(&fair, &side->all_dirty);
	join(&recorded, deferred);
	if (pages_missing(&side->fresh, &fair))
		return "pages entered the log without a reason";
	if (!side->was_physical && pages_missing(&returned, &recorded))
		return "pages that the kernel returned are neither in the log nor owed";
	return NULL;
}

bool mixed_side_check(struct side *side, const char **why)
{
	struct space *space = &side->container->space;
	struct pages kept = model_set(side, MODEL_HELD), deferred = { 0 };

	space_each_tracked(space, add_deferred, &deferred);
	if (space->physical)
		space_each_tracked(space, add_any, &side->all_dirty);
	add_unseen_truth(side);
	join(&kept, &deferred);
	*why = check_fresh(side, &deferred);
	if (model_crashed(side->context))
		*why = model_crashed(side->context);
	else if (pages_missing(&side->unpaid, &kept))
		*why = "pages were written that are not in the log, not with the kernel, and not deferred";
	else if (!side_nothing_left(side))
		*why = "nothing is left to collect, but not everything arrived";
	if (space_clean(space))
		side->all_dirty = (struct pages){ 0 };
	model_forget(side->context);
	return !*why;
}
