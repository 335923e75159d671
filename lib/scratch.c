/* SPDX-License-Identifier: MIT */
#include "scratch.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include <vfiodirty/error.h>

#include "range.h"

void scratch_pool_init(struct scratch_pool *pool, const struct sys *sys)
{
	*pool = (struct scratch_pool){ .sys = sys, .page = sys_page_size() };
	pthread_mutex_init(&pool->mutex, NULL);
}

static void give_back(const struct scratch_pool *pool, struct scratch scratch)
{
	if (scratch.words)
		pool->sys->unmap_scratch(pool->sys, scratch.words, scratch.size);
}

/* words is NULL: there is none, or it is in use. */
static struct scratch small_one(struct scratch_pool *pool)
{
	return (struct scratch){ atomic_exchange(&pool->small, NULL), .size = pool->page,
				 .ready = pool->page };
}

void scratch_pool_trim(struct scratch_pool *pool)
{
	struct scratch kept[SCRATCH_KEPT];

	pthread_mutex_lock(&pool->mutex);
	memcpy(kept, pool->kept, sizeof kept);
	memset(pool->kept, 0, sizeof pool->kept);
	pthread_mutex_unlock(&pool->mutex);
	for (int i = 0; i < SCRATCH_KEPT; i++)
		give_back(pool, kept[i]);
	give_back(pool, small_one(pool));
}

void scratch_pool_end(struct scratch_pool *pool)
{
	scratch_pool_trim(pool);
	pthread_mutex_destroy(&pool->mutex);
}

/* The smallest kept buffer that is large enough; none: words is NULL, and the serial that a new one gets. */
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
	} else {
		taken.serial = ++pool->serial;
	}
	pthread_mutex_unlock(&pool->mutex);
	return taken;
}

int scratch_get(struct scratch_pool *pool, uint64_t bytes, struct scratch *out)
{
	size_t page = pool->page;
	void *memory;

	if (bytes > SIZE_MAX - 2 * page)
		return VFD_ENOMEMORY;
	*out = take_kept(pool, bytes);
	if (out->words)
		return 0;
	out->size = ((size_t)bytes + page - 1) / page * page;
	int rc = pool->sys->map_scratch(pool->sys, out->size, &memory);
	if (!rc)
		out->words = memory;
	return rc;
}

int scratch_populate(const struct scratch_pool *pool, struct scratch scratch, uint64_t first, uint64_t last)
{
	uint64_t page = pool->page / sizeof *scratch.words;

	first = first / page * page;
	last = (last / page + 1) * page;
	return pool->sys->populate(pool->sys, scratch.words + first,
				   (size_t)(last - first) * sizeof *scratch.words);
}

int scratch_get_populated(struct scratch_pool *pool, uint64_t bytes, struct scratch *out)
{
	int rc = scratch_get(pool, bytes, out);

	if (rc)
		return rc;
	rc = scratch_populate(pool, *out, 0, bytes / sizeof *out->words - 1);
	if (rc)
		scratch_put(pool, *out);
	else
		out->ready = max_u64(out->ready, bytes);
	return rc;
}

int scratch_get_ready(struct scratch_pool *pool, uint64_t bytes, struct scratch *out)
{
	if (bytes <= pool->page && (*out = small_one(pool)).words)
		return 0;
	int rc = scratch_get(pool, bytes, out);
	if (rc || out->ready >= bytes)
		return rc;
	scratch_put(pool, *out);
	return scratch_get_populated(pool, bytes, out);
}

void scratch_put_ready(struct scratch_pool *pool, struct scratch scratch)
{
	uint64_t *none = NULL;

	if (scratch.size > pool->page || !atomic_compare_exchange_strong(&pool->small, &none, scratch.words))
		scratch_put(pool, scratch);
}

/* Keep the larger ones: a harvest's buffer is expensive to populate, and the next round needs it again. */
void scratch_put(struct scratch_pool *pool, struct scratch scratch)
{
	pthread_mutex_lock(&pool->mutex);
	if (!scratch.serial)
		scratch.serial = ++pool->serial;
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
