/* SPDX-License-Identifier: MIT */
#ifndef LIB_PIN_HINT_H
#define LIB_PIN_HINT_H

/* Where a set looked last. What happens for each buffer is inline; asking the table, now and then, is not. */

#include "pin.h"
#include "space.h"

#define HOT  static inline __attribute__((always_inline))
#define COLD static __attribute__((noinline, cold))

enum by { BY_PROCESS, BY_DEVICE };

HOT struct pin_hint *hint_for(struct vfd_pinset *set, enum by by, uint64_t address)
{
	struct pin_hint *hints = by == BY_PROCESS ? set->by_memory : set->by_iova;

	return &hints[(address >> PIN_HINT_SHIFT) % PIN_HINTS];
}

HOT uint64_t hint_start(const struct pin_hint *hint, enum by by)
{
	return by == BY_PROCESS ? hint->memory : hint->iova;
}

/* Whether all of address .. address + more lies in it. */
HOT bool hint_covers(const struct pin_hint *hint, enum by by, uint64_t address, uint64_t more)
{
	uint64_t offset = address - hint_start(hint, by);

	return offset <= hint->last && more <= hint->last - offset;
}

HOT uint64_t generation_of(const struct vfd_pinset *set)
{
	return atomic_load_explicit(&set->space->table.generation, memory_order_acquire);
}

HOT bool hint_holds(const struct vfd_pinset *set, const struct pin_hint *hint)
{
	return hint->generation == generation_of(set);
}

_Static_assert((int)VFD_PIN_READ == (int)VFD_MAP_READ && (int)VFD_PIN_WRITE == (int)VFD_MAP_WRITE,
	       "for allows()");

HOT bool allows(const struct pin_hint *hint, unsigned flags)
{
	return !(flags & ~hint->flags);
}

/* Ask the table; what only a pin needs if asked for. */
int pin_hint_refresh(struct vfd_pinset *set, enum by by, uint64_t address, bool to_pin, struct pin_hint *hint,
		     struct vfd_error *err) __attribute__((cold));
/* VFD_ECUT */
int pin_fail_leaves(const struct pin_hint *hint, enum by by, uint64_t address, struct vfd_error *err);

/* The hint holds now, or the error says why not. */
HOT int find_hint(struct vfd_pinset *set, enum by by, uint64_t address, uint64_t more, bool to_pin,
		  struct pin_hint **out, struct vfd_error *err)
{
	struct pin_hint *hint = hint_for(set, by, address);

	*out = hint;
	if (hint_holds(set, hint) && hint_covers(hint, by, address, more) && (!to_pin || hint->flags))
		return 0;
	int rc = pin_hint_refresh(set, by, address, to_pin, hint, err);
	if (!rc && !hint_covers(hint, by, address, more))
		rc = pin_fail_leaves(hint, by, address, err);
	return rc;
}

HOT int check_set(const struct vfd_pinset *set, const char *operation, struct vfd_error *err)
{
	if (!set)
		return fail(err, VFD_EINVALID, operation, "set is NULL");
	if (forked(&set->guard))
		return fail(err, VFD_EFORKED, operation, "the pin set belongs to the parent process");
	return 0;
}

#endif
