/* SPDX-License-Identifier: MIT */
/* Migration states: which arcs there are, how the kernel routes over them, what an arc does, and what a failed one leaves. */
#include "internal.h"
#include "uapi.h"

#define STATES (UAPI_MIG_PRE_COPY_P2P + 1u)

/* Row: where it is; column: where it is to be; the digit: the next state on the way, 0 (ERROR) if there is none. The order is that of
 * enum uapi_mig, and the digits are its numbers. */
static const char routes[STATES][STATES + 1] = {
	"00000000", /* from ERROR */
	"01534555", /* STOP */
	"05255565", /* RUNNING */
	"01131100", /* STOP_COPY */
	"01114111", /* RESUMING */
	"01211527", /* RUNNING_P2P */
	"02272267", /* PRE_COPY */
	"05535567", /* PRE_COPY_P2P */
};

static bool supported(const struct migration *g, uint32_t state)
{
	uint64_t needs = UAPI_MIGRATION_STOP_COPY;

	if (state == UAPI_MIG_RUNNING_P2P || state == UAPI_MIG_PRE_COPY_P2P)
		needs |= UAPI_MIGRATION_P2P;
	if (state == UAPI_MIG_PRE_COPY || state == UAPI_MIG_PRE_COPY_P2P)
		needs |= UAPI_MIGRATION_PRE_COPY;
	return state == UAPI_MIG_ERROR || (g->config.flags & needs) == needs;
}

/* States that the device lacks are jumped over. ERROR: no way. */
static uint32_t next_state(const struct migration *g, uint32_t wanted)
{
	uint32_t next = g->state;

	if (wanted >= STATES || !supported(g, wanted))
		return UAPI_MIG_ERROR;
	do
		next = (uint32_t)(routes[next][wanted] - '0');
	while (!supported(g, next));
	return next;
}

/* ---- one arc ---- */

static bool is_running(const struct migration *g, uint32_t state)
{
	if (state == UAPI_MIG_RUNNING_P2P || state == UAPI_MIG_PRE_COPY_P2P)
		return g->config.p2p_writes;
	return state == UAPI_MIG_RUNNING || state == UAPI_MIG_PRE_COPY;
}

static bool is_precopy(uint32_t state)
{
	return state == UAPI_MIG_PRE_COPY || state == UAPI_MIG_PRE_COPY_P2P;
}

/* What was pinned for writing may have been written until this moment. */
static void enter(struct model *m, struct device *d, uint32_t state)
{
	pins_enter_truth(m, d);
	d->migration.stopped = !is_running(&d->migration, state);
	d->migration.state = state;
}

/* Data of a session is read out from its beginning on, and to its end in STOP_COPY. */
static void save(struct device *d, uint32_t from, uint32_t to)
{
	if (to == UAPI_MIG_STOP_COPY && !is_precopy(from))
		d->migration.stream = stream_begin(d, true);
	if (to == UAPI_MIG_STOP_COPY)
		stream_save(d, true);
	if (!is_precopy(to) || is_precopy(from))
		return;
	d->migration.stream = stream_begin(d, true);
	stream_save(d, false);
}

static int take_arc(struct model *m, struct device *d, uint32_t to)
{
	struct migration *g = &d->migration;
	uint32_t from = g->state;
	int error = 0;

	if (g->config.fail_error && g->config.fail_from == from && g->config.fail_to == to)
		error = -g->config.fail_error;
	else if (from == UAPI_MIG_RESUMING)
		error = stream_load(d);
	if (error)
		return error;
	if (from == UAPI_MIG_STOP_COPY || from == UAPI_MIG_RESUMING ||
	    (is_precopy(from) && !is_precopy(to) && to != UAPI_MIG_STOP_COPY))
		stream_end_session(d);
	enter(m, d, to);
	save(d, from, to);
	if (to == UAPI_MIG_RESUMING)
		g->stream = stream_begin(d, false);
	if (from == UAPI_MIG_STOP_COPY && d->log.config.ends_on_stop)
		devlog_end(m, d);
	return 0;
}

/* ---- SET ---- */

/* Nothing is said of what the device did meanwhile: it writes, or not, as before. */
static int fail(struct device *d, int error)
{
	if (!d->migration.config.breaks)
		return error;
	stream_end_session(d);
	d->migration.state = UAPI_MIG_ERROR;
	return error;
}

static int take_arcs(struct call *call, struct device *d, uint32_t wanted)
{
	struct migration *g = &d->migration;

	while (g->state != wanted) {
		uint32_t next = next_state(g, wanted);
		int error;

		if (next == UAPI_MIG_ERROR)
			return -EINVAL;
		error = call->fails && call->trace.mappings == call->step ? -call->error
									  : take_arc(call->model, d, next);
		if (error)
			return fail(d, error);
		call->trace.mappings++;
	}
	return 0;
}

/* Only a session that began with the last arc has a descriptor to hand out. It goes on without one if that fails. */
static int install(struct model *m, struct stream *stream)
{
	struct file *file = file_new(FILE_STREAM);

	file->stream = stream;
	stream->refs++;
	return files_install(m, file);
}

/* The struct comes back with the state that was asked for, whether it was reached or not. */
static int set_state(struct call *call, struct device *d, struct uapi_mig_state *ask, void *argument)
{
	struct stream *before = d->migration.stream, *stream;
	int error = take_arcs(call, d, ask->state);

	stream = d->migration.stream != before ? d->migration.stream : NULL;
	if (!error && call->fails)
		error = -call->error;
	ask->data_fd = stream && !error ? install(call->model, stream) : -1;
	if (!copy_out(argument, ask, sizeof(*ask)))
		return error;
	if (ask->data_fd >= 0)
		files_close(call->model, ask->data_fd);
	return -EFAULT;
}

int migration_state(struct call *call, struct device *d, uint32_t flags, void *argument)
{
	struct uapi_mig_state ask;

	if (copy_in(&ask, argument, sizeof(ask)))
		return -EFAULT;
	if (flags & UAPI_FEATURE_SET)
		return set_state(call, d, &ask, argument);
	ask = (struct uapi_mig_state){ d->migration.state, -1 };
	return copy_out(argument, &ask, sizeof(ask));
}

/* ---- GET, reset ---- */

int migration_get_flags(const struct device *d, void *argument)
{
	struct uapi_migration answer = { d->migration.config.flags };

	return copy_out(argument, &answer, sizeof(answer));
}

int migration_get_size(const struct device *d, void *argument)
{
	struct uapi_mig_data_size answer = { MODEL_RECORD_SIZE };

	(void)d;
	return copy_out(argument, &answer, sizeof(answer));
}

void migration_reset(struct model *m, struct device *d)
{
	stream_end_session(d);
	enter(m, d, UAPI_MIG_RUNNING);
}

/* ---- knobs ---- */

void model_set_migration(struct model *m, const char *name, const struct model_migration *config)
{
	struct device *d;

	model_lock(m);
	d = device_by_name(m, name);
	if (d && d->config->migration)
		d->migration.config = *config;
	else
		model_crash(m, "the test lets %s migrate, which cannot", name);
	model_unlock(m);
}

uint32_t model_migration_state(struct model *m, const char *name)
{
	const struct device *d;
	uint32_t state;

	model_lock(m);
	d = device_by_name(m, name);
	state = d ? d->migration.state : UAPI_MIG_RUNNING;
	model_unlock(m);
	return state;
}
