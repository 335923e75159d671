/* SPDX-License-Identifier: MIT */

/* Both sides of a migration: what the engine asks of a VMM. A device that has migration states goes along; one that has none is
 * given up by the guest's agent, unplugged losslessly, and plugged at the destination. */

#include "migration.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ATTACH_TRIES = 100, STALL_MS = 60000 }; /* it attaches a device before it answers */

static bool migrates(struct vm *vm)
{
	struct vfd_migration_info info = { .struct_size = sizeof info };
	struct vfd_error ignored;

	return vm->device && !vfd_migration_info(vm->device->vfio, &info, &ignored) && info.flags;
}

static void describe(struct move *m, struct mig_guest *g)
{
	m->region = (struct mig_region){ .size = m->vm->ram.size, .memory = m->vm->ram.start };
	m->device = migrates(m->vm) ? m->vm->device->vfio : NULL;
	sections_make(m);
	*g = (struct mig_guest){ .regions = &m->region,
				 .region_count = 1,
				 .sections = m->streams,
				 .section_count = m->section_count };
	if (m->device) {
		g->devices = &m->device;
		g->device_count = 1;
	}
}

/* ---- the source ---- */

static int on_harvest(void *opaque, bool final, struct vfd_harvest *sum, struct mig_error *merr)
{
	struct move *m = opaque;
	struct vfd_error err;

	return harvest(m->vm, final, sum, &err) ? mig_fail_vfd(merr, &err) : 0;
}

static int on_prepare(void *opaque, struct mig_error *merr)
{
	struct move *m = opaque;
	struct vfd_error err;

	snprintf(m->unplugged, sizeof m->unplugged, "%s", m->vm->device->name);
	if (agent_ask(m->vm, "unplug", "unplugged", AGENT_SECONDS, &err) || device_unplug(m->vm, &err))
		return mig_fail_vfd(merr, &err);
	return 0;
}

static int on_pause(void *opaque, struct mig_error *merr)
{
	struct move *m = opaque;

	vcpus_pause(m->vm); /* does not wait for those of a guest that has ended: one may still write */
	return m->vm->ending ? mig_fail(merr, "the guest has ended") : 0;
}

/* The destination may hold the device for a moment longer. */
static int plug_again(struct move *m, struct vfd_error *err)
{
	struct timespec tenth = { .tv_nsec = 100000000 };
	int rc = m->vm->device ? 0 : -1;

	for (unsigned i = 0; rc && i < ATTACH_TRIES; i++) {
		if (i)
			nanosleep(&tenth, NULL);
		rc = device_plug(m->vm, m->unplugged, err);
	}
	return rc ?: agent_ask(m->vm, "plug", "plugged", AGENT_SECONDS, err);
}

static void on_resume(void *opaque)
{
	struct move *m = opaque;
	struct vfd_error err;

	if (!m->was_paused)
		vcpus_resume(m->vm);
	if (*m->unplugged && plug_again(m, &err))
		fprintf(stderr, "vfd-vmm: %s is not plugged again: %s\n", m->unplugged, err.message);
}

static void on_progress(void *opaque, const struct mig_progress *progress)
{
	struct move *m = opaque;

	pthread_mutex_lock(&m->vm->lock);
	snprintf(m->vm->progress, sizeof m->vm->progress, "%s round=%u left=%llu",
		 mig_phase_name(progress->phase), progress->round, (unsigned long long)progress->pages_left);
	pthread_mutex_unlock(&m->vm->lock);
}

static int send_all(struct move *m, const char *uri, struct mig_source *s, struct mig_report *report,
		    struct mig_error *merr)
{
	struct mig_link link;
	struct vfd_error err;

	describe(m, &s->guest);
	s->prepare = m->vm->device && !m->device ? on_prepare : NULL;
	if (s->prepare && m->was_paused)
		return mig_fail(merr, "the guest is paused: it cannot give up %s; resume it first",
				m->vm->device->name);
	if (mig_connect_control(uri, &link, 1, &m->control, merr))
		return MIG_FAILED;
	if (track(m->vm, true, &err) || vfd_consumer_add(m->vm->log, "migration", &s->consumer, &err)) {
		mig_close(&link);
		return mig_fail_vfd(merr, &err);
	}
	return mig_send(s, &link, 1, report, merr);
}

static void say_result(const struct mig_report *r, char *text, size_t size)
{
	snprintf(text, size,
		 "moved total-ms=%.1f downtime-ms=%.1f pause-ms=%.1f harvest-ms=%.1f copy-ms=%.1f "
		 "state-ms=%.1f "
		 "resume-ms=%.1f library-ms=%.3f rounds=%u pages=%llu zero=%llu reported=%llu assumed=%llu "
		 "deferred-bytes=%llu",
		 r->total_ms, r->downtime_ms, r->pause_ms, r->harvest_ms, r->copy_ms, r->state_ms,
		 r->resume_ms, r->library_ms, r->rounds, (unsigned long long)r->pages_sent,
		 (unsigned long long)r->pages_zero, (unsigned long long)r->pages_reported,
		 (unsigned long long)r->pages_assumed, (unsigned long long)r->deferred_bytes);
}

static void set_moving(struct vm *vm, struct mig_control *control, bool unconfirmed)
{
	pthread_mutex_lock(&vm->lock);
	vm->moving = control;
	vm->unconfirmed = unconfirmed;
	snprintf(vm->progress, sizeof vm->progress, "%s",
		 mig_phase_name(MIG_CONNECT)); /* until it says more */
	pthread_mutex_unlock(&vm->lock);
}

/* Only who can see both sides knows which one is to go on. */
static int say_failed(int rc, const char *why, struct vfd_error *err)
{
	if (rc != MIG_UNCONFIRMED)
		return fail(err, "%s", why);
	return fail(err,
		    "the guest may run there, and stays paused here. If it runs there, quit; only if it does "
		    "not and never will, resume: %s",
		    why);
}

int migrate_away(struct vm *vm, const char *uri, const struct migrate_options *options, char *text,
		 size_t size, struct vfd_error *err)
{
	struct move *m = calloc(1, sizeof *m);
	struct mig_source s = { .log = vm->log,
				.options = { .bandwidth = options->bandwidth,
					     .downtime_ms = options->downtime_ms,
					     .force = options->force,
					     .stall_ms = STALL_MS },
				.opaque = m,
				.harvest = on_harvest,
				.pause = on_pause,
				.resume = on_resume,
				.progress = on_progress };
	struct mig_report report = { 0 };
	struct mig_error merr = { "" };
	struct vfd_error ignored;

	if (!m)
		return fail(err, "no memory");
	m->vm = vm;
	m->verify = options->verify;
	m->was_paused = vm->paused;
	s.control = &m->control;
	set_moving(vm, &m->control, false);
	int rc = send_all(m, uri, &s, &report, &merr);
	set_moving(vm, NULL, rc == MIG_UNCONFIRMED);
	track(vm, false, &ignored);
	if (s.consumer)
		vfd_consumer_remove(&s.consumer, VFD_DISCARD, &ignored);
	free(m);
	if (rc)
		return say_failed(rc, merr.message, err);
	say_result(&report, text, size);
	vm->leaving = true; /* it is not ours any more */
	return 0;
}

/* Also after a migration that was not confirmed, when whoever asks knows that it does not run there: then the device stands still. */
int migrate_resume(struct vm *vm, struct vfd_error *err)
{
	int rc = migrates(vm) ? vfd_migration_cancel(&vm->device->vfio, 1, 0, err) : 0;

	if (rc)
		return rc;
	set_moving(vm, NULL, false);
	vcpus_resume(vm);
	return 0;
}

bool migrate_cancel(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	bool any = vm->moving;
	if (any)
		mig_cancel(vm->moving);
	pthread_mutex_unlock(&vm->lock);
	return any;
}

/* ---- the destination ---- */

/* The last look: if the device cannot be had here, the guest stays there. */
static int on_ready(void *opaque, struct mig_error *merr)
{
	struct move *m = opaque;
	struct vfd_error err;

	return m->plug && device_plug(m->vm, m->plug, &err) ? mig_fail_vfd(merr, &err) : 0;
}

static int on_run(void *opaque, struct mig_error *merr)
{
	struct move *m = opaque;

	(void)merr;
	vcpus_resume(m->vm);
	return 0;
}

int migrate_here(struct vm *vm, const char *uri, const char *plug, struct vfd_error *err)
{
	static struct move m;
	struct mig_destination d = { .opaque = &m, .ready = on_ready, .run = on_run };
	struct mig_listener listener;
	struct mig_report report;
	struct mig_error merr;

	m.vm = vm;
	m.plug = plug;
	describe(&m, &d.guest);
	if (mig_listen(uri, &listener, &merr))
		return fail(err, "%s", merr.message);
	int rc = mig_receive(&d, &listener, &report, &merr);
	mig_unlisten(&listener);
	if (rc)
		return fail(err, "%s", merr.message);
	printf("\nvfd-vmm: it runs here%s\n", m.verified ? ", memory is the same" : "");
	fflush(stdout);
	if (plug && agent_ask(vm, "plug", "plugged", AGENT_SECONDS, err))
		fprintf(stderr, "vfd-vmm: %s\n", err->message); /* it runs all the same, and nowhere else */
	return 0;
}
