/* SPDX-License-Identifier: MIT */

/* Playing operations on a side. */

#include "play.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { RW = VFD_MAP_READ | VFD_MAP_WRITE };

/* Mostly collecting, at times without a flag, at times dropping. */
static unsigned destroy_flags(const struct op *op)
{
	static const unsigned flags[8] = { VFD_COLLECT, VFD_COLLECT, VFD_COLLECT, VFD_COLLECT,
					   0,		0,	     VFD_DISCARD, VFD_COLLECT | VFD_DISCARD };

	return flags[op->flags % 8];
}

/* ---- mappings ---- */

static struct vfd_mapping mapping_of(struct side *side, const struct op *op)
{
	static const uint32_t access[4] = { RW, RW, VFD_MAP_READ, VFD_MAP_WRITE };

	return (struct vfd_mapping){
		.struct_size = sizeof(struct vfd_mapping),
		.flags = access[op->flags % 4],
		.iova = PLAY_IOVA + op->page * PLAY_PAGE,
		.size = op->count * PLAY_PAGE,
		.memory = side->memory + op->memory * PLAY_PAGE,
	};
}

/* One page each, in the memory's order or against it; the first failure ends it. */
static int map_pages(struct side *side, const struct op *op)
{
	struct op page = *op;
	int rc = 0;

	page.count = 1;
	for (uint64_t i = 0; i < op->count && !rc; i++) {
		page.page = op->page + i;
		page.memory = op->memory + (op->flags % 16 ? i : op->count - 1 - i);
		struct vfd_mapping mapping = mapping_of(side, &page);
		rc = vfd_map(side->container, &mapping, &side->err);
	}
	return rc;
}

static int map_badly(struct side *side, const struct op *op)
{
	struct vfd_mapping mapping = mapping_of(side, op);

	switch (op->flags / 4 % 8) {
	case 0:
		mapping.size = 0;
		break;
	case 1:
		mapping.size += 17;
		break;
	case 2:
		mapping.iova += 512;
		break;
	case 3:
		mapping.iova = UINT64_MAX - 2 * PLAY_PAGE + 1;
		mapping.size = 4 * PLAY_PAGE;
		break;
	case 4:
		mapping.memory = side->memory + PLAY_PAGES * PLAY_PAGE;
		break;
	case 5:
		mapping.flags = 0;
		break;
	case 6:
		mapping.flags |= VFD_MAP_LOG_ADDRESS;
		mapping.log_address = PLAY_LOG + PLAY_PAGES * PLAY_PAGE;
		break;
	default:
		mapping.iova = 0;
		mapping.size = UINT64_MAX - PLAY_PAGE + 1;
		break;
	}
	return vfd_map(side->container, &mapping, &side->err);
}

/* ---- the log ---- */

static void add_range(struct pages *pages, uint64_t first, uint64_t count)
{
	for (uint64_t page = first; page < first + count; page++)
		pages->words[page / 64] |= UINT64_C(1) << page % 64;
}

static int take(struct side *side, const struct op *op)
{
	uint64_t most = op->flags % 3 ? 1 + op->flags % 40 : UINT64_MAX;

	for (int i = 0; i < PLAY_BATCHES; i++)
		if (!side->batches[i].id)
			return vfd_take(side->consumer, 0, UINT64_MAX, most, &side->batches[i], &side->err);
	return 0;
}

/* All of a batch, or its first half. */
static int resolve(struct side *side, const struct op *op)
{
	struct vfd_batch *batch = &side->batches[op->index];
	uint64_t last = UINT64_MAX;

	if (!batch->id)
		return 0;
	if (op->flags % 4 == 0 && batch->last > batch->first + PLAY_PAGE)
		last = (batch->first + (batch->last - batch->first) / 2) / PLAY_PAGE * PLAY_PAGE - 1;
	if (last < batch->first || last == UINT64_MAX)
		last = UINT64_MAX;
	int rc = op->flags / 4 % 4 ? vfd_commit(side->consumer, batch, 0, last, &side->err)
				   : vfd_rollback(side->consumer, batch, 0, last, &side->err);
	if (last == UINT64_MAX)
		*batch = (struct vfd_batch){ 0 };
	return rc;
}

static int mark(struct side *side, const struct op *op)
{
	add_range(&side->marked, op->page, op->count);
	return vfd_log_mark(side->log, PLAY_LOG + op->page * PLAY_PAGE, op->count * PLAY_PAGE, &side->err);
}

/* ---- lifecycle ---- */

static int detach(struct side *side, const struct op *op)
{
	int rc = vfd_group_detach(&side->groups[op->index], destroy_flags(op), &side->err);

	if (!side->groups[op->index])
		side->devices[op->index] = NULL;
	return rc;
}

/* An attached group's handle must not be overwritten: attach to a spare one. */
static int attach(struct side *side, const struct op *op)
{
	struct vfd_group *group = NULL;
	int rc = vfd_group_attach(side->container, side->numbers[op->index], &group, &side->err);

	if (!rc)
		side->groups[op->index] = group;
	return rc;
}

static int open_device(struct side *side, const struct op *op)
{
	struct vfd_device *device = NULL;
	int rc = vfd_device_open(side->groups[op->index], side->names[op->index], &device, &side->err);

	if (!rc)
		side->devices[op->index] = device;
	return rc;
}

static int resume(struct side *side, const struct op *op)
{
	int rc = vfd_device_resume(side->devices[op->index], &side->err);

	if (!rc && side->resumed)
		side->resumed(side, op->index);
	return rc;
}

static void hear(const struct vfd_message *message, void *opaque)
{
	(void)opaque;
	if (message->struct_size != sizeof *message || !message->kind || !message->text[0])
		abort();
}

/* Every other one tells all that it does. */
static void open_container(struct side *side)
{
	struct vfd_container_options options = {
		.struct_size = sizeof options, .flags = side->find, .log = side->log, .backend = side->backend
	};

	if (container_open_on(side->sys, &options, &side->container, &side->err)) {
		printf("not ok - %s: cannot open a container: %s\n", side->name, side->err.message);
		exit(1);
	}
	if (side->opened++ % 2 &&
	    vfd_container_messages(side->container, VFD_LEVEL_DEBUG, hear, NULL, &side->err))
		abort();
}

static int reopen(struct side *side, const struct op *op)
{
	int rc = vfd_container_close(&side->container, destroy_flags(op), &side->err);

	if (rc)
		return rc;
	memset(side->groups, 0, sizeof side->groups);
	memset(side->devices, 0, sizeof side->devices);
	open_container(side);
	return 0;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
	return (hash ^ value) * UINT64_C(0x100000001b3);
}

static int info(struct side *side)
{
	struct vfd_container_info info = { .struct_size = sizeof info };
	int rc = vfd_container_info(side->container, &info, &side->err);
	const uint64_t seen[] = {
		info.kind,
		info.attached,
		info.physical,
		info.devices,
		info.writers,
		info.tracking,
		info.drained,
		info.mappings,
		info.mapped_bytes,
		info.page_sizes,
		info.page_size,
		info.dirty_page_sizes,
		info.dirty_bitmap_limit,
		info.range_total,
		info.entries_available,
	};

	side->info = 0;
	for (size_t i = 0; i < sizeof seen / sizeof seen[0]; i++)
		side->info = mix(side->info, seen[i]);
	return rc;
}

/* ---- devices ---- */

/* Whoever commands a device that the library made quiet breaks the promise: nothing is to be seen then. */
static bool may_command(struct side *side, unsigned index)
{
	return !side->devices[index] || !side->devices[index]->quiesced;
}

static int command(struct side *side, const struct op *op, unsigned long request, uint32_t flags)
{
	struct vfdtest_range range = {
		.device = op->index,
		.flags = flags,
		.iova = PLAY_IOVA + op->page * PLAY_PAGE,
		.size = op->count * PLAY_PAGE,
		.value = op->flags,
	};

	if (request == VFDTEST_WRITE && op->flags % 2) {
		range.iova += 8 * (op->flags % 500);
		range.size = 8 + op->flags % 3 * 2000;
	}
	return may_command(side, op->index) ? side->command(side, request, &range) : 0;
}

static int burst(struct side *side, const struct op *op)
{
	struct vfdtest_run run = {
		.device = op->index,
		.iova = PLAY_IOVA,
		.size = PLAY_IOVA_PAGES * PLAY_PAGE,
		.seed = op->flags,
	};
	struct vfdtest_halt halt = { .device = op->index };

	if (!may_command(side, op->index))
		return 0;
	int rc = side->command(side, VFDTEST_RUN, &run);
	if (rc)
		return rc;
	side->burst(side, op->index, op->count);
	return side->command(side, VFDTEST_HALT, &halt);
}

/* ---- one operation ---- */

static int play_mapping(struct side *side, const struct op *op)
{
	struct vfd_mapping mapping = mapping_of(side, op);

	switch (op->kind) {
	case OP_MAP:
		return vfd_map(side->container, &mapping, &side->err);
	case OP_MAP_PAGES:
		return map_pages(side, op);
	case OP_MAP_BAD:
		return map_badly(side, op);
	case OP_UNMAP_ALL:
		return vfd_unmap_all(side->container, &side->err);
	default:
		return vfd_unmap(side->container, mapping.iova, mapping.size, &side->err);
	}
}

static int play_lifecycle(struct side *side, const struct op *op)
{
	switch (op->kind) {
	case OP_ATTACH:
		return attach(side, op);
	case OP_DETACH:
		return detach(side, op);
	case OP_OPEN:
		return open_device(side, op);
	case OP_CLOSE:
		return vfd_device_close(&side->devices[op->index], destroy_flags(op), &side->err);
	case OP_QUIESCE:
		return vfd_device_quiesce(side->devices[op->index], &side->err);
	case OP_RESUME:
		return resume(side, op);
	case OP_START:
		return vfd_track_start(side->container, NULL, NULL, &side->err);
	case OP_STOP:
		return vfd_track_stop(side->container, destroy_flags(op), &side->err);
	case OP_REOPEN:
		return reopen(side, op);
	default:
		return info(side);
	}
}

static int harvest(struct side *side, const struct op *op)
{
	int rc;

	if (op->flags % 8 == 1)
		rc = vfd_track_harvest_range(side->container, PLAY_IOVA + op->page * PLAY_PAGE,
					     PLAY_IOVA + (op->page + 300) * PLAY_PAGE - 1, NULL, &side->err);
	else
		rc = vfd_track_harvest(side->container, op->flags % 4 ? 0 : VFD_HARVEST_FINAL, NULL,
				       &side->err);
	side->clubbed += !rc && side->container->space.plan.rule.clubbed;
	return rc;
}

static int play(struct side *side, const struct op *op)
{
	switch (op->kind) {
	case OP_HARVEST:
		return harvest(side, op);
	case OP_TAKE:
		return take(side, op);
	case OP_RESOLVE:
		return resolve(side, op);
	case OP_MARK:
		return mark(side, op);
	case OP_WRITE:
		return command(side, op, VFDTEST_WRITE, 0);
	case OP_PIN:
		return command(side, op, VFDTEST_PIN, VFDTEST_PIN_WRITE);
	case OP_UNPIN:
		return command(side, op, VFDTEST_UNPIN, 0);
	case OP_BURST:
		return burst(side, op);
	default:
		return op->kind <= OP_UNMAP_ALL ? play_mapping(side, op) : play_lifecycle(side, op);
	}
}

/* ---- what the devices wrote ---- */

static void remember_table(struct side *side)
{
	struct index_cursor at;

	side->before_count = 0;
	for (bool more = index_seek(&side->container->space.table.iova, 0, &at); more;
	     more = index_next(&at)) {
		const struct mapping *m = at.item;
		side->before[side->before_count++] = (struct shadow){
			.iova = (m->where.first - PLAY_IOVA) / PLAY_PAGE,
			.memory = (m->log_address - PLAY_LOG) / PLAY_PAGE,
			.count = range_size(m->where) / PLAY_PAGE,
			.writable = m->flags & VFD_MAP_WRITE,
		};
	}
}

static void add_written(struct side *side, const uint64_t *iova_bits, const struct shadow *m)
{
	for (uint64_t i = 0; i < m->count && m->writable; i++) {
		uint64_t page = m->iova + i;
		if (iova_bits[page / 64] >> page % 64 & 1)
			add_range(&side->unpaid, m->memory + i, 1);
	}
}

/* No operation both writes and changes the table, except that an unmap ends pins: those are of the table before. */
static void add_truth(struct side *side, unsigned index, bool count)
{
	uint64_t bits[PLAY_IOVA_PAGES / 64];
	struct vfdtest_truth truth = {
		.device = index,
		.flags = VFDTEST_TRUTH_CLEAR,
		.iova = PLAY_IOVA,
		.size = PLAY_IOVA_PAGES * PLAY_PAGE,
		.bitmap = (uintptr_t)bits,
	};

	if (side->command(side, VFDTEST_TRUTH, &truth) || !count)
		return;
	for (unsigned i = 0; i < side->before_count && truth.pages; i++)
		add_written(side, bits, &side->before[i]);
}

static struct pages take_fresh(struct side *side)
{
	struct pages pages = { 0 };
	struct vfd_batch batch;
	struct vfd_run runs[32];
	size_t count;

	if (vfd_take(side->witness, 0, UINT64_MAX, UINT64_MAX, &batch, &side->err) || !batch.id)
		return pages;
	while (!vfd_batch_runs(side->witness, &batch, runs, 32, &count, NULL) && count)
		for (size_t i = 0; i < count; i++)
			add_range(&pages, (runs[i].address - PLAY_LOG) / PLAY_PAGE, runs[i].size / PLAY_PAGE);
	vfd_commit(side->witness, &batch, 0, UINT64_MAX, NULL);
	return pages;
}

static void settle(struct side *side, bool tracking)
{
	struct pages not_marked;

	for (unsigned i = 0; i < PLAY_GROUPS; i++)
		add_truth(side, i, tracking);
	side->fresh = take_fresh(side);
	not_marked = side->fresh;
	for (int i = 0; i < PLAY_WORDS; i++)
		not_marked.words[i] &= ~side->marked.words[i];
	side->over += pages_missing(&not_marked, &side->unpaid);
	side->delivered += pages_count(&side->fresh);
	for (int i = 0; i < PLAY_WORDS; i++)
		side->unpaid.words[i] &= ~not_marked.words[i];
}

static bool discards(const struct op *op)
{
	return destroy_flags(op) == VFD_DISCARD && (op->kind == OP_DETACH || op->kind == OP_STOP ||
						    op->kind == OP_REOPEN || op->kind == OP_CLOSE);
}

int side_play_call(struct side *side, const struct op *op,
		   int (*call)(struct side *side, const struct op *op))
{
	bool tracking = side->container->space.tracking;

	side->marked = (struct pages){ 0 };
	side->was_physical = side->container->space.physical;
	remember_table(side);
	int rc = call(side, op);
	settle(side, tracking || side->container->space.tracking);
	side->discarded = !rc && discards(op) && space_clean(&side->container->space);
	if (side->discarded)
		side->unpaid = (struct pages){ 0 };
	return rc;
}

int side_play(struct side *side, const struct op *op)
{
	return side_play_call(side, op, play);
}

bool side_nothing_left(struct side *side)
{
	return !space_clean(&side->container->space) || !pages_count(&side->unpaid);
}

/* ---- pages ---- */

unsigned pages_missing(const struct pages *a, const struct pages *b)
{
	unsigned count = 0;

	for (int i = 0; i < PLAY_WORDS; i++)
		count += (unsigned)__builtin_popcountll(a->words[i] & ~b->words[i]);
	return count;
}

unsigned pages_count(const struct pages *pages)
{
	static const struct pages none;

	return pages_missing(pages, &none);
}

bool pages_same(const struct pages *a, const struct pages *b)
{
	return !memcmp(a, b, sizeof *a);
}

/* ---- beginning and end ---- */

void side_begin(struct side *side)
{
	struct vfd_region region = { .struct_size = sizeof region,
				     .address = PLAY_LOG,
				     .size = PLAY_PAGES * PLAY_PAGE };

	if (!side->names[0]) {
		side->names[0] = "vfdtest.0";
		side->names[1] = "vfdtest.1";
	}
	side->memory = mmap(NULL, region.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	region.memory = side->memory;
	if (side->memory == MAP_FAILED || vfd_log_create(NULL, &side->log, &side->err) ||
	    vfd_region_add(side->log, &region, &side->err) ||
	    vfd_consumer_add(side->log, "witness", &side->witness, &side->err))
		abort();
	side->consumer = vfd_log_consumer(side->log);
	open_container(side);
}

void side_end(struct side *side)
{
	if (vfd_container_close(&side->container, VFD_COLLECT, &side->err))
		printf("not ok - %s: the last close: %s\n", side->name, side->err.message);
	vfd_log_destroy(&side->log, VFD_DISCARD, &side->err);
	munmap(side->memory, PLAY_PAGES * PLAY_PAGE);
}
