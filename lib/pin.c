/* SPDX-License-Identifier: MIT */

/* Pinning and unpinning: what a driver does for each buffer. */

#include "pin_hint.h"

#include <errno.h>
#include <inttypes.h>

static const char *const pin_op = "pin";

HOT struct pin_place *place_get(struct vfd_pinset *set)
{
	uint32_t i = set->free;

	if (i == set->capacity)
		return NULL;
	if (i >= atomic_load_explicit(&set->high, memory_order_relaxed)) {
		atomic_store_explicit(&set->high, i + 1, memory_order_relaxed);
		set->places[i].next = i + 1;
	}
	set->free = set->places[i].next;
	return &set->places[i];
}

static uint64_t get(const _Atomic(uint64_t) *of)
{
	return atomic_load_explicit(of, memory_order_relaxed);
}

static void set_state(struct pin_place *place, uint32_t state, memory_order order)
{
	atomic_store_explicit(&place->state, state, order);
}

/* The owner alone changes it. */
static uint32_t state_of(const struct pin_place *place)
{
	return atomic_load_explicit(&place->state, memory_order_relaxed);
}

HOT void place_put(struct vfd_pinset *set, struct pin_place *place)
{
	uint32_t held = atomic_load_explicit(&set->held, memory_order_relaxed);

	set_state(place, (state_of(place) & ~(uint32_t)PLACE_BITS) + PLACE_USE, memory_order_release);
	atomic_store_explicit(&set->held, held - 1, memory_order_relaxed);
	place->next = set->free;
	set->free = (uint32_t)(place - set->places);
}

/* The pages of a pin are owed, if it is for writing and while tracking. The caller has fenced. */
HOT void mark_fenced(const struct vfd_pinset *set, const struct pin_place *place)
{
	uint64_t from = get(&place->log_address);

	if (from == NOT_LOGGED || !atomic_load_explicit(&set->space->tracking, memory_order_relaxed))
		return;
	uint64_t first = from >> set->page_shift;
	uint64_t last = (from + (get(&place->last) - get(&place->first))) >> set->page_shift;
	if (first != last || !log_inbox_has(&place->inbox, first))
		log_inbox_set(&place->inbox, first, last);
}

HOT void mark(const struct vfd_pinset *set, const struct pin_place *place)
{
	if (get(&place->log_address) == NOT_LOGGED)
		return;
	__sync_synchronize();
	mark_fenced(set, place);
}

/* What others may see before they know whether it holds. */
HOT void announce(struct vfd_pinset *set, struct pin_place *place, const struct pin_hint *hint,
		  uint64_t offset, uint64_t more, bool write)
{
	uint32_t held = atomic_load_explicit(&set->held, memory_order_relaxed);
	bool logged = write && hint->log_address != NOT_LOGGED;

	atomic_store_explicit(&place->first, hint->iova + offset, memory_order_relaxed);
	atomic_store_explicit(&place->last, hint->iova + offset + more, memory_order_relaxed);
	atomic_store_explicit(&place->log_address, logged ? hint->log_address + offset : NOT_LOGGED,
			      memory_order_relaxed);
	place->inbox = hint->inbox;
	atomic_store_explicit(&set->held, held + 1, memory_order_relaxed);
	set_state(place, state_of(place) | PLACE_TENTATIVE, memory_order_release);
}

HOT int check_access(const struct pin_hint *hint, uint64_t address, unsigned flags, struct vfd_error *err)
{
	bool read = flags & VFD_PIN_READ && !(hint->flags & VFD_MAP_READ);
	bool write = flags & VFD_PIN_WRITE && !(hint->flags & VFD_MAP_WRITE);

	if (!read && !write)
		return 0;
	return fail_sys_range(err, EACCES, pin_op, hint->iova, hint->iova + hint->last,
			      "address %#" PRIx64 " was mapped without %s", address,
			      write ? "VFD_MAP_WRITE" : "VFD_MAP_READ");
}

COLD int fail_full(const struct vfd_pinset *set, struct vfd_error *err)
{
	return fail(err, VFD_ELIMIT, pin_op,
		    "all %" PRIu32 " places of pin set '%s' are in use: unpin, or make it larger",
		    set->capacity, set->name);
}

/* The fence is also what the mark needs: see log_inbox.c. */
HOT bool holds(struct vfd_pinset *set, const struct pin_hint *hint)
{
	__sync_synchronize();
	return hint->generation == generation_of(set);
}

HOT void confirm(struct vfd_pinset *set, struct pin_place *place, const struct pin_hint *hint,
		 struct vfd_pin *pin)
{
	uint64_t first = atomic_load_explicit(&place->first, memory_order_relaxed);
	uint32_t state = (state_of(place) & ~(uint32_t)PLACE_TENTATIVE) | PLACE_HELD;

	set_state(place, state, memory_order_release);
	*pin = (struct vfd_pin){
		.iova = first,
		.size = atomic_load_explicit(&place->last, memory_order_relaxed) - first + 1,
		.memory = (void *)(uintptr_t)(hint->memory + (first - hint->iova)),
		.id = (uint64_t)state << 32 | (uint32_t)(place - set->places),
	};
}

/* Again and again, should mappings come and go faster than this. */
HOT int pin_range(struct vfd_pinset *set, enum by by, uint64_t address, uint64_t more, unsigned flags,
		  struct vfd_pin *pin, struct vfd_error *err)
{
	struct pin_hint *hint;

	for (;;) {
		int rc = find_hint(set, by, address, more, &hint, err);
		if (!rc)
			rc = check_access(hint, address, flags, err);
		struct pin_place *place = rc ? NULL : place_get(set);
		if (!place)
			return rc ? rc : fail_full(set, err);
		announce(set, place, hint, address - hint_start(hint, by), more, flags & VFD_PIN_WRITE);
		if (holds(set, hint)) {
			mark_fenced(set, place);
			confirm(set, place, hint, pin);
			return 0;
		}
		place_put(set, place);
	}
}

/* ---- the calls ---- */

HOT int check_pin(const struct vfd_pinset *set, uint64_t address, uint64_t size, unsigned flags,
		  const void *pin, struct vfd_error *err)
{
	uint64_t last;
	int rc = check_set(set, pin_op, err);

	if (rc)
		return rc;
	if (!pin || !size)
		return fail(err, VFD_EINVALID, pin_op, pin ? "size is 0" : "pin is NULL");
	if (!flags || flags & ~(unsigned)(VFD_PIN_READ | VFD_PIN_WRITE))
		return fail(err, VFD_EINVALID, pin_op, "flags %#x: VFD_PIN_READ, VFD_PIN_WRITE or both",
			    flags);
	if (__builtin_add_overflow(address, size - 1, &last))
		return fail(err, VFD_EWRAP, pin_op, "%#" PRIx64 " bytes from %#" PRIx64 " wrap around", size,
			    address);
	return 0;
}

int vfd_pin(struct vfd_pinset *set, const void *memory, uint64_t size, unsigned flags, struct vfd_pin *pin,
	    struct vfd_error *err)
{
	int rc = check_pin(set, (uintptr_t)memory, size, flags, pin, err);

	return rc ? rc : pin_range(set, BY_PROCESS, (uintptr_t)memory, size - 1, flags, pin, err);
}

int vfd_pin_iova(struct vfd_pinset *set, uint64_t iova, uint64_t size, unsigned flags, struct vfd_pin *pin,
		 struct vfd_error *err)
{
	int rc = check_pin(set, iova, size, flags, pin, err);

	return rc ? rc : pin_range(set, BY_DEVICE, iova, size - 1, flags, pin, err);
}

HOT bool is_held(const struct vfd_pinset *set, const struct vfd_pin *pin)
{
	uint32_t i = (uint32_t)pin->id, state = (uint32_t)(pin->id >> 32);

	return i < set->capacity && state & PLACE_HELD && state_of(&set->places[i]) == state;
}

COLD int fail_not_held(const struct vfd_pin *pin, size_t i, struct vfd_error *err)
{
	return fail_range(err, VFD_EINVALID, "unpin", pin->iova, pin->iova + pin->size - 1,
			  "pin %zu (IOVA %#" PRIx64 ", id %#" PRIx64
			  ") is not held by this set: unpinned already, or never pinned",
			  i, pin->iova, pin->id);
}

int vfd_unpin(struct vfd_pinset *set, const struct vfd_pin *pins, size_t count, struct vfd_error *err)
{
	int rc = check_set(set, "unpin", err);

	if (!rc && !pins && count)
		rc = fail(err, VFD_EINVALID, "unpin", "pins is NULL");
	if (rc)
		return rc;
	for (size_t i = 0; i < count; i++) {
		if (is_held(set, &pins[i])) {
			struct pin_place *place = &set->places[(uint32_t)pins[i].id];
			mark(set, place);
			place_put(set, place);
		} else if (!rc) {
			rc = fail_not_held(&pins[i], i, err);
		}
	}
	return rc;
}

/* ---- lists ---- */

static int pin_part(struct vfd_pinset *set, const struct vfd_pin_part *part, unsigned flags,
		    struct vfd_pin *pins, size_t capacity, size_t *filled, struct vfd_error *err)
{
	uint64_t at = (uintptr_t)part->memory, left = part->size;
	int rc = check_pin(set, at, left, flags, pins, err);

	while (!rc && left) {
		struct pin_hint *hint;
		if (*filled == capacity)
			return fail(err, VFD_ELIMIT, pin_op,
				    "the list needs more than %zu pins: make room for more", capacity);
		rc = find_hint(set, BY_PROCESS, at, 0, &hint, err);
		if (rc)
			break;
		uint64_t size = min_u64(left - 1, hint->last - (at - hint->memory)) + 1;
		rc = pin_range(set, BY_PROCESS, at, size - 1, flags, &pins[*filled], err);
		if (rc == VFD_ECUT) { /* the table changed in between */
			rc = 0;
			continue;
		}
		*filled += !rc;
		at += size;
		left -= size;
	}
	return rc;
}

int vfd_pin_list(struct vfd_pinset *set, const struct vfd_pin_part *parts, size_t count, unsigned flags,
		 struct vfd_pin *pins, size_t capacity, size_t *filled, struct vfd_error *err)
{
	int rc = check_set(set, pin_op, err);

	if (!rc && (!parts || !pins || !filled || !count))
		rc = fail(err, VFD_EINVALID, pin_op, "parts, pins or filled is NULL, or count is 0");
	if (rc)
		return rc;
	*filled = 0;
	for (size_t i = 0; !rc && i < count; i++)
		rc = pin_part(set, &parts[i], flags, pins, capacity, filled, err);
	if (!rc)
		return 0;
	vfd_unpin(set, pins, *filled, NULL);
	*filled = 0;
	return rc;
}

uint32_t vfd_pinset_held(const struct vfd_pinset *set)
{
	return set ? atomic_load_explicit(&set->held, memory_order_relaxed) : 0;
}
