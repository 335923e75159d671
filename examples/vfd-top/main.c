/* SPDX-License-Identifier: MIT */

/* vfd-top: who makes pages dirty in another program, and would a migration of it end? */

#include "top.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static const char usage_text[] =
	"usage: vfd-top [options] PID\n"
	"       vfd-top [options] --arena FILE\n"
	"\n"
	"Look at the log of a program that keeps it in a memfd: dirty rates by source and region, who spoils "
	"them, and\n"
	"whether a migration would end. Only reads.\n"
	"\n"
	"  --bandwidth MB   what a migration can send, MB/s (1000)\n"
	"  --downtime MS    how long its last round may take, ms (300)\n"
	"  --interval S     between two looks, s (1)\n"
	"  --once           two looks, and the end\n"
	"  --json           as JSON, an object a line\n"
	"  --fd N           the log in this descriptor, if there are several\n"
	"  --arena FILE     the log in this file\n"
	"\n"
	"Exit: 0; 1: there is no log, it is damaged, or it went away before the second look; 2: wrong use.\n";

struct options {
	int pid, fd;
	const char *arena;
	double bandwidth, downtime, interval;
	bool once, json;
};

static _Noreturn void usage(FILE *to, int code)
{
	fputs(usage_text, to);
	exit(code);
}

static double number(const char *text, double least, double most)
{
	char *end;

	errno = 0;
	double value = strtod(text, &end);
	if (errno || *end || end == text || !(value >= least && value <= most))
		usage(stderr, 2);
	return value;
}

static void set(struct options *o, int option)
{
	switch (option) {
	case 'b':
		o->bandwidth = number(optarg, 1e-3, 1e9) * 1e6;
		break;
	case 'd':
		o->downtime = number(optarg, 0, 1e9);
		break;
	case 'i':
		o->interval = number(optarg, 0.01, 86400);
		break;
	case 'o':
		o->once = true;
		break;
	case 'j':
		o->json = true;
		break;
	case 'f':
		o->fd = (int)number(optarg, 0, 1 << 30);
		break;
	case 'a':
		o->arena = optarg;
		break;
	case 'h':
		usage(stdout, 0);
	default:
		usage(stderr, 2);
	}
}

static struct options parse(int argc, char **argv)
{
	static const struct option names[] = {
		{ "bandwidth", required_argument, NULL, 'b' },
		{ "downtime", required_argument, NULL, 'd' },
		{ "interval", required_argument, NULL, 'i' },
		{ "once", no_argument, NULL, 'o' },
		{ "json", no_argument, NULL, 'j' },
		{ "fd", required_argument, NULL, 'f' },
		{ "arena", required_argument, NULL, 'a' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	struct options o = { .fd = -1, .bandwidth = 1e9, .downtime = 300, .interval = 1 };
	int c;

	while ((c = getopt_long(argc, argv, "h", names, NULL)) != -1)
		set(&o, c);
	if (optind + !o.arena != argc || (o.arena && o.fd >= 0))
		usage(stderr, 2);
	if (!o.arena)
		o.pid = (int)number(argv[optind], 1, 1 << 30);
	return o;
}

static unsigned screen_lines(void)
{
	struct winsize size;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_row ? 200 : size.ws_row;
}

static void show(const struct options *o, const struct target *t, const struct look *before,
		 const struct look *now)
{
	struct rates r = rates_of(before, now);
	struct forecast f = forecast(now, &r, o->bandwidth, o->downtime);

	if (!o->once && !o->json && isatty(STDOUT_FILENO))
		fputs("\033[H\033[J", stdout);
	if (o->json)
		print_json(t, now, &r, &f);
	else
		print_screen(t, now, &r, &f, o->once ? 200 : screen_lines());
	fflush(stdout);
	free(r.regions);
}

static void rest(double seconds)
{
	struct timespec left = { (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

/* 1 if it cannot be looked at, or -1 if it went away as it may. */
static int look(const struct target *t, struct look *l)
{
	bool alive = is_alive(t);
	const char *wrong = look_at(t->fd, l);

	if (!alive)
		return -1;
	if (wrong)
		fprintf(stderr, "vfd-top: %s: %s\n", t->name, wrong);
	return wrong ? 1 : 0;
}

static int watch(const struct options *o, const struct target *t)
{
	struct look before, now = { 0 };
	int rc = look(t, &before);

	for (bool shown = false; !rc; shown = true) {
		if (shown && o->once)
			break;
		rest(o->interval);
		rc = look(t, &now);
		if (!rc)
			show(o, t, &before, &now);
		if (rc < 0 && shown)
			return 0;
		free(before.regions);
		before = now;
	}
	if (rc < 0)
		fprintf(stderr, "vfd-top: the process ended, or has closed its log\n");
	if (!rc)
		free(before.regions);
	return rc ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct options o = parse(argc, argv);
	struct target t;

	if (!(o.arena ? find_file(&t, o.arena) : find_in_process(&t, o.pid, o.fd)))
		return 1;
	return watch(&o, &t);
}
