/* SPDX-License-Identifier: MIT */

/* Which mapping is that in? The table's gate is enough: no lookup waits for a call that waits for the kernel. */

#include "container.h"

#include <inttypes.h>
#include <stdio.h>

#include "answer.h"

static const char *const op = "find mapping";

static const char *name_of(enum vfd_find by)
{
	return by == VFD_FIND_IOVA ? "IOVA" : by == VFD_FIND_MEMORY ? "process address" : "log address";
}

static int check_order(const struct table *table, enum vfd_find by, struct vfd_error *err)
{
	if (by != VFD_FIND_IOVA && by != VFD_FIND_MEMORY && by != VFD_FIND_LOG)
		return fail(err, VFD_EINVALID, op, "%#x is none of enum vfd_find", (unsigned)by);
	if (!table_keeps(table, by))
		return fail(err, VFD_ESTATE, op,
			    "the container keeps no order by %s: pass %s among the flags when it is opened",
			    name_of(by), by == VFD_FIND_LOG ? "VFD_FIND_LOG" : "VFD_FIND_MEMORY");
	return 0;
}

static void describe(const struct range *where, char *text, size_t size)
{
	if (where->first > where->last)
		snprintf(text, size, "none");
	else
		snprintf(text, size, "%#" PRIx64 "..%#" PRIx64, where->first, where->last);
}

static int not_there(const struct table *table, enum vfd_find by, uint64_t address, struct vfd_error *err)
{
	struct range below, above;
	char before[48], behind[48];

	table_around(table, by, address, &below, &above);
	describe(&below, before, sizeof before);
	describe(&above, behind, sizeof behind);
	return fail_range(err, VFD_ENOTMAPPED, op, address, address,
			  "nothing is mapped at %s %#" PRIx64 "; nearest below: %s, above: %s", name_of(by),
			  address, before, behind);
}

static struct vfd_mapping answer_of(const struct mapping *m)
{
	uint32_t flags = m->flags & ~(uint32_t)VFD_MAP_LOG_ADDRESS;

	return (struct vfd_mapping){
		.flags = m->logged ? flags | VFD_MAP_LOG_ADDRESS : flags,
		.iova = m->where.first,
		.size = range_size(m->where),
		.memory = m->memory,
		.log_address = m->logged ? m->log_address : 0,
	};
}

int vfd_mapping_find(struct vfd_container *container, enum vfd_find by, uint64_t address,
		     struct vfd_mapping *mapping, struct vfd_error *err)
{
	struct vfd_mapping answer;
	int rc = check_answer(mapping, sizeof answer, "struct vfd_mapping", err);

	if (!rc)
		rc = container_check(container, op, err);
	if (!rc)
		rc = check_order(&container->space.table, by, err);
	if (rc)
		return rc;
	struct table *table = &container->space.table;
	table_enter(table);
	const struct mapping *m = table_find(table, by, address);
	if (m)
		answer = answer_of(m);
	else
		rc = not_there(table, by, address, err);
	table_leave(table);
	if (!rc)
		copy_answer(mapping, &answer, sizeof answer);
	return rc;
}
