/* SPDX-License-Identifier: MIT */

/* The destination. */

#include "tool.h"

struct destination {
	struct guest guest;
	const struct settings *settings;
};

/* Its memory is looked at once the source knows; nothing writes it here. */
static int run(void *opaque, struct mig_error *err)
{
	(void)opaque, (void)err;
	return 0;
}

static int move(struct destination *d, struct mig_listener *listener, struct mig_error *err)
{
	struct mig_region region = { 0, d->guest.size, d->guest.memory };
	struct mig_section section = guest_section(&d->guest);
	struct mig_destination destination = { .guest = { &region, 1, &section, 1, &d->guest.device.vfio,
							  d->guest.device.migrates },
					       .options = d->settings->migration,
					       .opaque = d,
					       .run = run };
	struct mig_report report;
	int rc = mig_receive(&destination, listener, &report, err);

	mig_print_report(stderr, &report, err, d->settings->json);
	return rc;
}

int receive_main(const char *uri, const struct settings *settings)
{
	struct destination d = { .settings = settings };
	struct mig_listener listener;
	struct mig_error err = { "" };

	if (guest_open(&d.guest, settings, &err) || guest_log(&d.guest, &err) ||
	    device_open(&d.guest, settings, &err) || mig_listen(uri, &listener, &err)) {
		fprintf(stderr, "vfd-migrate: %s\n", err.message);
		return 1;
	}
	int rc = move(&d, &listener, &err);
	if (!rc)
		fprintf(stderr, "memory %016llx after %llu writes\n",
			(unsigned long long)guest_hash(&d.guest), (unsigned long long)d.guest.state.writes);
	mig_unlisten(&listener);
	guest_close(&d.guest);
	return rc ? 1 : 0;
}
