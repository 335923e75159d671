/* SPDX-License-Identifier: MIT */
/* Mappings after their end: a device's log still speaks of their IOVA, and the oracle must know which memory is meant. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static bool contains(const struct mapping *map, uint64_t iova)
{
	return iova >= map->iova && iova - map->iova < map->size;
}

const struct mapping *gone_or_there(const struct type1 *t, uint64_t iova)
{
	const struct mapping *map = type1_find(t, iova, 1);

	for (size_t i = t->gone_count; !map && i-- > 0;)
		if (contains(&t->gone[i], iova))
			map = &t->gone[i];
	return map;
}

/* Those that this one hides are forgotten, so that there are never more than places. */
void gone_add(const struct model *m, struct type1 *t, const struct mapping *map)
{
	size_t kept = 0;

	if (!m->state->logging) {
		gone_forget(t);
		return;
	}
	for (size_t i = 0; i < t->gone_count; i++)
		if (!contains(map, t->gone[i].iova) || !contains(map, t->gone[i].iova + t->gone[i].size - 1))
			t->gone[kept++] = t->gone[i];
	t->gone = model_grow(t->gone, kept, &t->gone_room, sizeof(*t->gone));
	t->gone[kept] = *map;
	t->gone[kept].bitmap = NULL;
	t->gone_count = kept + 1;
}

void gone_forget(struct type1 *t)
{
	free(t->gone);
	t->gone = NULL;
	t->gone_count = t->gone_room = 0;
}
