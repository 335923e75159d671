/* SPDX-License-Identifier: MIT */

/* What a dead process' log owed, out of its arena. The process may have been killed between any two stores, so nothing is believed that takes
 * two to be true: summaries, counts, the table of batches, and what spans of causes leave out. What is believed: each page is at every
 * moment owed, taken (in the plane or in the list) or in the inbox, until it is committed, for whoever moves it sets the new bit first; and
 * the tables of regions and consumers are complete before one store makes them count.
 *
 * The arena may have been written by anyone: each number is loaded once, and checked before it is used. */

#include <inttypes.h>
#include <string.h>

#include "answer.h"
#include "log_internal.h"

static const char *const salvage_op = "vfd_log_salvage";

struct dead {
	struct vfd_log view; /* as much of a log as planes_of() and the like look at */
	struct superblock super;
	struct region_table table; /* the header */
};

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

/* One load each, whatever the compiler would like */
static void copy_out(void *to, const void *from, size_t size)
{
	memcpy(to, from, size);
	__asm__ volatile("" : : "r"(to) : "memory");
}

static uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/* ---- is it a log? ---- */

static bool inside(const struct dead *dead, uint64_t offset, uint64_t bytes)
{
	return offset && is_aligned(offset, CACHE_LINE) && bytes <= dead->view.arena_size &&
	       offset <= dead->view.arena_size - bytes;
}

static int fail_damaged(struct vfd_error *err, const char *what, uint64_t at)
{
	return fail(err, VFD_EINVALID, salvage_op, "the arena is damaged: %s 0x%" PRIx64 " is impossible",
		    what, at);
}

static int check_magic(const struct superblock *super, struct vfd_error *err)
{
	if (super->magic == LOG_MAGIC_DEAD)
		return fail(err, VFD_ESTATE, salvage_op,
			    "the log in this arena was destroyed: it owes nothing");
	if (super->magic != LOG_MAGIC)
		return fail(err, VFD_EINVALID, salvage_op,
			    "there is no log in the arena, or another version's: it begins with 0x%" PRIx64,
			    super->magic);
	return super->check == super_check(super) ? 0 : fail_damaged(err, "its checksum", super->check);
}

static int check_super(const struct dead *dead, const struct vfd_log *log, struct vfd_error *err)
{
	const struct superblock *super = &dead->super;
	int ret = check_magic(super, err);

	if (!ret && super->arena_size != dead->view.arena_size)
		ret = fail(err, VFD_EINVALID, salvage_op,
			   "arena_size is %" PRIu64 ", but the log was created with %" PRIu64,
			   dead->view.arena_size, super->arena_size);
	if (!ret && super->page_size != log->page_size)
		ret = fail(err, VFD_EINVALID, salvage_op,
			   "the dead log has pages of %" PRIu64 " bytes, this one of %" PRIu64,
			   super->page_size, log->page_size);
	return ret;
}

static int check_arena(const struct vfd_log *log, const void *arena, uint64_t size, struct vfd_error *err)
{
	if (!arena)
		return fail_null("arena", salvage_op, err);
	if (!is_aligned((uintptr_t)arena, 4096) || size < arena_minimum() ||
	    size > UINTPTR_MAX - (uintptr_t)arena)
		return fail(err, VFD_EINVALID, salvage_op,
			    "arena %p of %" PRIu64 " bytes: must be 4096-aligned, and %" PRIu64
			    " bytes at least",
			    arena, size, arena_minimum());
	if ((const void *)log->super == arena)
		return fail(err, VFD_ESTATE, salvage_op, "the log that lives in this arena is `log` itself");
	return 0;
}

static int open_table(struct dead *dead, struct vfd_error *err)
{
	uint64_t at = dead->super.regions;

	if (!inside(dead, at, sizeof(dead->table)))
		return fail_damaged(err, "the region table's offset", at);
	copy_out(&dead->table, at_offset(&dead->view, at), sizeof(dead->table));
	if (dead->table.count > dead->view.arena_size / sizeof(struct region) ||
	    !inside(dead, at, sizeof(dead->table) + dead->table.count * sizeof(struct region)))
		return fail_damaged(err, "the number of regions", dead->table.count);
	return 0;
}

static int open_dead(struct dead *dead, const struct vfd_log *log, const void *arena, uint64_t size,
		     struct vfd_error *err)
{
	int ret = check_arena(log, arena, size, err);

	if (ret)
		return ret;
	dead->view.base = (uintptr_t)arena;
	dead->view.arena_size = size;
	dead->view.page_size = log->page_size;
	dead->view.page_shift = log->page_shift;
	copy_out(&dead->super, arena, sizeof(dead->super));
	ret = check_super(dead, log, err);
	return ret ? ret : open_table(dead, err);
}

/* ---- its regions ---- */

static void region_at(const struct dead *dead, uint64_t index, struct region *region)
{
	const struct region_table *table = at_offset(&dead->view, dead->super.regions);

	copy_out(region, &table->regions[index], sizeof(*region));
}

static bool is_region(const struct dead *dead, const struct region *r)
{
	const uint64_t page = dead->view.page_size;
	bool right = r->address <= r->last && r->last < UINT64_MAX && is_aligned(r->address, page) &&
		     is_aligned(r->last + 1, page);

	if (right && r->inbox)
		right = inside(dead, r->inbox, inbox_bytes(&dead->view, r));
	for (unsigned i = 0; right && i < MAX_CONSUMERS; i++)
		right = !r->planes[i] || inside(dead, r->planes[i], planes_bytes(&dead->view, r));
	return right;
}

/* All of them, before anything is owed */
static int check_regions(const struct dead *dead, const struct vfd_log *log, struct vfd_error *err)
{
	struct range hole;
	struct region r;

	for (uint64_t i = 0; i < dead->table.count; i++) {
		region_at(dead, i, &r);
		if (!is_region(dead, &r))
			return fail_damaged(err, "the region at", r.address);
		if (first_hole(log, (struct range){ r.address, r.last }, &hole))
			return fail_range(err, VFD_ENOREGION, salvage_op, hole.first, hole.last,
					  "the dead log has the region 0x%" PRIx64 "..0x%" PRIx64
					  "; here, 0x%" PRIx64 "..0x%" PRIx64 " lie in none",
					  r.address, r.last, hole.first, hole.last);
	}
	return 0;
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
		copy_out(&listed, &s->list->words[i], sizeof(listed));
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
		copy_out(&c, &record->causes[i], sizeof(c));
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
		region_at(s->dead, i, &s->copy);
		if (!s->copy.planes[index] || !is_region(s->dead, &s->copy))
			continue;
		s->region = &s->copy;
		s->planes = planes_of(&s->dead->view, &s->copy, index);
		owe_all(s);
	}
}

static bool is_wanted(const struct dead *dead, unsigned index, const char *name)
{
	char own[NAME_BYTES];

	if (!inside(dead, dead->super.consumers[index], sizeof(struct consumer_record)))
		return false;
	copy_out(own, at_offset(&dead->view, dead->super.consumers[index]), sizeof(own));
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
		region_at(s->dead, i, &s->copy);
		if (s->copy.inbox && is_region(s->dead, &s->copy))
			salvage_inbox(s);
	}
}

/* Only where the dead log had regions */
static void assume(struct salvage *s, struct merging *m, struct range where)
{
	struct region r;

	for (uint64_t i = 0; i < s->dead->table.count; i++) {
		region_at(s->dead, i, &r);
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
	int ret = check_regions(s->dead, s->log, err);

	for (unsigned i = 0; !ret && i < MAX_CONSUMERS; i++) {
		if (!is_wanted(s->dead, i, consumer))
			continue;
		salvage_consumer(s, i);
		found++;
	}
	if (!ret && !found)
		ret = fail(err, VFD_EINVALID, salvage_op, "the dead log has no consumer '%s'",
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
		ret = log_enter(log, salvage_op, err);
	if (ret)
		return ret;
	ret = open_dead(&dead, log, arena, arena_size, err);
	if (!ret)
		ret = salvage(&s, consumer, &answer, err);
	log_leave(log);
	if (!ret && result)
		copy_answer(result, &answer, sizeof(answer));
	return ret;
}
