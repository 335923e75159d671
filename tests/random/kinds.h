/* SPDX-License-Identifier: MIT */
#ifndef TESTS_RANDOM_KINDS_H
#define TESTS_RANDOM_KINDS_H

/* What the model kernel can be played as, each with its oracle. */

#include "model/model.h"
#include "play.h"

typedef bool law(struct side *side, const char **why);

struct kind {
	const char *name, *text;
	const struct model_config *config;
	void (*make)(struct side *side, struct model *model);
	law *check;
	bool bursts, clubs; /* what it can do at all */
};

extern const struct kind play_kinds[];
extern const size_t play_kind_count;

const struct kind *kind_named(const char *name);
void kind_begin(const struct kind *kind, struct side *side, struct model *model);

/* How much is left open. */
unsigned model_leaks(struct model *model);

#endif
