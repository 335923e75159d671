/* SPDX-License-Identifier: MIT */

/* Why pages are owed. A bounded table per consumer: a cause is never lost, but what it spans may be rounded
 * up, and when even that is not enough, who it was. */

#include <string.h>

#include "log_internal.h"

static bool same_label(const struct cause_record *a, const struct cause_record *b)
{
	return a->label.provenance == b->label.provenance && !memcmp(&a->label, &b->label, sizeof(a->label));
}

static bool alike(const struct cause_record *a, const struct cause_record *b)
{
	return same_kind(&a->label, &b->label);
}

static void widen(struct cause_record *a, const struct cause_record *b)
{
	a->first = min_u64(a->first, b->first);
	a->last = max_u64(a->last, b->last);
}

static void cut_out(struct consumer_record *record, uint64_t from, uint64_t n)
{
	struct cause_record *at = &record->causes[from];

	record->cause_count -= n;
	memmove(at, at + n, (size_t)(record->cause_count - from) * sizeof(*at));
}

/* Where the entry belongs: behind lower labels, and behind those of its label that end before it without
 * touching */
static uint64_t place(const struct consumer_record *record, const struct cause_record *entry)
{
	uint64_t i;

	for (i = 0; i < record->cause_count; i++) {
		const struct cause_record *c = &record->causes[i];
		int order = memcmp(&c->label, &entry->label, sizeof(c->label));
		if (order > 0 || (!order && c->last + 1 >= entry->first))
			break;
	}
	return i;
}

/* The entry, or those of its label that it touches, become one. Needs room for one more. Returns where it is. */
static uint64_t insert(struct consumer_record *record, struct cause_record entry)
{
	uint64_t at = place(record, &entry), end = at;

	while (end < record->cause_count && same_label(&record->causes[end], &entry) &&
	       record->causes[end].first <= entry.last + 1)
		widen(&entry, &record->causes[end++]);
	if (end > at) {
		cut_out(record, at + 1, end - at - 1);
	} else {
		memmove(&record->causes[at + 1], &record->causes[at],
			(size_t)(record->cause_count - at) * sizeof(entry));
		record->cause_count++;
	}
	record->causes[at] = entry;
	return at;
}

/* Of the neighbours that `accepts` takes, the pair with the smallest gap: index of its first */
static bool closest_pair(const struct consumer_record *record,
			 bool (*accepts)(const struct cause_record *, const struct cause_record *),
			 uint64_t *pair, uint64_t *gap_found)
{
	uint64_t best = UINT64_MAX;
	bool any = false;

	for (uint64_t i = 0; i + 1 < record->cause_count; i++) {
		const struct cause_record *a = &record->causes[i], *b = a + 1;
		uint64_t gap = max_u64(a->last, b->last) - min_u64(a->first, b->first);
		if (!accepts(a, b))
			continue;
		gap -= min_u64(gap, (a->last - a->first) + (b->last - b->first));
		if (!any || gap < best) {
			best = gap;
			*pair = i;
			any = true;
		}
	}
	*gap_found = best;
	return any;
}

/* One entry less. There are fewer kinds (4 provenances, 9 reasons) than entries, so two of a kind are always
 * found. */
static void fold(struct consumer_record *record, uint64_t *least_gap)
{
	uint64_t pair = 0, gap;

	if (closest_pair(record, same_label, &pair, least_gap)) {
		widen(&record->causes[pair], &record->causes[pair + 1]);
		cut_out(record, pair + 1, 1);
		return;
	}
	*least_gap = 0;
	closest_pair(record, alike, &pair, &gap);
	struct cause_record a = record->causes[pair], b = record->causes[pair + 1];
	cut_out(record, pair, 2);
	widen(&a, &b);
	copy_name(a.label.who, "several");
	a.label.granularity = max_u64(a.label.granularity, b.label.granularity);
	insert(record, a);
}

static enum vfd_reason reason_of(const struct log_source *source)
{
	return source->provenance == VFD_ASSUMED ? source->reason : VFD_WHY_NONE;
}

static const char *who_of(const struct log_source *source)
{
	return source->who ? source->who : "?";
}

static bool is_label(const struct cause_label *label, const struct log_source *source)
{
	return label->provenance == (uint32_t)source->provenance &&
	       label->reason == (uint32_t)reason_of(source) && label->granularity == source->granularity &&
	       !strncmp(label->who, who_of(source), NAME_BYTES - 1);
}

/* How far behind an entry a range may begin that becomes part of it. That a source reported is no news, so its entry may
 * span a stripe of pages that it did not. Of others a cause stays as close as the table has room for. Once that is full, a gap
 * that is no larger than the least one would be closed next anyway. */
static uint64_t gap_allowed(const struct vfd_consumer *consumer, const struct consumer_record *record,
			    const struct cause_record *c)
{
	uint64_t gap = 1;

	if (c->label.provenance == VFD_REPORTED)
		gap = consumer->log->page_size * STRIPE_WORDS * WORD_BITS;
	return record->cause_count == MAX_CAUSES ? max_u64(gap, consumer->least_gap) : gap;
}

static bool reaches(const struct cause_record *c, const struct cause_record *end, struct range where,
		    uint64_t gap)
{
	if (where.first < c->first)
		return false;
	if (where.last <= c->last)
		return true;
	if (where.first > c->last && where.first - c->last > gap)
		return false;
	return c + 1 == end || where.last + 1 < c[1].first || !same_label(c, c + 1);
}

/* What was added last, if source says the same. Mostly it does, and there is no need to look through the table. */
static struct cause_record *recent(const struct vfd_consumer *consumer, struct consumer_record *record,
				   const struct log_source *source)
{
	struct cause_record *c = &record->causes[consumer->recent];

	return consumer->recent < record->cause_count && is_label(&c->label, source) ? c : NULL;
}

struct cause_label cause_label(struct vfd_consumer *consumer, const struct log_source *source)
{
	struct cause_label label = {
		.provenance = (uint32_t)source->provenance,
		.reason = (uint16_t)reason_of(source),
		.granularity = source->granularity,
	};

	copy_name(label.who, who_of(source));
	if (!consumer->index)
		label.tally = tally_of(consumer->log, &label);
	return label;
}

static void insert_new(struct vfd_consumer *consumer, struct consumer_record *record,
		       const struct log_source *source, const struct cause_record *entry)
{
	consumer->recent = insert(record, *entry);
	if (record->cause_count <= MAX_CAUSES)
		return;
	fold(record, &consumer->least_gap);
	if (consumer->recent && !is_label(&record->causes[consumer->recent].label, source))
		consumer->recent--; /* one before it is gone */
}

void cause_add(struct vfd_log *log, unsigned index, const struct log_source *source, struct range where,
	       uint64_t fresh)
{
	struct vfd_consumer *consumer = &log->consumers[index];
	struct consumer_record *record = consumer_record(log, index);

	pthread_mutex_lock(&consumer->causes);
	struct cause_record *c = recent(consumer, record, source);
	struct cause_record entry = { c ? c->label : cause_label(consumer, source), where.first, where.last };
	if (!index)
		log->super->tallies[entry.label.tally].pages += fresh;
	if (c && reaches(c, &record->causes[record->cause_count], where, gap_allowed(consumer, record, c)))
		c->last = max_u64(c->last, where.last);
	else
		insert_new(consumer, record, source, &entry);
	pthread_mutex_unlock(&consumer->causes);
}

/* ---- forgetting ---- */

/* The first address in `where` that is owed or taken */
static bool lowest_page(const struct vfd_log *log, unsigned consumer, struct range where, uint64_t *address)
{
	struct cursor c = cursor_over(log, where);

	while (cursor_next(&c)) {
		struct planes p = planes_of(log, c.region, consumer);
		uint64_t owed = UINT64_MAX, taken = UINT64_MAX;
		bool any = summed_first(&p.owed, c.bits, &owed);
		any |= taken_first(&c, &p, consumer, &taken);
		if (any) {
			*address = bit_address(log, c.region, min_u64(owed, taken));
			return true;
		}
	}
	return false;
}

static uint64_t highest_page(const struct vfd_log *log, unsigned consumer, struct range where)
{
	struct cursor c = cursor_below(log, where);

	while (cursor_prev(&c)) {
		struct planes p = planes_of(log, c.region, consumer);
		uint64_t owed = 0, taken = 0;
		bool any = summed_last(&p.owed, c.bits, &owed);
		any |= taken_last(&c, &p, consumer, &taken);
		if (any)
			return bit_address(log, c.region, max_u64(owed, taken)) + log->page_size - 1;
	}
	return where.last;
}

void cause_prune(struct vfd_log *log, unsigned consumer)
{
	struct consumer_record *record = consumer_record(log, consumer);
	uint64_t kept = 0;

	fold_range(log, RANGE_ALL);
	if (!record->resolved)
		return;
	for (uint64_t i = 0; i < record->cause_count; i++) {
		struct cause_record c = record->causes[i];
		if (!lowest_page(log, consumer, (struct range){ c.first, c.last }, &c.first))
			continue;
		c.last = highest_page(log, consumer, (struct range){ c.first, c.last });
		record->causes[kept++] = c;
	}
	record->cause_count = kept;
	record->resolved = 0;
}

bool cause_wants_prune(struct vfd_consumer *consumer)
{
	const struct consumer_record *record = consumer_record(consumer->log, consumer->index);

	pthread_mutex_lock(&consumer->causes);
	bool wants = record->resolved && record->cause_count > MAX_CAUSES / 2;
	pthread_mutex_unlock(&consumer->causes);
	return wants;
}

/* ---- listing ---- */

static uint64_t cause_pages(struct vfd_log *log, unsigned consumer, const struct cause_record *c)
{
	struct vfd_count count;

	count_owed(log, consumer, (struct range){ c->first, c->last }, &count);
	return c->label.provenance == VFD_REPORTED ? count.reported : count.owed - count.reported;
}

static void fill_cause(struct vfd_cause *out, const struct cause_record *c, uint64_t pages)
{
	_Static_assert(sizeof(out->who) == sizeof(c->label.who), "a culprit fits");
	*out = (struct vfd_cause){
		.provenance = c->label.provenance,
		.reason = c->label.reason,
		.first = c->first,
		.last = c->last,
		.granularity = c->label.granularity,
		.pages = pages,
	};
	memcpy(out->who, c->label.who, sizeof(out->who));
}

/* A cause without a page that is owed now is kept while a batch may be rolled back, but not listed. */
static size_t list_causes(struct vfd_log *log, unsigned consumer, struct vfd_cause *causes, size_t capacity)
{
	const struct consumer_record *record = consumer_record(log, consumer);
	size_t n = 0;

	for (uint64_t i = 0; i < record->cause_count; i++) {
		uint64_t pages = cause_pages(log, consumer, &record->causes[i]);
		if (pages && n < capacity)
			fill_cause(&causes[n], &record->causes[i], pages);
		n += pages > 0;
	}
	return n;
}

int vfd_consumer_causes(struct vfd_consumer *consumer, struct vfd_cause *causes, size_t capacity,
			size_t *count, struct vfd_error *err)
{
	int ret = consumer_enter_alone(consumer, "vfd_consumer_causes", err);

	if (ret)
		return ret;
	if (!count || (capacity && !causes)) {
		ret = fail_null(count ? "causes" : "count", "vfd_consumer_causes", err);
	} else {
		cause_prune(consumer->log, consumer->index);
		*count = list_causes(consumer->log, consumer->index, causes, capacity);
	}
	log_leave_alone(consumer->log);
	return ret;
}
