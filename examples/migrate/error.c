/* SPDX-License-Identifier: MIT */

/* Messages, names, and the one control there is. */

#include "migrate.h"

#include <stdarg.h>

int mig_fail(struct mig_error *err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(err->message, sizeof err->message, format, args);
	va_end(args);
	return MIG_FAILED;
}

int mig_fail_vfd(struct mig_error *err, const struct vfd_error *vfd)
{
	return mig_fail(err, "%s: %s", vfd->operation, vfd->message);
}

void mig_cancel(struct mig_control *control)
{
	atomic_store(&control->cancelled, true);
}

int mig_cancelled(const struct mig_control *control, struct mig_error *err)
{
	if (!control || !atomic_load(&control->cancelled))
		return 0;
	mig_fail(err, "cancelled");
	return MIG_CANCELLED;
}

const char *mig_phase_name(enum mig_phase phase)
{
	static const char *const names[] = { "connect", "first copy", "precopy",  "prepare",
					     "stop",	"state",      "handover", "over" };

	return phase <= MIG_OVER ? names[phase] : "unknown";
}
