/* SPDX-License-Identifier: MIT */

/* Pinning and unpinning: what a driver does for each buffer. */

#include "pin_hint.h"

#include <errno.h>
#include <inttypes.h>

static const char *const pin_op = "pin";

HOT bool has_room(const struct vfd_pinset *set)
{
	return set->free != set->capacity;
}

HOT struct pin_place *place_get(struct vfd_pinset *set)
{
	uint32_t i = set->free;
	struct pin_place *place = &set->places[i];

	if (i >= atomic_load_explicit(&set->high, memory_order_relaxed)) {
		atomic_store_explicit(&set->high, i + 1, memory_order_relaxed);
		place->next = i + 1;
	}
	set->free = place->next;
	return place;
}

static uint64_t get(const _Atomic(uint64_t) *of)
{
	return atomic_load_explicit(of, memory_order_relaxed);
}

/* Release: who reads a place as held, its fields, and again the same state has the fields of that pin. */
static void put(_Atomic(uint64_t) *to, uint64_t value)
{
	atomic_store_explicit(to, value, memory_order_release);
}

static void set_state(struct pin_place *place, uint32_t state)
{
	atomic_store_explicit(&place->state, state, memory_order_release);
}

/* The owner alone changes it. */
static uint32_t state_of(const struct pin_place *place)
{
	return atomic_load_explicit(&place->state, memory_order_relaxed);
}

static void add_held(struct vfd_pinset *set, uint32_t change)
{
	uint32_t held = atomic_load_explicit(&set->held, memory_order_relaxed);

	/* release: who finds nothing held finds the marks, too */
	atomic_store_explicit(&set->held, held + change, memory_order_release);
}

/* Its next use has another number. */
HOT void place_put(struct vfd_pinset *set, struct pin_place *place)
{
	set_state(place, (state_of(place) | PLACE_BITS) + 1);
	add_held(set, (uint32_t)-1);
	place->next = set->free;
	set->free = (uint32_t)(place - set->places);
}

/* ---- marks ---- */

/* Of the log */
struct pages {
	uint64_t first, last;
};

/* Whether a pin owes its pages now: it is for writing, and the container tracks. The caller has fenced. */
HOT bool owes(const struct vfd_pinset *set, const struct pin_place *place, struct pages *pages)
{
	uint64_t from = get(&place->log_address);

	if (from == NOT_LOGGED || !atomic_load_explicit(&set->space->tracking, memory_order_relaxed))
		return false;
	uint64_t more = get(&place->last) - get(&place->first);
	*pages = (struct pages){ from >> set->page_shift, (from + more) >> set->page_shift };
	return true;
}

/* False: that takes a call. Those who make it do so as the last thing, for the usual way to be without one. */
HOT bool mark_here(const struct pin_place *place, struct pages pages)
{
	return log_inbox_set_word(&place->inbox, pages.first, pages.last);
}

/* ---- pin ---- */

/* What others may see before they know whether it holds. */
HOT void announce(struct vfd_pinset *set, struct pin_place *place, const struct pin_hint *hint,
		  uint64_t offset, uint64_t more, bool write)
{
	uint64_t iova = hint->iova + offset;

	put(&place->first, iova);
	put(&place->last, iova + more);
	put(&place->log_address,
	    write && hint->log_address != NOT_LOGGED ? hint->log_address + offset : NOT_LOGGED);
	if (write)
		place->inbox = hint->inbox;
	add_held(set, 1);
	set_state(place, state_of(place) + PLACE_TENTATIVE);
}

/* The fence is also what the mark needs: see log_inbox.c. */
HOT bool holds(struct vfd_pinset *set, const struct pin_hint *hint)
{
	__sync_synchronize();
	return hint_holds(set, hint);
}

/* Pin what the hint covers and allows. NULL: mappings changed meanwhile. */
HOT struct pin_place *try_pin(struct vfd_pinset *set, const struct pin_hint *hint, uint64_t offset,
			      uint64_t more, bool write, struct vfd_pin *pin)
{
	struct pin_place *place = place_get(set);

	announce(set, place, hint, offset, more, write);
	if (!holds(set, hint)) {
		place_put(set, place);
		return NULL;
	}
	uint32_t state = state_of(place) - PLACE_TENTATIVE + PLACE_HELD;
	set_state(place, state);
	*pin = (struct vfd_pin){
		.iova = hint->iova + offset,
		.size = more + 1,
		.memory = (void *)(uintptr_t)(hint->memory + offset),
		.id = (uint64_t)state << 32 | (uint32_t)(place - set->places),
	};
	return place;
}

static __attribute__((noinline)) int mark_pinned(const struct pin_place *place, struct pages pages)
{
	log_inbox_set(&place->inbox, pages.first, pages.last);
	return 0;
}

HOT int pinned(const struct vfd_pinset *set, const struct pin_place *place)
{
	struct pages pages;

	return owes(set, place, &pages) && !mark_here(place, pages) ? mark_pinned(place, pages) : 0;
}

static int check_access(const struct pin_hint *hint, uint64_t address, unsigned flags, struct vfd_error *err)
{
	if (allows(hint, flags))
		return 0;
	return fail_sys_range(err, EACCES, pin_op, hint->iova, hint->iova + hint->last,
			      "address %#" PRIx64 " was mapped without %s", address,
			      flags & ~hint->flags & VFD_PIN_WRITE ? "VFD_MAP_WRITE" : "VFD_MAP_READ");
}

static int check_room(const struct vfd_pinset *set, struct vfd_error *err)
{
	if (has_room(set))
		return 0;
	return fail(err, VFD_ELIMIT, pin_op,
		    "all %" PRIu32 " places of pin set '%s' are in use: unpin, or make it larger",
		    set->capacity, set->name);
}

/* Again and again, should mappings come and go faster than this. */
static int pin_range(struct vfd_pinset *set, enum by by, uint64_t address, uint64_t more, unsigned flags,
		     struct vfd_pin *pin, struct vfd_error *err)
{
	const struct pin_place *place = NULL;

	while (!place) {
		struct pin_hint *hint;
		int rc = find_hint(set, by, address, more, true, &hint, err);
		if (!rc)
			rc = check_access(hint, address, flags, err);
		if (!rc)
			rc = check_room(set, err);
		if (rc)
			return rc;
		place = try_pin(set, hint, address - hint_start(hint, by), more, flags & VFD_PIN_WRITE, pin);
	}
	return pinned(set, place);
}

static int check_pin(const struct vfd_pinset *set, uint64_t address, uint64_t size, unsigned flags,
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

static __attribute__((noinline)) int pin_carefully(struct vfd_pinset *set, enum by by, uint64_t address,
						   uint64_t size, unsigned flags, struct vfd_pin *pin,
						   struct vfd_error *err)
{
	int rc = check_pin(set, address, size, flags, pin, err);

	return rc ? rc : pin_range(set, by, address, size - 1, flags, pin, err);
}

/* What usually happens. Whatever is in its way, or wrong, pin_carefully() sees to it: a hint covers no size of 0, nor one that wraps. */
HOT int pin_by(struct vfd_pinset *set, enum by by, uint64_t address, uint64_t size, unsigned flags,
	       struct vfd_pin *pin, struct vfd_error *err)
{
	if (set && pin && flags && !forked(&set->guard) && has_room(set)) {
		const struct pin_hint *hint = hint_for(set, by, address);
		if (hint_holds(set, hint) && hint_covers(hint, by, address, size - 1) &&
		    allows(hint, flags)) {
			const struct pin_place *place = try_pin(set, hint, address - hint_start(hint, by),
								size - 1, flags & VFD_PIN_WRITE, pin);
			if (place)
				return pinned(set, place);
		}
	}
	return pin_carefully(set, by, address, size, flags, pin, err);
}

int vfd_pin(struct vfd_pinset *set, const void *memory, uint64_t size, unsigned flags, struct vfd_pin *pin,
	    struct vfd_error *err)
{
	return pin_by(set, BY_PROCESS, (uintptr_t)memory, size, flags, pin, err);
}

int vfd_pin_iova(struct vfd_pinset *set, uint64_t iova, uint64_t size, unsigned flags, struct vfd_pin *pin,
		 struct vfd_error *err)
{
	return pin_by(set, BY_DEVICE, iova, size, flags, pin, err);
}

/* ---- unpin ---- */

HOT bool is_held(const struct vfd_pinset *set, const struct vfd_pin *pin)
{
	uint32_t i = (uint32_t)pin->id, state = (uint32_t)(pin->id >> 32);

	return i < set->capacity && state & PLACE_HELD && state_of(&set->places[i]) == state;
}

/* In this order: its mark comes before others can take the place for free. */
static __attribute__((noinline)) int mark_and_put(struct vfd_pinset *set, struct pin_place *place,
						  struct pages pages)
{
	log_inbox_set(&place->inbox, pages.first, pages.last);
	place_put(set, place);
	return 0;
}

HOT int unpin_held(struct vfd_pinset *set, const struct vfd_pin *pin)
{
	struct pin_place *place = &set->places[(uint32_t)pin->id];
	struct pages pages;

	if (get(&place->log_address) != NOT_LOGGED) {
		__sync_synchronize();
		if (owes(set, place, &pages) && !mark_here(place, pages))
			return mark_and_put(set, place, pages);
	}
	place_put(set, place);
	return 0;
}

COLD int fail_not_held(const struct vfd_pin *pin, size_t i, struct vfd_error *err)
{
	return fail_range(err, VFD_EINVALID, "unpin", pin->iova, pin->iova + pin->size - 1,
			  "pin %zu (IOVA %#" PRIx64 ", id %#" PRIx64
			  ") is not held by this set: unpinned already, or never pinned",
			  i, pin->iova, pin->id);
}

static __attribute__((noinline)) int unpin_list(struct vfd_pinset *set, const struct vfd_pin *pins,
						size_t count, struct vfd_error *err)
{
	int rc = check_set(set, "unpin", err);

	if (!rc && !pins && count)
		rc = fail(err, VFD_EINVALID, "unpin", "pins is NULL");
	if (rc)
		return rc;
	for (size_t i = 0; i < count; i++) {
		if (is_held(set, &pins[i]))
			unpin_held(set, &pins[i]);
		else if (!rc)
			rc = fail_not_held(&pins[i], i, err);
	}
	return rc;
}

int vfd_unpin(struct vfd_pinset *set, const struct vfd_pin *pins, size_t count, struct vfd_error *err)
{
	if (set && pins && count == 1 && !forked(&set->guard) && is_held(set, pins))
		return unpin_held(set, pins);
	return unpin_list(set, pins, count, err);
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
		rc = find_hint(set, BY_PROCESS, at, 0, true, &hint, err);
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
