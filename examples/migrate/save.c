/* SPDX-License-Identifier: MIT */

/* The state of sections and devices goes out, in the first channel. */

#include "devices.h"
#include "move.h"

static uint8_t *state_buffer(struct move *m)
{
	return first_channel(m)->data; /* between rounds nobody needs it */
}

static int save_section(struct move *m, uint32_t number, struct mig_error *err)
{
	const struct mig_section *s = &m->source->guest.sections[number];
	size_t done = 1;
	int rc = 0;

	while (!rc && done) {
		if ((rc = move_result(m, s->save(s->opaque, state_buffer(m), SEND_DATA, &done, err))))
			return rc;
		if (done > SEND_DATA)
			return mig_fail(
				err, "section \"%s\" says that it saved %zu bytes where %zu were asked for",
				s->name, done, (size_t)SEND_DATA);
		rc = channel_state(first_channel(m), number, !done, state_buffer(m), done, err);
		m->report->state_bytes += done;
	}
	return rc;
}

/* last: it is in STOP_COPY, and this is all. Before that a device may have as much as it likes, but gets one buffer a round. */
static int save_device(struct move *m, uint32_t number, bool last, struct mig_error *err)
{
	const struct mig_guest *g = &m->source->guest;
	uint32_t section = (uint32_t)g->section_count + number;
	size_t done;
	int rc;

	do {
		if ((rc = devices_save(g->devices[number], state_buffer(m), SEND_DATA, &done,
				       &first_channel(m)->wire.io, err)))
			return rc;
		if (last || done)
			rc = channel_state(first_channel(m), section, last && !done, state_buffer(m), done,
					   err);
		m->report->state_bytes += done;
	} while (!rc && last && done);
	return rc;
}

int move_save_devices(struct move *m, bool last, struct mig_error *err)
{
	int rc = 0;

	for (uint32_t i = 0; i < m->source->guest.device_count && !rc; i++)
		rc = save_device(m, i, last, err);
	return rc;
}

int move_save_state(struct move *m, struct mig_error *err)
{
	uint64_t begin = now_ns();
	int rc = 0;

	gauge_enter(m, MIG_STATE);
	for (uint32_t i = 0; i < m->source->guest.section_count && !rc; i++)
		rc = save_section(m, i, err);
	if (!rc)
		rc = move_save_devices(m, true, err);
	m->report->state_ms = ms_since(begin);
	return rc;
}
