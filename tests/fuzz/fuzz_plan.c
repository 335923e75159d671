/* SPDX-License-Identifier: MIT */

/* libFuzzer: the planners of ranges. Input: limits, then pairs of bytes, a gap and a length. What a device's log is to watch has all that is
 * asked for, within the limits, and the least besides; what a harvest asks for has each mapping once. */

#include "../random/kinds.h"
#include "cover.h"
#include "plan.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 24, HEAD = 4 };

#define PAGE UINT64_C(4096)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool so)
{
	if (!so)
		abort();
}

static unsigned layout(const uint8_t *data, size_t size, uint64_t base, struct range *ranges)
{
	unsigned count = 0;

	for (uint64_t at = base; count < MOST && size >= 2; data += 2, size -= 2, count++) {
		at += (data[0] & 0x80 ? (uint64_t)(data[0] & 0x7f) << 6 : data[0]) * PAGE;
		ranges[count] = (struct range){ at, at + (1 + (uint64_t)data[1]) * PAGE - 1 };
		at = ranges[count].last + 1;
	}
	return count;
}

/* ---- what a log watches ---- */

static uint64_t pieces(struct range hull, const struct cover_limits *limits)
{
	uint64_t length = limits->length & ~(limits->align - 1);

	return length ? (range_size(hull) + length - 1) / length : 1;
}

static struct range rounded(struct range r, uint64_t align)
{
	return (struct range){ r.first & ~(align - 1), r.last | (align - 1) };
}

/* The least bytes that ranges i.. cost with so many left; every way to cut them into hulls that do not share a unit. A hull may be cut again. */
static uint64_t least(const struct range *ranges, unsigned count, const struct cover_limits *limits)
{
	static uint64_t best[MOST + 1][MOST + 2];
	unsigned most = limits->most > MOST ? MOST : (unsigned)limits->most;

	for (unsigned left = 0; left <= most; left++)
		best[count][left] = 0;
	for (unsigned i = count; i-- > 0;)
		for (unsigned left = 0; left <= most; left++) {
			best[i][left] = UINT64_MAX;
			for (unsigned j = i; j < count; j++) {
				struct range hull = rounded((struct range){ ranges[i].first, ranges[j].last },
							    limits->align);
				uint64_t n = pieces(hull, limits);
				if (j + 1 < count && rounded(ranges[j + 1], limits->align).first <= hull.last)
					continue;
				if (n <= left && best[j + 1][left - n] != UINT64_MAX &&
				    range_size(hull) + best[j + 1][left - n] < best[i][left])
					best[i][left] = range_size(hull) + best[j + 1][left - n];
			}
		}
	return best[0][most];
}

static void check_cover(const struct range *ranges, unsigned count, const struct cover_limits *limits,
			const struct range *out, const struct cover_answer *answer)
{
	uint64_t asked = 0, got = 0, found = 0;

	must(answer->count <= limits->most && answer->fewest <= limits->most);
	for (size_t i = 0; i < answer->count; i++) {
		must(!i || out[i].first > out[i - 1].last);
		must(!(out[i].first % limits->align) && !((out[i].last + 1) % limits->align));
		must(!limits->length || range_size(out[i]) <= limits->length);
		got += range_size(out[i]);
		for (unsigned j = 0; j < count; j++)
			if (range_meets(out[i], ranges[j])) {
				struct range common = range_common(out[i], ranges[j]);
				found += range_size(common);
			}
	}
	for (unsigned j = 0; j < count; j++)
		asked += range_size(ranges[j]);
	must(found == asked && answer->excess == got - asked);
	must(limits->length || got == least(ranges, count, limits));
}

static void cover(const uint8_t *data, const struct range *ranges, unsigned count)
{
	struct cover_limits limits = { .most = 1 + data[0] % MOST,
				       .align = PAGE << data[1] % 6,
				       .length = data[2] & 1 ? (uint64_t)(data[2] >> 1) * PAGE * 4 : 0 };
	struct range out[MOST];
	struct cover_answer answer;
	struct cover c;

	must(cover_begin(&c, count));
	for (unsigned i = 0; i < count; i++)
		must(cover_add(&c, ranges[i]));
	if (cover_plan(&c, &limits, out, &answer) == COVER_OK)
		check_cover(ranges, count, &limits, out, &answer);
	else
		must(limits.length < limits.align || answer.fewest > limits.most);
	cover_end(&c);
}

/* ---- what a harvest asks for ---- */

static struct segment segment_at(struct space *space, const struct span *span, uint64_t bit)
{
	struct segments all;
	struct segment s;

	segments_of(space, PAGE, span, &all);
	while (segments_next(&all, &s))
		if (bit >= s.bit && bit < (uint64_t)s.bit + s.bits)
			return s;
	abort();
}

static void check_span(struct space *space, const struct plan_rule *rule, const struct span *span,
		       uint64_t *cursor, unsigned *seen)
{
	uint64_t limit = space->backend.caps.dirty_bitmap_limit; /* bytes, as the kernel says */
	struct index_cursor at;

	must(span->first_start >= *cursor && span->first_start >= span->where.first);
	must(!limit || range_size(span->where) <= 8 * limit * PAGE || span->first_start == span->last_start);
	for (bool more = index_seek(&space->table.iova, span->where.first, &at);
	     more && at.where.first <= span->where.last; more = index_next(&at)) {
		const struct mapping *m = at.item;
		uint64_t bit = (m->where.first - span->where.first) / PAGE;
		struct segment s = segment_at(space, span, bit);
		must(m->where.last <= span->where.last && m->where.first >= span->where.first);
		must(bit + range_size(m->where) / PAGE <= (uint64_t)s.bit + s.bits);
		must(m->log_address == s.log_address + (bit - s.bit) * PAGE);
		must(rule->clubbed || bit % 64 == 0);
		++*seen;
	}
	*cursor = span->where.last + 1;
}

static void tour(struct side *side, const uint8_t *data)
{
	struct space *space = &side->container->space;
	struct plan_window window;
	uint64_t cursor = 0;
	unsigned seen = 0;

	if (data[3] & 1)
		space->backend.caps.dirty_bitmap_limit = 8 * (uint64_t)(data[3] >> 1);
	struct plan_rule rule = plan_rule(space);
	while (plan_next(space, RANGE_ALL, cursor, &window)) {
		struct span spare, *span = plan_take(space, RANGE_ALL, &window, &spare);
		must(span);
		check_span(space, &rule, span, &cursor, &seen);
		plan_done(space, span, data[2] & 1);
	}
	must(seen == space->table.iova.count);
}

static void harvest(const uint8_t *data, const struct range *ranges, unsigned count)
{
	struct model *model = model_new(play_kinds[0].config);
	struct side *side = calloc(1, sizeof *side);
	struct vfd_group *group;

	kind_begin(&play_kinds[0], side, model);
	must(!vfd_group_attach(side->container, side->numbers[0], &group, &side->err));
	for (unsigned i = 0; i < count; i++) {
		struct vfd_mapping m = { .struct_size = sizeof m,
					 .flags = VFD_MAP_READ | VFD_MAP_WRITE,
					 .iova = ranges[i].first,
					 .size = range_size(ranges[i]),
					 .memory = side->memory + (data[1] + 7 * i) % 512 * PAGE };
		must(!vfd_map(side->container, &m, &side->err));
	}
	must(!vfd_track_start(side->container, NULL, NULL, &side->err));
	tour(side, data);
	for (unsigned i = 0; i < count && data[0] & 1; i += 2)
		must(!vfd_unmap(side->container, ranges[i].first, range_size(ranges[i]), &side->err));
	tour(side, data);
	side_end(side);
	model_free(model);
	free(side);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct range ranges[MOST];

	if (size < HEAD + 2)
		return 0;
	unsigned count = layout(data + HEAD, size - HEAD, UINT64_C(0x2000000), ranges);
	cover(data, ranges, count);
	if (data[0] & 0x80)
		harvest(data, ranges, count);
	return 0;
}
