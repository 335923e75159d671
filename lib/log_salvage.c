/* SPDX-License-Identifier: MIT */

/* What a dead process' log owed, out of its arena. The process may have been killed between any two stores, so nothing is believed that takes
 * two to be true: summaries, counts, the table of batches, and what spans of causes leave out. What is believed: each page is at every
 * moment owed, taken (in the plane or in the list) or in the inbox, until it is committed, for whoever moves it sets the new bit first; and
 * the tables of regions and consumers are complete before one store makes them count. */

#include <string.h>

#include "answer.h"
#include "log_dead.h"

/* What is said of pages that are not reported: a cause, if it is legible */
struct said {
	struct cause_label label;
	struct range where;
};

struct salvage {
	struct dead *dead;
	struct vfd_log *log;
	struct region copy;
	const struct region *region; /* that, or NULL: the list is meant. Of one consumer: */
	struct planes planes;
	const struct list *list;
	struct said said[MAX_CAUSES + 1];
	unsigned said_count;
	uint64_t pages;
};

static uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/* ---- what it owes ---- */

enum which { REPORTED, SAID, NOT_SAID };

/* Of a word, absolutely numbered: the pages that something was said of */
static uint64_t pages_said(const struct salvage *s, unsigned said, uint64_t word)
{
	const struct range *where = &s->said[said].where;
	uint64_t first = where->first >> s->dead->view.page_shift,
		 last = where->last >> s->dead->view.page_shift;

	return word < first / WORD_BITS || word > last / WORD_BITS ? 0 : word_mask(word, first, last);
}

/* The pages that are meant */
static uint64_t pick(const struct salvage *s, enum which which, unsigned said, uint64_t word, uint64_t pages,
		     uint64_t other)
{
	if (which == REPORTED)
		return pages & ~other;
	pages &= other;
	if (which == SAID)
		return pages & pages_said(s, said, word);
	for (unsigned i = 0; pages && i < s->said_count; i++)
		pages &= ~pages_said(s, i, word);
	return pages;
}

/* Words first.. of planes, absolutely numbered, become owed. */
static void owe_words(const struct salvage *s, struct merging *m, uint64_t first, const uint64_t *words,
		      uint64_t n)
{
	struct log_bits bits = { .address = first * WORD_BITS << s->dead->view.page_shift,
				 .granularity = s->dead->view.page_size,
				 .words = words,
				 .bits = n * WORD_BITS };

	merging_bits(m, &bits);
}

static void owe_planes(const struct salvage *s, struct merging *m, enum which which, unsigned said)
{
	const struct vfd_log *view = &s->dead->view;
	struct range bits = { address_bit(view, s->region, s->region->address),
			      address_bit(view, s->region, s->region->last) };
	uint64_t base = first_word(view, s->region), words[CHUNK_WORDS];

	for (uint64_t at = bits.first; at <= bits.last;) {
		struct range part = chunk_part(bits, at);
		uint64_t from = part.first / WORD_BITS, to = part.last / WORD_BITS, any = 0;
		for (uint64_t w = from; w <= to; w++) {
			uint64_t pages = load(&s->planes.owed.bits[w]) | load(&s->planes.taken.bits[w]);
			pages &= word_mask(w, part.first, part.last);
			words[w - from] =
				pages ? pick(s, which, said, base + w, pages, load(&s->planes.other.bits[w]))
				      : 0;
			any |= words[w - from];
		}
		if (any)
			owe_words(s, m, base + from, words, to - from + 1);
		at = part.last + 1;
	}
}

static void owe_list(const struct salvage *s, struct merging *m, enum which which, unsigned said)
{
	struct listed listed;

	for (unsigned i = 0; i < LISTED; i++) {
		dead_copy(&listed, &s->list->words[i], sizeof(listed));
		uint64_t pages = pick(s, which, said, listed.word, listed.pages, listed.other);
		if (pages && listed.word < UINT64_MAX / WORD_BITS >> s->dead->view.page_shift)
			owe_words(s, m, listed.word, &pages, 1);
	}
}

static void owe(struct salvage *s, enum which which, unsigned said, const struct log_source *source)
{
	struct merging m;

	merging_begin(&m, s->log, s->log->live, source);
	if (s->region)
		owe_planes(s, &m, which, said);
	else
		owe_list(s, &m, which, said);
	s->pages += merging_end(&m, source);
}

static void owe_said(struct salvage *s, unsigned i)
{
	const struct cause_label *label = &s->said[i].label;
	struct log_source source = { .provenance = label->provenance,
				     .reason = label->reason,
				     .granularity = label->granularity,
				     .who = label->who };

	owe(s, SAID, i, &source);
}

static void owe_all(struct salvage *s)
{
	static const struct log_source reported = { .provenance = VFD_REPORTED, .who = "salvaged" };
	static const struct log_source unknown = { .provenance = VFD_ASSUMED,
						   .reason = VFD_WHY_INTERRUPTED,
						   .who = "salvaged" };

	owe(s, REPORTED, 0, &reported);
	for (unsigned i = 0; i < s->said_count; i++)
		owe_said(s, i);
	owe(s, NOT_SAID, 0, &unknown);
}

/* ---- one consumer ---- */

static bool is_said(const struct cause_record *c)
{
	return c->first <= c->last && c->label.provenance > VFD_REPORTED &&
	       c->label.provenance <= VFD_INITIAL && c->label.reason <= VFD_WHY_INTERRUPTED;
}

static void read_causes(struct salvage *s, const struct consumer_record *record)
{
	uint64_t count = min_u64(load(&record->cause_count), MAX_CAUSES + 1);
	struct cause_record c;

	s->said_count = 0;
	for (uint64_t i = 0; i < count; i++) {
		dead_copy(&c, &record->causes[i], sizeof(c));
		c.label.who[NAME_BYTES - 1] = 0;
		if (is_said(&c))
			s->said[s->said_count++] = (struct said){ c.label, { c.first, c.last } };
	}
}

static void salvage_consumer(struct salvage *s, unsigned index)
{
	const struct consumer_record *record = at_offset(&s->dead->view, s->dead->super.consumers[index]);

	read_causes(s, record);
	s->list = &record->list;
	s->region = NULL;
	owe_all(s);
	for (uint64_t i = 0; i < s->dead->table.count; i++) {
		dead_region(s->dead, i, &s->copy);
		if (!s->copy.planes[index] || !dead_region_holds(s->dead, &s->copy))
			continue;
		s->region = &s->copy;
		s->planes = planes_of(&s->dead->view, &s->copy, index);
		owe_all(s);
	}
}

static bool is_wanted(const struct dead *dead, unsigned index, const char *name)
{
	char own[NAME_BYTES];

	if (!dead->super.consumers[index])
		return false;
	dead_copy(own, at_offset(&dead->view, dead->super.consumers[index]), sizeof(own));
	own[NAME_BYTES - 1] = 0;
	return !name || !strncmp(own, name, NAME_BYTES - 1);
}

/* ---- what is nobody's by itself ---- */

/* Marks that no consumer is owed yet: as if they were a consumer's, and nobody had reported them. */
static void salvage_inbox(struct salvage *s)
{
	static const struct log_source caller = { .provenance = VFD_SOFTWARE, .who = "caller" };
	struct summed inbox = inbox_of(&s->dead->view, &s->copy);

	s->region = &s->copy;
	s->planes = (struct planes){ inbox, inbox, inbox };
	s->said_count = 0;
	owe(s, NOT_SAID, 0, &caller);
}

static void salvage_inboxes(struct salvage *s)
{
	for (uint64_t i = 0; i < s->dead->table.count; i++) {
		dead_region(s->dead, i, &s->copy);
		if (dead_region_holds(s->dead, &s->copy))
			salvage_inbox(s);
	}
}

/* Only where the dead log had regions */
static void assume(struct salvage *s, struct merging *m, struct range where)
{
	struct region r;

	for (uint64_t i = 0; i < s->dead->table.count; i++) {
		dead_region(s->dead, i, &r);
		struct range part = { max_u64(where.first, r.address), min_u64(where.last, r.last) };
		if (part.first <= part.last)
			merging_range(m, part);
	}
}

/* Returns how many questions were on their way. */
static uint32_t salvage_intents(struct salvage *s, uint64_t *assumed)
{
	static const struct log_source interrupted = { .provenance = VFD_ASSUMED,
						       .reason = VFD_WHY_INTERRUPTED,
						       .who = "the dead process" };
	struct merging m;
	uint32_t count = (uint32_t)s->dead->super.all_asked;

	merging_begin(&m, s->log, s->log->live, &interrupted);
	if (count)
		assume(s, &m, RANGE_ALL);
	for (unsigned i = 0; i < MAX_INTENTS; i++) {
		const struct intent *intent = &s->dead->super.intents[i];
		if (intent->state != INTENT_ASKED)
			continue;
		assume(s, &m, (struct range){ intent->first, intent->last });
		count++;
	}
	*assumed = merging_end(&m, &interrupted);
	return count;
}

/* ---- all ---- */

static int salvage(struct salvage *s, const char *consumer, struct vfd_salvage *result, struct vfd_error *err)
{
	unsigned found = 0;
	int ret = dead_check_regions(s->dead, s->log, err);

	for (unsigned i = 0; !ret && i < MAX_CONSUMERS; i++) {
		if (!is_wanted(s->dead, i, consumer))
			continue;
		salvage_consumer(s, i);
		found++;
	}
	if (!ret && !found)
		ret = fail(err, VFD_EINVALID, SALVAGE_OP, "the dead log has no consumer '%s'",
			   consumer ? consumer : "");
	if (ret)
		return ret;
	salvage_inboxes(s);
	result->interrupted = salvage_intents(s, &result->pages_assumed);
	result->regions = s->dead->table.count;
	result->pages = s->pages + result->pages_assumed;
	return 0;
}

int vfd_log_salvage(struct vfd_log *log, const void *arena, uint64_t arena_size, const char *consumer,
		    struct vfd_salvage *result, struct vfd_error *err)
{
	struct vfd_salvage answer = { 0 };
	struct dead dead = { 0 };
	struct salvage s = { .dead = &dead, .log = log };
	int ret = result ? check_answer(result, sizeof(answer), "struct vfd_salvage", err) : 0;

	if (!ret)
		ret = log_enter(log, SALVAGE_OP, err);
	if (ret)
		return ret;
	ret = dead_open(&dead, log, arena, arena_size, err);
	if (!ret)
		ret = salvage(&s, consumer, &answer, err);
	log_leave(log);
	if (!ret && result)
		copy_answer(result, &answer, sizeof(answer));
	return ret;
}
