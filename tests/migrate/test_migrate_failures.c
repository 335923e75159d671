/* SPDX-License-Identifier: MIT */

/* Every failure in every phase: who runs the guest then, and is anything lost? Source and destination are processes; between them stands
 * a relay that knows frames, and lets something happen just before one of them is passed on.
 *
 * The source writes to its memory between its harvests, as a guest would. Afterwards it compares: a block that it does not owe any
 * more must be at the destination as it is here. */

#include "../../examples/migrate/migrate.h"
#include "../../examples/migrate/stream.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../suite.h"

enum { BLOCKS = 256, SIZE = BLOCKS * PAGE_BLOCK, STALL_MS = 400 };

enum failure { KILL_SOURCE, KILL_DESTINATION, CUT, CORRUPT, STALL, DISK_FULL, UNPLUG, REFUSED, FAILURES };
static const char *const failure_names[] = { "source killed",	 "destination killed", "socket cut",
					     "stream corrupted", "receiver stalls",    "disk full",
					     "unplug fails",	 "state refused" };

/* The frame before which it happens; while the source unplugs there is none. */
enum phase { CONNECT, FIRST, PRECOPY, PREPARE, LAST, STATE, END, RUN, RUNNING, PHASES };
static const char *const phase_names[] = { "connect", "first copy", "precopy",	   "unplug",	 "last copy",
					   "state",   "end",	    "told to run", "last answer" };

/* What comes of it. */
enum outcome {
	S_GOES_ON,     /* the source has the guest, the destination never runs */
	S_GONE,	       /* nobody has it: the source was killed before it was given away */
	D_RUNS,	       /* the destination has it, and the source knows or is gone */
	S_WAITS,       /* paused, unconfirmed; it does not run there */
	S_WAITS_D_RAN, /* paused, unconfirmed; it runs there, or did when it was killed */
};
static const char *const outcome_names[] = { "source goes on", "gone with source", "destination runs",
					     "source waits", "source waits (ran)" };

static const enum outcome expected[FAILURES][PHASES] = {
	/* connect, first copy, precopy, unplug, last copy, state, end, told to run, last answer */
	[KILL_SOURCE] = { S_GONE, S_GONE, S_GONE, S_GONE, S_GONE, S_GONE, S_GONE, D_RUNS, D_RUNS },
	[KILL_DESTINATION] = { S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON,
			       S_WAITS, S_WAITS_D_RAN },
	[CUT] = { S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON, S_WAITS,
		  S_WAITS_D_RAN },
	[CORRUPT] = { S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON,
		      S_WAITS_D_RAN },
	[STALL] = { S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON, S_WAITS,
		    S_WAITS_D_RAN },
	[DISK_FULL] = { S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON,
			S_GOES_ON, D_RUNS },
	[UNPLUG] = { S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON, D_RUNS, D_RUNS, D_RUNS, D_RUNS, D_RUNS },
	[REFUSED] = { S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON, S_GOES_ON,
		      D_RUNS },
};

/* Seen by all processes. */
static struct {
	atomic_int refuse;		       /* errno that the destination's callbacks fail with */
	atomic_int stays;		       /* what is to be unplugged does not go */
	atomic_int knock;		       /* 1: the source unplugs; 2: it may go on with that */
	atomic_int ran;			       /* the destination's run() succeeded */
	atomic_int touched;		       /* migrations whose source was to unplug or to pause */
	atomic_int resumed;		       /* calls at the source */
	int source_result, destination_result; /* 1: not over */
	int lost, again;		       /* blocks; result of a second migration */
	char message[320];
} * shared;
static uint8_t *from, *to;
static int to_fd;

/* ---- the source ----------------------------------------------------------------------------------------------------- */

static struct vfd_log *source_log;
static bool touched;

static void write_blocks(unsigned round, unsigned blocks)
{
	for (unsigned i = 0; i < blocks; i++) {
		uint64_t at = (round * 37 + i * 3) % BLOCKS * PAGE_BLOCK;
		memset(from + at, (int)(round + i + 1), PAGE_BLOCK);
		if (vfd_log_mark(source_log, at, PAGE_BLOCK, NULL))
			abort();
	}
}

static int harvest(void *opaque, bool final, struct vfd_harvest *sum, struct mig_error *err)
{
	unsigned *round = opaque;

	(void)sum, (void)err;
	write_blocks(*round, *round < 2 ? 64 : 4);
	if (!*round)
		usleep(2000); /* longer than the downtime: there is a second round, however fast the first was */
	*round += 1 + final;
	return 0;
}

static void touch(void)
{
	shared->touched += !touched;
	touched = true;
}

/* Unplugging takes as long as the relay wants it to, and the guest writes meanwhile. */
static int prepare(void *opaque, struct mig_error *err)
{
	unsigned *round = opaque;
	int nobody = 0;

	touch();
	atomic_compare_exchange_strong(&shared->knock, &nobody, 1);
	while (shared->knock == 1)
		usleep(1000);
	write_blocks(*round + 100, 64);
	return shared->stays ? mig_fail(err, "it does not go") : 0;
}

static int pause_guest(void *opaque, struct mig_error *err)
{
	(void)opaque, (void)err;
	touch();
	return 0;
}

static void resume(void *opaque)
{
	(void)opaque;
	shared->resumed++;
}

static int save(void *opaque, void *data, size_t size, size_t *done, struct mig_error *err)
{
	int *left = opaque;

	(void)size, (void)err;
	*done = *left ? 100 : 0;
	*left -= *left > 0;
	memset(data, 7, *done);
	return 0;
}

static int send_once(int fd, struct mig_report *report, struct mig_error *err)
{
	static unsigned round;
	int pieces = 2;
	struct mig_region region = { 0, SIZE, from };
	struct mig_section section = { .name = "cpu", .opaque = &pieces, .save = save };
	struct mig_source source = {
		.guest = { &region, 1, &section, 1, NULL, 0 },
		.log = source_log,
		.consumer = vfd_log_consumer(source_log),
		.options = { .stall_ms = STALL_MS, .max_rounds = 3, .downtime_ms = 1, .force = true },
		.opaque = &round,
		.harvest = harvest,
		.prepare = prepare,
		.pause = pause_guest,
		.resume = resume
	};
	struct mig_link link = { fd, fd };

	touched = false;
	return mig_send(&source, &link, 1, report, err);
}

/* A block that is not owed must have arrived. */
static int count_lost(void)
{
	static bool owed[BLOCKS];
	struct vfd_consumer *consumer = vfd_log_consumer(source_log);
	struct vfd_batch batch;
	struct vfd_run run;
	size_t count;
	int lost = 0;

	if (vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, NULL))
		abort();
	while (batch.id && !vfd_batch_runs(consumer, &batch, &run, 1, &count, NULL) && count)
		memset(owed + run.address / PAGE_BLOCK, 1, run.size / PAGE_BLOCK);
	if (batch.id)
		vfd_rollback(consumer, &batch, 0, UINT64_MAX, NULL);
	for (int i = 0; i < BLOCKS; i++)
		lost += !owed[i] && memcmp(from + i * PAGE_BLOCK, to + i * PAGE_BLOCK, PAGE_BLOCK);
	return lost;
}

static void destination(int fd);

/* The guest goes on, and can be moved as if nothing had been. */
static int send_again(void)
{
	struct mig_report report;
	struct mig_error err;
	int ends[2];

	shared->refuse = shared->stays = 0;
	shared->knock = 2;
	if (ftruncate(to_fd, SIZE) || socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
		abort();
	pid_t pid = fork();
	if (!pid) {
		close(ends[0]);
		destination(ends[1]);
	}
	close(ends[1]);
	int rc = send_once(ends[0], &report, &err);
	waitpid(pid, NULL, 0);
	return rc ? rc : memcmp(from, to, SIZE) != 0;
}

static void source(int fd)
{
	struct vfd_region region = { .struct_size = sizeof region, .size = SIZE, .memory = from };
	struct mig_report report;
	struct mig_error err;

	if (vfd_log_create(NULL, &source_log, NULL) || vfd_region_add(source_log, &region, NULL))
		abort();
	int rc = send_once(fd, &report, &err);
	strcpy(shared->message, err.message);
	if (ftruncate(to_fd, SIZE))
		abort();
	shared->lost = report.rounds ? count_lost() : 0; /* before the first nothing is owed yet */
	if (rc && rc != MIG_UNCONFIRMED)
		shared->again = send_again();
	shared->source_result = rc;
	_exit(0);
}

/* ---- the destination -------------------------------------------------------------------------------------------------- */

static int refuse(struct mig_error *err)
{
	return shared->refuse ? mig_fail(err, "%s", strerror(shared->refuse)) : 0;
}

static int load(void *opaque, const void *data, size_t size, struct mig_error *err)
{
	(void)opaque, (void)data, (void)size;
	return refuse(err);
}

static int ready(void *opaque, struct mig_error *err)
{
	(void)opaque;
	return refuse(err);
}

static int run(void *opaque, struct mig_error *err)
{
	(void)opaque;
	if (refuse(err))
		return MIG_FAILED;
	shared->ran++;
	return 0;
}

static void destination(int fd)
{
	struct mig_region region = { 0, SIZE, to };
	struct mig_section section = { .name = "cpu", .load = load };
	struct mig_destination d = { .guest = { &region, 1, &section, 1, NULL, 0 },
				     .ready = ready,
				     .run = run };
	struct mig_listener listener = { .fd = -1, .link = { fd, fd } };
	struct mig_report report;
	struct mig_error err;

	shared->destination_result = mig_receive(&d, &listener, &report, &err);
	_exit(0);
}

/* ---- between them ----------------------------------------------------------------------------------------------------- */

struct relay {
	int source_fd, destination_fd; /* -1: closed */
	pid_t source, destination;
	enum failure failure;
	enum phase phase;
	uint32_t round, last;	    /* of the last ROUND that came by */
	bool done, stalled, damage; /* damage: the next frame of the source */
};

static bool is_phase(struct relay *r, const uint8_t *frame, bool from_source)
{
	unsigned type = frame[5];

	if (type == FRAME_ROUND)
		u32s_decode(frame + FRAME_HEADER, &r->round, &r->last);
	switch (r->phase) {
	case CONNECT:
		return type == FRAME_HELLO;
	case FIRST:
		return type == FRAME_PAGES && r->round == 1;
	case PRECOPY:
		return type == FRAME_PAGES && r->round == 2;
	case PREPARE:
		return false;
	case LAST:
		return type == FRAME_PAGES && r->last;
	case STATE:
		return type == FRAME_STATE;
	case END:
		return type == FRAME_END;
	case RUN:
		return type == FRAME_RUN;
	default:
		return type == FRAME_RUNNING && !from_source;
	}
}

static void shut(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Memory that cannot be had any more: what a full disk under a mapped file is. State is written by its loader, who is told. */
static void fill_disk(const struct relay *r)
{
	shared->refuse = ENOSPC;
	if (r->phase <= LAST && ftruncate(to_fd, 0))
		abort();
}

static void happen(struct relay *r)
{
	r->done = true;
	switch (r->failure) {
	case KILL_SOURCE:
		kill(r->source, SIGKILL);
		shut(&r->source_fd);
		break;
	case KILL_DESTINATION:
		kill(r->destination, SIGKILL);
		shut(&r->destination_fd);
		shut(&r->source_fd);
		break;
	case CUT:
		shut(&r->destination_fd);
		shut(&r->source_fd);
		break;
	case CORRUPT:
		r->damage = true;
		break;
	case STALL:
		r->stalled = true;
		break;
	case DISK_FULL:
		fill_disk(r);
		break;
	case UNPLUG:
		shared->stays = 1;
		break;
	default:
		shared->refuse = EINVAL;
	}
}

static bool read_all(int fd, uint8_t *bytes, size_t size)
{
	return !size || recv(fd, bytes, size, MSG_WAITALL) == (ssize_t)size;
}

/* A whole frame, in memory of its own; NULL: there is none any more. */
static uint8_t *read_frame(int fd, size_t *size)
{
	static uint8_t frame[FRAME_HEADER + FRAME_META + FRAME_DATA];
	struct mig_error err;
	struct frame f;

	if (!read_all(fd, frame, FRAME_HEADER) || frame_decode(frame, &f, &err))
		return NULL;
	*size = FRAME_HEADER + f.meta_size + f.data_size;
	return read_all(fd, frame + FRAME_HEADER, *size - FRAME_HEADER) ? frame : NULL;
}

static void pass(struct relay *r, bool from_source)
{
	int *in = from_source ? &r->source_fd : &r->destination_fd;
	int *out = from_source ? &r->destination_fd : &r->source_fd;
	size_t size;
	uint8_t *frame = read_frame(*in, &size);

	if (!frame) {
		shut(in);
		shut(out);
		return;
	}
	if (!r->done && is_phase(r, frame, from_source))
		happen(r);
	if (r->damage) {
		frame[size / 2] ^= 1;
		r->damage = false;
	}
	if (!r->stalled && *out >= 0 && send(*out, frame, size, MSG_NOSIGNAL) != (ssize_t)size)
		shut(out);
}

/* Frames are written by a thread of the source's: one that it sent before it unplugs may come by after it knocked. */
static void answer_knock(struct relay *r)
{
	if (shared->knock != 1 || (r->phase < PREPARE && !r->done))
		return;
	if (r->phase == PREPARE)
		happen(r);
	shared->knock = 2;
}

/* A stalled receiver reads nothing and says nothing; it goes on when the source has made up its mind: too late. */
static void relay(struct relay *r)
{
	unsigned idle = 0;

	while (r->source_fd >= 0 && !r->stalled && idle < 1000) {
		struct pollfd p[] = { { r->source_fd, POLLIN, 0 }, { r->destination_fd, POLLIN, 0 } };
		idle = poll(p, 2, 10) ? 0 : idle + 1;
		answer_knock(r);
		if (p[1].revents)
			pass(r, false);
		if (p[0].revents && r->source_fd >= 0 && !r->stalled)
			pass(r, true);
	}
	shared->knock = 2; /* nobody is there to answer any more */
	if (r->stalled)
		waitpid(r->source, NULL, 0);
	shut(&r->source_fd);
	shut(&r->destination_fd);
}

/* ---- a cell --------------------------------------------------------------------------------------------------------- */

/* A side, with one end of a socket; *fd is the other. No process has an end that is not its own: it would not see it closed. */
static pid_t start(void (*side)(int fd), int *fd, int not_his)
{
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	pid_t pid = fork();
	if (!pid) {
		close(ends[0]);
		if (not_his >= 0)
			close(not_his);
		side(ends[1]);
	}
	close(ends[1]);
	*fd = ends[0];
	return pid;
}

static void open_world(void)
{
	to_fd = memfd_create("destination", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(to_fd, SIZE), 0);
	to = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, to_fd, 0);
	from = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < BLOCKS; i += 2) /* the others are zero */
		memset(from + i * PAGE_BLOCK, i + 1, PAGE_BLOCK);
	shared->source_result = shared->destination_result = 1;
}

static enum outcome outcome(enum failure failure)
{
	if (failure == KILL_SOURCE)
		return shared->ran ? D_RUNS : S_GONE;
	if (shared->source_result == MIG_UNCONFIRMED)
		return shared->ran ? S_WAITS_D_RAN : S_WAITS;
	return shared->source_result ? S_GOES_ON : D_RUNS;
}

/* memory_gone: at the destination, by the test's doing. */
static void judge(enum outcome want, enum outcome got, bool memory_gone)
{
	ck_assert_msg(want == got, "%s, not %s (source: %d, %s; destination: %d)", outcome_names[got],
		      outcome_names[want], shared->source_result, shared->message,
		      shared->destination_result);
	ck_assert(memory_gone || !shared->lost);
	if (got == S_GOES_ON) {
		ck_assert_int_eq(shared->ran, 1); /* the second time */
		ck_assert_int_eq(shared->again, 0);
		ck_assert_int_eq(shared->resumed, shared->touched - 1); /* the second time it is not */
		ck_assert_str_ne(shared->message, "");
	}
	if (got == S_WAITS || got == S_WAITS_D_RAN)
		ck_assert_int_eq(shared->resumed, 0);
	if (got == D_RUNS || got == S_WAITS_D_RAN)
		ck_assert_int_eq(shared->ran, 1);
	if (got == S_GONE)
		ck_assert_int_eq(shared->ran, 0);
}

START_TEST(test_cell)
{
	struct relay r = { .failure = (enum failure)(_i / PHASES), .phase = (enum phase)(_i % PHASES) };

	open_world();
	r.source = start(source, &r.source_fd, -1);
	r.destination = start(destination, &r.destination_fd, r.source_fd);
	relay(&r);
	while (wait(NULL) > 0)
		;
	ck_assert_msg(r.done, "the %s never came", phase_names[r.phase]);
	enum outcome got = outcome(r.failure);
	printf("# %-18s | %-11s | %-18s | %s\n", failure_names[r.failure], phase_names[r.phase],
	       outcome_names[got], shared->message);
	fflush(stdout);
	judge(expected[r.failure][r.phase], got, r.failure == DISK_FULL && r.phase <= LAST);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("migrate_failures");
	TCase *tcase = tcase_create("matrix");

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, test_cell, 0, FAILURES * PHASES);
	suite_add_tcase(suite, tcase);
	return run_all(suite);
}
