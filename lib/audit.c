/* SPDX-License-Identifier: MIT */

/* Audits begin, tell and end. */

#include "audit.h"

#include <inttypes.h>
#include <stdlib.h>

#include "answer.h"
#include "container.h"

static const char *const create_op = "create audit", *const check_op = "audit",
			 *const destroy_op = "destroy audit";

/* ---- whether there can be one ---- */

/* What a driver in the kernel writes for an emulated device it stores as a CPU does, or behind all page tables. */
static int check_groups(const struct vfd_container *c, const char *op, struct vfd_error *err)
{
	for (const struct vfd_group *g = c->groups; g; g = g->next)
		if (!g->physical)
			return fail(
				err, VFD_EUNSUPPORTED, op,
				"group %d is emulated: what its devices write looks like stores of a CPU. "
				"Audits are for containers "
				"with physical groups only",
				g->number);
	return 0;
}

static int check_tracking(const struct vfd_container *c, const char *op, struct vfd_error *err)
{
	if (!c->space.tracking)
		return fail(err, VFD_ESTATE, op,
			    "tracking is off, and pins mark nothing: call vfd_track_start first");
	return check_groups(c, op, err);
}

static int check_create(const struct vfd_container *c, struct vfd_error *err)
{
	if (c->audit)
		return fail(err, VFD_ESTATE, create_op,
			    "the container has an audit already: destroy that first");
	int rc = check_tracking(c, create_op, err);
	if (!rc && log_is_identity(c->space.log))
		rc = fail(err, VFD_EUNSUPPORTED, create_op,
			  "the log was created with VFD_LOG_IDENTITY: it does not know memory");
	return rc;
}

/* ---- begin ---- */

static unsigned unit_shift(const struct vfd_log *log)
{
	return (unsigned)__builtin_ctzll(min_u64(vfd_log_page_size(log), sys_page_size()));
}

static struct vfd_audit *make(struct vfd_container *c, struct vfd_error *err)
{
	struct vfd_audit *audit = calloc(1, sizeof *audit);
	char *buffer = malloc(AUDIT_BUFFER);

	if (!audit || !buffer) {
		free(audit);
		free(buffer);
		fail(err, VFD_ENOMEMORY, create_op, "no memory for an audit");
		return NULL;
	}
	audit->container = c;
	audit->space = &c->space;
	audit->buffer = buffer;
	audit->shift = unit_shift(c->space.log);
	pthread_mutex_init(&audit->mutex, NULL);
	return audit;
}

static void unmake(struct vfd_audit *audit)
{
	pthread_mutex_destroy(&audit->mutex);
	free(audit->buffer);
	free(audit);
}

/* The first look arms the second, and that the checks. */
static int look_twice(struct vfd_audit *audit, struct vfd_error *err)
{
	struct vfd_audit_result ignored = { 0 };
	int rc = audit_look(audit, false, &ignored, err);

	return rc ? rc : audit_look(audit, false, &ignored, err);
}

static int begin(struct vfd_container *c, struct vfd_error *err)
{
	struct vfd_audit *audit = make(c, err);
	int rc = audit ? stores_open(&audit->stores, c->sys, err) : VFD_ENOMEMORY;

	if (rc) {
		if (audit)
			unmake(audit);
		return rc;
	}
	c->audit = audit;
	rc = log_observer_add(c->space.log, "audit", &audit->marks, err);
	if (!rc)
		rc = look_twice(audit, err);
	if (rc)
		audit_free(audit);
	return rc;
}

int vfd_audit_create(struct vfd_container *container, unsigned flags, struct vfd_audit **audit,
		     struct vfd_error *err)
{
	int rc = audit ? 0 : fail(err, VFD_EINVALID, create_op, "audit is NULL");

	if (!rc && flags)
		rc = fail(err, VFD_EINVALID, create_op, "flags %#x are unknown: set 0", flags);
	if (!rc)
		rc = container_close_gate(container, create_op, err);
	if (rc)
		return rc;
	rc = check_create(container, err);
	if (!rc)
		rc = begin(container, err);
	if (!rc)
		*audit = container->audit;
	container_open_gate(container);
	return rc;
}

/* ---- tell ---- */

struct telling {
	struct vfd_audit *audit;
	struct vfd_audit_finding *findings;
	size_t capacity;
	struct vfd_audit_result *result;
};

static void tell(const struct telling *t, const struct audit_area *area, size_t first, size_t count)
{
	uint64_t offset = (uint64_t)(first - area->unit) << t->audit->shift;
	uint64_t size = (uint64_t)count << t->audit->shift;

	if (t->result->count == t->capacity) {
		t->result->more_bytes += size;
		return;
	}
	t->findings[t->result->count++] = (struct vfd_audit_finding){
		.iova = area->iova + offset,
		.log_address = area->log_address + offset,
		.memory = (void *)(uintptr_t)(area->memory.first + offset),
		.size = size,
	};
	t->result->found_bytes += size;
	for (size_t i = first; i < first + count; i++)
		t->audit->set.states[i] &= (uint8_t)~UNIT_FOUND;
}

/* Runs of units that were found */
static void tell_area(const struct telling *t, const struct audit_area *area)
{
	const uint8_t *states = t->audit->set.states;
	size_t end = area->unit + (size_t)audit_area_units(t->audit, area);

	for (size_t unit = area->unit, first; unit < end; unit++) {
		for (first = unit; unit < end && states[unit] & UNIT_FOUND;)
			unit++;
		if (unit > first)
			tell(t, area, first, unit - first);
	}
}

static int check_arguments(struct vfd_audit *const audit, unsigned flags,
			   const struct vfd_audit_finding *findings, size_t capacity, struct vfd_error *err)
{
	if (!audit)
		return fail(err, VFD_EINVALID, check_op, "audit is NULL");
	if (flags & ~(unsigned)VFD_AUDIT_FINAL)
		return fail(err, VFD_EINVALID, check_op, "flags %#x: 0 or VFD_AUDIT_FINAL", flags);
	if ((capacity && !findings) || capacity > UINT32_MAX)
		return fail(err, VFD_EINVALID, check_op, "room for %zu findings at %p", capacity,
			    (const void *)findings);
	return 0;
}

static int look_and_tell(const struct telling *t, bool final, struct vfd_error *err)
{
	struct vfd_audit *audit = t->audit;

	pthread_mutex_lock(&audit->mutex);
	int rc = check_tracking(audit->container, check_op, err);
	if (!rc)
		rc = audit_look(audit, final, t->result, err);
	for (size_t i = 0; !rc && i < audit->set.count; i++)
		tell_area(t, &audit->set.areas[i]);
	pthread_mutex_unlock(&audit->mutex);
	return rc;
}

int vfd_audit_check(struct vfd_audit *audit, unsigned flags, struct vfd_audit_finding *findings,
		    size_t capacity, struct vfd_audit_result *result, struct vfd_error *err)
{
	struct vfd_audit_result answer = { 0 };
	struct telling t = { audit, findings, capacity, &answer };
	int rc = check_arguments(audit, flags, findings, capacity, err);

	if (!rc)
		rc = check_answer(result, sizeof answer, "struct vfd_audit_result", err);
	if (!rc)
		rc = container_enter(audit->container, check_op, err);
	if (rc)
		return rc;
	rc = look_and_tell(&t, flags & VFD_AUDIT_FINAL, err);
	container_leave(audit->container);
	copy_answer(result, &answer, sizeof answer);
	return rc;
}

/* ---- end ---- */

void audit_free(struct vfd_audit *audit)
{
	if (!audit)
		return;
	audit->container->audit = NULL;
	audit_set_end(audit);
	stores_close(&audit->stores);
	if (audit->marks)
		vfd_consumer_remove(&audit->marks, VFD_DISCARD, NULL);
	unmake(audit);
}

int vfd_audit_destroy(struct vfd_audit **audit, struct vfd_error *err)
{
	if (!audit || !*audit)
		return fail(err, VFD_EINVALID, destroy_op, "audit is NULL");
	struct vfd_container *container = (*audit)->container;
	int rc = container_close_gate(container, destroy_op, err);
	if (rc)
		return rc;
	audit_free(*audit);
	container_open_gate(container);
	*audit = NULL;
	return 0;
}
