/* SPDX-License-Identifier: MIT */
#include "making.h"

#include <errno.h>
#include <stdlib.h>

#include "map_check.h"
#include "pieces.h"

static const char *const map_op = "map";

/* ---- records ---- */

/* Find the log address and hold the region. */
static int bind_log(struct space *space, const struct vfd_mapping *want, struct mapping *m,
		    struct vfd_error *err)
{
	if (!space->log || (want->flags & VFD_MAP_UNLOGGED))
		return 0;
	int rc = log_region_get(space->log, want->memory, want->iova, want->size, &m->log_address, err);
	if (rc)
		return rc;
	rc = check_log_address(want, m->log_address, err);
	if (rc)
		log_region_put(space->log, m->log_address);
	m->logged = !rc;
	return rc;
}

static void mapping_free(struct space *space, struct mapping *m)
{
	if (m->logged)
		log_region_put(space->log, m->log_address);
	free(m);
}

static int mapping_make(const struct making *making, const struct vfd_mapping *piece, struct mapping **out,
			struct vfd_error *err)
{
	struct mapping *m = malloc(sizeof *m);

	if (!m)
		return fail(err, VFD_ENOMEMORY, map_op, "no memory for a mapping's record");
	*m = (struct mapping){
		.memory = piece->memory,
		.flags = piece->flags,
		.declared = making->origin == IN_KERNEL,
	};
	range_make(&m->where, piece->iova, piece->size);
	int rc = bind_log(making->space, piece, m, err);
	if (rc)
		free(m);
	else
		*out = m;
	return rc;
}

static int check_run(struct space *space, const struct vfd_mapping *run, struct vfd_error *err)
{
	struct range where = { 0 };
	int rc = check_mapping(space, run, &where, err);

	return rc ? rc : check_allowed(&space->backend.caps, where, err);
}

static int make_pieces(struct making *making, const struct vfd_mapping *run, struct vfd_error *err)
{
	struct vfd_mapping piece;
	int rc = 0;

	for (uint64_t at = 0; !rc && at < run->size; at += piece.size) {
		piece = piece_at(run, at);
		rc = mapping_make(making, &piece, &making->all[making->count], err);
		making->count += !rc;
	}
	return rc;
}

static int make_room(struct making *making, struct vfd_error *err)
{
	uint64_t pieces = 0;

	for (size_t i = 0; i < making->run_count; i++)
		pieces += piece_count(&making->runs[i]);
	if (pieces > 1)
		making->all = pieces <= MOST_ENTRIES ? calloc((size_t)pieces, sizeof *making->all) : NULL;
	else
		making->all = &making->alone;
	return making->all ? 0
			   : fail(err, VFD_ENOMEMORY, map_op, "no memory for the records of the mappings");
}

int making_begin(struct making *making, struct vfd_error *err)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < making->run_count; i++)
		rc = check_run(making->space, &making->runs[i], err);
	if (!rc)
		rc = make_room(making, err);
	for (size_t i = 0; !rc && i < making->run_count; i++)
		rc = make_pieces(making, &making->runs[i], err);
	return rc;
}

void making_end(struct making *making)
{
	for (size_t i = making->mapped; i < making->count; i++)
		mapping_free(making->space, making->all[i]);
	if (making->all != &making->alone)
		free(making->all);
}

/* ---- promises ---- */

static int check_all_free(struct making *making, struct vfd_error *err)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < making->run_count; i++) {
		const struct vfd_mapping *run = &making->runs[i];
		rc = check_free(making->space, (struct range){ run->iova, run->iova + (run->size - 1) }, err);
	}
	return rc;
}

static int take_all(struct making *making, struct vfd_error *err)
{
	int rc = 0;

	while (!rc && making->taken < making->count) {
		rc = place_take(making->space, making->all[making->taken]->where, err);
		making->taken += !rc;
	}
	return rc;
}

static int promise_all(struct making *making, struct vfd_error *err)
{
	for (; making->promised < making->count; making->promised++)
		if (!table_reserve(&making->space->table))
			return fail(err, VFD_ENOMEMORY, map_op, "no memory for the mapping table");
	return 0;
}

/* Who placed it has taken its IOVA already. */
int making_reserve(struct making *making, struct vfd_error *err)
{
	making->taken = making->origin == PLACED ? making->count : 0;
	int rc = check_all_free(making, err);
	rc = rc ? rc : take_all(making, err);
	rc = rc ? rc : promise_all(making, err);
	if (rc)
		making_give_back(making, rc);
	return rc;
}

/* An IOVA where the kernel has a mapping that nobody declared stays taken if the library chose it: the next call will try another. */
void making_give_back(struct making *making, int why)
{
	size_t kept = making->origin == PLACED && why == -EEXIST ? making->mapped : SIZE_MAX;

	for (size_t i = making->mapped; i < making->promised; i++)
		table_unreserve(&making->space->table);
	for (size_t i = making->mapped; i < making->taken; i++)
		if (i != kept)
			place_give(making->space, making->all[i]->where);
}

/* ---- how much it is ---- */

struct range making_hull(const struct making *making)
{
	const struct vfd_mapping *last = &making->runs[making->run_count - 1];

	return (struct range){ making->runs[0].iova, last->iova + (last->size - 1) };
}

uint64_t making_bytes(const struct making *making)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < making->run_count; i++)
		bytes += making->runs[i].size;
	return bytes;
}
