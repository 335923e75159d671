/* SPDX-License-Identifier: MIT */

/* The destination: connections, a thread for each further channel, and the end, where exactly one side goes on. */

#include "devices.h"
#include "guest.h"
#include "receiver.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
	CHANNEL_STALL_MS = 10000, /* a channel that is announced is there at once */
	LAST_WORD_MS = 1000,	  /* the source is given so long to take it, and as long to hear it */
};

struct inlet {
	struct wire wire;
	struct receiver *receiver;
	pthread_t thread;
	int result;
	struct mig_error error;
};

struct arrival {
	struct receiver receiver;
	struct inlet inlets[MIG_CHANNELS];
	unsigned opened, threads;
	struct mig_listener *listener;
	bool runs; /* something of the guest, perhaps, though the migration failed */
};

/* ---- connections ---------------------------------------------------------------------------------------------------- */

/* mig_accept() has no end of its own. */
static int wait_for_connection(struct arrival *a, uint64_t stall_ms, struct mig_error *err)
{
	struct pollfd p = { .fd = a->listener->fd, .events = POLLIN };
	const struct mig_control *control = a->receiver.destination->control;
	uint64_t begin = now_ns();
	int rc;

	while (p.fd >= 0 && poll(&p, 1, 100) <= 0) {
		if ((rc = mig_cancelled(control, err)))
			return rc;
		if (stall_ms && ms_since(begin) > (double)stall_ms)
			return mig_fail(err, "nobody connected for %llu ms", (unsigned long long)stall_ms);
	}
	return 0;
}

static int open_inlet(struct arrival *a, uint64_t stall_ms, struct mig_error *err)
{
	struct inlet *in = &a->inlets[a->opened];
	const struct mig_destination *d = a->receiver.destination;
	struct mig_link link;
	int rc = wait_for_connection(a, stall_ms, err);

	if (rc || (rc = mig_accept(a->listener, &link, err)))
		return rc;
	io_open(&in->wire.io, &link, d->options.stall_ms);
	in->wire.io.stop[0] = d->control ? &d->control->cancelled : NULL;
	in->wire.io.stop[1] = &a->receiver.failed;
	in->wire.channel = (uint16_t)a->opened;
	in->receiver = &a->receiver;
	a->opened++;
	return 0;
}

static int open_inlets(struct arrival *a, struct mig_error *err)
{
	int rc;

	if ((rc = open_inlet(a, a->receiver.destination->options.stall_ms, err)) ||
	    (rc = receive_hello(&a->receiver, &a->inlets[0].wire, err)))
		return rc;
	while (a->opened < a->receiver.hello.channels)
		if ((rc = open_inlet(a, CHANNEL_STALL_MS, err)) ||
		    (rc = receive_join(&a->receiver, &a->inlets[a->opened - 1].wire, err)))
			return rc;
	return wire_send(&a->inlets[0].wire, FRAME_WELCOME, NULL, 0, NULL, err);
}

/* ---- channels ------------------------------------------------------------------------------------------------------- */

static void *inlet_main(void *opaque)
{
	struct inlet *in = opaque;

	in->result = receive_frames(in->receiver, &in->wire, &in->error);
	if (in->result)
		atomic_store(&in->receiver->failed, true);
	return NULL;
}

/* Who failed by himself, not because another one did? */
static int first_cause(struct arrival *a, struct mig_error *err)
{
	const struct inlet *cause = NULL;

	for (unsigned i = 0; i < a->opened; i++)
		if (a->inlets[i].result &&
		    (!cause || strcmp(a->inlets[i].error.message, "another channel failed")))
			cause = &a->inlets[i];
	if (cause)
		*err = cause->error;
	return cause ? cause->result : 0;
}

static int receive_all(struct arrival *a, struct mig_error *err)
{
	for (unsigned i = 1; i < a->opened; i++) {
		if (pthread_create(&a->inlets[i].thread, NULL, inlet_main, &a->inlets[i])) {
			a->inlets[i].result = mig_fail(&a->inlets[i].error, "no thread for a channel");
			atomic_store(&a->receiver.failed, true);
			break;
		}
		a->threads = i;
	}
	inlet_main(&a->inlets[0]);
	for (unsigned i = 1; i <= a->threads; i++)
		pthread_join(a->inlets[i].thread, NULL);
	return first_cause(a, err);
}

/* ---- the end -------------------------------------------------------------------------------------------------------- */

/* Devices that run may be somebody in a network, as those of the source are when it is told to go on. */
static int stop_again(struct arrival *a, struct mig_error *err)
{
	size_t length = strlen(err->message);

	a->runs = devices_silence(&a->receiver.destination->guest);
	if (a->runs)
		snprintf(err->message + length, sizeof err->message - length,
			 "; and a device does not stop: the source is not told to go on");
	return MIG_FAILED;
}

/* A last frame is written whatever has happened; but a source that does not read is not waited for. */
static int say_last(struct wire *w, enum frame_type type, const void *meta, size_t size)
{
	struct mig_error unheard;

	w->io.stop[0] = w->io.stop[1] = NULL;
	w->io.stall_ms = LAST_WORD_MS;
	return wire_send(w, type, meta, size, NULL, &unheard);
}

/* It runs here, whether the source hears it or not: it has given the guest away. */
static int run(struct arrival *a, struct mig_error *err)
{
	const struct mig_destination *d = a->receiver.destination;

	if (devices_run(&d->guest, err) || d->run(d->opaque, err))
		return stop_again(a, err);
	say_last(&a->inlets[0].wire, FRAME_RUNNING, NULL, 0);
	return 0;
}

/* Not to a source that cannot hear it, not in half a frame, and not if it would be a lie. */
static void refuse(struct arrival *a, const struct mig_error *err)
{
	struct wire *w = &a->inlets[0].wire;
	size_t length = strlen(err->message);

	if (!a->opened || w->broken || !length || a->runs)
		return;
	if (!say_last(w, FRAME_REFUSE, err->message, length < REFUSAL ? length : REFUSAL))
		io_linger(&w->io, LAST_WORD_MS);
}

static int all_steps(struct arrival *a, struct mig_error *err)
{
	const struct mig_guest *guest = &a->receiver.destination->guest;
	struct mig_report *report = a->receiver.report;
	int rc;

	if (guest_check_destination(guest, err) || memory_open(&a->receiver.memory, guest, err))
		return MIG_FAILED;
	if ((rc = open_inlets(a, err)) || (rc = receive_all(a, err)))
		return rc;
	report->phase = MIG_STATE;
	if ((rc = receiver_complete(&a->receiver, err)))
		return rc;
	report->phase = MIG_HANDOVER;
	if ((rc = receive_run(&a->inlets[0].wire, err)) || (rc = run(a, err)))
		return rc;
	report->phase = MIG_OVER;
	return 0;
}

static void end(struct arrival *a)
{
	for (unsigned i = 0; i < a->opened; i++)
		mig_close(&a->inlets[i].wire.io.link);
	memory_close(&a->receiver.memory);
	free(a->receiver.buffer);
}

int mig_receive(const struct mig_destination *destination, struct mig_listener *listener,
		struct mig_report *report, struct mig_error *err)
{
	struct arrival a = { .listener = listener };
	uint64_t begin = now_ns();

	*report = (struct mig_report){ 0 };
	*err = (struct mig_error){ "" };
	a.receiver.destination = destination;
	a.receiver.report = report;
	a.receiver.buffer = malloc(FRAME_DATA);
	int rc = a.receiver.buffer ? all_steps(&a, err) : mig_fail(err, "no memory");
	if (rc)
		refuse(&a, err);
	end(&a);
	report->result = rc;
	report->total_ms = ms_since(begin);
	report->pages_sent = atomic_load(&a.receiver.pages);
	report->pages_zero = atomic_load(&a.receiver.zeros);
	return rc;
}
