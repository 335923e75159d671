/* SPDX-License-Identifier: MIT */

/* The source: the guest writes until it is paused. */

#include "tool.h"

#include <stdlib.h>

struct source {
	struct guest guest;
	const struct settings *settings;
};

/* The guest's thread marks what it writes itself; the device's writes the kernel knows. */
static int harvest(void *opaque, bool final, struct vfd_harvest *sum, struct mig_error *err)
{
	struct source *s = opaque;

	return device_harvest(&s->guest, final, sum, err);
}

static int pause_guest(void *opaque, struct mig_error *err)
{
	struct source *s = opaque;

	guest_pause(&s->guest);
	return device_pause(&s->guest, err);
}

static void resume(void *opaque)
{
	struct source *s = opaque;
	struct mig_error err = { "" };

	device_resume(&s->guest);
	if (guest_run(&s->guest, &err))
		fprintf(stderr, "vfd-migrate: %s\n", err.message);
}

static void progress(void *opaque, const struct mig_progress *p)
{
	struct source *s = opaque;

	if (!s->settings->quiet)
		mig_print_progress(stderr, p, s->settings->json);
}

static int move(struct source *s, struct mig_link *links, struct mig_error *err)
{
	struct mig_region region = { 0, s->guest.size, s->guest.memory };
	struct mig_section section = guest_section(&s->guest);
	struct mig_source source = { .guest = { &region, 1, &section, 1, &s->guest.device.vfio,
						s->guest.device.migrates },
				     .log = s->guest.log,
				     .consumer = vfd_log_consumer(s->guest.log),
				     .options = s->settings->migration,
				     .opaque = s,
				     .harvest = harvest,
				     .pause = pause_guest,
				     .resume = resume,
				     .progress = progress };
	struct mig_report report;
	int rc = mig_send(&source, links, s->settings->channels, &report, err);

	mig_print_report(stderr, &report, err, s->settings->json);
	return rc;
}

/* On standard error, for standard output may be the stream. */
static void say_end(struct source *s, int rc)
{
	if (rc && rc != MIG_UNCONFIRMED)
		fprintf(stderr, "the guest runs here, as before\n");
	guest_pause(&s->guest);
	if (rc && s->guest.device.vfio)
		return; /* it writes still */
	fprintf(stderr, "memory %016llx after %llu writes\n", (unsigned long long)guest_hash(&s->guest),
		(unsigned long long)s->guest.state.writes);
}

int send_main(const char *uri, const struct settings *settings)
{
	struct source s = { .settings = settings };
	struct mig_link links[MIG_CHANNELS];
	struct mig_error err = { "" };

	if (guest_open(&s.guest, settings, &err) || guest_log(&s.guest, &err) ||
	    device_open(&s.guest, settings, &err) || mig_connect(uri, links, settings->channels, &err)) {
		fprintf(stderr, "vfd-migrate: %s\n", err.message);
		return 1;
	}
	guest_fill(&s.guest, settings->zero_percent);
	int rc = guest_run(&s.guest, &err);
	if (rc || (rc = device_start(&s.guest, &err)))
		fprintf(stderr, "vfd-migrate: %s\n", err.message);
	else
		say_end(&s, rc = move(&s, links, &err));
	guest_close(&s.guest);
	return rc ? 1 : 0;
}
