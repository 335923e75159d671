/* SPDX-License-Identifier: MIT */

/* While the guest runs: everything once, then what it writes meanwhile, until the rest is small enough. */

#include "devices.h"
#include "move.h"

int move_first_copy(struct move *m, struct mig_error *err)
{
	struct vfd_error vfd;

	gauge_enter(m, MIG_FIRST);
	if (vfd_mark_initial(m->source->consumer, &vfd))
		return mig_fail_vfd(err, &vfd);
	m->devices_touched = true;
	int rc = devices_start(&m->source->guest, &m->precopy, err);
	m->harvested_at = now_ns();
	return rc ? rc : round_send(m, false, err);
}

/* Rounds, until what is left fits. */
static int rounds(struct move *m, struct mig_error *err)
{
	int rc;

	for (;;) {
		if (m->precopy && (rc = move_save_devices(m, false, err)))
			return rc;
		if ((rc = round_harvest(m, false, err)))
			return rc;
		gauge_foresee(m);
		gauge_show(m);
		struct outlook o = gauge_outlook(m);
		enum decision d = converge(&m->converge, &m->source->options, &o, err);
		if (d != GO_ON)
			return d == GIVE_UP ? MIG_GAVE_UP : 0;
		if ((rc = round_send(m, false, err)))
			return rc;
	}
}

int move_precopy(struct move *m, struct mig_error *err)
{
	gauge_enter(m, MIG_PRECOPY);
	return rounds(m, err);
}

/* It may take long, and the guest goes on meanwhile. If something was unplugged that cannot report, all that it could write is owed
 * now, and the rounds begin anew; else those that were in vain were so. */
int move_prepare(struct move *m, struct mig_error *err)
{
	if (m->prepared)
		return 0;
	uint64_t before = gauge_owed(m);
	gauge_enter(m, MIG_PREPARE);
	m->touched = true;
	int rc = move_result(m, m->source->prepare(m->source->opaque, err));
	if (rc)
		return rc;
	m->prepared = true;
	if (gauge_owed(m) > before)
		m->converge = (struct converge){ 0 };
	return rounds(m, err);
}
