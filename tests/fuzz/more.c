/* SPDX-License-Identifier: MIT */

/* The public functions that the random operations do not call, in any order and with much that is wrong. What they may put into the log
 * is noted in the side. */

#include "more.h"

#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>

#define REFUSED VFD_EINVALID

enum { RW = VFD_MAP_READ | VFD_MAP_WRITE };

static struct {
	struct vfd_pinset *pinset;
	struct vfd_pin pins[8];
	struct vfd_audit *audit;
	struct vfd_consumer *consumer;
	void *area;
} more;

static uint64_t iova_of(const struct op *op)
{
	return PLAY_IOVA + op->page * PLAY_PAGE;
}

/* Numbers at which arithmetic breaks */
static uint64_t odd_number(const struct op *op)
{
	static const uint64_t numbers[] = {
		0, 1, 4095, 4096, UINT64_MAX, UINT64_MAX - 4095, UINT64_C(1) << 63, 512
	};

	return numbers[op->flags >> 4 & 7];
}

static void may_enter(struct side *side, const void *memory, uint64_t size)
{
	uint64_t first = (uint64_t)((const unsigned char *)memory - side->memory) / PLAY_PAGE;
	uint64_t last = ((uint64_t)((const unsigned char *)memory - side->memory) + size - 1) / PLAY_PAGE;

	for (uint64_t page = first; page <= last && page < PLAY_PAGES; page++)
		side->may.words[page / 64] |= UINT64_C(1) << page % 64;
}

/* ---- mappings ---- */

static struct vfd_mapping mapping_of(struct side *side, const struct op *op)
{
	return (struct vfd_mapping){ .struct_size = sizeof(struct vfd_mapping),
				     .flags = RW,
				     .iova = iova_of(op),
				     .size = op->count * PLAY_PAGE,
				     .memory = side->memory + op->memory * PLAY_PAGE,
				     .granule = op->flags & 1 ? PLAY_PAGE << (op->flags >> 1 & 7) : 0 };
}

static int map_cut(struct side *side, const struct op *op)
{
	struct vfd_mapping mapping = mapping_of(side, op);

	return vfd_map(side->container, &mapping, &side->err);
}

static int map_list(struct side *side, const struct op *op)
{
	struct vfd_mapping list[3];
	uint64_t entries, part = op->count / 3 * PLAY_PAGE;

	for (unsigned i = 0; i < 3; i++) {
		list[i] = mapping_of(side, op);
		list[i].iova += (i + (op->flags >> 8 & 1)) % 3 * part;
		list[i].memory = (char *)list[i].memory + (i + (op->flags >> 9 & 1)) % 3 * part;
		list[i].size = part;
	}
	return vfd_map_list(side->container, list, 3, &entries, &side->err);
}

static int map_anywhere(struct side *side, const struct op *op)
{
	struct vfd_mapping mapping = mapping_of(side, op);
	struct vfd_placement placement = { .struct_size = sizeof placement,
					   .flags = op->flags >> 8 & 1,
					   .align = op->flags & 0x200 ? odd_number(op) : 0,
					   .first = PLAY_IOVA,
					   .last = PLAY_IOVA + PLAY_IOVA_PAGES * PLAY_PAGE - 1 };

	return vfd_map_anywhere(side->container, &mapping, &placement, &side->err);
}

static int map_check(struct side *side, const struct op *op)
{
	struct vfd_mapping mapping = mapping_of(side, op);
	struct vfd_map_cost cost = { .struct_size = sizeof cost };

	if (op->flags & 8)
		mapping.size = odd_number(op);
	return vfd_map_check(side->container, &mapping, &cost, &side->err);
}

static int find_mapping(struct side *side, const struct op *op)
{
	static const enum vfd_find by[] = { VFD_FIND_IOVA, VFD_FIND_MEMORY, VFD_FIND_LOG, (enum vfd_find)3 };
	const uint64_t address[] = { iova_of(op), (uintptr_t)side->memory + op->memory * PLAY_PAGE,
				     PLAY_LOG + op->memory * PLAY_PAGE, odd_number(op) };
	struct vfd_mapping mapping = { .struct_size = sizeof mapping };

	return vfd_mapping_find(side->container, by[op->flags & 3], address[op->flags & 3], &mapping,
				&side->err);
}

static int unmap_badly(struct side *side, const struct op *op)
{
	return vfd_unmap(side->container, iova_of(op) + (op->flags & 1), odd_number(op), &side->err);
}

static int unmap_and_wait(struct side *side, const struct op *op)
{
	return vfd_unmap_wait(side->container, iova_of(op), op->count * PLAY_PAGE, op->flags & 1000,
			      &side->err);
}

/* ---- pins ---- */

static int create_pinset(struct side *side, const struct op *op)
{
	struct vfd_pinset_options options = { .struct_size = sizeof options, .capacity = op->flags & 7 };

	return more.pinset ? REFUSED : vfd_pinset_create(side->container, &options, &more.pinset, &side->err);
}

static int destroy_pinset(struct side *side, const struct op *op)
{
	int rc = vfd_pinset_destroy(&more.pinset, op->flags & 1 ? VFD_PIN_ABANDON : 0, &side->err);

	if (!rc)
		memset(more.pins, 0, sizeof more.pins);
	return rc;
}

static int pin(struct side *side, const struct op *op)
{
	struct vfd_pin *p = &more.pins[op->flags & 7];
	unsigned flags = op->flags >> 3 & 3;
	void *memory = side->memory + op->memory * PLAY_PAGE + (op->flags >> 5 & 15);
	struct vfd_pin_part part = { memory, op->count * 100 };
	size_t filled;
	int rc;

	if (p->id)
		return REFUSED; /* it is held, and would be forgotten */
	switch (op->flags >> 9 & 3) {
	case 0:
		rc = vfd_pin(more.pinset, memory, op->count * 100, flags, p, &side->err);
		break;
	case 1: /* all or nothing, but what was pinned for a moment is marked */
		may_enter(side, memory, part.size);
		rc = vfd_pin_list(more.pinset, &part, 1, flags, p, 1, &filled, &side->err);
		break;
	default:
		rc = vfd_pin_iova(more.pinset, iova_of(op), op->count * 100, flags, p, &side->err);
		break;
	}
	if (!rc)
		may_enter(side, p->memory, p->size);
	return rc;
}

static int unpin(struct side *side, const struct op *op)
{
	struct vfd_pin *first = &more.pins[op->flags & 7];
	size_t count = 1 + (op->flags >> 3 & 1 && (op->flags & 7) < 7);
	int rc = vfd_unpin(more.pinset, first, count, &side->err);

	if (!rc)
		memset(first, 0, count * sizeof *first);
	return rc;
}

static int translate(struct side *side, const struct op *op)
{
	struct vfd_translation out;

	vfd_pinset_held(more.pinset);
	vfd_pinset_generation(more.pinset);
	return op->flags & 1
		       ? vfd_translate(more.pinset, side->memory + op->memory * PLAY_PAGE, &out, &side->err)
		       : vfd_translate_iova(more.pinset, iova_of(op), &out, &side->err);
}

/* ---- the log ---- */

static int merge(struct side *side, const struct op *op)
{
	uint64_t words[3] = { UINT64_C(0x9e3779b97f4a7c15) * op->flags, op->flags, op->count };
	struct vfd_bitmap bitmap = { .struct_size = sizeof bitmap,
				     .provenance = op->flags & 1 ? VFD_REPORTED : VFD_SOFTWARE,
				     .address = PLAY_LOG + op->memory * PLAY_PAGE,
				     .page_size = UINT64_C(1) << (9 + (op->flags >> 4 & 7)),
				     .bits = op->count % 190,
				     .words = words };
	uint64_t fresh;
	int rc = vfd_log_merge(side->log, &bitmap, &fresh, &side->err);

	if (!rc && bitmap.bits)
		may_enter(side, side->memory + op->memory * PLAY_PAGE, bitmap.bits * bitmap.page_size);
	return rc;
}

static int mark_badly(struct side *side, const struct op *op)
{
	return vfd_log_mark(side->log, odd_number(op), odd_number(&(struct op){ .flags = op->flags >> 4 }),
			    &side->err);
}

static int mark_initial(struct side *side, const struct op *op)
{
	return vfd_mark_initial(op->flags & 1 ? side->consumer : more.consumer, &side->err);
}

static int look_at_log(struct side *side, const struct op *op)
{
	struct vfd_cause causes[4];
	struct vfd_count count;
	size_t filled;

	vfd_consumer_causes(side->consumer, causes, op->flags & 3, &filled, &side->err);
	vfd_log_page_size(side->log);
	return vfd_consumer_count(side->consumer, odd_number(op), PLAY_LOG + op->memory * PLAY_PAGE, &count,
				  &side->err);
}

static int add_consumer(struct side *side, const struct op *op)
{
	(void)op;
	return more.consumer ? REFUSED : vfd_consumer_add(side->log, "more", &more.consumer, &side->err);
}

static int remove_consumer(struct side *side, const struct op *op)
{
	return vfd_consumer_remove(&more.consumer, op->flags & 1 ? VFD_DISCARD : 0, &side->err);
}

static int stale_batch(struct side *side, const struct op *op)
{
	struct vfd_batch batch = {
		.id = op->flags, .first = odd_number(op), .last = UINT64_MAX, .next = PLAY_LOG
	};
	struct vfd_run run;
	size_t filled;

	for (int i = 0; i < PLAY_BATCHES; i++)
		if (side->batches[i].id == batch.id)
			return REFUSED;
	vfd_batch_runs(side->consumer, &batch, &run, 1, &filled, &side->err);
	return op->flags & 1 ? vfd_commit(side->consumer, &batch, 0, UINT64_MAX, &side->err)
			     : vfd_rollback(side->consumer, &batch, 0, UINT64_MAX, &side->err);
}

static int region(struct side *side, const struct op *op)
{
	struct vfd_region r = { .struct_size = sizeof r,
				.address = op->flags & 2 ? PLAY_LOG - 16 * PLAY_PAGE : odd_number(op),
				.size = (op->flags >> 8 & 31) * PLAY_PAGE };

	return op->flags & 1 ? vfd_region_add(side->log, &r, &side->err)
			     : vfd_region_remove(side->log, r.address, op->flags >> 13 & 1 ? VFD_DISCARD : 0,
						 &side->err);
}

static int destroy_log(struct side *side, const struct op *op)
{
	struct vfd_log *log = side->log;

	(void)op; /* a container uses it */
	return vfd_log_destroy(&log, VFD_DISCARD, &side->err);
}

/* ---- devices ---- */

static struct vfd_device *device_of(struct side *side, const struct op *op)
{
	return side->devices[op->index];
}

static int look_at_device(struct side *side, const struct op *op)
{
	struct vfd_device_info info = { .struct_size = sizeof info };
	struct vfd_device_region r = { .struct_size = sizeof r };
	struct vfd_migration_info migration = { .struct_size = sizeof migration };
	struct vfd_device *found;

	vfd_device_find(side->container, side->names[op->index], &found, &side->err);
	vfd_device_name(device_of(side, op));
	vfd_device_fd(device_of(side, op));
	vfd_device_region_info(device_of(side, op), op->flags & 15, &r, &side->err);
	vfd_migration_info(device_of(side, op), &migration, &side->err);
	vfd_migration_fd(device_of(side, op));
	return vfd_device_info(device_of(side, op), &info, &side->err);
}

static int read_device(struct side *side, const struct op *op)
{
	uint64_t data;

	return vfd_device_read(device_of(side, op), op->flags & 15,
			       op->flags & 0x80 ? odd_number(op) : op->page, &data, op->flags >> 8 & 7,
			       &side->err);
}

static int write_config(struct side *side, const struct op *op)
{
	uint64_t data = op->flags;

	return vfd_device_write(device_of(side, op), VFIO_PCI_CONFIG_REGION_INDEX,
				op->flags & 0x80 ? odd_number(op) : op->page & 7, &data, op->flags >> 8 & 7,
				&side->err);
}

static int map_device(struct side *side, const struct op *op)
{
	if (op->flags & 1)
		return vfd_device_unmap(device_of(side, op), more.area, &side->err);
	return vfd_device_map(device_of(side, op), op->flags >> 1 & 3, op->flags & 8 ? odd_number(op) : 0,
			      op->count * PLAY_PAGE, &more.area, &side->err);
}

static int interrupts(struct side *side, const struct op *op)
{
	const int eventfds[4] = { -1, -1, -1, -1 };
	uint32_t irq = op->flags & 3, start = op->flags >> 4 & 3, count = op->flags >> 6 & 3;

	vfd_device_irq_unmask(device_of(side, op), irq, start, count, &side->err);
	return op->flags & 4
		       ? vfd_device_irq_disable(device_of(side, op), irq, &side->err)
		       : vfd_device_irq_enable(device_of(side, op), irq, start, eventfds, count, &side->err);
}

static int reset_device(struct side *side, const struct op *op)
{
	int rc = vfd_device_reset(device_of(side, op), &side->err);

	if (!rc && side->resumed)
		side->resumed(side, op->index);
	return rc;
}

static int migrate(struct side *side, const struct op *op)
{
	struct vfd_device *devices[PLAY_GROUPS] = { side->devices[0], side->devices[1] };
	struct vfd_migration_precopy precopy = { .struct_size = sizeof precopy };
	char data[32] = { 0 };
	size_t done;

	vfd_migration_read(devices[op->index], data, sizeof data, &done, &side->err);
	vfd_migration_write(devices[op->index], data, sizeof data, &done, &side->err);
	vfd_migration_precopy(devices[op->index], &precopy, &side->err);
	vfd_migration_state_name(op->flags);
	return op->flags & 8
		       ? vfd_migration_cancel(devices, 1 + (op->flags >> 4 & 1), 0, &side->err)
		       : vfd_migration_set(devices, 1 + (op->flags >> 4 & 1), op->flags & 7, &side->err);
}

/* ---- the container ---- */

static int look_at_group(struct side *side, const struct op *op)
{
	struct vfd_group *found;

	vfd_group_number(side->groups[op->index]);
	vfd_group_fd(side->groups[op->index]);
	vfd_container_fd(side->container);
	return vfd_group_find(side->container, op->flags & 1 ? side->numbers[op->index] : (int)op->flags,
			      &found, &side->err);
}

static int attach_nobody(struct side *side, const struct op *op)
{
	struct vfd_group *group = NULL;

	return op->flags & 1
		       ? vfd_group_attach_device(side->container, "0000:ff:1f.7", &group, &side->err)
		       : vfd_group_attach(side->container, (int)op->flags | 1 << 20, &group, &side->err);
}

static int adopt_nothing(struct side *side, const struct op *op)
{
	struct vfd_adopt_group group = { .number = 1, .fd = -1 };
	struct vfd_adoption adoption = { .struct_size = sizeof adoption,
					 .flags = op->flags & 1,
					 .container_fd = -1,
					 .group_count = op->flags >> 1 & 1,
					 .groups = &group,
					 .log = side->log };
	struct vfd_container *container;

	return container_adopt_on(side->sys, &adoption, &container, &side->err);
}

static int release(struct side *side, const struct op *op)
{
	(void)op; /* only a child may */
	return vfd_container_release(&side->container, &side->err);
}

static int plan(struct side *side, const struct op *op)
{
	struct vfd_plan p = { .struct_size = sizeof p };
	char text[512];
	size_t needed;
	int rc = vfd_track_plan(side->container, &p, &side->err);

	return rc ? rc : vfd_plan_text(&p, text, op->flags % sizeof text, &needed, &side->err);
}

static int rearm(struct side *side, const struct op *op)
{
	struct vfd_rearm_options options = { .struct_size = sizeof options, .flags = op->flags & 1 };
	struct vfd_rearm result = { .struct_size = sizeof result };

	return vfd_track_rearm(side->container, &options, &result, &side->err);
}

static int harvest_badly(struct side *side, const struct op *op)
{
	return vfd_track_harvest_range(side->container, odd_number(op),
				       odd_number(&(struct op){ .flags = op->flags >> 4 }), NULL, &side->err);
}

static int audit(struct side *side, const struct op *op)
{
	struct vfd_audit_finding found[4];
	struct vfd_audit_result result = { .struct_size = sizeof result };

	switch (op->flags & 3) {
	case 0:
		return more.audit ? REFUSED : vfd_audit_create(side->container, 0, &more.audit, &side->err);
	case 1:
		return vfd_audit_destroy(&more.audit, &side->err);
	default:
		return vfd_audit_check(more.audit, op->flags >> 2 & 1, found, op->flags >> 3 & 3, &result,
				       &side->err);
	}
}

static int words(struct side *side, const struct op *op)
{
	(void)side;
	return !vfd_strerror(-(int)op->flags) || !vfd_strcode(-(int)op->flags) || !vfd_version();
}

#define CALL(function)                                                                                       \
	{                                                                                                    \
#function ", with ", function                                                                \
	}

static const struct {
	const char *name;
	int (*call)(struct side *side, const struct op *op);
} calls[] = {
	CALL(map_cut),	      CALL(map_list),
	CALL(map_anywhere),   CALL(map_check),
	CALL(find_mapping),   CALL(unmap_badly),
	CALL(unmap_and_wait), CALL(create_pinset),
	CALL(destroy_pinset), CALL(pin),
	CALL(unpin),	      CALL(translate),
	CALL(merge),	      CALL(mark_badly),
	CALL(mark_initial),   CALL(look_at_log),
	CALL(add_consumer),   CALL(remove_consumer),
	CALL(stale_batch),    CALL(region),
	CALL(destroy_log),    CALL(look_at_device),
	CALL(read_device),    CALL(write_config),
	CALL(map_device),     CALL(interrupts),
	CALL(reset_device),   CALL(migrate),
	CALL(look_at_group),  CALL(attach_nobody),
	CALL(adopt_nothing),  CALL(release),
	CALL(plan),	      CALL(rearm),
	CALL(harvest_badly),  CALL(audit),
	CALL(words),
};

enum { CALLS = sizeof calls / sizeof calls[0] };

const char *more_name(unsigned which)
{
	return calls[which % CALLS].name;
}

int more_play(struct side *side, unsigned which, const struct op *op)
{
	struct op other = *op;

	other.kind = OP_INFO; /* it is none of those that drop what was written */
	other.index %= PLAY_GROUPS;
	return side_play_call(side, &other, calls[which % CALLS].call);
}

void more_closed(void)
{
	more.pinset = NULL;
	more.audit = NULL;
	memset(more.pins, 0, sizeof more.pins);
}

void more_end(struct side *side)
{
	if (more.audit && vfd_audit_destroy(&more.audit, &side->err))
		abort();
	for (unsigned i = 0; more.pinset && i < sizeof more.pins / sizeof more.pins[0]; i++)
		if (more.pins[i].id)
			vfd_unpin(more.pinset, &more.pins[i], 1, &side->err);
	if (more.pinset && vfd_pinset_destroy(&more.pinset, 0, &side->err))
		abort();
	memset(&more, 0, sizeof more);
}
