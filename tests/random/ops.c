/* SPDX-License-Identifier: MIT */

/* The generator: which operation comes next depends on the seed alone. */

#include "play.h"

#include <stdio.h>

uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static const struct {
	const char *name;
	unsigned weight;
} kinds[OP_KINDS] = {
	[OP_MAP] = { "map", 120 },
	[OP_MAP_PAGES] = { "map pages", 60 },
	[OP_MAP_BAD] = { "map badly", 8 },
	[OP_UNMAP_SLOT] = { "unmap slot", 30 },
	[OP_UNMAP_RANGE] = { "unmap range", 12 },
	[OP_UNMAP_ALL] = { "unmap all", 2 },
	[OP_HARVEST] = { "harvest", 90 },
	[OP_TAKE] = { "take", 40 },
	[OP_RESOLVE] = { "resolve", 50 },
	[OP_MARK] = { "mark", 5 },
	[OP_ATTACH] = { "attach", 60 },
	[OP_DETACH] = { "detach", 10 },
	[OP_OPEN] = { "open device", 80 },
	[OP_CLOSE] = { "close device", 12 },
	[OP_QUIESCE] = { "quiesce", 10 },
	[OP_RESUME] = { "resume", 20 },
	[OP_START] = { "track start", 20 },
	[OP_STOP] = { "track stop", 3 },
	[OP_INFO] = { "info", 10 },
	[OP_REOPEN] = { "close and open", 2 },
	[OP_WRITE] = { "write", 250 },
	[OP_PIN] = { "pin", 60 },
	[OP_UNPIN] = { "unpin", 60 },
	[OP_BURST] = { "burst", 40 },
};

const char *op_name(enum op_kind kind)
{
	return kinds[kind].name;
}

static enum op_kind pick(uint64_t *random, bool bursts)
{
	unsigned last = bursts ? OP_KINDS : OP_BURST, total = 0;

	for (unsigned i = 0; i < last; i++)
		total += kinds[i].weight;
	uint64_t at = next_random(random) % total;
	unsigned kind = 0;
	while (at >= kinds[kind].weight)
		at -= kinds[kind++].weight;
	return (enum op_kind)kind;
}

static void place_in_slot(struct op *op, uint64_t *random)
{
	uint64_t slot = next_random(random) % PLAY_SLOTS;
	uint64_t from = next_random(random) % 3 ? 0 : next_random(random) % 50;

	op->page = slot * PLAY_SLOT_PAGES + from;
	op->count = next_random(random) % 2 ? PLAY_SLOT_PAGES - from
					    : 1 + next_random(random) % (PLAY_SLOT_PAGES - from);
	op->memory = next_random(random) % (PLAY_PAGES - op->count + 1);
}

static void place_anywhere(struct op *op, uint64_t *random, uint64_t most)
{
	op->page = next_random(random) % PLAY_IOVA_PAGES;
	op->count = 1 + next_random(random) % most;
	if (op->page + op->count > PLAY_IOVA_PAGES)
		op->count = PLAY_IOVA_PAGES - op->page;
}

struct op op_next(uint64_t *random, bool bursts)
{
	struct op op = { .kind = pick(random, bursts) };

	op.index = (unsigned)(next_random(random) % (op.kind == OP_RESOLVE ? PLAY_BATCHES : PLAY_GROUPS));
	op.flags = (uint32_t)next_random(random);
	switch (op.kind) {
	case OP_MAP:
	case OP_MAP_PAGES:
		place_in_slot(&op, random);
		break;
	case OP_UNMAP_SLOT:
		op.page = next_random(random) % PLAY_SLOTS * PLAY_SLOT_PAGES;
		op.count = PLAY_SLOT_PAGES * (1 + (op.flags % 4 == 0));
		break;
	case OP_UNMAP_RANGE:
		place_anywhere(&op, random, 200);
		break;
	case OP_PIN:
	case OP_UNPIN:
		place_anywhere(&op, random, 4);
		break;
	case OP_WRITE:
		place_anywhere(&op, random, op.flags % 8 ? 4 : 70);
		break;
	default:
		place_anywhere(&op, random, 24);
		break;
	}
	return op;
}

void op_text(const struct op *op, char *text, size_t size)
{
	snprintf(text, size, "%s index %u, pages %llu+%llu, memory %llu, flags %#x", op_name(op->kind),
		 op->index, (unsigned long long)op->page, (unsigned long long)op->count,
		 (unsigned long long)op->memory, op->flags);
}
