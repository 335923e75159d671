/* SPDX-License-Identifier: MIT */

/* How fast, against a program that does nothing but write the same memory into the same kind of socket, and read it into other
 * memory? Both sides are processes of their own, as they will be. The two take turns, so that they have the same machine. */

#include "tool.h"

#include "../io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RUNS = 9, PIECE = 256 << 10 };

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "vfd-migrate: %s\n", what);
	exit(1);
}

static void open_pair(int *ends)
{
	int buffer = 4 << 20;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		die(strerror(errno));
	setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
}

/* ---- the plain program ------------------------------------------------------------------------------------------------ */

static void plain_receive(int fd, uint8_t *memory, uint64_t size)
{
	ssize_t n = 1;

	for (uint64_t at = 0; at < size && n > 0; at += (uint64_t)n)
		n = recv(fd, memory + at, size - at < PIECE ? size - at : PIECE, MSG_WAITALL);
	if (n <= 0 || send(fd, "", 1, MSG_NOSIGNAL) != 1)
		_exit(1);
}

static void plain_send(int fd, const uint8_t *memory, uint64_t size)
{
	char answer;
	ssize_t n = 1;

	for (uint64_t at = 0; at < size && n > 0; at += (uint64_t)n)
		n = send(fd, memory + at, size - at < PIECE ? size - at : PIECE, MSG_NOSIGNAL);
	if (n <= 0 || recv(fd, &answer, 1, 0) != 1)
		die("the plain program failed");
}

/* ---- the engine ----------------------------------------------------------------------------------------------------- */

static int nothing(void *opaque, struct mig_error *err)
{
	(void)opaque, (void)err;
	return 0;
}

static int no_harvest(void *opaque, bool final, struct vfd_harvest *sum, struct mig_error *err)
{
	(void)opaque, (void) final, (void)sum, (void)err;
	return 0;
}

static void no_resume(void *opaque)
{
	(void)opaque;
}

static void engine_receive(int fd, uint8_t *memory, uint64_t size)
{
	struct mig_region region = { 0, size, memory };
	struct mig_destination d = { .guest = { .regions = &region, .region_count = 1 }, .run = nothing };
	struct mig_listener listener = { .fd = -1, .link = { fd, fd } };
	struct mig_report report;
	struct mig_error err;

	_exit(mig_receive(&d, &listener, &report, &err) != 0);
}

static void engine_send(int fd, const uint8_t *memory, uint64_t size)
{
	struct guest g = { .memory = (uint8_t *)memory, .size = size };
	struct mig_region region = { 0, size, g.memory };
	struct mig_link link = { fd, fd };
	struct mig_report report;
	struct mig_error err;

	if (guest_log(&g, &err))
		die(err.message);
	struct mig_source s = { .guest = { .regions = &region, .region_count = 1 },
				.log = g.log,
				.consumer = vfd_log_consumer(g.log),
				.harvest = no_harvest,
				.pause = nothing,
				.resume = no_resume };
	if (mig_send(&s, &link, 1, &report, &err))
		die(err.message);
	vfd_log_destroy(&g.log, VFD_DISCARD, NULL);
}

/* ---- the two in turn -------------------------------------------------------------------------------------------------- */

struct contender {
	const char *name;
	void (*receive)(int fd, uint8_t *memory, uint64_t size);
	void (*send)(int fd, const uint8_t *memory, uint64_t size);
	double rates[RUNS]; /* MB/s */
};

/* Memory of the receiver is there before the clock runs, for both. */
static double run_once(const struct contender *c, const struct guest *from, struct guest *to)
{
	int ends[2];

	open_pair(ends);
	pid_t pid = fork();
	if (!pid) {
		close(ends[0]);
		memset(to->memory, 1, to->size);
		if (send(ends[1], "", 1, MSG_NOSIGNAL) == 1)
			c->receive(ends[1], to->memory, to->size);
		_exit(0);
	}
	char ready;
	int status = 1;
	close(ends[1]);
	if (pid < 0 || recv(ends[0], &ready, 1, 0) != 1)
		die("no receiver");
	uint64_t begin = now_ns();
	c->send(ends[0], from->memory, from->size);
	double ms = ms_since(begin);
	waitpid(pid, &status, 0);
	close(ends[0]);
	if (status)
		die("the receiver failed");
	return (double)from->size / ms / 1e3;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(struct contender *c)
{
	qsort(c->rates, RUNS, sizeof *c->rates, by_value);
	return c->rates[RUNS / 2];
}

int bench_main(const struct settings *settings)
{
	struct contender all[] = { { "plain", plain_receive, plain_send, { 0 } },
				   { "engine", engine_receive, engine_send, { 0 } } };
	struct guest from, to;
	struct mig_error err;

	if (guest_open(&from, settings, &err) || guest_open(&to, settings, &err))
		die(err.message);
	guest_fill(&from, settings->zero_percent);
	for (int run = 0; run < RUNS; run++)
		for (int i = 0; i < 2; i++)
			all[i].rates[run] = run_once(&all[i], &from, &to);
	double plain = median(&all[0]), engine = median(&all[1]);
	printf("%llu MiB, %u %% zero pages, medians of %d runs in turn: plain socket %.0f MB/s, engine %.0f "
	       "MB/s: "
	       "%.0f %%\n",
	       (unsigned long long)(settings->size >> 20), settings->zero_percent, RUNS, plain, engine,
	       100 * engine / plain);
	return 0;
}
