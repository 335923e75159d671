/* SPDX-License-Identifier: MIT */

/* libFuzzer: any bytes as calls of the library over the model kernel, and as what devices do meanwhile; the law is asked after each.
 * The first byte says which kernel; seven bytes are a call. */

#include "more.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { CALL_BYTES = 7, MOST_CALLS = 400, MORE = 160 /* first byte of the calls of more.c */ };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t operations; /* calls, and what devices do */

static uint64_t within(uint64_t first, uint64_t count, uint64_t end)
{
	return first + count > end ? end - first : count;
}

/* Each byte means the same wherever the call stands, so that what one input found serves another. */
static struct op decode(const uint8_t *b, bool bursts)
{
	struct op op = { .kind = (enum op_kind)(b[0] % (bursts ? OP_KINDS : OP_BURST)),
			 .index = b[1] % PLAY_GROUPS,
			 .flags = b[2],
			 .page = (uint64_t)b[3] << 2 | b[1] >> 6,
			 .memory = (uint64_t)b[4] << 2 | (b[1] >> 4 & 3) };
	bool slot = op.kind == OP_MAP || op.kind == OP_MAP_PAGES;

	if (op.kind == OP_RESOLVE)
		op.index = b[1] % PLAY_BATCHES;
	op.count = within(op.page, 1 + (uint64_t)b[5], PLAY_IOVA_PAGES);
	if (slot)
		op.count = within(op.page % PLAY_SLOT_PAGES, op.count, PLAY_SLOT_PAGES);
	op.count = within(op.memory, op.count, PLAY_PAGES);
	op.flags |= (uint32_t)b[6] << 8;
	return op;
}

static void lost(const struct op *op, size_t at, uint8_t which, const char *why)
{
	char text[160];

	op_text(op, text, sizeof text);
	fprintf(stderr, "call %zu, %s%s: %s\n", at, which < MORE ? "" : more_name(which - MORE), text, why);
	abort();
}

static void play(const struct kind *kind, struct side *side, const uint8_t *data, size_t size)
{
	const char *why;

	for (size_t i = 0; i < MOST_CALLS && (i + 1) * CALL_BYTES <= size; i++) {
		uint8_t which = data[i * CALL_BYTES];
		struct op op = decode(data + i * CALL_BYTES, kind->bursts);
		operations++;
		if (which < MORE && !side_play(side, &op) && op.kind == OP_REOPEN)
			more_closed();
		if (which >= MORE)
			more_play(side, which - MORE, &op);
		if (!kind->check(side, &why))
			lost(&op, i, which, why);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	const struct kind *kind = &play_kinds[(data[0] & 0x7f) % play_kind_count];
	struct model *model = model_new(kind->config);
	struct side *side = calloc(1, sizeof *side);

	if (data[0] & 0x80)
		side->find = VFD_FIND_MEMORY | VFD_FIND_LOG;
	kind_begin(kind, side, model);
	play(kind, side, data + 1, size - 1);
	more_end(side);
	side_end(side);
	if (model_leaks(model))
		abort();
	model_free(model);
	free(side);
	return 0;
}

/* Among libFuzzer's own figures */
static void __attribute__((destructor)) say(void)
{
	fprintf(stderr, "stat::operations: %" PRIu64 "\n", operations);
}
