/* SPDX-License-Identifier: MIT */

/* Consumers: each is owed every page by itself. */

#include <inttypes.h>
#include <string.h>

#include "log_internal.h"

/* ---- counting ---- */

static void count_owed(const struct planes *p, struct range bits, struct vfd_count *count)
{
	uint64_t last = bits.last / WORD_BITS;

	for (uint64_t w = bits.first / WORD_BITS; summed_next_word(&p->owed, &w, last); w++) {
		uint64_t word = p->owed.bits[w] & word_mask(w, bits.first, bits.last);
		count->owed += word_count(word);
		count->reported += word_count(word & p->reported[w]);
	}
}

static void count_taken(const struct planes *p, struct range bits, struct vfd_count *count)
{
	uint64_t last = bits.last / WORD_BITS;

	for (uint64_t w = bits.first / WORD_BITS; summed_next_word(&p->taken, &w, last); w++)
		count->taken += word_count(p->taken.bits[w] & word_mask(w, bits.first, bits.last));
}

void count_range(const struct vfd_log *log, unsigned consumer, struct range where, struct vfd_count *count)
{
	struct cursor c = cursor_over(log, where);

	*count = (struct vfd_count){ 0 };
	while (cursor_next(&c)) {
		struct planes p = planes_of(log, c.region, consumer);
		count_owed(&p, c.bits, count);
		count_taken(&p, c.bits, count);
	}
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
		count_range(consumer->log, consumer->index, where, count);
	log_leave(consumer->log);
	return ret;
}

/* ---- coming and going ---- */

/* Planes are wiped, so that the segments go back as they came: zero. */
static void free_planes(struct vfd_log *log, unsigned index)
{
	for (uint64_t i = 0; i < log->super->region_count; i++) {
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
	for (uint64_t i = 0; i < log->super->region_count; i++) {
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
	log->super->consumers[index] = record;
	copy_name(consumer_record(log, index)->name, name);
	log->consumers[index] = (struct vfd_consumer){ .log = log, .index = index, .live = true };
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

int vfd_consumer_add(struct vfd_log *log, const char *name, struct vfd_consumer **consumer,
		     struct vfd_error *err)
{
	int ret = log_enter(log, "vfd_consumer_add", err);

	if (ret)
		return ret;
	ret = add_consumer(log, name, consumer, err);
	log_leave(log);
	return ret;
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
	memset(consumer_record(log, consumer->index), 0, sizeof(struct consumer_record));
	log->super->consumers[consumer->index] = 0;
	segment_free(log, record);
}

int vfd_consumer_remove(struct vfd_consumer **consumer, unsigned flags, struct vfd_error *err)
{
	if (!consumer)
		return fail_null("the pointer to the consumer", "vfd_consumer_remove", err);
	int ret = consumer_enter(*consumer, "vfd_consumer_remove", err);
	if (ret)
		return ret;
	struct vfd_log *log = (*consumer)->log;
	ret = check_remove(*consumer, flags, err);
	if (!ret) {
		drop_consumer(*consumer);
		*consumer = NULL;
	}
	log_leave(log);
	return ret;
}
