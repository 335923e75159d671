/* SPDX-License-Identifier: MIT */

/* Consumers: each is owed every page by itself. */

#include <inttypes.h>
#include <string.h>

#include "log_internal.h"

/* ---- counting ---- */

struct counting {
	const struct bitmap_ops *ops;
	struct range bits;
	uint64_t pages, others;
};

static void count_words(struct counting *n, const struct summed *s, const struct summed *other,
			uint64_t chunk)
{
	uint64_t words = s->sum[chunk] & chunk_mask(chunk, n->bits);
	uint64_t others = other ? summed_words(other, chunk) : 0;

	for (; words; words &= words - 1) {
		uint64_t w = chunk * CHUNK_WORDS + word_first(words);
		uint64_t word = s->bits[w] & word_mask(w, n->bits.first, n->bits.last);
		n->pages += word_count(word);
		if (others & words & -words)
			n->others += word_count(word & other->bits[w]);
	}
}

static void count_chunk(struct counting *n, const struct summed *s, const struct summed *other,
			uint64_t chunk)
{
	if (chunk_inside(chunk, n->bits) && s->sum[chunk] == ~UINT64_C(0) &&
	    !(other && summed_words(other, chunk)))
		n->pages += n->ops->count(&s->bits[chunk * CHUNK_WORDS], CHUNK_WORDS);
	else
		count_words(n, s, other, chunk);
}

/* With the stripe held, if the plane needs that */
static void count_stripe(struct counting *n, const struct summed *s, const struct summed *other,
			 uint64_t stripe)
{
	for (uint64_t left = stripe_chunks(s, stripe, chunks_of(n->bits)); left; left &= left - 1)
		count_chunk(n, s, other, stripe * WORD_BITS + word_first(left));
}

void count_owed(struct vfd_log *log, unsigned consumer, struct range where, struct vfd_count *count)
{
	struct hold hold = { .log = log };
	struct cursor c = cursor_over(log, where);
	struct counting n = { .ops = log->ops };

	while (cursor_next(&c)) {
		struct planes p = planes_of(log, c.region, consumer);
		struct range stripes = stripes_of(c.bits);
		n.bits = c.bits;
		for (uint64_t stripe; stripe_next(&p.owed, NULL, &stripes, &stripe);) {
			hold_stripe(&hold, c.region, stripe);
			count_stripe(&n, &p.owed, &p.other, stripe);
		}
	}
	hold_end(&hold);
	*count = (struct vfd_count){ .owed = n.pages, .reported = n.pages - n.others };
}

static uint64_t count_taken(const struct vfd_log *log, unsigned consumer, struct range where)
{
	struct cursor c = cursor_over(log, where);
	struct counting n = { .ops = log->ops };

	while (cursor_next(&c)) {
		struct planes p = planes_of(log, c.region, consumer);
		struct range stripes = stripes_of(c.bits);
		n.bits = c.bits;
		for (uint64_t stripe; stripe_next(&p.taken, NULL, &stripes, &stripe);)
			count_stripe(&n, &p.taken, NULL, stripe);
		for (struct listing l = listing_of(&c, consumer); l.at < l.end; l.at++)
			n.pages += word_count(listing_pages(&l));
	}
	return n.pages;
}

void count_range(struct vfd_log *log, unsigned consumer, struct range where, struct vfd_count *count)
{
	count_owed(log, consumer, where, count);
	count->taken = count_taken(log, consumer, where);
}

/* No take and no resolve meanwhile: a page that moves would be counted twice, or not at all. */
static void count_marked(struct vfd_consumer *consumer, struct range where, struct vfd_count *count)
{
	pthread_mutex_lock(&consumer->batches);
	fold_range(consumer->log, where);
	count_range(consumer->log, consumer->index, where, count);
	pthread_mutex_unlock(&consumer->batches);
}

int vfd_consumer_count(struct vfd_consumer *consumer, uint64_t first, uint64_t last, struct vfd_count *count,
		       struct vfd_error *err)
{
	const char *op = "vfd_consumer_count";
	struct range where = { first, last };
	int ret = consumer_enter(consumer, op, err);

	if (ret)
		return ret;
	ret = count ? check_range(consumer->log, where, op, err) : fail_null("count", op, err);
	if (!ret)
		count_marked(consumer, where, count);
	log_leave(consumer->log);
	return ret;
}

/* ---- coming and going ---- */

/* Planes are wiped, so that the segments go back as they came: zero. */
static void free_planes(struct vfd_log *log, unsigned index)
{
	for (uint64_t i = 0; i < region_count(log); i++) {
		struct region *region = &region_table(log)[i];
		if (!region->planes[index])
			continue;
		struct planes p = planes_of(log, region, index);
		planes_wipe(&p, log, region);
		uint64_t planes = region->planes[index];
		region->planes[index] = 0;
		segment_free(log, planes);
	}
}

static int new_planes(struct vfd_log *log, unsigned index, const char *operation, struct vfd_error *err)
{
	for (uint64_t i = 0; i < region_count(log); i++) {
		struct region *region = &region_table(log)[i];
		uint64_t bytes = planes_bytes(log, region);
		region->planes[index] = segment_new(log, bytes);
		if (!region->planes[index]) {
			free_planes(log, index);
			return fail_segment(log, bytes, "a region's record for the consumer", operation, err);
		}
	}
	return 0;
}

int consumer_create(struct vfd_log *log, unsigned index, const char *name, const char *operation,
		    struct vfd_error *err)
{
	uint64_t record = segment_new(log, sizeof(struct consumer_record));

	if (!record)
		return fail_segment(log, sizeof(struct consumer_record), "the consumer's record", operation,
				    err);
	int ret = new_planes(log, index, operation, err);
	if (ret) {
		segment_free(log, record);
		return ret;
	}
	struct consumer_record *r = at_offset(log, record);
	copy_name(r->name, name);
	r->list.room = LISTED;
	keep_order();
	log->super->consumers[index] = record;
	log->consumers[index].log = log;
	log->consumers[index].index = index;
	log->consumers[index].live = true;
	log->consumers[index].observer = false;
	log->live |= UINT32_C(1) << index;
	return 0;
}

static int add_consumer(struct vfd_log *log, const char *name, struct vfd_consumer **consumer,
			struct vfd_error *err)
{
	const char *op = "vfd_consumer_add";
	unsigned index = 0;

	if (!consumer)
		return fail_null("consumer", op, err);
	while (index < MAX_CONSUMERS && log->consumers[index].live)
		index++;
	if (index == MAX_CONSUMERS)
		return fail(err, VFD_ELIMIT, op, "the log has %d consumers already: remove one",
			    MAX_CONSUMERS);
	int ret = consumer_create(log, index, name ? name : "consumer", op, err);
	if (!ret)
		*consumer = &log->consumers[index];
	return ret;
}

static int add_alone(struct vfd_log *log, const char *name, bool observer, struct vfd_consumer **consumer,
		     struct vfd_error *err)
{
	int ret = log_enter_alone(log, "vfd_consumer_add", err);

	if (ret)
		return ret;
	fold_range(log, RANGE_ALL); /* what was marked before is not owed to the new one */
	ret = add_consumer(log, name, consumer, err);
	if (!ret)
		(*consumer)->observer = observer;
	log_leave_alone(log);
	return ret;
}

int vfd_consumer_add(struct vfd_log *log, const char *name, struct vfd_consumer **consumer,
		     struct vfd_error *err)
{
	return add_alone(log, name, false, consumer, err);
}

int log_observer_add(struct vfd_log *log, const char *name, struct vfd_consumer **consumer,
		     struct vfd_error *err)
{
	return add_alone(log, name, true, consumer, err);
}

static int check_remove(const struct vfd_consumer *consumer, unsigned flags, struct vfd_error *err)
{
	const char *op = "vfd_consumer_remove";
	int ret = check_flags(flags, VFD_DISCARD, op, err);

	if (!ret && !consumer->index)
		return fail(err, VFD_EINVALID, op, "this is the log's own consumer: it ends with the log");
	if (!ret && !(flags & VFD_DISCARD))
		ret = check_clean(consumer->log, consumer->index, RANGE_ALL, op, err);
	return ret;
}

static void drop_consumer(struct vfd_consumer *consumer)
{
	struct vfd_log *log = consumer->log;
	uint64_t record = log->super->consumers[consumer->index];

	free_planes(log, consumer->index);
	consumer->live = false;
	log->live &= ~(UINT32_C(1) << consumer->index);
	log->super->consumers[consumer->index] = 0;
	keep_order();
	memset(at_offset(log, record), 0, sizeof(struct consumer_record));
	segment_free(log, record);
}

int vfd_consumer_remove(struct vfd_consumer **consumer, unsigned flags, struct vfd_error *err)
{
	if (!consumer)
		return fail_null("the pointer to the consumer", "vfd_consumer_remove", err);
	int ret = consumer_enter_alone(*consumer, "vfd_consumer_remove", err);
	if (ret)
		return ret;
	struct vfd_log *log = (*consumer)->log;
	ret = check_remove(*consumer, flags, err);
	if (!ret) {
		drop_consumer(*consumer);
		*consumer = NULL;
	}
	log_leave_alone(log);
	return ret;
}
