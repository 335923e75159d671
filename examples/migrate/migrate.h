/* SPDX-License-Identifier: MIT */
#ifndef MIGRATE_H
#define MIGRATE_H

/* A migration engine: memory with a log of libvfiodirty, devices that migrate, and whatever else a program has, moved to another
 * process over a stream (docs/stream-format.md).
 *
 * Each side is one call that blocks until it is over: mig_send() and mig_receive(). A VMM makes it in a thread of its own, and
 * stops it with mig_cancel(). The callbacks come from that thread. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

#include <vfiodirty.h>

enum { MIG_CHANNELS = 8, MIG_REGIONS = 64, MIG_SECTIONS = 64, MIG_NAME = 48, MIG_CAUSES = 8 };

/* How it ended. At the source, in all cases but the first and the last the guest runs there, as if nothing had been. */
enum mig_result {
	MIG_DONE = 0,	    /* it runs at the destination, which said so */
	MIG_FAILED = -1,    /* see the message */
	MIG_CANCELLED = -2, /* mig_cancel() */
	MIG_GAVE_UP = -3,   /* memory changed faster than it could be sent: the give-up rule */
	MIG_REFUSED = -4,   /* the other side refused: its reason is in the message */
	MIG_UNCONFIRMED =
		-5, /* source only. It was told to run, and did not answer. The guest stays paused here: it may be running
				* there. Look, then either forget this one, or resume it (devices: vfd_migration_cancel()). */
};

struct mig_error {
	char message[320];
};

/* Set a message, from a callback too; returns MIG_FAILED. */
int mig_fail(struct mig_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same with what the library said. */
int mig_fail_vfd(struct mig_error *err, const struct vfd_error *vfd);

/* ---- links ---------------------------------------------------------------------------------------------------------- */

/* A way there and back: one socket, or two pipes. */
struct mig_link {
	int in, out; /* may be the same; -1: none */
};

/* URIs: tcp:HOST:PORT  unix:PATH  fd:N (a connected socket)  fd:IN,OUT  stdio:  exec:COMMAND (its stdin and stdout; source only).
 * Several channels need tcp: or unix:. SIGPIPE should be ignored by the program: pipes cannot be written without it. */

/* The source: `channels` connections. 0, MIG_FAILED or MIG_CANCELLED. Who gives no control (NULL) may have to wait: for the name of a host as
 * long as the resolver asks; for tcp: two minutes for each address, when nobody answers; for unix: until the destination accepts. */
struct mig_control;
int mig_connect_control(const char *uri, struct mig_link *links, unsigned channels,
			struct mig_control *control, struct mig_error *err);
/* The same without a control. */
int mig_connect(const char *uri, struct mig_link *links, unsigned channels, struct mig_error *err);

/* The destination: listen, then accept one connection at a time. fd: and stdio: give one. */
struct mig_listener {
	int fd;		      /* -1: `link` is all there is */
	struct mig_link link; /* of fd: and stdio: */
	char path[108];	      /* of unix:, unlinked at the end */
};
int mig_listen(const char *uri, struct mig_listener *listener, struct mig_error *err);
int mig_accept(struct mig_listener *listener, struct mig_link *link, struct mig_error *err);
void mig_unlisten(struct mig_listener *listener);
void mig_close(struct mig_link *link);

/* ---- what is moved -------------------------------------------------------------------------------------------------- */

/* Memory by log address. Both sides give the same ones, in the same order: 1 to MIG_REGIONS that do not overlap. Multiples of 4096 (and of
 * the log's page). */
struct mig_region {
	uint64_t address, size;
	void *memory;
};

/* State of something else, e.g. of a vCPU: bytes that mean nothing to the engine. Both sides give the same names in the same
 * order; they are saved and loaded in that order, while everything is paused. Devices come after all sections. */
struct mig_section {
	char name[MIG_NAME];
	void *opaque;
	/* Source: the next bytes, at most size; *done = 0: that was all. 0 or negative, with a message. */
	int (*save)(void *opaque, void *data, size_t size, size_t *done, struct mig_error *err);
	/* Destination: the next bytes; size 0: that was all, look whether it makes sense. */
	int (*load)(void *opaque, const void *data, size_t size, struct mig_error *err);
};

/* The common part of both sides. Nothing is copied: it has to live as long as the call. If it does not make sense the call fails before
 * it reads anything. */
struct mig_guest {
	const struct mig_region *regions;
	size_t region_count;
	const struct mig_section *sections;
	size_t section_count;
	struct vfd_device *const
		*devices;    /* those that migrate by VFIO's states; the engine moves their states and data */
	size_t device_count; /* (both sides: as many, in the same order) */
};

/* ---- control and progress ------------------------------------------------------------------------------------------- */

struct mig_control {
	atomic_bool cancelled;
};
/* From any thread, any time: the call ends within a tenth of a second or so; in up to two seconds, if the other side is slow to say its
 * last word or to hear ours. It is too late once the destination was told to run: then the call ends as it would have. */
void mig_cancel(struct mig_control *control);
/* 0, or MIG_CANCELLED with a message: for callbacks that take long. control may be NULL. */
int mig_cancelled(const struct mig_control *control, struct mig_error *err);

struct mig_options {
	uint64_t bandwidth;   /* bytes/s while the guest runs; 0: no limit. The last copy is never limited */
	uint64_t downtime_ms; /* stop the guest when the rest is expected to take no longer; 0: 300 */
	unsigned max_rounds;  /* give up after so many; 0: 30 */
	uint64_t max_seconds; /* give up after so long; 0: no limit */
	bool force; /* instead of giving up, stop the guest and send the rest, however long it takes */
	uint64_t
		stall_ms; /* fail when the other side, or a device with its state, is silent or takes nothing for so long;
				 * 0: 10 000 (source), never (destination) */
};

enum mig_phase {
	MIG_CONNECT,  /* both sides say what they have */
	MIG_FIRST,    /* the first full copy */
	MIG_PRECOPY,  /* what was written meanwhile, round by round */
	MIG_PREPARE,  /* unplugging, if there is a callback for it */
	MIG_STOP,     /* paused: last harvest, last copy */
	MIG_STATE,    /* sections and devices */
	MIG_HANDOVER, /* the destination has everything; it is told to run */
	MIG_OVER,
};
const char *mig_phase_name(enum mig_phase phase);

/* Pages are of 4096 bytes here, whatever the log's are. */
struct mig_progress {
	enum mig_phase phase;
	unsigned round;	     /* 1: the first full copy */
	uint64_t pages_sent; /* in all rounds, zero pages included */
	uint64_t pages_left; /* owed now */
	uint64_t rate;	     /* bytes/s that arrive */
	uint64_t dirty_rate; /* pages/s that become dirty, of the last interval */
	uint64_t deferred;   /* bytes that come on top at the end: devices that cannot report */
	double eta_s;	     /* until the guest is stopped; negative: as it is, never */
	double downtime_ms;  /* expected, were it stopped now */
};

struct mig_report {
	int result;	      /* enum mig_result */
	enum mig_phase phase; /* in which it ended */
	unsigned rounds;
	double total_ms;
	double downtime_ms; /* from the call of pause() until the destination said that it runs, or resume() returned */
	double pause_ms;   /* of that: pause(), and devices stopped */
	double harvest_ms; /* the last harvest */
	double copy_ms;	   /* the last copy */
	double state_ms;   /* sections and devices' states */
	double resume_ms;  /* the destination's answer; or the source's own going on */
	double library_ms; /* spent in libvfiodirty's harvests, takes and commits, during the downtime */
	uint64_t bytes;	   /* on the wire, headers included */
	uint64_t pages_sent, pages_zero;
	uint64_t pages_reported; /* of those sent: said by a source */
	uint64_t pages_assumed;	 /* found by harvests without a source that said so */
	uint64_t deferred_bytes; /* of those: because a device cannot report */
	uint64_t state_bytes;
	unsigned cause_count; /* why pages were assumed, and by whom, as at the last harvest */
	struct vfd_cause causes[MIG_CAUSES];
};

/* A progress line (over the last one, if `out` is a terminal), and the final report; or JSON, one event a line. */
void mig_print_progress(FILE *out, const struct mig_progress *progress, bool json);
void mig_print_report(FILE *out, const struct mig_report *report, const struct mig_error *err, bool json);

/* ---- the source ----------------------------------------------------------------------------------------------------- */

struct mig_source {
	struct mig_guest guest;
	struct vfd_log *log;
	struct vfd_consumer *
		consumer; /* whose pages are sent. Everything becomes owed to it at the start (vfd_mark_initial()) */
	struct mig_options options;
	struct mig_control *control; /* may be NULL */
	void *opaque; /* for the callbacks; each returns 0, or negative with a message: it failed, whatever the number (what
		       * mig_cancelled() returned: it was cancelled) */

	/* Move all sources' bits into the log: mig_harvest() of each container, KVM's log by vfd_log_merge(). Dirty tracking is on
	 * before mig_send(). final: everything is paused. sum->drained is 1 before; if it is 0 after the final harvest, as of a
	 * container whose device can still write, the migration fails. */
	int (*harvest)(void *opaque, bool final, struct vfd_harvest *sum, struct mig_error *err);
	/* May be NULL: nothing is to be unplugged. The rest would fit into the downtime, the guest still runs: unplug what cannot
	 * migrate. What devices cannot report counts only from here on: those that cannot are expected to be the ones that go. */
	int (*prepare)(void *opaque, struct mig_error *err);
	/* vCPUs, and devices that have no migration states, write no more when this returns. */
	int (*pause)(void *opaque, struct mig_error *err);
	/* It failed: go on here. Called once if prepare() or pause() was called, whether that succeeded or not; devices run again
	 * before. */
	void (*resume)(void *opaque);
	/* May be NULL. A few times a second, and when a phase begins. */
	void (*progress)(void *opaque, const struct mig_progress *progress);
};

/* For the callback: vfd_track_harvest() of one container, added to `sum`, which is drained if all are. (vfd_track_harvest() itself would make
 * of it what the last container says.) */
int mig_harvest(struct vfd_container *container, bool final, struct vfd_harvest *sum, struct mig_error *err);

/* The links are used, and closed. Returns an enum mig_result; the report and the message (unless MIG_DONE) are filled in. */
int mig_send(const struct mig_source *source, struct mig_link *links, unsigned channels,
	     struct mig_report *report, struct mig_error *err);

/* ---- the destination ------------------------------------------------------------------------------------------------ */

struct mig_destination {
	struct mig_guest guest;	     /* memory that is to be filled: zeroed */
	struct mig_options options;  /* stall_ms is all that counts here */
	struct mig_control *control; /* may be NULL */
	void *opaque;

	/* May be NULL. All has arrived and was loaded; devices are in STOP: the last look before the source gives the guest away. */
	int (*ready)(void *opaque, struct mig_error *err);
	/* The guest is ours: run it. Devices run already. If it fails the source is told to go on, so nothing may run then. (If a
	 * device cannot be stopped again it is not told, and stays paused: MIG_UNCONFIRMED.) */
	int (*run)(void *opaque, struct mig_error *err);
	/* May be NULL. */
	void (*progress)(void *opaque, const struct mig_progress *progress);
};

/* Accepts as many connections as the source makes, and closes them; the listener stays. When it returns other than MIG_DONE the
 * guest must not be run: its memory and devices are of no use. */
int mig_receive(const struct mig_destination *destination, struct mig_listener *listener,
		struct mig_report *report, struct mig_error *err);

#endif
