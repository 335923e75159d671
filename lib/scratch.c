/* SPDX-License-Identifier: MIT */
#include "scratch.h"

#include <errno.h>
#include <string.h>

enum { SCRATCH_PAGE = 4096 };

void scratch_pool_init(struct scratch_pool *pool, const struct sys *sys)
{
	pool->sys = sys;
	pthread_mutex_init(&pool->mutex, NULL);
	memset(pool->kept, 0, sizeof pool->kept);
}

static void give_back(struct scratch_pool *pool, struct scratch scratch)
{
	if (scratch.words)
		pool->sys->unmap(pool->sys, scratch.words, scratch.size);
}

void scratch_pool_end(struct scratch_pool *pool)
{
	for (int i = 0; i < SCRATCH_KEPT; i++)
		give_back(pool, pool->kept[i]);
	pthread_mutex_destroy(&pool->mutex);
}

/* The smallest kept buffer that is large enough; none: words is NULL. */
static struct scratch take_kept(struct scratch_pool *pool, uint64_t bytes)
{
	struct scratch *best = NULL, taken = { 0 };

	pthread_mutex_lock(&pool->mutex);
	for (int i = 0; i < SCRATCH_KEPT; i++) {
		struct scratch *kept = &pool->kept[i];
		if (kept->words && kept->size >= bytes && (!best || kept->size < best->size))
			best = kept;
	}
	if (best) {
		taken = *best;
		*best = (struct scratch){ 0 };
	}
	pthread_mutex_unlock(&pool->mutex);
	return taken;
}

int scratch_get(struct scratch_pool *pool, uint64_t bytes, struct scratch *out)
{
	*out = take_kept(pool, bytes);
	if (out->words) {
		memset(out->words, 0, bytes);
		return 0;
	}
	if (bytes > SIZE_MAX - SCRATCH_PAGE)
		return -ENOMEM;
	out->size = ((size_t)bytes + SCRATCH_PAGE - 1) & ~(size_t)(SCRATCH_PAGE - 1);
	void *memory;
	int rc = pool->sys->map_scratch(pool->sys, out->size, &memory);
	if (!rc)
		out->words = memory;
	return rc;
}

/* Keep the larger ones: a harvest's buffer is expensive to populate, and the next round needs it again. */
void scratch_put(struct scratch_pool *pool, struct scratch scratch)
{
	pthread_mutex_lock(&pool->mutex);
	for (int i = 0; i < SCRATCH_KEPT; i++) {
		if (pool->kept[i].size < scratch.size) {
			struct scratch smaller = pool->kept[i];
			pool->kept[i] = scratch;
			scratch = smaller;
		}
	}
	pthread_mutex_unlock(&pool->mutex);
	give_back(pool, scratch);
}
